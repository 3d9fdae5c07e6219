//! The bodies of chunks that hold no packets.

use serde::{Deserialize, Serialize};
use wire::Timestamp;

use crate::bytes::Bytes;

/// A sign of life: everything seen before `settled` is in chunks before this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Alive {
    pub(crate) settled: Timestamp,
    /// What was lost at points, where that has changed.
    pub(crate) counts: Vec<(u32, Losses)>,
}

/// Packets of a point that are not in the recording though they should be, since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Losses {
    /// The kernel's ring had no room.
    pub(crate) kernel_dropped: u64,
    /// They could not be written.
    pub(crate) unwritten: u64,
}

impl Losses {
    /// What was lost since there was `before`.
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            kernel_dropped: self.kernel_dropped.saturating_sub(before.kernel_dropped),
            unwritten: self.unwritten.saturating_sub(before.unwritten),
        }
    }
}

impl Alive {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.settled.as_nanos().to_le_bytes());
        for (point, Losses { kernel_dropped, unwritten }) in &self.counts {
            out.extend_from_slice(&point.to_le_bytes());
            out.extend_from_slice(&kernel_dropped.to_le_bytes());
            out.extend_from_slice(&unwritten.to_le_bytes());
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let settled = Timestamp::from_nanos(bytes.u64()?);
        let mut counts = Vec::new();
        while !bytes.is_empty() {
            let point = bytes.u32()?;
            let losses = Losses { kernel_dropped: bytes.u64()?, unwritten: bytes.u64()? };
            counts.push((point, losses));
        }
        Some(Self { settled, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_read_as_it_was_written() {
        let losses = Losses { kernel_dropped: 5, unwritten: 6 };
        let alive = Alive { settled: Timestamp::from_nanos(9), counts: vec![(4, losses)] };
        let mut bytes = Vec::new();
        alive.encode(&mut bytes);
        assert_eq!(Alive::decode(&bytes), Some(alive));
        assert_eq!(Alive::decode(&bytes[..bytes.len() - 1]), None);
    }
}
