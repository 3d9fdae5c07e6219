//! All that runs in the kernel at an observation point: whose packet it is first, then whether it
//! was asked for, in one program.
//!
//! Each half is a superset of what user space decides, so their combination is one too. When both
//! are too long together, the guard's half stays as it is and the expression's gives way: a
//! neighbour's packet costs more than one of the VM that nobody asked for.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use wire::TunnelPorts;

use super::assembler::Assembler;
use super::expression::Detail;
use super::kernel::{Kernel, Passed, write_expression};
use super::prefilter::{kept_bytes, told_apart, write_guard};
use super::{MAX_INSTRUCTIONS, Precision, Program, TagPlace, prefilter_within};
use crate::{Filter, Ownership};

/// The program of an observation point, and what it leaves to user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointProgram {
    /// The program; empty if every packet has to pass.
    pub program: Program,
    /// Whether the expression is in it.
    pub expression: InKernel,
}

/// What of an expression runs in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InKernel {
    /// There is no expression, or it wants every packet.
    Nothing,
    /// It is in the program, which lets these pass too much; exactly the wanted ones pass if there
    /// are none.
    Attached(BTreeSet<Passed>),
    /// User space decides alone, for these reasons.
    Left(BTreeSet<Passed>),
}

impl PointProgram {
    /// The best program of at most `limit` instructions.
    ///
    /// `ports` are those the packets will be decoded with, at all points of the capture together.
    /// `snaplen` is how many bytes of a packet are kept, 0 for all and at least
    /// [`MIN_KEPT_BYTES`](super::MIN_KEPT_BYTES).
    pub fn new(
        ownership: &Ownership,
        filter: Option<&Filter>,
        ports: &TunnelPorts,
        snaplen: u32,
        place: TagPlace,
        limit: usize,
    ) -> Self {
        let guard = prefilter_within(ownership, snaplen, place, limit);
        let Some(filter) = filter else {
            return Self { program: guard, expression: InKernel::Nothing };
        };
        let alone = Kernel::new(filter, ports, snaplen, place, limit);
        if alone.program.is_empty() {
            let expression = match alone.is_exact() {
                true => InKernel::Nothing,
                false => InKernel::Left(alone.passed),
            };
            return Self { program: guard, expression };
        }
        let identities = told_apart(ownership).filter(|_| !guard.is_empty());
        let Some(identities) = identities else {
            return Self { program: alone.program, expression: InKernel::Attached(alone.passed) };
        };
        let precision = guard.precision();
        for detail in Detail::ALL {
            let mut asm = Assembler::default();
            let (owned, accept, reject) = (asm.label(), asm.label(), asm.label());
            write_guard(&mut asm, identities, precision, place, owned, reject);
            asm.here(owned);
            let passed = write_expression(&mut asm, filter, ports, place, detail, accept, reject);
            asm.verdicts(accept, reject, kept_bytes(snaplen));
            if let Some(instructions) = asm.assemble(limit.min(MAX_INSTRUCTIONS)) {
                let program = Program { instructions, precision };
                return Self { program, expression: InKernel::Attached(passed) };
            }
        }
        let expression = InKernel::Left(BTreeSet::from([Passed::TooLong]));
        Self { program: guard, expression }
    }

    /// What tells VMs apart in it: nothing where the whole point is one VM's, or where only user
    /// space can.
    pub fn precision(&self, ownership: &Ownership) -> Precision {
        match told_apart(ownership) {
            Some(_) => self.program.precision(),
            None => Precision::Everything,
        }
    }
}

impl fmt::Display for InKernel {
    /// A sentence without its point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, passed) = match self {
            Self::Nothing => return f.write_str("there is no expression to decide"),
            Self::Attached(passed) if passed.is_empty() => {
                return f.write_str("the kernel decides the expression, exactly");
            }
            Self::Attached(passed) => ("the kernel decides the expression, but lets pass:", passed),
            Self::Left(passed) => {
                ("the kernel leaves the expression to user space and lets pass:", passed)
            }
        };
        f.write_str(head)?;
        for (number, passed) in passed.iter().enumerate() {
            write!(f, "{} {passed}", if number == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;
