//! Names of the inventory: of `--vm`, and in the expression.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;

use files::{Elsewhere, Wanted, Whose};
use inventory::History;
use plan::Names;
use select::{Filter, Member, Name, NameKind, Resolver, UnknownName};
use wire::TunnelPorts;

use super::words;
use crate::exit::WrongUsage;
use crate::names;

/// Explains names by inventory files or what this host knows; reads them when the first name is
/// asked for.
pub(crate) struct Inventory {
    files: Vec<PathBuf>,
    history: OnceCell<Result<Arc<History>, String>>,
    notes: RefCell<Vec<String>>,
}

impl Inventory {
    /// From these files, or of this host if there are none.
    pub(crate) fn new(files: &[PathBuf]) -> Self {
        Self { files: files.to_vec(), history: OnceCell::new(), notes: RefCell::default() }
    }

    /// The packets of all these VMs, as one set: however many there are, a packet is looked up
    /// once.
    pub(super) fn filter_of(&self, vms: &[String]) -> anyhow::Result<Option<Filter>> {
        if vms.is_empty() {
            return Ok(None);
        }
        // Said before any name, so that a file that cannot be read is not told as a bad name.
        self.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?;
        let mut members = Vec::new();
        for vm in vms {
            let name = Name { kind: NameKind::Vm, text: vm.clone() };
            let found = self.members(&name).map_err(|unknown| WrongUsage(said(vm, &unknown)))?;
            if found.is_empty() {
                self.notes.borrow_mut().push(format!(
                    "the inventory names no network in which {vm} could be recognised, so no \
                     packet of a shared wire is known to be its"
                ));
            }
            members.extend(found);
        }
        Ok(Some(Filter::parse_with("vm all", &Together(members))?))
    }

    /// What is wanted at interfaces that overtap itself captured, where only one machine's packets
    /// are. `None` if there is no name in what was asked for.
    pub(crate) fn elsewhere(
        &self,
        wanted: &Wanted,
        vms: &[String],
        expression: &str,
    ) -> Option<Elsewhere> {
        let has_names = wanted.filter.as_ref().is_some_and(|f| f.names().next().is_some());
        if vms.is_empty() && !has_names {
            return None;
        }
        let history = Arc::clone(self.read().ok()?);
        let (vms, expression) = (vms.to_vec(), expression.to_owned());
        Some(Elsewhere::new(move |interface| {
            let names = Names::new(&history);
            let point = names.at_point(interface)?;
            let (mut members, mut is_all) = (Vec::new(), vms.is_empty());
            for text in &vms {
                let name = Name { kind: NameKind::Vm, text: text.clone() };
                is_all |= point.is_of(&name).ok()?;
                members.extend(point.members(&name).ok()?);
            }
            let of_vms = || Filter::parse_with("vm all", &Together(members)).ok();
            Some(Wanted {
                vms: if is_all { None } else { Some(of_vms()?) },
                filter: words::parse_filter(&expression, &point).ok()?,
            })
        }))
    }

    /// All VMs, or all tenants, to tell packets apart by.
    pub(super) fn whose(&self, kind: NameKind) -> anyhow::Result<Whose> {
        let history = self.read().map_err(|error| anyhow::anyhow!(error.to_owned()))?;
        let whose = names::whose(history, kind);
        if whose.names().is_empty() {
            let what = if kind == NameKind::Tenant { "tenant" } else { "VM" };
            return Err(WrongUsage(format!(
                "the inventory names no {what} to split by; give --inventory FILE"
            ))
            .into());
        }
        Ok(whose)
    }

    /// Where tunnels are, if the inventory was asked for.
    pub(crate) fn tunnel_ports(&self) -> TunnelPorts {
        let mut ports = TunnelPorts::default();
        if let Some(Ok(history)) = self.history.get() {
            Names::new(history).add_tunnel_ports(&mut ports);
        }
        ports
    }

    /// Says what whoever typed the names should know.
    pub(crate) fn say_notes(&self) {
        let mut notes = self.notes.take();
        notes.sort_unstable();
        notes.dedup();
        for note in notes {
            eprintln!("overtap: {note}");
        }
    }

    /// What is known of VMs, or why nothing is.
    pub(crate) fn history(&self) -> Result<&History, &str> {
        self.read().map(|history| &**history)
    }

    fn read(&self) -> Result<&Arc<History>, &str> {
        let read = || {
            let history = names::history(&self.files);
            history.map(Arc::new).map_err(|error| format!("{error:#}"))
        };
        self.history.get_or_init(read).as_ref().map_err(String::as_str)
    }
}

impl Resolver for Inventory {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let names = Names::new(self.history().map_err(UnknownName::because)?);
        let members = names.members(name);
        self.notes.borrow_mut().extend(names.notes());
        members
    }
}

/// Answers any name with the members of several.
struct Together(Vec<Member>);

impl Resolver for Together {
    fn members(&self, _name: &Name) -> Result<Vec<Member>, UnknownName> {
        Ok(self.0.clone())
    }
}

fn said(vm: &str, unknown: &UnknownName) -> String {
    let mut text = match &unknown.reason {
        Some(reason) => reason.clone(),
        None => format!("there is no VM `{vm}`"),
    };
    if let Some(nearest) = unknown.nearest.first() {
        text += &format!("; did you mean `{nearest}`?");
    }
    text
}
