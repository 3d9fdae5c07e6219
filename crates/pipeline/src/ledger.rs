//! The account of one observation point: every packet from the interface to the file.

use select::DropReason;
use serde::{Deserialize, Serialize};

/// What became of every packet that the kernel handed to one observation point.
///
/// `received = kernel_dropped + unread + the drops + written`, to the packet, at any time; and
/// `unread` is 0 once a point is closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Packets that reached the socket: all of the interface that passed the kernel's filter.
    pub received: u64,
    /// Packets for which the kernel's ring had no room.
    pub kernel_dropped: u64,
    /// No selection asked for it.
    pub not_selected: u64,
    /// It came to the address of a mirror, but the mirror did not send it, or no frame can be read
    /// from it.
    #[serde(default)]
    pub not_mirrored: u64,
    /// It belongs to another VM or tenant.
    pub other_tenant: u64,
    /// Its owner, or what a fragment is a piece of, cannot be known.
    pub undecidable: u64,
    /// It is one that overtap itself sends to a tool.
    #[serde(default)]
    pub own_export: u64,
    /// It came after a limit was reached.
    pub after_limit: u64,
    /// The destination's queue was full.
    pub queue_full: u64,
    /// The destination refused it.
    pub sink_failed: u64,
    /// Packets written.
    pub written: u64,
    /// Bytes of packets written, without what the file format adds.
    pub written_bytes: u64,
    /// Packets among the written ones that were cut to the snaplen.
    pub sliced: u64,
    /// Packets of a mirror that did not come, by its sequence numbers: an estimate, and of none that
    /// were received.
    #[serde(default)]
    pub lost_of_mirror: u64,
}

impl Ledger {
    /// Counts a packet that went no further.
    pub fn drop(&mut self, reason: DropReason) {
        *self.counter(reason) += 1;
    }

    /// How many packets went no further for `reason`.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        match reason {
            DropReason::NotSelected => self.not_selected,
            DropReason::NotMirrored => self.not_mirrored,
            DropReason::OtherTenant => self.other_tenant,
            DropReason::Undecidable => self.undecidable,
            DropReason::OwnExport => self.own_export,
            DropReason::AfterLimit => self.after_limit,
            DropReason::QueueFull => self.queue_full,
            DropReason::SinkFailed => self.sink_failed,
        }
    }

    /// Packets user space has read and accounted for.
    pub fn read(&self) -> u64 {
        self.written + DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum::<u64>()
    }

    /// Packets the kernel counted that are neither read nor dropped; 0 for a closed point.
    ///
    /// Negative would mean that a packet was counted twice, which no receipt may hide.
    pub fn unread(&self) -> i64 {
        signed(self.received) - signed(self.kernel_dropped) - signed(self.read())
    }

    /// Packets that were asked for and are not in the file, by no wish of the person.
    pub const fn lost(&self) -> u64 {
        self.kernel_dropped + self.queue_full + self.sink_failed
    }

    /// Both accounts together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.received += other.received;
        self.kernel_dropped += other.kernel_dropped;
        for reason in DropReason::ALL {
            *self.counter(reason) += other.dropped(reason);
        }
        self.written += other.written;
        self.written_bytes += other.written_bytes;
        self.sliced += other.sliced;
        self.lost_of_mirror += other.lost_of_mirror;
        self
    }

    fn counter(&mut self, reason: DropReason) -> &mut u64 {
        match reason {
            DropReason::NotSelected => &mut self.not_selected,
            DropReason::NotMirrored => &mut self.not_mirrored,
            DropReason::OtherTenant => &mut self.other_tenant,
            DropReason::Undecidable => &mut self.undecidable,
            DropReason::OwnExport => &mut self.own_export,
            DropReason::AfterLimit => &mut self.after_limit,
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::SinkFailed => &mut self.sink_failed,
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_adds_up_when_every_packet_has_a_place() {
        let mut ledger =
            Ledger { received: 12, kernel_dropped: 2, written: 2, ..Ledger::default() };
        for reason in DropReason::ALL {
            ledger.drop(reason);
        }
        assert_eq!(ledger.unread(), 0);
        assert_eq!(ledger.read(), 10);
        assert_eq!(ledger.lost(), 4, "kernel, queue and sink; the others were not asked for");
    }

    #[test]
    fn sums_keep_every_counter_apart() {
        let mut one = Ledger { received: 3, ..Ledger::default() };
        one.drop(DropReason::OtherTenant);
        let sum = one.plus(&one);
        assert_eq!((sum.received, sum.other_tenant, sum.not_selected), (6, 2, 0));
    }
}
