//! How the controller is, for Prometheus. What each figure means is in docs/reference/metrics.md.
//!
//! Figures of single agents carry the agent's id as their only label, for at most
//! [`MOST_AGENTS_LISTED`] agents; sessions, machines, users and addresses are never labels.

use std::io;
use std::sync::Arc;

use telemetry::scrape::Scrape;
use telemetry::{Event, Kind, Page, process};

use super::desk::{Desk, now_ns};

impl Desk {
    /// Begins to answer who asks at `scrape`, as long as the program runs.
    pub(super) fn serve_metrics(self: &Arc<Self>, scrape: Scrape) -> io::Result<()> {
        let text = format!("metrics are at http://{}/metrics", scrape.address()?);
        self.log.say(Event::info(text));
        let desk = Arc::clone(self);
        tokio::spawn(scrape.serve(move || desk.page()));
        Ok(())
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        process::write(&mut page, "controller", &self.version);
        self.write_fleet(&mut page);
        self.write_sessions(&mut page);
        if let Ok(head) = self.blocking(|store| store.audit_head()) {
            let help = "Entries of the audit log, since it was begun.";
            page.one("overtap_audit_entries_total", Kind::Counter, help, head.seq);
        }
        let standing = self.authority.now();
        let ends = [
            ("authority", standing.ca.certificate().not_after().as_second()),
            ("controller", standing.leaf.not_after().as_second()),
        ];
        page.by(
            "overtap_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "When a certificate ends, in seconds since 1970.",
            "certificate",
            ends.map(|(name, end)| (name, u64::try_from(end).unwrap_or(0))),
        );
        page
    }

    fn write_fleet(&self, page: &mut Page) {
        let agents = self.state().fleet.status(now_ns());
        let there = agents.iter().filter(|agent| agent.is_connected).count();
        page.by(
            "overtap_agents",
            Kind::Gauge,
            "Agents heard since the controller began: connected now, or away.",
            "state",
            [("there", there), ("away", agents.len() - there)],
        );
        let machines: usize = agents.iter().map(|agent| agent.machines).sum();
        page.one("overtap_machines", Kind::Gauge, "Machines known, on all hosts.", machines);
        let listed = agents.get(..MOST_AGENTS_LISTED).unwrap_or(&agents);
        page.by(
            "overtap_agent_connected",
            Kind::Gauge,
            "1 while the agent is connected, else 0.",
            "agent",
            listed.iter().map(|agent| (agent.id.as_str(), u64::from(agent.is_connected))),
        );
        page.by(
            "overtap_agent_heard_timestamp_seconds",
            Kind::Gauge,
            "When the agent was last heard, by the controller's clock, in seconds since 1970.",
            "agent",
            listed.iter().map(|agent| (agent.id.as_str(), seconds(agent.heard_ns))),
        );
        let clocks = || {
            let known = listed.iter().filter(|agent| agent.is_connected);
            known.filter_map(|agent| Some((agent.id.as_str(), agent.clock?)))
        };
        page.by(
            "overtap_agent_clock_offset_seconds",
            Kind::Gauge,
            "How far the agent's clock is ahead of the controller's.",
            "agent",
            clocks().map(|(id, clock)| {
                let ahead = seconds(clock.ahead_ns.unsigned_abs());
                (id, if clock.ahead_ns < 0 { -ahead } else { ahead })
            }),
        );
        page.by(
            "overtap_agent_clock_uncertainty_seconds",
            Kind::Gauge,
            "The true offset is at most this far from the one measured.",
            "agent",
            clocks().map(|(id, clock)| (id, seconds(clock.uncertainty_ns))),
        );
        let problems: usize = agents.iter().map(|agent| agent.problems.len()).sum();
        let help = "Sources of the hosts' inventories that complain of something.";
        page.one("overtap_inventory_problems", Kind::Gauge, help, problems);
    }

    fn write_sessions(&self, page: &mut Page) {
        let (mut running, mut ended) = (0_u64, 0_u64);
        let (mut parts, mut written, mut kernel, mut failed, mut kept) = (0_u64, 0, 0, 0, 0);
        for session in self.state().sessions.iter() {
            *(if session.ended.is_none() { &mut running } else { &mut ended }) += 1;
            for part in &session.parts {
                kept += part.bytes;
                if part.ended.is_none() {
                    parts += 1;
                    written += part.packets;
                    kernel += part.kernel_dropped;
                    failed += part.failed;
                }
            }
        }
        page.by(
            "overtap_sessions",
            Kind::Gauge,
            "Capture sessions that run, and those that have ended and are kept.",
            "state",
            [("running", running), ("ended", ended)],
        );
        let help = "Parts of sessions that agents capture now.";
        page.one("overtap_parts_running", Kind::Gauge, help, parts);
        page.by(
            "overtap_parts_running_packets",
            Kind::Gauge,
            "Packets of the parts that run, as their agents said last: written, dropped by the \
             kernel, or not written because the file took no more.",
            "outcome",
            [("written", written), ("kernel_dropped", kernel), ("failed", failed)],
        );
        let help = "Bytes of packets that agents keep for sessions.";
        page.one("overtap_parts_kept_bytes", Kind::Gauge, help, kept);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people, exact to a microsecond")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

const MOST_AGENTS_LISTED: usize = 5000;
