//! Who exports flows, from what the collector remembers on disk.

use std::path::Path;

use api::traffic::{Answer, Exporter, Exporters};
use collector::Memory;
use tonic::Status;
use wire::export::{Collector, Limits, Protocol, Ratio};

/// Tells them.
pub(super) fn answer(
    state: Option<&Path>,
    tell: &mut dyn FnMut(&Answer) -> bool,
) -> Result<(), Status> {
    let state = state.ok_or_else(|| {
        Status::not_found(
            "this controller knows no exporters; start it with --exporters DIR, the directory \
             that overtap collect --state writes",
        )
    })?;
    let exporters = read(state).map_err(Status::internal)?;
    tell(&Answer::Exporters(exporters));
    Ok(())
}

/// The exporters that a collector remembers in this directory.
pub(in crate::server) fn read(state: &Path) -> Result<Exporters, String> {
    let remembered = Memory::read(state).map_err(|error| error.to_string())?;
    let mut collector = Collector::new(Limits::of_what_was_kept());
    for saved in remembered.exporters {
        // One that cannot be read is told by `overtap exporters`.
        let _ = collector.restore(saved);
    }
    let exporters = collector.exporters().iter().map(exporter).collect();
    Ok(Exporters { written_ns: remembered.written.as_nanos(), exporters })
}

fn exporter(exporter: &wire::export::Exporter) -> Exporter {
    let (key, account) = (exporter.key, &exporter.account);
    let sequence = exporter.sequence();
    let options = exporter.samplers.rates().map(|(_, _, ratio)| ratio);
    let sources = exporter.sources();
    let sources = sources.filter_map(|(_, source)| Ratio::one_in(u64::from(source.interval)));
    let header = exporter.header_rate();
    let ratios = options.chain(sources).chain(header);
    let mut sampling: Vec<[u64; 2]> =
        ratios.map(|ratio| [ratio.taken, ratio.population].map(u64::from)).collect();
    sampling.sort_unstable();
    sampling.dedup();
    let said = [account.not_sent_packets, account.ignored_packets];
    let not_sent = said.into_iter().flatten().chain([exporter.agent_drops()]);
    Exporter {
        address: key.address.to_string(),
        port: (key.protocol != Protocol::Sflow).then_some(key.port),
        protocol: key.protocol.name().to_owned(),
        domain: key.domain,
        datagrams: account.datagrams,
        records: account.records,
        samples: account.flow_samples,
        malformed: account.malformed(),
        sets_without_template: account.sets_without_template,
        lost: sequence.lost(),
        lost_unit: match key.protocol {
            Protocol::NetflowV5 | Protocol::Ipfix => "records",
            Protocol::NetflowV9 | Protocol::Sflow => "datagrams",
        }
        .to_owned(),
        not_sent: not_sent.fold(0, u64::saturating_add),
        restarts: sequence.restarts(),
        sampling,
        clock_ahead_ms: exporter.clock_ahead_ms,
        first_seen_ns: exporter.first_seen.as_nanos(),
        last_seen_ns: exporter.last_seen.as_nanos(),
    }
}
