//! The mirror sessions that were seen: how many packets, which were lost on the way, whose clock.
//!
//! Numbers are given by session or by sender: Open vSwitch numbers all its sessions in one row, of
//! which a receiver may see only some. Both rows are followed; the one that fits better is
//! believed. What is lost so far is an estimate all the same: a sender may leave numbers out.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{
    MirrorClock, MirrorKind, MirrorSequence, Mirrored, Sequence, SequenceCounts, SessionKey, Step,
    WINDOW,
};
use crate::{Packet, Timestamp, VlanId};

/// The mirror sessions of one receiver, in the order they were seen.
#[derive(Debug, Clone)]
pub struct MirrorSessions {
    most: usize,
    sessions: Vec<MirrorSession>,
    numbers: HashMap<SessionKey, SessionNumber>,
    senders: Vec<Sender>,
    sender_numbers: HashMap<(Option<IpAddr>, bool), usize>,
    refused: u64,
}

/// The number of a session among those of one receiver, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(pub usize);

/// One mirror session.
#[derive(Debug, Clone)]
pub struct MirrorSession {
    /// What tells it from others.
    pub key: SessionKey,
    /// Where it sends to, as its first packet said.
    pub destination: Option<IpAddr>,
    /// Frames.
    pub packets: u64,
    /// Bytes of the frames before the mirror cut them.
    pub bytes: u64,
    /// Frames that the mirror cut.
    pub truncated: u64,
    /// Frames whose time is the switch's.
    pub timed: u64,
    /// The port of its last frame, as the switch numbers it, and whether others had another one.
    pub port: Option<u32>,
    /// See `port`.
    pub has_many_ports: bool,
    /// The VLAN of its last frame, as the switch says; 0 where that does not know.
    pub vlan: Option<VlanId>,
    /// Whether its last frame was leaving the switch's port.
    pub is_egress: Option<bool>,
    /// The times of its oldest and its youngest frame.
    pub span: (Timestamp, Timestamp),
    sender: usize,
    own: Sequence,
    order: Order,
    clock: MirrorClock,
}

/// What is known of a frame once its session has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Its session; `None` if there are too many.
    pub session: Option<SessionNumber>,
    /// Whether it is the first of its session.
    pub is_first: bool,
    /// Packets of the session, or of its sender, that are known to be lost since the last one.
    pub lost: u64,
    /// When the switch saw it; when it arrived, if the headers do not say.
    pub time: Timestamp,
}

/// A row of numbers, and whose packets are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorNumbering {
    /// Who gives the numbers.
    pub source: Option<IpAddr>,
    /// The sessions that share the row.
    pub sessions: Vec<SessionNumber>,
    /// What it shows if nothing more comes.
    pub counts: SequenceCounts,
}

/// Who sends mirrored frames, and numbers them over all sessions, perhaps.
#[derive(Debug, Clone)]
struct Sender {
    source: Option<IpAddr>,
    joint: Sequence,
    /// How many packets do not fit into the rows of their own sessions.
    own_misfits: u64,
}

/// The byte order of a session's numbers, and the first ones while that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Unknown(Option<[u8; 4]>),
    Big,
    Little,
}

impl Default for MirrorSessions {
    fn default() -> Self {
        Self::new()
    }
}

impl MirrorSessions {
    /// The most sessions that are followed: some hundred bytes each.
    pub const MOST: usize = 4096;

    /// No sessions yet.
    pub fn new() -> Self {
        Self::with_most(Self::MOST)
    }

    /// No sessions yet, and never more than `most`.
    pub fn with_most(most: usize) -> Self {
        Self {
            most,
            sessions: Vec::new(),
            numbers: HashMap::new(),
            senders: Vec::new(),
            sender_numbers: HashMap::new(),
            refused: 0,
        }
    }

    /// Takes a frame that was found in `packet` into its session.
    pub fn admit(&mut self, mirrored: &Mirrored, packet: &Packet<'_>) -> Admitted {
        let Some((number, is_first)) = self.number(mirrored, packet.time) else {
            self.refused += 1;
            return Admitted { session: None, is_first: false, lost: 0, time: packet.time };
        };
        let Self { sessions, senders, .. } = self;
        let mut admitted = Admitted { session: Some(number), is_first, lost: 0, time: packet.time };
        let Some(session) = sessions.get_mut(number.0) else { return admitted };
        if let Some(sequence) = mirrored.sequence
            && let Some(sender) = senders.get_mut(session.sender)
        {
            for known in session.order.known(sequence).into_iter().flatten() {
                admitted.lost += sender.take(&mut session.own, known);
            }
        }
        if let Some(time) = mirrored.time
            && let Some(restored) = session.clock.restore(time, packet.time)
        {
            session.timed += 1;
            admitted.time = restored;
        }
        session.count(mirrored, admitted.time);
        admitted
    }

