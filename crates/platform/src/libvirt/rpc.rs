//! libvirt's remote procedure calls: packets, replies matched by serial, events kept for later.
//!
//! ```text
//!  0        4        8        12         16    20      24      28
//! | length | program | version | procedure | type | serial | status | body
//! ```
//! The length counts itself; all are big-endian words.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use super::xdr::{Reader, Writer};
use crate::stream::{Arrival, Stream};

/// A packet of any program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) program: u32,
    pub(super) procedure: u32,
    /// `CALL`, `REPLY` or `MESSAGE`.
    pub(super) kind: u32,
    pub(super) serial: u32,
    /// 0 is success.
    pub(super) status: u32,
    pub(super) body: Vec<u8>,
}

/// A connection to a libvirt daemon.
#[derive(Debug)]
pub(super) struct Rpc {
    stream: Stream,
    bytes: Vec<u8>,
    serial: u32,
    events: VecDeque<Packet>,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection is of no use any more.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The daemon says no; the connection is fine.
    #[error("libvirt: {message}")]
    Refused {
        /// `VIR_ERR_*`.
        code: i32,
        message: String,
    },
    /// A packet that libvirt does not send.
    #[error("the answer is not libvirt's")]
    Garbled,
    /// No answer in time.
    #[error("no answer")]
    Silent,
    /// Somebody wants us to end.
    #[error("interrupted")]
    Stopped,
}

impl Packet {
    /// Takes the first whole packet from `bytes`, if there is one.
    fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, Failure> {
        let Some(len) = Reader::new(bytes).u32() else { return Ok(None) };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if !(HEADER_LEN..=PACKET_MAX).contains(&len) {
            return Err(Failure::Garbled);
        }
        if bytes.len() < len {
            return Ok(None);
        }
        let packet: Vec<u8> = bytes.drain(..len).collect();
        Ok(Self::decode(&packet))
    }

    fn decode(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(packet);
        let [_, program, _, procedure, kind, serial, status] =
            [(); 7].map(|()| reader.u32().unwrap_or(0));
        let body = packet.get(HEADER_LEN..)?.to_vec();
        Some(Self { program, procedure, kind, serial, status, body })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let len = HEADER_LEN.saturating_add(self.body.len());
        Writer::default()
            .u32(u32::try_from(len).unwrap_or(u32::MAX))
            .u32(self.program)
            .u32(1)
            .u32(self.procedure)
            .u32(self.kind)
            .u32(self.serial)
            .u32(self.status)
            .fixed(&self.body)
            .finish()
    }

    /// What the daemon says is wrong: the beginning of `remote_error`.
    fn refusal(&self) -> Failure {
        let mut reader = Reader::new(&self.body);
        let code = reader.i32().unwrap_or(0);
        let _domain = reader.i32();
        let message = reader.option(|r| r.string(STRING_MAX)).flatten();
        let message = message.unwrap_or_else(|| format!("error {code}"));
        Failure::Refused { code, message }
    }
}

