//! Where an observation point's packets come in: a ring of the kernel's, or a stream from elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use pipeline::Source;
use select::bpf::Program;
use wire::{Packet, PointId, Timestamp};

use crate::{Condition, Ring, RingCounters, Stream};

/// One of both.
#[derive(Debug)]
pub enum Inlet {
    /// Packets of an interface.
    Ring(Ring),
    /// Packets that somebody sends in a capture, and the number of their observation point.
    Stream(Box<Stream>, PointId),
}

impl Inlet {
    /// Lets nothing in any more. What is here already stays readable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shut(&mut self) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.shut(),
            Self::Stream(stream, _) => {
                stream.shut();
                Ok(())
            }
        }
    }

    /// Has the kernel let other packets in than until now. A stream has nothing to do with it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn refilter(&mut self, program: &Program, snaplen: u32) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.refilter(program, snaplen),
            Self::Stream(..) => Ok(()),
        }
    }

    /// Reads the kernel's counters.
    ///
    /// # Errors
    /// The kernel's.
    pub fn count(&mut self) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.count(),
            Self::Stream(..) => Ok(()),
        }
    }

    /// What became of the interface after `poll` reported an error. A stream that is lost may come
    /// again, and says itself why it was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn condition(&self) -> io::Result<Condition> {
        match self {
            Self::Ring(ring) => ring.condition(),
            Self::Stream(..) => Ok(Condition::Attached),
        }
    }

    /// Counters as of the last [`count`](Self::count), and packets read until now.
    pub const fn counters(&self) -> RingCounters {
        match self {
            Self::Ring(ring) => ring.counters(),
            Self::Stream(stream, _) => stream.counters(),
        }
    }

    /// The observation point it belongs to.
    pub const fn point(&self) -> PointId {
        match self {
            Self::Ring(ring) => ring.point(),
            Self::Stream(_, point) => *point,
        }
    }

    /// Whether it will lose packets soon. Who sends a stream is made to wait instead.
    pub fn is_half_full(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_half_full(),
            Self::Stream(..) => false,
        }
    }

    /// What to wait at for packets; a stream has none while it is not connected.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Ring(ring) => Some(ring.as_fd()),
            Self::Stream(stream, _) => stream.socket(),
        }
    }

    /// The stream, if it is one.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Ring(_) => None,
            Self::Stream(stream, _) => Some(stream),
        }
    }

    /// The stream, if it is one.
    pub fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Ring(_) => None,
            Self::Stream(stream, _) => Some(stream),
        }
    }
}

impl Source for Inlet {
    #[inline]
    fn peek(&mut self) -> Option<Timestamp> {
        match self {
            Self::Ring(ring) => ring.peek(),
            Self::Stream(stream, _) => stream.peek(),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Packet<'_>> {
        match self {
            Self::Ring(ring) => ring.next(),
            Self::Stream(stream, _) => stream.next(),
        }
    }
}
