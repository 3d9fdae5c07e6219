//! `overtap serve`: the controller.

mod local;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use api::within::{Passage, passage};
use control::admin::first_admin;
use control::alerts::{Alert, When};
use control::belonging::Belonging;
use control::ca::Authority;
use control::server::{Settings, Traffic, serve};
use control::store::{PostgresStore, SqliteStore, Store, Turn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use telemetry::{Event, Log};

use crate::commands::capture::far::detached_wish;
use crate::controller::{block_on, stopped};
use crate::exit::Exit;
use crate::role::Role;

/// Runs the controller: the inventory of all hosts, sessions, grants, audit.
///
/// Needs nothing else installed. Agents connect to it; hosts need no open port.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// For this computer alone, without any set-up: controller, this host's agent and a page at
    /// 127.0.0.1:7480, whose link is printed. Ctrl-C ends all of it and leaves nothing behind.
    #[arg(long, conflicts_with_all = ["listen", "dir", "postgres", "web_name", "web_cert"])]
    local: bool,

    /// Where to listen, for agents and for people.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:7443")]
    listen: SocketAddr,

    /// Where to keep its authority and its memory.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/overtap/controller")]
    dir: PathBuf,

    /// Keep the memory in a PostgreSQL database instead, which several controllers may share:
    /// host=db user=overtap dbname=overtap. One of them is at work, and the next one as soon as that
    /// is gone. The authority stays in the folder: copy its ca.pem to the others.
    #[arg(long, value_name = "PARAMETERS")]
    postgres: Option<String>,

    /// Speak to the database encrypted, and only if its certificate is of one of the authorities
    /// in this file (PEM). Needed for a database on another machine.
    #[arg(long, value_name = "FILE", requires = "postgres")]
    postgres_ca: Option<PathBuf>,

    /// The database's controllers have lost their authority for good: this one's takes its place. Every
    /// agent is to be enrolled and every user to log in again.
    #[arg(long, requires = "postgres")]
    new_authority: bool,

    /// Answer browsers there: the page and the HTTP API. In plain HTTP on a loopback address, else
    /// with a certificate of the controller's own authority.
    #[arg(long, value_name = "ADDRESS:PORT")]
    web: Option<SocketAddr>,

    /// A name or address by which browsers reach it, for the certificate; besides this host's name
    /// and the address it listens at. Can be given several times.
    #[arg(long, value_name = "NAME", requires = "web")]
    web_name: Vec<String>,

    /// Show browsers this certificate instead, with those above it (PEM).
    #[arg(long, value_name = "FILE", requires = "web", requires = "web_key")]
    web_cert: Option<PathBuf>,

    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "web_cert")]
    web_key: Option<PathBuf>,

    /// Answer questions about traffic from this store of flows, which `overtap collect --store`
    /// writes beside it.
    #[arg(long, value_name = "DIR")]
    flows: Option<PathBuf>,

    /// Show who exports flows, from this directory, which `overtap collect --state` writes.
    #[arg(long, value_name = "DIR")]
    exporters: Option<PathBuf>,

    /// Tell webhooks of what goes wrong, as this file says (TOML).
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,

    #[command(flatten)]
    role: Role,
}

const EXAMPLES: &str = "\
Examples:
  overtap serve --local                  one command on one host, as root: a page for its VMs
  overtap serve                          on port 7443, kept in /var/lib/overtap/controller
  overtap serve --listen 10.0.0.5:7443 --dir ./controller
  overtap serve --web 127.0.0.1:7480     and a page for browsers on this host (or through ssh -L)
  overtap serve --web 10.0.0.5:7480      ... for all, with a certificate of its own authority
  overtap serve --flows /var/lib/overtap/flows --exporters /var/lib/overtap/collect
                                         who talks to whom, as overtap collect writes it there
  overtap serve --metrics 127.0.0.1:9744 --log json      for Prometheus and for log shippers

The first start makes an administrator and prints how to log in. Then, as that administrator:
  overtap grants add admin --machine all             to see anything at all
  overtap agents invite --address HOST:7443          and on each host: overtap agent enrol --token TOKEN";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.local {
        return local::run(args);
    }
    let now = jiff::Timestamp::now();
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    api::tls::install_provider();
    raise_most_files();
    let log = args.role.log();
    let mut authority = Authority::open_or_make(&args.dir, now)?;
    let store = store(args)?;
    let turn = match &args.postgres {
        None => None,
        Some(parameters) => {
            Belonging::settle(&*store, &authority.now(), args.new_authority)?;
            Some(turn(args, parameters, &log)?)
        }
    };
    if turn.is_some() {
        // It may have rotated while we waited.
        authority = Authority::open_or_make(&args.dir, now)?;
        Belonging::settle(&*store, &authority.now(), false)?;
    }
    if let Some(token) = first_admin(&*store, "admin".parse()?, now)? {
        let address = reachable(args.listen);
        let ca = authority.now().ca.fingerprint();
        let login = format!("overtap login {address} --ca {ca} --token {token}");
        hand_over(&login, args)?;
    }
    let (passage, within) = passage();
    let door =
        args.web.map(|listen| door(args, listen, &authority, passage, log.clone())).transpose()?;
    let settings = Settings {
        listen: args.listen,
        authority,
        store,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log: log.clone(),
        metrics: args.role.metrics,
        traffic: traffic(args),
        alerts: alerts(args)?,
        within: door.is_some().then_some(within),
    };
    let ready = |address| log.say(Event::info(format!("listening on {address}")));
    block_on(async {
        let lost = turn.map(Turn::keep);
        let is_lost = async {
            match lost {
                Some(lost) => _ = lost.await,
                None => std::future::pending().await,
            }
        };
        let serving = async {
            tokio::select! {
                served = serve(settings, ready, stopped()) => Ok(served?),
                () = is_lost => bail!(
                    "the database is not to be reached, so another controller may be at work now; \
                     start this one again, to wait for its turn"
                ),
            }
        };
        let Some(door) = door else { return serving.await };
        let scheme = if door.certified.is_some() { "https" } else { "http" };
        let open = |address| log.say(Event::info(format!("the page is at {scheme}://{address}/")));
        tokio::select! {
            served = serving => served,
            closed = web::serve(door, open) => closed.map_err(anyhow::Error::from),
        }
    })??;
    Ok(Exit::Done)
}

