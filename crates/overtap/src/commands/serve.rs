//! `overtap serve`: the controller.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use control::admin::first_admin;
use control::ca::Authority;
use control::server::{Settings, serve};
use control::store::{PostgresStore, SqliteStore, Store};
use telemetry::Event;

use crate::controller::{block_on, stopped};
use crate::exit::Exit;
use crate::role::Role;

/// Runs the controller: the inventory of all hosts, sessions, grants, audit.
///
/// Needs nothing else installed. Agents connect to it; hosts need no open port.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to listen, for agents and for people.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:7443")]
    listen: SocketAddr,

    /// Where to keep its authority and its memory.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/overtap/controller")]
    dir: PathBuf,

    /// Keep the memory in a PostgreSQL database instead, for several controllers at once:
    /// host=db user=overtap dbname=overtap. The authority stays in the folder.
    #[arg(long, value_name = "PARAMETERS")]
    postgres: Option<String>,

    /// Speak to the database encrypted, and only if its certificate is of one of the authorities
    /// in this file (PEM). Needed for a database on another machine.
    #[arg(long, value_name = "FILE", requires = "postgres")]
    postgres_ca: Option<PathBuf>,

    #[command(flatten)]
    role: Role,
}

const EXAMPLES: &str = "\
Examples:
  overtap serve                          on port 7443, kept in /var/lib/overtap/controller
  overtap serve --listen 10.0.0.5:7443 --dir ./controller
  overtap serve --metrics 127.0.0.1:9744 --log json      for Prometheus and for log shippers

The first start makes an administrator and prints how to log in. Then, as that administrator:
  overtap grants add admin --machine all             to see anything at all
  overtap agents invite --address HOST:7443          and on each host: overtap agent enrol --token TOKEN";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let now = jiff::Timestamp::now();
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    api::tls::install_provider();
    let authority = Authority::open_or_make(&args.dir, now)?;
    let store = store(args)?;
    if let Some(token) = first_admin(&*store, "admin".parse()?, now)? {
        let address = reachable(args.listen);
        let ca = authority.now().ca.fingerprint();
        let login = format!("overtap login {address} --ca {ca} --token {token}");
        hand_over(&login, args)?;
    }
    let log = args.role.log();
    let settings = Settings {
        listen: args.listen,
        authority,
        store,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log: log.clone(),
        metrics: args.role.metrics,
    };
    let ready = |address| log.say(Event::info(format!("listening on {address}")));
    block_on(serve(settings, ready, stopped()))??;
    Ok(Exit::Done)
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

fn store(args: &Args) -> anyhow::Result<Box<dyn Store>> {
    let Some(parameters) = &args.postgres else {
        return Ok(Box::new(SqliteStore::open(&args.dir.join("store.sqlite"))?));
    };
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let authorities = args.postgres_ca.as_ref().map(read).transpose()?;
    Ok(Box::new(PostgresStore::open(parameters, authorities.as_deref())?))
}

/// An address that others can be told; of all addresses, this host's name.
fn reachable(listen: SocketAddr) -> String {
    if !listen.ip().is_unspecified() {
        return listen.to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}:{}", listen.port())
}
