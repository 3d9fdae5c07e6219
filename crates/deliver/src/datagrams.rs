//! Datagrams to one tool: collected, sent many at a time, never waited for.
//!
//! The queue is bounded. While the way to the tool takes nothing it fills, and what comes then is
//! refused: the capture and other tools never notice.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use broker::ToolDrop;
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// A connected socket and the datagrams on their way to it.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: OwnedFd,
    /// Datagrams, one behind the other.
    buffer: Vec<u8>,
    queue: Vec<Queued>,
    /// How many of the queue are gone.
    gone: usize,
    pub(crate) failed: Failed,
}

/// Where a datagram ends in the buffer, and which packet it is of.
#[derive(Debug, Clone, Copy)]
struct Queued {
    end: usize,
    packet: u64,
}

/// Datagrams that were taken and could not be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Failed {
    pub(crate) datagrams: u64,
    /// Packets of which at least one datagram could not.
    pub(crate) packets: u64,
    last: Option<u64>,
    pub(crate) why: Option<Errno>,
}

impl Datagrams {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let queue = Vec::with_capacity(MOST_QUEUED);
        Self { socket, buffer: Vec::new(), queue, gone: 0, failed: Failed::default() }
    }

    /// Room for one more datagram behind those in the buffer.
    #[inline]
    pub(crate) fn begin(&mut self) -> Result<&mut Vec<u8>, ToolDrop> {
        if self.queue.len() - self.gone >= MOST_QUEUED || self.buffer.len() >= MOST_BYTES {
            self.flush();
            if self.queue.len() - self.gone >= MOST_QUEUED || self.buffer.len() >= MOST_BYTES {
                return Err(ToolDrop::QueueFull);
            }
        }
        Ok(&mut self.buffer)
    }

    /// What was appended is one datagram.
    #[inline]
    pub(crate) fn end(&mut self, packet: u64) {
        self.queue.push(Queued { end: self.buffer.len(), packet });
        if self.queue.len() >= BATCH && self.queue.len().is_multiple_of(BATCH) {
            self.flush();
        }
    }

    /// Sends what the socket takes without waiting.
    pub(crate) fn flush(&mut self) {
        let mut refusals = 0;
        while self.gone < self.queue.len() {
            match self.send_some() {
                Ok(count) => self.gone += count,
                Err(Errno::INTR) => {}
                // The device's queue is full: a moment later it is not.
                Err(Errno::AGAIN | Errno::NOBUFS) => break,
                // An answer to an earlier datagram; this one was not tried.
                Err(Errno::CONNREFUSED) if refusals < MOST_REFUSALS => {
                    refusals += 1;
                    self.failed.why = Some(Errno::CONNREFUSED);
                }
                Err(errno) => self.fail(errno),
            }
        }
        self.forget_gone();
    }

    /// Whether more than half of the queue waits.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.queue.len() - self.gone >= MOST_QUEUED / 2 || self.buffer.len() >= MOST_BYTES / 2
    }

    /// Whether something has not been sent yet.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.gone < self.queue.len()
    }

    /// Gives up what is still waiting.
    pub(crate) fn give_up(&mut self) {
        while self.gone < self.queue.len() {
            self.fail(Errno::AGAIN);
        }
        self.forget_gone();
    }

    fn send_some(&self) -> Result<usize, Errno> {
        let mut start = match self.gone.checked_sub(1).and_then(|last| self.queue.get(last)) {
            Some(last) => last.end,
            None => 0,
        };
        let waiting = self.queue.get(self.gone..).unwrap_or_default();
        let mut slices = Vec::with_capacity(BATCH);
        for queued in waiting.iter().take(BATCH) {
            let datagram = self.buffer.get(start..queued.end).unwrap_or_default();
            slices.push([IoSlice::new(datagram)]);
            start = queued.end;
        }
        let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> = slices
            .iter()
            .zip(&mut controls)
            .map(|(slice, control)| MMsgHdr::new(slice, control))
            .collect();
        sendmmsg(&self.socket, &mut messages, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }

    /// The first waiting datagram cannot be sent: too large for the way by now, no way at all.
    fn fail(&mut self, errno: Errno) {
        if let Some(queued) = self.queue.get(self.gone) {
            let failed = &mut self.failed;
            failed.datagrams += 1;
            failed.packets += u64::from(failed.last != Some(queued.packet));
            failed.last = Some(queued.packet);
            failed.why = Some(errno);
        }
        self.gone += 1;
    }

    fn forget_gone(&mut self) {
        if self.gone == self.queue.len() {
            self.buffer.clear();
            self.queue.clear();
            self.gone = 0;
        } else if self.gone > MOST_QUEUED / 2 {
            let sent = self.gone.checked_sub(1).and_then(|last| self.queue.get(last));
            let sent = sent.map_or(0, |last| last.end);
            self.buffer.drain(..sent);
            self.queue.drain(..self.gone);
            self.queue.iter_mut().for_each(|queued| queued.end -= sent);
            self.gone = 0;
        }
    }
}

