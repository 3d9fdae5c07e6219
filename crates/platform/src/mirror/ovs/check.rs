//! Whether a mirror would work and do no harm, before anything is written.

use plan::mirror::{Destination, Encapsulation, Source, Tunnel};

use super::OvsHandle;
use super::switch::{Bridge, SourcePort, Switch};
use crate::mirror::session::Oversize;
use crate::mirror::underlay::{Device, Underlay};

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) sources: &'a [Source],
    pub(super) destination: &'a Destination,
    pub(super) oversize: Oversize,
    /// A mirror of ours that goes when this one comes.
    pub(super) replaced: Option<&'a OvsHandle>,
}

/// A mirror that can be made.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) bridge: &'a Bridge,
    pub(super) ports: Vec<SourcePort>,
}

/// Finds the rows that are meant, and every reason not to mirror them.
pub(super) fn check<'a>(
    switch: &'a Switch,
    wanted: &Wanted<'_>,
    underlay: &mut Underlay,
) -> Result<Checked<'a>, String> {
    let mut bridge: Option<&Bridge> = None;
    let mut ports = Vec::new();
    let mut longest = 0;
    for source in wanted.sources {
        let name = source.port.as_deref().unwrap_or(&source.device);
        let (found, port) = source_port(switch, source, name)?;
        if bridge.is_some_and(|known| known.uuid != found.uuid) {
            return Err("the ports are on several switches; make a mirror for each".into());
        }
        bridge = Some(found);
        let interface = switch.interfaces.get(&port.interface_uuid);
        let tag = if port.port.tag.is_some() { TAG_LEN } else { 0 };
        longest = longest.max(interface.and_then(|it| it.mtu).unwrap_or(1500) + tag);
        ports.push(port);
    }
    let bridge = bridge.ok_or("nothing is to be mirrored")?;
    let is_replacing = wanted.replaced.is_some_and(|replaced| replaced.bridge == bridge.name);
    if bridge.mirrors.len() >= MIRRORS_MAX + usize::from(is_replacing) {
        return Err(format!(
            "{} has {} mirrors already; Open vSwitch ignores more than {MIRRORS_MAX} without a \
             word: ovs-vsctl list Mirror",
            bridge.name,
            bridge.mirrors.len()
        ));
    }
    match wanted.destination {
        Destination::Vlan(vlan) => {
            let vlan = vlan.to_string();
            if let Some(port) = ports.iter().find(|p| p.port.tag.as_ref() == Some(&vlan)) {
                return Err(format!("{} is in VLAN {vlan} itself", port.port.name));
            }
        }
        Destination::Port(name) => {
            let device = underlay.named(name).map_err(|error| format!("{name}: {error}"))?;
            check_port(switch, wanted, name, device.as_ref(), underlay)?;
            let mtu = device.map_or(0, |device| device.mtu);
            check_size(longest, TAG_LEN + mtu, wanted.oversize, name)?;
        }
        Destination::Tunnel(tunnel) => {
            let device = underlay.way_to(tunnel.remote);
            let device = device.map_err(|error| format!("{}: {error}", tunnel.remote))?;
            let device = device.ok_or_else(|| format!("there is no route to {}", tunnel.remote))?;
            check_loop(switch, bridge, &ports, tunnel, &device.name)?;
            check_twin(switch, tunnel, wanted.replaced)?;
            let needed = longest + ETHERNET_LEN + tunnel.overhead();
            let (way, room) = narrowest(switch, &device);
            check_size(needed, room, wanted.oversize, way)?;
        }
    }
    Ok(Checked { bridge, ports })
}

/// The rows of a source, which must be what the inventory takes them for.
fn source_port<'a>(
    switch: &'a Switch,
    source: &Source,
    name: &str,
) -> Result<(&'a Bridge, SourcePort), String> {
    let gone = || format!("{} has no port {name} in Open vSwitch now", source.label);
    let (bridge, uuid) = switch.bridge_with(name).ok_or_else(gone)?;
    let port = switch.ports.get(uuid).ok_or_else(gone)?;
    let [interface_uuid] = port.interfaces.iter().collect::<Vec<_>>()[..] else {
        return Err(format!("{name} is a team of uplinks, not a VM's port"));
    };
    let interface = switch.interfaces.get(interface_uuid).ok_or_else(gone)?;
    let id = |key: &str| interface.external_ids.get(key);
    let is_other = id("iface-id").zip(source.port_id.as_ref()).is_some_and(|(a, b)| a != b)
        || id("attached-mac")
            .and_then(|mac| mac.parse().ok())
            .zip(source.mac)
            .is_some_and(|(a, b): (wire::Mac, _)| a != b);
    if is_other {
        return Err(format!("{name} is another VM's port by now, not that of {}", source.label));
    }
    let found = SourcePort {
        uuid: uuid.to_owned(),
        port: port.clone(),
        interface_uuid: interface_uuid.clone(),
        external_ids: interface.external_ids.clone(),
    };
    Ok((bridge, found))
}

