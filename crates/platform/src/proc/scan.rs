//! One look over `/proc`, remembering the last: processes are read when they are new or young,
//! all of them only now and then.
//!
//! Every other namespace is reported, also one in which only a QEMU runs: that one is the VM's
//! place (a pod of KubeVirt), which the resolver sees by `QemuProcess::namespace`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inventory::facts::{Namespace, NamespaceId, ProcessFacts, QemuProcess};
use rustix::thread::LinkNameSpaceType;
use wire::Timestamp;

use super::process::{Process, Stat};
use super::qemu::CommandLine;
use super::runtime::{Container, StateName};
use super::vm::{Qemu, is_denied};
use crate::netlink;

/// How much of `/proc` is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Processes that are new or younger than [`YOUNG`].
    New,
    /// Every process: one may have changed its program or namespace late.
    All,
    /// Every process, and every descriptor of a VM: a link changed, perhaps a tap was plugged in.
    Taps,
}

/// Reads processes and namespaces below a root directory.
#[derive(Debug)]
pub(super) struct Scanner {
    root: PathBuf,
    proc: PathBuf,
    boot: Timestamp,
    ticks_per_second: u64,
    seen: HashMap<u32, Seen>,
    labels: HashMap<NamespaceId, Label>,
}

/// A process we know.
#[derive(Debug)]
struct Seen {
    stat: Stat,
    at: Instant,
    /// `None` where it could not be read.
    namespace: Option<NamespaceId>,
    /// Whether it could not for want of rights.
    is_hidden: bool,
    qemu: Option<Qemu>,
}

/// A namespace with all that keeps it alive.
#[derive(Debug, Default)]
struct Held {
    /// Its oldest process: (start, PID).
    oldest: Option<(u64, u32)>,
    /// Its file in `/run/netns` or a runtime's directory.
    file: Option<PathBuf>,
}

/// What a namespace is called, and why.
#[derive(Debug, Clone)]
struct Label {
    name: String,
    runtime: String,
    runtime_id: Option<String>,
    state: Option<StateName>,
    /// What the name was derived from; another holder may mean another name.
    holder: (Option<(u64, u32)>, Option<PathBuf>),
    since: Instant,
}

impl Scanner {
    /// A scanner of the `/proc`, `/run`, `/sys` and `/var` below `root`.
    pub(super) fn new(root: &Path) -> Self {
        let stat = fs::read_to_string(root.join("proc/stat")).unwrap_or_default();
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        Self {
            root: root.to_owned(),
            proc: root.join("proc"),
            boot: Timestamp::from_parts(boot.unwrap_or(0), 0),
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            seen: HashMap::new(),
            labels: HashMap::new(),
        }
    }

