//! The account of a job: what was read, what became of it, and what was wrong with the inputs.

use std::path::{Path, PathBuf};

use deliver::ToolReport;
use wire::LinkType;
use wire::file::{Damage, DamageReason};

use crate::{CopiesReport, Ended, Fate, MirrorReport, Tally};

/// The account of a job.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// What was read, in the order it was named.
    pub inputs: Vec<InputAccount>,
    /// What was written.
    pub outputs: Vec<OutputAccount>,
    /// Every packet by its fate.
    pub tally: Tally,
    /// What each tool got of those written.
    pub tools: Vec<ToolReport>,
    /// How often a written packet is in one more output, because it is of two VMs or tenants.
    pub repeated: u64,
    /// What was found about copies, if they were looked for.
    pub copies: Option<CopiesReport>,
    /// The mirror sessions that frames were taken out of, by input, if they were.
    pub mirrors: Vec<MirrorReport>,
    /// Why it ended.
    pub ended: Ended,
    /// What could not be written, in a sentence.
    pub failure: Option<String>,
}

impl Receipt {
    /// Damages of the inputs that cost at least one packet each.
    pub fn damaged(&self) -> u64 {
        self.inputs.iter().map(|input| input.damaged).sum()
    }

    /// Packets of mirrors lost on the way to who captured them, by their numbers: an estimate.
    pub fn lost_of_mirrors(&self) -> u64 {
        self.mirrors.iter().map(MirrorReport::lost).sum()
    }

    /// Whether every packet that was asked for, and that is in the inputs, is in the outputs.
    pub fn is_complete(&self) -> bool {
        let is_lost = Fate::ALL.iter().any(|fate| fate.is_loss() && self.tally.of(*fate) > 0);
        let is_whole = self.inputs.iter().all(InputAccount::is_whole);
        let is_sent = self.tools.iter().all(|tool| tool.account.lost() == 0);
        !is_lost && is_whole && is_sent && self.failure.is_none()
    }
}

/// What is known about one input in the end.
#[derive(Debug, Clone)]
pub struct InputAccount {
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// Packets read of it.
    pub read: u64,
    /// Damages that cost at least one packet each.
    pub damaged: u64,
    /// The first damages, at most [`InputAccount::MOST_DAMAGES`].
    pub damages: Vec<DamageSeen>,
    /// How many damages there are.
    pub damages_total: u64,
    /// Why it could not be read to its end, in a sentence.
    pub failure: Option<String>,
}

impl InputAccount {
    /// How many damages of one input are told one by one.
    pub const MOST_DAMAGES: usize = 100;

    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            damaged: 0,
            damages: Vec::new(),
            damages_total: 0,
            failure: None,
        }
    }

    pub(crate) fn add(&mut self, seen: DamageSeen) {
        self.damages_total += 1;
        self.damaged += u64::from(seen.costs_packet);
        if self.damages.len() < Self::MOST_DAMAGES {
            self.damages.push(seen);
        }
    }

    /// Whether nothing of it is missing.
    pub fn is_whole(&self) -> bool {
        self.damaged == 0
            && self.failure.is_none()
            && !self.damages.iter().any(|damage| damage.is_final)
    }
}

/// One damage of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamageSeen {
    /// Where the record or block with the damage begins.
    pub offset: u64,
    /// What is wrong.
    pub reason: DamageReason,
    /// Whether at least one packet is missing because of it.
    pub costs_packet: bool,
    /// Whether nothing behind it could be read.
    pub is_final: bool,
}

impl From<Damage> for DamageSeen {
    fn from(damage: Damage) -> Self {
        Self {
            offset: damage.offset,
            reason: damage.reason,
            costs_packet: damage.costs_packet(),
            is_final: damage.is_final(),
        }
    }
}

/// What is known about one output in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputAccount {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Packets in it.
    pub packets: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its packets begin with; `None` if it has none.
    pub link: Option<LinkType>,
}
