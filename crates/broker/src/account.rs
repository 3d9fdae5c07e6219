//! The account of one tool: every packet offered to it, and what became of each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a packet did not go to a tool. Each has one counter for each tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ToolDrop {
    /// The tool had no grant for it at its time.
    OtherTenant,
    /// Its owner cannot be known.
    Undecidable,
    /// It is one of the packets that overtap itself sends to a tool.
    OwnExport,
    /// The tool's selection does not ask for it, whosever it is.
    NotSelected,
    /// A copy of one that the tool has had.
    Duplicate,
    /// The tool gets one packet of many, and it is another.
    NotSampled,
    /// It is no Ethernet frame, and the encapsulation takes no other.
    NotEthernet,
    /// It is larger than the way takes, and the policy refuses such.
    TooLarge,
    /// More in a second than the tool is to get.
    OverRate,
    /// No tool has called yet, or none any more, where tools call us.
    NotConnected,
    /// The tool or the way to it was slower than the traffic, and its queue was full.
    QueueFull,
    /// It could not be sent: nobody listens, no way leads there, the disk is full.
    SinkFailed,
}

impl ToolDrop {
    /// Every reason, in the order in which a packet meets them.
    pub const ALL: [Self; 12] = [
        Self::OtherTenant,
        Self::Undecidable,
        Self::OwnExport,
        Self::NotSelected,
        Self::Duplicate,
        Self::NotSampled,
        Self::NotEthernet,
        Self::TooLarge,
        Self::OverRate,
        Self::NotConnected,
        Self::QueueFull,
        Self::SinkFailed,
    ];

    /// The name used in receipts and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherTenant => "other_tenant",
            Self::Undecidable => "undecidable",
            Self::OwnExport => "own_export",
            Self::NotSelected => "not_selected",
            Self::Duplicate => "duplicate",
            Self::NotSampled => "not_sampled",
            Self::NotEthernet => "not_ethernet",
            Self::TooLarge => "too_large",
            Self::OverRate => "over_rate",
            Self::NotConnected => "not_connected",
            Self::QueueFull => "queue_full",
            Self::SinkFailed => "sink_failed",
        }
    }
}

impl fmt::Display for ToolDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherTenant => "no grant for it",
            Self::Undecidable => "owner undecidable",
            Self::OwnExport => "sent by overtap itself",
            Self::NotSelected => "not selected",
            Self::Duplicate => "duplicate",
            Self::NotSampled => "not sampled",
            Self::NotEthernet => "no Ethernet frame",
            Self::TooLarge => "too large for the way",
            Self::OverRate => "over the rate",
            Self::NotConnected => "no tool has called",
            Self::QueueFull => "queue full",
            Self::SinkFailed => "could not be sent",
        })
    }
}

/// Every packet offered to a tool, in numbers that add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolAccount {
    /// Packets offered.
    pub offered: u64,
    /// The tool had no grant for it at its time.
    pub other_tenant: u64,
    /// Its owner cannot be known.
    pub undecidable: u64,
    /// Sent by overtap itself.
    pub own_export: u64,
    /// Not asked for.
    pub not_selected: u64,
    /// Copies of others.
    pub duplicate: u64,
    /// Left out of the sample.
    pub not_sampled: u64,
    /// No Ethernet frame.
    pub not_ethernet: u64,
    /// Larger than the way takes, and refused for it.
    pub too_large: u64,
    /// Over the rate.
    pub over_rate: u64,
    /// No tool had called.
    pub not_connected: u64,
    /// The queue was full.
    pub queue_full: u64,
    /// Could not be sent.
    pub sink_failed: u64,
    /// Packets sent.
    pub sent: u64,
    /// Datagrams or records they were sent in; more than packets where some were segmented.
    pub datagrams: u64,
    /// Bytes of these, without the headers of IP and below.
    pub sent_bytes: u64,
    /// Packets sent of which bytes were cut off, by the policy or because they did not fit.
    pub sliced: u64,
    /// Packets sent in several segments.
    pub segmented: u64,
    /// Packets sent without some headers.
    pub stripped: u64,
}

impl ToolAccount {
    /// Packets dropped for this reason.
    pub const fn dropped(&self, reason: ToolDrop) -> u64 {
        match reason {
            ToolDrop::OtherTenant => self.other_tenant,
            ToolDrop::Undecidable => self.undecidable,
            ToolDrop::OwnExport => self.own_export,
            ToolDrop::NotSelected => self.not_selected,
            ToolDrop::Duplicate => self.duplicate,
            ToolDrop::NotSampled => self.not_sampled,
            ToolDrop::NotEthernet => self.not_ethernet,
            ToolDrop::TooLarge => self.too_large,
            ToolDrop::OverRate => self.over_rate,
            ToolDrop::NotConnected => self.not_connected,
            ToolDrop::QueueFull => self.queue_full,
            ToolDrop::SinkFailed => self.sink_failed,
        }
    }

    /// Counts one packet that went no further.
    pub fn drop(&mut self, reason: ToolDrop) {
        *self.counter(reason) += 1;
    }

    /// Packets that the tool was to get and did not, by no wish of the person.
    pub const fn lost(&self) -> u64 {
        self.queue_full + self.sink_failed
    }

    /// Packets offered that are in no counter; anything but 0 is a fault of the program.
    pub fn unaccounted(&self) -> i64 {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let dropped: u64 = ToolDrop::ALL.iter().map(|reason| self.dropped(*reason)).sum();
        signed(self.offered) - signed(self.sent) - signed(dropped)
    }

    /// What the outlet found out later: packets counted as sent that were not.
    pub fn unsend(&mut self, packets: u64, datagrams: u64) {
        let packets = packets.min(self.sent);
        self.sent -= packets;
        self.sink_failed += packets;
        self.datagrams = self.datagrams.saturating_sub(datagrams);
    }

    pub(crate) fn counter(&mut self, reason: ToolDrop) -> &mut u64 {
        match reason {
            ToolDrop::OtherTenant => &mut self.other_tenant,
            ToolDrop::Undecidable => &mut self.undecidable,
            ToolDrop::OwnExport => &mut self.own_export,
            ToolDrop::NotSelected => &mut self.not_selected,
            ToolDrop::Duplicate => &mut self.duplicate,
            ToolDrop::NotSampled => &mut self.not_sampled,
            ToolDrop::NotEthernet => &mut self.not_ethernet,
            ToolDrop::TooLarge => &mut self.too_large,
            ToolDrop::OverRate => &mut self.over_rate,
            ToolDrop::NotConnected => &mut self.not_connected,
            ToolDrop::QueueFull => &mut self.queue_full,
            ToolDrop::SinkFailed => &mut self.sink_failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_adds_up_when_every_packet_has_a_place() {
        let mut account = ToolAccount { offered: 14, sent: 2, ..ToolAccount::default() };
        ToolDrop::ALL.iter().for_each(|reason| account.drop(*reason));
        assert_eq!((account.unaccounted(), account.lost()), (0, 2));
        account.unsend(1, 1);
        assert_eq!((account.unaccounted(), account.sent, account.sink_failed), (0, 1, 2));
    }
}
