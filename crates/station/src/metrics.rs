//! How the agent is, for Prometheus. What each figure means is in docs/reference/metrics.md.
//!
//! Sessions, machines and addresses are never labels: the only ones are fixed words.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pipeline::Ledger;
use select::DropReason;
use telemetry::scrape::Scrape;
use telemetry::{Event, Kind, Log, Page, process};

use crate::board::{Board, State};
use crate::spool::{Spool, kept_bytes};

/// What the figures are read from.
pub(crate) struct Metrics {
    board: Arc<Board>,
    spool: PathBuf,
    version: String,
}

impl Metrics {
    /// The figures of this board and this spool.
    pub(crate) fn new(board: Arc<Board>, spool: &Spool, version: &str) -> Self {
        Self { board, spool: spool.folder().to_owned(), version: version.to_owned() }
    }

    /// Begins to answer who asks at `address`, as long as the runtime lasts.
    pub(crate) async fn serve(self, address: SocketAddr, log: &Log) -> io::Result<()> {
        let scrape = Scrape::bind(address).await?;
        let text = format!("metrics are at http://{}/metrics", scrape.address()?);
        log.say(Event::info(text));
        tokio::spawn(scrape.serve(move || self.page()));
        Ok(())
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        process::write(&mut page, "agent", &self.version);
        if let Ok(found) = rustix::fs::statvfs(&self.spool) {
            let help = "Bytes that are free on the disk of the spool.";
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            page.one("overtap_spool_free_bytes", Kind::Gauge, help, free);
        }
        let state = self.board.state();
        write_parts(&mut page, &state);
        write_packets(&mut page, &state.account.total());
        let help = "1 while the controller is connected, else 0.";
        let is_there = u64::from(state.is_attending);
        page.one("overtap_controller_connected", Kind::Gauge, help, is_there);
        let machines = state.site.machines.len();
        page.one("overtap_machines", Kind::Gauge, "Machines known, on this host.", machines);
        let help = "Sources of the host's inventory that complain of something.";
        let problems = state.site.sources.iter().filter(|source| source.problem.is_some()).count();
        page.one("overtap_inventory_problems", Kind::Gauge, help, problems);
        let until = state.certificate_until.map(jiff::Timestamp::as_second);
        page.by(
            "overtap_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "When a certificate ends, in seconds since 1970.",
            "certificate",
            until.and_then(|end| Some(("agent", u64::try_from(end).ok()?))),
        );
        page
    }
}

fn write_parts(page: &mut Page, state: &State) {
    let is_running = |session: &str| {
        state.parts.iter().any(|((of, _), posted)| of == session && posted.part.ended.is_none())
    };
    let running = state.parts.values().filter(|posted| posted.part.ended.is_none()).count();
    let help = "Parts of sessions that are captured now.";
    page.one("overtap_parts_running", Kind::Gauge, help, running);
    let help = "Bytes of packets kept until they are fetched.";
    let kept: u64 = state.parts.values().map(|posted| kept_bytes(&posted.part)).sum();
    page.one("overtap_spool_bytes", Kind::Gauge, help, kept);
    let orders = state.orders.as_ref();
    let sessions = orders.map(|orders| orders.sessions.as_slice()).unwrap_or_default();
    let here = sessions.iter().filter(|order| is_running(&order.session));
    let budget = here.fold(0_u64, |sum, order| sum.saturating_add(order.spool_bytes));
    let help = "Most bytes that the sessions with a running part here may keep on this host.";
    page.one("overtap_spool_budget_bytes", Kind::Gauge, help, budget);
    let help = "Sessions that are ordered now, wherever their machines are.";
    page.one("overtap_sessions_ordered", Kind::Gauge, help, sessions.len());
}

/// The equation of every receipt, for all parts since the agent began:
/// received = dropped by the kernel + dropped for each other reason + written.
fn write_packets(page: &mut Page, total: &Ledger) {
    let help = "Packets that reached the sockets of captures.";
    page.one("overtap_packets_received_total", Kind::Counter, help, total.received);
    let help = "Packets written for sessions.";
    page.one("overtap_packets_written_total", Kind::Counter, help, total.written);
    let help = "Bytes of packets written for sessions.";
    page.one("overtap_packets_written_bytes_total", Kind::Counter, help, total.written_bytes);
    let help = "Packets among the written ones that were cut to the snaplen.";
    page.one("overtap_packets_sliced_total", Kind::Counter, help, total.sliced);
    let kernel = ("kernel", total.kernel_dropped);
    let others = DropReason::ALL.map(|reason| (reason.name(), total.dropped(reason)));
    page.by(
        "overtap_packets_dropped_total",
        Kind::Counter,
        "Packets that went no further, and why.",
        "reason",
        std::iter::once(kernel).chain(others),
    );
}
