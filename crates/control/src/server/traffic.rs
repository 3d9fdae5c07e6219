//! Questions about traffic: who may ask, what they may see of the answer, and that they asked.
//!
//! The controller makes no flows and takes none in: `overtap collect` does, and this reads the
//! store it writes. Decision 0020 says why.

mod exporters;
#[cfg(feature = "flow-store")]
mod store;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::proto::TrafficReply;
use api::traffic::{Answer as Told, Question, What};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit::{Action, Answer, Draft, Who};
use crate::grants::TrafficGrant;

use super::desk::{Asker, Desk, broken, draft, facts};

/// Where what is known of traffic is.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// The store of flows; nobody is told of any if `None`.
    pub flows: Option<PathBuf>,
    /// The directory in which the collector remembers exporters.
    pub exporters: Option<PathBuf>,
}

/// Answers that come.
pub(super) type Replies = ReceiverStream<Result<TrafficReply, Status>>;

/// Who asks about traffic, and of what.
pub(super) struct Asking {
    traffic: Traffic,
    /// Questions that are answered at the same time.
    sums: Arc<Semaphore>,
    /// The same of those whose answers are as long as somebody takes to read them.
    flows: Arc<Semaphore>,
    /// What was noted of late.
    noted: Mutex<HashMap<String, Instant>>,
}

impl Asking {
    pub(super) fn new(traffic: Traffic) -> Self {
        Self {
            traffic,
            sums: Arc::new(Semaphore::new(MOST_SUMS)),
            flows: Arc::new(Semaphore::new(MOST_FLOWS)),
            noted: Mutex::default(),
        }
    }

    /// Where what is known is.
    pub(super) const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Whether this was not noted within the last hour.
    fn is_new(&self, what: String) -> bool {
        let now = Instant::now();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, then| now.duration_since(*then) < NOTED_FOR);
        // Of too many different ones each is noted.
        if noted.len() >= MOST_NOTED {
            return !noted.contains_key(&what);
        }
        noted.insert(what, now).is_none()
    }
}

/// What a question may be answered with.
pub(super) struct Seen {
    /// Everything if `None`.
    #[cfg_attr(not(feature = "flow-store"), expect(dead_code, reason = "there is no store"))]
    pub(super) granted: Option<Arc<TrafficGrant>>,
}

/// Answers a question of `asker`.
pub(super) async fn ask(
    desk: &Arc<Desk>,
    asker: &Asker,
    question_json: &str,
) -> Result<Replies, Status> {
    let question: Question = serde_json::from_str(question_json)
        .map_err(|error| Status::invalid_argument(format!("the question: {error}")))?;
    let seen = seen(desk, asker, &question)?;
    let asking = &desk.asking;
    let is_long = matches!(question.what, What::Flows { .. });
    let places = if is_long { &asking.flows } else { &asking.sums };
    let place = tokio::time::timeout(WAIT, Arc::clone(places).acquire_owned()).await;
    let place = place.ok().and_then(Result::ok).ok_or_else(|| {
        Status::resource_exhausted("too many ask about traffic at this time; try again")
    })?;
    let (to, replies) = mpsc::channel(2);
    let traffic = asking.traffic.clone();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut tell = |told: &Told| {
            let reply = serde_json::to_string(told)
                .map(|answer_json| TrafficReply { answer_json })
                .map_err(|error| Status::internal(error.to_string()));
            to.blocking_send(reply).is_ok()
        };
        let answered = match question.what {
            What::Exporters => exporters::answer(traffic.exporters.as_deref(), &mut tell),
            _ => answer(&traffic, &question, &seen, &mut tell),
        };
        if let Err(status) = answered {
            // Nobody listens any more if it fails.
            let _ = to.blocking_send(Err(status));
        }
    });
    Ok(ReceiverStream::new(replies))
}

pub(super) use exporters::read as read_exporters;
#[cfg(feature = "flow-store")]
use store::answer;
#[cfg(feature = "flow-store")]
pub(super) use store::new_talkers;

#[cfg(not(feature = "flow-store"))]
fn answer(
    _: &Traffic,
    _: &Question,
    _: &Seen,
    _: &mut dyn FnMut(&Told) -> bool,
) -> Result<(), Status> {
    Err(Status::unimplemented(
        "this controller was built without the store of flows (the feature `flow-store`)",
    ))
}

/// What `asker` may see of it; it is in the audit log either way.
fn seen(desk: &Desk, asker: &Asker, question: &Question) -> Result<Seen, Status> {
    let grants = desk.grants()?;
    let granted = grants.traffic(&asker.user, Timestamp::now());
    let is_everything = granted.as_ref().is_some_and(TrafficGrant::is_everything);
    let refusal = match &question.what {
        What::Exporters if !is_everything => Some(
            "exporters are shown to those with a grant to capture all machines: overtap grants \
             add USER --machine all",
        ),
        _ if granted.is_none() => Some(
            "no grant shows you traffic; one to capture a machine, without a reason, shows its \
             flows: overtap grants add USER --machine MACHINE",
        ),
        _ => None,
    };
    let answer = match refusal {
        Some(because) => Answer::Refused { because: because.to_owned() },
        None => Answer::Granted,
    };
    let (name, subject) = (&asker.user.name, subject(question));
    let place = asker.from.rsplit_once(':').map_or(asker.from.as_str(), |(address, _)| address);
    if refusal.is_some() || desk.asking.is_new(format!("{name} {place} {subject}")) {
        let who = Who::User(name.clone());
        let from = asker.from.clone();
        let entry = Draft { who, from, subject, ..draft(Action::Traffic, answer) };
        desk.note(&entry).map_err(|error| broken(&error))?;
    }
    match (refusal, granted) {
        (None, Some(_)) if is_everything => Ok(Seen { granted: None }),
        (None, Some(mut granted)) => {
            if granted.has_ids() {
                let history = desk.state().fleet.history(|_| true);
                let known = history.episodes().iter().map(|episode| facts(&episode.machine));
                granted.learn(&known.collect());
            }
            Ok(Seen { granted: Some(Arc::new(granted)) })
        }
        (because, _) => Err(Status::permission_denied(because.unwrap_or_default())),
    }
}

/// What it is about, beside the time.
fn subject(question: &Question) -> String {
    let what = match &question.what {
        What::Top { by, .. } => format!("top {}", by.name()),
        What::Pairs { by, .. } => format!("pairs of {}", by.name()),
        What::Series { .. } => "sums over time".to_owned(),
        What::Flows { .. } | What::Largest { .. } => "flows".to_owned(),
        What::Exporters => "exporters".to_owned(),
    };
    let conditions = question.conditions.iter().map(|condition| format!(" {condition}"));
    what + &conditions.collect::<String>()
}

/// Scans at the same time: each takes a core.
const MOST_SUMS: usize = 4;
const MOST_FLOWS: usize = 4;
/// How long a question waits for its turn.
const WAIT: Duration = Duration::from_secs(20);
const NOTED_FOR: Duration = Duration::from_secs(3600);
const MOST_NOTED: usize = 10_000;
