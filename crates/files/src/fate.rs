//! What became of a packet: one name and one counter for each way.

/// What became of a packet that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is in an output.
    Written,
    /// It is no mirror's, and only mirrored frames were asked for.
    NoMirror,
    /// A mirror sent it, but no frame can be read from it: it is cut, in fragments, or holds
    /// something else.
    Unreadable,
    /// It is of none of the VMs that were asked for.
    OtherVm,
    /// The expression does not want it.
    NotSelected,
    /// It is a fragment of which nobody can know whether it is wanted: the first one of its packet
    /// is missing, or there are several it may belong to.
    Undecidable,
    /// It is older or younger than asked for.
    OutsideTime,
    /// It is a copy of a packet that is written.
    Duplicate,
    /// It begins with another kind of header than the packets of the file it would go to.
    OtherLink,
    /// The output could not take it: a full disk, a reader that went away.
    Unwritten,
}

impl Fate {
    /// Every fate, in the order receipts show them.
    pub const ALL: [Self; 10] = [
        Self::Written,
        Self::NoMirror,
        Self::Unreadable,
        Self::OtherVm,
        Self::NotSelected,
        Self::Undecidable,
        Self::OutsideTime,
        Self::Duplicate,
        Self::OtherLink,
        Self::Unwritten,
    ];

    /// The name used in receipts and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::NoMirror => "no_mirror",
            Self::Unreadable => "unreadable_mirror",
            Self::OtherVm => "other_vm",
            Self::NotSelected => "not_selected",
            Self::Undecidable => "undecidable",
            Self::OutsideTime => "outside_time",
            Self::Duplicate => "duplicate",
            Self::OtherLink => "other_link_type",
            Self::Unwritten => "unwritten",
        }
    }

    /// What it means, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::NoMirror => "of no mirror",
            Self::Unreadable => "of a mirror, but cut, in fragments or without a frame",
            Self::OtherVm => "of other VMs",
            Self::NotSelected => "not selected",
            Self::Undecidable => "fragments of packets unknown",
            Self::OutsideTime => "outside the time asked for",
            Self::Duplicate => "duplicates",
            Self::OtherLink => "of another link type than the output",
            Self::Unwritten => "could not be written",
        }
    }

    /// Whether such a packet was asked for and is not there.
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::Unreadable | Self::OtherLink | Self::Unwritten)
    }
}

/// How many packets had which fate, and what was done to the written ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets read.
    pub read: u64,
    fates: [u64; Fate::ALL.len()],
    /// Bytes of packets written, without what the file format adds.
    pub written_bytes: u64,
    /// Written packets that lost bytes at their end here.
    pub sliced: u64,
    /// Written packets that lost headers here.
    pub stripped: u64,
}

impl Tally {
    /// Counts one packet.
    #[inline]
    pub fn count(&mut self, fate: Fate) {
        if let Some(count) = self.fates.get_mut(fate as usize) {
            *count += 1;
        }
    }

    /// How many packets had this fate.
    pub fn of(&self, fate: Fate) -> u64 {
        self.fates.get(fate as usize).copied().unwrap_or_default()
    }

    /// A packet that was counted as undecidable for the time being has this fate.
    pub(crate) fn decide(&mut self, fate: Fate) {
        if let Some(count) = self.fates.get_mut(Fate::Undecidable as usize) {
            *count = count.saturating_sub(1);
        }
        self.count(fate);
    }

    /// Moves packets that were taken for written to those that are not.
    pub fn unwrite(&mut self, packets: u64) {
        if let Some(count) = self.fates.get_mut(Fate::Written as usize) {
            *count = count.saturating_sub(packets);
        }
        if let Some(count) = self.fates.get_mut(Fate::Unwritten as usize) {
            *count += packets;
        }
    }

    /// Packets read that have no fate; anything but 0 is an error of ours, which no receipt hides.
    pub fn unaccounted(&self) -> i128 {
        i128::from(self.read) - i128::from(self.fates.iter().sum::<u64>())
    }

    /// Adds another account to this one.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        for (count, more) in self.fates.iter_mut().zip(other.fates) {
            *count += more;
        }
        self.written_bytes += other.written_bytes;
        self.sliced += other.sliced;
        self.stripped += other.stripped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_has_a_counter_of_its_own() {
        let mut tally = Tally { read: Fate::ALL.len() as u64, ..Tally::default() };
        for fate in Fate::ALL {
            tally.count(fate);
        }
        assert!(Fate::ALL.iter().all(|fate| tally.of(*fate) == 1));
        assert_eq!(tally.unaccounted(), 0);
        tally.unwrite(1);
        assert_eq!((tally.of(Fate::Written), tally.of(Fate::Unwritten)), (0, 2));
        assert_eq!(tally.unaccounted(), 0);
    }
}
