//! What the kernel threw away before we could read it: the drop counters of UDP sockets.

use std::collections::BTreeSet;
use std::net::UdpSocket;

/// The UDP sockets whose drops are counted.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    inodes: BTreeSet<u64>,
}

impl Drops {
    pub(crate) fn watch(&mut self, socket: &UdpSocket) {
        if let Ok(stat) = rustix::fs::fstat(socket) {
            self.inodes.insert(stat.st_ino);
        }
    }

    /// Datagrams dropped so far, as /proc/net/udp and udp6 say; `None` if they cannot be read.
    pub(crate) fn count(&self) -> Option<u64> {
        if self.inodes.is_empty() {
            return Some(0);
        }
        let tables = ["/proc/net/udp", "/proc/net/udp6"].map(std::fs::read_to_string);
        if tables.iter().all(Result::is_err) {
            return None;
        }
        Some(tables.iter().flatten().map(|table| self.sum(table)).sum())
    }

    fn sum(&self, table: &str) -> u64 {
        let rows = table.lines().skip(1).filter_map(|line| {
            // sl, local, remote, st, queues, timer, retransmits, uid, timeout, inode, refs,
            // pointer, drops (Documentation/networking/proc_net_tcp.rst, net/ipv4/udp.c)
            let mut words = line.split_ascii_whitespace();
            let inode: u64 = words.nth(9)?.parse().ok()?;
            let drops: u64 = words.nth(2)?.parse().ok()?;
            self.inodes.contains(&inode).then_some(drops)
        });
        rows.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_our_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode ref pointer drops\n\
                     1: 0100007F:0807 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                     0        0 4711 2 0000000000000000 17\n\
                     2: 0100007F:0808 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                     0        0 4712 2 0000000000000000 99\n";
        let drops = Drops { inodes: BTreeSet::from([4711]) };
        assert_eq!(drops.sum(table), 17);
    }
}
