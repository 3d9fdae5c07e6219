//! ARP and RARP: who has an address. RARP is also how a hypervisor announces a migrated VM.

use std::net::Ipv4Addr;

use crate::{Cursor, Layer, Mac, Stop, StopReason};

/// An ARP or RARP packet for IPv4 over Ethernet (RFC 826, RFC 903).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply, 3 reverse request, 4 reverse reply.
    pub operation: u16,
    /// MAC address of the sender.
    pub sender_mac: Mac,
    /// IPv4 address of the sender; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// MAC address asked for or answered to.
    pub target_mac: Mac,
    /// IPv4 address asked for or answered to.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads the packet at `cursor` and leaves `cursor` behind it.
    ///
    /// Other kinds of addresses than MAC and IPv4 stop as unsupported.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [_, _, p0, p1, hardware_len, protocol_len, o0, o1] =
                *cursor.take::<8>(Layer::Arp)?;
            // The hardware type is not compared: 1 and 6 are both in use for 48-bit addresses.
            if ([p0, p1], hardware_len, protocol_len) != ([0x08, 0x00], 6, 4) {
                return Err(cursor.stop(Layer::Arp, StopReason::Unsupported));
            }
            let [a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, c0, c1, c2, c3, c4, c5, d0, d1, d2, d3] =
                *cursor.take::<20>(Layer::Arp)?;
            Ok(Self {
                operation: u16::from_be_bytes([o0, o1]),
                sender_mac: Mac([a0, a1, a2, a3, a4, a5]),
                sender_ip: Ipv4Addr::new(b0, b1, b2, b3),
                target_mac: Mac([c0, c1, c2, c3, c4, c5]),
                target_ip: Ipv4Addr::new(d0, d1, d2, d3),
            })
        })
    }

    /// Whether the sender tells its own address to everybody: a gratuitous ARP
    /// (RFC 5227, section 3) or the reverse request by which hypervisors announce a VM.
    pub fn is_announcement(&self) -> bool {
        match self.operation {
            1 | 2 => self.sender_ip == self.target_ip && !self.sender_ip.is_unspecified(),
            3 => self.sender_mac == self.target_mac,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_addresses_than_mac_and_ipv4_are_not_supported() {
        let stop = Stop { layer: Layer::Arp, offset: 0, reason: StopReason::Unsupported };
        let bytes = [0, 1, 0x86, 0xdd, 6, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Arp::decode(&mut Cursor::new(&bytes)), Err(stop));
    }

    #[test]
    fn who_tells_its_own_address_announces() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let ip = Ipv4Addr::new(10, 0, 0, 1);
        let arp = Arp {
            operation: 1,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: Mac::default(),
            target_ip: ip,
        };
        assert!(arp.is_announcement());
        assert!(!Arp { target_ip: Ipv4Addr::new(10, 0, 0, 2), ..arp }.is_announcement());
        assert!(Arp { operation: 3, target_mac: mac, ..arp }.is_announcement());
        // A probe asks whether an address is free; it has none of its own.
        let probe = Arp { sender_ip: Ipv4Addr::UNSPECIFIED, ..arp };
        assert!(!probe.is_announcement());
    }
}
