//! What an interface itself counts: a check from outside on what a socket saw. And the socket that
//! sends frames into one.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::ring::enter;
use crate::sys;

/// The name of the interface of this host that has `address`, in our own namespace.
///
/// # Errors
/// The kernel's.
pub fn interface_with(address: IpAddr) -> io::Result<Option<String>> {
    sys::interface_with(address)
}

/// A socket that sends whole frames into an interface and receives nothing, and the interface's
/// MTU.
///
/// # Errors
/// There is no such interface, or no right.
pub fn frame_sender(interface: &str) -> io::Result<(OwnedFd, u32)> {
    let folder = Path::new("/sys/class/net").join(interface);
    let number = |file: &str| {
        let text = std::fs::read_to_string(folder.join(file))?;
        text.trim().parse().map_err(io::Error::other)
    };
    let (ifindex, mtu) = (number("ifindex")?, number("mtu")?);
    let socket = sys::packet_socket()?;
    sys::bind_to_send(socket.as_fd(), ifindex)?;
    Ok((socket, mtu))
}

/// Packets an interface has counted since it exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Packets received.
    pub received: u64,
    /// Packets lost before any socket could see them: missed by the card or without buffer.
    pub missed: u64,
    /// Packets sent.
    pub sent: u64,
}

impl InterfaceCounters {
    /// Reads the counters of `name` in the namespace behind `namespace`, or in our own.
    ///
    /// # Errors
    /// When the namespace cannot be entered or has no such interface.
    pub fn read(name: &str, namespace: Option<&Path>) -> io::Result<Self> {
        let Some(path) = namespace else { return read_here(name) };
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(path)?;
                    read_here(name)
                })
                .join()
        })
        .unwrap_or_else(|_| Err(io::Error::other("the reading thread ended early")))
    }

    /// Packets in both directions.
    pub const fn packets(&self) -> u64 {
        self.received + self.sent
    }
}

/// `/proc/thread-self/net/dev` shows the namespace of the thread that reads it, which sysfs does not.
fn read_here(name: &str) -> io::Result<InterfaceCounters> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    find(&table, name).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The line `name: bytes packets errs drop fifo ...`, eight columns received, eight sent
/// (proc_pid_net(5)).
fn find(table: &str, name: &str) -> Option<InterfaceCounters> {
    let line = table.lines().find_map(|line| {
        let (head, rest) = line.rsplit_once(": ").or_else(|| line.rsplit_once(':'))?;
        (head.trim() == name).then_some(rest)
    })?;
    let columns: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let column = |number: usize| columns.get(number).copied();
    Some(InterfaceCounters { received: column(1)?, missed: column(4)?, sent: column(9)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
 vnet0: 5000 50 0 1 2 0 0 3 6000 60 0 0 0 0 0 0
";

    #[test]
    fn both_directions_are_in_one_line() {
        let counters = find(TABLE, "vnet0").unwrap();
        assert_eq!(counters, InterfaceCounters { received: 50, missed: 2, sent: 60 });
        assert_eq!(find(TABLE, "vnet"), None, "a name is the whole name");
    }
}
