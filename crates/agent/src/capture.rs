//! A capture of one VM on this host from its beginning to its receipt: session, following and
//! story in one hand, for whoever runs several of them.

use std::fmt;
use std::time::Duration;

use broker::{Grant, Owner, ToolName};
use inventory::{Machine, Site};
use jiff::{Timestamp, Zoned};
use pipeline::Limits;
use plan::{Interface, Point};
use select::{Filter, Resolved};

use crate::following::Following;
use crate::mirror::MirrorSource;
use crate::orders::{Outcome, Output, PastOrder};
use crate::own_counts::OwnCounts;
use crate::receipt::{Receipt, Story};
use crate::session::{Event, Request, Session, SessionError};
use crate::tools::ToolWanted;

/// What is to be captured, all of it owned.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The VM, as it is now.
    pub machine: Machine,
    /// The host.
    pub host: String,
    /// Where to look.
    pub point: Point,
    /// The mirror that ends at each interface of the point, if it is one of mirrors.
    pub mirrors: Vec<MirrorSource>,
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
    /// Kernel memory for each ring in bytes; `None` chooses by the number of interfaces.
    pub buffer_bytes: Option<u64>,
    /// What a flight recorder has seen, to be written first.
    pub past: Option<PastOrder>,
    /// Tools that packets are sent to.
    pub tools: Vec<ToolWanted>,
    /// Whether vNICs that the VM gets meanwhile are captured as well, at its own ports. Not in a
    /// capture that begins with what was recorded.
    pub grows: bool,
}

/// Something that happened to a capture: written into the file, kept for the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When, by the local clock: `10:03:07.250`.
    pub at: String,
    /// A sentence.
    pub what: String,
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
    /// The grants of the tools, `None` for one that is known no more.
    grants: Vec<Option<Grant>>,
    /// Whose packets they are now.
    owner: Owner,
    /// New ports that could not be opened, and are not tried again.
    refused: Vec<Interface>,
}

impl Capture {
    /// Starts it. Packets count from the return of this call.
    ///
    /// # Errors
    /// Whatever keeps it from seeing all it is to see; nothing is left behind.
    pub fn start(wanted: Wanted) -> Result<Self, SessionError> {
        let began = Timestamp::now();
        let before = OwnCounts::read(&wanted.point);
        let session = Session::start(&wanted.request())?;
        let grows = wanted.grows && wanted.past.is_none();
        let following = Following::new(&wanted.machine, &wanted.point, grows);
        let grants = wanted.tools.iter().map(|wanted| Some(wanted.tool.grant.clone())).collect();
        let (owner, events, refused) = (wanted.owner(), Vec::new(), Vec::new());
        Ok(Self { wanted, session, following, before, began, events, grants, owner, refused })
    }

    /// The next event, if one comes within `longest`. An interface that has gone is said, and the
    /// interfaces are opened when all that was recorded is written: neither is an event here.
    ///
    /// # Errors
    /// When the engine is gone without a word, or an interface cannot be opened after all.
    pub fn next(&mut self, longest: Duration) -> Result<Option<Event>, SessionError> {
        Ok(match self.session.next(longest)? {
            Some(Event::InterfaceGone(number)) => {
                let text = self.note(self.following.interface_gone(number)).to_string();
                Some(Event::Said(text))
            }
            Some(Event::CaughtUp) => {
                self.session.go_live(&self.wanted.request())?;
                None
            }
            Some(Event::Said(text)) => {
                self.events.push(text.clone());
                Some(Event::Said(text))
            }
            event => event,
        })
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
    ) -> Result<Vec<Happened>, SessionError> {
        let changes = self.following.compare(site, changed_at);
        for (number, ownership) in changes.owned {
            self.session.own(number, ownership, self.following.since(changed_at))?;
        }
        let mut happened = Vec::new();
        let machine = site.machines.iter().find(|machine| machine.id == self.wanted.machine.id);
        let owner = machine.map(|machine| Owner::Tenant(machine.tenant.clone()));
        if let Some(owner) = owner.filter(|owner| *owner != self.owner) {
            happened.extend(self.entitle(owner, self.grants.clone(), changed_at)?);
        }
        for sentence in changes.sentences {
            let sentence = self.note(sentence);
            self.session.comment(&sentence.to_string())?;
            happened.push(sentence);
        }
        for interface in self.following.new_ports(site) {
            if !self.refused.contains(&interface) {
                happened.push(self.grow(interface)?);
            }
        }
        Ok(happened)
    }

