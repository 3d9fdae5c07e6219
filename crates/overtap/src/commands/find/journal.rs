//! The journal of looks on disk: one JSON line for each look that found something new.
//!
//! Only a memory: when it cannot be read or written, `find` answers without it and says so in a
//! note. The time of the last look that found nothing new is the file's modification time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use inventory::facts::Source;
use inventory::{Change, Look, Site, Timeline};
use wire::Timestamp;

/// The looks so far, in memory and on disk.
pub(super) struct Journal {
    timeline: Timeline,
    path: Option<PathBuf>,
    note: Option<String>,
    /// A journal longer than this is folded to half of it.
    max_bytes: u64,
    /// When the time of the last look was last written.
    marked_at: Timestamp,
}

impl Journal {
    /// Reads the journal of this host, if there is one.
    pub(super) fn open(host: &str) -> Self {
        let mut journal = Self::new();
        match crate::state::directory() {
            Some(directory) => {
                let path = directory.join(file_name(host));
                journal.load(&path);
                journal.path = Some(path);
            }
            None => {
                journal.note = Some("no journal: neither HOME nor XDG_STATE_HOME is set".into());
            }
        }
        journal
    }

    fn new() -> Self {
        Self {
            timeline: Timeline::new(MAX_LOOKS),
            path: None,
            note: None,
            max_bytes: MAX_BYTES,
            marked_at: Timestamp::ZERO,
        }
    }

    fn load(&mut self, path: &Path) {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.note = Some(format!("journal not read: {}: {error}", path.display()));
                return;
            }
        };
        let last_look = file.metadata().and_then(|m| m.modified()).ok().and_then(timestamp);
        // A line that is not a look was cut by a full disk or is of another version; the others
        // still stand.
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let looks = lines.filter_map(|line| Look::decode(&line).ok());
        self.timeline = Timeline::from_looks(looks, MAX_LOOKS);
        if let Some(time) = last_look {
            self.timeline.seen_at(time);
        }
    }

    /// Takes a look; writes it down if it found anything new. Returns what that is.
    pub(super) fn record(&mut self, at: Timestamp, site: &Site) -> Vec<Change> {
        if at == Timestamp::ZERO {
            return Vec::new();
        }
        if let Some(source) = self.newly_unread(site) {
            self.note.get_or_insert(format!(
                "this look is not kept for --at: {source} could be read at the last one"
            ));
            return Vec::new();
        }
        let (look, changes) = self.timeline.record(at, site);
        if let Some(path) = &self.path
            && let Err(error) = keep(path, look.as_ref(), at, self.max_bytes)
        {
            self.note = Some(unwritten(path, &error));
        }
        changes
    }

    /// Notes that nothing new was seen up to `at`; on disk not more often than every ten seconds.
    pub(super) fn seen_at(&mut self, at: Timestamp) {
        self.timeline.seen_at(at);
        if at.since(self.marked_at) < MARK_EVERY {
            return;
        }
        self.marked_at = at;
        if let Some(path) = &self.path
            && let Err(error) = keep(path, None, at, self.max_bytes)
        {
            self.note = Some(unwritten(path, &error));
        }
    }

    /// A source that cannot be read now and could at the last look: what only it knows has not
    /// vanished.
    fn newly_unread(&self, site: &Site) -> Option<Source> {
        let last = self.timeline.looks().last()?;
        let mut failed = site.sources.iter().filter(|s| s.problem.is_some());
        let is_new = |source: &Source| !last.unread.contains(&source.to_string());
        failed.find(|s| s.source != Source::Proc && is_new(&s.source)).map(|s| s.source.clone())
    }

    /// All looks kept.
    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Why the journal could not be read or written.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

fn unwritten(path: &Path, error: &io::Error) -> String {
    format!(
        "this look is not kept for --at: cannot write {}: {error}; set OVERTAP_STATE_DIR to a \
         directory that you may write to",
        path.display()
    )
}

/// Appends a look, or marks that nothing new was found.
fn keep(path: &Path, look: Option<&Look>, at: Timestamp, max_bytes: u64) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(at.as_nanos());
    let Some(look) = look else {
        return File::options().append(true).open(path)?.set_modified(time);
    };
    let mut line = look.encode()?;
    line.push('\n');
    let mut file = open_locked(path)?;
    // One write: a reader never sees half a line, and other runs' lines stay whole.
    file.write_all(line.as_bytes())?;
    if file.metadata()?.len() > max_bytes {
        // Nobody else has the new file yet; whoever waits for the old one opens again.
        compact(path, max_bytes)?;
        return File::options().append(true).open(path)?.set_modified(time);
    }
    file.set_modified(time)
}

