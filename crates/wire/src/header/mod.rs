//! One module for each header, or for each family of small ones, all in the same order.
//!
//! Every header decodes on its own, from a [`Cursor`](crate::Cursor); which header follows which
//! is known in `layers` only.

mod arp;
mod capwap;
mod cisco_metadata;
mod cooked;
mod erspan;
mod etag;
mod etherip;
mod ethernet;
mod fabric_path;
mod geneve;
mod gre;
mod gtpu;
mod ipv4;
mod ipv6;
mod l2tp;
mod llc;
mod macsec;
mod mpls;
mod nsh;
mod pbb;
mod ppp;
mod prefix;
pub mod protocol;
mod teredo;
mod transport;
mod ttag;
mod udp_shims;
mod vlan;
mod vntag;
mod vxlan;
mod vxlan_gpe;
mod wlan;

pub use arp::Arp;
pub use capwap::Capwap;
pub use cisco_metadata::CiscoMetadata;
pub use cooked::{Null, Sll, Sll2};
pub use erspan::{Erspan2, Erspan3};
pub use etag::ETag;
pub use etherip::EtherIp;
pub use ethernet::{Ethernet, ethertype};
pub use fabric_path::FabricPath;
pub use geneve::{Geneve, GeneveOption};
pub use gre::{Gre, Nvgre};
pub use gtpu::Gtpu;
pub use ipv4::Ipv4;
pub use ipv6::{Ah, Ipv6, Ipv6Extension, Ipv6Fragment};
pub use l2tp::L2tp;
pub use llc::{Llc, Snap};
pub use macsec::Macsec;
pub use mpls::{Mpls, PwControlWord};
pub use nsh::Nsh;
pub use pbb::Pbb;
pub use ppp::{Ppp, Pppoe};
pub use prefix::Prefix;
pub use teredo::Teredo;
pub use transport::{Icmp, Ports, Sctp, Tcp, Udp};
pub use ttag::Ttag;
pub use udp_shims::{Gue, Lisp, Tzsp};
pub use vlan::Vlan;
pub use vntag::VnTag;
pub use vxlan::Vxlan;
pub use vxlan_gpe::VxlanGpe;
pub use wlan::Wlan;
