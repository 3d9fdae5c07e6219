//! Calculations as instructions: the result is in A, what is not finished in memory.

use super::super::code;
use super::{
    Accessor, Arithmetic, Base, Compare, Label, Operator, SLOT_FREE, Start, Tag, Where, Writer,
};

/// Whether the kernel calculates it as user space does; `depth` numbers are kept meanwhile.
pub(super) fn is_known(arithmetic: &Arithmetic, place: Where, depth: u32) -> bool {
    if SLOT_FREE + depth >= SLOTS {
        return false;
    }
    match arithmetic {
        Arithmetic::Number(_) | Arithmetic::Length => true,
        Arithmetic::Negative(of) => is_known(of, place, depth),
        Arithmetic::Bytes { header, offset, width } => match **offset {
            Arithmetic::Number(offset) => {
                let (base, start) = Accessor::base(*header);
                place.has(base, offset.wrapping_add(start), *width)
            }
            _ => false,
        },
        Arithmetic::Calculated { operator, left, right } => {
            let is_number = matches!(**right, Arithmetic::Number(_));
            // What a kernel makes of a shift by more than 31 bits is its own business.
            let is_shift = matches!(operator, Operator::ShiftLeft | Operator::ShiftRight);
            (is_number || !is_shift)
                && is_known(left, place, depth + u32::from(!is_number))
                && is_known(right, place, depth)
        }
    }
}

impl Writer<'_> {
    pub(super) fn relation(
        &mut self,
        left: &Arithmetic,
        compare: Compare,
        right: &Arithmetic,
        place: Where,
        yes: Label,
        no: Label,
    ) {
        if let Arithmetic::Number(value) = right {
            self.calculate(left, place, 0);
            return self.compare(compare, *value, yes, no);
        }
        self.calculate(right, place, 0);
        self.asm.step(code::ST, SLOT_FREE);
        self.calculate(left, place, 1);
        self.asm.step(code::LDX_MEM, SLOT_FREE);
        match compare {
            Compare::Equal => self.asm.test(code::JEQ_X, 0, yes, no),
            Compare::Unequal => self.asm.test(code::JEQ_X, 0, no, yes),
            Compare::Above => self.asm.test(code::JGT_X, 0, yes, no),
            Compare::AtLeast => self.asm.test(code::JGE_X, 0, yes, no),
            Compare::Below => self.asm.test(code::JGE_X, 0, no, yes),
            Compare::AtMost => self.asm.test(code::JGT_X, 0, no, yes),
        }
    }

    /// Leaves the number in A; `depth` numbers are kept in memory.
    pub(super) fn calculate(&mut self, arithmetic: &Arithmetic, place: Where, depth: u32) {
        match arithmetic {
            Arithmetic::Number(number) => self.asm.step(code::LD_IMM, *number),
            Arithmetic::Length => {
                self.asm.step(code::LD_LEN, 0);
                match (place.start, place.tag) {
                    (Start::Slot, _) => {
                        self.asm.step(code::LDX_MEM, super::SLOT_START);
                        self.asm.step(code::SUB_X, 0);
                    }
                    // User space has the tag back in its place.
                    (Start::Zero, Tag::Metadata) => self.asm.step(code::ADD_K, 4),
                    _ => {}
                }
            }
            Arithmetic::Bytes { header, offset, width } => {
                let (base, start) = Accessor::base(*header);
                let Arithmetic::Number(offset) = **offset else { return };
                let mut offset = offset.wrapping_add(start);
                let is_behind_tag = place.tag == Tag::Metadata && place.start == Start::Zero;
                if base == Base::Frame && is_behind_tag && offset >= 16 {
                    offset -= 4;
                }
                self.load(place, base, offset, *width);
            }
            Arithmetic::Negative(of) => {
                self.calculate(of, place, depth);
                self.asm.step(code::NEG, 0);
            }
            Arithmetic::Calculated { operator, left, right } => match **right {
                // The kernel takes no program that divides by the number 0.
                Arithmetic::Number(number) if number != 0 || !operator.divides() => {
                    self.calculate(left, place, depth);
                    self.asm.step(operator.code(), number);
                }
                _ => {
                    self.calculate(right, place, depth);
                    self.asm.step(code::ST, SLOT_FREE + depth);
                    self.calculate(left, place, depth + 1);
                    self.asm.step(code::LDX_MEM, SLOT_FREE + depth);
                    self.asm.step(operator.code() + code::WITH_X, 0);
                }
            },
        }
    }
}

impl Operator {
    const fn divides(self) -> bool {
        matches!(self, Self::Divide | Self::Remainder)
    }
}

/// How many numbers a program can keep (`BPF_MEMWORDS`).
const SLOTS: u32 = 16;