impl Rpc {
    /// Connects to the daemon's socket; nothing is said yet.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::connect(path)?,
            bytes: Vec::new(),
            serial: 0,
            events: VecDeque::new(),
        })
    }

    /// Calls a procedure and waits for its reply. Events that come first are kept.
    pub(super) fn call(
        &mut self,
        procedure: u32,
        arguments: Writer,
        stop: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<Vec<u8>, Failure> {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let (program, kind, body) = (PROGRAM, CALL, arguments.finish());
        let call = Packet { program, procedure, kind, serial, status: 0, body };
        self.stream.write(&call.encode())?;
        loop {
            match self.receive(&[stop], Some(deadline))? {
                Received::Packet(packet) if packet.kind == REPLY && packet.serial == serial => {
                    return if packet.status == 0 {
                        Ok(packet.body)
                    } else {
                        Err(packet.refusal())
                    };
                }
                Received::Packet(packet) => self.keep(packet),
                Received::Deadline => return Err(Failure::Silent),
                Received::Woken => return Err(Failure::Stopped),
            }
        }
    }

    /// Waits for an event; ends early when one of `others` has something to read.
    pub(super) fn wait(
        &mut self,
        others: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        if self.events.is_empty()
            && let Received::Packet(packet) = self.receive(others, deadline)?
        {
            self.keep(packet);
        }
        Ok(())
    }

    /// The next event that has arrived.
    pub(super) fn next_event(&mut self) -> Option<Packet> {
        self.events.pop_front()
    }

    fn receive(
        &mut self,
        others: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<Received, Failure> {
        loop {
            if let Some(packet) = Packet::take(&mut self.bytes)? {
                if packet.program == KEEPALIVE_PROGRAM {
                    self.answer_keepalive(&packet)?;
                    continue;
                }
                return Ok(Received::Packet(packet));
            }
            match self.stream.read(&mut self.bytes, others, deadline)? {
                Arrival::Bytes => {}
                Arrival::Deadline => return Ok(Received::Deadline),
                Arrival::Woken => return Ok(Received::Woken),
            }
        }
    }

    /// Keeps an event; late replies and programs we do not know are skipped.
    fn keep(&mut self, packet: Packet) {
        if packet.program == PROGRAM && packet.kind == MESSAGE {
            // Whoever sends more than this between two looks means "read everything".
            if self.events.len() == EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(packet);
        }
    }

    fn answer_keepalive(&mut self, packet: &Packet) -> io::Result<()> {
        if packet.procedure != KEEPALIVE_PING {
            return Ok(());
        }
        let pong = Packet { procedure: KEEPALIVE_PONG, kind: MESSAGE, ..packet.clone() };
        self.stream.write(&pong.encode())
    }
}

enum Received {
    Packet(Packet),
    Deadline,
    Woken,
}

pub(super) const PROGRAM: u32 = 0x2000_8086;
pub(super) const KEEPALIVE_PROGRAM: u32 = 0x6b65_6570;
pub(super) const CALL: u32 = 0;
pub(super) const REPLY: u32 = 1;
pub(super) const MESSAGE: u32 = 2;
pub(super) const KEEPALIVE_PING: u32 = 1;
pub(super) const KEEPALIVE_PONG: u32 = 2;
/// `REMOTE_STRING_MAX`.
pub(super) const STRING_MAX: usize = 4 << 20;
const HEADER_LEN: usize = 28;
/// `VIR_NET_MESSAGE_MAX`.
const PACKET_MAX: usize = 32 << 20;
const EVENTS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_has_the_bytes_of_the_protocol() {
        let call = Packet {
            program: PROGRAM,
            procedure: 273,
            kind: CALL,
            serial: 4,
            status: 0,
            body: Writer::default().i32(1).u32(3).finish(),
        };
        let expected = [
            0, 0, 0, 36, // length
            0x20, 0, 0x80, 0x86, // program
            0, 0, 0, 1, // version
            0, 0, 1, 0x11, // CONNECT_LIST_ALL_DOMAINS
            0, 0, 0, 0, // call
            0, 0, 0, 4, // serial
            0, 0, 0, 0, // status
            0, 0, 0, 1, 0, 0, 0, 3, // need_results, active | inactive
        ];
        assert_eq!(call.encode(), expected);
        let mut bytes = expected.to_vec();
        bytes.push(0);
        assert_eq!(Packet::take(&mut bytes).unwrap(), Some(call));
        assert_eq!(bytes, [0]);
    }

    #[test]
    fn a_length_that_cannot_be_is_garbled() {
        for len in [0_u32, 27, (32 << 20) + 1, u32::MAX] {
            let mut bytes = len.to_be_bytes().to_vec();
            assert!(matches!(Packet::take(&mut bytes), Err(Failure::Garbled)), "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Some(len) = bytes.get_mut(..3) {
                len.fill(0);
            }
            while let Ok(Some(packet)) = Packet::take(&mut bytes) {
                let _ = packet.refusal();
            }
        }
    }
}
