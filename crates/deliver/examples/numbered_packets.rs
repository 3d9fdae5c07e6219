//! Writes numbered packets, for tests that need a process: to kill it, to fill its disk, to read
//! its standard output.
//!
//! `numbered_packets FILE|- COUNT`: packets of 1000 bytes that begin with their number, flushed
//! after every 50. Tells on standard error what is in the file.

#![allow(clippy::unwrap_used, reason = "an example may fail this way")]

use std::time::Duration;

use deliver::{Destination, Existing, FileSettings, FileSink, Outcome, WhenSlow};
use wire::file::InterfaceHeader;
use wire::{LinkType, Packet, Timestamp};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("-".into());
    let count: u64 = arguments.next().map_or(100, |text| text.parse().unwrap());
    let destination = if path == "-" {
        Destination::Stdout
    } else {
        Destination::File { path: path.into(), existing: Existing::Refuse }
    };
    let start = Timestamp::from_parts(1_700_000_000, 0);
    let mut settings =
        FileSettings::new(destination, vec![InterfaceHeader::ethernet("web-01/eth0")]);
    settings.when_slow = WhenSlow::Wait;
    let mut sink = match FileSink::open(settings, start) {
        Ok(sink) => sink,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let mut data = [0; 1000];
    for number in 0..count {
        for (to, from) in data.iter_mut().zip(number.to_be_bytes()) {
            *to = from;
        }
        let now = start.saturating_add(Duration::from_micros(number));
        let packet = Packet::new(now, LinkType::ETHERNET, &data, 1000);
        let written = sink.write(now, &packet);
        let flushed = if number % 50 == 49 { sink.flush() } else { Ok(()) };
        match (written, flushed) {
            (Ok(Outcome::Written), Ok(())) => {}
            (Ok(Outcome::Ended(end)), Ok(())) => {
                eprintln!("ended: {end:?}");
                break;
            }
            (Ok(other), Ok(())) => eprintln!("not written: {other:?}"),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{error}");
                break;
            }
        }
    }
    let summary = sink.finish(start);
    eprintln!("written: {} lost: {}", summary.totals.packets, summary.packets_unwritten);
}
