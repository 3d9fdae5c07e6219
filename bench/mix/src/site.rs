//! The site whose traffic is made up: 8 tenants with 125 VMs each, in five networks a tenant.
//!
//! Made to be mistaken: every tenant has the same MACs and the same IP addresses, and a GENEVE
//! network has the number of another tenant's VXLAN network in which the same MACs live.

/// How many tenants there are.
pub const TENANTS: u16 = 8;
/// How many VMs each tenant has.
pub const VMS_OF_TENANT: u16 = 125;
/// How many VMs there are.
pub const VMS: u16 = TENANTS * VMS_OF_TENANT;

/// What carries a network between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Vxlan,
    Geneve,
    /// Ethernet in GRE, named by the whole key.
    Gre,
    /// Named by the upper 24 bits of the GRE key; the lower 8 are a hash of the flow.
    Nvgre,
    /// No tunnel: an 802.1Q tag, behind a VN-Tag on some uplinks.
    Vlan,
}

impl Carrier {
    pub const ALL: [Self; 5] = [Self::Vxlan, Self::Geneve, Self::Gre, Self::Nvgre, Self::Vlan];

    /// The word of the inventory file.
    pub fn word(self) -> &'static str {
        ["vxlan", "geneve", "gre", "nvgre", "vlan"][self as usize]
    }
}

/// How many networks there are.
pub const NETWORKS: u8 = 8 * 5;

/// A tenant's network, 0 to 39: each tenant has one of each [`Carrier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub u8);

impl Network {
    pub fn tenant(self) -> u16 {
        u16::from(self.0) / 5
    }

    pub fn carrier(self) -> Carrier {
        Carrier::ALL[usize::from(self.0 % 5)]
    }

    pub fn name(self) -> String {
        format!("t{}-{}", self.tenant(), self.carrier().word())
    }

    /// VNI, GRE key or VSID; 0 where only the VLAN names the network.
    pub fn number(self) -> u32 {
        let tenant = u32::from(self.tenant());
        match self.carrier() {
            Carrier::Vxlan => 5001 + tenant,
            // The number of the VXLAN network of the tenant before, where the same MACs are.
            Carrier::Geneve => 5001 + (tenant + 7) % 8,
            Carrier::Gre => 7001 + tenant,
            Carrier::Nvgre => 9001 + tenant,
            Carrier::Vlan => 0,
        }
    }

    /// The VLAN that stands for the network on a host's vSwitch, and in mirrors of it.
    pub fn vlan(self) -> u16 {
        100 + u16::from(self.0)
    }

    /// The ERSPAN session that mirrors the network.
    pub fn mirror_session(self) -> u16 {
        200 + u16::from(self.0)
    }

    /// Whether the tunnel's own packets are IPv6.
    pub fn is_over_ipv6(self) -> bool {
        self.tenant() == 7
    }

    /// The VLAN of the underlay itself, which says nothing about the tenant.
    pub fn underlay_vlan(self) -> Option<u16> {
        (self.tenant() % 4 == 3).then_some(50)
    }

    /// Options of the GENEVE header, in 4-byte words.
    pub fn geneve_option_words(self) -> u8 {
        [0, 2, 5][usize::from(self.tenant() % 3)]
    }

    pub fn vms(self) -> impl Iterator<Item = Vm> {
        (0..VMS).map(Vm).filter(move |vm| vm.network() == self)
    }
}

/// A VM, 0 to 999. Its MAC and addresses are those of the same VM of every other tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vm(pub u16);

impl Vm {
    pub fn tenant(self) -> u16 {
        self.0 / VMS_OF_TENANT
    }

    /// Its number within the tenant, 0 to 124.
    pub fn index(self) -> u16 {
        self.0 % VMS_OF_TENANT
    }

    pub fn network(self) -> Network {
        Network((self.tenant() * 5 + (self.index() + self.tenant()) % 5) as u8)
    }

    /// The VM with the same MAC and addresses in the next tenant.
    pub fn twin(self) -> Self {
        Self((self.0 + VMS_OF_TENANT) % VMS)
    }

    /// The host it runs on, 0 or 1.
    pub fn host(self) -> u8 {
        (self.0 / 5 % 2) as u8
    }

    pub fn name(self) -> String {
        format!("t{}-vm{:03}", self.tenant(), self.index())
    }

    pub fn mac(self) -> [u8; 6] {
        [0x52, 0x54, 0x00, 0x0a, 0x00, self.index() as u8]
    }

    /// Last byte of its addresses, 10.0.0.X and fd00::X.
    pub fn address(self) -> u8 {
        10 + self.index() as u8
    }
}

/// The router of every network.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x00, 0x01, 0x01];

/// A physical machine: `server` is 0 to 15, each seen from every network.
pub fn physical_mac(server: u8) -> [u8; 6] {
    [0x00, 0x1b, 0x21, 0xaa, 0x00, server]
}

/// Last byte of a physical machine's addresses.
pub fn physical_address(server: u8) -> u8 {
    200 + server
}

/// Where packets are seen: the interfaces of the pcapng form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    UplinkA,
    UplinkB,
    SpanA,
    SpanB,
    Mirror,
}

impl Point {
    pub const ALL: [Self; 5] =
        [Self::UplinkA, Self::UplinkB, Self::SpanA, Self::SpanB, Self::Mirror];

    pub fn uplink(host: u8) -> Self {
        [Self::UplinkA, Self::UplinkB][usize::from(host % 2)]
    }

    pub fn span(host: u8) -> Self {
        [Self::SpanA, Self::SpanB][usize::from(host % 2)]
    }

    /// Interface name, and the decimal digits of its clock.
    pub fn interface(self) -> (&'static str, u8) {
        [("hv-a:uplink", 9), ("hv-b:uplink", 9), ("hv-a:span", 6), ("hv-b:span", 6), ("mirror", 9)]
            [self as usize]
    }
}

pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
