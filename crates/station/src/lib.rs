//! The role of a capture agent: attends a controller, captures what it is told to, and keeps the
//! packets until they are fetched.
//!
//! The [`duty`] thread knows the host's site and runs the captures; it needs no controller to go
//! on. The line to the controller ([`attend`]) comes and goes beside it; both meet at the
//! [`board`]. Packets go from the engine's file in the [`spool`] to whoever asks, on a line of
//! their own each ([`upload`]).

mod attend;
mod board;
mod duty;
mod identity;
mod kept;
mod metrics;
mod part;
mod past;
mod recorder;
mod spool;
mod upload;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use telemetry::Log;

pub use identity::{EnrolError, Identity};
pub use recorder::{RecorderKey, RecorderSettings, Wanted as RecordWanted};

use self::attend::Line;
use self::board::Board;
use self::duty::Duty;
use self::kept::Kept;
use self::metrics::Metrics;
use self::spool::Spool;

/// How an agent is run.
#[derive(Debug)]
pub struct Settings {
    /// Where it keeps its identity and its packets.
    pub folder: PathBuf,
    /// Version of the program.
    pub version: String,
    /// Where it says what happens.
    pub log: Log,
    /// Where Prometheus may ask how it is; nowhere if `None`.
    pub metrics: Option<SocketAddr>,
    /// The host's flight recorder, if it has one.
    pub recorder: Option<RecorderSettings>,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// It has no identity yet.
    #[error(transparent)]
    Identity(#[from] EnrolError),
    /// The host itself refuses something.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// Runs an agent until `is_stopped`: then its captures are ended and their receipts written.
///
/// # Errors
/// When it cannot begin. A controller that is away is none.
pub fn run(settings: &Settings, is_stopped: &Arc<AtomicBool>) -> Result<(), StationError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| StationError::Host { what, source }
    };
    api::tls::install_provider();
    let identity = Identity::open(&settings.folder)?;
    let spool = Spool::open(&settings.folder.join("spool"))
        .map_err(failed("cannot keep packets in the agent's folder"))?;
    let board = Arc::new(Board::new(spool.recovered()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let log = settings.log.of_agent(&identity.agent_id, &host);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed("cannot start threads"))?;
    if let Some(address) = settings.metrics {
        let metrics = Metrics::new(Arc::clone(&board), &spool, &settings.version);
        runtime
            .block_on(metrics.serve(address, &log))
            .map_err(failed(&format!("cannot serve metrics at {address}")))?;
    }
    let wants_key = settings
        .recorder
        .as_ref()
        .is_some_and(|recorder| matches!(recorder.key, RecorderKey::Halves(_)));
    let kept = wants_key.then(|| Kept::of(&identity.agent_id));
    if let Some(half) = kept.as_ref().and_then(Kept::read) {
        board.state().kept_half = Some(half);
    }
    let duty = {
        let (board, is_stopped, log) = (Arc::clone(&board), Arc::clone(is_stopped), log.clone());
        let recorder = settings.recorder.clone();
        let duty =
            Duty::begin(spool, board, log, recorder).map_err(failed("cannot watch the host"))?;
        thread::Builder::new()
            .name("duty".into())
            .spawn(move || duty.run(&is_stopped))
            .map_err(failed("cannot start a thread"))?
    };
    let line = Line {
        identity,
        folder: settings.folder.clone(),
        version: settings.version.clone(),
        kept,
        board,
        is_renewal_asked: false,
        log,
    };
    runtime.block_on(async {
        tokio::select! {
            () = line.attend() => {}
            // The last parts are told before the line is cut.
            () = finished(&duty) => tokio::time::sleep(FAREWELL).await,
        }
    });
    is_stopped.store(true, Ordering::Relaxed);
    // It ends by itself: a thread that panicked has said so.
    let _ = duty.join();
    Ok(())
}

async fn finished(duty: &thread::JoinHandle<()>) {
    while !duty.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// How long the line stays after the last capture has ended.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(500);