/// SPAN: the interface becomes a port of the switch, so it must be nothing else.
fn check_port(
    switch: &Switch,
    wanted: &Wanted<'_>,
    name: &str,
    device: Option<&Device>,
    underlay: &mut Underlay,
) -> Result<(), String> {
    let Some(device) = device else { return Err(format!("there is no interface {name}")) };
    if let Some((bridge, port)) = switch.bridge_with(name) {
        if wanted.replaced.is_none_or(|replaced| replaced.port != port) {
            return Err(format!(
                "{name} is a port of {} already; a mirror needs one of its own, so that it ends at \
                 once when it is removed: ovs-vsctl del-port {name}",
                bridge.name
            ));
        }
    } else if device.master.is_some() {
        return Err(format!("{name} belongs to a bridge or a team"));
    }
    let addresses = underlay.addresses(device.ifindex).map_err(|error| error.to_string())?;
    if addresses > 0 {
        return Err(format!(
            "{name} has an address of this host, which would be cut off: a port of the switch \
             hears nothing else"
        ));
    }
    if !device.is_up {
        return Err(format!("{name} is down: ip link set {name} up"));
    }
    Ok(())
}

/// Refuses export that leaves by what is mirrored: each copy would be copied again, and
/// ovs-vswitchd 3.1 does not survive that.
fn check_loop(
    switch: &Switch,
    mirrored: &Bridge,
    ports: &[SourcePort],
    tunnel: &Tunnel,
    device: &str,
) -> Result<(), String> {
    let remote = tunnel.remote;
    let Some((exit, exit_port)) = switch.bridge_with(device) else { return Ok(()) };
    if let Some(port) = ports.iter().find(|port| port.uuid == exit_port) {
        return Err(format!(
            "the way to {remote} leads through {}, which is mirrored: each copy would be copied \
             again",
            port.port.name
        ));
    }
    if exit.uuid == mirrored.uuid {
        return Err(format!(
            "the way to {remote} leads through {} ({device}), the switch that is mirrored: copies \
             that it floods would be copied again, and Open vSwitch may not survive it; send them \
             another way, or use --means tc",
            exit.name
        ));
    }
    let vlan = switch.ports.get(exit_port).and_then(|port| port.tag.as_deref()).unwrap_or("0");
    let is_reached = switch.reached_from(mirrored).iter().any(|bridge| bridge.uuid == exit.uuid);
    if let Some(port) = ports.iter().find(|port| is_reached && port.port.carries(vlan)) {
        return Err(format!(
            "the way to {remote} leads through {} ({device}), whose frames also get to {}, which is \
             mirrored: copies could be copied again",
            exit.name, port.port.name
        ));
    }
    Ok(())
}

/// Of two tunnels with one address and number the switch makes only one.
fn check_twin(
    switch: &Switch,
    tunnel: &Tunnel,
    replaced: Option<&OvsHandle>,
) -> Result<(), String> {
    let kind = tunnel.encapsulation.word();
    let twin = switch.interfaces.iter().find(|(uuid, interface)| {
        let option = |key: &str| interface.options.get(key).map(String::as_str);
        interface.kind == kind
            && option("remote_ip").and_then(|ip| ip.parse().ok()) == Some(tunnel.remote)
            && option("key") == Some(&tunnel.number.to_string())
            && option("dst_port").and_then(|port| port.parse().ok()) == tunnel.udp_port
            && replaced.is_none_or(|replaced| replaced.interface != **uuid)
    });
    match twin {
        None => Ok(()),
        Some((_, twin)) => Err(format!(
            "{} is a {kind} tunnel to {} with the number {} already; give the mirror another",
            twin.name, tunnel.remote, tunnel.number
        )),
    }
}

