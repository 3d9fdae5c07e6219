//! A domain: its description in XML, and what its state means.

use inventory::facts::{DomainNic, DomainState};
use wire::VlanId;

/// What the XML of a domain says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Description {
    pub(super) title: Option<String>,
    pub(super) nics: Vec<DomainNic>,
}

impl Description {
    /// Reads a domain's XML; what cannot be read is no card.
    pub(super) fn parse(xml: &str) -> Result<Self, roxmltree::Error> {
        let document = roxmltree::Document::parse(xml)?;
        let domain = document.root_element();
        let title = child(domain, "title").and_then(|title| title.text());
        let interfaces = child(domain, "devices").into_iter().flat_map(|devices| {
            devices.children().filter(|device| device.has_tag_name("interface"))
        });
        Ok(Self {
            title: title.map(|title| title.trim().to_owned()),
            nics: interfaces.filter_map(nic).collect(),
        })
    }
}

/// What a domain does, by `virDomainState`, its reason, and which side of a migration it was
/// last said or seen to be.
pub(super) fn state_of(state: i32, reason: i32, side: Option<Side>) -> DomainState {
    match (state, reason) {
        // Running or blocked; a shutdown that takes its time still runs.
        (1 | 2 | 4, _) => DomainState::Running,
        // Paused for a migration: the destination until it is resumed, the source from the
        // switch-over on. libvirt has one word for both.
        (3, 2) => match side {
            Some(Side::Source) => DomainState::Outgoing,
            Some(Side::Destination) | None => DomainState::Incoming,
        },
        // Paused because it runs at the destination of a post-copy migration.
        (3, 12 | 13) => DomainState::Outgoing,
        (3 | 7, _) => DomainState::Paused,
        _ => DomainState::Shutoff,
    }
}

/// The side of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// What a lifecycle event says about migration: `None` is nothing, `Some(None)` that it is over.
pub(super) fn side_of_event(event: i32, detail: i32) -> Option<Option<Side>> {
    match (event, detail) {
        (STARTED, 1) => Some(Some(Side::Destination)),
        // By a migration, or by post-copy: its destination runs already.
        (SUSPENDED, 1 | 7) => Some(Some(Side::Source)),
        (STARTED | RESUMED | STOPPED, _) => Some(None),
        _ => None,
    }
}

fn nic(interface: roxmltree::Node<'_, '_>) -> Option<DomainNic> {
    let attribute = |element: &str, name: &str| {
        child(interface, element).and_then(|e| e.attribute(name)).map(str::to_owned)
    };
    let kind = interface.attribute("type").unwrap_or_default().to_owned();
    // A running card of a network has the network's bridge too, which the kernel says as well.
    let order =
        if kind == "network" { ["network", "bridge", "dev"] } else { ["bridge", "dev", "network"] };
    let source = order.iter().find_map(|name| attribute("source", name));
    let parameters = child(interface, "virtualport").and_then(|port| child(port, "parameters"));
    let tag = child(interface, "vlan").and_then(|vlan| child(vlan, "tag"));
    Some(DomainNic {
        mac: attribute("mac", "address")?.parse().ok()?,
        tap: attribute("target", "dev"),
        source,
        port_group: attribute("source", "portgroup"),
        interface_id: parameters.and_then(|p| p.attribute("interfaceid")).map(str::to_owned),
        vlan: tag.and_then(|tag| tag.attribute("id")?.parse().ok()).and_then(VlanId::new),
        alias: attribute("alias", "name"),
        kind,
        ips: Vec::new(),
    })
}

fn child<'a, 'i>(node: roxmltree::Node<'a, 'i>, name: &str) -> Option<roxmltree::Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

const STARTED: i32 = 2;
const SUSPENDED: i32 = 3;
const RESUMED: i32 = 4;
const STOPPED: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_card_is_read_from_the_live_xml() {
        let xml = "
            <domain type='kvm' id='3'>
              <name>web</name>
              <title> Web shop </title>
              <devices>
                <interface type='bridge'>
                  <mac address='52:54:00:00:00:01'/>
                  <source bridge='br-int'/>
                  <vlan><tag id='100'/></vlan>
                  <virtualport type='openvswitch'>
                    <parameters interfaceid='c0ffee00-0000-4000-8000-000000000001'/>
                  </virtualport>
                  <target dev='vnet0'/>
                  <alias name='net0'/>
                </interface>
                <interface type='network'>
                  <mac address='52:54:00:00:00:02'/>
                  <source network='default' portgroup='dmz' bridge='virbr0'/>
                </interface>
                <interface type='direct'>
                  <mac address='52:54:00:00:00:03'/>
                  <source dev='eth0' mode='bridge'/>
                  <target dev='macvtap0'/>
                </interface>
                <interface type='ethernet'><target dev='tap9'/></interface>
              </devices>
            </domain>";
        let description = Description::parse(xml).unwrap();
        assert_eq!(description.title.as_deref(), Some("Web shop"));
        let card = |number: u8, kind: &str| DomainNic {
            mac: wire::Mac([0x52, 0x54, 0, 0, 0, number]),
            tap: None,
            source: None,
            port_group: None,
            interface_id: None,
            vlan: None,
            alias: None,
            kind: kind.into(),
            ips: vec![],
        };
        let bridge = DomainNic {
            tap: Some("vnet0".into()),
            source: Some("br-int".into()),
            interface_id: Some("c0ffee00-0000-4000-8000-000000000001".into()),
            vlan: VlanId::new(100),
            alias: Some("net0".into()),
            ..card(1, "bridge")
        };
        let network = DomainNic {
            source: Some("default".into()),
            port_group: Some("dmz".into()),
            ..card(2, "network")
        };
        let direct = DomainNic {
            tap: Some("macvtap0".into()),
            source: Some("eth0".into()),
            ..card(3, "direct")
        };
        assert_eq!(description.nics, [bridge, network, direct]);
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        assert!(Description::parse("<domain><devices>").is_err());
        assert!(Description::parse("").is_err());
    }

    #[test]
    fn the_two_sides_of_a_migration_are_told_apart() {
        let destination = side_of_event(2, 1).unwrap();
        assert_eq!(state_of(3, 2, destination), DomainState::Incoming);
        let source = side_of_event(3, 1).unwrap();
        assert_eq!(state_of(3, 2, source), DomainState::Outgoing);
        assert_eq!(side_of_event(4, 1), Some(None));
        assert_eq!(state_of(1, 3, None), DomainState::Running);
        assert_eq!(state_of(3, 1, source), DomainState::Paused);
        assert_eq!(state_of(5, 1, None), DomainState::Shutoff);
    }
}
