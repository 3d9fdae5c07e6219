//! The line to the controller: tells it what is on the board, puts its orders there, and comes
//! back whenever it was cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::document::Orders;
use api::proto::from_agent::Said;
use api::proto::{FromAgent, Hello, Pong, SendPart, ToAgent, to_agent};
use api::tls::ConnectError;
use inventory::Timeline;
use recorder::KeptHalf;
use telemetry::{Event, Log};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::board::Board;
use crate::identity::{EnrolError, Identity, client};
use crate::kept::Kept;
use crate::part::now_ns;
use crate::upload::Upload;

/// The line, and what is at this end.
pub(crate) struct Line {
    /// Who we are.
    pub(crate) identity: Identity,
    /// Where that is kept.
    pub(crate) folder: PathBuf,
    /// Version of the program.
    pub(crate) version: String,
    /// Where the controller's half of the recorder's key outlives this process; `None` if it is not
    /// asked for.
    pub(crate) kept: Option<Kept>,
    /// What there is to tell.
    pub(crate) board: Arc<Board>,
    /// Whether the controller has asked for the certificate to be renewed.
    pub(crate) is_renewal_asked: bool,
    /// The log.
    pub(crate) log: Log,
}

/// Why the line was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The certificates.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The controller, or the way to it.
    #[error("{}", said(.0))]
    Status(#[from] Status),
    /// A file of the spool.
    #[error("a file of the spool: {0}")]
    File(#[from] io::Error),
    /// A file of the spool is shorter than it was.
    #[error("{} is shorter than it was", .0.display())]
    Shorter(PathBuf),
    /// The controller hung up.
    #[error("the controller has closed the line")]
    Closed,
    /// The certificate is to be renewed.
    #[error("the certificate is to be renewed")]
    RenewalDue,
    /// The certificate could not be renewed.
    #[error("the certificate: {0}")]
    Renewal(#[from] EnrolError),
}

/// What this line has told already.
#[derive(Default)]
struct Told {
    timeline: Option<Timeline>,
    sources: String,
    parts: BTreeMap<(String, u32), u64>,
    looked: BTreeSet<String>,
    notes: usize,
}

impl Line {
    /// Attends the controller for ever.
    pub(crate) async fn attend(mut self) {
        let mut wait = FIRST_WAIT;
        let mut told = String::new();
        self.post_certificate();
        loop {
            let began = std::time::Instant::now();
            let Err(error) = self.once().await;
            self.board.state().is_attending = false;
            if began.elapsed() > LONGEST_WAIT {
                wait = FIRST_WAIT;
                told.clear();
            }
            let text = error.to_string();
            if text != told && !matches!(error, LineError::RenewalDue) {
                let address = &self.identity.controller.address;
                let sentence = format!("no line to the controller at {address}: {text}");
                self.log.say(Event::warn(sentence));
                told = text;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn once(&mut self) -> Result<std::convert::Infallible, LineError> {
        if self.is_renewal_asked || jiff::Timestamp::now() >= self.identity.renew_at()? {
            self.identity = self.identity.renew(&self.folder).await?;
            self.is_renewal_asked = false;
            self.log.say(Event::info("the certificate was renewed"));
            self.post_certificate();
        }
        let channel = self.identity.channel()?;
        let (sender, outgoing) = mpsc::channel(64);
        let hello = Hello {
            version: self.version.clone(),
            host: self.host(),
            wants_key: self.kept.is_some(),
        };
        send(&sender, Said::Hello(hello)).await?;
        let mut incoming =
            client(channel).attend(ReceiverStream::new(outgoing)).await?.into_inner();
        let address = &self.identity.controller.address;
        self.log.say(Event::info(format!("attending the controller at {address}")));
        self.board.state().is_attending = true;
        let mut bell = self.board.bell();
        let mut told = Told::default();
        self.tell(&sender, &mut told).await?;
        let renewal = self.renewal()?;
        tokio::pin!(renewal);
        loop {
            tokio::select! {
                message = incoming.message() => {
                    let Some(message) = message? else { return Err(LineError::Closed) };
                    self.hear(message, &sender).await?;
                }
                _ = bell.changed() => self.tell(&sender, &mut told).await?,
                () = &mut renewal => return Err(LineError::RenewalDue),
            }
        }
    }

    /// Says on the board until when the certificate is good.
    fn post_certificate(&self) {
        self.board.state().certificate_until = self.identity.not_after().ok();
    }

    fn host(&self) -> String {
        self.board.state().site.host.name.clone()
    }

    /// Ends when it is time for the next certificate.
    fn renewal(&self) -> Result<tokio::time::Sleep, LineError> {
        let left = self.identity.renew_at()?.duration_since(jiff::Timestamp::now());
        Ok(tokio::time::sleep(left.try_into().unwrap_or_default()))
    }

    /// Tells what has changed since it was told last.
    async fn tell(&self, to: &mpsc::Sender<FromAgent>, told: &mut Told) -> Result<(), LineError> {
        for said in self.news(told) {
            send(to, said).await?;
        }
        Ok(())
    }

    fn news(&self, told: &mut Told) -> Vec<Said> {
        let mut news = Vec::new();
        let state = self.board.state();
        let timeline = told.timeline.get_or_insert_with(|| Timeline::new(1));
        if let (Some(look), _) = timeline.record(state.seen_at, &state.site)
            && let Ok(look) = look.encode()
        {
            news.push(Said::LookJson(look));
        }
        if let Ok(sources) = serde_json::to_string(&problems(&state.site))
            && sources != told.sources
        {
            news.push(Said::SourcesJson(sources.clone()));
            told.sources = sources;
        }
        for (key, posted) in &state.parts {
            if told.parts.get(key) != Some(&posted.changed)
                && let Ok(part) = serde_json::to_string(&posted.part)
            {
                told.parts.insert(key.clone(), posted.changed);
                news.push(Said::PartJson(part));
            }
        }
        told.parts.retain(|key, _| state.parts.contains_key(key));
        // Behind the parts: whoever hears it knows them all.
        for session in state.looked.difference(&told.looked) {
            news.push(Said::Looked(session.clone()));
        }
        told.looked.clone_from(&state.looked);
        // Where old ones were dropped, all that is left is told again; the controller knows them.
        let from = if told.notes > state.notes.len() { 0 } else { told.notes };
        for note in state.notes.iter().skip(from) {
            news.extend(serde_json::to_string(note).map(Said::NoteJson));
        }
        told.notes = state.notes.len();
        news
    }

    async fn hear(
        &mut self,
        message: ToAgent,
        to: &mpsc::Sender<FromAgent>,
    ) -> Result<(), LineError> {
        match message.said {
            Some(to_agent::Said::Ping(ping)) => {
                let now = now_ns();
                self.board.state().ahead_ns =
                    now.cast_signed().wrapping_sub_unsigned(ping.asked_ns);
                let pong = Pong { asked_ns: ping.asked_ns, received_ns: now, answered_ns: now };
                send(to, Said::Pong(pong)).await?;
            }
            Some(to_agent::Said::OrdersJson(orders)) => {
                match serde_json::from_str::<Orders>(&orders) {
                    Ok(orders) => {
                        self.board.change(|state| state.orders = Some(Arc::new(orders)));
                    }
                    Err(error) => {
                        let text = format!("orders that make no sense: {error}");
                        self.log.say(Event::error(text));
                    }
                }
            }
            Some(to_agent::Said::Send(wanted)) => self.upload(wanted),
            Some(to_agent::Said::Release(released)) => {
                let mut state = self.board.state();
                let key = (released.session, released.part);
                if state.parts.contains_key(&key) {
                    let offset = state.released.entry(key).or_default();
                    *offset = released.offset.max(*offset);
                }
            }
            Some(to_agent::Said::RecorderKey(half)) => match half.as_ref().try_into() {
                Ok(half) => {
                    let half = KeptHalf::new(half);
                    if let Some(Err(error)) = self.kept.as_ref().map(|kept| kept.write(&half)) {
                        let text = format!(
                            "started while its controller is away, this agent will record \
                             nothing: {error}"
                        );
                        self.log.say(Event::warn(text));
                    }
                    self.board.change(|state| state.kept_half = Some(half));
                }
                Err(_) => {
                    self.log.say(Event::error("half a key for the recorder that is none"));
                }
            },
            Some(to_agent::Said::Renew(_)) => {
                self.is_renewal_asked = true;
                return Err(LineError::RenewalDue);
            }
            // A newer controller says more.
            None => {}
        }
        Ok(())
    }

    fn upload(&self, wanted: SendPart) {
        let (path, reached) = {
            let state = self.board.state();
            let Some(posted) = state.parts.get(&(wanted.session.clone(), wanted.part)) else {
                return;
            };
            if wanted.offset < posted.part.freed_bytes {
                // There is a hole, which nobody may take for packets.
                return;
            }
            (posted.path.clone(), posted.reached.subscribe())
        };
        let offset = wanted.offset.min(reached.borrow().bytes);
        let upload = Upload { transfer: wanted.transfer, path, reached, offset };
        let (identity, log) = (self.identity.clone(), self.log.clone());
        tokio::spawn(async move {
            if let Err(error) = upload.run(&identity).await {
                let text = format!("packets could not be sent: {error}");
                log.say(Event::warn(text).session(&wanted.session));
            }
        });
    }
}

async fn send(to: &mpsc::Sender<FromAgent>, said: Said) -> Result<(), LineError> {
    to.send(FromAgent { said: Some(said) }).await.map_err(|_| LineError::Closed)
}

/// The sources of the inventory that have something to complain of. Their times alone are no news.
fn problems(site: &inventory::Site) -> Vec<String> {
    let complaints = site.sources.iter();
    complaints.filter_map(|s| Some(format!("{}: {}", s.source, s.problem.as_ref()?))).collect()
}

fn said(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    if api::tls::is_other_authority(&text) {
        text += "; if its authority was rotated and this agent was away meanwhile, enrol it again";
    }
    text
}

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
