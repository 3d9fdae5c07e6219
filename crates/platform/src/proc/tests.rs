//! Against a `/proc` made of files, with what a real one would say.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use inventory::facts::QemuNic;
use tempfile::TempDir;
use wire::Timestamp;

use super::*;

const OWN: u64 = 4_026_531_840;
const BOOT: u64 = 1_700_000_000;

struct Host {
    root: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { root: tempfile::tempdir().unwrap() };
        host.write("proc/stat", &format!("cpu 1 2 3\nbtime {BOOT}\n"));
        host.write("proc/sys/kernel/hostname", "hv-1\n");
        host.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        host.process("self", OWN, 0, "x");
        host.process("1", OWN, 1, "systemd");
        host
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), text).unwrap();
    }

    /// A process with its arguments separated by spaces.
    fn process(&self, pid: &str, namespace: u64, started: u64, arguments: &str) {
        let ns = self.path(&format!("proc/{pid}/ns"));
        fs::create_dir_all(&ns).unwrap();
        let _ = fs::remove_file(ns.join("net"));
        symlink(format!("net:[{namespace}]"), ns.join("net")).unwrap();
        let _ = symlink("uts:[4026531838]", ns.join("uts"));
        let comm = arguments.split(' ').next().unwrap().rsplit('/').next().unwrap();
        let stat =
            format!("{pid} ({comm}) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0\n");
        self.write(&format!("proc/{pid}/stat"), &stat);
        self.write(&format!("proc/{pid}/cmdline"), &(arguments.replace(' ', "\0") + "\0"));
        self.write(&format!("proc/{pid}/cgroup"), "0::/\n");
    }

    fn remove(&self, pid: &str) {
        fs::remove_dir_all(self.path(&format!("proc/{pid}"))).unwrap();
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(self.root.path())
    }

    fn read(&self) -> ProcessFacts {
        read_once(self.root.path()).unwrap()
    }
}

const VM: &str = "/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on \
    -netdev tap,fd=35,id=n0 -device virtio-net-pci,netdev=n0,id=net0,mac=52:54:00:00:00:01";

#[test]
fn a_vm_has_its_tap_by_fdinfo_and_its_start_by_the_boot() {
    let host = Host::new();
    host.process("77", OWN, 250, VM);
    host.write("proc/77/fdinfo/35", "pos:\t0\nflags:\t0104002\nmnt_id:\t9\niff:\tvnet0\n");
    let facts = host.read();
    assert_eq!(facts.hostname, "hv-1");
    assert_eq!(facts.own_namespace, NamespaceId(OWN));
    assert_eq!(facts.gaps, Vec::<String>::new());
    let [vm] = facts.qemus.as_slice() else { panic!("{facts:?}") };
    assert_eq!(vm.name.as_deref(), Some("web"));
    assert_eq!(vm.started, Timestamp::from_parts(BOOT + 2, 500_000_000));
    let nic = QemuNic {
        id: Some("net0".into()),
        mac: Some("52:54:00:00:00:01".parse().unwrap()),
        tap: Some("vnet0".into()),
        backend: "tap".into(),
    };
    assert_eq!(vm.nics, [nic]);
}

#[test]
fn a_macvtap_is_found_by_its_device_file() {
    let host = Host::new();
    host.process("77", OWN, 250, VM);
    host.write("proc/77/fdinfo/35", "pos:\t0\nflags:\t0104002\n");
    fs::create_dir_all(host.path("proc/77/fd")).unwrap();
    symlink("/dev/tap9", host.path("proc/77/fd/35")).unwrap();
    fs::create_dir_all(host.path("sys/class/macvtap/tap9")).unwrap();
    symlink("../../../macvtap0", host.path("sys/class/macvtap/tap9/device")).unwrap();
    assert_eq!(host.read().qemus[0].nics[0].tap.as_deref(), Some("macvtap0"));
}

#[test]
fn a_shell_that_becomes_a_vm_is_seen_and_a_renamed_tap_too() {
    let host = Host::new();
    let mut scanner = host.scanner();
    host.process("77", OWN, 250, "/bin/sh run.sh");
    assert_eq!(scanner.scan(Depth::New).unwrap().qemus, []);
    host.process("77", OWN, 250, VM);
    host.write("proc/77/fdinfo/35", "iff:\tvnet0\n");
    let facts = scanner.scan(Depth::New).unwrap();
    assert_eq!(facts.qemus[0].nics[0].tap.as_deref(), Some("vnet0"));
    host.write("proc/77/fdinfo/35", "iff:\tvnet9\n");
    let facts = scanner.scan(Depth::All).unwrap();
    assert_eq!(facts.qemus[0].nics[0].tap.as_deref(), Some("vnet9"));
    // The PID is soon another process's.
    host.process("77", OWN, 999, "/bin/true");
    assert_eq!(scanner.scan(Depth::All).unwrap().qemus, []);
    host.remove("77");
    assert_eq!(scanner.scan(Depth::New).unwrap().qemus, []);
}

