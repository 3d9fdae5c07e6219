//! The controller: a process that is started, asked what it takes, and ended.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::Result;

pub struct Controller {
    process: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: String,
    /// The token of its first administrator.
    pub token: String,
    /// Its authority.
    pub ca_pem: String,
}

impl Controller {
    pub fn start(program: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("overtap-fleet-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut process = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
            .arg(&folder)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().ok_or("no stderr")?;
        let (to, said) = mpsc::channel();
        std::thread::spawn(move || {
            // What it says later is thrown away, but read.
            for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
                let _ = to.send(line);
            }
        });
        let (mut address, mut token) = (None, None);
        while address.is_none() || token.is_none() {
            let line = said.recv_timeout(Duration::from_secs(10))?;
            let place = line.rsplit_once("listening on ").map(|(_, place)| place.trim().to_owned());
            address = place.or(address);
            token = line.split_once("--token ").map(|(_, token)| token.to_owned()).or(token);
        }
        let ca = control::ca::Ca::open(&folder)?;
        Ok(Self {
            process,
            folder,
            address: address.unwrap_or_default(),
            token: token.unwrap_or_default(),
            ca_pem: ca.certificate().pem(),
        })
    }

    /// Resident memory now and at its peak.
    pub fn memory_mb(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kb.unwrap_or_default() / 1024
        };
        Ok((of("VmRSS:"), of("VmHWM:")))
    }

    /// Seconds of CPU it has used, at 100 ticks a second.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, after_name) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks = after_name.split_whitespace().skip(11).take(2);
        Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It is ours and nothing of it is needed: whether it ends or has ended is the same.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
