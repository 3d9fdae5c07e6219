//! Where packets come in by: a socket's ring or a connection, and what is known of it.

use std::io;
use std::os::fd::OwnedFd;

use capture::{Inlet, Ring, Stream};
use pipeline::Source;
use select::Ownership;
use wire::{Packet, PointId, Timestamp};

use super::mirrors::Receiver;
use crate::orders::PointOrder;

/// One place that packets come in by.
pub(super) struct Intake {
    pub(super) inlet: Inlet,
    /// What takes frames out of its packets, if they are a mirror's.
    pub(super) receiver: Option<Receiver>,
    /// Whose packets are taken now.
    pub(super) owned: Ownership,
    /// How much of a packet the kernel keeps.
    pub(super) kept: u32,
    /// Whether its interface still exists, or its connection may come again.
    pub(super) is_attached: bool,
    /// Live packets that were written from the recording.
    pub(super) doubles: u64,
}

impl Intake {
    /// Reads `socket` for point number `number`.
    pub(super) fn new(point: PointOrder, socket: OwnedFd, number: PointId) -> io::Result<Self> {
        let stream = point.mirror.as_ref().and_then(|mirror| mirror.stream);
        let inlet = match stream {
            Some(_) => Inlet::Stream(Box::new(Stream::new(socket)?), number),
            None => Inlet::Ring(Ring::attach(socket, point.ring, number, point.side)?),
        };
        Ok(Self {
            inlet,
            receiver: point.mirror.as_ref().map(|order| Receiver::new(order, &point.label)),
            owned: point.ownership,
            kept: point.kept,
            is_attached: true,
            doubles: 0,
        })
    }

    /// The connection, if packets come over one.
    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.inlet.stream_mut()
    }
}

impl Source for Intake {
    #[inline]
    fn peek(&mut self) -> Option<Timestamp> {
        self.inlet.peek()
    }

    #[inline]
    fn next(&mut self) -> Option<Packet<'_>> {
        self.inlet.next()
    }
}
