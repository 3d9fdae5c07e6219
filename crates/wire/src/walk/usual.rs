//! The path that nearly every frame takes: Ethernet, tags, IP, transport, VXLAN or GENEVE, and
//! Ethernet again.
//!
//! It knows success only. A header that is short, has options, is a fragment or is wrong in any way
//! is left where it is for the careful step of the same name, which reads it again and says what is
//! the matter; so leaving this file out changes no answer, only the time it takes.

use crate::header::{Vxlan, ethertype, protocol};
use crate::layers::{Header, Layers, offset_32};
use crate::ports::Named;
use crate::{Cursor, Layer, StopReason, UdpTunnel};

use super::{Next, Walk};

impl<'a> Walk<'a, '_> {
    /// Goes as far as headers are usual, from an Ethernet header on; returns what comes next.
    #[inline(always)]
    pub(super) fn usual(&mut self) -> Next {
        loop {
            match self.usual_packet() {
                Next::Udp => {}
                other => return other,
            }
            let Some(carried) = self.usual_udp() else { return Next::Udp };
            let passed = match carried {
                Next::Vxlan => self.usual_vxlan(),
                Next::Geneve => self.usual_geneve(),
                other => return other,
            };
            if passed.is_none() {
                return carried;
            }
        }
    }

    /// Ethernet, tags and IP; also TCP, which ends the walk.
    #[inline(always)]
    fn usual_packet(&mut self) -> Next {
        // A frame in a frame, and not in a tunnel, is not usual.
        if !self.is_fresh() {
            return Next::Ethernet;
        }
        let Some(mut kind) = self.usual_frame::<14>(Layer::Ethernet) else {
            return Next::Ethernet;
        };
        while kind == ethertype::VLAN {
            match self.usual_frame::<4>(Layer::Vlan) {
                Some(next) => kind = next,
                None => return Next::Vlan,
            }
        }
        let number = match kind {
            ethertype::IPV4 => match self.usual_ipv4() {
                Some(number) => number,
                None => return Next::Ipv4,
            },
            ethertype::IPV6 => match self.usual_ipv6() {
                Some(number) => number,
                None => return Next::Ipv6,
            },
            other => return Next::of_type_or_length(other),
        };
        match number {
            protocol::TCP => match self.usual_tcp() {
                Some(()) => Next::Payload,
                None => Next::Tcp,
            },
            other => Next::of_protocol(other),
        }
    }

    /// Returns the protocol number of what follows; `None` leaves the header.
    #[inline(always)]
    fn usual_ipv4(&mut self) -> Option<u8> {
        let mut cursor = self.cursor;
        let [first, _, l0, l1, _, _, f0, f1, _, number, ..] = *cursor.pass::<20>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(20)?;
        // No options, no fragment; the bit that forbids fragments may be set.
        if first != 0x45 || u16::from_be_bytes([f0 & 0xbf, f1]) != 0 {
            return None;
        }
        cursor.limit(len, StopReason::BeyondLength);
        self.list(Layer::Ipv4, cursor)?;
        Some(number)
    }

    /// Returns the number of the next header; `None` leaves the header.
    #[inline(always)]
    fn usual_ipv6(&mut self) -> Option<u8> {
        let mut cursor = self.cursor;
        let [first, _, _, _, l0, l1, number, ..] = *cursor.pass::<40>()?;
        let len = u16::from_be_bytes([l0, l1]);
        if first >> 4 != 6 || len == 0 {
            return None;
        }
        cursor.limit(usize::from(len), StopReason::BeyondLength);
        self.list(Layer::Ipv6, cursor)?;
        Some(number)
    }

    /// `None` leaves the header.
    #[inline(always)]
    fn usual_tcp(&mut self) -> Option<()> {
        let mut cursor = self.cursor;
        let [_, _, d0, d1, _, _, _, _, _, _, _, _, words, ..] = *cursor.pass::<20>()?;
        let options = (usize::from(words >> 4) * 4).checked_sub(20)?;
        cursor.pass_slice(options)?;
        // What may be STT takes a closer look.
        if u16::from_be_bytes([d0, d1]) == self.ports.stt() {
            return None;
        }
        self.list(Layer::Tcp, cursor)
    }

    /// Returns what the ports name; `None` leaves the header.
    #[inline(always)]
    fn usual_udp(&mut self) -> Option<Next> {
        let mut cursor = self.cursor;
        let [s0, s1, d0, d1, l0, l1, _, _] = *cursor.pass::<8>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(8)?;
        let named = match self.ports.named(u16::from_be_bytes([d0, d1])) {
            Some(Named { tunnel: UdpTunnel::Vxlan, is_shared: false, .. }) => Next::Vxlan,
            Some(Named { tunnel: UdpTunnel::Geneve, is_shared: false, .. }) => Next::Geneve,
            // What the source port may name takes a closer look.
            None if !self.ports.may_name(u16::from_be_bytes([s0, s1])) => Next::Payload,
            _ => return None,
        };
        cursor.limit(len, StopReason::BeyondLength);
        self.list(Layer::Udp, cursor)?;
        Some(named)
    }

    /// `None` leaves the header.
    #[inline(always)]
    fn usual_vxlan(&mut self) -> Option<()> {
        let mut cursor = self.cursor;
        let [flags, ..] = *cursor.pass::<8>()?;
        if flags & Vxlan::FLAG_VNI_VALID == 0 || self.tunnels >= Layers::MAX_TUNNELS {
            return None;
        }
        self.list(Layer::Vxlan, cursor)?;
        self.begin_level();
        Some(())
    }

    /// `None` leaves the header, also if not Ethernet follows.
    #[inline(always)]
    fn usual_geneve(&mut self) -> Option<()> {
        let mut cursor = self.cursor;
        let [words, _, p0, p1, ..] = *cursor.pass::<8>()?;
        let is_ethernet = u16::from_be_bytes([p0, p1]) == ethertype::ETHERNET;
        if words >> 6 != 0 || !is_ethernet || self.tunnels >= Layers::MAX_TUNNELS {
            return None;
        }
        cursor.pass_slice(usize::from(words) * 4)?;
        self.list(Layer::Geneve, cursor)?;
        self.begin_level();
        Some(())
    }

    /// Passes a header of `N` bytes and returns its last two: what follows. `None` leaves it.
    #[inline(always)]
    fn usual_frame<const N: usize>(&mut self, layer: Layer) -> Option<u16> {
        let mut cursor = self.cursor;
        let last = cursor.pass::<N>()?.last_chunk::<2>()?;
        self.list(layer, cursor)?;
        Some(u16::from_be_bytes(*last))
    }

    /// Lists the header at the cursor, which ends at `end`; `None` if there is no room.
    #[inline(always)]
    fn list(&mut self, layer: Layer, end: Cursor<'a>) -> Option<()> {
        *self.headers.get_mut(self.len)? = Header::new(layer, offset_32(self.cursor.offset()));
        self.len += 1;
        self.cursor = end;
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail this way")]
mod tests {
    use super::*;
    use crate::{LinkType, Stop, TunnelPorts};

    /// What a walk finds: headers, beginnings of levels, where it ended and why.
    type Found = (Vec<Header>, u64, usize, usize, Option<Stop>);

    fn found(data: &[u8], is_careful: bool) -> Found {
        let (mut headers, ports) = (Layers::room(), TunnelPorts::default());
        let walk = Walk::new(&mut headers, data, &ports);
        let (walk, stop) = if is_careful {
            match walk.careful_to_the_end(Next::Ethernet) {
                (walk, Err(stop)) => (walk, stop),
                (walk, Ok(())) => (walk, None),
            }
        } else {
            walk.run(LinkType::ETHERNET)
        };
        let (starts, offset, ahead) =
            (walk.starts, walk.cursor.offset(), walk.cursor.ahead().len());
        let len = walk.len;
        (headers[..len].to_vec(), starts, offset, ahead, stop)
    }

    /// Ethernet with a tag, IP, UDP, a tunnel, and in it Ethernet, IPv6 and TCP.
    fn frame(port: u16, tunnel: &[u8]) -> Vec<u8> {
        let mut inner = vec![2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 0x86, 0xdd];
        inner.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
        inner.extend([0xfd; 32]);
        inner.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        let len = u8::try_from(8 + tunnel.len() + inner.len()).unwrap_or_default();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 8, 0];
        frame.extend([0x45, 0, 0, len + 20, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let [high, low] = port.to_be_bytes();
        frame.extend([0xc0, 1, high, low, 0, len, 0, 0]);
        frame.extend(tunnel);
        frame.extend(inner);
        frame.extend([0; 3]);
        frame
    }

    #[test]
    fn the_usual_path_finds_what_careful_steps_find() {
        let vxlan = frame(4789, &[8, 0, 0, 0, 0, 0, 42, 0]);
        let geneve = frame(6081, &[1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 0]);
        for frame in [vxlan, geneve] {
            assert_eq!(found(&frame, false).0.len(), 8);
            for cut in 0..=frame.len() {
                assert_eq!(found(&frame[..cut], false), found(&frame[..cut], true), "cut to {cut}");
            }
            for index in 0..frame.len() {
                for value in 0..=255 {
                    let mut wrong = frame.clone();
                    wrong[index] = value;
                    let name = format!("byte {index} is {value}");
                    assert_eq!(found(&wrong, false), found(&wrong, true), "{name}");
                }
            }
        }
    }
}
