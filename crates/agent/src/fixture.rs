//! Machines, observation points and requests for tests.

use inventory::facts::NamespaceId;
use inventory::{Attachment, Machine, MachineId, MachineKind, MachineState, Site, Vnic};
use pipeline::Limits;
use plan::{Interface, Point, PointKind, Side};
use select::Ownership;

use crate::{Output, Request, Rotation};

/// A running VM with one vNIC whose tap is `device`.
pub(crate) fn machine(name: &str, device: &str, ifindex: u32) -> Machine {
    let place = Attachment {
        device: Some(device.into()),
        ifindex: Some(ifindex),
        namespace: NamespaceId(1),
        namespace_path: None,
        switch: None,
        switch_kind: None,
        port: None,
        port_id: None,
        port_group: None,
        networks: Vec::new(),
        notes: Vec::new(),
        since: None,
    };
    let vnic = Vnic {
        name: "net0".into(),
        mac: Some(wire::Mac([0x52, 0x54, 0, 0, 7, 10])),
        ips: Vec::new(),
        attachment: Some(place),
    };
    Machine {
        id: MachineId::Port(name.into()),
        name: name.into(),
        aliases: Vec::new(),
        kind: MachineKind::Vm,
        state: MachineState::Running,
        tenant: None,
        vnics: vec![vnic],
        pid: None,
        namespace_path: None,
        since: None,
        evidence: Vec::new(),
    }
}

/// A site of these machines.
pub(crate) fn site(machines: Vec<Machine>) -> Site {
    Site { machines, ..Site::default() }
}

/// A usable point; its interfaces have the indexes 3, 4, ...
pub(crate) fn point(kind: PointKind, interfaces: &[&str]) -> Point {
    let interface = |(name, ifindex): (&&str, u32)| Interface {
        name: (*name).into(),
        ifindex: Some(ifindex),
        namespace_path: None,
        vnic: "net0".into(),
        mac: None,
        label: format!("web/net0 @ hv-1:{name}"),
        description: String::new(),
        ownership: Ownership::Whole,
        side: Side::Host,
        choice: None,
    };
    Point {
        kind,
        refusal: None,
        vnics: vec!["net0".into()],
        interfaces: interfaces.iter().zip(3..).map(interface).collect(),
        sees: String::new(),
        misses: Vec::new(),
        costs: String::new(),
        disturbs: String::new(),
    }
}

/// A point that cannot be used.
pub(crate) fn refused(kind: PointKind, reason: &str) -> Point {
    Point { refusal: Some(reason.into()), ..point(kind, &[]) }
}

/// A capture of everything at `point`, to standard output.
pub(crate) fn request(point: &Point) -> Request<'_> {
    Request {
        mirrors: &[],
        point,
        filter: None,
        explained: select::Resolved::default(),
        is_stripped: false,
        snaplen: 262_144,
        limits: Limits::default(),
        output: Output {
            path: None,
            force: false,
            rotation: Rotation::default(),
            min_free_bytes: 0,
            room_bytes: None,
            is_nothing: false,
            store: None,
        },
        buffer_bytes: None,
        comments: Vec::new(),
        ip_names: Vec::new(),
        mac_names: Vec::new(),
        past: None,
        tools: Vec::new(),
        owner: broker::Owner::Tenant(None),
    }
}