/// What limits the length of a packet on its way out by a device: the device; but a switch in user
/// space sends it by its own ports, past the device that only lends its address.
fn narrowest<'a>(switch: &'a Switch, device: &'a Device) -> (&'a str, u32) {
    let exit = switch.bridge_with(&device.name).filter(|(exit, _)| exit.is_userspace);
    let ports = exit.iter().flat_map(|(exit, _)| &exit.ports);
    let interfaces = ports
        .filter_map(|uuid| switch.ports.get(uuid))
        .flat_map(|port| switch.interfaces_of(port))
        // Neither internal nor a tunnel nor a patch.
        .filter(|interface| matches!(interface.kind.as_str(), "" | "system" | "dpdk"));
    let narrowest =
        interfaces.filter_map(|it| Some((it.name.as_str(), it.mtu?))).min_by_key(|it| it.1);
    narrowest.unwrap_or((&device.name, device.mtu))
}

/// Open vSwitch sends nothing of what does not fit, and counts it as sent.
fn check_size(needed: u32, room: u32, oversize: Oversize, device: &str) -> Result<(), String> {
    if needed <= room || oversize == Oversize::Drop {
        return Ok(());
    }
    Err(format!(
        "a full frame of the VM needs {needed} bytes on {device}, which has room for {room}: longer \
         ones would be lost, uncounted; raise its MTU, lower the VM's, or accept it with \
         --oversize drop"
    ))
}

/// The options of a tunnel's interface.
pub(super) fn options(tunnel: &Tunnel) -> Vec<(&'static str, String)> {
    let mut options =
        vec![("remote_ip", tunnel.remote.to_string()), ("key", tunnel.number.to_string())];
    if let Some(port) = tunnel.udp_port {
        options.push(("dst_port", port.to_string()));
    }
    match tunnel.encapsulation {
        Encapsulation::Vxlan | Encapsulation::Geneve | Encapsulation::Gre => {}
        Encapsulation::ErspanII { index } => {
            // Open vSwitch reads the index as hexadecimal.
            options.extend([("erspan_ver", "1".into()), ("erspan_idx", format!("{index:x}"))]);
        }
        Encapsulation::ErspanIII { hardware } => options.extend([
            ("erspan_ver", "2".into()),
            ("erspan_dir", "0".into()),
            ("erspan_hwid", format!("{hardware:x}")),
        ]),
    }
    options
}

