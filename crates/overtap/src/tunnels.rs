//! Tunnels at other UDP ports than the usual ones, in the same words for every command on files.

use wire::{TunnelPort, TunnelPorts};

/// Ports that a person takes for tunnels, beside those everybody does.
#[derive(clap::Args)]
pub(crate) struct Tunnels {
    /// Also takes UDP packets to this port for this tunnel, as in `vxlan=4800`; may be repeated.
    ///
    /// Known are vxlan, vxlan-gpe, geneve, gtpu, teredo, l2tp, capwap, mpls, gre, gue (also IP right
    /// behind UDP), lisp and tzsp; and stt, of which the one port is TCP's.
    #[arg(long = "tunnel-port", value_name = "KIND=PORT")]
    ports: Vec<TunnelPort>,
}

impl Tunnels {
    /// Takes the ports for the tunnels from now on, instead of what they were taken for.
    pub(crate) fn add_to(&self, ports: &mut TunnelPorts) {
        for port in &self.ports {
            port.add_to(ports);
        }
    }
}
