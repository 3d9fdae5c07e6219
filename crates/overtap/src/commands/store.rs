//! The store of flows: where it is, what is kept, what it is asked; or what the controller is asked
//! of its own.

mod far;
mod rows;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flows::{By, Matrix, RowSink, Summary};
use flowstore::{
    Ask, Condition, Filter, Keep, Kept, Kind, Reader, RowWriter, Source, Store, StoreError,
    Subject, TableColumn,
};
use serde_json::{Map, Value};
use wire::Timestamp;

use super::extract::words;
use super::flows::Form;
use crate::controller::{Far, login};
use crate::exit::{Exit, WrongUsage};
use crate::quantity::{parse_bytes, parse_duration};

/// A store that flows go to.
#[derive(clap::Args)]
pub(crate) struct Keeping {
    /// Keep flows in the store in this directory, which is made if need be.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// How long and how much the store keeps: `flows=30d,50GiB`, of one sum `vms/minute=14d`, of
    /// all of them `minute=14d`; may be given several times, and is remembered.
    #[arg(long, value_name = "KIND=AGE[,SIZE]", requires = "store", value_parser = parse_keep)]
    keep: Vec<Kinds>,
}

/// A store that flows go to, or that is asked.
#[derive(clap::Args)]
pub(crate) struct Stored {
    #[command(flatten)]
    keeping: Keeping,

    /// Ask the store, or the controller, about the time up to now: 10m, 24h, 7d.
    #[arg(long, value_name = "TIME", value_parser = parse_duration,
          conflicts_with_all = ["at", "since", "until"])]
    last: Option<Duration>,

    /// Ask about this moment, for sums about the minute it is in.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time,
          conflicts_with_all = ["since", "until"])]
    at: Option<Timestamp>,

    /// Ask only about flows with this: vm, host, tenant, address, mac, client, server,
    /// port, app, split or point; may be given several times, then all must hold.
    #[arg(long = "where", value_name = "WORD=VALUE")]
    conditions: Vec<Condition>,

    /// Add up the rows of the store, also where there are sums.
    #[arg(long)]
    rows: bool,
}

impl Keeping {
    /// Whether one is named.
    pub(crate) const fn is_named(&self) -> bool {
        self.store.is_some()
    }

    /// The store, if one is named, ready to take rows.
    pub(crate) fn open(&self) -> anyhow::Result<Option<Writing>> {
        let Some(folder) = &self.store else { return Ok(None) };
        let keep: Vec<(Kept, Keep)> = self.keep.iter().flat_map(|kinds| kinds.0.clone()).collect();
        let store = Store::open(folder, &keep, now())?;
        Ok(Some(Writing { store, folder: folder.clone(), exit: Exit::Done }))
    }
}

impl Stored {
    pub(crate) const fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// What is asked, if a store is named.
    pub(crate) fn asked(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> anyhow::Result<Option<Asked<'_>>> {
        let place = match self.keeping.store.as_deref() {
            Some(folder) => Place::Folder(folder),
            None => match login(false)? {
                Some(login) => Place::Controller(Box::new(Far::at(login)?)),
                None => return Ok(None),
            },
        };
        let everything = Ask::everything();
        let [from, to] = match (self.last, self.at) {
            (Some(last), _) => [now().saturating_sub(last), now()],
            (None, Some(at)) => [at, at.saturating_add(Duration::from_micros(1))],
            (None, None) => [since.unwrap_or(everything.from), until.unwrap_or(everything.to)],
        };
        let source = if self.rows { Source::Rows } else { Source::Sums };
        let filter = Filter::new(self.conditions.clone());
        Ok(Some(Asked { place, ask: Ask { from, to, filter, source, sight: None } }))
    }

    /// Refuses words that are questions where flows are made and nothing is asked.
    pub(crate) fn check_unasked(&self) -> anyhow::Result<()> {
        let is_asked =
            self.last.is_some() || self.at.is_some() || !self.conditions.is_empty() || self.rows;
        if is_asked {
            let what = "--last, --at, --where and --rows are asked of a store (--store) or of a \
                        controller, not of captures; leave the captures out";
            return Err(WrongUsage(what.into()).into());
        }
        Ok(())
    }
}

/// A question to a store.
pub(crate) struct Asked<'a> {
    place: Place<'a>,
    ask: Ask,
}

/// Where the store is.
enum Place<'a> {
    /// Here.
    Folder(&'a Path),
    /// At the controller this user is logged in at.
    Controller(Box<Far>),
}

impl Asked<'_> {
    /// Who moves how much.
    pub(crate) fn summary(&self, by: By) -> anyhow::Result<Summary> {
        let folder = match &self.place {
            Place::Folder(folder) => folder,
            Place::Controller(far) => return far::summary(far, &self.ask, by),
        };
        let answer = Reader::open(folder)?.sums(Kind::One(subject(by)), &self.ask)?;
        say_widened(answer.is_widened);
        Ok(answer.summary(by, MOST))
    }

    /// Between whom.
    pub(crate) fn matrix(&self, by: By) -> anyhow::Result<Matrix> {
        let folder = match &self.place {
            Place::Folder(folder) => folder,
            Place::Controller(far) => return far::matrix(far, &self.ask, by),
        };
        let answer = Reader::open(folder)?.sums(Kind::Pair(subject(by)), &self.ask)?;
        say_widened(answer.is_widened);
        Ok(answer.matrix(by, MOST))
    }

    /// Prints rows.
    pub(crate) fn rows(&self, is_once: bool, form: Form) -> anyhow::Result<Exit> {
        let out = BufWriter::with_capacity(1 << 16, io::stdout());
        let done = match (&self.place, form) {
            (Place::Folder(folder), Form::Parquet) => {
                Reader::open(folder)?.copy(&self.ask, out).map_err(Into::into)
            }
            (Place::Folder(folder), form) => {
                rows::print(&Reader::open(folder)?, &self.ask, is_once, form, out)
            }
            (Place::Controller(_), Form::Parquet) => {
                let what = "a controller gives flows as table, json or csv";
                return Err(WrongUsage(what.into()).into());
            }
            (Place::Controller(far), form) => far::print(far, &self.ask, is_once, form, out),
        };
        match done {
            Err(error) if is_broken_pipe(&error) => Ok(Exit::Done),
            done => done.map(|()| Exit::Done),
        }
    }
}