/// `MAX_MIRRORS` of Open vSwitch.
const MIRRORS_MAX: usize = 32;
const ETHERNET_LEN: u32 = 14;
const TAG_LEN: u32 = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use inventory::MachineId;
    use plan::mirror::Destination;

    use super::*;
    use crate::mirror::ovs::switch::{Interface, Port};

    /// A switch of bridges and ports: `("br0", &[("eth0", None, "", &[])])`.
    type PortOf<'a> = (&'a str, Option<&'a str>, &'a str, &'a [(&'a str, &'a str)]);

    fn switch(bridges: &[(&str, &[PortOf<'_>])]) -> Switch {
        let mut switch = Switch::default();
        for (name, ports) in bridges {
            let mut bridge = Bridge {
                uuid: format!("bridge {name}"),
                name: (*name).into(),
                ..Bridge::default()
            };
            for (port, tag, kind, options) in *ports {
                let (uuid, interface) = (format!("port {port}"), format!("interface {port}"));
                bridge.ports.insert(uuid.clone());
                let row = Port {
                    name: (*port).into(),
                    tag: tag.map(str::to_owned),
                    interfaces: [interface.clone()].into(),
                    ..Port::default()
                };
                switch.ports.insert(uuid, row);
                let options = options.iter().map(|(k, v)| ((*k).into(), (*v).into()));
                let row = Interface {
                    name: (*port).into(),
                    kind: (*kind).into(),
                    mtu: Some(1500),
                    external_ids: BTreeMap::from([("iface-id".into(), format!("id-{port}"))]),
                    options: options.collect(),
                };
                switch.interfaces.insert(interface, row);
            }
            switch.bridges.push(bridge);
        }
        switch
    }

    fn source(port: &str, id: &str) -> Source {
        Source {
            machine: MachineId::Written("web".into()),
            label: "web/net0".into(),
            tenant: None,
            mac: None,
            device: port.into(),
            ifindex: Some(3),
            namespace_path: None,
            switch: Some("br-int".into()),
            port: Some(port.into()),
            port_id: Some(id.into()),
            networks: Vec::new(),
        }
    }

    fn tunnel(text: &str) -> Tunnel {
        match text.parse() {
            Ok(Destination::Tunnel(tunnel)) => tunnel,
            other => panic!("{other:?}"),
        }
    }

    /// What is said of a mirror of `port` whose copies leave by `device`.
    fn loop_of(switch: &Switch, port: &str, device: &str) -> Result<(), String> {
        let source = source(port, &format!("id-{port}"));
        let (bridge, found) = source_port(switch, &source, port).unwrap();
        check_loop(switch, bridge, &[found], &tunnel("vxlan://10.0.0.9?vni=7"), device)
    }

    #[test]
    fn copies_do_not_leave_by_what_is_mirrored() {
        let patched = [("peer", "patch-int")];
        let back = [("peer", "patch-phy")];
        let two = switch(&[
            (
                "br-int",
                &[
                    ("tap-web", Some("100"), "", &[]),
                    ("tap-trunk", None, "", &[]),
                    ("patch-phy", None, "patch", &patched),
                ],
            ),
            (
                "br-phy",
                &[
                    ("patch-int", None, "patch", &back),
                    ("br-phy", None, "internal", &[]),
                    ("eth0", None, "", &[]),
                    ("tap-near", Some("20"), "", &[]),
                ],
            ),
            ("br-other", &[("tap-far", None, "", &[])]),
        ]);
        assert_eq!(loop_of(&two, "tap-web", "eth9"), Ok(()), "past the switch");
        assert_eq!(loop_of(&two, "tap-web", "br-phy"), Ok(()), "another VLAN than the copies");
        assert_eq!(loop_of(&two, "tap-far", "br-phy"), Ok(()), "a switch apart");
        for (port, device, reason) in [
            ("tap-near", "br-phy", "the switch that is mirrored"),
            ("tap-near", "tap-near", "which is mirrored"),
            ("tap-trunk", "br-phy", "also get to tap-trunk"),
        ] {
            let error = loop_of(&two, port, device).unwrap_err();
            assert!(error.contains(reason), "{port} {device}: {error}");
        }
    }

    #[test]
    fn a_port_that_is_anothers_by_now_is_refused() {
        let switch = switch(&[("br-int", &[("tap-web", None, "", &[])])]);
        assert!(source_port(&switch, &source("tap-web", "id-tap-web"), "tap-web").is_ok());
        let error = source_port(&switch, &source("tap-web", "id-db"), "tap-web").unwrap_err();
        assert!(error.contains("another VM's port"), "{error}");
        let error = source_port(&switch, &source("tap-db", "id-db"), "tap-db").unwrap_err();
        assert!(error.contains("has no port tap-db"), "{error}");
    }

    #[test]
    fn of_two_tunnels_with_one_number_the_second_is_refused() {
        let options = [("remote_ip", "10.0.0.9"), ("key", "7")];
        let switch = switch(&[("br-int", &[("vx", None, "vxlan", &options)])]);
        let twin = |text: &str| check_twin(&switch, &tunnel(text), None);
        assert!(twin("vxlan://10.0.0.9?vni=7").unwrap_err().contains("vx is a vxlan tunnel"));
        assert_eq!(twin("vxlan://10.0.0.9?vni=8"), Ok(()));
        assert_eq!(twin("vxlan://10.0.0.9:8472?vni=7"), Ok(()));
        assert_eq!(twin("geneve://10.0.0.9?vni=7"), Ok(()));
    }

    #[test]
    fn h1_a_way_that_is_too_narrow_is_refused_unless_loss_is_accepted() {
        assert_eq!(check_size(1554, 1554, Oversize::Refuse, "eth0"), Ok(()));
        let error = check_size(1554, 1500, Oversize::Refuse, "eth0").unwrap_err();
        assert!(error.contains("needs 1554 bytes on eth0, which has room for 1500"), "{error}");
        assert_eq!(check_size(1554, 1500, Oversize::Drop, "eth0"), Ok(()));
    }

    #[test]
    fn the_erspan_index_is_written_as_open_vswitch_reads_it() {
        let options = options(&tunnel("erspan://10.0.0.9?session=5&index=102"));
        assert!(options.contains(&("erspan_idx", "66".into())), "{options:?}");
    }
}
