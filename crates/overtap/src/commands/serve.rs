//! `overtap serve`: the controller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use control::admin::first_admin;
use control::ca::Ca;
use control::server::{Settings, serve};
use control::store::{PostgresStore, SqliteStore, Store};

use crate::controller::{block_on, stopped};
use crate::exit::Exit;

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
}

const EXAMPLES: &str = "\
Examples:
  overtap serve                          on port 7443, kept in /var/lib/overtap/controller
  overtap serve --listen 10.0.0.5:7443 --dir ./controller

The first start makes an administrator and prints how to log in. Then, as that administrator:
  overtap grants add admin --machine all             to see anything at all
  overtap agents invite --address HOST:7443          and on each host: overtap agent enrol TOKEN";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let now = jiff::Timestamp::now();
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    api::tls::install_provider();
    let ca = Ca::open_or_make(&args.dir, now)?;
    let store = store(args)?;
    if let Some(token) = first_admin(&*store, "admin".parse()?, now)? {
        eprintln!("overtap: the first administrator; this token is shown only now:");
        eprintln!(
            "  overtap login {} --ca {} --token {token}",
            reachable(args.listen),
            ca.fingerprint()
        );
    }
    let settings = Settings {
        listen: args.listen,
        ca,
        store,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        say: Arc::new(|text: &str| eprintln!("overtap: {text}")),
    };
    let ready = |address: SocketAddr| eprintln!("overtap: listening on {address}");
    block_on(serve(settings, ready, stopped()))??;
    Ok(Exit::Done)
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
