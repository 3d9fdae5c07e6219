//! An expression made ready to run: a list of questions, each with where to go on after its answer.

use std::sync::Arc;

use wire::{Layers, Packet};

use super::expression::Scope;
use super::lower::Node;
use super::members::Members;
use super::place::View;
use super::test::Test;

/// Questions in the order in which they are asked. All steps lead forward, so it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matcher {
    steps: Vec<Step>,
    start: u32,
    /// A packet that has the MAC of none of these is not wanted, whatever else is asked.
    named: Option<Arc<Members>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    question: Question,
    yes: u32,
    no: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Test(Test),
    /// All of a matcher, asked somewhere else.
    Within(Scope, Box<Matcher>),
}

impl Matcher {
    /// Makes `node` ready to run.
    pub(super) fn new(node: &Node) -> Self {
        // Written from the end: where a step leads is there before it.
        let mut steps = Vec::new();
        let start = write(node, YES, NO, &mut steps);
        let last = u32::try_from(steps.len()).unwrap_or(NO).wrapping_sub(1);
        let turn = |at: u32| if at >= NO { at } else { last.wrapping_sub(at) };
        steps.reverse();
        for step in &mut steps {
            (step.yes, step.no) = (turn(step.yes), turn(step.no));
        }
        Self { steps, start: turn(start), named: named(node).cloned() }
    }

    /// The vNICs of which one must be in a packet that is wanted, if there are any.
    pub(super) fn named(&self) -> Option<&Members> {
        self.named.as_deref()
    }

    /// Whether the packet is wanted.
    #[inline]
    pub(super) fn matches(&self, packet: &Packet<'_>, layers: &Layers) -> bool {
        let may_be = self.named.as_ref().is_none_or(|named| named.may_have(packet.data, layers));
        may_be && self.is_wanted(packet, layers)
    }

    /// Asks all questions. Not inlined, because most packets of a selection by name are known
    /// before, and those should not pay for its room.
    #[inline(never)]
    fn is_wanted(&self, packet: &Packet<'_>, layers: &Layers) -> bool {
        self.answer(&View::innermost(packet, layers)) == Some(true)
    }

    /// `None` if bytes are missing that the answer depends on.
    #[inline]
    fn answer(&self, view: &View<'_>) -> Option<bool> {
        let mut at = self.start;
        loop {
            let Some(step) = self.steps.get(at as usize) else { return Some(at == YES) };
            let is_so = match &step.question {
                Question::Test(test) => view.answer(test)?,
                Question::Within(scope, inside) => inside.within(*scope, view)?,
            };
            at = if is_so { step.yes } else { step.no };
        }
    }

    fn within(&self, scope: Scope, view: &View<'_>) -> Option<bool> {
        let mut levels = view.levels();
        match scope {
            Scope::Outer => levels.next().map_or(Some(false), |outer| self.answer(&outer)),
            Scope::Any => Some(levels.any(|level| self.answer(&level) == Some(true))),
        }
    }
}

/// Writes `node` so that it goes on at `yes` or `no`; returns where it begins.
fn write(node: &Node, yes: u32, no: u32, steps: &mut Vec<Step>) -> u32 {
    let question = match node {
        Node::All(parts) => {
            return parts.iter().rev().fold(yes, |yes, part| write(part, yes, no, steps));
        }
        Node::Any(parts) => {
            return parts.iter().rev().fold(no, |no, part| write(part, yes, no, steps));
        }
        Node::Not(part) => return write(part, no, yes, steps),
        Node::Within(scope, part) => Question::Within(*scope, Box::new(Matcher::new(part))),
        Node::Test(test) => Question::Test(test.clone()),
    };
    steps.push(Step { question, yes, no });
    u32::try_from(steps.len() - 1).unwrap_or(NO)
}

/// The vNICs of which one must be in a packet, if `node` is to be true of it.
fn named(node: &Node) -> Option<&Arc<Members>> {
    match node {
        Node::Test(Test::Member { members, .. }) => Some(members),
        Node::Test(_) | Node::Not(_) => None,
        Node::All(parts) => parts.iter().find_map(named),
        Node::Any(parts) => {
            let first = named(parts.first()?)?;
            parts.iter().all(|part| named(part) == Some(first)).then_some(first)
        }
        Node::Within(_, part) => named(part),
    }
}

/// Beyond every step: the packet is wanted.
const YES: u32 = u32::MAX;
/// Beyond every step: it is not.
const NO: u32 = u32::MAX - 1;
