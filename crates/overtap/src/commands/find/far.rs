//! `overtap find` through a controller: the same, of all hosts that the user may know of.

mod watch;

use std::io::{self, Write};

use inventory::Timeline;
use jiff::tz::TimeZone;
use remote::Login;
use wire::Timestamp;

use super::{Args, MAX_DETAILED, json, text};
use crate::Output;
use crate::controller::Far;
use crate::exit::Exit;

/// Finds what the words say on all hosts of the controller.
pub(super) fn run(
    args: &Args,
    login: Login,
    time: Option<Timestamp>,
    zone: &TimeZone,
) -> anyhow::Result<Exit> {
    let far = Far::at(login)?;
    let what = args.what.as_deref().unwrap_or_default();
    if args.watch {
        return watch::run(&far, what, args.output, zone);
    }
    let at_ns = time.map_or(0, Timestamp::as_nanos);
    let (mut found, suggestions) = far.wait(far.connection.find(what, at_ns))?;
    if !args.explain {
        let machines = found.iter_mut().flat_map(|host| &mut host.machines);
        machines.for_each(|machine| machine.evidence.clear());
    }
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => json::of_hosts(&mut out, &found)?,
        Output::Text => {
            let count: usize = found.iter().map(|host| host.machines.len()).sum();
            let is_list = args.what.is_none() && !args.explain || count > MAX_DETAILED;
            for (index, host) in found.iter().enumerate() {
                if index > 0 {
                    writeln!(out)?;
                }
                let timeline = Timeline::new(1);
                let page = text::Page {
                    host: &host.host,
                    zone,
                    timeline: &timeline,
                    explain: args.explain,
                };
                let machines: Vec<_> = host.machines.iter().collect();
                if is_list {
                    page.table(&mut out, &machines)?;
                } else {
                    page.details(&mut out, &machines)?;
                }
            }
        }
    }
    out.flush()?;
    for host in found.iter().filter(|host| !host.is_connected) {
        eprintln!("overtap: the agent of {} is away; this is what was known last", host.host);
    }
    if found.is_empty() {
        let hint = match suggestions.first() {
            Some(near) => format!("; perhaps {near}?"),
            None => "; see all you may see: overtap find".to_owned(),
        };
        let what = if what.is_empty() { "a machine that you may see" } else { what };
        eprintln!("overtap: no host has {what}{hint}");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}
