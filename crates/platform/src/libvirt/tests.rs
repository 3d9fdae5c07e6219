//! Against daemons that misbehave on purpose, and against the real one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use inventory::facts::{Domain, DomainState};
use tempfile::TempDir;

use super::rpc::{
    CALL, KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, MESSAGE, PROGRAM, Packet, REPLY,
};
use super::xdr::Writer;
use super::*;

const UUID: [u8; 16] = [7; 16];
const XML: &str = "<domain><name>web</name><devices><interface type='bridge'>\
    <mac address='52:54:00:00:00:01'/><target dev='vnet0'/></interface></devices></domain>";

fn domain(name: &str, id: i32) -> Writer {
    Writer::default().string(name).fixed(&UUID).i32(id)
}

fn receive(stream: &mut UnixStream) -> Option<Packet> {
    let mut word = [0; 4];
    stream.read_exact(&mut word).ok()?;
    let mut rest = vec![0; u32::from_be_bytes(word) as usize - 4];
    stream.read_exact(&mut rest).unwrap();
    let field = |n: usize| u32::from_be_bytes(rest[n * 4..n * 4 + 4].try_into().unwrap());
    Some(Packet {
        program: field(0),
        procedure: field(2),
        kind: field(3),
        serial: field(4),
        status: field(5),
        body: rest[24..].to_vec(),
    })
}

fn event(procedure: u32, body: Writer) -> Packet {
    let body = body.finish();
    Packet { program: PROGRAM, procedure, kind: MESSAGE, serial: 0, status: 0, body }
}

fn lifecycle(kind: i32, detail: i32) -> Packet {
    let body = Writer::default().i32(0).string("web").fixed(&UUID).i32(1).i32(kind).i32(detail);
    event(318, body)
}

/// A daemon with one domain whose state is `state`, that answers one call.
fn answer(stream: &mut UnixStream, call: &Packet, state: (i32, i32)) {
    assert_eq!((call.program, call.kind), (PROGRAM, CALL));
    let (status, body) = match call.procedure {
        66 => (0, Writer::default().u32(1).i32(0)),
        1 => (0, Writer::default()),
        59 => (0, Writer::default().string("hv-1")),
        // It is old: only lifecycle events.
        316 if call.body[..4] != [0; 4] => {
            (1, Writer::default().i32(3).i32(7).u32(1).string("unknown event"))
        }
        316 => (0, Writer::default().i32(0)),
        273 => {
            let body = Writer::default().u32(1).fixed(&domain("web", 1).finish()).u32(1);
            (0, body)
        }
        212 => (0, Writer::default().i32(state.0).i32(state.1)),
        14 => (0, Writer::default().string(XML)),
        other => panic!("unexpected call {other}"),
    };
    let reply = Packet { kind: REPLY, status, body: body.finish(), ..call.clone() };
    // The client may have left.
    let _ = stream.write_all(&reply.encode());
}

fn serve(script: impl Fn(UnixStream) + Send + 'static) -> (TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("libvirt-sock-ro");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            script(stream.unwrap());
        }
    });
    let place = place_at(&directory);
    (directory, place)
}

