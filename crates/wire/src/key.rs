//! Who talks to whom in the innermost frame: what tables that look up every packet are indexed by.
//!
//! The same facts as a [`Level`](crate::Level) gives one by one, read in one pass.

use std::net::IpAddr;

use crate::header::{Geneve, Ports, VxlanGpe};
use crate::{Cursor, Header, Layer, Layers, Mac, Macs, VlanId, Vni};

/// Who talks to whom in the innermost level of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Key {
    /// The overlay network, if VXLAN, VXLAN-GPE or GENEVE carries the level.
    pub network: Option<Vni>,
    /// The addresses of the Ethernet header.
    pub macs: Option<Macs>,
    /// The VLAN of the outermost tag of the level.
    pub vlan: Option<VlanId>,
    /// Source and destination of the IP header.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// What stands behind IP and its extensions; `None` in later fragments.
    pub transport: Option<Layer>,
    /// The ports, where the transport has them.
    pub ports: Option<Ports>,
}

impl Key {
    /// The key of the innermost level of `layers`, which were found in `data`.
    ///
    /// Empty if nothing could be read of the innermost level.
    #[inline]
    pub fn new(layers: &Layers, data: &[u8]) -> Self {
        let (before, own) = layers.around_innermost();
        let mut key = Self::default();
        // Of several tunnel headers in a row these name no network.
        let mut carriers = before.iter().rev();
        let carrier =
            carriers.find(|header| !matches!(header.layer, Layer::Nsh | Layer::PwControlWord));
        key.network = carrier.and_then(|carrier| network(data, carrier));
        let mut rest = own;
        if let [first, behind @ ..] = rest
            && first.layer == Layer::Ethernet
        {
            key.macs = macs(data, first);
            rest = behind;
        }
        while let [first, behind @ ..] = rest {
            rest = behind;
            match first.layer {
                Layer::Vlan if key.vlan.is_none() => key.vlan = vlan(data, first),
                Layer::Ipv4 => {
                    key.addresses = ipv4(data, first);
                    break;
                }
                Layer::Ipv6 => {
                    key.addresses = ipv6(data, first);
                    break;
                }
                _ => {}
            }
        }
        while let [first, behind @ ..] = rest {
            rest = behind;
            match first.layer {
                Layer::Tcp | Layer::Udp | Layer::UdpLite | Layer::Sctp | Layer::Dccp => {
                    key.transport = Some(first.layer);
                    key.ports = Ports::decode(&mut at(data, first), first.layer).ok();
                    break;
                }
                layer if layer.is_ip_extension() => {}
                layer => {
                    key.transport = (!layer.is_tunnel()).then_some(layer);
                    break;
                }
            }
        }
        key
    }
}

#[inline]
fn at<'a>(data: &'a [u8], header: &Header) -> Cursor<'a> {
    Cursor::at(data, header.offset as usize)
}

#[inline]
fn macs(data: &[u8], header: &Header) -> Option<Macs> {
    let bytes = at(data, header).pass::<12>()?;
    let [destination @ .., _, _, _, _, _, _] = *bytes;
    let [_, _, _, _, _, _, source @ ..] = *bytes;
    Some(Macs { source: Mac(source), destination: Mac(destination) })
}

#[inline]
fn vlan(data: &[u8], header: &Header) -> Option<VlanId> {
    Some(VlanId::from_tci(u16::from_be_bytes(*at(data, header).pass::<2>()?)))
}

#[inline]
fn ipv4(data: &[u8], header: &Header) -> Option<(IpAddr, IpAddr)> {
    let mut cursor = at(data, header);
    cursor.pass::<12>()?;
    let bytes = *cursor.pass::<8>()?;
    let [source @ .., _, _, _, _] = bytes;
    let [_, _, _, _, destination @ ..] = bytes;
    Some((IpAddr::from(source), IpAddr::from(destination)))
}

#[inline]
fn ipv6(data: &[u8], header: &Header) -> Option<(IpAddr, IpAddr)> {
    let mut cursor = at(data, header);
    cursor.pass::<8>()?;
    Some((IpAddr::from(*cursor.pass::<16>()?), IpAddr::from(*cursor.pass::<16>()?)))
}

/// The overlay network that the header of a tunnel names.
#[inline]
fn network(data: &[u8], header: &Header) -> Option<Vni> {
    let cursor = &mut at(data, header);
    match header.layer {
        // What has passed the walk names its network (RFC 7348, section 5).
        Layer::Vxlan => {
            let [_, _, _, _, vni @ .., _] = *cursor.pass::<8>()?;
            Some(Vni::from_be_bytes(vni))
        }
        Layer::Geneve => Some(Geneve::decode(cursor).ok()?.vni),
        Layer::VxlanGpe => VxlanGpe::decode(cursor).ok()?.vni,
        _ => None,
    }
}
