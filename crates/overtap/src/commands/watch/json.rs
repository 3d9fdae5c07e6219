//! A VM that is watched, as one object.

use jiff::Timestamp;
use screen::Talk;
use serde_json::{Value, json};

use super::view::Watching;

/// One line: how it is now, and what has happened since the last one.
pub(super) fn line(watching: &Watching, events: &[String]) -> anyhow::Result<String> {
    let (subject, seen) = (watching.subject(), watching.seen());
    let mut talks = seen.snapshot.talks;
    talks.sort_by_key(|talk| std::cmp::Reverse(talk.both.octets));
    let points = subject.points.iter().map(|point| {
        json!({
            "place": point.place,
            "is_used": point.is_used,
            "sees": point.sees,
            "misses": point.misses,
        })
    });
    let object = json!({
        "time": Timestamp::now().to_string(),
        "vm": subject.name,
        "state": subject.state,
        "hosts": subject.hosts,
        "tenant": subject.tenant,
        "points": points.collect::<Vec<_>>(),
        "packets": seen.frames.packets,
        "bytes": seen.frames.octets,
        "packets_per_s": seen.frames.packets_per_s,
        "bits_per_s": seen.frames.octets_per_s * 8.0,
        "dropped": watching.dropped(),
        "packets_without_talk": seen.without_talk,
        "talkers": talks.iter().map(talk).collect::<Vec<_>>(),
        "events": events,
    });
    Ok(serde_json::to_string(&object)? + "\n")
}

/// Two that talk. Bytes are those of IP packets.
pub(crate) fn talk(talk: &Talk) -> Value {
    let ends = talk.ends.iter().zip(&talk.ways).map(|(end, sent)| {
        json!({
            "vm": end.machine,
            "ip": end.address.to_string(),
            "sent_packets": sent.packets,
            "sent_bytes": sent.octets,
        })
    });
    json!({
        "ends": ends.collect::<Vec<_>>(),
        "app": talk.application,
        "network": talk.key.network.to_string(),
        "split": talk.split.name(),
        "packets": talk.both.packets,
        "bytes": talk.both.octets,
        "packets_per_s": talk.both.packets_per_s,
        "bits_per_s": talk.both.octets_per_s * 8.0,
    })
}
