//! What a file sink knows about the packets it was given.

use std::path::PathBuf;

use wire::Timestamp;
use wire::file::{InterfaceHeader, MAX_PACKET_BYTES, StatisticsBlock};

use crate::{End, SinkError};

/// Counters of one observation point since its capture began. They only rise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointCounters {
    /// Packets that came to the interface, where it counts them.
    pub received: Option<u64>,
    /// Packets the capture filter in the kernel let through, those lost after it included.
    pub filter_accepted: Option<u64>,
    /// Packets the kernel lost because the ring was full.
    pub kernel_dropped: u64,
    /// Packets the interface lost before the kernel saw them.
    pub interface_dropped: u64,
}

/// What was written, as far as it is in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Their bytes as kept, without headers of the file.
    pub payload_bytes: u64,
    /// Bytes of the file or files.
    pub file_bytes: u64,
}

/// One file of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAccount {
    /// Its path; `-` is standard output.
    pub path: PathBuf,
    /// When it was begun.
    pub start: Timestamp,
    /// When it was closed.
    pub end: Timestamp,
    /// What is in it.
    pub totals: Totals,
}

/// What became of a capture, in the end.
#[derive(Debug)]
pub struct Summary {
    /// Packets written of each observation point, in the order of their numbers.
    pub written: Vec<u64>,
    /// What was written to all files, those deleted since included.
    pub totals: Totals,
    /// Packets taken but not in any file, because writing failed or the reader went away.
    pub packets_unwritten: u64,
    /// Packets not taken because the reader was slow or no file could hold them.
    pub packets_refused: u64,
    /// How many files were begun.
    pub files_made: u64,
    /// How many of them were deleted again to keep no more than asked for.
    pub files_deleted: u64,
    /// The files closed last and not asked for with `take_closed`, oldest first.
    pub files: Vec<FileAccount>,
    /// Why it took no more packets, if it was not simply finished.
    pub ended: Option<End>,
    /// What went wrong at the very end: the counters may be missing in the last file.
    pub failure: Option<SinkError>,
}

/// One observation point in the sink.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) header: InterfaceHeader,
    /// The most bytes kept of a packet.
    pub(crate) snaplen: usize,
    pub(crate) counters: PointCounters,
    pub(crate) at_file_start: PointCounters,
    pub(crate) written: u64,
    pub(crate) written_at_file_start: u64,
    pub(crate) refused: u64,
    /// Refused since the last packet written, to be told with the next one.
    pub(crate) refused_before: u64,
}

impl Point {
    pub(crate) fn new(mut header: InterfaceHeader) -> Self {
        // tcpdump refuses a file whose interfaces have different limits, so all say the same one
        // and each packet is cut to its own.
        let most = u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX);
        let asked = std::mem::replace(&mut header.snaplen, most);
        let snaplen = if asked == 0 { MAX_PACKET_BYTES } else { asked.min(most) as usize };
        Self {
            header,
            snaplen,
            counters: PointCounters::default(),
            at_file_start: PointCounters::default(),
            written: 0,
            written_at_file_start: 0,
            refused: 0,
            refused_before: 0,
        }
    }

    pub(crate) fn begin_file(&mut self) {
        self.at_file_start = self.counters;
        self.written_at_file_start = self.written;
    }

    pub(crate) fn refuse(&mut self) {
        self.refused += 1;
        self.refused_before += 1;
    }

    /// The block that ends a file: counters of the file in its options, of the capture in words.
    pub(crate) fn statistics(&self, start: Timestamp, end: Timestamp) -> StatisticsBlock {
        let (now, before) = (&self.counters, &self.at_file_start);
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let known = |now: Option<u64>, before: Option<u64>| {
            now.map(|now| since(now, before.unwrap_or_default()))
        };
        let os_dropped = since(now.kernel_dropped, before.kernel_dropped);
        let interface_dropped = since(now.interface_dropped, before.interface_dropped);
        let written = since(self.written, self.written_at_file_start);
        let mut comment = format!(
            "this file: {written} packets, {os_dropped} lost by the kernel, {interface_dropped} \
             lost by the interface; capture so far: {} packets, {} lost by the kernel, {} lost \
             by the interface",
            self.written, now.kernel_dropped, now.interface_dropped,
        );
        if self.refused > 0 {
            comment.push_str(&format!(", {} not taken by this file's reader", self.refused));
        }
        StatisticsBlock {
            time: end,
            start: Some(start),
            end: Some(end),
            received: known(now.received, before.received),
            interface_dropped: Some(interface_dropped),
            accepted: known(now.filter_accepted, before.filter_accepted),
            os_dropped: Some(os_dropped),
            delivered: Some(written),
            comments: vec![comment],
        }
    }
}

/// The most bytes one statistics block with its own comment can have: 32 fixed, two times and
/// five counters of 12 each, the end 4, and a comment of seven numbers of at most 20 digits.
pub(crate) const STATISTICS_MAX_BYTES: u64 = 32 + 7 * 12 + 4 + 4 + 7 * 20 + 256;

#[cfg(test)]
mod tests {
    use wire::file::write_statistics;

    use super::*;

    #[test]
    fn the_longest_statistics_block_is_within_its_bound() {
        let counters = PointCounters {
            received: Some(u64::MAX),
            filter_accepted: Some(u64::MAX),
            kernel_dropped: u64::MAX,
            interface_dropped: u64::MAX,
        };
        let mut point = Point::new(InterfaceHeader::ethernet("web"));
        point.counters = counters;
        point.written = u64::MAX;
        point.refused = u64::MAX;
        let mut out = Vec::new();
        write_statistics(&mut out, 0, &point.statistics(Timestamp::ZERO, Timestamp::ZERO));
        assert!(out.len() as u64 <= STATISTICS_MAX_BYTES, "{}", out.len());
    }
}
