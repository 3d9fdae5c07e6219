//! Counters of packets that have something in common, in a table that cannot grow without end.

use wire::{Packet, Timestamp};

/// How many packets, how large, from when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Their bytes in the file.
    pub captured_bytes: u64,
    /// The time of the oldest and of the youngest; both zero if there are none.
    pub first: Timestamp,
    /// See `first`.
    pub last: Timestamp,
}

impl Counts {
    #[inline]
    pub(super) fn add(&mut self, packet: &Packet<'_>) {
        if self.packets == 0 || packet.time < self.first {
            self.first = packet.time;
        }
        self.last = self.last.max(packet.time);
        self.packets += 1;
        self.bytes += u64::from(packet.wire_len);
        self.captured_bytes += packet.data.len() as u64;
    }

    /// Takes in other counters.
    pub(super) fn join(&mut self, other: &Self) {
        if self.packets == 0 || other.packets > 0 && other.first < self.first {
            self.first = other.first;
        }
        self.last = self.last.max(other.last);
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.captured_bytes += other.captured_bytes;
    }

    /// How long it took from the first to the last, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a rate has few digits")]
    fn seconds(&self) -> Option<f64> {
        let nanos = self.last.as_nanos().checked_sub(self.first.as_nanos())?;
        (nanos > 0).then(|| nanos as f64 / 1e9)
    }

    /// Packets a second, between the first and the last; `None` if they are at one time.
    #[expect(clippy::cast_precision_loss, reason = "a rate has few digits")]
    pub fn packet_rate(&self) -> Option<f64> {
        Some(self.packets as f64 / self.seconds()?)
    }

    /// Bits on the wire a second; `None` if all packets are at one time.
    #[expect(clippy::cast_precision_loss, reason = "a rate has few digits")]
    pub fn bit_rate(&self) -> Option<f64> {
        Some(self.bytes as f64 * 8.0 / self.seconds()?)
    }
}

/// What a table can have a row for each of.
pub(super) trait RowKey: Copy + Eq {
    /// Spreads over all bits.
    fn hash(&self) -> u64;
}

/// Counters for each of many things, as long as there is room.
#[derive(Debug)]
pub(super) struct Table<K> {
    /// One more than the number of the row, 0 for none; a power of two, at most half full.
    slots: Vec<u32>,
    rows: Vec<(K, Counts)>,
    /// What had no row of its own.
    others: Counts,
}

impl<K: RowKey> Table<K> {
    pub(super) fn new() -> Self {
        Self { slots: vec![0; 64], rows: Vec::new(), others: Counts::default() }
    }

    #[inline]
    pub(super) fn add(&mut self, key: K, packet: &Packet<'_>) {
        let hash = key.hash();
        let mask = self.slots.len() - 1;
        let mut slot = spread(hash) & mask;
        loop {
            let number = self.slots.get(slot).copied().unwrap_or_default();
            if number == 0 {
                return self.insert(key, slot, packet);
            }
            if let Some((found, counts)) = self.rows.get_mut(number as usize - 1)
                && *found == key
            {
                return counts.add(packet);
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, key: K, slot: usize, packet: &Packet<'_>) {
        if self.rows.len() >= MAX_ROWS {
            return self.others.add(packet);
        }
        let mut counts = Counts::default();
        counts.add(packet);
        self.rows.push((key, counts));
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        if let Some(free) = self.slots.get_mut(slot) {
            *free = number;
        }
        if self.rows.len() * 2 > self.slots.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots.clear();
        self.slots.resize(mask + 1, 0);
        for (number, (key, _)) in (1..).zip(&self.rows) {
            let mut slot = spread(key.hash()) & mask;
            while self.slots.get(slot).is_some_and(|number| *number != 0) {
                slot = (slot + 1) & mask;
            }
            if let Some(free) = self.slots.get_mut(slot) {
                *free = number;
            }
        }
    }

    pub(super) fn finish<T>(self, name: impl Fn(K) -> T) -> Rows<T> {
        let mut rows: Vec<(T, Counts)> =
            self.rows.into_iter().map(|(key, counts)| (name(key), counts)).collect();
        rows.sort_by_key(|(_, counts)| std::cmp::Reverse((counts.bytes, counts.packets)));
        Rows { rows, others: self.others }
    }
}

/// The rows of a table, the one with most bytes first.
#[derive(Debug, Clone)]
pub struct Rows<T> {
    /// What, and how much of it.
    pub rows: Vec<(T, Counts)>,
    /// Packets of those for which there was no row any more: the table was full.
    pub others: Counts,
}

impl<T> Rows<T> {
    /// How many rows a table has at most.
    pub const MOST: usize = MAX_ROWS;
}

const fn spread(hash: u64) -> usize {
    (hash >> 32) as usize
}

const MAX_ROWS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use wire::LinkType;

    use super::*;

    impl RowKey for u32 {
        fn hash(&self) -> u64 {
            // The worst: all in few places.
            u64::from(*self % 7) << 32
        }
    }

    fn packet(nanos: u64, wire_len: u32) -> Packet<'static> {
        Packet::new(Timestamp::from_nanos(nanos), LinkType::ETHERNET, &[0; 10], wire_len)
    }

    #[test]
    fn rows_are_told_apart_and_the_largest_is_first() {
        let mut table = Table::new();
        for number in 0..300_u32 {
            for _ in 0..=number {
                table.add(number, &packet(u64::from(number), 100));
            }
        }
        let rows = table.finish(|key| key);
        assert_eq!(rows.rows.len(), 300);
        assert!(rows.rows.iter().all(|(key, counts)| counts.packets == u64::from(*key) + 1));
        assert_eq!(rows.rows[0].0, 299);
        assert_eq!(rows.others.packets, 0);
    }

    #[test]
    fn times_need_no_order_and_rates_need_time() {
        let mut counts = Counts::default();
        counts.add(&packet(3_000_000_000, 50));
        assert_eq!(counts.packet_rate(), None);
        counts.add(&packet(1_000_000_000, 150));
        assert_eq!((counts.first.seconds(), counts.last.seconds()), (1, 3));
        assert_eq!((counts.packet_rate(), counts.bit_rate()), (Some(1.0), Some(800.0)));
        assert_eq!(counts.captured_bytes, 20);
    }
}
