//! What is mirrored on this host, written down before it is: one file for each mirror.
//!
//! Beside each file is another that its watcher keeps locked as long as it lives, whatever kills it.
//! A mirror whose lock is free has no watcher: it is removed by the handles in its file.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ovs::{self, OvnHandle, OvsHandle};
use super::random_hex;
use super::tap::{self, DeviceHandle, FilterHandle};

/// The directory where mirrors are written down.
#[derive(Debug, Clone)]
pub struct Register {
    directory: PathBuf,
}

/// A mirror, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is called: 8 hexadecimal digits.
    pub id: String,
    /// The VMs, as they were selected.
    pub selection: String,
    /// Only these packets; empty for all.
    pub expression: String,
    /// Where to, as it was given.
    pub to: String,
    /// What makes the copies: `ovs`, `ovn` or `tc`.
    pub means: String,
    /// The host it was made on.
    pub host: String,
    /// The process that watches it, within its own process namespace.
    pub watcher: u32,
    /// When it was asked for, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// When it ends by itself, the same way.
    pub until_ms: Option<u64>,
    /// How it is.
    pub state: State,
    /// What is mirrored now: `web/net0 @ tap-web`.
    pub sources: Vec<String>,
    /// What a person should know about it.
    pub notes: Vec<String>,
    /// What was copied so far.
    pub counts: Counts,
    /// What has to be removed for it to be gone.
    pub handles: Vec<Handle>,
}

/// How a mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Being made.
    Starting,
    /// Made, and read back.
    Mirroring,
    /// None of its VMs is here; nothing is mirrored until one comes.
    Waiting,
}

/// What a mirror has copied, as its means counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Copies made.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that could not be sent; `None` where the means does not count them.
    pub failed: Option<u64>,
    /// When the means counted last, in milliseconds since 1970; 0 if never.
    pub at_ms: u64,
}

/// Something on the host that belongs to a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handle {
    /// Rows of Open vSwitch's database.
    OpenVSwitch(OvsHandle),
    /// Rows of OVN's northbound database.
    Ovn(OvnHandle),
    /// A filter of traffic control.
    Filter(FilterHandle),
    /// A device that was made for the mirror.
    Device(DeviceHandle),
}

/// A place in the register, held by the watcher of one mirror.
#[derive(Debug)]
pub struct Slot {
    directory: PathBuf,
    /// What is written down.
    pub record: Record,
    /// Locked as long as we live.
    _lock: File,
}

/// A mirror of the register, and whether somebody watches it.
#[derive(Debug)]
pub struct Listed {
    /// What is written down.
    pub record: Record,
    /// Whether its watcher lives.
    pub is_watched: bool,
}

/// What became of a mirror without a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    /// Which.
    pub id: String,
    /// What it was: `web to vxlan://10.0.0.9?vni=7`.
    pub what: String,
    /// Why it could not be removed; `None` if it is gone.
    pub problem: Option<String>,
}

impl Register {
    /// The register in this directory, which is made with the first mirror.
    pub fn new(state_directory: &Path) -> Self {
        Self { directory: state_directory.join("mirrors") }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes a place for a mirror; its id is new.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn take(&self, record: impl FnOnce(String) -> Record) -> io::Result<Slot> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let id = random_hex(4)?;
        let lock = self.path(&id, "lock");
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(lock)?;
        lock.lock()?;
        let directory = self.directory.clone();
        let mut slot = Slot { directory, record: record(id), _lock: lock };
        slot.save()?;
        Ok(slot)
    }

    /// All mirrors, the oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read; that there is none is no error.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_record = path.extension().is_some_and(|extension| extension == "json");
            let Some(record) = is_record.then(|| read(&path)).flatten() else { continue };
            let is_watched = matches!(self.lock(&record.id), Ok(None));
            listed.push(Listed { record, is_watched });
        }
        listed.sort_by(|a, b| {
            (a.record.made_at_ms, &a.record.id).cmp(&(b.record.made_at_ms, &b.record.id))
        });
        Ok(listed)
    }

    /// Asks the watcher of a mirror to remove it and end.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn ask_to_end(&self, id: &str) -> io::Result<()> {
        File::create(self.path(id, "end")).map(|_| ())
    }

    /// Takes back what [`ask_to_end`](Self::ask_to_end) has written, if nobody is there to read it.
    pub fn forget_wish(&self, id: &str) {
        if !self.path(id, "json").exists() {
            let _ = fs::remove_file(self.path(id, "end"));
        }
    }

    /// Removes every mirror whose watcher is gone, or only the one with this id.
    ///
    /// # Errors
    /// When the register cannot be read.
    pub fn reap(&self, only: Option<&str>) -> io::Result<Vec<Reaped>> {
        let mut reaped = Vec::new();
        for listed in self.list()? {
            let id = &listed.record.id;
            if only.is_some_and(|only| only != id) {
                continue;
            }
            let Ok(Some(lock)) = self.lock(id) else { continue };
            // Another may have reaped it before we had the lock.
            let Some(record) = read(&self.path(id, "json")) else { continue };
            let what = format!("{} to {}", record.selection, record.to);
            let id = record.id.clone();
            let mut slot = Slot { directory: self.directory.clone(), record, _lock: lock };
            reaped.push(Reaped { id, what, problem: slot.remove_handles().err() });
            if slot.record.handles.is_empty() {
                slot.forget();
            }
        }
        Ok(reaped)
    }

    /// The lock of a mirror that nobody watches; `None` if somebody does.
    fn lock(&self, id: &str) -> io::Result<Option<File>> {
        // Somebody may have removed its file, but not made one for a mirror that is gone.
        let is_there = self.path(id, "json").exists();
        let path = self.path(id, "lock");
        let lock = OpenOptions::new()
            .create(is_there)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn path(&self, id: &str, extension: &str) -> PathBuf {
        self.directory.join(format!("{id}.{extension}"))
    }
}

