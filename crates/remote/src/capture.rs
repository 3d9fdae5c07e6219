//! A session as one file on this machine: its parts are fetched as they come and woven together.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::document::{Part, Session, WhenFull};
use api::proto::{FetchRequest, Piece, ReleaseRequest};
use tokio::sync::{Semaphore, mpsc};
use weave::{Origin, Step, StrandId, Weave};
use wire::Timestamp;

use crate::fetch::{AHEAD, News, fetch, follow, release};
use crate::output::WovenFile;
use crate::past::{self, Gap, Gathering};
use crate::receipt::{SessionReceipt, Story, clock_of};
#[cfg(feature = "s3")]
use crate::stored::{StoredSession, fetch_stored};
use crate::{Connection, Output, RemoteError};

/// What is wanted of a session.
#[derive(Debug)]
pub struct Wanted {
    /// The session, as it was started or found.
    pub session: Session,
    /// Where its packets go.
    pub output: Output,
    /// Whether somebody looks on: then a host that is away is waited for only shortly.
    pub is_live: bool,
    /// Whether the session is to end when this does.
    pub ends_session: bool,
    /// Whether its hosts may forget what has come here, where they have little room for it.
    pub releases: bool,
    /// Stop after so many packets.
    pub packets: Option<u64>,
}

/// Who has the packets of a session.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one for each run")]
pub enum Keeper {
    /// Its agents, asked through a controller.
    Controller(Connection),
    /// An object store.
    #[cfg(feature = "s3")]
    Store(StoredSession),
}

/// What people should hear meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// How it goes: packets written, packets lost so far, hosts that have a part of it now.
    Progress {
        /// Packets written.
        packets: u64,
        /// Packets that hosts had no room for.
        lost: u64,
        /// Hosts where something is captured now.
        hosts: Vec<String>,
    },
    /// Something happened.
    Sentence(String),
}

/// A session being fetched.
pub struct Capture {
    wanted: Wanted,
    keeper: Keeper,
    weave: Weave,
    file: WovenFile,
    parts: Vec<Fetched>,
    session: Session,
    /// The time of the common clock, and when it was that.
    front: (Timestamp, Instant),
    after_limit: u64,
    /// Where to say what the hosts may forget; `None` if they are to keep all of it.
    releases: Option<mpsc::Sender<ReleaseRequest>>,
    /// Why we end, once that is so.
    end: Option<String>,
    notes_told: usize,
    began: Instant,
    /// What no host has recorded and is to be said at its place, the last first.
    gaps: Vec<Gap>,
    /// The past is not gathered yet: until then nothing is woven.
    gathering: Option<Gathering>,
}

/// A part that is fetched.
struct Fetched {
    agent: String,
    number: u32,
    strand: StrandId,
    ahead: Arc<Semaphore>,
    /// Pieces that were woven in as far as that was possible, and whose permits are still out.
    owed: usize,
    is_all_here: bool,
    /// Bytes that came of it, and those that its host may forget.
    fed_bytes: u64,
    released_bytes: u64,
    /// Since when it cannot be fetched, and why.
    away: Option<(Instant, String)>,
    /// Why no more of it is to be had at all.
    gone: Option<String>,
}

impl Capture {
    /// Begins. Nothing is fetched before [`run`](Self::run).
    pub fn new(wanted: Wanted, keeper: Keeper) -> Self {
        let hold = if wanted.is_live { LIVE_HOLD } else { FILE_HOLD };
        let session = wanted.session.clone();
        let mut weave = Weave::new(hold);
        // What is older needs not be held back: every host has said by then what it has.
        let began = Timestamp::from_nanos(session.began_ns);
        weave.pass_to(began);
        // What has ended is told by its own times, the same whenever and from wherever it is
        // fetched: nothing of it is yet to come.
        let span = session.ended_ns.filter(|_| session.is_complete()).map(|ended| {
            let last = Duration::from_secs(session.wish.last_s);
            (began.saturating_sub(last), Timestamp::from_nanos(ended))
        });
        if span.is_some() {
            weave.complete();
        }
        let file = WovenFile::new(wanted.output.clone(), Vec::new(), span);
        Self {
            keeper,
            gathering: (session.wish.last_s > 0).then(Gathering::new),
            weave,
            file,
            parts: Vec::new(),
            session,
            front: (Timestamp::ZERO, Instant::now()),
            after_limit: 0,
            releases: None,
            end: None,
            notes_told: 0,
            gaps: Vec::new(),
            began: Instant::now(),
            wanted,
        }
    }

