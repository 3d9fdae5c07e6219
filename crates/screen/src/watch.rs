//! The view of one VM: where it is, what can be seen where, how much comes and goes, who with, and
//! what happens to it.

mod draw;

use std::collections::VecDeque;

use crate::cursor::Cursor;
use crate::{Key, Look, Snapshot, Sort, Talk, TalkKey, Traffic};

/// The view of one VM. See the module.
#[derive(Debug)]
pub struct Watch {
    look: Look,
    subject: Subject,
    seen: Traffic,
    dropped: u64,
    talks: Vec<Talk>,
    /// Bits a second, the newest last.
    history: VecDeque<u64>,
    events: VecDeque<String>,
    ended: Option<String>,
    focus: Pane,
    sort: Sort,
    cursor: Cursor<TalkKey>,
    /// How many lines the panes of text are scrolled by.
    scrolled: [usize; 3],
    is_paused: bool,
    is_help: bool,
    is_nested: bool,
}

/// The VM and its surroundings, as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// What it is, and how it is: `VM, running`.
    pub state: String,
    /// The host it is on; several where it is just moving, none where it is nowhere.
    pub hosts: Vec<String>,
    /// Who owns it.
    pub tenant: Option<String>,
    /// Since when it runs, by the local clock.
    pub since: Option<String>,
    /// Its vNICs.
    pub vnics: Vec<VnicLine>,
    /// The places where its packets can be seen, the one that is looked at first.
    pub points: Vec<PointLine>,
}

/// A vNIC and where it is attached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VnicLine {
    /// Its name.
    pub name: String,
    /// MAC and addresses.
    pub addresses: String,
    /// Device, vSwitch, port group, VLAN or VNI.
    pub place: String,
}

/// A place where its packets can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PointLine {
    /// What place it is, with the interfaces.
    pub place: String,
    /// Whether it is looked at now.
    pub is_used: bool,
    /// What is seen there; or why nothing is.
    pub sees: String,
    /// What is not.
    pub misses: Vec<String>,
}

/// How the view is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// Without a word.
    Quietly,
    /// With the command that captures what is watched; of one talk, with this expression.
    WithCommand(Option<String>),
}

/// A part of the view that keys may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pane {
    Where,
    Points,
    Talkers,
    Events,
}

impl Watch {
    /// The view, before anything was seen. `is_nested` says that leaving it leads back to a list.
    pub fn new(look: Look, subject: Subject, is_nested: bool) -> Self {
        Self {
            look,
            subject,
            seen: Traffic::default(),
            dropped: 0,
            talks: Vec::new(),
            history: VecDeque::new(),
            events: VecDeque::new(),
            ended: None,
            focus: Pane::Talkers,
            sort: Sort::default(),
            cursor: Cursor::new(),
            scrolled: [0; 3],
            is_paused: false,
            is_help: false,
            is_nested,
        }
    }

    /// What was seen up to a tick: frames at the point, how many were dropped there, and who talks.
    pub fn tick(&mut self, seen: Traffic, dropped: u64, snapshot: Snapshot) {
        if self.history.len() >= MOST_HISTORY {
            self.history.pop_front();
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        self.history.push_back((seen.octets_per_s * 8.0) as u64);
        if self.is_paused {
            return;
        }
        (self.seen, self.dropped) = (seen, dropped);
        self.talks = snapshot.talks;
        self.order();
    }

    /// Where it is now.
    pub fn place(&mut self, subject: Subject) {
        self.subject = subject;
    }

    /// Something that happened, with its time.
    pub fn happened(&mut self, event: String) {
        if self.events.len() >= MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Nothing more is seen, and why.
    pub fn ended(&mut self, why: String) {
        self.happened(why.clone());
        self.ended = Some(why);
    }

    /// What a key does. Says so when the view is left.
    pub fn press(&mut self, key: Key) -> Option<Leave> {
        if std::mem::take(&mut self.is_help) {
            return None;
        }
        match key {
            Key::Char('q') => return Some(Leave::Quietly),
            Key::Escape if self.is_nested => return Some(Leave::Quietly),
            Key::Char('c') => return Some(Leave::WithCommand(self.expression())),
            Key::Char('?' | 'h') => self.is_help = true,
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Char('s') => {
                self.sort = self.sort.next();
                self.order();
            }
            Key::Escape => self.cursor.clear(),
            Key::Tab | Key::Right => self.focus = self.focus.turned(1),
            Key::BackTab | Key::Left => self.focus = self.focus.turned(3),
            key => {
                if let Some(step) = key.step() {
                    self.step(step);
                }
            }
        }
        None
    }

    /// The talk that the cursor is on, as an expression.
    fn expression(&self) -> Option<String> {
        let place = self.cursor.place(&self.keys())?;
        self.talks.get(place).map(Talk::expression)
    }

    fn step(&mut self, by: isize) {
        let (number, most) = match self.focus {
            Pane::Talkers => return self.cursor.step(&self.keys(), by),
            Pane::Where => (0, self.subject.vnics.len() * 2),
            Pane::Points => (1, self.subject.points.iter().map(|p| 4 + p.misses.len()).sum()),
            Pane::Events => (2, self.events.len()),
        };
        if let Some(scrolled) = self.scrolled.get_mut(number) {
            *scrolled = scrolled.saturating_add_signed(by).min(most);
        }
    }

    fn keys(&self) -> Vec<TalkKey> {
        self.talks.iter().map(|talk| talk.key).collect()
    }

    fn order(&mut self) {
        let sort = self.sort;
        self.talks.sort_by_cached_key(|talk| talk.ends.clone().map(|end| end.label()).join(" "));
        self.talks.sort_by(|one, other| sort.compare((&one.both, ""), (&other.both, "")));
    }
}

impl Pane {
    const ALL: [Self; 4] = [Self::Where, Self::Points, Self::Talkers, Self::Events];

    fn turned(self, by: usize) -> Self {
        let place = Self::ALL.iter().position(|pane| *pane == self).unwrap_or_default();
        Self::ALL.into_iter().cycle().nth(place + by).unwrap_or(self)
    }
}

/// Events that can be looked back at.
const MOST_EVENTS: usize = 500;

/// Rates that are drawn at most, one a tick.
const MOST_HISTORY: usize = 512;

#[cfg(test)]
mod tests;
