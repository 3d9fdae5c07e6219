//! A domain: its description in XML, and what its state means.

use inventory::facts::{DomainNic, DomainState};
use wire::VlanId;

/// What the XML of a domain says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Description {
    pub(super) title: Option<String>,
    pub(super) tenant: Option<String>,
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
            tenant: child(domain, "metadata").and_then(project),
            nics: interfaces.filter_map(nic).collect(),
        })
    }
}

/// The project that OpenStack Nova wrote down as the owner, in every version of its metadata:
/// `nova:instance/nova:owner/nova:project`, by name, or by id where it has none.
fn project(metadata: roxmltree::Node<'_, '_>) -> Option<String> {
    let is_project = |node: &roxmltree::Node<'_, '_>| {
        let name = node.tag_name();
        name.name() == "project" && name.namespace().is_some_and(|n| n.starts_with(NOVA))
    };
    let project = metadata.descendants().find(is_project)?;
    let name = project.text().map(str::trim).filter(|name| !name.is_empty());
    name.or_else(|| project.attribute("uuid")).map(str::to_owned)
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

/// Whether a lifecycle event says that a domain has gone to another host.
pub(super) const fn has_migrated(event: i32, detail: i32) -> bool {
    matches!((event, detail), (STOPPED, 3))
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
/// How the XML namespaces of Nova begin; the version follows.
const NOVA: &str = "http://openstack.org/xmlns/libvirt/nova/";
const SUSPENDED: i32 = 3;
const RESUMED: i32 = 4;
const STOPPED: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_of_nova_is_the_tenant() {
        let tenant = |project: &str, version: &str| {
            let xml = format!(
                "<domain type='kvm'><name>instance-00000001</name><metadata>
                   <nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/{version}'>
                     <nova:name>web-01</nova:name>
                     <nova:owner>
                       <nova:user uuid='c0ffee'>alice</nova:user>{project}
                     </nova:owner>
                   </nova:instance>
                   <other:project xmlns:other='http://example.org/nova/'>mine</other:project>
                 </metadata></domain>"
            );
            Description::parse(&xml).unwrap().tenant
        };
        let named = "<nova:project uuid='ab12'> acme </nova:project>";
        assert_eq!(tenant(named, "1.0").as_deref(), Some("acme"));
        assert_eq!(tenant(named, "1.1").as_deref(), Some("acme"));
        assert_eq!(tenant("<nova:project uuid='ab12'/>", "1.1").as_deref(), Some("ab12"));
        assert_eq!(tenant("", "1.1"), None);
        assert_eq!(Description::parse("<domain><name>web</name></domain>").unwrap().tenant, None);
    }

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
