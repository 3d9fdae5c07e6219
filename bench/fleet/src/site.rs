//! The made-up hosts and their machines.

use std::time::{SystemTime, UNIX_EPOCH};

use inventory::facts::NamespaceId;
use inventory::{
    Attachment, Host, Machine, MachineId, MachineKind, MachineState, Network, SwitchKind, Uplink,
    UplinkChoice, Vnic,
};

pub struct Site {
    /// The machines of each host.
    hosts: Vec<Vec<Machine>>,
    random: u64,
}

/// A machine that has moved.
pub struct Moved {
    pub name: String,
    pub from: usize,
    pub to: usize,
}

impl Site {
    pub fn new(hosts: usize, vms: usize) -> Self {
        let machines = |host| (0..vms).map(|vm| machine(host * vms + vm)).collect();
        Self { hosts: (0..hosts).map(machines).collect(), random: 42 }
    }

    /// A host as it is now.
    pub fn of(&self, host: usize) -> inventory::Site {
        inventory::Site {
            host: Host { name: host_name(host) },
            machines: self.hosts.get(host).cloned().unwrap_or_default(),
            sources: Vec::new(),
        }
    }

    pub fn some_name(&mut self) -> String {
        let machines: usize = self.hosts.iter().map(Vec::len).sum();
        vm_name(self.below(machines))
    }

    /// Moves a machine from one host to another.
    pub fn migrate(&mut self) -> Moved {
        loop {
            let (from, to) = (self.below(self.hosts.len()), self.below(self.hosts.len()));
            if from != to
                && let Some(machine) = self.hosts[from].pop()
            {
                let name = machine.name.clone();
                self.hosts[to].insert(0, machine);
                return Moved { name, from, to };
            }
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % end
    }
}

pub fn host_name(host: usize) -> String {
    format!("hv-{host}")
}

fn vm_name(number: usize) -> String {
    format!("web-{number}")
}

pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A VM as libvirt and Open vSwitch describe it.
fn machine(number: usize) -> Machine {
    let id: MachineId = MachineId::Written(format!("t{}/web-{number}", number % 20));
    let octets = number.to_be_bytes();
    let mac = format!("52:54:00:{:02x}:{:02x}:{:02x}", octets[5], octets[6], octets[7]);
    let vnic = Vnic {
        name: "net0".into(),
        mac: mac.parse().ok(),
        ips: Vec::new(),
        attachment: Some(Attachment {
            device: Some(format!("vnet{number}")),
            ifindex: u32::try_from(number).ok(),
            namespace: NamespaceId(4_026_531_840),
            namespace_path: None,
            switch: Some("br-int".into()),
            switch_kind: Some(SwitchKind::OpenVSwitch),
            port: Some(format!("vnet{number}")),
            port_id: Some(format!("9b0c1f5e-3a52-4d6b-9c57-{number:012x}")),
            port_group: Some("tenant network".into()),
            networks: vec![Network {
                vlan: None,
                vni: wire::Vni::new(5000),
                tunnel: Some("vxlan".into()),
                tunnel_port: Some(4789),
                remotes: vec!["10.0.0.1".parse().unwrap_or([0, 0, 0, 0].into())],
                uplinks: vec![Uplink {
                    device: "eno1".into(),
                    ifindex: Some(2),
                    choice: UplinkChoice::Only,
                }],
                team: None,
            }],
            notes: Vec::new(),
            since: None,
        }),
    };
    Machine {
        id,
        name: vm_name(number),
        aliases: vec![format!("instance-{number:08x}")],
        kind: MachineKind::Vm,
        state: MachineState::Running,
        tenant: Some(format!("t{}", number % 20)),
        vnics: vec![vnic],
        pid: u32::try_from(number + 1000).ok(),
        since: None,
        evidence: Vec::new(),
    }
}
