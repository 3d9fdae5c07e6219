//! Which controller this user is logged in at, and how to wait for its answers.

use std::future::Future;
use std::path::PathBuf;

use anyhow::Context;
use remote::{Connection, Keeper, Login};
use tokio::runtime::Runtime;

/// The login of this user; `None` if there is none, or `is_local` says that it does not count.
pub(crate) fn login(is_local: bool) -> anyhow::Result<Option<Login>> {
    if is_local {
        return Ok(None);
    }
    Ok(Login::open(&login_path()?)?)
}

/// The login of this user, for commands that make no sense without one.
pub(crate) fn logged_in() -> anyhow::Result<Login> {
    login(false)?.context("you are logged in at no controller; see overtap login --help")
}

/// A controller, as commands speak to it: a connection, and the threads that wait for answers.
pub(crate) struct Far {
    /// The threads.
    pub(crate) runtime: Runtime,
    /// The connection.
    pub(crate) connection: Connection,
    /// The login it is of.
    pub(crate) login: Login,
}

impl Far {
    /// The controller of this user's login, for commands that make no sense without one.
    pub(crate) fn open() -> anyhow::Result<Self> {
        Self::at(logged_in()?)
    }

    /// The controller of a login.
    pub(crate) fn at(login: Login) -> anyhow::Result<Self> {
        api::tls::install_provider();
        let runtime = runtime()?;
        let connection = {
            let _inside = runtime.enter();
            Connection::new(&login)?
        };
        Ok(Self { runtime, connection, login })
    }

    /// As who has the packets of its sessions.
    pub(crate) fn keeper(&self) -> Keeper {
        Keeper::Controller(self.connection.clone())
    }

    /// Waits for something. Where the controller announces another authority meanwhile, this
    /// user's login knows it from then on.
    pub(crate) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        let done = self.runtime.block_on(what);
        if let Some(moved) = self.connection.moved(&self.login) {
            keep_moved(&moved);
        }
        done
    }
}

/// Keeps a login whose controller has another authority now, unless somebody has logged in
/// elsewhere or kept it already.
fn keep_moved(moved: &Login) {
    let Ok(path) = login_path() else { return };
    let kept = match Login::open(&path) {
        Ok(Some(kept)) if kept.controller.address == moved.controller.address => kept,
        _ => return,
    };
    if kept.token != moved.token || kept.controller.ca_pem == moved.controller.ca_pem {
        return;
    }
    let how = match moved.save(&path) {
        Ok(()) => "your login knows it now".to_owned(),
        Err(error) => format!("your login cannot be changed: {error}"),
    };
    eprintln!("overtap: the controller has another authority; {how}");
}

/// `$OVERTAP_LOGIN`, or else `overtap/login.json` in the user's folder of settings.
pub(crate) fn login_path() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = variable("OVERTAP_LOGIN") {
        return Ok(path.into());
    }
    let folder = match variable("XDG_CONFIG_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(variable("HOME").context("neither HOME nor OVERTAP_LOGIN is set")?)
            .join(".config"),
    };
    Ok(folder.join("overtap").join("login.json"))
}

/// Runs something that waits.
pub(crate) fn block_on<T>(what: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(runtime()?.block_on(what))
}

/// Threads that wait.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().build().context("cannot start threads")
}

/// Comes with the next Ctrl-C, SIGTERM or hang-up.
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    let is_deaf = agent::is_hangup_ignored();
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv(), if !is_deaf => {}
    }
}