/// Every agent and every reader is a file; 1024 of them, as a shell gives, are not many.
fn raise_most_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where even that is not allowed, the limit stays and says so when it is met.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The door for browsers.
fn door(
    args: &Args,
    listen: SocketAddr,
    authority: &Authority,
    passage: Passage,
    log: Log,
) -> anyhow::Result<web::Settings> {
    let certified = match (&args.web_cert, &args.web_key) {
        (Some(certificate), Some(key)) => {
            Some(web::Certified { chain_pem: read(certificate)?, key_pem: read(key)? })
        }
        _ if listen.ip().is_loopback() => None,
        _ => {
            let mut names = vec![host_name(), "localhost".to_owned()];
            names.extend((!listen.ip().is_unspecified()).then(|| listen.ip().to_string()));
            names.extend(args.web_name.iter().cloned());
            let ca = &authority.now().ca;
            let (certificate, key_pem) = ca.issue_server(&names, jiff::Timestamp::now())?;
            Some(web::Certified { chain_pem: ca.chain_pem(&certificate), key_pem })
        }
    };
    Ok(web::Settings {
        listen,
        certified,
        passage,
        defaults: detached_wish(),
        application: concat!("overtap ", env!("CARGO_PKG_VERSION")).into(),
        invitation: None,
        log,
    })
}

/// Gives the first administrator's login to whoever started this: where they look on, and else in
/// a file that nobody else can read, since a log has many readers.
fn hand_over(login: &str, args: &Args) -> anyhow::Result<()> {
    if args.role.is_for_people() {
        eprintln!("overtap: the first administrator; this token is shown only now:");
        eprintln!("  {login}");
        return Ok(());
    }
    let path = args.dir.join("first-login");
    let write = || {
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{login}")
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    args.role.log().say(Event::warn(format!(
        "the first administrator was made; {} has the command to log in: run it and remove the file",
        path.display()
    )));
    Ok(())
}

/// Waits until no other controller of the database is at work.
fn turn(args: &Args, parameters: &str, log: &Log) -> anyhow::Result<Turn> {
    let authorities = args.postgres_ca.as_deref().map(read).transpose()?;
    let mut is_told = false;
    loop {
        if let Some(turn) = Turn::take(parameters, authorities.as_deref())? {
            return Ok(turn);
        }
        if !std::mem::replace(&mut is_told, true) {
            log.say(Event::info(
                "another controller of this database is at work; waiting for it to end",
            ));
        }
        std::thread::sleep(TURN_EVERY);
    }
}

fn traffic(args: &Args) -> Traffic {
    Traffic { flows: args.flows.clone(), exporters: args.exporters.clone() }
}

fn alerts(args: &Args) -> anyhow::Result<Vec<Alert>> {
    let Some(path) = &args.alerts else { return Ok(Vec::new()) };
    let alerts = Alert::read(&read(path)?).with_context(|| path.display().to_string())?;
    let needs = |is_of: fn(When) -> bool| alerts.iter().find(|alert| is_of(alert.when));
    if let (Some(alert), None) = (needs(When::is_of_exporters), &args.exporters) {
        bail!("{}: alert {} needs --exporters DIR", path.display(), alert.name);
    }
    if let (Some(alert), None) = (needs(|when| matches!(when, When::NewTalker(_))), &args.flows) {
        bail!("{}: alert {} needs --flows DIR", path.display(), alert.name);
    }
    Ok(alerts)
}

fn store(args: &Args) -> anyhow::Result<Box<dyn Store>> {
    let Some(parameters) = &args.postgres else {
        return Ok(Box::new(SqliteStore::open(&args.dir.join("store.sqlite"))?));
    };
    let authorities = args.postgres_ca.as_deref().map(read).transpose()?;
    Ok(Box::new(PostgresStore::open(parameters, authorities.as_deref())?))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// An address that others can be told; of all addresses, this host's name.
fn reachable(listen: SocketAddr) -> String {
    if !listen.ip().is_unspecified() {
        return listen.to_string();
    }
    format!("{}:{}", host_name(), listen.port())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How soon after another controller this one is at work.
const TURN_EVERY: Duration = Duration::from_millis(500);