fn place_at(directory: &TempDir) -> Place {
    let sockets = SOCKETS.iter().map(|name| directory.path().join(name)).collect();
    Place { sockets, uri: "qemu:///system".into(), leases: directory.path().join("dnsmasq") }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

struct Watching {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watching {
    fn start(place: &Place) -> Self {
        let (shared, waker) = (Arc::new(Shared::default()), Waker::new().unwrap());
        let (place, theirs, woken) = (place.clone(), Arc::clone(&shared), waker.clone());
        let thread = thread::spawn(move || watch(&place, &theirs, &woken));
        Self { shared, waker, thread: Some(thread) }
    }

    /// Waits until the domains are as wanted; at most the second the user was promised.
    fn until(&self, what: &str, is_so: impl Fn(&[Domain]) -> bool) -> Vec<Domain> {
        let end = Instant::now() + Duration::from_secs(1);
        let mut last = None;
        while let Some(report) =
            self.shared.mailbox.take(end.saturating_duration_since(Instant::now()))
        {
            if let Ok(Facts::Libvirt(facts)) = &report.facts
                && is_so(&facts.domains)
            {
                return facts.domains.clone();
            }
            last = Some(report);
        }
        panic!("not within a second: {what}; last was {last:?}");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.stop();
        self.waker.wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn an_event_before_each_reply_disturbs_nothing() {
    let (directory, place) = serve(|mut stream| {
        while let Some(call) = receive(&mut stream) {
            let foreign = Packet { program: 0x2000_8087, ..lifecycle(0, 0) };
            for packet in [lifecycle(0, 0), foreign, event(9999, Writer::default().i32(0))] {
                stream.write_all(&packet.encode()).unwrap();
            }
            answer(&mut stream, &call, (1, 1));
        }
    });
    fs::create_dir(&place.leases).unwrap();
    let lease = r#"[{"ip-address": "10.0.0.9", "mac-address": "52:54:00:00:00:01"}]"#;
    fs::write(place.leases.join("virbr0.status"), lease).unwrap();
    let facts = read_once(&place, soon()).unwrap().unwrap();
    assert_eq!(facts.hostname.as_deref(), Some("hv-1"));
    let [web] = facts.domains.as_slice() else { panic!("{facts:?}") };
    assert_eq!((web.name.as_str(), web.id, web.state), ("web", Some(1), DomainState::Running));
    assert_eq!(web.nics[0].tap.as_deref(), Some("vnet0"));
    assert_eq!(web.nics[0].ips, ["10.0.0.9".parse::<std::net::IpAddr>().unwrap()]);
    drop(directory);
}

#[test]
fn a_keepalive_is_answered() {
    let (_directory, place) = serve(|mut stream| {
        let ping = Packet {
            program: KEEPALIVE_PROGRAM,
            procedure: KEEPALIVE_PING,
            ..event(0, Writer::default())
        };
        let Some(first) = receive(&mut stream) else { return };
        stream.write_all(&ping.encode()).unwrap();
        let pong = receive(&mut stream).unwrap();
        assert_eq!((pong.program, pong.procedure), (KEEPALIVE_PROGRAM, KEEPALIVE_PONG));
        answer(&mut stream, &first, (1, 1));
        while let Some(call) = receive(&mut stream) {
            answer(&mut stream, &call, (1, 1));
        }
    });
    assert_eq!(read_once(&place, soon()).unwrap().unwrap().domains.len(), 1);
}

#[test]
fn a_migration_is_incoming_until_it_is_resumed_and_silence_is_no_end() {
    let (_directory, place) = serve(|mut stream| {
        // Registrations, then the first look: not yet paused for anything.
        let mut state = (3, 2);
        let mut xmls = 0;
        while let Some(call) = receive(&mut stream) {
            if call.procedure == 273 && xmls == 0 {
                stream.write_all(&lifecycle(2, 1).encode()).unwrap();
            }
            answer(&mut stream, &call, state);
            xmls += u32::from(call.procedure == 14);
            if call.procedure == 14 && xmls == 2 {
                thread::sleep(Duration::from_millis(600));
                state = (1, 3);
                stream.write_all(&lifecycle(4, 1).encode()).unwrap();
            }
        }
    });
    let watching = Watching::start(&place);
    watching.until("incoming", |domains| domains[0].state == DomainState::Incoming);
    watching.until("running", |domains| domains[0].state == DomainState::Running);
}

#[test]
fn what_ran_here_and_is_paused_for_a_migration_is_outgoing() {
    let (_directory, place) = serve(|mut stream| {
        let mut state = (1, 1);
        while let Some(call) = receive(&mut stream) {
            answer(&mut stream, &call, state);
            if call.procedure == 14 && state == (1, 1) {
                thread::sleep(Duration::from_millis(100));
                state = (3, 2);
                // Not the event that says so: that one was lost.
                let body = Writer::default().i32(0).string("web").fixed(&UUID).i32(1).i32(1);
                stream.write_all(&event(359, body).encode()).unwrap();
            }
        }
    });
    let watching = Watching::start(&place);
    watching.until("running", |domains| domains[0].state == DomainState::Running);
    watching.until("outgoing", |domains| domains[0].state == DomainState::Outgoing);
}

#[test]
fn a_domain_that_is_undefined_by_its_migration_is_gone_though_nothing_says_so() {
    let (_directory, place) = serve(|mut stream| {
        let mut lists = 0;
        while let Some(call) = receive(&mut stream) {
            lists += i32::from(call.procedure == 273);
            match (call.procedure, lists) {
                // The third time that it is looked which there are: none.
                (273, 3..) => {
                    let none = Packet {
                        kind: REPLY,
                        serial: call.serial,
                        ..event(273, Writer::default().u32(0).i32(0))
                    };
                    stream.write_all(&none.encode()).unwrap();
                }
                _ => answer(&mut stream, &call, (5, 3)),
            }
            if call.procedure == 14 && lists == 1 {
                stream.write_all(&lifecycle(5, 3).encode()).unwrap();
            }
        }
    });
    let watching = Watching::start(&place);
    watching.until("shut off", |domains| domains[0].state == DomainState::Shutoff);
    watching.until("gone", <[Domain]>::is_empty);
}

#[test]
fn a_daemon_that_hangs_up_is_asked_again() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let (_directory, place) = serve(move |mut stream| {
        let mut left = if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            4
        } else {
            usize::MAX
        };
        while let Some(call) = receive(&mut stream).filter(|_| left > 0) {
            left -= 1;
            answer(&mut stream, &call, (1, 1));
        }
    });
    let watching = Watching::start(&place);
    watching.until("a domain", |domains| domains.len() == 1);
}

#[test]
fn garbage_and_silence_are_sentences() {
    for (garbage, sentence) in [
        (&b"\0\0\0\x05hello"[..], "the answer is not libvirt's"),
        (&b"HTTP/1.1 400 no"[..], "the answer is not libvirt's"),
        (&b""[..], "no answer"),
    ] {
        let (_directory, place) = serve(move |mut stream| {
            stream.write_all(garbage).unwrap();
            thread::sleep(Duration::from_millis(400));
        });
        let problem =
            read_once(&place, Instant::now() + Duration::from_millis(200)).unwrap().unwrap_err();
        assert!(problem.ends_with(sentence), "{problem}");
    }
}

#[test]
fn no_socket_is_no_libvirt_and_a_dead_one_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let place = place_at(&directory);
    assert_eq!(read_once(&place, soon()), None);
    drop(UnixListener::bind(directory.path().join("virtqemud-sock")).unwrap());
    let problem = read_once(&place, soon()).unwrap().unwrap_err();
    assert!(problem.ends_with("start libvirtd or virtqemud"), "{problem}");
}

/// The real daemon in namespaces of its own: nothing of the host is touched.
struct Daemon {
    directory: TempDir,
    process: Child,
}

impl Daemon {
    /// `None`, said loudly, where it is not installed or may not be started.
    fn start() -> Option<Self> {
        Self::start_as("hv-1")
    }

    /// On a host of this name; two of them are two hosts to libvirt.
    fn start_as(hostname: &str) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("ovt").tempdir_in("/tmp").unwrap();
        let path = directory.path().display().to_string();
        let configuration = format!(
            "unix_sock_dir = \"{path}\"\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n\
             host_uuid = \"11111111-2222-4333-8444-5555555555{:02x}\"\n",
            hostname.bytes().fold(0, u8::wrapping_add)
        );
        fs::write(directory.path().join("libvirtd.conf"), configuration).unwrap();
        // The shell stays, as the first process of its namespace: a libvirtd in its place would
        // have to collect every QEMU that ends, and waits 80 seconds for each that nobody does.
        let script = format!(
            "mount -t sysfs sysfs /sys
             for d in /run /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
                 mount -t tmpfs tmpfs $d || exit 1
             done
             mkdir -p /run/libvirt /etc/libvirt/qemu
             printf '%s\\n' 'user = \"root\"' 'group = \"root\"' 'dynamic_ownership = 0' \
                 'remember_owner = 0' 'security_driver = \"none\"' 'namespaces = []' \
                 'cgroup_controllers = []' 'stdio_handler = \"file\"' 'seccomp_sandbox = 0' \
                 > /etc/libvirt/qemu.conf
             hostname {hostname} && ip link set lo up
             echo 127.0.0.1 {hostname} > /run/hosts && mount --bind /run/hosts /etc/hosts
             ip link add br0 type bridge && ip link set br0 up
             libvirtd -f {path}/libvirtd.conf -p {path}/pid & wait"
        );
        let process = Command::new("unshare")
            .args(["--fork", "--kill-child=SIGKILL", "--pid", "--mount-proc", "--mount", "--net"])
            .args(["--uts", "--ipc", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let socket = directory.path().join("libvirt-sock");
        if let Ok(mut process) = process {
            let end = Instant::now() + Duration::from_secs(15);
            while Instant::now() < end && process.try_wait().unwrap().is_none() {
                if UnixStream::connect(&socket).is_ok() {
                    return Some(Self { directory, process });
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        eprintln!(
            "NOT TESTED: libvirtd cannot be started (packages libvirt-daemon-system and \
             libvirt-clients; needs root)"
        );
        None
    }

    fn place(&self, uri: &str) -> Place {
        Place { uri: uri.into(), ..place_at(&self.directory) }
    }

    fn virsh(&self, driver: &str, arguments: &[&str]) {
        let socket = self.directory.path().join("libvirt-sock");
        let uri = format!("{driver}?socket={}", socket.display());
        let output =
            Command::new("virsh").args(["-q", "-c", &uri]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "virsh {arguments:?}: {said}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its children die with it: it is the first process of its PID namespace's parent.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn state(domains: &[Domain], name: &str) -> Option<DomainState> {
    domains.iter().find(|domain| domain.name == name).map(|domain| domain.state)
}

#[test]
fn the_real_daemon_shows_each_change_within_a_second() {
    let Some(daemon) = Daemon::start() else { return };
    let watching = Watching::start(&daemon.place("test:///default"));
    let virsh = |arguments: &[&str]| daemon.virsh("test+unix:///default", arguments);
    watching.until("the test driver's domain", |domains| {
        state(domains, "test") == Some(DomainState::Running)
    });
    virsh(&["suspend", "test"]);
    watching.until("paused", |domains| state(domains, "test") == Some(DomainState::Paused));
    virsh(&["resume", "test"]);
    watching.until("running", |domains| state(domains, "test") == Some(DomainState::Running));
    virsh(&["destroy", "test"]);
    let domains = watching.until("shut off", |d| state(d, "test") == Some(DomainState::Shutoff));
    assert_eq!(domains[0].id, None);
    virsh(&["domrename", "test", "renamed"]);
    watching.until("renamed", |d| state(d, "renamed").is_some() && state(d, "test").is_none());
    virsh(&["undefine", "renamed"]);
    watching.until("undefined", <[Domain]>::is_empty);
}

#[test]
fn a_real_vm_shows_its_taps_and_a_card_plugged_in_later() {
    let Some(daemon) = Daemon::start() else { return };
    let emulator = "/usr/bin/qemu-system-x86_64";
    if !Path::new(emulator).exists() {
        eprintln!("NOT TESTED: {emulator} is not installed (package qemu-system-x86)");
        return;
    }
    let card = |last: u8| {
        format!(
            "<interface type='bridge'><mac address='52:54:00:00:00:0{last}'/>\
             <source bridge='br0'/><model type='virtio'/></interface>"
        )
    };
    let xml = format!(
        "<domain type='qemu'><name>vm</name><title>Some VM</title>\
         <memory unit='MiB'>32</memory><features><acpi/></features><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>{emulator}</emulator>{}</devices></domain>",
        card(1)
    );
    let file = |name: &str, text: &str| {
        let path = daemon.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let watching = Watching::start(&daemon.place("qemu:///system"));
    watching.until("no domain", <[Domain]>::is_empty);
    daemon.virsh("qemu+unix:///system", &["create", &file("vm.xml", &xml)]);
    let domains = watching.until("running", |d| state(d, "vm") == Some(DomainState::Running));
    assert_eq!(domains[0].title.as_deref(), Some("Some VM"));
    assert_eq!(domains[0].nics[0].tap.as_deref(), Some("vnet0"));
    assert_eq!(domains[0].nics[0].source.as_deref(), Some("br0"));
    let plugged = file("card.xml", &card(2));
    daemon.virsh("qemu+unix:///system", &["attach-device", "vm", &plugged]);
    watching.until("a second card", |domains| {
        domains[0].nics.len() == 2 && domains[0].nics[1].tap.is_some()
    });
    daemon.virsh("qemu+unix:///system", &["destroy", "vm"]);
    // It was never defined, so it is gone altogether.
    watching.until("no domain", <[Domain]>::is_empty);
}

#[test]
fn a_live_migration_is_seen_from_both_sides() {
    let (Some(from), Some(to)) = (Daemon::start_as("hv-a"), Daemon::start_as("hv-b")) else {
        return;
    };
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        eprintln!("NOT TESTED: qemu-system-x86_64 is not installed (package qemu-system-x86)");
        return;
    }
    let xml = "<domain type='qemu'><name>vm</name><memory unit='KiB'>33000</memory>\
        <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
        <emulator>/usr/bin/qemu-system-x86_64</emulator>\
        <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>\
        </interface></devices></domain>";
    let file = from.directory.path().join("vm.xml");
    fs::write(&file, xml).unwrap();
    from.virsh("qemu+unix:///system", &["create", &file.display().to_string()]);
    let states = |daemon: &Daemon| {
        let watching = Watching::start(&daemon.place("qemu:///system"));
        thread::spawn(move || {
            let mut states = Vec::new();
            let end = Instant::now() + Duration::from_secs(20);
            // Until it ran at the destination, or is gone from the source.
            while Instant::now() < end {
                let Some(report) = watching.shared.mailbox.take(Duration::from_secs(1)) else {
                    continue;
                };
                let Ok(Facts::Libvirt(facts)) = report.facts else { continue };
                let now = facts.domains.first().map(|domain| domain.state);
                if states.last() != Some(&now) {
                    states.push(now);
                }
                let is_over =
                    states.len() > 1 && (now.is_none() || now == Some(DomainState::Running));
                if is_over {
                    break;
                }
            }
            states
        })
    };
    let (source, destination) = (states(&from), states(&to));
    thread::sleep(Duration::from_millis(300));
    let target = to.directory.path().join("libvirt-sock").display().to_string();
    let stream = from.directory.path().join("migration").display().to_string();
    // At full speed so small a VM waits at its destination for 20 ms only.
    from.virsh(
        "qemu+unix:///system",
        &[
            "migrate",
            "--live",
            "--p2p",
            "--bandwidth",
            "1",
            "vm",
            &format!("qemu+unix:///system?socket={target}"),
            "--migrateuri",
            &format!("unix://{stream}"),
        ],
    );
    let (source, destination) = (source.join().unwrap(), destination.join().unwrap());
    assert_eq!(source.first(), Some(&Some(DomainState::Running)), "{source:?}");
    assert_eq!(source.last(), Some(&None), "{source:?}");
    assert!(!source.contains(&Some(DomainState::Incoming)), "{source:?}");
    // Before it runs there, it arrives: that is when to arm the place.
    let incoming = destination.iter().position(|s| *s == Some(DomainState::Incoming));
    let running = destination.iter().position(|s| *s == Some(DomainState::Running));
    assert!(incoming.is_some() && incoming < running, "{destination:?}");
    assert!(!destination.contains(&Some(DomainState::Outgoing)), "{destination:?}");
}