    /// All sessions, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &MirrorSession> {
        self.sessions.iter()
    }

    /// One session.
    pub fn get(&self, SessionNumber(number): SessionNumber) -> Option<&MirrorSession> {
        self.sessions.get(number)
    }

    /// How many sessions there are.
    pub const fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Frames of sessions that there was no room for.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The rows of numbers, each with all it shows if nothing more comes.
    pub fn numbering(&self) -> Vec<MirrorNumbering> {
        let mut rows = Vec::new();
        for (index, sender) in self.senders.iter().enumerate() {
            let its = || {
                let sessions = self.sessions.iter().enumerate();
                let its = sessions.filter(move |(_, session)| session.sender == index);
                its.filter(|(_, session)| session.own.counts().numbered > 0)
            };
            let source = sender.source;
            if sender.is_joint() {
                let sessions: Vec<_> = its().map(|(number, _)| SessionNumber(number)).collect();
                if !sessions.is_empty() {
                    let counts = sender.joint.final_counts();
                    rows.push(MirrorNumbering { source, sessions, counts });
                }
            } else {
                rows.extend(its().map(|(number, session)| MirrorNumbering {
                    source,
                    sessions: vec![SessionNumber(number)],
                    counts: session.own.final_counts(),
                }));
            }
        }
        rows
    }

    /// Packets lost on the way in all, if nothing more comes.
    pub fn lost(&self) -> u64 {
        self.numbering().iter().map(|row| row.counts.lost).sum()
    }

    /// The number of the session of a frame; `None` if there is no room for it.
    fn number(&mut self, mirrored: &Mirrored, time: Timestamp) -> Option<(SessionNumber, bool)> {
        if let Some(number) = self.numbers.get(&mirrored.session) {
            return Some((*number, false));
        }
        if self.sessions.len() >= self.most {
            return None;
        }
        let key = mirrored.session;
        let is_tzsp = key.kind == MirrorKind::Tzsp;
        let sender = *self.sender_numbers.entry((key.source, is_tzsp)).or_insert_with(|| {
            self.senders.push(Sender {
                source: key.source,
                joint: Sequence::new(),
                own_misfits: 0,
            });
            self.senders.len() - 1
        });
        let number = SessionNumber(self.sessions.len());
        self.numbers.insert(key, number);
        self.sessions.push(MirrorSession {
            key,
            destination: mirrored.destination,
            packets: 0,
            bytes: 0,
            truncated: 0,
            timed: 0,
            port: mirrored.port,
            has_many_ports: false,
            vlan: None,
            is_egress: None,
            span: (time, time),
            sender,
            own: Sequence::new(),
            order: Order::Unknown(None),
            clock: MirrorClock::default(),
        });
        Some((number, true))
    }
}

impl MirrorSession {
    /// Whether the times of its frames are the time of day of the switch's clock.
    pub fn has_time_of_day(&self) -> bool {
        self.clock.is_time_of_day()
    }

    fn count(&mut self, mirrored: &Mirrored, time: Timestamp) {
        self.packets += 1;
        self.bytes += u64::from(mirrored.original_len);
        self.truncated += u64::from(mirrored.is_truncated);
        self.has_many_ports |= self.port != mirrored.port;
        self.port = mirrored.port;
        self.vlan = mirrored.vlan;
        self.is_egress = mirrored.is_egress;
        let (first, last) = self.span;
        self.span =
            if self.packets == 1 { (time, time) } else { (first.min(time), last.max(time)) };
    }
}

impl Sender {
    /// Takes the number of a packet into the row of its session and into that of all. Returns what
    /// is lost since the last one, by the row that is believed.
    fn take(&mut self, own: &mut Sequence, number: u32) -> u64 {
        let before = own.counts().misfits();
        let Step { lost: lost_of_own, .. } = own.take(number);
        self.own_misfits += own.counts().misfits().saturating_sub(before);
        let Step { lost: lost_of_all, .. } = self.joint.take(number);
        if self.is_joint() { lost_of_all } else { lost_of_own }
    }

    /// Whether all sessions share one row: no packet fits worse into it than into its session's.
    fn is_joint(&self) -> bool {
        self.joint.counts().misfits() <= self.own_misfits
    }
}

