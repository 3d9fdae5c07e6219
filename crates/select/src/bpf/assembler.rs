//! From steps with labels to instructions with distances.
//!
//! A conditional jump of classic BPF reaches 255 instructions; where that is not enough, a `ja`
//! with a 32-bit distance is put behind it.

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
    Test { code: u16, k: u32, yes: To, no: To, is_yes_far: bool, is_no_far: bool },
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
        let (yes, no) = (yes.into(), no.into());
        self.steps.push(Step::Test { code, k, yes, no, is_yes_far: false, is_no_far: false });
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

    /// The program, or `None` if it has more than `limit` instructions or a label leads nowhere.
    pub(super) fn assemble(mut self, limit: usize) -> Option<Vec<Instruction>> {
        loop {
            let places = self.places();
            if places.end > limit {
                return None;
            }
            if !self.lengthen(&places)? {
                return self.write(&places);
            }
        }
    }

    /// Where each label is and where the program ends, with the jumps as long as they are now.
    fn places(&self) -> Places {
        let mut labels = vec![None; self.labels];
        let mut end = 0;
        for step in &self.steps {
            match *step {
                Step::Here(Label(label)) => {
                    if let Some(place) = labels.get_mut(label) {
                        *place = Some(end);
                    }
                }
                _ => end += step.len(),
            }
        }
        Places { labels, end }
    }

    /// Turns jumps that do not reach into far ones; says whether there were any.
    fn lengthen(&mut self, places: &Places) -> Option<bool> {
        let mut has_changed = false;
        let mut at = 0;
        for step in &mut self.steps {
            let next = at + step.len();
            if let Step::Test { yes, no, is_yes_far, is_no_far, .. } = step {
                for (to, is_far) in [(*yes, is_yes_far), (*no, is_no_far)] {
                    let distance = places.of(to, next)?.checked_sub(at + 1)?;
                    if !*is_far && distance > usize::from(u8::MAX) {
                        *is_far = true;
                        has_changed = true;
                    }
                }
            }
            at = next;
        }
        Some(has_changed)
    }

    fn write(&self, places: &Places) -> Option<Vec<Instruction>> {
        let mut program = Vec::with_capacity(places.end);
        for step in &self.steps {
            let at = program.len();
            let next = at + step.len();
            let far = |from: usize, to: To| {
                let distance = places.of(to, next)?.checked_sub(from + 1)?;
                let k = u32::try_from(distance).ok()?;
                Some(Instruction { code: code::JA, jt: 0, jf: 0, k })
            };
            let near = |to: To| u8::try_from(places.of(to, next)?.checked_sub(at + 1)?).ok();
            match *step {
                Step::Here(_) => {}
                Step::Plain { code, k } => program.push(Instruction { code, jt: 0, jf: 0, k }),
                Step::Goto(label) => program.push(far(at, To::Label(label))?),
                Step::Test { code, k, yes, no, is_yes_far, is_no_far } => {
                    // The bridges stand right behind the test: first that of `yes`.
                    let jt = if is_yes_far { 0 } else { near(yes)? };
                    let jf = if is_no_far { u8::from(is_yes_far) } else { near(no)? };
                    program.push(Instruction { code, jt, jf, k });
                    for (to, is_far) in [(yes, is_yes_far), (no, is_no_far)] {
                        if is_far {
                            program.push(far(program.len(), to)?);
                        }
                    }
                }
            }
        }
        Some(program)
    }
}

impl Step {
    fn len(&self) -> usize {
        match *self {
            Self::Here(_) => 0,
            Self::Plain { .. } | Self::Goto(_) => 1,
            Self::Test { is_yes_far, is_no_far, .. } => {
                1 + usize::from(is_yes_far) + usize::from(is_no_far)
            }
        }
    }
}

/// Where the labels of a program are.
struct Places {
    labels: Vec<Option<usize>>,
    end: usize,
}

impl Places {
    fn of(&self, to: To, next: usize) -> Option<usize> {
        match to {
            To::Next => Some(next),
            To::Label(Label(label)) => *self.labels.get(label)?,
        }
    }
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
