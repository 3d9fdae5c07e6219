//! Packets into Wireshark's pipe, as `overtap capture` writes them.

use std::fs::File;

use anyhow::{Context, bail};
use clap::Parser;

use super::call::Call;
use super::identity::Identity;
use super::settings::Settings;
use super::toolbar::Toolbar;
use crate::commands::capture;
use crate::exit::{Exit, WrongUsage};

/// The words of `overtap capture`.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: capture::Args,
}

/// Captures until Wireshark has enough.
pub(super) fn capture(call: &Call) -> anyhow::Result<Exit> {
    let Some(identity) = Identity::parse(call.interface()) else {
        bail!(WrongUsage(format!("{} is no interface of overtap", call.interface())));
    };
    let vm = identity.word().or_else(|| call.vm().map(str::to_owned));
    let Some(vm) = vm else {
        bail!(
            "say which VM: in Wireshark by the cogwheel beside the interface, for tshark with \
               -o extcap.overtap_any.vm:NAME"
        );
    };
    let mut words = vec!["overtap".to_owned(), "--quiet".into(), "--write=-".into()];
    words.extend(call.words());
    words.extend(["--".into(), vm.clone()]);
    words.extend(call.filter().map(str::to_owned));
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => bail!(WrongUsage(error.to_string())),
    };
    let fifo = call.fifo.as_deref().context("--capture without --fifo")?;
    let fifo = File::options().write(true).open(fifo);
    let fifo = fifo.context("cannot open the pipe to Wireshark")?;
    rustix::stdio::dup2_stdout(&fifo).context("cannot write into the pipe to Wireshark")?;
    drop(fifo);
    if let Ok(mut settings) = Settings::open() {
        settings.used(&vm);
        // It only orders a list.
        let _ = settings.keep();
    }
    let toolbar = Toolbar::open(call);
    let exit = capture::run_shown(&line.args, toolbar.map(Toolbar::listener))?;
    if exit == Exit::Lost {
        eprintln!(
            "packets were lost on the way: the statistics of the interfaces say how many, comments \
             where (Statistics, Capture File Properties)"
        );
        return Ok(Exit::Done);
    }
    Ok(exit)
}
