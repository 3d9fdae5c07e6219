//! Which machines there were at the last look, in a file: what Wireshark asks must be answered in
//! milliseconds, and it asks once for each interface. Beside it, which Wireshark asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use inventory::{MachineId, Site};
use platform::LiveSite;
use remote::Login;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::controller::Far;
use crate::site;

/// The machines of this host, or of all hosts of a controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalogue {
    /// When the look was, in seconds since 1970.
    taken_s: u64,
    /// The controller that was asked; `None` for this host.
    pub(super) controller: Option<String>,
    /// By name.
    pub(super) machines: Vec<Listed>,
}

/// A machine that packets can be had of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: String,
    /// Its UUID, if it has one.
    pub(super) uuid: Option<String>,
    /// Where it was.
    pub(super) host: String,
    /// Whose it is, where that is known.
    pub(super) tenant: Option<String>,
}

impl Catalogue {
    /// The last look, if it was at the same site; else a new one. One that is old is renewed by a
    /// process that goes on when we have answered: the next list has what it finds.
    pub(super) fn open(login: Option<Login>) -> anyhow::Result<Self> {
        let controller = login.as_ref().map(|login| login.controller.address.clone());
        let kept = path().and_then(|path| read(&path));
        let Some(kept) = kept.filter(|kept| kept.controller == controller) else {
            let taken = Self::take(login)?;
            taken.keep();
            return Ok(taken);
        };
        if now_s().saturating_sub(kept.taken_s) >= FRESH.as_secs() {
            refresh_behind();
        }
        Ok(kept)
    }

    /// Looks now.
    pub(super) fn take(login: Option<Login>) -> anyhow::Result<Self> {
        let controller = login.as_ref().map(|login| login.controller.address.clone());
        let sites = match login {
            None => vec![LiveSite::read(LOOK_WITHIN).site().clone()],
            Some(login) => {
                let far = Far::at(login)?;
                let found = far.wait(async {
                    tokio::time::timeout(LOOK_WITHIN, far.connection.find("", 0)).await
                });
                let (found, _) = found.context("the controller does not answer")??;
                found.into_iter().map(site::of_host).collect()
            }
        };
        let mut machines: Vec<_> = sites.iter().flat_map(listed).collect();
        machines.sort_by(|a, b| (&a.name, &a.host).cmp(&(&b.name, &b.host)));
        Ok(Self { taken_s: now_s(), controller, machines })
    }

    /// Keeps it for the next call. Who may not write has to look each time.
    pub(super) fn keep(&self) {
        let Some(path) = path() else { return };
        let _ = write(&path, self);
    }

    /// Every tenant, once.
    pub(super) fn tenants(&self) -> Vec<&str> {
        let mut tenants: Vec<_> =
            self.machines.iter().filter_map(|m| m.tenant.as_deref()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }
}

impl Listed {
    /// What it is as an interface.
    pub(super) fn identity(&self) -> Identity {
        match &self.uuid {
            Some(uuid) => Identity::Uuid(uuid.clone()),
            None => Identity::Named(self.name.clone()),
        }
    }

    /// How it is shown: `web on hv-1 (acme)`.
    pub(super) fn shown(&self) -> String {
        let whose = self.tenant.as_ref().map(|tenant| format!(" ({tenant})")).unwrap_or_default();
        format!("{} on {}{whose}", self.name, self.host)
    }
}

fn listed(site: &Site) -> impl Iterator<Item = Listed> {
    site.machines.iter().filter(|machine| !machine.vnics.is_empty()).map(|machine| Listed {
        name: machine.name.clone(),
        uuid: match &machine.id {
            MachineId::Uuid(uuid) => Some(uuid.to_string()),
            _ => None,
        },
        host: site.host.name.clone(),
        tenant: machine.tenant.clone(),
    })
}

/// Starts `overtap extcap refresh` without a tie to us: Wireshark waits until nobody holds our
/// standard output any more.
fn refresh_behind() {
    let Ok(program) = std::env::current_exe() else { return };
    let _ = Command::new(program)
        .args(["extcap", "refresh"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

fn read(path: &Path) -> Option<Catalogue> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, catalogue: &Catalogue) -> anyhow::Result<()> {
    super::settings::write_private(path, &serde_json::to_vec(catalogue)?)
}

/// Keeps what Wireshark says of itself when it asks for interfaces, for its other questions.
pub(super) fn keep_version(version: &str) {
    let Some(path) = folder().map(|folder| folder.join("wireshark")) else { return };
    if kept_version().as_deref() != Some(version) {
        let _ = super::settings::write_private(&path, version.as_bytes());
    }
}

/// The Wireshark that asked for interfaces last, as `4.4`.
pub(super) fn kept_version() -> Option<String> {
    fs::read_to_string(folder()?.join("wireshark")).ok()
}

fn path() -> Option<PathBuf> {
    Some(folder()?.join("machines.json"))
}

/// `overtap` in the user's folder of what can be made anew.
fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder =
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|h| h.join(".cache")))?;
    Some(folder.join("overtap"))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// After this a look is renewed.
const FRESH: Duration = Duration::from_secs(5);
/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
