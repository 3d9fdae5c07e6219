//! A QEMU process over its life: its taps may be renamed or plugged in, and it may arrive.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use inventory::facts::{NamespaceId, QemuNic, QemuProcess};
use wire::Timestamp;

use super::process::Process;
use super::qemu::CommandLine;

/// A process that is a VM.
#[derive(Debug)]
pub(super) struct Qemu {
    pub(super) facts: QemuProcess,
    /// The cards of the command line.
    nics: Vec<QemuNic>,
    /// The descriptor of each card's tap, where the command line names none.
    fds: Vec<Option<u32>>,
    /// How long the virtual CPUs had run when first seen.
    vcpu_ticks: Option<u64>,
    pub(super) gap: Option<String>,
}

impl Qemu {
    pub(super) fn new(
        pid: u32,
        started: Timestamp,
        namespace: NamespaceId,
        line: CommandLine,
    ) -> Self {
        let mut fds = Vec::new();
        let mut nics = Vec::new();
        for nic in line.nics {
            fds.push(nic.backend.fd.filter(|_| nic.backend.ifname.is_none()));
            nics.push(QemuNic {
                id: nic.id,
                mac: nic.mac,
                tap: nic.backend.ifname,
                backend: nic.backend.kind,
            });
        }
        let facts = QemuProcess {
            pid,
            started,
            name: line.name,
            uuid: line.uuid,
            namespace,
            is_incoming: line.is_incoming,
            nics: nics.clone(),
        };
        Self { facts, nics, fds, vcpu_ticks: None, gap: None }
    }

    /// Asks the kernel which tap each descriptor is: a tap may have been renamed. With `is_deep`
    /// all descriptors are looked at, for taps that no card of the command line has.
    pub(super) fn read_taps(&mut self, process: &Process, root: &Path, is_deep: bool) {
        let mut has_denied = false;
        for (nic, fd) in self.nics.iter_mut().zip(&self.fds) {
            let Some(fd) = *fd else { continue };
            match process.tap_of(root, fd) {
                Ok(tap) => nic.tap = tap,
                Err(error) => has_denied |= is_denied(&error),
            }
        }
        if has_denied {
            self.gap = Some(self.sentence(process, root, "fdinfo"));
        }
        if !is_deep {
            // What was plugged in is still there.
            let plugged = self.facts.nics.split_off(self.nics.len().min(self.facts.nics.len()));
            self.facts.nics = self.nics.iter().cloned().chain(plugged).collect();
            return;
        }
        let mut held = process.held_taps(root).unwrap_or_default();
        self.follow_renames(&held);
        for tap in self.nics.iter().filter_map(|nic| nic.tap.as_ref()) {
            held.remove(tap);
        }
        let plugged = held.into_iter().map(|tap| QemuNic {
            id: None,
            mac: None,
            tap: Some(tap),
            backend: "tap".to_owned(),
        });
        self.facts.nics = self.nics.iter().cloned().chain(plugged).collect();
    }

    /// A tap named on the command line may bear another name by now. That is certain only where
    /// one name is missing and one is left over.
    fn follow_renames(&mut self, held: &BTreeSet<String>) {
        let claimed: BTreeSet<String> =
            self.nics.iter().filter_map(|nic| nic.tap.clone()).collect();
        let mut left_over = held.difference(&claimed);
        let mut missing = self
            .nics
            .iter_mut()
            .filter(|nic| nic.tap.as_ref().is_some_and(|tap| !held.contains(tap)));
        if let (Some(name), None) = (left_over.next(), left_over.next())
            && let (Some(nic), None) = (missing.next(), missing.next())
        {
            nic.tap = Some(name.clone());
        }
    }

    /// `-incoming` stays on the command line; a VM whose CPUs run has arrived.
    pub(super) fn notice_arrival(&mut self, process: &Process) {
        if !self.facts.is_incoming {
            return;
        }
        let Some(ticks) = process.vcpu_ticks() else { return };
        let at_first = *self.vcpu_ticks.get_or_insert(ticks);
        self.facts.is_incoming =
            ticks < VCPU_TICKS_OF_START && ticks < at_first.saturating_add(VCPU_TICKS_GROWN);
    }

    pub(super) fn sentence(&self, process: &Process, root: &Path, file: &str) -> String {
        let pid = self.facts.pid;
        let name = self.facts.name.as_deref().unwrap_or("without a name");
        let owner = process.owner().map_or("unknown".to_owned(), |uid| user_name(root, uid));
        format!(
            "cannot read /proc/{pid}/{file} of QEMU {name} (owner {owner}); run as root or grant \
             cap_sys_ptrace"
        )
    }
}

pub(super) fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The name of a user, or the number where it has none.
fn user_name(root: &Path, uid: u32) -> String {
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// Creating virtual CPUs takes them a few ticks; who has more than this has run a guest.
const VCPU_TICKS_OF_START: u64 = 20;
/// While a guest waits its virtual CPUs stand still; one tick may be the rest of their start.
const VCPU_TICKS_GROWN: u64 = 2;
