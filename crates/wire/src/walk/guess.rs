//! What bytes may be where no field says what they are: behind MPLS labels, in L2TPv3 and GTP-U, on
//! UDP ports that others use too.
//!
//! A guess looks at what a format leaves no choice in. It is asked only where the alternative is to
//! know nothing, or to believe a port number that any client may have picked.

use crate::UdpTunnel;
use crate::header::ethertype;

/// Whether an Ethernet frame may begin with `bytes`: whether its type is known and what follows
/// begins as that type does.
pub(super) fn may_be_ethernet(bytes: &[u8]) -> bool {
    let Some(([.., t0, t1], mut payload)) = bytes.split_first_chunk::<14>() else { return false };
    let mut kind = u16::from_be_bytes([*t0, *t1]);
    while let (ethertype::VLAN | ethertype::SERVICE_VLAN, Some(([_, _, t0, t1], rest))) =
        (kind, payload.split_first_chunk::<4>())
    {
        kind = u16::from_be_bytes([*t0, *t1]);
        payload = rest;
    }
    match kind {
        ethertype::IPV4 | ethertype::IPV6 => may_be_ip(payload),
        // Ethernet addresses for IPv4 ones, or what comes close to it.
        ethertype::ARP | ethertype::RARP => matches!(payload, [] | [0, 1 | 6, ..]),
        ethertype::MPLS
        | ethertype::MPLS_UPSTREAM
        | ethertype::PPPOE
        | ethertype::PPPOE_DISCOVERY
        | ethertype::LLDP
        | ethertype::SLOW
        | ethertype::EAPOL
        | ethertype::MACSEC
        | ethertype::LOOP
        | ethertype::CFM
        | ethertype::VLAN
        | ethertype::SERVICE_VLAN => true,
        // SNAP, spanning tree, IS-IS, NetBIOS, IPX: the two service access points are one.
        3..=ethertype::LAST_LENGTH => {
            matches!(payload, [0xaa, 0xaa, 3, ..] | [0x42, 0x42, 3, ..] | [0xfe, 0xfe, 3, ..])
                || matches!(payload, [0xf0, 0xf0, ..] | [0xe0, 0xe0, 3, ..])
        }
        _ => false,
    }
}

/// Whether an IPv4 or IPv6 packet may begin with `bytes`; true if too few are there to tell.
pub(super) fn may_be_ip(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [0x45..=0x4f] => true,
        // A packet holds at least its header.
        [first @ 0x45..=0x4f, _, l0, l1, ..] => {
            let len = u16::from_be_bytes([*l0, *l1]);
            len == 0 || len >= u16::from(first & 0x0f) * 4
        }
        [0x45..=0x4f, ..] => true,
        [first, ..] => first >> 4 == 6,
    }
}

/// Whether `payload` of a UDP packet may begin with the header of `tunnel`, which a port that is
/// not its alone names; `None` if too little is there to tell.
pub(super) fn may_be(tunnel: UdpTunnel, payload: &[u8]) -> Option<bool> {
    Some(match (tunnel, payload) {
        (_, []) => return None,
        // Without options of VXLAN. Micro-BFD begins with its version 1 (RFC 7130, section 2.2;
        // RFC 5880, section 4.1).
        (UdpTunnel::Vxlan, [flags, ..]) => *flags == 0x08,
        // 3GPP TS 29.281, section 5.1: the length is that of all behind the first 8 bytes.
        (UdpTunnel::Gtpu, [first, _, l0, l1, _, _, _, _, rest @ ..]) => {
            first >> 4 == 0b0011 && usize::from(u16::from_be_bytes([*l0, *l1])) >= rest.len()
        }
        (UdpTunnel::Gtpu, [first, ..]) if first >> 4 == 0b0011 => return None,
        (UdpTunnel::Gtpu, _) => false,
        (UdpTunnel::Teredo, [0]) => return None,
        (UdpTunnel::Teredo, [first, rest @ ..]) => {
            first >> 4 == 6 || matches!((first, rest), (0, [0 | 1, ..]))
        }
        // RFC 2661, section 3.1: of the bits between flags and version all are zero.
        (UdpTunnel::L2tp, [flags, version, ..]) => flags & 0x34 == 0 && matches!(version, 2 | 3),
        (UdpTunnel::Capwap, [preamble, ..]) => matches!(preamble, 0 | 1),
        (UdpTunnel::Mpls, stack) => return may_be_labels(stack),
        // RFC 8086, section 3.1: version 0, reserved bits zero.
        (UdpTunnel::Gre, [flags, version, ..]) => flags & 0x4f == 0 && *version == 0,
        (UdpTunnel::Gue, [first, ..]) => matches!(first >> 4, 0..=6),
        (UdpTunnel::Lisp, [_, _, _, _, _, _, _, _, packet @ ..]) if !packet.is_empty() => {
            may_be_ip(packet)
        }
        (UdpTunnel::Tzsp, [version, kind, high, ..]) => *version == 1 && *kind <= 5 && *high == 0,
        (UdpTunnel::Gtpc, [first, ..]) => first >> 4 == 0b0011,
        (UdpTunnel::VxlanGpe | UdpTunnel::Geneve, _) => true,
        (UdpTunnel::L2tp | UdpTunnel::Gre | UdpTunnel::Lisp | UdpTunnel::Tzsp, _) => return None,
    })
}

/// Whether `bytes` may be at most four labels and an IP packet; `None` if too little is there to
/// tell.
fn may_be_labels(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    for _ in 0..4 {
        let ([_, _, low, _], behind) = rest.split_first_chunk()?;
        if low & 1 != 0 {
            return (!behind.is_empty()).then(|| may_be_ip(behind));
        }
        rest = behind;
    }
    Some(false)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail this way")]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_frame_is_known_by_what_its_type_promises() {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0, 0, 20];
        assert!(may_be_ethernet(&frame));
        frame[14] = 0x25;
        assert!(!may_be_ethernet(&frame));
        frame[13] = 0x01;
        assert!(!may_be_ethernet(&frame));
        assert!(!may_be_ethernet(&frame[..13]));
    }

    #[test]
    fn a_port_that_a_client_picked_is_no_tunnel() {
        // A DNS answer.
        let answer = [0x44, 0xff, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 3, b'w', b'w', b'w'];
        for tunnel in [
            UdpTunnel::Gtpu,
            UdpTunnel::Teredo,
            UdpTunnel::L2tp,
            UdpTunnel::Tzsp,
            UdpTunnel::Capwap,
        ] {
            assert_eq!(may_be(tunnel, &answer), Some(false), "{tunnel:?}");
        }
    }
}
