//! The packets of every machine of this host, at the machines' own ports, on standard output.
//!
//! Started by `overtap top --live`, never by hand: one capture session with the sandbox of any
//! other, whose ports come and go with the machines. What happens is told on standard error as
//! with `overtap capture --tell`.

use std::time::Duration;

use agent::{Event, Output, Request, Rotation, Session};
use anyhow::bail;
use broker::Owner;
use inventory::Site;
use jiff::Timestamp;
use pipeline::Limits;
use plan::{Interface, Point, PointKind};
use platform::LiveSite;
use select::{Ownership, Resolved};

use super::capture::Signals;
use crate::exit::Exit;
use crate::watching::Said;

/// The word after `overtap` that starts it; nothing that anybody types by mistake.
pub(crate) const WORD: &str = "packets-of-host";

/// Runs until it is told to stop.
pub(crate) fn run() -> anyhow::Result<Exit> {
    let mut live = LiveSite::read(READ_WITHIN);
    let (interfaces, refusals) = ports(live.site());
    if interfaces.is_empty() {
        let why = refusals.first().map_or("no machine is known here", String::as_str);
        bail!("there is no port to look at on {}: {why}", live.site().host.name);
    }
    refusals.iter().for_each(|refusal| tell(&Said::Event(refusal.clone())));
    let signals = Signals::take()?;
    let mut watched = Watched::start(interfaces)?;
    signals.keep_alive();
    live.watch()?;
    let mut is_stopped = false;
    loop {
        if signals.have_come() && !std::mem::replace(&mut is_stopped, true) {
            watched.session.stop()?;
        }
        match watched.session.next(LOOK_EVERY)? {
            Some(Event::Progress(progress)) => tell(&Said::Progress(progress)),
            Some(Event::Said(text)) => tell(&Said::Event(text)),
            Some(Event::Ended(_)) => return Ok(Exit::Done),
            Some(Event::InterfaceGone(_) | Event::CaughtUp) | None => {}
        }
        if !is_stopped && live.update() {
            watched.follow(live.site())?;
        }
    }
}

/// A session and the ports that it looks at.
struct Watched {
    session: Session,
    point: Point,
    /// Whether each port is some machine's now.
    is_owned: Vec<bool>,
    /// Ports that could not be opened, and are not tried again.
    refused: Vec<Interface>,
    buffer_bytes: u64,
}

impl Watched {
    fn start(interfaces: Vec<Interface>) -> anyhow::Result<Self> {
        let buffer_bytes = buffer(interfaces.len());
        let is_owned = vec![true; interfaces.len()];
        let point = Point {
            kind: PointKind::Port,
            refusal: None,
            vnics: Vec::new(),
            interfaces,
            sees: "every frame of every machine, each at its own port".to_owned(),
            misses: Vec::new(),
            costs: String::new(),
            disturbs: String::new(),
        };
        let session = Session::start(&request(&point, buffer_bytes))?;
        Ok(Self { session, point, is_owned, refused: Vec::new(), buffer_bytes })
    }

    /// Takes what has come as well, and nothing any more of what is nobody's.
    fn follow(&mut self, site: &Site) -> anyhow::Result<()> {
        let (now, _) = ports(site);
        let at = Timestamp::now().as_nanosecond();
        let at = wire::Timestamp::from_nanos(u64::try_from(at).unwrap_or(u64::MAX));
        let known = self.point.interfaces.iter().zip(&mut self.is_owned);
        for (number, (interface, was_owned)) in known.enumerate() {
            let is_owned = now.iter().any(|other| is_same(interface, other));
            if is_owned == *was_owned {
                continue;
            }
            *was_owned = is_owned;
            let (ownership, what) = match is_owned {
                true => (interface.ownership.clone(), "is looked at again"),
                false => (Ownership::Shared(Vec::new()), "is nobody's any more"),
            };
            self.session.own(number, ownership, at)?;
            tell(&Said::Event(format!("{} {what}", interface.label)));
        }
        for interface in now {
            let is_known = |other: &Interface| is_same(&interface, other);
            if self.point.interfaces.iter().chain(&self.refused).any(is_known) {
                continue;
            }
            let request = request(&self.point, self.buffer_bytes);
            match self.session.add(&request, &interface, None) {
                Ok(()) => {
                    tell(&Said::Event(format!("{} is looked at as well", interface.label)));
                    self.point.interfaces.push(interface);
                    self.is_owned.push(true);
                }
                Err(error) => {
                    let text = format!("{} is not looked at: {error}", interface.label);
                    tell(&Said::Event(text));
                    self.refused.push(interface);
                }
            }
        }
        Ok(())
    }
}

/// Every machine's own ports, and why there are none of some.
fn ports(site: &Site) -> (Vec<Interface>, Vec<String>) {
    let (mut interfaces, mut refusals): (Vec<Interface>, Vec<String>) = (Vec::new(), Vec::new());
    for machine in &site.machines {
        let points = plan::plan(site, machine).points;
        let Some(port) = points.into_iter().find(|point| point.kind == PointKind::Port) else {
            continue;
        };
        match port.refusal {
            Some(refusal) => refusals.push(format!("{} is not looked at: {refusal}", machine.name)),
            None => interfaces.extend(port.interfaces),
        }
    }
    // A device that two machines claim is looked at once.
    let mut ports: Vec<Interface> = Vec::new();
    for interface in interfaces {
        if !ports.iter().any(|other| is_same(&interface, other)) {
            ports.push(interface);
        }
    }
    (ports, refusals)
}

fn is_same(one: &Interface, other: &Interface) -> bool {
    let place = |interface: &Interface| {
        (interface.ifindex, interface.name.clone(), interface.namespace_path.clone())
    };
    place(one) == place(other)
}

fn request(point: &Point, buffer_bytes: u64) -> Request<'_> {
    Request {
        point,
        mirrors: &[],
        filter: None,
        explained: Resolved::default(),
        is_stripped: false,
        snaplen: SNAPLEN,
        limits: Limits::default(),
        output: Output {
            path: None,
            force: false,
            rotation: Rotation::default(),
            min_free_bytes: 0,
            is_nothing: false,
            room_bytes: None,
            store: None,
        },
        buffer_bytes: Some(buffer_bytes),
        comments: Vec::new(),
        ip_names: Vec::new(),
        mac_names: Vec::new(),
        past: None,
        tools: Vec::new(),
        owner: Owner::Anybody,
    }
}

/// Kernel memory for each port: a budget for the host, and room for machines that come.
fn buffer(ports: usize) -> u64 {
    (BUDGET / (ports as u64 + 1)).clamp(1 << 20, 16 << 20)
}

fn tell(said: &Said) {
    if let Ok(line) = serde_json::to_string(said) {
        eprintln!("{line}");
    }
}

/// As that of [`agent::Session`] for one capture.
const BUDGET: u64 = 256 << 20;

/// Headers within any tunnel, and the first bytes that name an application.
const SNAPLEN: u32 = 256;

/// How long one source of the inventory may take.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked for signals and for changes of the site.
const LOOK_EVERY: Duration = Duration::from_millis(20);
