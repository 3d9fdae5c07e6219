//! Classic BPF: the program that lets the kernel refuse most foreign packets before they cost us.
//!
//! The kernel's program may let more through than is wanted, never less (DESIGN.md, rule 6): the
//! guard and the filter decide again, exactly, in user space.

mod assembler;
mod expression;
mod interpreter;
mod kernel;
mod point;
mod prefilter;

use std::fmt;

pub use interpreter::{Auxiliary, run};
pub use kernel::{Kernel, Passed};
pub use point::{InKernel, PointProgram};
pub use prefilter::{MIN_KEPT_BYTES, TagPlace, prefilter, prefilter_within};

/// One instruction, field for field the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, size, mode or operation.
    pub code: u16,
    /// Instructions to skip when the test is true.
    pub jt: u8,
    /// Instructions to skip when it is not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A program for `SO_ATTACH_FILTER`. Empty means that there is none: every packet passes whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    precision: Precision,
}

impl Program {
    /// No program: every packet passes.
    pub const NONE: Self = Self { instructions: Vec::new(), precision: Precision::Everything };

    /// A program as someone else wrote it, for instance `tcpdump -ddd`. It is not checked here;
    /// the kernel does that, and [`run`] survives anything.
    pub fn from_instructions(instructions: Vec<Instruction>) -> Self {
        Self { instructions, precision: Precision::Identity }
    }

    /// Its instructions, in the kernel's order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// This program; or, where it is empty, one that lets every packet pass and keeps `snaplen`
    /// bytes of it, 0 for all.
    #[must_use]
    pub fn or_keep_all(&self, snaplen: u32) -> Self {
        if !self.is_empty() {
            return self.clone();
        }
        let k = prefilter::kept_bytes(snaplen);
        let keep = Instruction { code: code::RET_K, jt: 0, jf: 0, k };
        Self { instructions: vec![keep], precision: Precision::Everything }
    }

    /// Whether there is nothing to attach.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// How many instructions it has; the kernel takes at most [`MAX_INSTRUCTIONS`].
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// What it tells apart; less than [`Precision::Identity`] when the exact one was too long.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

impl fmt::Display for Program {
    /// The listing of `tcpdump -d`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, instruction) in self.instructions.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "({number:03}) ")?;
            write_instruction(f, number, *instruction)?;
        }
        Ok(())
    }
}

/// What a kernel program tells apart, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// The VM's networks and MACs.
    Identity,
    /// The VM's networks; every MAC in them passes.
    Network,
    /// Tunnels from other traffic, tagged frames from untagged ones; every network passes.
    Shape,
    /// Nothing: every packet passes.
    Everything,
}

impl Precision {
    /// Those that need a program, the best first.
    pub(super) const TOLD: [Self; 3] = [Self::Identity, Self::Network, Self::Shape];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "networks and MACs",
            Self::Network => "networks only, every MAC in them passes",
            Self::Shape => "tunnels only, every network passes",
            Self::Everything => "nothing, every packet passes",
        })
    }
}

/// The most instructions the kernel takes (`BPF_MAXINSNS`). `net.core.optmem_max` may end earlier.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The names of linux/filter.h.
mod code {
    pub(super) const LD_W_ABS: u16 = 0x20;
    pub(super) const LD_H_ABS: u16 = 0x28;
    pub(super) const LD_B_ABS: u16 = 0x30;
    pub(super) const LD_W_IND: u16 = 0x40;
    pub(super) const LD_H_IND: u16 = 0x48;
    pub(super) const LD_B_IND: u16 = 0x50;
    pub(super) const LD_IMM: u16 = 0x00;
    pub(super) const LD_MEM: u16 = 0x60;
    pub(super) const LD_LEN: u16 = 0x80;
    pub(super) const LDX_IMM: u16 = 0x01;
    pub(super) const LDX_MEM: u16 = 0x61;
    pub(super) const LDX_LEN: u16 = 0x81;
    pub(super) const LDX_MSH: u16 = 0xb1;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const ADD_K: u16 = 0x04;
    pub(super) const SUB_K: u16 = 0x14;
    pub(super) const AND_K: u16 = 0x54;
    pub(super) const LSH_K: u16 = 0x64;
    pub(super) const RSH_K: u16 = 0x74;
    pub(super) const ADD_X: u16 = 0x0c;
    pub(super) const SUB_X: u16 = 0x1c;
    pub(super) const NEG: u16 = 0x84;
    /// Added to a calculation with a number, it is one with X.
    pub(super) const WITH_X: u16 = 0x08;
    pub(super) const MUL_K: u16 = 0x24;
    pub(super) const DIV_K: u16 = 0x34;
    pub(super) const OR_K: u16 = 0x44;
    pub(super) const MOD_K: u16 = 0x94;
    pub(super) const XOR_K: u16 = 0xa4;
    pub(super) const JEQ_X: u16 = 0x1d;
    pub(super) const JGT_X: u16 = 0x2d;
    pub(super) const JGE_X: u16 = 0x3d;
    pub(super) const JA: u16 = 0x05;
    pub(super) const JEQ_K: u16 = 0x15;
    pub(super) const JGT_K: u16 = 0x25;
    pub(super) const JGE_K: u16 = 0x35;
    pub(super) const JSET_K: u16 = 0x45;
    pub(super) const RET_K: u16 = 0x06;
    pub(super) const RET_A: u16 = 0x16;
    pub(super) const TAX: u16 = 0x07;
    pub(super) const TXA: u16 = 0x87;
}

