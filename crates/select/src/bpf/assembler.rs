//! From steps with labels to instructions with distances.
//!
//! A conditional jump of classic BPF reaches 255 instructions; where that is not enough it goes to
//! a `ja` on the way there, whose distance has 32 bits, or gets one of its own.

use super::{Instruction, code};

/// A place in a program that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Where a test leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// To the instruction behind it.
    Next,
    /// To a label further down: classic BPF has no way back.
    Label(Label),
}

impl From<Label> for To {
    fn from(label: Label) -> Self {
        Self::Label(label)
    }
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    steps: Vec<Step>,
    labels: usize,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Plain { code: u16, k: u32 },
    Test { code: u16, k: u32, yes: To, no: To },
    Goto(Label),
    Here(Label),
}

impl Assembler {
    /// A label that has to be placed once with [`Assembler::here`].
    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// Places a label on the next instruction.
    pub(super) fn here(&mut self, label: Label) {
        self.steps.push(Step::Here(label));
    }

    /// An instruction that does not jump.
    pub(super) fn step(&mut self, code: u16, k: u32) {
        self.steps.push(Step::Plain { code, k });
    }

    /// A conditional jump.
    pub(super) fn test(&mut self, code: u16, k: u32, yes: impl Into<To>, no: impl Into<To>) {
        self.steps.push(Step::Test { code, k, yes: yes.into(), no: no.into() });
    }

    /// An unconditional jump.
    pub(super) fn goto(&mut self, label: Label) {
        self.steps.push(Step::Goto(label));
    }

    /// Finds, for the value in A, the label of its key; `keys` ascending and without duplicates.
    ///
    /// A binary search: about log2 tests instead of one for each key.
    pub(super) fn search(&mut self, keys: &[(u32, Label)], none: Label) {
        if let [chain @ .., (last, found)] = keys
            && keys.len() <= LONGEST_CHAIN
        {
            for (key, found) in chain {
                self.test(code::JEQ_K, *key, *found, To::Next);
            }
            self.test(code::JEQ_K, *last, *found, none);
            return;
        }
        let (low, high) = keys.split_at(keys.len() / 2);
        let Some((pivot, _)) = high.first() else {
            return self.goto(none);
        };
        let upper = self.label();
        self.test(code::JGE_K, *pivot, upper, To::Next);
        self.search(low, none);
        self.here(upper);
        self.search(high, none);
    }

    /// The end of a program: what was led to `reject` is refused, of the rest `kept` bytes remain.
    pub(super) fn verdicts(&mut self, accept: Label, reject: Label, kept: u32) {
        self.here(reject);
        self.step(code::RET_K, 0);
        self.here(accept);
        self.step(code::RET_K, kept);
    }

    /// The program, or `None` if it has more than `limit` instructions or a label leads nowhere.
    pub(super) fn assemble(self, limit: usize) -> Option<Vec<Instruction>> {
        let mut writer = Writer::new(self.labels);
        for step in self.steps.into_iter().rev() {
            match step {
                Step::Here(label) => writer.place(label)?,
                Step::Plain { code, k } => writer.push(Instruction { code, jt: 0, jf: 0, k }),
                Step::Goto(label) => writer.goto(label)?,
                Step::Test { code, k, yes, no } => writer.test(code, k, yes, no)?,
            }
            if writer.reversed.len() > limit {
                return None;
            }
        }
        writer.reversed.reverse();
        Some(writer.reversed)
    }
}

/// Writes a program from its end: all jumps go forward, so every distance is known at once.
///
/// Places are counted from the end; the last instruction has number 0.
struct Writer {
    reversed: Vec<Instruction>,
    labels: Vec<Option<Target>>,
}

/// Where a label is.
#[derive(Debug, Clone, Copy)]
struct Target {
    place: usize,
    /// The nearest instruction that leads there: itself, or a `ja`.
    nearest: usize,
}