    /// Looks, and says all that is there now.
    pub(super) fn scan(&mut self, depth: Depth) -> io::Result<ProcessFacts> {
        let own = self.own_namespace()?;
        let pids = self.pids()?;
        self.seen.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            self.look_at(pid, depth, own);
        }
        let hostname = fs::read_to_string(self.proc.join("sys/kernel/hostname"));
        let mut qemus: Vec<QemuProcess> =
            self.seen.values().filter_map(|s| Some(s.qemu.as_ref()?.facts.clone())).collect();
        qemus.sort_unstable_by_key(|qemu| qemu.pid);
        Ok(ProcessFacts {
            qemus,
            namespaces: self.namespaces(own),
            hostname: hostname.unwrap_or_default().trim().to_owned(),
            own_namespace: own,
            gaps: self.gaps(),
        })
    }

    /// The processes whose end changes the picture: VMs, and the oldest of each namespace.
    pub(super) fn holders(&self) -> Vec<u32> {
        let qemus = self.seen.iter().filter(|(_, s)| s.qemu.is_some()).map(|(pid, _)| *pid);
        let oldest = self.labels.values().filter_map(|label| Some(label.holder.0?.1));
        let mut pids: Vec<u32> = qemus.chain(oldest).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn own_namespace(&self) -> io::Result<NamespaceId> {
        ["thread-self", "self"]
            .iter()
            .find_map(|name| fs::read_link(self.proc.join(name).join("ns/net")).ok())
            .and_then(|link| link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok())
            .map(NamespaceId)
            .ok_or_else(|| {
                let proc = self.proc.display();
                io::Error::other(format!("no own network namespace in {proc}; mount /proc there"))
            })
    }

    fn pids(&self) -> io::Result<BTreeSet<u32>> {
        let entries = fs::read_dir(&self.proc)?;
        Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
    }

    /// Reads what has to be read of one process.
    fn look_at(&mut self, pid: u32, depth: Depth, own: NamespaceId) {
        let process = Process::new(&self.proc, pid);
        let Some(seen) = self.seen.get_mut(&pid) else {
            self.meet(pid, &process, own);
            return;
        };
        let is_young = seen.at.elapsed() < YOUNG;
        if seen.stat.is_kernel || (depth == Depth::New && !is_young) {
            return;
        }
        if let Some(qemu) = &mut seen.qemu {
            // A PID may be another process by now, or this one only wait to be collected.
            match process.stat() {
                Some(stat) if stat.started == seen.stat.started && !stat.is_ended => {
                    qemu.read_taps(&process, &self.root, depth == Depth::Taps || is_young);
                    qemu.notice_arrival(&process);
                }
                _ => {
                    self.seen.remove(&pid);
                    self.meet(pid, &process, own);
                }
            }
            return;
        }
        let namespace = process.network_namespace().ok();
        let is_vm = process.program().is_some_and(|program| super::qemu::is_qemu(&program));
        // libvirt and shell scripts become QEMU; a runtime's helper moves into the container.
        if is_vm || namespace != seen.namespace {
            let at = seen.at;
            self.meet(pid, &process, own);
            if let Some(seen) = self.seen.get_mut(&pid) {
                seen.at = at;
            }
        }
    }

    /// Reads a process for the first time.
    fn meet(&mut self, pid: u32, process: &Process, own: NamespaceId) {
        let Some(stat) = process.stat().filter(|stat| !stat.is_ended) else {
            self.seen.remove(&pid);
            return;
        };
        let mut seen =
            Seen { stat, at: Instant::now(), namespace: Some(own), is_hidden: false, qemu: None };
        if !seen.stat.is_kernel {
            let namespace = process.network_namespace();
            seen.namespace = namespace.as_ref().ok().copied();
            seen.is_hidden = namespace.as_ref().is_err_and(is_denied);
            let arguments = match process.program() {
                Some(program) if super::qemu::is_qemu(&program) => process.arguments(),
                _ => Ok(Vec::new()),
            };
            if let Some(line) = CommandLine::parse(&arguments.unwrap_or_default()) {
                let started = self.time_of(seen.stat.started);
                let mut qemu = Qemu::new(pid, started, seen.namespace.unwrap_or(own), line);
                qemu.read_taps(process, &self.root, true);
                qemu.notice_arrival(process);
                if seen.is_hidden && qemu.gap.is_none() {
                    qemu.gap = Some(qemu.sentence(process, &self.root, "ns/net"));
                }
                seen.qemu = Some(qemu);
            }
        }
        self.seen.insert(pid, seen);
    }

    /// The time of a tick count since the boot.
    fn time_of(&self, ticks: u64) -> Timestamp {
        let seconds = ticks / self.ticks_per_second;
        let rest = ticks % self.ticks_per_second * 1_000_000_000 / self.ticks_per_second;
        self.boot
            .saturating_add(Duration::from_secs(seconds))
            .saturating_add(Duration::from_nanos(rest))
    }

    /// Every namespace but the own one, with a name.
    fn namespaces(&mut self, own: NamespaceId) -> Vec<Namespace> {
        let mut held: BTreeMap<NamespaceId, Held> = BTreeMap::new();
        for (pid, seen) in &self.seen {
            let Some(namespace) = seen.namespace.filter(|namespace| *namespace != own) else {
                continue;
            };
            let oldest = &mut held.entry(namespace).or_default().oldest;
            let candidate = (seen.stat.started, *pid);
            *oldest = Some(oldest.map_or(candidate, |oldest| oldest.min(candidate)));
        }
        for (id, file) in self.namespace_files() {
            if id != own {
                held.entry(id).or_default().file.get_or_insert(file);
            }
        }
        self.labels.retain(|id, _| held.contains_key(id));
        let own_container = Container::from_cgroups(&Process::own(&self.proc).cgroups());
        let namespaces = held.into_iter().map(|(id, held)| {
            let label = self.label(id, &held, own_container.as_ref());
            let pid = held.oldest.map(|(_, pid)| pid);
            let path = held.file.unwrap_or_else(|| {
                Process::new(&self.proc, pid.unwrap_or(0)).namespace_path("net")
            });
            Namespace {
                id,
                name: label.name,
                runtime: label.runtime,
                runtime_id: label.runtime_id,
                pid,
                path: path.display().to_string(),
                started: held.oldest.map(|(started, _)| self.time_of(started)),
            }
        });
        namespaces.collect()
    }

    /// The files that keep namespaces, those with a name a person gave first.
    fn namespace_files(&self) -> Vec<(NamespaceId, PathBuf)> {
        let Ok(own) = fs::metadata(self.proc.join("self/ns/net")) else { return Vec::new() };
        let mut files = Vec::new();
        for directory in NAMESPACE_DIRECTORIES {
            let Ok(entries) = fs::read_dir(self.root.join(directory)) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                // A file that nothing is mounted on is left from a namespace that is gone.
                if let Ok(metadata) = fs::metadata(&path)
                    && metadata.dev() == own.dev()
                {
                    files.push((NamespaceId(metadata.ino()), path));
                }
            }
        }
        files.sort();
        files
    }

    /// The namespace's name, derived again when something it came from may have changed.
    fn label(&mut self, id: NamespaceId, held: &Held, own: Option<&Container>) -> Label {
        let holder = (held.oldest, held.file.clone());
        let mut since = Instant::now();
        if let Some(label) = self.labels.get(&id)
            && label.holder == holder
        {
            since = label.since;
            let is_current = match &label.state {
                Some(state) => state.is_current(),
                // The runtime may write its file, or the container its host name, a bit later.
                None => since.elapsed() > YOUNG,
            };
            if is_current {
                return label.clone();
            }
        }
        let label = self.derive_label(held, own, holder, since);
        self.labels.insert(id, label.clone());
        label
    }

    fn derive_label(
        &self,
        held: &Held,
        own: Option<&Container>,
        holder: (Option<(u64, u32)>, Option<PathBuf>),
        since: Instant,
    ) -> Label {
        let process = held.oldest.map(|(_, pid)| Process::new(&self.proc, pid));
        // A namespace made inside our own container has our control group.
        let container = process
            .as_ref()
            .and_then(|process| Container::from_cgroups(&process.cgroups()))
            .or_else(|| Container::from_monitor(&self.monitor_of(held.oldest?.1)?))
            .filter(|container| Some(container) != own);
        let label = |name: String, runtime: &str| Label {
            name,
            runtime: runtime.to_owned(),
            runtime_id: container.as_ref().map(|container| container.id.clone()),
            state: None,
            holder,
            since,
        };
        if let Some(container) = &container {
            if let Some(state) = container.name(&self.root) {
                let mut label = label(state.name.clone(), container.runtime);
                label.state = Some(state);
                return label;
            }
            if matches!(container.runtime, "lxc" | "nspawn") {
                return label(container.id.clone(), container.runtime);
            }
        }
        let file_name = held.file.as_ref().and_then(|file| file.file_name());
        if container.is_none()
            && let Some(name) = file_name
        {
            return label(name.to_string_lossy().into_owned(), "netns");
        }
        let runtime = container.as_ref().map_or("hostname", |container| container.runtime);
        if let Some(name) = process.as_ref().and_then(|process| self.hostname_of(process)) {
            return label(name, runtime);
        }
        if let Some(container) = &container {
            return label(container.id.chars().take(12).collect(), container.runtime);
        }
        let pid = held.oldest.map_or(0, |(_, pid)| pid);
        let comm = self.seen.get(&pid).map_or("process", |seen| seen.stat.comm.as_str());
        label(format!("{comm}-{pid}"), "process")
    }

    /// The arguments of the first of its ancestors that is not in its network namespace.
    fn monitor_of(&self, pid: u32) -> Option<Vec<String>> {
        let process = Process::new(&self.proc, pid);
        let namespace = process.network_namespace().ok()?;
        let mut ancestor = process;
        for _ in 0..MOST_ANCESTORS {
            ancestor = Process::new(&self.proc, ancestor.stat()?.parent);
            if ancestor.network_namespace().ok()? != namespace {
                return ancestor.arguments().ok();
            }
        }
        None
    }

    /// The host name a process has, where it is not ours.
    fn hostname_of(&self, process: &Process) -> Option<String> {
        let theirs = process.uts_namespace().ok()?;
        let ours = Process::own(&self.proc).uts_namespace().ok()?;
        if theirs == ours {
            return None;
        }
        let file = fs::File::open(process.namespace_path("uts")).ok()?;
        let kind = LinkNameSpaceType::HostNameAndNISDomainName;
        let name = netlink::inside(std::os::fd::AsFd::as_fd(&file), kind, || {
            Ok(rustix::system::uname().nodename().to_string_lossy().into_owned())
        });
        let hostname = fs::read_to_string(self.proc.join("sys/kernel/hostname"));
        // A new UTS namespace begins with a copy of our name, which names nobody.
        name.ok().filter(|name| !name.is_empty() && name != hostname.unwrap_or_default().trim())
    }

    /// What could not be read, and what would help.
    fn gaps(&self) -> Vec<String> {
        let mut gaps: Vec<String> =
            self.seen.values().filter_map(|seen| seen.qemu.as_ref()?.gap.clone()).collect();
        gaps.sort();
        let hidden = self.seen.values().filter(|s| s.is_hidden && s.qemu.is_none()).count();
        if hidden > 0 {
            gaps.push(format!(
                "cannot read the network namespace of {hidden} processes of other users, \
                 containers among them are not seen; run as root or grant cap_sys_ptrace"
            ));
        }
        if !self.seen.contains_key(&1) {
            let proc = self.proc.display();
            gaps.push(format!(
                "{proc} hides the processes of other users (hidepid); run as root or join the \
                 group named in its gid= mount option"
            ));
        }
        gaps
    }
}

/// How long a process may still become another program or move to another namespace, as all do
/// that start VMs and containers.
/// How far below its monitor the oldest process of a container may be.
const MOST_ANCESTORS: usize = 8;
const YOUNG: Duration = Duration::from_secs(3);
const NAMESPACE_DIRECTORIES: [&str; 2] = ["run/netns", "run/docker/netns"];
