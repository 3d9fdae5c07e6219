//! `--last`: what a flight recorder has seen comes before what is captured live.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::PastOrder;
use anyhow::{Context, bail};
use inventory::Machine;
use plan::Point;
use recorder::{Found, MachineRef, Store};

use crate::commands::recorder::{DEFAULT_DIRECTORY, default_key_file, read_keys};
use crate::exit::WrongUsage;
use crate::quantity::parse_duration;

/// The words of `overtap capture` about what was recorded.
#[derive(clap::Args)]
pub(super) struct Words {
    /// Begin with what the flight recorder (`overtap record`) has seen in this time: 30s, 10m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    last: Option<Duration>,

    /// The flight recorder's directory.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY, requires = "last")]
    recorder: PathBuf,

    /// Its key file. Default: the directory's name with `.key` behind it.
    #[arg(long, value_name = "FILE", requires = "last")]
    key_file: Option<PathBuf>,

    /// End with what was recorded until now, without going on live.
    #[arg(long, requires = "last")]
    no_live: bool,
}

impl Words {
    /// What is to be written before anything live; `None` if nothing is.
    pub(super) fn order(
        &self,
        machine: &Machine,
        point: &Point,
    ) -> anyhow::Result<Option<PastOrder>> {
        let Some(last) = self.last else { return Ok(None) };
        let now = jiff::Timestamp::now().as_nanosecond();
        let now = wire::Timestamp::from_nanos(u64::try_from(now).unwrap_or(u64::MAX));
        let from = now.saturating_sub(last);
        let store = self.store(from)?;
        let own = MachineRef {
            id: machine.id.to_string(),
            name: machine.name.clone(),
            tenant: machine.tenant.clone(),
        };
        let machines: Vec<MachineRef> =
            store.names().into_iter().filter(|known| is_same(known, &own)).collect();
        if machines.is_empty() {
            bail!(
                "nothing of {} was recorded in that time in {}; see what was: overtap recorder status --dir {}",
                machine.name,
                self.recorder.display(),
                self.recorder.display()
            );
        }
        Ok(Some(PastOrder {
            directory: self.recorder.clone(),
            keys: self.keys()?,
            machines,
            from,
            are_gaps_said: true,
            is_live: !self.no_live && !point.interfaces.is_empty(),
        }))
    }

    /// Each host of a controller knows its own recorder.
    pub(super) fn refuse_far(&self) -> Result<(), WrongUsage> {
        let is_other = self.recorder != Path::new(DEFAULT_DIRECTORY) || self.key_file.is_some();
        match is_other {
            false => Ok(()),
            true => Err(WrongUsage(
                "--recorder and --key-file are for the recorder of this host: add --local".into(),
            )),
        }
    }

    /// How far back it begins, in seconds; 0 for now.
    pub(super) fn seconds(&self) -> u64 {
        self.last.map_or(0, |last| last.as_secs().max(1))
    }

    /// Whether it ends with what was recorded.
    pub(super) const fn is_past_only(&self) -> bool {
        self.no_live
    }

    /// A machine that is not here any more, as it was recorded; `error` if it was not.
    pub(super) fn instead(
        &self,
        vm: &str,
        error: anyhow::Error,
    ) -> anyhow::Result<(Machine, Point)> {
        if self.last.is_none() {
            return Err(error);
        }
        let machine = match self.store(wire::Timestamp::ZERO)?.find(vm) {
            Found::One(machine) => machine,
            Found::Nothing => return Err(error),
            Found::Several(machines) => {
                let ids: Vec<String> = machines.iter().map(ToString::to_string).collect();
                bail!("{vm} was recorded as several machines; say which: {}", ids.join(", "))
            }
        };
        eprintln!("overtap: {error:#}; only what was recorded of it is written");
        Ok(agent::recorded(&machine))
    }

    fn store(&self, since: wire::Timestamp) -> anyhow::Result<Store> {
        let store = Store::open_since(&self.recorder, self.keys()?, since)?;
        // Nothing at all can be read, perhaps for want of the key: that is the news then.
        if store.segments() == 0
            && let Some(damage) = store.damages().next()
        {
            bail!("nothing in {} can be read: {damage}", self.recorder.display());
        }
        Ok(store)
    }

    fn keys(&self) -> anyhow::Result<recorder::KeyRing> {
        let path = self.key_file.clone().unwrap_or_else(|| default_key_file(&self.recorder));
        read_keys(&path)
            .with_context(|| format!("cannot read what {} has recorded", self.recorder.display()))
    }
}

/// Whether a recorded machine is this one, while it belonged to whom it belongs now. What has no
/// identity but a number of the kernel or a port gets another one at each restart: it is the same
/// by its name.
fn is_same(known: &MachineRef, own: &MachineRef) -> bool {
    let is_weak = |id: &str| ["namespace:", "process:", "port:"].iter().any(|k| id.starts_with(k));
    known.tenant == own.tenant
        && (known.id == own.id || is_weak(&known.id) && is_weak(&own.id) && known.name == own.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(id: &str, name: &str, tenant: Option<&str>) -> MachineRef {
        MachineRef { id: id.into(), name: name.into(), tenant: tenant.map(ToOwned::to_owned) }
    }

    #[test]
    fn a_name_is_an_identity_only_for_what_has_no_better_one() {
        let web = machine("namespace:1", "web", None);
        assert!(is_same(&machine("namespace:1", "renamed", None), &web));
        assert!(is_same(&machine("namespace:2", "web", None), &web));
        assert!(!is_same(&machine("namespace:2", "web", Some("acme")), &web));
        assert!(!is_same(&machine("namespace:1", "web", Some("acme")), &web));
        assert!(!is_same(&machine("uuid:7", "web", None), &web));
        assert!(!is_same(&machine("uuid:7", "web", None), &machine("uuid:8", "web", None)));
    }
}
