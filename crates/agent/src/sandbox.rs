//! What the process that reads packets may still do: read them, and write its files.
//!
//! Three fences, each as far as the kernel has it: no capabilities, no file outside the output
//! directory (landlock), no system call that opens a socket, starts a program or the like
//! (seccomp). Whatever a hostile packet could make the decoder do stays inside.

use std::fmt;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde::{Deserialize, Serialize};

/// Which fences stand around a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// It has no capabilities, and cannot get any. Not so for a ring of files in a directory of
    /// another user: root keeps `cap_dac_override` for that.
    pub has_no_capabilities: bool,
    /// It reaches no file but those it has open and, for a ring of files, those in its directory.
    pub has_landlock: bool,
    /// It can make only the system calls it needs.
    pub has_seccomp: bool,
}

impl Sandbox {
    /// Puts this process, which must have one thread only, behind every fence there is here.
    ///
    /// `directory` is where files may still be made and removed, `source` where they may be read;
    /// `None` for none at all. What is open already stays so.
    pub(crate) fn enter(directory: Option<BorrowedFd<'_>>, source: Option<BorrowedFd<'_>>) -> Self {
        let is_writable = directory.is_none_or(is_writable_without_rights);
        Self {
            has_no_capabilities: drop_capabilities(is_writable),
            has_landlock: restrict_files(directory, source).unwrap_or(false),
            has_seccomp: restrict_calls().unwrap_or(false),
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fences = [
            (self.has_no_capabilities, "no capabilities"),
            (self.has_landlock, "landlock"),
            (self.has_seccomp, "seccomp"),
        ];
        let standing: Vec<&str> =
            fences.iter().filter(|(stands, _)| *stands).map(|(_, name)| *name).collect();
        if standing.is_empty() { f.write_str("none") } else { f.write_str(&standing.join(", ")) }
    }
}

/// Whether new files can be made in the directory without any capability.
fn is_writable_without_rights(directory: BorrowedFd<'_>) -> bool {
    let Ok(stat) = rustix::fs::fstat(directory) else { return false };
    let mode = stat.st_mode & 0o777;
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    match (stat.st_uid == user, stat.st_gid == group) {
        (true, _) => mode & 0o300 == 0o300,
        (false, true) => mode & 0o030 == 0o030,
        (false, false) => mode & 0o003 == 0o003,
    }
}

/// Root may write into a directory of another user only by capability; that one is then kept, and
/// landlock confines it to the directory. Returns whether nothing is left.
fn drop_capabilities(is_writable: bool) -> bool {
    let kept = if is_writable { CapabilitySet::empty() } else { CapabilitySet::DAC_OVERRIDE };
    let held = rustix::thread::capabilities(None).map_or(kept, |sets| sets.permitted);
    let kept = kept & held;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_no_new_privs(true).is_ok()
        && rustix::thread::set_capabilities(None, sets).is_ok()
        && kept.is_empty()
}

fn restrict_files(
    directory: Option<BorrowedFd<'_>>,
    source: Option<BorrowedFd<'_>>,
) -> Result<bool, landlock::RulesetError> {
    let abi = ABI::V5;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .create()?;
    let rules = match directory {
        Some(directory) => rules.add_rule(PathBeneath::new(
            directory,
            AccessFs::WriteFile
                | AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::MakeReg
                | AccessFs::RemoveFile
                | AccessFs::Truncate,
        ))?,
        None => rules,
    };
    let rules = match source {
        Some(source) => {
            rules.add_rule(PathBeneath::new(source, AccessFs::ReadFile | AccessFs::ReadDir))?
        }
        None => rules,
    };
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

fn restrict_calls() -> Result<bool, seccompiler::Error> {
    let Ok(arch) = std::env::consts::ARCH.try_into() else { return Ok(false) };
    let rules = ALLOWED_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    // An error instead of a kill: the program then says what failed, and the file stays whole.
    let refuse = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().unsigned_abs());
    let program: BpfProgram =
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(true)
}

/// What reading rings and writing files takes; no socket, exec, ptrace, mount, kill.
const ALLOWED_CALLS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pread64,
    libc::SYS_getdents64,
    libc::SYS_flock,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_fstatfs,
    libc::SYS_fcntl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
