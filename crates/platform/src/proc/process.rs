//! The files of one process under `/proc` that the inventory needs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use inventory::facts::NamespaceId;

/// A process by its directory.
#[derive(Debug)]
pub(super) struct Process {
    directory: PathBuf,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    /// The name of the program, cut to 15 bytes.
    pub(super) comm: String,
    /// The process that started it, or took it over.
    pub(super) parent: u32,
    /// Start time in clock ticks after the boot; with the PID it names a process for ever.
    pub(super) started: u64,
    /// How long it has run, in clock ticks.
    pub(super) ticks: u64,
    /// Whether it is a thread of the kernel.
    pub(super) is_kernel: bool,
    /// Whether it has ended and only waits to be collected.
    pub(super) is_ended: bool,
}

impl Process {
    /// The process `pid` of the `/proc` at `proc`.
    pub(super) fn new(proc: &Path, pid: u32) -> Self {
        Self { directory: proc.join(pid.to_string()) }
    }

    /// Ourselves.
    pub(super) fn own(proc: &Path) -> Self {
        Self { directory: proc.join("self") }
    }

    /// Name, start and state; `None` if there is no such process.
    pub(super) fn stat(&self) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(self.directory.join("stat")).ok()?)
    }

    /// Its first argument, the program; `None` if it has none or is gone.
    pub(super) fn program(&self) -> Option<String> {
        let mut bytes = [0; 256];
        let mut file = fs::File::open(self.directory.join("cmdline")).ok()?;
        let len = file.read(&mut bytes).ok()?;
        let program = bytes.get(..len)?.split(|b| *b == 0).next()?;
        (!program.is_empty()).then(|| String::from_utf8_lossy(program).into_owned())
    }

    /// Its arguments; empty for threads of the kernel and ended processes.
    pub(super) fn arguments(&self) -> io::Result<Vec<String>> {
        let file = fs::File::open(self.directory.join("cmdline"))?;
        let mut bytes = Vec::new();
        file.take(CMDLINE_MAX).read_to_end(&mut bytes)?;
        let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = text.split(|b| *b == 0);
        Ok(arguments.map(|a| String::from_utf8_lossy(a).into_owned()).collect())
    }

    /// Which network namespace it is in.
    pub(super) fn network_namespace(&self) -> io::Result<NamespaceId> {
        self.namespace("net")
    }

    /// Which host name it has, as the number of its UTS namespace.
    pub(super) fn uts_namespace(&self) -> io::Result<NamespaceId> {
        self.namespace("uts")
    }

    /// The tap behind a descriptor, by its `fdinfo`; for macvtap by the device file.
    pub(super) fn tap_of(&self, root: &Path, fd: u32) -> io::Result<Option<String>> {
        let info = fs::read_to_string(self.directory.join("fdinfo").join(fd.to_string()))?;
        let tap = info.lines().find_map(|line| line.strip_prefix("iff:"));
        if let Some(tap) = tap {
            return Ok(Some(tap.trim().to_owned()));
        }
        // /dev/tapN is the character device of the macvtap link with index N.
        let file = fs::read_link(self.directory.join("fd").join(fd.to_string()))?;
        let Some(device) = file.file_name().filter(|_| file.starts_with("/dev")) else {
            return Ok(None);
        };
        let link = fs::read_link(root.join("sys/class/macvtap").join(device).join("device"));
        let name = link.ok().and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
        Ok(name)
    }

    /// The taps it holds open, whatever its command line says. Dear: each descriptor is looked at.
    pub(super) fn held_taps(&self, root: &Path) -> io::Result<BTreeSet<String>> {
        let mut taps = BTreeSet::new();
        for entry in fs::read_dir(self.directory.join("fd"))?.flatten() {
            let is_tap = fs::read_link(entry.path()).is_ok_and(|file| {
                file == Path::new("/dev/net/tun")
                    || file.to_str().is_some_and(|file| file.starts_with("/dev/tap"))
            });
            let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(fd) = fd.filter(|_| is_tap) {
                // Closed since then: not held.
                taps.extend(self.tap_of(root, fd).ok().flatten());
            }
        }
        Ok(taps)
    }

    /// How long the virtual CPUs of a QEMU have run, in clock ticks; `None` where their threads
    /// do not bear names (`debug-threads=off`).
    pub(super) fn vcpu_ticks(&self) -> Option<u64> {
        let mut total = None;
        for thread in fs::read_dir(self.directory.join("task")).ok()?.flatten() {
            let Some(stat) = fs::read_to_string(thread.path().join("stat")).ok() else { continue };
            let Some(stat) = Stat::parse(&stat) else { continue };
            // `CPU 0/KVM`, `CPU 3/TCG`.
            if stat.comm.starts_with("CPU ") && stat.comm.contains('/') {
                total = Some(total.unwrap_or(0) + stat.ticks);
            }
        }
        total
    }

    /// Its control groups, one line for each hierarchy.
    pub(super) fn cgroups(&self) -> String {
        fs::read_to_string(self.directory.join("cgroup")).unwrap_or_default()
    }

    /// The number of the user it runs as.
    pub(super) fn owner(&self) -> Option<u32> {
        fs::metadata(&self.directory).ok().map(|metadata| metadata.uid())
    }

    /// Its file for a kind of namespace.
    pub(super) fn namespace_path(&self, kind: &str) -> PathBuf {
        self.directory.join("ns").join(kind)
    }

    fn namespace(&self, kind: &str) -> io::Result<NamespaceId> {
        let link = fs::read_link(self.namespace_path(kind))?;
        // `net:[4026531840]`: the number in the brackets is the inode's.
        let text = link.to_str().and_then(|link| link.split_once('[')?.1.strip_suffix(']'));
        let number = text.and_then(|number| number.parse().ok());
        number.map(NamespaceId).ok_or_else(|| io::Error::other("not a namespace"))
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The program's name may hold anything, a bracket too: the last one ends it.
        let (_, rest) = text.split_once('(')?;
        let (comm, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc_pid_stat(5), counted from field 3, the state.
        let flags: u32 = fields.get(6)?.parse().ok()?;
        let time = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            ticks: time(11)?.saturating_add(time(12)?),
            comm: comm.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            is_kernel: flags & PF_KTHREAD != 0,
            is_ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        })
    }
}

const PF_KTHREAD: u32 = 0x0020_0000;
/// Command lines of QEMU are a few KiB; nobody may make us read much more.
const CMDLINE_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_brackets_and_spaces() {
        let text = "77 (a) b) S 1 77 77 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 1 0 4242 1000 2 3\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.comm.as_str(), stat.parent), ("a) b", 1));
        assert_eq!(stat.started, 4242);
        assert_eq!(stat.ticks, 3);
        assert!(!stat.is_kernel && !stat.is_ended);
    }

    #[test]
    fn a_cut_stat_is_none() {
        assert_eq!(Stat::parse("77 (a) S 1 77"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
