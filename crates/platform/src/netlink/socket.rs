//! A netlink socket of one network namespace: one for requests, one for events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::message::{
    Message, Messages, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_OVERRUN, Request,
};

/// A socket for questions and their answers.
#[derive(Debug)]
pub(crate) struct Asking {
    fd: OwnedFd,
    sequence: u32,
}

impl Asking {
    /// All entries of a kind: `fixed` is the fixed part of the request, `filter` an attribute.
    ///
    /// A dump during which the table changed is taken again, a few times; after that the next
    /// event corrects it.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        fixed: &[u8],
        filter: Option<(u16, u32)>,
        mut decode: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for attempt in 0.. {
            let mut entries = Vec::new();
            let is_whole = self.ask(kind, NLM_F_DUMP, fixed, filter, |message| {
                entries.extend(decode(message));
            })?;
            if is_whole || attempt == DUMP_ATTEMPTS {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    }

    /// Sends one request and gives each message of the answer to `take`. Returns whether the
    /// answer is consistent.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attribute: Option<(u16, u32)>,
        take: impl FnMut(&Message<'_>),
    ) -> io::Result<bool> {
        let attributes = attribute.map(|(kind, value)| Request::attributes().with_u32(kind, value));
        self.send(kind, flags, fixed, &attributes.unwrap_or(Request::attributes()), take)
    }

    /// As [`ask`](Self::ask), with any attributes. With `NLM_F_ACK` it waits for the kernel's
    /// verdict.
    pub(crate) fn send(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: &Request,
        mut take: impl FnMut(&Message<'_>),
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let request = Request::new(kind, NLM_F_REQUEST | flags, self.sequence, fixed);
        let request = request.with_all(attributes);
        rustix::net::send(&self.fd, &request.finish(), SendFlags::empty())?;
        // Not kept: a host may have hundreds of namespaces, and they are quiet.
        let mut buffer = vec![0; BUFFER_LEN];
        let is_dump = flags & NLM_F_DUMP != 0;
        let mut is_whole = true;
        loop {
            wait_readable(self.fd.as_fd(), ANSWER_TIMEOUT)?;
            let (_, len) = rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::TRUNC)?;
            let Some(datagram) = buffer.get(..len) else {
                return Err(io::Error::other(format!("netlink answer of {len} bytes is too long")));
            };
            for message in Messages::new(datagram) {
                // An answer to a question we gave up on may still come.
                if message.sequence != self.sequence {
                    continue;
                }
                is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    // Both begin with an error number, negative or zero.
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match message.body.first_chunk().map(|b| i32::from_ne_bytes(*b)) {
                            Some(error) if error < 0 => {
                                Err(io::Error::from_raw_os_error(error.saturating_neg()))
                            }
                            _ => Ok(is_whole),
                        };
                    }
                    _ => {
                        take(&message);
                        if !is_dump && flags & NLM_F_ACK == 0 {
                            return Ok(is_whole);
                        }
                    }
                }
            }
        }
    }
}

/// A socket that says that something changed.
#[derive(Debug)]
pub(super) struct Listening {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Listening {
    /// Takes all waiting events and gives each to `take`. Returns whether events were lost.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        let mut is_overrun = false;
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.fd, &mut *self.buffer, flags) {
                Ok((_, 0)) | Err(Errno::AGAIN) => return Ok(is_overrun),
                Ok((_, len)) => {
                    let datagram = self.buffer.get(..len);
                    // One that does not fit is as good as lost.
                    is_overrun |= datagram.is_none();
                    for message in Messages::new(datagram.unwrap_or_default()) {
                        is_overrun |= message.kind == NLMSG_OVERRUN;
                        take(&message);
                    }
                }
                // The kernel had more to say than the socket could hold.
                Err(Errno::NOBUFS) => is_overrun = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens both sockets in the namespace of the calling thread, subscribed before anything is
/// asked.
pub(super) fn open(groups: u32, receive_bytes: usize) -> io::Result<(Listening, Asking)> {
    let listening = socket()?;
    // Without the right to exceed the system's limit, take what it allows.
    if sockopt::set_socket_recv_buffer_size_force(&listening, receive_bytes).is_err() {
        sockopt::set_socket_recv_buffer_size(&listening, receive_bytes)?;
    }
    rustix::net::bind(&listening, &netlink::SocketAddrNetlink::new(0, groups))?;
    Ok((Listening { fd: listening, buffer: vec![0; EVENT_LEN] }, asking()?))
}

/// A socket for questions and changes in the namespace of the calling thread.
pub(crate) fn asking() -> io::Result<Asking> {
    let fd = socket()?;
    rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(Asking { fd, sequence: 0 })
}

/// Runs `work` in the namespace behind `namespace`, in a thread of its own that ends with it.
///
/// A namespace belongs to a thread; ours must not change under the caller.
pub(crate) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    kind: LinkNameSpaceType,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("enter-namespace".into()).spawn_scoped(
            scope,
            || {
                move_into_link_name_space(namespace, Some(kind))?;
                work()
            },
        )?;
        worker.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))?
    })
}

fn socket() -> io::Result<OwnedFd> {
    // NETLINK_ROUTE is protocol 0, which `rustix` writes as `None`.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// Waits until `fd` has something to read.
fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer")),
        _ => Ok(()),
    }
}

/// Answers are made in the kernel while we ask; only a machine that stands still is slower.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const DUMP_ATTEMPTS: u32 = 3;
/// The kernel fills at most 32 KiB of a reader's buffer for each part of a dump.
const BUFFER_LEN: usize = 64 * 1024;
/// An event is about one link, about 1.5 KiB.
const EVENT_LEN: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn events_that_do_not_fit_are_known_to_be_lost() {
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = holder else { return eprintln!("NOT TESTED: there is no unshare") };
        let mut ready = [0];
        let is_ready = io::Read::read_exact(&mut holder.stdout.take().unwrap(), &mut ready).is_ok();
        if is_ready {
            let file = std::fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
            inside(file.as_fd(), LinkNameSpaceType::Network, || {
                // The smallest buffer there is: a few events.
                let (mut listening, _) = open(1, 1)?;
                let script = "for n in $(seq 40); do ip link set lo up; ip link set lo down; done";
                Command::new("sh").args(["-c", script]).status()?;
                assert!(listening.drain(|_| {})?);
                assert!(!listening.drain(|_| {})?);
                Ok(())
            })
            .unwrap();
        } else {
            eprintln!("NOT TESTED: making network namespaces needs root");
        }
        let _ = holder.kill();
        let _ = holder.wait();
    }
}