impl Slot {
    /// Whether somebody has asked for the end.
    pub fn is_asked_to_end(&self) -> bool {
        self.path("end").exists()
    }

    /// The register's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes down a handle before the thing it names is made. On the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written: then nothing may be made.
    pub fn add_handle(&mut self, handle: Handle) -> io::Result<()> {
        self.record.handles.push(handle);
        self.save()?;
        // Its name, too: Open vSwitch keeps what is made over a loss of power.
        File::open(&self.directory)?.sync_all()
    }

    /// Forgets a handle whose thing is gone.
    ///
    /// # Errors
    /// When that cannot be written; harmless, as the thing is not there.
    pub fn remove_handle(&mut self, handle: &Handle) -> io::Result<()> {
        self.record.handles.retain(|known| known != handle);
        self.save()
    }

    /// Writes down what has changed, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.record)?;
        let new = self.path("new");
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&new, self.path("json"))
    }

    /// Removes everything that the handles name, and forgets what is gone.
    ///
    /// # Errors
    /// Why something is not gone, in a sentence.
    pub fn remove_handles(&mut self) -> Result<(), String> {
        let mut problem = None;
        for handle in self.record.handles.clone() {
            match handle.remove() {
                Ok(()) => {
                    // What is gone may be written down as there; it is only looked for again.
                    let _ = self.remove_handle(&handle);
                }
                Err(sentence) => problem = Some(sentence),
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// Takes the mirror out of the register: all of it is gone.
    pub fn forget(self) {
        // The lock's file last: without a record it means nothing.
        for extension in ["json", "new", "end", "log", "lock"] {
            let _ = fs::remove_file(self.path(extension));
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.record.id))
    }
}

impl Handle {
    /// Removes what it names, if it is there, and waits until it is gone.
    fn remove(&self) -> Result<(), String> {
        match self {
            Self::OpenVSwitch(handle) => ovs::remove(handle).map_err(|error| error.to_string()),
            Self::Ovn(handle) => ovs::remove_of_ovn(handle).map_err(|error| error.to_string()),
            Self::Filter(handle) => tap::remove_filter(handle),
            Self::Device(handle) => tap::remove_device(handle),
        }
    }
}

/// A record; `None` if it cannot be read, as when it is gone or of a version to come.
fn read(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: String) -> Record {
        Record {
            id,
            selection: "web".into(),
            expression: String::new(),
            to: "port:x".into(),
            means: "ovs".into(),
            host: "h1".into(),
            watcher: 1,
            made_at_ms: 1,
            until_ms: None,
            state: State::Starting,
            sources: Vec::new(),
            notes: Vec::new(),
            counts: Counts::default(),
            handles: Vec::new(),
        }
    }

    #[test]
    fn a_mirror_is_watched_as_long_as_its_slot_lives() {
        let directory = tempfile::tempdir().unwrap();
        let register = Register::new(directory.path());
        assert!(register.list().unwrap().is_empty());
        let slot = register.take(record).unwrap();
        assert!(register.list().unwrap()[0].is_watched);
        assert!(register.reap(None).unwrap().is_empty());
        assert!(!slot.is_asked_to_end());
        register.ask_to_end(&slot.record.id).unwrap();
        assert!(slot.is_asked_to_end());
        drop(slot);
        assert!(!register.list().unwrap()[0].is_watched);
        let reaped = register.reap(None).unwrap();
        assert_eq!((reaped.len(), &reaped[0].problem), (1, &None));
        assert!(register.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(register.directory()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_handle_that_cannot_be_removed_keeps_its_record() {
        let directory = tempfile::tempdir().unwrap();
        let register = Register::new(directory.path());
        let mut slot = register.take(record).unwrap();
        let handle =
            OvsHandle::new(directory.path().join("db.sock"), "d".into(), "br0".into()).unwrap();
        slot.add_handle(Handle::OpenVSwitch(handle)).unwrap();
        drop(slot);
        let reaped = register.reap(None).unwrap();
        assert!(reaped[0].problem.as_ref().unwrap().contains("db.sock"), "{reaped:?}");
        assert_eq!(register.list().unwrap().len(), 1, "it is tried again");
        assert!(register.reap(Some("other")).unwrap().is_empty());
    }
}
