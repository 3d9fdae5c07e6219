//! A capture of one VM on this host from its beginning to its receipt: session, following and
//! story in one hand, for whoever runs several of them.

use std::time::Duration;

use inventory::{Machine, Site};
use jiff::{Timestamp, Zoned};
use pipeline::Limits;
use plan::Point;
use select::{Filter, Resolved};

use crate::following::Following;
use crate::orders::{Outcome, Output};
use crate::own_counts::OwnCounts;
use crate::receipt::{Receipt, Story};
use crate::session::{Event, Request, Session, SessionError};

/// What is to be captured, all of it owned.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The VM, as it is now.
    pub machine: Machine,
    /// The host.
    pub host: String,
    /// Where to look.
    pub point: Point,
    /// Which packets, as typed and as understood.
    pub filter: Option<(String, Filter)>,
    /// What the names in it mean.
    pub explained: Resolved,
    /// Whether tunnels are removed before writing.
    pub is_stripped: bool,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// Where to stop.
    pub limits: Limits,
    /// Where the packets go.
    pub output: Output,
    /// Lines for the beginning of the file.
    pub comments: Vec<String>,
    /// Names of IP addresses, for the file.
    pub ip_names: Vec<(std::net::IpAddr, String)>,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    wanted: Wanted,
    session: Session,
    following: Following,
    before: OwnCounts,
    began: Timestamp,
    events: Vec<String>,
}

impl Capture {
    /// Starts it. Packets count from the return of this call.
    ///
    /// # Errors
    /// Whatever keeps it from seeing all it is to see; nothing is left behind.
    pub fn start(wanted: Wanted) -> Result<Self, SessionError> {
        let began = Timestamp::now();
        let before = OwnCounts::read(&wanted.point);
        let session = Session::start(&request(&wanted))?;
        let following = Following::new(&wanted.machine, &wanted.point);
        Ok(Self { wanted, session, following, before, began, events: Vec::new() })
    }

    /// The next event, if one comes within `longest`.
    ///
    /// # Errors
    /// When the engine is gone without a word.
    pub fn next(&mut self, longest: Duration) -> Result<Option<Event>, SessionError> {
        let event = self.session.next(longest)?;
        if let Some(Event::InterfaceGone(number)) = event {
            self.note(&self.following.interface_gone(number));
        }
        Ok(event)
    }

    /// Compares the site, as it was at `changed_at`, with what it was; the engine is told what
    /// follows from it. Returns what a person should hear.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn compare(
        &mut self,
        site: &Site,
        changed_at: wire::Timestamp,
    ) -> Result<Vec<String>, SessionError> {
        let changes = self.following.compare(site, changed_at);
        for (number, ownership) in changes.owned {
            self.session.own(number, ownership, self.following.since(changed_at))?;
        }
        for sentence in &changes.sentences {
            let text = self.note(sentence);
            self.session.comment(&text)?;
        }
        Ok(changes.sentences)
    }

    /// Asks for the end; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn stop(&mut self) -> Result<(), SessionError> {
        self.session.stop()
    }

    /// What was asked for.
    pub const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The account of it, once it has ended.
    pub fn receipt(self, outcome: &Outcome) -> Receipt {
        Receipt::new(Story {
            request: &request(&self.wanted),
            machine: &self.wanted.machine,
            host: &self.wanted.host,
            began: self.began,
            ended: Timestamp::now(),
            outcome,
            interface_packets: OwnCounts::read(&self.wanted.point).packets_since(&self.before),
            in_kernel: self.session.in_kernel,
            events: self.events,
            sandbox: self.session.sandbox,
        })
    }

    /// Keeps a sentence with its time and returns it.
    fn note(&mut self, sentence: &str) -> String {
        let text = format!("{}: {sentence}", Zoned::now().strftime("%H:%M:%S%.3f"));
        self.events.push(text.clone());
        text
    }
}

fn request(wanted: &Wanted) -> Request<'_> {
    Request {
        point: &wanted.point,
        filter: wanted.filter.as_ref().map(|(text, filter)| (text.as_str(), filter)),
        explained: wanted.explained.clone(),
        is_stripped: wanted.is_stripped,
        snaplen: wanted.snaplen,
        limits: wanted.limits,
        output: wanted.output.clone(),
        buffer_bytes: None,
        comments: wanted.comments.clone(),
        ip_names: wanted.ip_names.clone(),
        mac_names: crate::names::mac_names(&wanted.machine),
        past: None,
    }
}