/// A store that rows go to.
pub(crate) struct Writing {
    store: Store,
    folder: PathBuf,
    exit: Exit,
}

impl Writing {
    /// How it ended.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl RowSink for Writing {
    type Error = anyhow::Error;

    fn take(&mut self, row: &flows::Row<'_>) -> anyhow::Result<()> {
        Ok(RowSink::take(&mut self.store, row)?)
    }

    fn tick(&mut self, now: Timestamp) -> anyhow::Result<()> {
        self.store.tick(now);
        Ok(())
    }

    /// Writes what is left and says what became of all rows.
    fn finish(&mut self) -> anyhow::Result<()> {
        let report = self.store.close();
        for failure in &report.failures {
            eprintln!("overtap: {failure}");
        }
        let mut text = format!(
            "overtap: {} flows are kept in {}",
            agent::grouped(report.written),
            self.folder.display()
        );
        for (count, what) in [
            (report.lost, "could not be written and are lost"),
            (report.expired, "files were older or more than is kept and are gone"),
        ] {
            if count > 0 {
                text += &format!(", {} {what}", agent::grouped(count));
            }
        }
        eprintln!("{text}");
        self.exit = if report.lost > 0 { Exit::Lost } else { Exit::Done };
        Ok(())
    }
}

/// A Parquet file of rows on standard output.
pub(crate) struct RowFile(RowWriter<BufWriter<io::Stdout>>);

impl RowFile {
    /// An empty one.
    pub(crate) fn to_stdout() -> anyhow::Result<Self> {
        Ok(Self(RowWriter::new(BufWriter::new(io::stdout()))?))
    }

    /// Adds a row.
    pub(crate) fn take(&mut self, row: &flows::Row<'_>) -> anyhow::Result<()> {
        Ok(self.0.add(&flowstore::Row::of(row))?)
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        Ok(self.0.finish()?)
    }
}

/// Rows of names and counts as a Parquet file.
pub(crate) fn table_file(rows: &[Map<String, Value>]) -> anyhow::Result<Vec<u8>> {
    let names = rows.first().map(|row| row.keys().cloned()).into_iter().flatten();
    let columns = names.map(|name| {
        let cells = || rows.iter().map(|row| row.get(&name).unwrap_or(&Value::Null));
        let is_text = cells().any(Value::is_string);
        let column = if is_text {
            TableColumn::Texts(
                cells().map(|cell| cell.as_str().unwrap_or_default().into()).collect(),
            )
        } else {
            let count = |cell: &Value| i64::try_from(cell.as_u64().unwrap_or_default());
            TableColumn::Numbers(cells().map(|cell| count(cell).unwrap_or(i64::MAX)).collect())
        };
        (name, column)
    });
    let columns: Vec<_> = columns.collect();
    let mut out = Vec::new();
    flowstore::write_table(&mut out, columns)?;
    out.flush()?;
    Ok(out)
}

const fn subject(by: By) -> Subject {
    match by {
        By::Vms => Subject::Vms,
        By::Hosts => Subject::Hosts,
        By::Tenants => Subject::Tenants,
        By::Apps => Subject::Apps,
        By::Ports => Subject::Ports,
        By::Addresses => Subject::Addresses,
    }
}

fn say_widened(is_widened: bool) {
    if is_widened {
        eprintln!("overtap: sums by minute of that time have expired; whole hours were taken");
    }
}

/// What is to be kept of some kinds.
#[derive(Debug, Clone)]
struct Kinds(Vec<(Kept, Keep)>);

fn parse_keep(text: &str) -> Result<Kinds, String> {
    let (kind, keep) = text.split_once('=').ok_or("write for example flows=30d,50GiB")?;
    let (age, bytes) = match keep.split_once(',') {
        Some((age, bytes)) => (age, Some(parse_bytes(bytes)?)),
        None => (keep, None),
    };
    let age_s = parse_age(age)?.as_secs();
    let keep = |kept: Kept| Keep { age_s, bytes: bytes.unwrap_or(kept.default_keep().bytes) };
    Ok(Kinds(Kept::named(kind)?.into_iter().map(|kept| (kept, keep(kept))).collect()))
}

/// A time that may be given in days.
fn parse_age(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days.and_then(|days| days.checked_mul(86_400)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => parse_duration(text),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    let of_parquet = |error: &StoreError| match error {
        StoreError::Parquet { source, .. } => source.to_string().contains("Broken pipe"),
        _ => false,
    };
    error.downcast_ref().is_some_and(is_pipe) || error.downcast_ref().is_some_and(of_parquet)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}

/// Rows of an answer that are looked at; the rest is summed up.
const MOST: usize = 1 << 17;