/// How often in a row an answer to an earlier datagram is believed to be one.
const MOST_REFUSALS: u32 = 100;
/// Datagrams handed over in one system call.
const BATCH: usize = 64;
/// Datagrams that wait at most, beside those in the socket's own buffer.
const MOST_QUEUED: usize = 4096;
/// Their bytes at most.
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn put(datagrams: &mut Datagrams, number: u64) -> Result<(), ToolDrop> {
        datagrams.begin()?.extend(number.to_be_bytes());
        datagrams.end(number);
        Ok(())
    }

    #[test]
    fn every_datagram_arrives_whole_and_in_order() {
        let (here, there) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (here, there) = (here.unwrap(), there.unwrap());
        here.connect(there.local_addr().unwrap()).unwrap();
        let mut datagrams = Datagrams::new(here.into());
        for number in 0..100 {
            put(&mut datagrams, number).unwrap();
        }
        datagrams.flush();
        let mut bytes = [0; 100];
        for number in 0_u64..100 {
            assert_eq!(there.recv(&mut bytes).unwrap(), 8);
            assert_eq!(bytes[..8], number.to_be_bytes());
        }
        assert_eq!((datagrams.failed.datagrams, datagrams.queue.len()), (0, 0));
    }

    #[test]
    fn h4_a_tool_that_does_not_read_costs_counted_packets_and_no_waiting() {
        let (here, there) = UnixDatagram::pair().unwrap();
        let mut datagrams = Datagrams::new(here.into());
        let (mut taken, mut refused) = (0, 0);
        for number in 0..20_000 {
            match put(&mut datagrams, number) {
                Ok(()) => taken += 1,
                Err(reason) => {
                    assert_eq!(reason, ToolDrop::QueueFull);
                    refused += 1;
                }
            }
        }
        assert!(refused > 10_000 && taken >= MOST_QUEUED, "{taken} {refused}");
        there.set_nonblocking(true).unwrap();
        let mut received = 0;
        let mut bytes = [0; 100];
        while datagrams.gone < datagrams.queue.len() {
            datagrams.flush();
            while there.recv(&mut bytes).is_ok() {
                received += 1;
            }
        }
        while there.recv(&mut bytes).is_ok() {
            received += 1;
        }
        assert_eq!(received, taken);
    }

    #[test]
    fn what_cannot_be_sent_is_counted_by_packets_and_datagrams() {
        let (here, there) = UnixDatagram::pair().unwrap();
        drop(there);
        let mut datagrams = Datagrams::new(here.into());
        for packet in [1, 1, 2] {
            put(&mut datagrams, packet).unwrap();
        }
        datagrams.flush();
        datagrams.give_up();
        assert_eq!((datagrams.failed.datagrams, datagrams.failed.packets), (3, 2));
    }
}
