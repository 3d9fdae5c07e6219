//! What an agent does by itself: watches the host, and has a capture run for every machine that
//! an order means, as long as it is here.
//!
//! Orders speak of machines wherever they are, so a machine that arrives is captured before it
//! runs, whether or not the controller is there to say so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::document::{Note, Order, Orders, WhenFull};
use control::grants::{MachineFacts, Permit, Uncovered};
use inventory::{Machine, MachineState};
use platform::LiveSite;
use serde::Deserialize;
use telemetry::{Event, Log};

use crate::board::Board;
use crate::part::{Ended, Room, Running, Sought, now_ns, point};
use crate::past::{Past, Pasts, Told};
use crate::recorder::{Recorder, RecorderSettings};
use crate::spool::Spool;

/// The thread that watches and captures.
pub(crate) struct Duty {
    live: LiveSite,
    spool: Spool,
    board: Arc<Board>,
    log: Log,
    orders: Arc<Orders>,
    /// What was recorded for sessions that began in the past.
    pasts: Pasts,
    /// The host's recorder, where the agent runs it.
    recorder: Option<Recorder>,
    parts: Vec<Running>,
    /// Sessions and machines that reached a limit of theirs.
    finished: BTreeSet<Key>,
    /// What could not be begun.
    failed: BTreeMap<Key, Failure>,
    /// Machines that an order means and its owner may not see.
    refused: BTreeMap<Key, (Trouble, Uncovered)>,
    /// Machines that others were looked at for, since when they are here.
    back: BTreeMap<Key, Instant>,
    /// When the site and the orders are compared again although nothing was heard of them.
    next: Instant,
    /// When the room of sessions is looked at again although nothing was fetched.
    next_room: Instant,
}

/// A session and a machine; what others see of a machine that is elsewhere is one of its own.
pub(crate) type Key = (String, String);

/// What keeps a machine from being captured. It is told only if it lasts: while a machine comes or
/// goes, the sources of the inventory do not speak of it in the same moment.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    told: String,
}

/// Something that is tried again.
#[derive(Debug)]
struct Failure {
    trouble: Trouble,
    again: Instant,
}

impl Trouble {
    fn new() -> Self {
        Self { since: Instant::now(), told: String::new() }
    }

    /// Whether this is to be told now.
    fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.since.elapsed() >= LASTS && self.told != text;
        if is_news {
            text.clone_into(&mut self.told);
        }
        is_news
    }
}

impl Duty {
    /// Looks at the host once and then watches it.
    pub(crate) fn begin(
        spool: Spool,
        board: Arc<Board>,
        log: Log,
        recorder: Option<RecorderSettings>,
    ) -> io::Result<Self> {
        let mut live = LiveSite::read(READ_WITHIN);
        live.watch()?;
        let duty = Self {
            live,
            spool,
            board,
            recorder: recorder.as_ref().and_then(|known| Recorder::new(known, log.clone())),
            pasts: Pasts::new(recorder),
            log,
            orders: Arc::default(),
            parts: Vec::new(),
            finished: BTreeSet::new(),
            failed: BTreeMap::new(),
            refused: BTreeMap::new(),
            back: BTreeMap::new(),
            next: Instant::now(),
            next_room: Instant::now(),
        };
        duty.post_site();
        Ok(duty)
    }