/// Loads from here on are not from the packet but from what the kernel knows about it.
const ANCILLARY: u32 = 0xffff_f000;
/// The whole tag control information of a tag the kernel took out of the bytes.
const ANCILLARY_VLAN_TAG: u32 = ANCILLARY + 44;
/// 1 if the kernel took a tag out of the bytes.
const ANCILLARY_VLAN_TAG_PRESENT: u32 = ANCILLARY + 48;
/// The EtherType of that tag.
const ANCILLARY_VLAN_TPID: u32 = ANCILLARY + 60;

/// The calculations with X, by the high half of their code.
const WITH_X: [&str; 11] =
    ["add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"];

fn write_instruction(
    f: &mut fmt::Formatter<'_>,
    number: usize,
    Instruction { code: op, jt, jf, k }: Instruction,
) -> fmt::Result {
    let jump = |f: &mut fmt::Formatter<'_>, name: &str, operand: &str| {
        let (yes, no) = (number + 1 + usize::from(jt), number + 1 + usize::from(jf));
        write!(f, "{name:<8} {operand:<16} jt {yes}\tjf {no}")
    };
    let absolute = || match k {
        ANCILLARY_VLAN_TAG => "[vlan_tci]".to_owned(),
        ANCILLARY_VLAN_TAG_PRESENT => "[vlan_avail]".to_owned(),
        ANCILLARY_VLAN_TPID => "[vlan_tpid]".to_owned(),
        _ => format!("[{k}]"),
    };
    match op {
        code::LD_W_ABS => write!(f, "{:<8} {}", "ld", absolute()),
        code::LD_H_ABS => write!(f, "{:<8} {}", "ldh", absolute()),
        code::LD_B_ABS => write!(f, "{:<8} {}", "ldb", absolute()),
        code::LD_W_IND => write!(f, "{:<8} [x + {k}]", "ld"),
        code::LD_H_IND => write!(f, "{:<8} [x + {k}]", "ldh"),
        code::LD_B_IND => write!(f, "{:<8} [x + {k}]", "ldb"),
        code::LD_IMM => write!(f, "{:<8} #{k:#x}", "ld"),
        code::LD_MEM => write!(f, "{:<8} M[{k}]", "ld"),
        code::LD_LEN => write!(f, "{:<8} #pktlen", "ld"),
        code::LDX_IMM => write!(f, "{:<8} #{k:#x}", "ldx"),
        code::LDX_MEM => write!(f, "{:<8} M[{k}]", "ldx"),
        code::LDX_LEN => write!(f, "{:<8} #pktlen", "ldx"),
        code::LDX_MSH => write!(f, "{:<8} 4*([{k}]&0xf)", "ldxb"),
        code::ST => write!(f, "{:<8} M[{k}]", "st"),
        code::STX => write!(f, "{:<8} M[{k}]", "stx"),
        code::ADD_K => write!(f, "{:<8} #{k}", "add"),
        code::SUB_K => write!(f, "{:<8} #{k}", "sub"),
        code::AND_K => write!(f, "{:<8} #{k:#x}", "and"),
        code::LSH_K => write!(f, "{:<8} #{k}", "lsh"),
        code::RSH_K => write!(f, "{:<8} #{k}", "rsh"),
        code::MUL_K => write!(f, "{:<8} #{k}", "mul"),
        code::DIV_K => write!(f, "{:<8} #{k}", "div"),
        code::MOD_K => write!(f, "{:<8} #{k}", "mod"),
        code::OR_K => write!(f, "{:<8} #{k:#x}", "or"),
        code::XOR_K => write!(f, "{:<8} #{k:#x}", "xor"),
        code::NEG => f.write_str("neg"),
        _ if op & 0x0f == 0x0c && WITH_X.get(usize::from(op >> 4)).is_some() => {
            write!(f, "{:<8} x", WITH_X.get(usize::from(op >> 4)).unwrap_or(&""))
        }
        code::JEQ_X => jump(f, "jeq", "x"),
        code::JGT_X => jump(f, "jgt", "x"),
        code::JGE_X => jump(f, "jge", "x"),
        code::JA => write!(f, "{:<8} {}", "ja", number as u64 + 1 + u64::from(k)),
        code::JEQ_K => jump(f, "jeq", &format!("#{k:#x}")),
        code::JGT_K => jump(f, "jgt", &format!("#{k:#x}")),
        code::JGE_K => jump(f, "jge", &format!("#{k:#x}")),
        code::JSET_K => jump(f, "jset", &format!("#{k:#x}")),
        code::RET_K => write!(f, "{:<8} #{k}", "ret"),
        code::RET_A => write!(f, "{:<8} a", "ret"),
        code::TAX => f.write_str("tax"),
        code::TXA => f.write_str("txa"),
        _ => write!(f, "unimp    {op:#x} {jt} {jf} {k:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_reads_like_the_one_of_tcpdump() {
        let program = Program::from_instructions(vec![
            Instruction { code: code::LD_H_ABS, jt: 0, jf: 0, k: 12 },
            Instruction { code: code::JEQ_K, jt: 0, jf: 1, k: 0x800 },
            Instruction { code: code::RET_K, jt: 0, jf: 0, k: 262_144 },
            Instruction { code: code::RET_K, jt: 0, jf: 0, k: 0 },
        ]);
        assert_eq!(
            program.to_string(),
            "(000) ldh      [12]\n\
             (001) jeq      #0x800           jt 2\tjf 3\n\
             (002) ret      #262144\n\
             (003) ret      #0"
        );
    }
}
