//! Any text as an inventory file: it is read or refused with a place inside it, and every name in
//! what was read can be asked for.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run inventory_file -- -max_len=2048`
#![no_main]

use inventory::{History, Wording};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match History::parse(text) {
        Ok(history) => {
            for episode in history.episodes().iter().take(20) {
                let machine = &episode.machine;
                let asked = [
                    (Wording::Vm, Some(machine.id.to_string())),
                    (Wording::Vm, Some(machine.name.clone())),
                    (Wording::Tenant, machine.tenant.clone()),
                    (Wording::HostOf, Some(episode.host.name.clone())),
                ];
                for (wording, name) in asked {
                    if let Some(name) = name {
                        let _ = history.meaning(wording, &name);
                    }
                }
                assert!(episode.during.until.is_none_or(|until| episode.during.from <= until));
            }
            let _ = history.condensed();
        }
        Err(error) => {
            assert!(!error.problem.is_empty() && !error.problem.contains('\n'));
            assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1);
            assert!(error.column >= 1);
        }
    }
});
