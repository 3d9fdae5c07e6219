//! Why a packet went no further: one name for each way of disappearing.

use std::fmt;

/// Why a packet went no further. Each has one counter in every receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// No selection asked for it.
    NotSelected,
    /// It came to the address of a mirror, but the mirror did not send it, or no frame can be read
    /// from it.
    NotMirrored,
    /// It belongs to a VM or tenant that was not asked for or may not be seen.
    OtherTenant,
    /// Its owner, or whether it was asked for, cannot be known: a later IP fragment whose first was
    /// not seen or could be one of several, or cut before the identity.
    Undecidable,
    /// It is one of the packets that overtap itself sends to a tool, or carries one.
    OwnExport,
    /// The session had reached its limit of packets, bytes or time.
    AfterLimit,
    /// The destination was slower than the traffic and its queue was full.
    QueueFull,
    /// The destination refused it: a full disk, a closed pipe.
    SinkFailed,
}

impl DropReason {
    /// Every reason, in the order receipts show them.
    pub const ALL: [Self; 8] = [
        Self::NotSelected,
        Self::NotMirrored,
        Self::OtherTenant,
        Self::Undecidable,
        Self::OwnExport,
        Self::AfterLimit,
        Self::QueueFull,
        Self::SinkFailed,
    ];

    /// The name used in receipts, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSelected => "not_selected",
            Self::NotMirrored => "not_mirrored",
            Self::OtherTenant => "other_tenant",
            Self::Undecidable => "undecidable",
            Self::OwnExport => "own_export",
            Self::AfterLimit => "after_limit",
            Self::QueueFull => "queue_full",
            Self::SinkFailed => "sink_failed",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSelected => "not selected",
            Self::NotMirrored => "of no mirror",
            Self::OtherTenant => "other tenant",
            Self::Undecidable => "owner undecidable",
            Self::OwnExport => "sent by overtap itself",
            Self::AfterLimit => "after the limit",
            Self::QueueFull => "queue full",
            Self::SinkFailed => "could not be written",
        })
    }
}
