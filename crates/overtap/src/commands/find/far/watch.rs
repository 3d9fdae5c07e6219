//! `overtap find --watch` through a controller: one line for each change at any host.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use api::document::HostFound;
use inventory::Machine;
use jiff::tz::TimeZone;
use remote::RemoteError;
use wire::Timestamp;

use super::super::{json, text, when};
use crate::Output;
use crate::controller::{Far, stopped};
use crate::exit::Exit;

/// Watches until it is stopped. A controller that is away for a while is waited for: what changed
/// meanwhile is told then.
pub(super) fn run(far: &Far, what: &str, output: Output, zone: &TimeZone) -> anyhow::Result<Exit> {
    let mut known = Known { hosts: BTreeMap::new(), output, zone: zone.clone() };
    far.wait(async {
        tokio::select! {
            done = attend(far, what, &mut known) => done,
            () = stopped() => Ok(Exit::Done),
        }
    })
}

async fn attend(far: &Far, what: &str, known: &mut Known) -> anyhow::Result<Exit> {
    let mut is_first = true;
    loop {
        match follow(far, what, known, &mut is_first).await {
            Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(Exit::Done);
            }
            Err(Trouble::Output(error)) => return Err(error).context("cannot print"),
            Err(Trouble::Remote(error)) if is_first || !error.is_passing() => {
                return Err(error.into());
            }
            Err(Trouble::Remote(error)) => eprintln!("overtap: {error}; waiting for it"),
            Ok(()) => eprintln!("overtap: the controller has ended; waiting for it"),
        }
        while let Err(error) = far.connection.status().await {
            if error.is_final() {
                return Err(error.into());
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }
}

async fn follow(
    far: &Far,
    what: &str,
    known: &mut Known,
    is_first: &mut bool,
) -> Result<(), Trouble> {
    let mut replies = far.connection.watch_machines(what).await?;
    while let Some(hosts) = far.connection.watched(&mut replies).await? {
        if std::mem::take(is_first) {
            let count: usize = hosts.iter().map(|host| host.machines.len()).sum();
            known.take(hosts);
            let machines =
                if count == 1 { "1 machine".into() } else { format!("{count} machines") };
            eprintln!("overtap: watching {machines}; changes follow, end with Ctrl-C");
        } else {
            known.tell(hosts)?;
        }
    }
    Ok(())
}

/// Why nothing more is told.
enum Trouble {
    /// Nobody tells.
    Remote(RemoteError),
    /// Nobody reads.
    Output(io::Error),
}

impl From<RemoteError> for Trouble {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What is known of each host.
struct Known {
    hosts: BTreeMap<String, (bool, Vec<Machine>)>,
    output: Output,
    zone: TimeZone,
}

impl Known {
    fn take(&mut self, hosts: Vec<HostFound>) {
        for HostFound { host, is_connected, machines, .. } in hosts {
            self.hosts.insert(host, (is_connected, machines));
        }
    }

    /// Prints what is different from what was known.
    fn tell(&mut self, hosts: Vec<HostFound>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for now in &hosts {
            let nothing = (now.is_connected, Vec::new());
            let (was_connected, before) = self.hosts.get(&now.host).unwrap_or(&nothing);
            if *was_connected != now.is_connected {
                let how = if now.is_connected { "is back" } else { "is away" };
                eprintln!("overtap: the agent of {} {how}", text::printable(&now.host));
            }
            let at = Timestamp::from_nanos(now.at_ns);
            for change in inventory::changes(at, before, &now.machines) {
                match self.output {
                    Output::Json => json::change(&mut out, &now.host, &change)?,
                    Output::Text => {
                        let time = when::show_exact(change.at, &self.zone);
                        let line = format!("{}  {change}", now.host);
                        writeln!(out, "{time}  {}", text::printable(&line))?;
                    }
                }
            }
        }
        out.flush()?;
        self.take(hosts);
        Ok(())
    }
}

/// How often a controller that is away is looked for.
const RETRY_EVERY: Duration = Duration::from_secs(1);
