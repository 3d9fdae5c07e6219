//! The kernel program of an expression: exact where it can be, else more than is wanted, never
//! less, and it says which.
//!
//! Classic BPF has no loop, so it cannot walk headers. The program recognises the shapes that
//! nearly all traffic has: a frame without a tunnel, behind no VLAN tag or one, and a frame in
//! VXLAN or GENEVE. In those it asks the expression's questions; what has another shape passes.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use wire::TunnelPorts;

use super::assembler::{Assembler, Label};
use super::expression::{Detail, Writer};
use super::prefilter::kept_bytes;
use super::{MAX_INSTRUCTIONS, Precision, Program, TagPlace};
use crate::Filter;

/// A program for an expression, and what it lets through too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The program; empty if every packet has to pass.
    pub program: Program,
    /// What passes although the expression may not want it; nothing if the program is exact.
    pub passed: BTreeSet<Passed>,
}

impl Kernel {
    /// The best program of at most `limit` instructions.
    ///
    /// `ports` are those the packets will be decoded with. `snaplen` is how many bytes of a packet
    /// are kept, 0 for all and at least [`MIN_KEPT_BYTES`](super::MIN_KEPT_BYTES).
    pub fn new(
        filter: &Filter,
        ports: &TunnelPorts,
        snaplen: u32,
        place: TagPlace,
        limit: usize,
    ) -> Self {
        if filter.wants_everything() {
            return Self { program: Program::NONE, passed: BTreeSet::new() };
        }
        for detail in Detail::ALL {
            let mut asm = Assembler::default();
            let (accept, reject) = (asm.label(), asm.label());
            let mut writer = Writer::new(&mut asm, ports, place, detail, accept, reject);
            if !writer.write(filter.node()) {
                return Self { program: Program::NONE, passed: writer.passed };
            }
            let passed = writer.passed;
            asm.verdicts(accept, reject, kept_bytes(snaplen));
            if let Some(instructions) = asm.assemble(limit.min(MAX_INSTRUCTIONS)) {
                let program = Program { instructions, precision: Precision::Identity };
                return Self { program, passed };
            }
        }
        Self { program: Program::NONE, passed: BTreeSet::from([Passed::TooLong]) }
    }

    /// Whether exactly those packets pass that the expression wants, as far as the kernel has
    /// their headers.
    pub fn is_exact(&self) -> bool {
        self.passed.is_empty()
    }
}

/// Writes the questions of an expression that is not [`Filter::wants_everything`]; what it wants is
/// led to `accept`, the rest to `reject`. Both have to be placed behind it.
pub(super) fn write_expression(
    asm: &mut Assembler,
    filter: &Filter,
    ports: &TunnelPorts,
    place: TagPlace,
    detail: Detail,
    accept: Label,
    reject: Label,
) -> BTreeSet<Passed> {
    let mut writer = Writer::new(asm, ports, place, detail, accept, reject);
    let is_written = writer.write(filter.node());
    let passed = writer.passed;
    if !is_written {
        asm.goto(accept);
    }
    passed
}

/// Packets that a kernel program lets through although the expression may not want them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passed {
    /// Frames with more VLAN tags than one, with labels, sessions, fabric tags.
    Tagged,
    /// Frames with any VLAN tag in their bytes, because the program got too long.
    Vlan,
    /// Packets in tunnels other than VXLAN and GENEVE, or in a tunnel within these.
    OtherTunnels,
    /// Packets in any tunnel, because the program got too long or has to look at all levels.
    Tunnels,
    /// Packets with IPv6 extension headers, AH, or headers that are cut or broken.
    OddHeaders,
    /// Fragments of IP packets: what the first one says holds for all, and only user space can
    /// remember it.
    Fragments,
    /// Both directions: a socket does not know what the VM's is.
    Direction,
    /// Packets of MACs that a name means, in whatever network and at whatever time.
    Names,
    /// What follows `protochain`: the kernel knows no loops.
    Chain,
    /// What a calculation decides that the kernel does otherwise: an offset that is calculated or
    /// far away, a shift by a calculated number.
    Calculation,
    /// What `any (...)` decides beside other words.
    AnyLevel,
    /// Everything: the program would be too long for the kernel.
    TooLong,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tagged => "frames with two VLAN tags or more, with labels, PPPoE, fabric tags",
            Self::Vlan => "frames with a VLAN tag in their bytes",
            Self::OtherTunnels => "packets in tunnels other than one VXLAN or GENEVE",
            Self::Tunnels => "packets in tunnels",
            Self::OddHeaders => "packets with IPv6 extension headers, AH, cut or broken headers",
            Self::Fragments => "fragments of IP packets, first and later ones",
            Self::Direction => "both directions",
            Self::Names => "the MACs behind names in every network and at every time",
            Self::Chain => "whatever `protochain` would refuse",
            Self::Calculation => "whatever calculated offsets and shifts would refuse",
            Self::AnyLevel => "whatever `any (...)` would refuse",
            Self::TooLong => "every packet: the program would be too long for the kernel",
        })
    }
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