    /// Captures at another port of the VM as well.
    fn grow(&mut self, interface: Interface) -> Result<Happened, SessionError> {
        match self.session.add(&self.wanted.request(), &interface, None) {
            Ok(()) => {
                let label = interface.label.clone();
                self.before.add(&interface);
                self.wanted.point.interfaces.push(interface.clone());
                self.following.add(interface);
                self.say(format!("{label} is captured as well from now on"))
            }
            Err(error) => {
                let what = format!("{} is not captured: {error}", interface.label);
                self.refused.push(interface);
                self.say(what)
            }
        }
    }

    /// Says how many bytes its output has room for now, those that are there included. Packets
    /// beyond that are dropped and counted until there is more.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn set_room(&mut self, bytes: u64) -> Result<(), SessionError> {
        self.session.set_room(bytes)
    }

    /// Says something at this place of the file, and in the receipt.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn say(&mut self, what: String) -> Result<Happened, SessionError> {
        let happened = self.note(what);
        self.session.comment(&happened.to_string())?;
        Ok(happened)
    }

    /// Takes what is known of the tools by now: one that was removed, or whose grant does not
    /// cover the VM any more, gets nothing from this moment on. Returns what a person should hear.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn regrant(
        &mut self,
        grant: impl Fn(&ToolName) -> Option<Grant>,
        now: wire::Timestamp,
    ) -> Result<Vec<Happened>, SessionError> {
        let grants = self.wanted.tools.iter().map(|wanted| grant(&wanted.tool.name)).collect();
        if grants == self.grants {
            return Ok(Vec::new());
        }
        self.entitle(self.owner.clone(), grants, now)
    }

    /// Compares what tools may have with what they might before, and has the engine keep to it.
    fn entitle(
        &mut self,
        owner: Owner,
        grants: Vec<Option<Grant>>,
        at: wire::Timestamp,
    ) -> Result<Vec<Happened>, SessionError> {
        fn allowed(grants: &[Option<Grant>], owner: &Owner) -> Vec<Option<Grant>> {
            let allows = |grant: &Grant| owner.is_allowed_by(grant);
            grants.iter().map(|grant| grant.clone().filter(allows)).collect()
        }
        let before = allowed(&self.grants, &self.owner);
        let now = allowed(&grants, &owner);
        (self.grants, self.owner) = (grants, owner);
        if before == now {
            return Ok(Vec::new());
        }
        self.session.entitle(now.clone(), at)?;
        let changed = before.iter().zip(&now).zip(&self.wanted.tools);
        let sentences: Vec<String> = changed
            .filter(|((before, now), _)| before.is_some() != now.is_some())
            .map(|((_, now), wanted)| match now {
                Some(_) => format!("tool {} gets its packets again", wanted.tool.name),
                None => format!("tool {} has no grant for it any more", wanted.tool.name),
            })
            .collect();
        Ok(sentences.into_iter().map(|sentence| self.note(sentence)).collect())
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
            request: &self.wanted.request(),
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
    fn note(&mut self, what: String) -> Happened {
        let happened = Happened { at: Zoned::now().strftime("%H:%M:%S%.3f").to_string(), what };
        self.events.push(happened.to_string());
        happened
    }
}

impl Wanted {
    /// Whose packets they are as it begins.
    fn owner(&self) -> Owner {
        match crate::mirror::is_every_machine(&self.machine) {
            true => Owner::Anybody,
            false => Owner::Tenant(self.machine.tenant.clone()),
        }
    }

    /// As a session takes it.
    pub fn request(&self) -> Request<'_> {
        Request {
            point: &self.point,
            mirrors: &self.mirrors,
            filter: self.filter.as_ref().map(|(text, filter)| (text.as_str(), filter)),
            explained: self.explained.clone(),
            is_stripped: self.is_stripped,
            snaplen: self.snaplen,
            limits: self.limits,
            output: self.output.clone(),
            buffer_bytes: self.buffer_bytes,
            comments: self.comments.clone(),
            ip_names: self.ip_names.clone(),
            mac_names: crate::names::mac_names(&self.machine),
            past: self.past.clone(),
            tools: self.tools.clone(),
            owner: self.owner(),
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}
