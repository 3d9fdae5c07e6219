//! Runs a program on a packet as the kernel would: the judge of our own programs.
//!
//! Any instructions and any bytes may come in. What the kernel would not have accepted (a division
//! by zero, a jump out of the program, an unknown code) rejects the packet.

use super::{ANCILLARY, ANCILLARY_VLAN_TAG, ANCILLARY_VLAN_TAG_PRESENT, ANCILLARY_VLAN_TPID};
use super::{Program, code};

/// What the kernel knows about a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auxiliary {
    /// A VLAN tag that was taken out of the bytes: its EtherType and its control information.
    pub tag: Option<(u16, u16)>,
    /// How long the packet was, if longer than the bytes given.
    pub wire_len: Option<u32>,
}

/// How many bytes of the packet the program keeps; 0 rejects it. An empty program keeps all.
pub fn run(program: &Program, data: &[u8], auxiliary: &Auxiliary) -> u32 {
    if program.is_empty() {
        return u32::MAX;
    }
    step_through(program, data, auxiliary).unwrap_or(0)
}

fn step_through(program: &Program, data: &[u8], auxiliary: &Auxiliary) -> Option<u32> {
    let instructions = program.instructions();
    let len = auxiliary.wire_len.unwrap_or_else(|| u32::try_from(data.len()).unwrap_or(u32::MAX));
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0_usize;
    loop {
        let i = instructions.get(at)?;
        at += 1;
        let k = i.k;
        let slot = k as usize;
        // A jump only goes forward, so this loop ends with the program.
        let skip = |is_true: bool| usize::from(if is_true { i.jt } else { i.jf });
        match i.code {
            code::LD_W_ABS | code::LD_H_ABS | code::LD_B_ABS if k >= ANCILLARY => {
                a = match k {
                    ANCILLARY_VLAN_TAG => auxiliary.tag.map_or(0, |(_, tci)| u32::from(tci)),
                    ANCILLARY_VLAN_TAG_PRESENT => u32::from(auxiliary.tag.is_some()),
                    ANCILLARY_VLAN_TPID => auxiliary.tag.map_or(0, |(tpid, _)| u32::from(tpid)),
                    _ => return None,
                };
            }
            code::LD_W_ABS => a = word(data, slot)?,
            code::LD_H_ABS => a = half(data, slot)?,
            code::LD_B_ABS => a = byte(data, slot)?,
            code::LD_W_IND => a = word(data, x.wrapping_add(k) as usize)?,
            code::LD_H_IND => a = half(data, x.wrapping_add(k) as usize)?,
            code::LD_B_IND => a = byte(data, x.wrapping_add(k) as usize)?,
            code::LD_IMM => a = k,
            code::LD_MEM => a = *memory.get(slot)?,
            code::LD_LEN => a = len,
            code::LDX_IMM => x = k,
            code::LDX_MEM => x = *memory.get(slot)?,
            code::LDX_LEN => x = len,
            code::LDX_MSH => x = (byte(data, slot)? & 0xf) << 2,
            code::ST => *memory.get_mut(slot)? = a,
            code::STX => *memory.get_mut(slot)? = x,
            code::JA => at = at.checked_add(slot)?,
            code::JEQ_K => at += skip(a == k),
            code::JGT_K => at += skip(a > k),
            code::JGE_K => at += skip(a >= k),
            code::JSET_K => at += skip(a & k != 0),
            0x1d => at += skip(a == x),
            0x2d => at += skip(a > x),
            0x3d => at += skip(a >= x),
            0x4d => at += skip(a & x != 0),
            code::RET_K => return Some(k),
            code::RET_A => return Some(a),
            code::TAX => x = a,
            code::TXA => a = x,
            0x84 => a = a.wrapping_neg(),
            arithmetic if arithmetic & 0x07 == 0x04 => {
                let operand = if arithmetic & 0x08 == 0 { k } else { x };
                a = calculate(arithmetic & 0xf0, a, operand)?;
            }
            _ => return None,
        }
    }
}

fn calculate(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 => a.checked_shl(operand).unwrap_or(0),
        0x70 => a.checked_shr(operand).unwrap_or(0),
        0x90 => a.checked_rem(operand)?,
        0xa0 => a ^ operand,
        _ => return None,
    })
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn half(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().copied().map(u16::from_be_bytes).map(u32::from)
}

fn byte(data: &[u8], at: usize) -> Option<u32> {
    data.get(at).copied().map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Instruction;

    fn verdict(code: u16, k: u32, data: &[u8], auxiliary: &Auxiliary) -> u32 {
        let load = Instruction { code, jt: 0, jf: 0, k };
        let ret = Instruction { code: code::RET_A, jt: 0, jf: 0, k: 0 };
        run(&Program::from_instructions(vec![load, ret]), data, auxiliary)
    }

    #[test]
    fn a_load_behind_the_end_rejects() {
        let data = [1, 2, 3, 4];
        let nothing = Auxiliary::default();
        assert_eq!(verdict(code::LD_W_ABS, 0, &data, &nothing), 0x0102_0304);
        assert_eq!(verdict(code::LD_W_ABS, 1, &data, &nothing), 0);
        assert_eq!(verdict(code::LD_H_ABS, 2, &data, &nothing), 0x0304);
        assert_eq!(verdict(code::LD_B_ABS, 4, &data, &nothing), 0);
    }

    #[test]
    fn negative_offsets_reach_the_tag_the_kernel_took_out_and_nothing_else() {
        let tagged = Auxiliary { tag: Some((0x88a8, 0x6064)), wire_len: None };
        assert_eq!(verdict(code::LD_H_ABS, ANCILLARY_VLAN_TAG, &[], &tagged), 0x6064);
        assert_eq!(verdict(code::LD_B_ABS, ANCILLARY_VLAN_TAG_PRESENT, &[], &tagged), 1);
        assert_eq!(verdict(code::LD_H_ABS, ANCILLARY_VLAN_TPID, &[], &tagged), 0x88a8);
        assert_eq!(verdict(code::LD_W_ABS, ANCILLARY + 8, &[], &tagged), 0);
        let untagged = Auxiliary::default();
        assert_eq!(verdict(code::LD_B_ABS, ANCILLARY_VLAN_TAG_PRESENT, &[], &untagged), 0);
    }

    #[test]
    fn what_the_kernel_would_refuse_rejects_the_packet() {
        let nothing = Auxiliary::default();
        assert_eq!(verdict(0x34, 0, &[1], &nothing), 0, "division by zero");
        assert_eq!(verdict(0xffff, 0, &[1], &nothing), 0, "unknown code");
        assert_eq!(verdict(code::JA, u32::MAX, &[1], &nothing), 0, "jump out of the program");
        assert_eq!(verdict(code::LD_MEM, 16, &[1], &nothing), 0, "memory that is not there");
    }
}
