//! The line between a session and its engine: whole messages, and descriptors beside them.
//!
//! A SOCK_SEQPACKET pair: a message is delivered whole or not at all, and the end of either
//! process is seen by the other as the end of the line.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One end of the line.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A message and the descriptor that came with it.
#[derive(Debug)]
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) descriptor: Option<OwnedFd>,
}

impl Channel {
    /// A new line: our end, and the descriptor for the other process.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours), theirs))
    }

    /// The end that was handed to us.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MOST_BYTES] }
    }

    /// Sends one message, with a descriptor if need be.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; `None` when the other process is gone. Waits for one.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<Received<T>>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut read = || {
            let into = &mut [IoSliceMut::new(&mut self.buffer)];
            recvmsg(&self.socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)
        };
        let received = match read() {
            // The other end closed without reading all we sent. That is told once, before what it
            // sent itself.
            Err(Errno::CONNRESET) => read()?,
            received => received?,
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let bytes = self.buffer.get(..received.bytes).unwrap_or_default();
        Ok(Some(Received { message: serde_json::from_slice(bytes)?, descriptor }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Longest message in bytes, well below the kernel's default socket buffer.
const MOST_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn last_words_are_heard_though_nobody_read_what_they_crossed() {
        let (here, there) = Channel::pair().unwrap();
        let (mut here, there) = (here, Channel::new(there));
        there.send(&"last words", None).unwrap();
        here.send(&"an order", None).unwrap();
        drop(there);
        let heard: Received<String> = here.receive().unwrap().unwrap();
        assert_eq!(heard.message, "last words");
        assert!(here.receive::<String>().unwrap().is_none());
    }

    #[test]
    fn messages_keep_their_borders_and_bring_their_descriptor() {
        let (here, there) = Channel::pair().unwrap();
        let mut there = Channel::new(there);
        let (read_end, write_end) = rustix::pipe::pipe().unwrap();
        here.send(&"one", None).unwrap();
        here.send(&"two", Some(write_end.as_fd())).unwrap();
        drop((here, write_end));

        let one: Received<String> = there.receive().unwrap().unwrap();
        assert_eq!((one.message.as_str(), one.descriptor.is_none()), ("one", true));
        let two: Received<String> = there.receive().unwrap().unwrap();
        std::fs::File::from(two.descriptor.unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        std::fs::File::from(read_end).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert!(there.receive::<String>().unwrap().is_none(), "the other end is gone");
    }
}
