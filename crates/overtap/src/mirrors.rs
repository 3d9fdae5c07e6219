//! What is said about mirror sessions: by `extract --decapsulate` and `stat`.

use std::fmt::Write as _;

use files::MirrorReport;
use serde_json::{Value, json};
use wire::VlanId;
use wire::mirror::{MirrorNumbering, MirrorSession, SessionNumber};

use crate::quantity::show_bytes;
use crate::table::Table;

/// For people, after an account: the sessions, and what was lost of them on the way.
pub(crate) fn text(reports: &[MirrorReport]) -> Result<String, std::fmt::Error> {
    table(reports, true, SHOWN)
}

/// A table with at most `top` sessions; `with_overlays` says whether those are shown that may be an
/// overlay network.
pub(crate) fn table(
    reports: &[MirrorReport],
    with_overlays: bool,
    top: usize,
) -> Result<String, std::fmt::Error> {
    let mut rows = Table::new([
        "MIRROR", "TO", "PORT", "FRAMES", "BYTES", "CUT", "LOST", "LATE", "REPEATED", "RESTARTS",
    ]);
    let mut notes = String::new();
    for report in reports {
        let shown = |session: &MirrorSession| with_overlays || !session.key.kind.may_be_overlay();
        let sessions = report.sessions.iter().enumerate();
        for (number, session) in sessions.filter(|(_, session)| shown(session)).take(top) {
            rows.add(row(session, report.row_of(SessionNumber(number))));
        }
        let hidden = report.sessions.iter().filter(|session| shown(session)).count();
        if let Some(more) = hidden.checked_sub(top).filter(|more| *more > 0) {
            writeln!(notes, "and {} more sessions", agent::grouped(more as u64))?;
        }
        for row in report.numbering.iter().filter(|row| row.sessions.len() > 1) {
            let source = row.source.map_or_else(String::new, |source| format!("{source} "));
            writeln!(
                notes,
                "{source}numbers {} sessions in one row: {} lost, {} late, {} repeated, {} restarts",
                row.sessions.len(),
                agent::grouped(row.counts.lost),
                agent::grouped(row.counts.late),
                agent::grouped(row.counts.repeated),
                agent::grouped(row.counts.restarts),
            )?;
        }
        if report.sessions.refused() > 0 {
            let frames = agent::grouped(report.sessions.refused());
            writeln!(notes, "{frames} frames of more sessions than are told apart")?;
        }
    }
    if rows.is_empty() {
        return Ok(notes);
    }
    Ok(format!("{}{notes}\n", rows.text()))
}

fn row(session: &MirrorSession, numbering: Option<&MirrorNumbering>) -> [String; 10] {
    // What several sessions share is told below.
    let counts = numbering.filter(|row| row.sessions.len() == 1).map(|row| row.counts);
    let shared = if numbering.is_some() { "shared" } else { "-" };
    let count = |value: Option<u64>| value.map_or_else(|| shared.to_owned(), agent::grouped);
    let port = match session.port {
        _ if session.has_many_ports => "several".to_owned(),
        Some(port) => port.to_string(),
        None => "-".to_owned(),
    };
    [
        session.key.to_string(),
        session.destination.map_or_else(|| "-".to_owned(), |address| address.to_string()),
        port,
        agent::grouped(session.packets),
        show_bytes(session.bytes),
        agent::grouped(session.truncated),
        count(counts.map(|counts| counts.lost)),
        count(counts.map(|counts| counts.late)),
        count(counts.map(|counts| counts.repeated)),
        count(counts.map(|counts| counts.restarts)),
    ]
}

/// For programs.
pub(crate) fn json(reports: &[MirrorReport]) -> Vec<Value> {
    reports.iter().map(report_json).collect()
}

fn report_json(report: &MirrorReport) -> Value {
    let sessions: Vec<Value> = report
        .sessions
        .iter()
        .enumerate()
        .map(|(number, session)| session_json(session, report.row_of(SessionNumber(number))))
        .collect();
    let numbering: Vec<Value> = report
        .numbering
        .iter()
        .map(|row| {
            json!({
                "source": row.source,
                "sessions": row.sessions.iter().map(|number| number.0).collect::<Vec<_>>(),
                "numbered": row.counts.numbered,
                "lost": row.counts.lost,
                "late": row.counts.late,
                "repeated": row.counts.repeated,
                "strays": row.counts.strays,
                "restarts": row.counts.restarts,
            })
        })
        .collect();
    json!({
        "input": report.input,
        "sessions": sessions,
        "numbering": numbering,
        "lost": report.lost(),
        "frames_of_other_sessions": report.sessions.refused(),
    })
}

fn session_json(session: &MirrorSession, numbering: Option<&MirrorNumbering>) -> Value {
    let (first, last) = session.span;
    json!({
        "kind": session.key.kind.name(),
        "source": session.key.source,
        "destination": session.destination,
        "id": session.key.id,
        "port": session.port,
        "several_ports": session.has_many_ports,
        "vlan": session.vlan.map(VlanId::value),
        "egress": session.is_egress,
        "packets": session.packets,
        "bytes": session.bytes,
        "truncated": session.truncated,
        "times_of_the_switch": session.timed,
        "clock_is_time_of_day": session.has_time_of_day(),
        "first": crate::commands::stat::json::rfc3339(first),
        "last": crate::commands::stat::json::rfc3339(last),
        "lost": numbering.filter(|row| row.sessions.len() == 1).map(|row| row.counts.lost),
        "shares_numbers": numbering.is_some_and(|row| row.sessions.len() > 1),
    })
}

/// Sessions told one by one after an account.
const SHOWN: usize = 20;
