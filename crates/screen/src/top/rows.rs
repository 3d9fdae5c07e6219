//! The rows of a list: what was seen, summed by what the list is of.

use std::collections::HashMap;

use flows::Split;

use super::Of;
use crate::{MachineSums, Snapshot, Talk, Traffic};

/// A row: one machine, talker or pair.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What names it.
    pub(super) key: String,
    /// The machine that can be watched, if it is one or has one.
    pub(super) machine: Option<String>,
    /// Of a pair who they are.
    pub(super) ends: [String; 2],
    /// Of a pair where the two are to each other.
    pub(super) split: Split,
    /// Of a pair what moves most between them.
    pub(super) application: String,
    /// Most bytes of one application.
    most: u64,
    /// What it sends.
    pub(super) sent: Traffic,
    /// What it receives.
    pub(super) received: Traffic,
    /// Both together.
    pub(super) both: Traffic,
}

/// The rows of a list, in no order.
pub(super) fn lines(of: Of, snapshot: &Snapshot) -> Vec<Line> {
    match of {
        Of::Vms => snapshot.machines.iter().map(Line::of_machine).collect(),
        Of::Talkers => talkers(&snapshot.talks),
        Of::Pairs => pairs(&snapshot.talks),
    }
}

fn talkers(talks: &[Talk]) -> Vec<Line> {
    let mut lines: HashMap<String, Line> = HashMap::new();
    for talk in talks {
        let [one, other] = &talk.ends;
        let [there, back] = &talk.ways;
        for (end, sent, received) in [(one, there, back), (other, back, there)] {
            let label = end.label();
            let line = lines.entry(label.clone()).or_insert_with(Line::new);
            line.key = label;
            line.machine.clone_from(&end.machine);
            line.sent.merge(sent);
            line.received.merge(received);
            line.both.merge(&talk.both);
        }
    }
    lines.into_values().collect()
}

fn pairs(talks: &[Talk]) -> Vec<Line> {
    let mut lines: HashMap<String, Line> = HashMap::new();
    for talk in talks {
        let ends = talk.ends.clone().map(|end| end.label());
        let mut sorted = ends.clone();
        sorted.sort();
        let is_swapped = sorted != ends;
        let [mut sent, mut received] = talk.ways;
        if is_swapped {
            std::mem::swap(&mut sent, &mut received);
        }
        let line = lines.entry(sorted.join(" and ")).or_insert_with(Line::new);
        line.key = sorted.join(" and ");
        line.ends = sorted;
        line.machine = talk.ends.iter().find_map(|end| end.machine.clone());
        line.split = talk.split;
        if talk.both.octets >= line.most {
            line.most = talk.both.octets;
            line.application.clone_from(&talk.application);
        }
        line.sent.merge(&sent);
        line.received.merge(&received);
        line.both.merge(&talk.both);
    }
    lines.into_values().collect()
}

impl Line {
    fn of_machine(sums: &MachineSums) -> Self {
        let MachineSums { name, sent, received, both } = sums.clone();
        let machine = Some(name.clone());
        Self { key: name, machine, sent, received, both, ..Self::new() }
    }

    fn new() -> Self {
        let nothing = Traffic::default();
        Self {
            key: String::new(),
            machine: None,
            ends: Default::default(),
            split: Split::Unknown,
            application: String::new(),
            most: 0,
            sent: nothing,
            received: nothing,
            both: nothing,
        }
    }
}
