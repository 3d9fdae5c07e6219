//! Addresses that libvirt's DHCP servers gave out, from the files its lease helper writes.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use wire::{Mac, Timestamp};

/// The addresses of each MAC by the `*.status` files in `directory`; those that ran out before
/// `now` are left out. No directory is no lease.
pub(super) fn read(directory: &Path, now: Timestamp) -> HashMap<Mac, Vec<IpAddr>> {
    let mut leases: HashMap<Mac, Vec<IpAddr>> = HashMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return leases };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "status") {
            continue;
        }
        let Ok(file) = fs::File::open(path) else { continue };
        let mut text = String::new();
        if file.take(FILE_MAX).read_to_string(&mut text).is_err() {
            continue;
        }
        let Ok(Value::Array(records)) = serde_json::from_str(&text) else { continue };
        for (mac, ip) in records.iter().filter_map(|record| lease(record, now)) {
            leases.entry(mac).or_default().push(ip);
        }
    }
    for ips in leases.values_mut() {
        ips.sort_unstable();
        ips.dedup();
    }
    leases
}

fn lease(record: &Value, now: Timestamp) -> Option<(Mac, IpAddr)> {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let expires = record.get("expiry-time").and_then(Value::as_u64).unwrap_or(0);
    // 0 is for ever.
    if expires != 0 && expires < now.seconds() {
        return None;
    }
    Some((text("mac-address")?.parse().ok()?, text("ip-address")?.parse().ok()?))
}

const FILE_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_that_have_not_run_out_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"[
            {"ip-address": "192.168.122.57", "mac-address": "52:54:00:00:00:01",
             "hostname": "web", "expiry-time": 2000},
            {"ip-address": "192.168.122.58", "mac-address": "52:54:00:00:00:02",
             "expiry-time": 999},
            {"ip-address": "fd00::57", "mac-address": "52:54:00:00:00:01", "expiry-time": 0},
            {"ip-address": "broken"}
        ]"#;
        fs::write(directory.path().join("virbr0.status"), text).unwrap();
        fs::write(directory.path().join("virbr1.status"), "").unwrap();
        fs::write(directory.path().join("default.conf"), text).unwrap();
        let leases = read(directory.path(), Timestamp::from_parts(1000, 0));
        let ips = vec!["192.168.122.57".parse().unwrap(), "fd00::57".parse().unwrap()];
        assert_eq!(leases, HashMap::from([("52:54:00:00:00:01".parse().unwrap(), ips)]));
    }
}
