//! Names of the inventory: of `--vm`, and in the expression.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;

use inventory::History;
use select::{Filter, Member, Name, NameKind, Resolver, UnknownName};

use crate::exit::WrongUsage;
use crate::names;

/// Explains names by inventory files or what this host knows; reads them when the first name is
/// asked for.
pub(super) struct Inventory {
    files: Vec<PathBuf>,
    history: OnceCell<Result<History, String>>,
    notes: RefCell<Vec<String>>,
}

impl Inventory {
    /// From these files, or of this host if there are none.
    pub(super) fn new(files: &[PathBuf]) -> Self {
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

    /// Says what whoever typed the names should know.
    pub(super) fn say_notes(&self) {
        let mut notes = self.notes.take();
        notes.sort_unstable();
        notes.dedup();
        for note in notes {
            eprintln!("overtap: {note}");
        }
    }

    fn history(&self) -> Result<&History, &str> {
        let read = || names::history(&self.files).map_err(|error| format!("{error:#}"));
        self.history.get_or_init(read).as_ref().map_err(String::as_str)
    }
}

impl Resolver for Inventory {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let names = plan::Names::new(self.history().map_err(UnknownName::because)?);
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