#[test]
fn a_tap_plugged_in_later_is_a_card_without_a_mac() {
    let host = Host::new();
    host.process("77", OWN, 250, VM);
    let hold = |fd: u32, tap: &str| {
        host.write(&format!("proc/77/fdinfo/{fd}"), &format!("iff:\t{tap}\n"));
        fs::create_dir_all(host.path("proc/77/fd")).unwrap();
        let _ = symlink("/dev/net/tun", host.path(&format!("proc/77/fd/{fd}")));
    };
    let taps = |facts: &ProcessFacts| -> Vec<String> {
        facts.qemus[0].nics.iter().filter_map(|nic| nic.tap.clone()).collect()
    };
    hold(35, "vnet0");
    let mut scanner = host.scanner();
    assert_eq!(taps(&scanner.scan(Depth::Taps).unwrap()), ["vnet0"]);
    // Two queues of one tap are one card.
    hold(40, "vnet1");
    hold(41, "vnet1");
    let facts = scanner.scan(Depth::Taps).unwrap();
    assert_eq!(taps(&facts), ["vnet0", "vnet1"]);
    assert_eq!(facts.qemus[0].nics[1].mac, None);
    assert_eq!(taps(&scanner.scan(Depth::All).unwrap()), ["vnet0", "vnet1"]);
}

#[test]
fn a_tap_of_the_command_line_is_followed_when_it_is_renamed() {
    let host = Host::new();
    host.process("77", OWN, 250, "/usr/bin/kvm -nic tap,ifname=tap0");
    host.write("proc/77/fdinfo/9", "iff:\tweb-tap\n");
    fs::create_dir_all(host.path("proc/77/fd")).unwrap();
    symlink("/dev/net/tun", host.path("proc/77/fd/9")).unwrap();
    let facts = host.read();
    assert_eq!(facts.qemus[0].nics.len(), 1);
    assert_eq!(facts.qemus[0].nics[0].tap.as_deref(), Some("web-tap"));
}

#[test]
fn a_vm_has_arrived_when_its_cpus_run() {
    let host = Host::new();
    host.process("77", OWN, 250, &format!("{VM} -incoming defer"));
    let cpu = |ticks: u64| {
        let stat =
            format!("78 (CPU 0/KVM) S 1 1 1 0 -1 64 0 0 0 0 {ticks} 0 0 0 20 0 1 0 251 0 0\n");
        host.write("proc/77/task/78/stat", &stat);
    };
    cpu(1);
    let mut scanner = host.scanner();
    let mut is_incoming = || scanner.scan(Depth::All).unwrap().qemus[0].is_incoming;
    assert!(is_incoming());
    cpu(2);
    assert!(is_incoming());
    cpu(4);
    assert!(!is_incoming());
    assert!(!is_incoming());
}

#[test]
fn a_container_has_its_runtimes_name_also_after_a_rename() {
    let host = Host::new();
    let id = "0123456789abcdef".repeat(4);
    host.process("88", 500, 300, "nginx");
    host.process("87", 500, 310, "worker");
    host.write("proc/88/cgroup", &format!("0::/system.slice/docker-{id}.scope\n"));
    let state = format!("var/lib/docker/containers/{id}/config.v2.json");
    host.write(&state, r#"{"Name":"/web"}"#);
    let mut scanner = host.scanner();
    let namespaces = scanner.scan(Depth::All).unwrap().namespaces;
    let [namespace] = namespaces.as_slice() else { panic!("{namespaces:?}") };
    assert_eq!((namespace.name.as_str(), namespace.runtime.as_str()), ("web", "docker"));
    assert_eq!(namespace.runtime_id.as_deref(), Some(id.as_str()));
    // Its oldest process, not the one with the lowest number.
    assert_eq!(namespace.pid, Some(88));
    assert_eq!(namespace.started, Some(Timestamp::from_parts(BOOT + 3, 0)));
    std::thread::sleep(Duration::from_millis(20));
    host.write(&state, r#"{"Name":"/shop"}"#);
    assert_eq!(scanner.scan(Depth::New).unwrap().namespaces[0].name, "shop");
}

#[test]
fn a_namespace_without_a_name_is_called_after_its_oldest_process() {
    let host = Host::new();
    host.process("90", 600, 300, "/usr/bin/sleep 1000");
    let namespaces = host.read().namespaces;
    assert_eq!(namespaces[0].name, "sleep-90");
    assert_eq!(namespaces[0].runtime, "process");
}

#[test]
fn our_own_container_names_no_other_namespace() {
    let host = Host::new();
    let cgroup = format!("0::/docker/{}\n", "a".repeat(64));
    host.write("proc/self/cgroup", &cgroup);
    host.process("90", 600, 300, "sleep");
    host.write("proc/90/cgroup", &cgroup);
    assert_eq!(host.read().namespaces[0].runtime, "process");
}

#[test]
fn hidden_processes_are_a_gap() {
    let host = Host::new();
    host.remove("1");
    let gaps = host.read().gaps;
    assert!(gaps[0].contains("hidepid"), "{gaps:?}");
}