impl Writer {
    fn new(labels: usize) -> Self {
        Self { reversed: Vec::new(), labels: vec![None; labels] }
    }

    fn push(&mut self, instruction: Instruction) {
        self.reversed.push(instruction);
    }

    fn place(&mut self, Label(label): Label) -> Option<()> {
        let place = self.reversed.len().checked_sub(1)?;
        *self.labels.get_mut(label)? = Some(Target { place, nearest: place });
        Some(())
    }

    fn goto(&mut self, label: Label) -> Option<()> {
        let is_next = self.target(label)?.place + 1 == self.reversed.len();
        if is_next { Some(()) } else { self.bridge(label) }
    }

    /// A `ja` to the label, also for tests further up that do not reach so far.
    fn bridge(&mut self, label: Label) -> Option<()> {
        let place = self.reversed.len();
        let k = u32::try_from(distance(place, self.target(label)?.place)).ok()?;
        self.push(Instruction { code: code::JA, jt: 0, jf: 0, k });
        let Label(label) = label;
        self.labels.get_mut(label)?.as_mut()?.nearest = place;
        Some(())
    }

    fn test(&mut self, code: u16, k: u32, yes: To, no: To) -> Option<()> {
        let next = self.reversed.len().checked_sub(1)?;
        // Two rounds: what the first bridge stands in the way of may need the second.
        for _ in 0..2 {
            for to in [yes, no] {
                if let To::Label(label) = to
                    && self.reach(to, next).is_none()
                {
                    self.bridge(label)?;
                }
            }
        }
        let (jt, jf) = (self.reach(yes, next)?, self.reach(no, next)?);
        self.push(Instruction { code, jt, jf, k });
        Some(())
    }

    /// How far a test at the next place jumps to get there, if it can.
    fn reach(&self, to: To, next: usize) -> Option<u8> {
        let from = self.reversed.len();
        let reach = |place| u8::try_from(distance(from, place)).ok();
        match to {
            To::Next => reach(next),
            To::Label(label) => {
                let target = self.target(label)?;
                reach(target.place).or_else(|| reach(target.nearest))
            }
        }
    }

    fn target(&self, Label(label): Label) -> Option<Target> {
        *self.labels.get(label)?
    }
}

/// How many instructions lie between two places.
const fn distance(from: usize, to: usize) -> usize {
    from.saturating_sub(to + 1)
}

/// Up to this many keys are compared one after the other.
const LONGEST_CHAIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{Auxiliary, Program, run};

    #[test]
    fn a_search_finds_every_key_and_nothing_else_across_far_jumps() {
        for count in [0_u32, 1, 2, 3, 4, 5, 17, 100, 700] {
            let mut asm = Assembler::default();
            let (found, none) = (asm.label(), asm.label());
            asm.step(code::LD_W_ABS, 0);
            let keys: Vec<_> = (0..count).map(|n| (n * 3 + 1, found)).collect();
            asm.search(&keys, none);
            asm.here(none);
            asm.step(code::RET_K, 0);
            asm.here(found);
            asm.step(code::RET_K, 1);
            let program = Program::from_instructions(asm.assemble(4096).unwrap());
            for value in 0..count * 3 + 5 {
                let is_key = value % 3 == 1 && value < count * 3;
                let verdict = run(&program, &value.to_be_bytes(), &Auxiliary::default());
                assert_eq!(verdict, u32::from(is_key), "{value} of {count}");
            }
        }
    }

    #[test]
    fn a_program_over_its_limit_is_not_made() {
        let mut asm = Assembler::default();
        asm.step(code::RET_K, 0);
        asm.step(code::RET_K, 0);
        assert_eq!(asm.assemble(1), None);
    }

    #[test]
    fn a_label_that_was_never_placed_gives_no_program() {
        let mut asm = Assembler::default();
        let nowhere = asm.label();
        asm.goto(nowhere);
        assert_eq!(asm.assemble(10), None);
    }
}
