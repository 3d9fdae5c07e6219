//! The kernel's own answers: real links in real network namespaces, as root.
//!
//! Each test makes its links in namespaces of its own (`unshare`) and runs the watcher there, so
//! the machine's links are not touched. Without root it says so and is not run.

// clippy.toml allows these in tests; helpers of a test file are not known to be of one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use inventory::facts::{Facts, Link, LinkKind, NamespaceId, NetworkFacts, ProcessFacts, Source};
use platform::Watcher;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use wire::{VlanId, Vni};

/// Runs `test` in a thread inside a new network namespace.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    // A process of its own holds the namespace; making one needs no unsafe code then.
    let mut holder = match holder(&["sleep", "1000"]) {
        Some(holder) => holder,
        None => return eprintln!("NOT TESTED: making network namespaces needs root and unshare"),
    };
    let path = format!("/proc/{}/ns/net", holder.id());
    let result = thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
        test();
    })
    .join();
    holder.kill().unwrap();
    holder.wait().unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A process in a network namespace of its own.
fn holder(command: &[&str]) -> Option<Child> {
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let mut child =
        Command::new("unshare").arg("--net").args(command).stderr(Stdio::null()).spawn().ok()?;
    loop {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        let theirs = std::fs::read_link(format!("/proc/{}/ns/net", child.id())).ok()?;
        if theirs != own {
            return Some(child);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// `ip`, in the namespace of this thread.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Many commands of `ip` in one process.
fn ip_batch(commands: &[String]) {
    use std::io::Write;
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(commands.join("\n").as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

fn own_id() -> NamespaceId {
    let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let text = link.to_str().unwrap();
    NamespaceId(text[5..text.len() - 1].parse().unwrap())
}

fn link<'a>(facts: &'a NetworkFacts, name: &str) -> Option<&'a Link> {
    facts.links.iter().find(|link| link.name == name)
}

/// Waits for a report for which `wanted` has an answer; at most the promised second.
fn within_a_second<T>(
    watcher: &Watcher,
    what: &str,
    mut wanted: impl FnMut(&Source, &Facts) -> Option<T>,
) -> T {
    let end = Instant::now() + Duration::from_secs(1);
    while let Some(report) = watcher.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let Ok(facts) = &report.facts
            && let Some(answer) = wanted(&report.source, facts)
        {
            return answer;
        }
    }
    panic!("not within a second: {what}");
}

fn own_network(
    watcher: &Watcher,
    what: &str,
    is_so: impl Fn(&NetworkFacts) -> bool,
) -> NetworkFacts {
    within_a_second(watcher, what, |_, facts| match facts {
        Facts::Network(network) if network.is_own && is_so(network) => Some(network.clone()),
        _ => None,
    })
}

fn processes(watcher: &Watcher, what: &str, is_so: impl Fn(&ProcessFacts) -> bool) -> ProcessFacts {
    within_a_second(watcher, what, |_, facts| match facts {
        Facts::Processes(processes) if is_so(processes) => Some(processes.clone()),
        _ => None,
    })
}

fn read_own() -> NetworkFacts {
    let reports = platform::read_once(Duration::from_secs(5));
    let own = reports.into_iter().find_map(|report| match report.facts {
        Ok(Facts::Network(network)) if network.is_own => Some(network),
        _ => None,
    });
    own.unwrap()
}

#[test]
fn every_kind_of_link_is_read_with_what_its_kind_knows() {
    in_namespace(|| {
        ip("link add br0 type bridge");
        ip("tuntap add vnet0 mode tap");
        ip("link set vnet0 master br0");
        ip("link add veth0 type veth peer name veth1");
        ip("link set veth0 up");
        ip("addr add 10.0.0.1/24 dev veth0");
        ip("neigh add 10.0.0.9 lladdr 52:54:00:00:00:09 dev veth0");
        ip("link add vx42 type vxlan id 42 dstport 4789 local 10.0.0.1 remote 10.0.0.2 dev veth0");
        let facts = read_own();
        assert_eq!(facts.namespace, own_id());
        let by_name = |name: &str| link(&facts, name).unwrap();
        assert_eq!(by_name("br0").kind, LinkKind::Bridge { is_vlan_aware: false });
        assert_eq!(by_name("vnet0").kind, LinkKind::Tun { is_tap: true });
        assert_eq!(by_name("vnet0").master, Some(by_name("br0").index));
        let veth = LinkKind::Veth {
            peer: Some(by_name("veth1").index),
            peer_namespace: None,
            is_peer_elsewhere: false,
        };
        assert_eq!(by_name("veth0").kind, veth);
        assert!(by_name("veth0").is_up && !by_name("veth1").is_up);
        assert_eq!(by_name("veth0").addresses[0], ("10.0.0.1".parse().unwrap(), 24));
        let vxlan = LinkKind::Vxlan {
            vni: Vni::new(42),
            port: 4789,
            local: Some("10.0.0.1".parse().unwrap()),
            remote: Some("10.0.0.2".parse().unwrap()),
            lower: Some(by_name("veth0").index),
        };
        assert_eq!(by_name("vx42").kind, vxlan);
        assert!(facts.neighbours.iter().any(|n| n.mac.to_string() == "52:54:00:00:00:09"));
        assert_eq!(by_name("lo").kind, LinkKind::Loopback);
    });
}

/// Kinds that not every kernel has are tried one by one.
#[test]
fn kinds_that_the_kernel_may_lack_are_read_where_it_has_them() {
    in_namespace(|| {
        ip("link add veth0 type veth peer name veth1");
        let mut lacking = Vec::new();
        for (name, arguments) in [
            ("gen7", "type geneve id 7 remote 10.0.0.3"),
            ("v100", "link veth0 type vlan id 100"),
            ("mv0", "link veth0 type macvlan"),
            ("bond0", "type bond mode active-backup"),
            ("vbr", "type bridge vlan_filtering 1"),
        ] {
            let status = Command::new("ip")
                .args(["link", "add", name])
                .args(arguments.split(' '))
                .stderr(Stdio::null())
                .status();
            if !status.unwrap().success() {
                lacking.push(name);
            }
        }
        if !lacking.is_empty() {
            eprintln!("NOT TESTED: this kernel cannot make {lacking:?}");
        }
        let facts = read_own();
        let kind = |name: &str| link(&facts, name).map(|link| link.kind.clone());
        let lower = link(&facts, "veth0").map(|link| link.index);
        let geneve = LinkKind::Geneve {
            vni: Vni::new(7),
            port: 6081,
            remote: Some("10.0.0.3".parse().unwrap()),
        };
        let vlan = LinkKind::Vlan { id: VlanId::new(100).unwrap(), lower, lower_namespace: None };
        for (name, expected) in [
            ("gen7", geneve),
            ("v100", vlan),
            ("mv0", LinkKind::Macvlan { lower, lower_namespace: None }),
            ("bond0", LinkKind::Bond { active: None }),
            ("vbr", LinkKind::Bridge { is_vlan_aware: true }),
        ] {
            if !lacking.contains(&name) {
                assert_eq!(kind(name), Some(expected), "{name}");
            }
        }
    });
}

#[test]
fn a_machine_in_another_namespace_and_both_ends_of_its_cable_are_found() {
    in_namespace(|| {
        let watcher = Watcher::start().unwrap();
        let own = own_id();
        let mut machine = holder(&["sleep", "1000"]).unwrap();
        let pid = machine.id();
        // It is called after its program, which is `unshare` for its first moment.
        let found = processes(&watcher, "the machine", |facts| {
            facts.namespaces.iter().any(|namespace| namespace.name == format!("sleep-{pid}"))
        });
        let id = found.namespaces.iter().find(|n| n.pid == Some(pid)).unwrap().id;
        ip(&format!("link add veth0 type veth peer name eth0 netns {pid}"));
        let peer = own_network(&watcher, "our end", |facts| link(facts, "veth0").is_some());
        let LinkKind::Veth { peer, peer_namespace, is_peer_elsewhere } =
            link(&peer, "veth0").unwrap().kind
        else {
            panic!("no veth")
        };
        assert!(is_peer_elsewhere && peer_namespace == Some(id), "{peer_namespace:?}");
        let theirs = read_network(id);
        assert_eq!(Some(link(&theirs, "eth0").unwrap().index), peer);
        let LinkKind::Veth { peer_namespace, .. } = link(&theirs, "eth0").unwrap().kind else {
            panic!("no veth")
        };
        assert_eq!(peer_namespace, Some(own));
        machine.kill().unwrap();
        machine.wait().unwrap();
        // Our sockets let go of the namespace: its end of the cable takes ours along.
        own_network(&watcher, "the cable gone", |facts| link(facts, "veth0").is_none());
    });
}

fn read_network(id: NamespaceId) -> NetworkFacts {
    let reports = platform::read_once(Duration::from_secs(5));
    let network = reports.into_iter().find_map(|report| match report.facts {
        Ok(Facts::Network(network)) if network.namespace == id => Some(network),
        _ => None,
    });
    network.unwrap()
}

#[test]
fn each_change_of_a_link_is_seen_within_a_second() {
    in_namespace(|| {
        let watcher = Watcher::start().unwrap();
        own_network(&watcher, "the namespace", |facts| !facts.links.is_empty());
        ip("tuntap add tap0 mode tap");
        let facts = own_network(&watcher, "a tap", |facts| link(facts, "tap0").is_some());
        let index = link(&facts, "tap0").unwrap().index;
        ip("link set tap0 name vnet7");
        let facts = own_network(&watcher, "renamed", |facts| link(facts, "vnet7").is_some());
        assert_eq!(link(&facts, "vnet7").unwrap().index, index);
        ip("link add br0 type bridge");
        ip("link set vnet7 master br0");
        own_network(&watcher, "in a bridge", |f| link(f, "vnet7").unwrap().master.is_some());
        ip("link set vnet7 up");
        ip("addr add 10.1.0.1/24 dev vnet7");
        own_network(&watcher, "an address", |f| {
            link(f, "vnet7").is_some_and(|l| l.is_up && !l.addresses.is_empty())
        });
        ip("link del vnet7");
        own_network(&watcher, "gone", |facts| link(facts, "vnet7").is_none());
    });
}

#[test]
fn a_qemu_process_is_seen_within_a_second_and_its_end_too() {
    in_namespace(|| {
        let watcher = Watcher::start().unwrap();
        let mut vm = Command::new("bash")
            .args(["-c", "exec -a qemu-system-x86_64 sleep 1000 "])
            .spawn()
            .unwrap();
        // `sleep` takes no -name; what counts is the program's name.
        let pid = vm.id();
        processes(&watcher, "the VM", |facts| facts.qemus.iter().any(|q| q.pid == pid));
        vm.kill().unwrap();
        // Ended, but not collected yet: a libvirtd may take its time.
        processes(&watcher, "its end", |facts| facts.qemus.iter().all(|q| q.pid != pid));
        vm.wait().unwrap();
    });
}

#[test]
fn a_burst_of_links_ends_in_the_truth() {
    in_namespace(|| {
        let watcher = Watcher::start().unwrap();
        own_network(&watcher, "the namespace", |facts| !facts.links.is_empty());
        let add = |n| format!("link add d{n} type bridge");
        ip_batch(&(0..400).map(add).collect::<Vec<_>>());
        ip_batch(&(0..399).map(|n| format!("link del d{n}")).collect::<Vec<_>>());
        let facts = own_network(&watcher, "one bridge left", |facts| {
            link(facts, "d399").is_some() && facts.links.len() < 10
        });
        assert!(link(&facts, "d0").is_none());
    });
}

#[test]
fn a_watcher_ends_at_once_when_it_is_dropped() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let watcher = Watcher::start().unwrap();
        // Other tests' processes come and go all the while, so it may never fall silent.
        let settled = Instant::now() + Duration::from_secs(2);
        while Instant::now() < settled && watcher.recv_timeout(Duration::from_millis(300)).is_some()
        {
        }
        let begin = Instant::now();
        drop(watcher);
        sender.send(begin.elapsed()).unwrap();
    });
    let took = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(took < Duration::from_millis(700), "{took:?}");
}