    /// Fetches and weaves until the session has ended and all of it is here, or until `stop` comes
    /// a second time. At its first coming the session is ended. `tell` hears how it goes.
    ///
    /// # Errors
    /// When the session cannot be followed at all, or the file cannot be made.
    pub async fn run<S, F>(
        mut self,
        stop: S,
        mut tell: impl FnMut(Told),
    ) -> Result<SessionReceipt, RemoteError>
    where
        S: Fn() -> F,
        F: Future<Output = ()>,
    {
        let (to, mut news) = mpsc::channel(64);
        #[cfg_attr(not(feature = "s3"), allow(irrefutable_let_patterns, reason = "the only one"))]
        if let Keeper::Controller(connection) = &self.keeper {
            tokio::spawn(follow(connection.clone(), self.session.id.clone(), to.clone()));
            let is_scarce = self.session.wish.when_full == WhenFull::Drop;
            if self.wanted.releases && (is_scarce || !self.wanted.ends_session) {
                let (to, told) = mpsc::channel(16);
                tokio::spawn(release(connection.clone(), told));
                self.releases = Some(to);
            }
        }
        self.update(self.wanted.session.clone(), &to);
        self.say_notes(&mut tell);
        let mut every = tokio::time::interval(TICK);
        let mut stopping = Box::pin(stop());
        let mut is_asked = false;
        let mut ended_at: Option<Instant> = None;
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(News::Session(session)) => {
                        self.update(*session, &to);
                        self.say_notes(&mut tell);
                    }
                    Some(News::Piece(number, piece)) => self.take(number, piece),
                    Some(News::Away(number, why)) => self.away(number, why),
                    Some(News::Gone(number, why)) => self.gone(number, why),
                    // Of nothing there is no file.
                    Some(News::Refused(why)) if self.is_nothing_here() => return Err(why),
                    Some(News::Refused(why)) => {
                        tell(Told::Sentence(format!("no more of it can be fetched: {why}")));
                        self.end.get_or_insert(why.to_string());
                        break;
                    }
                    Some(News::Lost(why)) => {
                        tell(Told::Sentence(format!("the session cannot be followed: {why}")));
                        self.end.get_or_insert(why);
                        break;
                    }
                    None => break,
                },
                () = &mut stopping => {
                    if is_asked {
                        self.end.get_or_insert_with(|| "somebody would not wait".into());
                        break;
                    }
                    is_asked = true;
                    stopping = Box::pin(stop());
                    self.end.get_or_insert_with(|| "it was stopped".into());
                    self.stop_session(&mut tell).await;
                    if !self.wanted.ends_session {
                        break;
                    }
                }
                _ = every.tick() => self.tick(&mut tell),
            }
            self.gather(&mut tell);
            if self.weave_on().map_err(|error| RemoteError::Failed(error.to_string()))? {
                self.stop_session(&mut tell).await;
            }
            let is_had = |part: &Fetched| part.is_all_here || part.gone.is_some();
            if self.session.is_complete()
                && self.parts.len() == self.session.parts.len()
                && self.parts.iter().all(is_had)
            {
                break;
            }
            // A host that is away keeps its part; it can be fetched later.
            if self.session.ended.is_some() {
                let since = *ended_at.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE && self.is_nobody_coming() {
                    break;
                }
            }
        }
        self.finish(&mut tell)
    }

    /// Takes the session as it is now: begins to fetch what is new, corrects clocks.
    fn update(&mut self, session: Session, to: &mpsc::Sender<News>) {
        for part in &session.parts {
            let clock = part.clock.map(clock_of);
            let is_this =
                |known: &&Fetched| known.agent == part.agent && known.number == part.number;
            if let Some(known) = self.parts.iter().find(is_this) {
                if let Some(clock) = clock {
                    self.weave.set_clock(known.strand, clock);
                }
                continue;
            }
            // Its times mean nothing before its clock is known; a part of an agent that is away
            // has to do without.
            let is_asked = matches!(self.keeper, Keeper::Controller(..));
            if clock.is_none() && part.is_reachable && is_asked {
                continue;
            }
            let strand = self.weave.add(Origin {
                host: part.host.clone(),
                machine: part.machine_id.clone(),
                name: part.machine.clone(),
                clock: clock.unwrap_or_default(),
                is_peer: part.is_at_peer(),
            });
            let ahead = Arc::new(Semaphore::new(AHEAD));
            self.begin_fetching(part, Arc::clone(&ahead), to.clone());
            self.parts.push(Fetched {
                agent: part.agent.clone(),
                number: part.number,
                strand,
                ahead,
                owed: 0,
                is_all_here: false,
                fed_bytes: 0,
                released_bytes: 0,
                away: None,
                gone: None,
            });
        }
        if session.is_complete() && self.parts.len() == session.parts.len() {
            // Nobody comes any more for whom anything would have to be held back.
            self.weave.complete();
        }
        self.session = session;
    }

    /// Has a part fetched, as the next of our parts.
    fn begin_fetching(&self, part: &Part, ahead: Arc<Semaphore>, to: mpsc::Sender<News>) {
        let number = self.parts.len();
        match &self.keeper {
            Keeper::Controller(..) if part.freed_bytes > 0 => {
                let why = format!("its first {} bytes were fetched and released", part.freed_bytes);
                tokio::spawn(async move { to.send(News::Gone(number, why)).await });
            }
            Keeper::Controller(connection) => {
                let ask = FetchRequest {
                    session: self.session.id.clone(),
                    agent: part.agent.clone(),
                    part: part.number,
                    offset: 0,
                };
                tokio::spawn(fetch(connection.clone(), ask, number, ahead, to));
            }
            #[cfg(feature = "s3")]
            Keeper::Store(stored) => {
                if let Some(part) = stored.part(&part.agent, part.number) {
                    let bucket = Arc::clone(&stored.bucket);
                    tokio::spawn(fetch_stored(bucket, part, number, ahead, to));
                } else {
                    let why = "it was not stored".to_owned();
                    tokio::spawn(async move { to.send(News::Gone(number, why)).await });
                }
            }
        }
    }

    /// Waits until all hosts have said what they have recorded, so that nothing comes too late for
    /// its place; then says what nobody has.
    fn gather(&mut self, tell: &mut impl FnMut(Told)) {
        let Some(gathering) = &mut self.gathering else { return };
        let Some(awaited) = gathering.is_over(&self.session, self.parts.len()) else { return };
        self.gathering = None;
        if !awaited.is_empty() {
            let hosts = awaited.join(", ");
            let text = format!("not waited for what these have recorded: {hosts}");
            self.file.comment(&text);
            tell(Told::Sentence(text));
        }
        self.gaps = past::gaps(&self.session);
        for gap in &self.gaps {
            tell(Told::Sentence(gap.text.clone()));
        }
        self.gaps.sort_by_key(|gap| std::cmp::Reverse(gap.to));
    }

    fn take(&mut self, number: usize, piece: Piece) {
        let Some(part) = self.parts.get_mut(number) else { return };
        part.away = None;
        part.owed += 1;
        part.fed_bytes += piece.bytes.len() as u64;
        self.weave.set_awaited(part.strand, true);
        self.weave.feed(part.strand, piece.bytes.into());
        if piece.settled_ns > 0 && !piece.is_last {
            self.weave.settle(part.strand, Timestamp::from_nanos(piece.settled_ns));
        }
        if piece.is_last {
            self.weave.end(part.strand);
            part.is_all_here = true;
        }
    }

    fn away(&mut self, number: usize, why: String) {
        if let Some(part) = self.parts.get_mut(number) {
            let since = part.away.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            part.away = Some((since, why));
        }
    }

    /// No more of a part comes; the others do not wait for it.
    fn gone(&mut self, number: usize, why: String) {
        if let Some(part) = self.parts.get_mut(number) {
            part.gone = Some(why);
            self.weave.set_awaited(part.strand, false);
        }
    }

    /// Weaves as far as possible. Says whether the number of packets that was asked for is there.
    fn weave_on(&mut self) -> Result<bool, deliver::SinkError> {
        let mut is_full = false;
        while self.gathering.is_none() {
            let step = self.weave.next();
            if let Step::Packet(woven) = &step {
                while let Some(gap) = self.gaps.pop_if(|gap| gap.to <= woven.packet.time) {
                    self.file.comment(&gap.text);
                }
            }
            match step {
                Step::Wait => break,
                Step::Packet(_)
                    if self.wanted.packets.is_some_and(|most| self.file.written() >= most) =>
                {
                    self.after_limit += 1;
                    is_full = true;
                }
                step => {
                    if !self.file.take(step)? {
                        self.end.get_or_insert_with(|| "the output takes no more".into());
                        is_full = true;
                    }
                }
            }
        }
        for part in &mut self.parts {
            if part.owed > 0 && self.weave.waiting(part.strand) < ENOUGH {
                part.ahead.add_permits(part.owed);
                part.owed = 0;
            }
        }
        if is_full {
            self.end.get_or_insert_with(|| "the number of packets was reached".into());
        }
        Ok(is_full && self.session.ended.is_none())
    }

    fn tick(&mut self, tell: &mut impl FnMut(Told)) {
        let now = self.weave.now();
        if now > self.front.0 {
            self.front = (now, Instant::now());
        } else if now > Timestamp::ZERO {
            // Nobody settles anything while no machine runs; time goes on all the same.
            let passed = self.front.1.elapsed().saturating_sub(SILENCE);
            self.weave.pass_to(self.front.0.saturating_add(passed));
            self.front.0 = self.weave.now();
            self.front.1 += passed;
        }
        if self.wanted.is_live {
            for part in &self.parts {
                let is_long = part.away.as_ref().is_some_and(|(since, _)| since.elapsed() > LATE);
                self.weave.set_awaited(part.strand, !is_long);
            }
        }
        if let Err(error) = self.file.tick() {
            self.end.get_or_insert_with(|| format!("the output failed: {error}"));
        }
        self.release();
        let running = self.session.parts.iter().filter(|part| part.ended.is_none());
        let mut hosts: Vec<String> = running.map(|part| part.host.clone()).collect();
        hosts.sort();
        hosts.dedup();
        let lost = self.session.parts.iter().map(|part| part.kernel_dropped + part.failed).sum();
        tell(Told::Progress { packets: self.file.written(), lost, hosts });
    }

    /// Says what the hosts may forget: what was taken by the output.
    fn release(&mut self) {
        let Some(to) = &self.releases else { return };
        for part in &mut self.parts {
            // Whose bytes wait for the reader is not known; no more than these do.
            let waiting = self.weave.waiting(part.strand) as u64 + self.file.waiting_bytes();
            let taken = part.fed_bytes.saturating_sub(waiting);
            let is_worth_it = taken >= part.released_bytes + RELEASE_BYTES
                || part.is_all_here && taken > part.released_bytes;
            let release = ReleaseRequest {
                session: self.session.id.clone(),
                agent: part.agent.clone(),
                part: part.number,
                offset: taken,
            };
            // If there is much to tell, it is told together.
            if is_worth_it && to.try_send(release).is_ok() {
                part.released_bytes = taken;
            }
        }
    }

    fn say_notes(&mut self, tell: &mut impl FnMut(Told)) {
        for note in self.session.notes.iter().skip(self.notes_told) {
            let host = if note.host.is_empty() { "" } else { &format!("{}: ", note.host) };
            let text = format!("{host}{}", note.text);
            if !note.is_in_part {
                self.file.comment(&text);
            }
            tell(Told::Sentence(text));
        }
        self.notes_told = self.session.notes.len();
    }

    async fn stop_session(&mut self, tell: &mut impl FnMut(Told)) {
        if !self.wanted.ends_session || self.session.ended.is_some() {
            return;
        }
        let stopped = match &self.keeper {
            Keeper::Controller(connection) => connection.stop(&self.session.id).await,
            #[cfg(feature = "s3")]
            Keeper::Store(_) => return,
        };
        if let Err(error) = stopped {
            tell(Told::Sentence(format!(
                "the session could not be ended: {error}; it ends by itself a minute after this"
            )));
        }
    }

    /// Whether not a byte has come of any part.
    fn is_nothing_here(&self) -> bool {
        self.parts.iter().all(|part| part.fed_bytes == 0)
    }

    /// Whether every part that is not all here cannot be fetched now.
    fn is_nobody_coming(&self) -> bool {
        let fetched = self.parts.iter().all(|part| part.is_all_here || part.away.is_some());
        let ended = self.session.parts.iter();
        fetched && ended.clone().all(|part| part.ended.is_some() || !part.is_reachable)
    }

    fn finish(mut self, tell: &mut impl FnMut(Told)) -> Result<SessionReceipt, RemoteError> {
        let failed = |error: deliver::SinkError| RemoteError::Failed(error.to_string());
        // What was waited for in vain is not waited for any more.
        self.gathering = None;
        self.weave.complete();
        for part in &self.parts {
            self.weave.set_awaited(part.strand, false);
            self.weave.settle(part.strand, Timestamp::from_nanos(u64::MAX / 2));
        }
        self.weave_on().map_err(failed)?;
        self.say_notes(tell);
        let missing: BTreeMap<(String, u32), String> = self
            .parts
            .iter()
            .filter(|part| !part.is_all_here)
            .map(|part| {
                let why = part.gone.clone().unwrap_or_else(|| {
                    let why = part.away.as_ref().map_or("it was not waited for", |(_, why)| why);
                    format!("{why}; later: overtap sessions fetch {}", self.session.id)
                });
                ((part.agent.clone(), part.number), why)
            })
            .collect();
        let parts: Vec<(&Part, Option<String>)> = self
            .session
            .parts
            .iter()
            .map(|part| (part, missing.get(&(part.agent.clone(), part.number)).cloned()))
            .collect();
        let ended = self.session.ended.clone();
        let story = |written, files| Story {
            session: &self.session,
            parts: parts.clone(),
            account: self.weave.account(),
            moves: self.weave.moves().cloned().collect(),
            written,
            after_limit: self.after_limit,
            end: self.end.clone().or_else(|| ended.clone()).unwrap_or_else(|| "it was left".into()),
            files,
            seconds: self.began.elapsed().as_secs_f64(),
        };
        let within = SessionReceipt::new(story(self.file.written(), Vec::new()));
        let file = std::mem::replace(
            &mut self.file,
            WovenFile::new(self.wanted.output.clone(), Vec::new(), None),
        );
        let summary = file.finish(within.comments()).map_err(failed)?;
        let files = summary.files.iter().map(|file| file.path.clone()).collect();
        Ok(SessionReceipt::new(story(summary.totals.packets, files)))
    }
}

const TICK: Duration = Duration::from_millis(50);

/// How long packets are held back so that those of a host that begins find their place before
/// them: short where somebody looks on.
const LIVE_HOLD: Duration = Duration::from_millis(300);
const FILE_HOLD: Duration = Duration::from_secs(2);

/// How long a host that is away holds up a live stream.
const LATE: Duration = Duration::from_secs(3);

/// How long nobody may settle anything before time is taken to go on.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a host that is away is waited for once the session has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that are worth telling a host that it may forget them.
const RELEASE_BYTES: u64 = 128 << 10;

/// Bytes of a part that wait to be woven in before no more of it is fetched.
const ENOUGH: usize = 4 * 1024 * 1024;
