//! What the kernel says of links and of the way to a tool, asked when a mirror is made.

use std::io;
use std::net::IpAddr;

use crate::netlink::message::{
    Attributes, Message, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, Request, read_text, read_u32,
};
use crate::netlink::{Asking, asking};

/// A device of this host's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// Its name.
    pub(super) name: String,
    /// Its index.
    pub(super) ifindex: u32,
    /// The largest packet it takes, without its Ethernet header.
    pub(super) mtu: u32,
    /// Whether it is administratively up.
    pub(super) is_up: bool,
    /// The bridge, team or vSwitch it belongs to.
    pub(super) master: Option<u32>,
    /// Frames it has sent.
    pub(super) sent: u64,
    /// Text that whoever made it has left there.
    pub(super) alias: Option<String>,
}

/// Asks the kernel.
#[derive(Debug)]
pub(super) struct Underlay {
    asking: Asking,
}

impl Underlay {
    /// In the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { asking: asking()? })
    }

    /// The socket, for changes.
    pub(super) fn asking(&mut self) -> &mut Asking {
        &mut self.asking
    }

    /// The device of this name; `None` if there is none.
    pub(super) fn named(&mut self, name: &str) -> io::Result<Option<Device>> {
        self.device(&[0; IFINFOMSG_LEN], &Request::attributes().with_text(IFLA_IFNAME, name))
    }

    /// The device of this index; `None` if there is none.
    pub(super) fn numbered(&mut self, ifindex: u32) -> io::Result<Option<Device>> {
        let mut fixed = [0; IFINFOMSG_LEN];
        fixed.iter_mut().skip(4).zip(ifindex.to_ne_bytes()).for_each(|(to, from)| *to = from);
        self.device(&fixed, &Request::attributes())
    }

    /// The device by which packets to an address leave.
    pub(super) fn way_to(&mut self, address: IpAddr) -> io::Result<Option<Device>> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        };
        let mut fixed = [0; 12];
        fixed[0] = family;
        fixed[1] = u8::try_from(octets.len() * 8).unwrap_or_default();
        let mut out = None;
        let result = self.asking.send(
            RTM_GETROUTE,
            0,
            &fixed,
            &Request::attributes().with(RTA_DST, &octets),
            |message| {
                let found = message.attributes(12).find(|(kind, _)| *kind == RTA_OIF);
                out = found.and_then(|(_, value)| read_u32(value));
            },
        );
        match result {
            Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::HostUnreachable => return Ok(None),
            result => result?,
        };
        out.map_or(Ok(None), |ifindex| self.numbered(ifindex))
    }

    /// How many addresses a device has that are not link-local.
    pub(super) fn addresses(&mut self, ifindex: u32) -> io::Result<usize> {
        /// `ifa_scope` of addresses that mean nothing beyond the link.
        const RT_SCOPE_LINK: u8 = 253;
        let is_its = |message: &Message<'_>| {
            let [_, _, _, scope, index @ ..] = *message.body.first_chunk::<8>()?;
            (u32::from_ne_bytes(index) == ifindex && scope < RT_SCOPE_LINK).then_some(())
        };
        Ok(self.asking.dump(RTM_GETADDR, &[0; 8], None, is_its)?.len())
    }

    fn device(&mut self, fixed: &[u8], attributes: &Request) -> io::Result<Option<Device>> {
        let mut device = None;
        let result = self.asking.send(RTM_GETLINK, 0, fixed, attributes, |message| {
            device = decode(message);
        });
        match result {
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(device),
        }
    }
}

fn decode(message: &Message<'_>) -> Option<Device> {
    let ifindex = read_u32(message.body.get(4..8)?)?;
    let flags = read_u32(message.body.get(8..12)?)?;
    let mut device = Device {
        name: String::new(),
        ifindex,
        mtu: 0,
        is_up: flags & IFF_UP != 0,
        master: None,
        sent: 0,
        alias: None,
    };
    for (kind, value) in message.attributes(IFINFOMSG_LEN) {
        match kind {
            IFLA_IFNAME => device.name = read_text(value),
            IFLA_MTU => device.mtu = read_u32(value)?,
            IFLA_MASTER => device.master = read_u32(value),
            IFLA_IFALIAS => device.alias = Some(read_text(value)),
            // struct rtnl_link_stats64: rx_packets, tx_packets, ...
            IFLA_STATS64 => {
                let sent = value.get(8..16).and_then(|bytes| bytes.first_chunk());
                device.sent = sent.map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            }
            _ => {}
        }
    }
    Some(device)
}

/// The value of the first attribute of this kind.
pub(super) fn attribute<'a>(mut attributes: Attributes<'a>, kind: u16) -> Option<&'a [u8]> {
    attributes.find(|(found, _)| *found == kind).map(|(_, value)| value)
}

pub(super) const IFINFOMSG_LEN: usize = 16;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const ENODEV: i32 = 19;
const IFF_UP: u32 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
