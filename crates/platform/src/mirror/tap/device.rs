//! Where a virtual tap's copies go: an interface that is there, or a tunnel's device made for it.

use std::io;
use std::net::IpAddr;

use plan::mirror::{Encapsulation, Tunnel};
use serde::{Deserialize, Serialize};

use super::super::register::Handle;
use super::super::underlay::{Device, IFINFOMSG_LEN, IFLA_IFALIAS, IFLA_IFNAME, Underlay};
use super::super::{MirrorError, network_namespace, random_hex};
use super::{WriteDown, refused};
use crate::netlink::message::{NLM_F_ACK, RTM_DELLINK, RTM_NEWLINK, Request};

/// A device of ours, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceHandle {
    /// The network namespace, as `BOOT:INODE`.
    pub namespace: String,
    /// Its name, which nobody else can have by accident.
    pub name: String,
}

/// An interface of this host as destination.
pub(super) fn port(underlay: &mut Underlay, name: &str) -> Result<Device, MirrorError> {
    let device = underlay.named(name).map_err(|error| refused(name, &error))?;
    let Some(device) = device else {
        return Err(MirrorError::Refused(format!("there is no interface {name}")));
    };
    if !device.is_up {
        return Err(MirrorError::Refused(format!("{name} is down: ip link set {name} up")));
    }
    if device.master.is_some() {
        return Err(MirrorError::Refused(format!(
            "{name} is a port of a bridge or a team: the copies would be among its other frames, \
             for everybody; give an interface of its own"
        )));
    }
    Ok(device)
}

/// Makes a device that puts what it is given into a tunnel. Also gives the device by which that
/// leaves.
pub(super) fn make_tunnel(
    underlay: &mut Underlay,
    tunnel: &Tunnel,
    write_down: WriteDown<'_>,
) -> Result<(Device, DeviceHandle, Device), MirrorError> {
    let remote = tunnel.remote;
    let way = underlay.way_to(remote).map_err(|error| refused(&remote.to_string(), &error))?;
    let Some(way) = way else {
        return Err(MirrorError::Refused(format!("there is no route to {remote}")));
    };
    let random = random_hex(5).map_err(|error| refused("a name", &error))?;
    let namespace = network_namespace().map_err(|error| refused("its namespace", &error))?;
    let handle = DeviceHandle { namespace, name: format!("ovt{random}") };
    write_down(Handle::Device(handle.clone()))?;
    let made = make(underlay, &handle.name, tunnel, way.ifindex).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "; another device has that VNI and port: choose another"
            }
            _ => "",
        };
        MirrorError::Failed(format!(
            "cannot make a {} device: {error}{hint}",
            tunnel.encapsulation.word()
        ))
    });
    let device = made.and_then(|()| {
        let device = underlay.named(&handle.name).map_err(|error| refused(&handle.name, &error))?;
        device.ok_or_else(|| MirrorError::Failed(format!("{} is not there", handle.name)))
    });
    match device {
        Ok(mut device) => {
            // What the way has room for, whatever the kernel has given the device.
            device.mtu = way.mtu.saturating_sub(tunnel.overhead() + ETHERNET_LEN);
            Ok((device, handle, way))
        }
        Err(error) => match remove(&handle) {
            Ok(()) => Err(error),
            Err(left) => Err(MirrorError::Failed(format!("{error}; and {left}"))),
        },
    }
}

/// Removes a device of ours, if it is there.
pub(in crate::mirror) fn remove(handle: &DeviceHandle) -> Result<(), String> {
    let sentence = |error: io::Error| format!("{}: {error}", handle.name);
    let namespace = network_namespace().map_err(sentence)?;
    if namespace != handle.namespace {
        return match namespace.split(':').next() == handle.namespace.split(':').next() {
            true => Err(format!("{} is in another network namespace", handle.name)),
            // Devices do not outlive a boot.
            false => Ok(()),
        };
    }
    let mut underlay = Underlay::open().map_err(sentence)?;
    let Some(device) = underlay.named(&handle.name).map_err(sentence)? else { return Ok(()) };
    let fixed = ifinfomsg(device.ifindex, 0);
    let nothing = Request::attributes();
    underlay.asking().send(RTM_DELLINK, NLM_F_ACK, &fixed, &nothing, |_| {}).map_err(sentence)?;
    Ok(())
}

fn make(underlay: &mut Underlay, name: &str, tunnel: &Tunnel, way: u32) -> io::Result<()> {
    let port = tunnel.udp_port.unwrap_or(VXLAN_PORT);
    debug_assert!(matches!(tunnel.encapsulation, Encapsulation::Vxlan));
    let data = Request::attributes()
        .with_u32(IFLA_VXLAN_ID, tunnel.number)
        .with_u32(IFLA_VXLAN_LINK, way)
        .with(IFLA_VXLAN_LEARNING, &[0])
        .with(IFLA_VXLAN_TTL, &[64])
        .with(IFLA_VXLAN_PORT, &port.to_be_bytes());
    let data = match tunnel.remote {
        // A fragment of a copy is worth nothing: what is too long is refused by the kernel.
        IpAddr::V4(remote) => {
            data.with(IFLA_VXLAN_GROUP, &remote.octets()).with(IFLA_VXLAN_DF, &[1])
        }
        IpAddr::V6(remote) => data.with(IFLA_VXLAN_GROUP6, &remote.octets()),
    };
    let info =
        Request::attributes().with_text(IFLA_INFO_KIND, "vxlan").with_nest(IFLA_INFO_DATA, &data);
    let link = Request::attributes().with_text(IFLA_IFNAME, name).with_nest(IFLA_LINKINFO, &info);
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    underlay.asking().send(RTM_NEWLINK, flags, &ifinfomsg(0, 0), &link, |_| {})?;
    let Some(device) = underlay.named(name)? else { return Err(io::ErrorKind::NotFound.into()) };
    // It shall carry copies and nothing else: no address, so no word of its own.
    let quiet = Request::attributes().with(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]);
    let quiet = Request::attributes().with_nest(AF_INET6, &quiet);
    let settings = Request::attributes()
        .with_text(IFLA_IFALIAS, "made by overtap mirror")
        .with_nest(IFLA_AF_SPEC, &quiet);
    let fixed = ifinfomsg(device.ifindex, 0);
    // A kernel without IPv6 does not know the second; then there is nothing to silence.
    let _ = underlay.asking().send(RTM_NEWLINK, NLM_F_ACK, &fixed, &settings, |_| {});
    let up = ifinfomsg(device.ifindex, IFF_UP);
    underlay.asking().send(RTM_NEWLINK, NLM_F_ACK, &up, &Request::attributes(), |_| {}).map(|_| ())
}

/// `struct ifinfomsg`: family, type, index, flags, which flags change.
fn ifinfomsg(ifindex: u32, flags: u32) -> [u8; IFINFOMSG_LEN] {
    let mut fixed = [0; IFINFOMSG_LEN];
    let numbers = [0, ifindex, flags, flags];
    let bytes = numbers.iter().flat_map(|number| number.to_ne_bytes());
    fixed.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    fixed
}

const VXLAN_PORT: u16 = 4789;
const ETHERNET_LEN: u32 = 14;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const AF_INET6: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_TTL: u16 = 5;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_DF: u16 = 29;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`.
const ADDR_GEN_NONE: u8 = 1;