impl Order {
    /// The numbers that are known now: none yet, this one, or the first one and this.
    fn known(&mut self, sequence: MirrorSequence) -> [Option<u32>; 2] {
        let bytes = match sequence {
            MirrorSequence::Known(number) => return [Some(number), None],
            MirrorSequence::Either(bytes) => bytes,
        };
        let (big, little) = (u32::from_be_bytes(bytes), u32::from_le_bytes(bytes));
        match *self {
            Self::Big => [Some(big), None],
            Self::Little => [Some(little), None],
            Self::Unknown(before) => {
                *self = Self::Unknown(Some(bytes));
                let Some(before) = before else { return [None, None] };
                // The one in which they follow each other.
                let (b, l) = (u32::from_be_bytes(before), u32::from_le_bytes(before));
                let is_near = |from: u32, to: u32| to != from && to.wrapping_sub(from) < WINDOW;
                if is_near(b, big) {
                    *self = Self::Big;
                    [Some(b), Some(big)]
                } else if is_near(l, little) {
                    *self = Self::Little;
                    [Some(l), Some(little)]
                } else {
                    [None, None]
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::LinkType;

    fn frame(kind: MirrorKind, id: u32, sequence: MirrorSequence) -> Mirrored {
        let source = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        Mirrored {
            session: SessionKey { kind, source, id: Some(id) },
            destination: None,
            port: None,
            vlan: None,
            direction: None,
            is_egress: None,
            sequence: Some(sequence),
            time: None,
            is_truncated: false,
            original_len: 60,
            link: LinkType::ETHERNET,
            start: 50,
            end: 110,
            has_own_tag: false,
        }
    }

    fn packet() -> Packet<'static> {
        Packet::new(Timestamp::from_nanos(1), LinkType::ETHERNET, &[0; 110], 110)
    }

    fn sessions(numbers: impl IntoIterator<Item = (u32, u32)>) -> MirrorSessions {
        let mut sessions = MirrorSessions::new();
        for (id, number) in numbers {
            let mirrored = frame(MirrorKind::Erspan2, id, MirrorSequence::Known(number));
            sessions.admit(&mirrored, &packet());
        }
        sessions
    }

    #[test]
    fn sessions_that_share_their_numbers_lose_nothing_by_it() {
        // As Open vSwitch numbers them (pitfall E6).
        let shared = sessions((0..300).map(|n| (n % 3, n)));
        assert_eq!(shared.lost(), 0);
        assert_eq!(shared.numbering().len(), 1);
        let with_hole = sessions((0..300).filter(|n| n % 100 != 50).map(|n| (n % 3, n)));
        assert_eq!(with_hole.lost(), 3);
    }

    #[test]
    fn sessions_with_numbers_of_their_own_are_counted_each() {
        let own =
            sessions((0..600).map(|n| (n % 2, n / 2)).filter(|(id, n)| *id == 0 || n % 100 != 50));
        let lost: Vec<u64> = own.numbering().iter().map(|row| row.counts.lost).collect();
        assert_eq!(lost, [0, 3]);
        let far = sessions((0..600).map(|n| (n % 2, n / 2 + n % 2 * 90_000_000)));
        assert_eq!((far.lost(), far.numbering().len()), (0, 2));
    }

    #[test]
    fn the_byte_order_of_a_sender_is_found_by_what_follows() {
        for little in [false, true] {
            let mut sessions = MirrorSessions::new();
            for n in [300_u32, 301, 303, 304] {
                let bytes = if little { n.to_le_bytes() } else { n.to_be_bytes() };
                let mirrored = frame(MirrorKind::Tzsp, 0, MirrorSequence::Either(bytes));
                sessions.admit(&mirrored, &packet());
            }
            let [row] = &sessions.numbering()[..] else { panic!("one row") };
            assert_eq!((row.counts.lost, row.counts.numbered), (1, 4), "{little}");
        }
    }

    #[test]
    fn a_flood_of_sessions_takes_no_more_room_than_there_is() {
        let mut flood = MirrorSessions::with_most(100);
        for id in 0..5000 {
            let mut mirrored = frame(MirrorKind::Erspan2, id % 1024, MirrorSequence::Known(id));
            mirrored.session.source = Some(Ipv4Addr::from(id).into());
            let admitted = flood.admit(&mirrored, &packet());
            assert_eq!(admitted.session.is_some(), id < 100);
        }
        assert_eq!((flood.len(), flood.refused(), flood.senders.len()), (100, 4900, 100));
    }

    proptest! {
        #[test]
        fn every_frame_is_counted_once(numbers in prop::collection::vec((0u32..6, any::<u32>()), 0..200)) {
            let sessions = sessions(numbers.iter().copied());
            let counted: u64 = sessions.iter().map(|session| session.packets).sum();
            prop_assert_eq!(counted, numbers.len() as u64);
            let numbered: u64 = sessions.numbering().iter().map(|row| row.counts.numbered).sum();
            prop_assert_eq!(numbered, numbers.len() as u64);
        }
    }
}
