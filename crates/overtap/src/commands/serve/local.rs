//! `overtap serve --local`: controller, this host's agent and the page in one process, for whoever
//! sits at this computer, until they have enough.
//!
//! Listens on loopback alone. What it keeps is in a folder of its own that goes with it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::within::{Passage, passage};
use control::UserName;
use control::admin::{Command, NewGrant, NewInvitation, Reply, first_admin};
use control::ca::Authority;
use control::grants::{Purpose, Selector};
use control::server::{Settings, serve};
use control::store::SqliteStore;
use control::tokens::EnrolmentToken;
use jiff::{SignedDuration, Timestamp};
use remote::Connection;
use station::Identity;
use telemetry::{Event, Log};
use tokio::sync::oneshot;

use super::Args;
use crate::commands::capture::far::detached_wish;
use crate::controller::{block_on, stopped};
use crate::exit::{Exit, WrongUsage};

/// Runs until somebody has enough; then nothing of it is left.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let page = args.web.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PAGE_PORT)));
    if !page.ip().is_loopback() {
        let text = format!("{page} can be reached by others; --local is for this computer alone");
        return Err(WrongUsage(text).into());
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("overtap: without root most captures will be refused, and some VMs not be found");
    }
    let folder = tempfile::Builder::new().prefix("overtap-local-").tempdir();
    let folder = folder.context("cannot make a folder for the time it runs")?;
    let controller = folder.path().join("controller");
    std::fs::create_dir(&controller).context("cannot make a folder for the controller")?;
    api::tls::install_provider();
    let now = Timestamp::now();
    let authority = Authority::open_or_make(&controller, now)?;
    let store = SqliteStore::open(&controller.join("store.sqlite"))?;
    let user: UserName = "local".parse()?;
    let token = first_admin(&store, user.clone(), now)?.context("the store is not new")?;
    let log = args.role.log();
    let (passage, within) = passage();
    let settings = Settings {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        authority,
        store: Box::new(store),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log: log.clone(),
        metrics: args.role.metrics,
        traffic: super::traffic(args),
        alerts: super::alerts(args)?,
        within: Some(within),
    };
    let local = Local { folder: folder.path(), user, token: token.to_string(), passage, log };
    block_on(local.run(settings, page))??;
    Ok(Exit::Done)
}

/// What controller, agent and page have in common.
struct Local<'a> {
    folder: &'a Path,
    /// The one user.
    user: UserName,
    token: String,
    passage: Passage,
    log: Log,
}

impl Local<'_> {
    async fn run(&self, settings: Settings, page: SocketAddr) -> anyhow::Result<()> {
        let agent = Arc::new(Agent::default());
        let (tell, told) = oneshot::channel();
        let ready = |address| {
            // Nobody waits for it any more where this fails.
            let _ = tell.send(address);
        };
        let serving = serve(settings, ready, Arc::clone(&agent).ended_by(stopped()));
        let attended = async {
            let controller = told.await.context("the controller does not listen")?;
            let identity_folder = self.enrol(controller).await?;
            agent.begin(station::Settings {
                folder: identity_folder,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                log: self.log.clone(),
                metrics: None,
                recorder: None,
            })?;
            let (door, open) = self.door(page);
            web::serve(door, open).await.map_err(anyhow::Error::from)
        };
        let done = tokio::select! {
            served = serving => served.map_err(anyhow::Error::from),
            closed = attended => closed,
        };
        agent.end().await;
        done
    }

    /// Gives the user a grant for everything here, and makes this host an agent. Says where the
    /// agent has its folder.
    async fn enrol(&self, controller: SocketAddr) -> anyhow::Result<std::path::PathBuf> {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let office = Connection::within(self.passage.clone(), from, Some(&self.token))?;
        let order = async |command: &Command| -> anyhow::Result<Reply> {
            let reply = office.administer(serde_json::to_string(command)?).await?;
            Ok(serde_json::from_str(&reply)?)
        };
        let grant = NewGrant {
            to: self.user.clone(),
            machines: BTreeSet::from([Selector::All]),
            purposes: BTreeSet::from([Purpose::Capture, Purpose::Record, Purpose::Mirror]),
            snaplen: "whole".parse()?,
            longest: None,
            from: None,
            until: None,
            needs_reason: false,
            note: "overtap serve --local".into(),
        };
        order(&Command::AddGrant(grant)).await?;
        let invitation = NewInvitation {
            address: controller.to_string().parse()?,
            agent: None,
            uses: 1,
            expires_at: Timestamp::now().saturating_add(SignedDuration::from_mins(1))?,
            note: "overtap serve --local".into(),
        };
        let Reply::Made(made) = order(&Command::Invite(invitation)).await? else {
            bail!("the controller makes no invitation");
        };
        let token: EnrolmentToken = made.token.parse()?;
        let folder = self.folder.join("agent");
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Identity::enrol(&folder, &token, &host, env!("CARGO_PKG_VERSION"), false).await?;
        Ok(folder)
    }

    /// The door for browsers, and what is to be called when it is open.
    fn door(&self, listen: SocketAddr) -> (web::Settings, impl FnOnce(SocketAddr) + use<>) {
        let page = Arc::new(OnceLock::new());
        let invitation = web::Invitation::new(self.token.clone(), {
            let page = Arc::clone(&page);
            let is_first = AtomicBool::new(true);
            move |word| {
                let address = page.get().copied().unwrap_or(listen);
                let what = match is_first.swap(false, Ordering::Relaxed) {
                    true => "open this in a browser; it logs in once. Ctrl-C ends it all",
                    false => "a browser is logged in; for another one",
                };
                eprintln!("overtap: {what}:");
                println!("http://{address}/#/enter/{word}");
            }
        });
        let settings = web::Settings {
            listen,
            certified: None,
            passage: self.passage.clone(),
            defaults: detached_wish(),
            application: concat!("overtap ", env!("CARGO_PKG_VERSION")).into(),
            invitation: Some(invitation),
            log: self.log.clone(),
        };
        let open = move |address| {
            let _ = page.set(address);
        };
        (settings, open)
    }
}

/// The agent, in a thread of its own.
#[derive(Default)]
struct Agent {
    is_stopped: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Agent {
    fn begin(&self, settings: station::Settings) -> anyhow::Result<()> {
        let is_stopped = Arc::clone(&self.is_stopped);
        let run = move || {
            if let Err(error) = station::run(&settings, &is_stopped) {
                settings.log.say(Event::error(format!("the agent has ended: {error}")));
            }
        };
        let thread = thread::Builder::new().name("agent".into()).spawn(run)?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Comes when `asked` has come and the agent's captures have ended: they are told to the
    /// controller while there is one.
    async fn ended_by(self: Arc<Self>, asked: impl Future<Output = ()>) {
        asked.await;
        self.end().await;
    }

    async fn end(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let end = Instant::now() + LONGEST_END;
        while self.is_running() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_running(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// Where the page is, unless somebody says otherwise.
const PAGE_PORT: u16 = 7480;

/// How long captures may take to end.
const LONGEST_END: Duration = Duration::from_secs(10);
