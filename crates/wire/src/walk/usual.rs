//! The path that nearly every frame takes: Ethernet, tags, IP, transport, VXLAN, GENEVE, GRE or
//! ERSPAN, and Ethernet again.
//!
//! It knows success only. A header that is short, has options, is a fragment or is wrong in any way
//! is left where it is for the careful step of the same name, which reads it again and says what is
//! the matter; so leaving this file out changes no answer, only the time it takes.

use crate::header::{Gre, Vxlan, ethertype, protocol};
use crate::layers::{Header, Layers, offset_32};
use crate::ports::Named;
use crate::{Cursor, Layer, StopReason, UdpTunnel};

use super::{Next, Walk};

impl<'a> Walk<'a, '_> {
    /// Goes as far as headers are usual, from an Ethernet header on that begins a level; returns
    /// what comes next.
    #[inline(always)]
    pub(super) fn usual(&mut self) -> Next {
        loop {
            let carried = match self.usual_packet() {
                Next::Udp => self.usual_udp().unwrap_or(Next::Udp),
                other => other,
            };
            let passed = match carried {
                Next::Vxlan => self.usual_vxlan(),
                Next::Geneve => self.usual_geneve(),
                Next::Gre => self.usual_gre(),
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
        let Some(mut kind) = self.usual_frame::<14>(Layer::Ethernet) else {
            return Next::Ethernet;
        };
        let number = loop {
            let passed = match kind {
                ethertype::IPV4 => match self.usual_ipv4() {
                    Some(number) => break number,
                    None => return Next::Ipv4,
                },
                ethertype::IPV6 => match self.usual_ipv6() {
                    Some(number) => break number,
                    None => return Next::Ipv6,
                },
                ethertype::VLAN | ethertype::SERVICE_VLAN => self.usual_frame::<4>(Layer::Vlan),
                ethertype::VN_TAG => self.usual_frame::<6>(Layer::VnTag),
                _ => None,
            };
            match passed {
                Some(next) => kind = next,
                None => return Next::of_type_or_length(kind),
            }
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

    /// `None` leaves the header, also if neither Ethernet nor a mirrored frame follows.
    #[inline(always)]
    fn usual_gre(&mut self) -> Option<()> {
        let mut cursor = self.cursor;
        let [flags, version, p0, p1] = *cursor.pass::<4>()?;
        // Version 0 without routes; checksum, key and number are of 4 bytes each.
        if flags & 0x4f != 0 || version & 0x07 != 0 || self.tunnels >= Layers::MAX_TUNNELS {
            return None;
        }
        cursor.pass_slice(flags.count_ones() as usize * 4)?;
        match u16::from_be_bytes([p0, p1]) {
            ethertype::ETHERNET => self.list(Layer::Gre, cursor)?,
            ethertype::ERSPAN if flags & Gre::FLAG_SEQUENCE != 0 => {
                let (gre, mut end) = (cursor, cursor);
                let [version, ..] = *end.pass::<8>()?;
                if version >> 4 != 1 {
                    return None;
                }
                self.list(Layer::Gre, gre)?;
                self.list(Layer::Erspan2, end)?;
            }
            _ => return None,
        }
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
        *self.list.headers.get_mut(self.len)? = Header::new(layer, offset_32(self.cursor.offset()));
        self.mark(layer);
        self.len += 1;
        self.cursor = end;
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail this way")]
mod tests {
    use super::*;
    use crate::layers::List;
    use crate::{LinkType, Stop, TunnelPorts};

    /// What a walk finds: headers, beginnings of levels, where it ended and why.
    type Found = (Vec<Header>, u64, usize, usize, Option<Stop>);

    fn found(data: &[u8], is_careful: bool) -> Found {
        let (mut list, ports) = (List::new(), TunnelPorts::default());
        let walk = Walk::new(&mut list, data, &ports);
        let (walk, stop) = if is_careful {
            match walk.careful_to_the_end(Next::Ethernet) {
                (walk, Err(stop)) => (walk, stop),
                (walk, Ok(())) => (walk, None),
            }
        } else {
            walk.run(LinkType::ETHERNET)
        };
        let (starts, offset, ahead) =
            (walk.list.starts, walk.cursor.offset(), walk.cursor.ahead().len());
        let len = walk.len;
        (list.headers[..len].to_vec(), starts, offset, ahead, stop)
    }

    /// Ethernet with a tag, IP, UDP, a tunnel, and in it Ethernet, IPv6 and TCP.
    fn frame(port: u16, tunnel: &[u8]) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        let udp_len = u8::try_from(8 + tunnel.len() + 74).unwrap_or_default();
        let udp = [0xc0, 1, high, low, 0, udp_len, 0, 0];
        frame_in_ip(&[0x81, 0, 0, 7], 17, &[&udp, tunnel].concat())
    }

    /// The same with any header in IP, and `tags` before it.
    fn frame_in_ip(tags: &[u8], protocol: u8, tunnel: &[u8]) -> Vec<u8> {
        let mut inner = vec![2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 0x86, 0xdd];
        inner.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
        inner.extend([0xfd; 32]);
        inner.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        let len = u8::try_from(20 + tunnel.len() + inner.len()).unwrap_or_default();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(tags);
        frame.extend([8, 0, 0x45, 0, 0, len, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(tunnel);
        frame.extend(inner);
        frame.extend([0; 3]);
        frame
    }

    #[test]
    fn the_usual_path_finds_what_careful_steps_find() {
        let vxlan = frame(4789, &[8, 0, 0, 0, 0, 0, 42, 0]);
        let geneve = frame(6081, &[1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 0]);
        let key = frame_in_ip(&[0x88, 0xa8, 0, 7], 47, &[0x20, 0, 0x65, 0x58, 0, 0, 42, 0]);
        let vntag = [0x89, 0x26, 0x80, 5, 0, 6, 0x81, 0, 0, 7];
        let bare = frame_in_ip(&vntag, 47, &[0, 0, 0x65, 0x58]);
        let number = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 9, 0x10, 7, 0, 42, 0, 0, 0, 1];
        let mirror = frame_in_ip(&[], 47, &number);
        let all = [0xb0, 0, 0x65, 0x58, 1, 2, 0, 0, 0, 0, 42, 0, 0, 0, 0, 9];
        let all = frame_in_ip(&[], 47, &all);
        for (frame, headers) in
            [(vxlan, 8), (geneve, 8), (key, 7), (bare, 8), (mirror, 7), (all, 6)]
        {
            assert_eq!(found(&frame, false).0.len(), headers);
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
