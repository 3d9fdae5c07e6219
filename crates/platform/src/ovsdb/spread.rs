//! How Open vSwitch's teams in mode `balance-slb` spread senders: asked of the daemon itself, since
//! its database does not have it.
//!
//! The daemon answers words like those of ovs-appctl(8) on a socket of its own: JSON-RPC as the
//! database speaks it, with text for people as the result.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use inventory::facts::{OvsFacts, OvsPort, OvsSpread};
use serde_json::{Value, json};
use wire::Mac;

use super::frame::Framer;
use crate::stream::{Arrival, Stream};

/// Whether any team spreads in a way that only the daemon knows.
pub(super) fn is_told(facts: &OvsFacts) -> bool {
    facts.bridges.iter().flat_map(|bridge| &bridge.ports).any(is_slb)
}

/// Completes `facts` with what the daemon tells, whose files are in `directory`. Where it does not
/// tell, any member may carry a frame: that is what the facts say without it.
pub(super) fn complete(facts: &mut OvsFacts, directory: &Path) {
    if !is_told(facts) {
        return;
    }
    let Ok(mut daemon) = Daemon::connect(directory) else { return };
    if !daemon.has_portable_hash() {
        return;
    }
    let ports = facts.bridges.iter_mut().flat_map(|bridge| &mut bridge.ports);
    for port in ports.filter(|port| is_slb(port)) {
        let Ok(text) = daemon.ask("bond/show", &[&port.name]) else { return };
        if let Some(spread) = &mut port.spread {
            spread.members = members(&text);
        }
    }
}

fn is_slb(port: &OvsPort) -> bool {
    port.interfaces.len() > 1 && port.bond_mode.as_deref() == Some("balance-slb")
}

/// Which member has which hashes, from the answer to `bond/show`. Versions before 2.16 call members
/// slaves.
fn members(text: &str) -> BTreeMap<u8, String> {
    let mut members = BTreeMap::new();
    let mut member = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("member ").or_else(|| line.strip_prefix("slave ")) {
            member = rest.split_once(": ").map(|(name, _)| name);
        } else if let Some(rest) = line.strip_prefix("hash ")
            && let Some((hash, _)) = rest.split_once(':')
            && let (Ok(hash), Some(member)) = (hash.parse(), member)
        {
            members.insert(hash, member.to_owned());
        }
    }
    members
}

/// The switch's daemon.
struct Daemon {
    stream: Stream,
    framer: Framer,
    deadline: Instant,
}

impl Daemon {
    fn connect(directory: &Path) -> io::Result<Self> {
        let pid = std::fs::read_to_string(directory.join("ovs-vswitchd.pid"))?;
        let path = directory.join(format!("ovs-vswitchd.{}.ctl", pid.trim()));
        Ok(Self {
            stream: Stream::connect(&path)?,
            framer: Framer::default(),
            deadline: Instant::now() + PATIENCE,
        })
    }

    /// Whether its hash is ours: builds for processors with SSE 4.2 have another.
    fn has_portable_hash(&mut self) -> bool {
        let (mac, vlan, basis) = (Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]), 10, 7);
        let words = [mac.to_string(), vlan.to_string(), basis.to_string()];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = self.ask("bond/hash", &words);
        answer.is_ok_and(|hash| hash.trim() == OvsSpread::hash(mac, vlan, basis).to_string())
    }

    fn ask(&mut self, method: &str, words: &[&str]) -> io::Result<String> {
        let request = json!({ "method": method, "params": words, "id": method });
        self.stream.write(request.to_string().as_bytes())?;
        loop {
            if let Some(object) = self.framer.next().map_err(io::Error::other)? {
                let answer: Value = serde_json::from_slice(&object)?;
                let result = answer.get("result").and_then(Value::as_str);
                return result.map(str::to_owned).ok_or_else(|| io::Error::other("refused"));
            }
            match self.stream.read(self.framer.bytes(), &[], Some(self.deadline))? {
                Arrival::Bytes => {}
                Arrival::Deadline | Arrival::Woken => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }
}

/// How long the daemon may take for all answers together.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_belong_to_the_member_above_them() {
        let text = "---- bond0 ----\nbond_mode: balance-slb\nbond-hash-basis: 0\n\n\
                    member up0: enabled\n  active member\n  may_enable: true\n  hash 12: 3 kB load\n\
                    \nmember up1: enabled\n  may_enable: true\n  hash 171: 20 kB load\n  hash 4: 1 kB load\n";
        let found = members(text);
        let found: Vec<(u8, &str)> = found.iter().map(|(h, m)| (*h, m.as_str())).collect();
        assert_eq!(found, [(4, "up1"), (12, "up0"), (171, "up1")]);
        assert_eq!(members(&text.replace("member", "slave")), members(text));
        assert!(members("hash 4: 1 kB load\nmember up0").is_empty());
    }
}
