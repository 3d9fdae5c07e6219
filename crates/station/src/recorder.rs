//! The host's flight recorder: where it is, what opens it, and, where the agent itself runs it, its
//! run.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::recorder::{HostHalf, KeptHalf, KeyRing};
use agent::{Output, Place, Recording, RecordingWanted, Rotation, Selection, StoreOrder};
use pipeline::Limits;
use platform::LiveSite;
use select::Resolved;
use telemetry::{Event, Log};

/// Where a host's recorder keeps its packets, and who runs it.
#[derive(Debug, Clone)]
pub struct RecorderSettings {
    /// Its directory.
    pub directory: PathBuf,
    /// What opens it.
    pub key: RecorderKey,
    /// What the agent shall record there; nothing where somebody else does.
    pub record: Option<Wanted>,
}

/// What opens a recorder.
#[derive(Debug, Clone)]
pub enum RecorderKey {
    /// A file with the whole key.
    File(PathBuf),
    /// Half a key in a file; the controller has the other half and can take it away.
    Halves(PathBuf),
}

/// What an agent shall record.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which machines.
    pub selection: Selection,
    /// Bytes that the directory may have.
    pub max_bytes: u64,
    /// How old a packet may get.
    pub max_age: Option<Duration>,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
}

impl RecorderSettings {
    /// The keys, with the controller's half where it needs one.
    ///
    /// # Errors
    /// When they are not there, in a sentence.
    pub(crate) fn keys(&self, kept: Option<&KeptHalf>) -> Result<KeyRing, String> {
        let keys = match (&self.key, kept) {
            (RecorderKey::File(path), _) => KeyRing::read(path),
            (RecorderKey::Halves(_), None) => {
                return Err("the controller has not said its half of the recorder's key since this host was \
                     started"
                    .into());
            }
            (RecorderKey::Halves(path), Some(kept)) => {
                HostHalf::read_or_make(path).map(|half| half.with(kept))
            }
        };
        keys.map_err(|error| error.to_string())
    }
}

/// The recorder that the agent runs.
#[derive(Debug)]
pub(crate) struct Recorder {
    settings: RecorderSettings,
    wanted: Wanted,
    running: Option<Running>,
    /// When it may begin again.
    again: Instant,
    /// What was said last of why it does not record.
    told: String,
    log: Log,
}

#[derive(Debug)]
struct Running {
    recording: Recording,
    /// The controller's half of its key.
    kept: Option<KeptHalf>,
    is_ending: bool,
}

impl Recorder {
    /// The recorder of these settings, if the agent shall run one.
    pub(crate) fn new(settings: &RecorderSettings, log: Log) -> Option<Self> {
        Some(Self {
            settings: settings.clone(),
            wanted: settings.record.clone()?,
            running: None,
            again: Instant::now(),
            told: String::new(),
            log,
        })
    }

    /// Does what is due: begins, follows the site, begins anew under another key.
    pub(crate) fn turn(&mut self, kept: Option<&KeptHalf>, live: &LiveSite, is_site_new: bool) {
        if let Some(running) = &mut self.running {
            // What it has recorded until now nobody can read any more.
            let is_revoked = kept.is_some() && kept != running.kept.as_ref();
            if is_revoked && !running.is_ending {
                self.log.say(Event::warn("the recorder's key was revoked; it begins anew"));
                self.end();
            } else if is_site_new {
                self.compare(live);
            }
        } else if Instant::now() >= self.again {
            self.again = Instant::now() + RETRY_AFTER;
            match self.begin(kept) {
                Ok(running) => {
                    self.told.clear();
                    self.running = Some(running);
                    let text = format!("recording {}", self.wanted.selection);
                    self.log.say(Event::info(text));
                    self.compare(live);
                }
                Err(error) if error != self.told => {
                    self.log.say(Event::warn(format!("nothing is recorded: {error}")));
                    self.told = error;
                }
                Err(_) => {}
            }
        }
        self.listen();
    }

    /// Asks for the end of what runs.
    pub(crate) fn end(&mut self) {
        if let Some(running) = &mut self.running {
            running.is_ending = true;
            // An engine that cannot be told is gone, which shows at the next turn.
            let _ = running.recording.stop();
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.listen();
        self.running.is_none()
    }

    fn begin(&self, kept: Option<&KeptHalf>) -> Result<Running, String> {
        let directory = &self.settings.directory;
        let keys = self.settings.keys(kept)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let wanted = RecordingWanted {
            selection: self.wanted.selection.clone(),
            place: Place::Best,
            filter: None,
            explained: Resolved::default(),
            snaplen: self.wanted.snaplen,
            limits: Limits::default(),
            output: Output {
                path: Some(directory.clone()),
                force: false,
                rotation: Rotation::default(),
                min_free_bytes: agent::default_reserve(&directory.join(".")),
                room_bytes: None,
                is_nothing: false,
                store: Some(StoreOrder {
                    keys,
                    max_bytes: self.wanted.max_bytes,
                    max_age_s: self.wanted.max_age.map(|age| age.as_secs().max(1)),
                }),
            },
            buffer_bytes: RING_BYTES,
        };
        let recording = Recording::start(wanted).map_err(|error| error.to_string())?;
        Ok(Running { recording, kept: kept.cloned(), is_ending: false })
    }

    fn compare(&mut self, live: &LiveSite) {
        let Some(running) = self.running.as_mut().filter(|running| !running.is_ending) else {
            return;
        };
        // An engine that cannot be told is gone, which shows when it is listened to.
        let said = running.recording.compare(live.site(), live.changed_at());
        for sentence in said.unwrap_or_default() {
            self.log.say(Event::info(format!("recorder: {sentence}")));
        }
    }

    /// Hears what its engine says.
    fn listen(&mut self) {
        let Some(running) = &mut self.running else { return };
        loop {
            let end = match running.recording.next(Duration::ZERO) {
                Ok(None) => return,
                Ok(Some(agent::Event::Said(text))) => {
                    self.log.say(Event::warn(format!("recorder: {text}")));
                    continue;
                }
                Ok(Some(agent::Event::Ended(outcome))) => outcome.end.to_string(),
                Ok(Some(_)) => continue,
                Err(error) => error.to_string(),
            };
            if !running.is_ending {
                self.log.say(Event::error(format!("the recorder has ended: {end}")));
            }
            self.running = None;
            return;
        }
    }
}

/// Kernel memory for each interface.
const RING_BYTES: u64 = 4 << 20;
const RETRY_AFTER: Duration = Duration::from_secs(2);
