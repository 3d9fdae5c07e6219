//! IP protocol numbers (IANA registry "Protocol Numbers") of what the walk knows.

/// IPv6 hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// ICMP.
pub const ICMP: u8 = 1;
/// IGMP.
pub const IGMP: u8 = 2;
/// IPv4 in IP.
pub const IPV4: u8 = 4;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// DCCP.
pub const DCCP: u8 = 33;
/// IPv6 in IP.
pub const IPV6: u8 = 41;
/// IPv6 routing header.
pub const ROUTING: u8 = 43;
/// IPv6 fragment header.
pub const FRAGMENT: u8 = 44;
/// RSVP.
pub const RSVP: u8 = 46;
/// GRE.
pub const GRE: u8 = 47;
/// IP encapsulating security payload.
pub const ESP: u8 = 50;
/// IP authentication header.
pub const AH: u8 = 51;
/// ICMPv6.
pub const ICMPV6: u8 = 58;
/// Nothing follows.
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6 destination options.
pub const DESTINATION: u8 = 60;
/// EIGRP.
pub const EIGRP: u8 = 88;
/// OSPF.
pub const OSPF: u8 = 89;
/// Ethernet in IP.
pub const ETHER_IP: u8 = 97;
/// PIM.
pub const PIM: u8 = 103;
/// VRRP.
pub const VRRP: u8 = 112;
/// L2TP version 3.
pub const L2TP: u8 = 115;
/// SCTP.
pub const SCTP: u8 = 132;
/// IPv6 mobility header.
pub const MOBILITY: u8 = 135;
/// UDP-Lite.
pub const UDP_LITE: u8 = 136;
/// MPLS in IP.
pub const MPLS: u8 = 137;
/// HIP.
pub const HIP: u8 = 139;
/// Shim6.
pub const SHIM6: u8 = 140;
/// Ethernet (RFC 8986, section 4.9).
pub const ETHERNET: u8 = 143;
/// Network service header.
pub const NSH: u8 = 145;
/// IGRP.
pub const IGRP: u8 = 9;
/// NHRP.
pub const NHRP: u8 = 54;
/// IP payload compression.
pub const IPCOMP: u8 = 108;
/// PGM.
pub const PGM: u8 = 113;
/// RSVP that routers on the way ignore (RFC 3175).
pub const RSVP_IGNORE: u8 = 134;