/// Opens the journal for appending and keeps others from replacing it.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.lock()?;
        // Another run may have replaced it while we waited.
        if is_same(&file, path) {
            return Ok(file);
        }
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// Folds the older half of the looks into one. The caller holds the lock.
fn compact(path: &Path, max_bytes: u64) -> io::Result<()> {
    let lines = BufReader::new(File::open(path)?).lines().map_while(Result::ok);
    let looks = lines.filter_map(|line| Look::decode(&line).ok());
    let mut timeline = Timeline::from_looks(looks, MAX_LOOKS);
    let mut text = String::new();
    loop {
        timeline.halve();
        text.clear();
        for look in timeline.looks() {
            text.push_str(&look.encode()?);
            text.push('\n');
        }
        if text.len() as u64 <= max_bytes / 2 || timeline.looks().count() == 1 {
            break;
        }
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

/// One file for each host, and for each network namespace somebody runs overtap in: what is seen
/// from there is another site.
fn file_name(host: &str) -> String {
    let host: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
    match (namespace("1"), namespace("self")) {
        (Some(first), Some(own)) if first != own => {
            let inode: String =
                own.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
            format!("looks-{host}-{inode}.jsonl")
        }
        _ => format!("looks-{host}.jsonl"),
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_parts(since.as_secs(), since.subsec_nanos()))
}

/// Years of a busy host.
const MAX_BYTES: u64 = 8 << 20;

/// How often the time of a look that found nothing is written while watching.
const MARK_EVERY: Duration = Duration::from_secs(10);

/// Looks held in memory at most.
const MAX_LOOKS: usize = 20_000;

#[cfg(test)]
mod tests {
    use inventory::{Host, Machine, MachineId, MachineKind, MachineState};

    use super::*;

    fn site(names: &[&str]) -> Site {
        let machine = |name: &&str| Machine {
            id: MachineId::Port((*name).to_owned()),
            name: (*name).to_owned(),
            aliases: Vec::new(),
            kind: MachineKind::Vm,
            state: MachineState::Running,
            tenant: None,
            vnics: Vec::new(),
            pid: None,
            namespace_path: None,
            since: None,
            evidence: Vec::new(),
        };
        let host = Host { name: "hv-1".to_owned() };
        Site { host, machines: names.iter().map(machine).collect(), sources: Vec::new() }
    }

    fn journal(path: &Path) -> Journal {
        let mut journal = Journal { path: Some(path.into()), ..Journal::new() };
        journal.load(path);
        journal
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_parts(1_700_000_000 + second, 0)
    }

    #[test]
    fn a_journal_is_read_back_and_grows_only_by_what_is_new() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/looks.jsonl");
        journal(&path).record(at(0), &site(&["web"]));
        let len = fs::metadata(&path).unwrap().len();
        journal(&path).record(at(60), &site(&["web"]));
        assert_eq!(fs::metadata(&path).unwrap().len(), len);
        let changes = journal(&path).record(at(90), &site(&["web", "db"]));
        assert_eq!(changes.len(), 1);
        let last = journal(&path);
        let looks: Vec<_> = last.timeline().looks().map(|l| (l.at, l.previous)).collect();
        assert_eq!(looks, [(at(0), None), (at(90), Some(at(60)))]);
        assert_eq!(last.note(), None);
    }

    #[test]
    fn a_cut_line_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("looks.jsonl");
        journal(&path).record(at(0), &site(&["web"]));
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"at\":\"2026-\n\u{0}\n");
        fs::write(&path, text).unwrap();
        journal(&path).record(at(90), &site(&["db"]));
        assert_eq!(journal(&path).timeline().looks().count(), 2);
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_a_note() {
        let mut journal = journal(Path::new("/proc/overtap/looks.jsonl"));
        journal.record(at(0), &site(&["web"]));
        assert!(
            journal
                .note()
                .unwrap()
                .starts_with("this look is not kept for --at: cannot write /proc/overtap")
        );
        assert_eq!(journal.timeline().looks().count(), 1);
    }

    #[test]
    fn a_journal_too_long_is_folded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("looks.jsonl");
        let mut writing = journal(&path);
        writing.max_bytes = 20_000;
        for second in 0..500 {
            let name = format!("machine-{second}");
            writing.record(at(second), &site(&["stays", &name]));
            assert!(fs::metadata(&path).unwrap().len() <= 20_000);
        }
        assert_eq!(writing.note(), None);
        let read_back = journal(&path);
        assert!(read_back.timeline().first() > Some(at(400)));
        let last = read_back.timeline().at(at(5000)).unwrap();
        let names: Vec<_> = last.machines.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["machine-499", "stays"]);
    }

    #[test]
    fn runs_at_once_do_not_tear_each_others_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("looks.jsonl");
        std::thread::scope(|scope| {
            for run in 0..4_u64 {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..50 {
                        let name = format!("vm-{run}-{n}");
                        journal(path).record(at(run * 1000 + n), &site(&[&name]));
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|l| Look::decode(l).is_ok()).count(), text.lines().count());
        assert_eq!(text.lines().count(), 200);
    }
}