    /// Does its duty until it is stopped; every capture has its receipt then.
    pub(crate) fn run(mut self, is_stopped: &AtomicBool) {
        while !is_stopped.load(Ordering::Relaxed) {
            self.turn(LOOK_EVERY);
        }
        for part in &mut self.parts {
            part.stop("the agent was stopped");
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.end();
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let has_ended = self.recorder.as_mut().is_none_or(Recorder::has_ended);
            if has_ended && self.parts.is_empty() {
                break;
            }
            self.look_after_parts();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn turn(&mut self, longest: Duration) {
        let is_site_new = self.live.update_within(longest);
        if is_site_new {
            self.post_site();
            self.tell_parts();
        }
        let are_orders_new = self.take_orders();
        self.look_after_parts();
        self.make_room();
        self.keep_recording(is_site_new);
        let now = Instant::now();
        // Permits end by themselves, too.
        let is_found = self.pasts.is_any_found();
        let is_time = is_found
            || now >= self.next
            || self.failed.values().any(|failure| failure.again <= now);
        if is_site_new || are_orders_new || is_time {
            self.next = now + RECONCILE_EVERY;
            self.reconcile();
        }
    }

    fn post_site(&self) {
        let (site, at) = (Arc::new(self.live.site().clone()), self.live.changed_at());
        self.board.change(|state| {
            state.site = site;
            state.seen_at = at;
        });
    }

    fn take_orders(&mut self) -> bool {
        let orders = self.board.state().orders.clone();
        let Some(orders) = orders.filter(|orders| !Arc::ptr_eq(orders, &self.orders)) else {
            return false;
        };
        self.orders = orders;
        let is_kept = |session: &str| {
            self.orders.kept.iter().any(|kept| kept == session)
                || self.orders.sessions.iter().any(|order| order.session == session)
        };
        // What runs is ended first; it is removed with the next orders, or by the next agent.
        let is_running = |session: &str| self.parts.iter().any(|part| part.session() == session);
        match self.spool.remove_others(&|session| is_kept(session) || is_running(session)) {
            Ok(removed) if !removed.is_empty() => self.board.change(|state| {
                state.parts.retain(|(session, _), _| !removed.contains(session));
                state.notes.retain(|note| !removed.contains(&note.session));
            }),
            Ok(_) => {}
            Err(error) => {
                let text = format!("cannot remove packets nobody wants: {error}");
                self.log.say(Event::warn(text));
            }
        }
        true
    }

    /// Lets a capture run for every machine that is meant, and no other.
    fn reconcile(&mut self) {
        let orders = Arc::clone(&self.orders);
        let mut wanted: BTreeSet<Key> = BTreeSet::new();
        self.hear_of_pasts();
        for order in &orders.sessions {
            let permit = Permit::deserialize(&order.permit);
            let (kept, ahead_ns) = {
                let state = self.board.state();
                (state.kept_half.clone(), state.ahead_ns)
            };
            // What is seen live comes behind what was recorded, which is looked for first. It is
            // recorded meanwhile; where it is not, there is nothing to look for.
            if !self.pasts.is_known(order, kept.as_ref(), ahead_ns) {
                continue;
            }
            wanted.extend(self.recorded_still(order, &permit));
            if order.past.is_some_and(|past| past.is_all) {
                wanted.extend(self.have_recorded(order));
                continue;
            }
            for machine in self.live.site().machines.clone() {
                if !is_here(&machine) {
                    continue;
                }
                let key = (order.session.clone(), machine.id.to_string());
                if let Some(snaplen) = self.permitted(order, &permit, &machine, &key) {
                    wanted.insert(key.clone());
                    let point = point(order, self.live.site(), &machine);
                    self.have_captured(order, snaplen, &machine, &key, point);
                }
            }
            for machine in &order.elsewhere {
                let is_it = |here: &&Machine| here.id == machine.id;
                let here = self.live.site().machines.iter().find(is_it);
                // While it is on its way here it runs where it was; at first not all sources say so.
                let is_back = here.is_some_and(|m| is_here(m) && m.state != MachineState::Incoming);
                let key = Running::key_of(&order.session, &machine.id.to_string(), true);
                if !is_back {
                    self.back.remove(&key);
                } else if self.back.entry(key.clone()).or_insert_with(Instant::now).elapsed() > BACK
                    || !self.parts.iter().any(|part| part.key() == key)
                {
                    continue;
                }
                let point = plan::peer(self.live.site(), machine);
                if point.is_usable()
                    && let Some(snaplen) = self.permitted(order, &permit, machine, &key)
                {
                    wanted.insert(key.clone());
                    self.have_captured(order, snaplen, machine, &key, Ok(point));
                }
            }
            wanted.extend(self.have_recorded(order));
        }
        for part in &mut self.parts {
            let key = part.key();
            if !wanted.contains(&key) {
                let is_ordered = orders.sessions.iter().any(|order| order.session == key.0);
                let refused = self.refused.get(&key).map(|(_, refused)| *refused);
                let why = match (is_ordered, refused) {
                    (false, _) => "the session ended",
                    (true, Some(Uncovered::Over)) => "the time it may be captured was over",
                    (true, Some(_)) => "the session's owner may not see it any more",
                    (true, None) if part.is_at_peer() => "it is on a host with an agent again",
                    (true, None) => "it left this host",
                };
                part.stop(why);
            }
        }
        self.failed.retain(|key, _| wanted.contains(key));
        self.back.retain(|key, _| wanted.contains(key));
    }

    /// Lets the recorder go on.
    fn keep_recording(&mut self, is_site_new: bool) {
        if let Some(recorder) = &mut self.recorder {
            let kept = self.board.state().kept_half.clone();
            recorder.turn(kept.as_ref(), &self.live, is_site_new);
        }
    }

    /// Takes what looks into the recorder have found, and says what there is to say.
    fn hear_of_pasts(&mut self) {
        let orders = Arc::clone(&self.orders);
        let is_ordered = |session: &str| orders.sessions.iter().any(|o| o.session == session);
        self.pasts.keep(is_ordered);
        let told = {
            let mut state = self.board.state();
            state.looked.retain(|session| is_ordered(session));
            let is_written = |session: &str, machine: &str| {
                let parts = state.parts.values().map(|posted| &posted.part);
                let mut own = parts.filter(|p| p.session == session && p.machine_id == machine);
                own.any(|part| part.recorded.as_ref().is_some_and(|found| found.is_written))
            };
            self.pasts.take_found(&is_written)
        };
        for (session, told) in told {
            let note = match told {
                Told::Withheld(text) => Note { is_refusal: true, ..self.about(&session, text) },
                Told::Unreadable(text) => self.about(&session, text),
            };
            self.board.note(note);
        }
    }

    /// Parts of what was recorded that go on, as long as all of it may be seen.
    fn recorded_still(
        &self,
        order: &Order,
        permit: &Result<Permit, serde_json::Error>,
    ) -> Vec<Key> {
        let Ok(permit) = permit else { return Vec::new() };
        let own = self.parts.iter().filter(|part| part.session() == order.session);
        let still =
            own.filter(|part| part.is_all_past() && Past::is_covered(part.recorded_as(), permit));
        still.map(|part| (part.session().to_owned(), part.machine_id().to_owned())).collect()
    }

    /// Begins a part for every machine of which something was recorded and which is not here, or
    /// is not to be captured live; then says that all there is was said.
    fn have_recorded(&mut self, order: &Order) -> Vec<Key> {
        let mut begun = Vec::new();
        for past in self.pasts.left(&order.session) {
            let Some(machine) = past.machine().map(|machine| machine.id.clone()) else { continue };
            self.pasts.begun(&order.session, &machine);
            let room = Room::of(order, &self.spool, &self.board);
            match Running::begin_recorded(order, self.live.site(), room, &past) {
                Ok(part) => {
                    part.post(&self.board);
                    begun.push((part.session().to_owned(), part.machine_id().to_owned()));
                    self.parts.push(part);
                }
                Err(error) => {
                    let text = format!("what was recorded of {machine} cannot be given: {error}");
                    self.board.note(self.about(&order.session, text));
                }
            }
        }
        if order.past.is_some() && !self.board.state().looked.contains(&order.session) {
            self.board.change(|state| _ = state.looked.insert(order.session.clone()));
        }
        begun
    }

    /// How much of each packet of a machine may be captured for a session; `None` if it is none of
    /// its machines. What was its and is not any more is said.
    fn permitted(
        &mut self,
        order: &Order,
        permit: &Result<Permit, serde_json::Error>,
        machine: &Machine,
        key: &Key,
    ) -> Option<u32> {
        let answer = match permit {
            Ok(permit) => permit.covers(&facts(machine), jiff::Timestamp::now()),
            Err(error) => {
                let text = format!("the permit of the session cannot be read: {error}");
                self.say_failed(order, key, &text);
                return None;
            }
        };
        match answer {
            Ok(snaplen) => {
                self.refused.remove(key);
                Some(order.snaplen.min(snaplen.bytes()))
            }
            Err(Uncovered::NotAsked) => None,
            Err(refusal) => {
                let text = format!("{} is not captured: {refusal}", machine.name);
                let (trouble, why) =
                    self.refused.entry(key.clone()).or_insert_with(|| (Trouble::new(), refusal));
                *why = refusal;
                if trouble.is_news(&text) {
                    self.board.note(Note { is_refusal: true, ..self.about(&order.session, text) });
                }
                None
            }
        }
    }

    /// Sees to it that this machine is captured at the place that is right for it now.
    fn have_captured(
        &mut self,
        order: &Order,
        snaplen: u32,
        machine: &Machine,
        key: &Key,
        point: Result<plan::Point, agent::NoPoint>,
    ) {
        let is_this = |part: &&mut Running| part.key() == *key;
        let is_live = |part: &&mut Running| !part.is_ending() && !part.is_all_past();
        let running: Vec<&mut Running> =
            self.parts.iter_mut().filter(is_this).filter(is_live).collect();
        if !running.is_empty() {
            // A vNIC that was added, a tap that was made anew, or another filter: the next
            // part begins before this one ends, and what both saw is told apart by content.
            let Ok(now) = &point else { return };
            let sought = Sought::of(order, snaplen);
            let is_same = |part: &Running| {
                *part.sought() == sought
                    && part.point().is_some_and(|then| is_same_place(then, now))
            };
            if running.iter().any(|part| is_same(part)) {
                return;
            }
            // The recorder looks at the new place already, so its part can wait.
            if running.iter().any(|part| part.is_in_past() && *part.sought() == sought) {
                return;
            }
        }
        if self.finished.contains(key) {
            return;
        }
        if self.failed.get(key).is_some_and(|failure| failure.again > Instant::now()) {
            return;
        }
        let past = self.pasts.of(&order.session, &key.1);
        let room = Room::of(order, &self.spool, &self.board);
        let site = self.live.site();
        match Running::begin(order, snaplen, site, machine, point, room, past) {
            Ok(part) => {
                if past.is_some() {
                    part.post(&self.board);
                    self.pasts.begun(&order.session, &key.1);
                }
                for before in running {
                    before.stop("it is captured anew where it is now");
                }
                self.failed.remove(key);
                let text = match part.is_at_peer() {
                    false => format!("capturing {}", machine.name),
                    true => format!("capturing what {} exchanges with others here", machine.name),
                };
                self.parts.push(part);
                let event = Event::info(text);
                self.log.say(event.session(&order.session));
            }
            Err(error) => {
                let text = format!("{} is not captured: {error}", machine.name);
                self.say_failed(order, key, &text);
            }
        }
    }

    /// Keeps what went wrong, to be tried again.
    fn say_failed(&mut self, order: &Order, key: &Key, text: &str) {
        let again = Instant::now() + RETRY_AFTER;
        let failure = self.failed.entry(key.clone());
        let failure = failure.or_insert_with(|| Failure { trouble: Trouble::new(), again });
        failure.again = again;
        if failure.trouble.is_news(text) {
            self.log.say(Event::error(text).session(&order.session));
            self.board.note(self.about(&order.session, text.to_owned()));
        }
    }

    fn tell_parts(&mut self) {
        let mut told = Vec::new();
        for part in &mut self.parts {
            for sentence in part.compare(self.live.site(), self.live.changed_at()) {
                told.push((part.session().to_owned(), sentence));
            }
        }
        for (session, text) in told {
            self.board.note(Note { is_in_part: true, ..self.about(&session, text) });
        }
    }

    fn look_after_parts(&mut self) {
        let (spool, board) = (&self.spool, &self.board);
        let (finished, failed) = (&mut self.finished, &mut self.failed);
        let mut told = Vec::new();
        self.parts.retain_mut(|part| {
            let how = part.turn(spool, board);
            let said = part.take_said().into_iter();
            told.extend(said.map(|text| (part.session().to_owned(), text)));
            let Some(how) = how else { return true };
            if part.is_all_past() {
                return false;
            }
            let key = part.key();
            match how {
                Ended::ForGood => _ = finished.insert(key),
                // A tap vanishes a moment before its machine does.
                Ended::ForNow => {
                    let again = Instant::now() + SETTLE;
                    failed.insert(key, Failure { trouble: Trouble::new(), again });
                }
            }
            false
        });
        for (session, text) in told {
            self.board.note(Note { is_in_part: true, ..self.about(&session, text) });
        }
    }

    /// Forgets what was fetched, and shares the room there is among the parts of each session.
    fn make_room(&mut self) {
        let mut is_new = false;
        for ((session, number), offset) in self.board.take_released() {
            let is_this =
                |part: &&mut Running| part.session() == session && part.number() == number;
            match self.parts.iter_mut().find(is_this) {
                Some(part) => part.free(offset, &self.spool),
                None => self.free_ended(&session, number, offset),
            }
            is_new = true;
        }
        if !is_new && self.next_room > Instant::now() {
            return;
        }
        self.next_room = Instant::now() + ROOM_EVERY;
        for order in self.orders.sessions.iter().filter(|o| o.when_full == WhenFull::Drop) {
            let mut running: Vec<&mut Running> =
                self.parts.iter_mut().filter(|part| part.session() == order.session).collect();
            let ended = self.board.ended_bytes(&order.session);
            let used =
                running.iter().map(|part| part.kept_bytes()).fold(ended, u64::saturating_add);
            let count = running.iter().filter(|part| part.has_room()).count().max(1) as u64;
            let share = order.spool_bytes.saturating_sub(used) / count;
            running.iter_mut().for_each(|part| part.set_room(share));
        }
    }

    fn free_ended(&self, session: &str, number: u32, offset: u64) {
        let key = (session.to_owned(), number);
        let found = self
            .board
            .state()
            .parts
            .get(&key)
            .map(|posted| (posted.part.clone(), posted.path.clone(), *posted.reached.borrow()));
        let Some((mut part, path, reached)) = found else { return };
        if let Ok(freed) = self.spool.free(&part, offset)
            && freed > part.freed_bytes
        {
            part.freed_bytes = freed;
            // The hole in the file tells it, too.
            let _ = self.spool.keep(&part);
            self.board.post(part, path, reached);
        }
    }

    fn about(&self, session: &str, text: String) -> Note {
        Note {
            session: session.to_owned(),
            host: self.live.site().host.name.clone(),
            at_ns: now_ns(),
            text,
            is_refusal: false,
            is_in_part: false,
        }
    }
}

fn facts(machine: &Machine) -> MachineFacts {
    MachineFacts {
        id: machine.id.clone(),
        name: machine.name.clone(),
        tenant: machine.tenant.clone(),
    }
}

/// Whether there is anything to look at: a machine that is arriving has its ports before it runs.
fn is_here(machine: &Machine) -> bool {
    machine.state != MachineState::Shutoff
        && machine.vnics.iter().any(|vnic| vnic.attachment.is_some())
}

/// Whether a running capture looks where it should.
fn is_same_place(then: &plan::Point, now: &plan::Point) -> bool {
    let places = |point: &plan::Point| -> BTreeSet<_> {
        let all = point.interfaces.iter();
        all.map(|i| (i.name.clone(), i.ifindex, i.namespace_path.is_some())).collect()
    };
    then.kind == now.kind && places(then) == places(now)
}

/// How long one source of the inventory may take at first.
const READ_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const ROOM_EVERY: Duration = Duration::from_millis(100);
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long something must last before it is told.
const LASTS: Duration = Duration::from_secs(2);
const RECONCILE_EVERY: Duration = Duration::from_secs(1);
/// How long the inventory may take to tell what an interface's end has told already.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a machine must be here before it is no more looked for at the uplinks.
const BACK: Duration = Duration::from_secs(1);
/// How long captures may take to end when the agent does.
const PATIENCE: Duration = Duration::from_secs(5);
