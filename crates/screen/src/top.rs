//! The view of a host: which VMs, talkers and pairs move most, and how much of it stays within.

mod draw;
mod filter;
mod rows;

pub use self::filter::Fault;
use self::filter::FilterLine;
use self::rows::Line;
use crate::cursor::Cursor;
use crate::{Key, Look, Snapshot, Sort};

/// The view of a host. See the module.
#[derive(Debug)]
pub struct Top {
    look: Look,
    /// The host.
    title: String,
    of: Of,
    sort: Sort,
    snapshot: Snapshot,
    dropped: u64,
    lines: Vec<Line>,
    cursor: Cursor<String>,
    filter: FilterLine,
    /// The last thing that happened.
    event: Option<String>,
    is_paused: bool,
    is_help: bool,
}

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Machines of the inventory.
    Vms,
    /// Everybody, machine or not.
    Talkers,
    /// Who talks to whom.
    Pairs,
}

/// What whoever shows the view has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopAct {
    /// End it.
    Leave,
    /// Count only what this expression takes; everything if it is empty.
    Filter(String),
    /// Show the machine that is called so.
    Watch(String),
}

impl Top {
    /// The view, before anything was seen. `expression` is what holds at first; empty is everything.
    pub fn new(look: Look, title: String, of: Of, expression: String) -> Self {
        Self {
            look,
            title,
            of,
            sort: Sort::default(),
            snapshot: Snapshot::default(),
            dropped: 0,
            lines: Vec::new(),
            cursor: Cursor::new(),
            filter: FilterLine::new(expression),
            event: None,
            is_paused: false,
            is_help: false,
        }
    }

    /// What was seen up to a tick and how many packets were dropped.
    pub fn tick(&mut self, snapshot: Snapshot, dropped: u64) {
        if self.is_paused {
            return;
        }
        (self.snapshot, self.dropped) = (snapshot, dropped);
        self.order();
    }

    /// Something that happened, with its time.
    pub fn happened(&mut self, event: String) {
        self.event = Some(event);
    }

    /// What a key does. `check` says what is wrong with an expression, if anything is.
    pub fn press(&mut self, key: Key, check: &dyn Fn(&str) -> Option<Fault>) -> Option<TopAct> {
        if std::mem::take(&mut self.is_help) {
            return None;
        }
        if self.filter.is_open() {
            return self.filter.press(key, check).map(TopAct::Filter);
        }
        match key {
            Key::Char('q') => return Some(TopAct::Leave),
            Key::Char('?' | 'h') => self.is_help = true,
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Char('/' | 'f') => self.filter.open(),
            Key::Char('s') => {
                self.sort = self.sort.next();
                self.order();
            }
            Key::Tab | Key::Right => self.turn(1),
            Key::BackTab | Key::Left => self.turn(2),
            Key::Escape => self.cursor.clear(),
            Key::Enter => {
                let place = self.cursor.place(&self.keys()).unwrap_or_default();
                let machine = self.lines.get(place).and_then(|line| line.machine.clone());
                return machine.map(TopAct::Watch);
            }
            key => {
                if let Some(step) = key.step() {
                    self.cursor.step(&self.keys(), step);
                }
            }
        }
        None
    }

    fn turn(&mut self, by: usize) {
        let place = Of::ALL.iter().position(|of| *of == self.of).unwrap_or_default();
        self.of = Of::ALL.into_iter().cycle().nth(place + by).unwrap_or(self.of);
        self.order();
    }

    fn keys(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.key.clone()).collect()
    }

    fn order(&mut self) {
        let mut lines = rows::lines(self.of, &self.snapshot);
        let sort = self.sort;
        lines.sort_by(|one, other| sort.compare((&one.both, &one.key), (&other.both, &other.key)));
        self.lines = lines;
    }
}

impl Of {
    const ALL: [Self; 3] = [Self::Vms, Self::Talkers, Self::Pairs];

    /// The word for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Vms => "VMs",
            Self::Talkers => "Talkers",
            Self::Pairs => "Pairs",
        }
    }
}

#[cfg(test)]
mod tests;
