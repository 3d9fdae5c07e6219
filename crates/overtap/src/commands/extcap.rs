//! `overtap extcap`: every VM as an interface in Wireshark's own list.
//!
//! Wireshark runs each program of its extcap folder with words of its own, and reads sentences from
//! its standard output; [`call`] has both, as extcap(4) has them. Packets are captured as by
//! `overtap capture`. Wireshark asks once for the list and then once for each interface of it, so
//! what it asks is answered from the [`catalogue`], never from the site.

mod call;
mod catalogue;
mod identity;
mod install;
mod interfaces;
mod packets;
mod settings;
mod toolbar;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::call::{Asked, Call};
use self::catalogue::Catalogue;
use self::settings::Settings;
use crate::controller;
use crate::exit::Exit;

/// Lists every VM by its name among the interfaces of Wireshark and tshark.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Puts overtap into Wireshark's personal extcap folder.
    Install {
        /// Into this folder instead; Wireshark shows its own under Help, About, Folders.
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Takes it out again.
    Uninstall {
        /// Out of this folder instead.
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Looks which machines there are now; the list that Wireshark shows next has them.
    Refresh,
    /// Always lists a machine, however many there are; `tenant:acme` for all of a tenant.
    Favour {
        /// Its name.
        name: String,
    },
    /// Lists a machine only if there are few, or it was captured lately.
    Unfavour {
        /// Its name.
        name: String,
    },
}

const EXAMPLES: &str = "\
Examples:
  overtap extcap install                 then refresh the interfaces in Wireshark (F5)
  tshark -D | grep overtap               the same list
  tshark -i overtap_any -o extcap.overtap_any.vm:web -f 'tcp port 443'
  overtap extcap favour web              on a site with more machines than a list shows

Capturing needs what `overtap capture` needs: rights on this host, or overtap login.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::Install { folder } => install::install(folder.as_deref()),
        What::Uninstall { folder } => install::uninstall(folder.as_deref()),
        What::Refresh => {
            Catalogue::take(controller::login(false)?)?.keep();
            Ok(Exit::Done)
        }
        What::Favour { name } => {
            let mut settings = Settings::open()?;
            settings.favour(name);
            settings.keep().map(|()| Exit::Done)
        }
        What::Unfavour { name } => {
            let mut settings = Settings::open()?;
            settings.unfavour(name)?;
            settings.keep().map(|()| Exit::Done)
        }
    }
}

/// Answers Wireshark, if it is who runs us with these words; `None` if it is a person.
pub(crate) fn answer(words: impl Iterator<Item = String>) -> Option<anyhow::Result<Exit>> {
    let words: Vec<String> = words.collect();
    if !words.iter().skip(1).any(|word| word.starts_with("--extcap-")) {
        return None;
    }
    let call = match Call::try_parse_from(words) {
        Ok(call) => call,
        // Its own way to show what was wrong, with 2 as exit code.
        Err(error) => error.exit(),
    };
    Some(match call.asked() {
        Asked::Interfaces => interfaces::list(&call),
        Asked::Links => interfaces::link_types(),
        Asked::Settings { reloaded: Some(name) } => interfaces::reload(&call, name),
        Asked::Settings { reloaded: None } => interfaces::settings(&call),
        Asked::Filter(filter) => interfaces::judge(filter),
        Asked::Packets => packets::capture(&call),
    })
}
