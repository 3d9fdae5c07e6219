//! The figures that every process has, under the names all exporters give them.

use std::fs;

use crate::metrics::{Kind, Labels, Page};

/// What runs, and what it takes of the machine, as the kernel counts it (proc(5)). What the kernel
/// does not say is not on the page.
pub fn write(page: &mut Page, role: &str, version: &str) {
    page.metric(
        "overtap_build_info",
        Kind::Gauge,
        "Always 1; version and role of what is running are in its labels.",
        [(Labels(&[("version", version), ("role", role)]), 1_u64)],
    );
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kb) = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()) {
        let help = "Memory in use, resident.";
        page.one("process_resident_memory_bytes", Kind::Gauge, help, kb * 1024);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        page.one("process_open_fds", Kind::Gauge, "Open file descriptors.", entries.count());
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(times) = Times::read(&stat) {
        let help = "Processor time spent, in user and system mode.";
        page.one("process_cpu_seconds_total", Kind::Counter, help, times.cpu_s);
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
        if let Some(boot_s) = boot.and_then(|text| text.parse::<f64>().ok()) {
            let help = "When the process began, in seconds since 1970.";
            let began_s = boot_s + times.after_boot_s;
            page.one("process_start_time_seconds", Kind::Gauge, help, began_s);
        }
    }
}

/// Two figures of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Times {
    cpu_s: f64,
    after_boot_s: f64,
}

impl Times {
    fn read(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything; behind it, fields 3 and on.
        let (_, fields) = stat.rsplit_once(") ")?;
        let field = |number: usize| fields.split(' ').nth(number - 3)?.parse::<f64>().ok();
        #[expect(clippy::cast_precision_loss, reason = "it is 100")]
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_s: (field(14)? + field(15)?) / ticks_per_s,
            after_boot_s: field(22)? / ticks_per_s,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 150 50 0 0 20 0 1 0 12300 1 2";
        assert_eq!(Times::read(stat), Some(Times { cpu_s: 2.0, after_boot_s: 123.0 }));
        assert_eq!(Times::read(""), None);
    }
}
