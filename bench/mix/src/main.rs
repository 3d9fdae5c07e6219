//! The mix: made-up traffic of which everything is known, and the judge of what was made of it.
//!
//! Beside a capture it writes the truth about every packet (`truth.rs` says how), the inventory
//! that overtap is given, and a summary. The same words give the same bytes.

mod capture_file;
mod flow;
mod frame;
mod inventory;
mod judge;
mod make;
mod random;
mod site;
mod traffic;
mod truth;

use std::process::ExitCode;

const USAGE: &str = "\
usage: overtap-mix make FOLDER [--size BYTES] [--form FORM] [--seed N] [--name NAME]
       overtap-mix list CAPTURE TRUTH [--vm VM]
       overtap-mix judge JOB CAPTURE TRUTH [WORD] OUTPUT

JOB: vm VM, tenant NUMBER, vms (OUTPUT is a folder with VM.pcapng or VM.pcap for each VM), strip,
dedup, copy, stat (lines of carrier, number, packets, bytes).
FORM: pcap, pcap-nano, pcap-big, pcap-nano-big, pcapng, pcapng-big. Exits 1 and says what differs if an output is not the truth.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&"make", rest)) => make::run(rest),
        Some((&"list", rest)) => judge::list(rest),
        Some((&"judge", rest)) => judge::run(rest),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overtap-mix: {error}");
            ExitCode::FAILURE
        }
    }
}
