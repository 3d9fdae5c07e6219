//! What sums are of.

/// Who or what rows are added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Machines of the inventory; what is none by its address.
    Vms,
    /// Hosts that the machines are on.
    Hosts,
    /// Tenants that the machines belong to.
    Tenants,
    /// Addresses, with their networks where these are named.
    Addresses,
    /// Applications.
    Apps,
    /// Protocols and ports of servers.
    Ports,
}

impl Subject {
    /// Whether each end of a flow has its own.
    pub(crate) const fn has_ends(self) -> bool {
        !matches!(self, Self::Apps | Self::Ports)
    }

    pub(crate) const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Vms => &[
                "overlay",
                "overlay_number",
                "vlan",
                "client_ip",
                "client_vm",
                "server_ip",
                "server_vm",
            ],
            Self::Addresses => &["overlay", "overlay_number", "vlan", "client_ip", "server_ip"],
            Self::Hosts => &["client_host", "server_host"],
            Self::Tenants => &["client_tenant", "server_tenant"],
            Self::Apps => &["app"],
            Self::Ports => &["protocol", "server_port"],
        }
    }
}

/// Sums by one of them, or between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// By one.
    One(Subject),
    /// By two, both directions in one.
    Pair(Subject),
}

impl Kind {
    /// Of what.
    pub const fn subject(self) -> Subject {
        match self {
            Self::One(subject) | Self::Pair(subject) => subject,
        }
    }
}
