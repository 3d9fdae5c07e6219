//! A stored row as `overtap flows` prints it: every column by its name.

use flows::{Ends, community_id};
use serde_json::{Map, Value as Json};
use wire::Timestamp;

use crate::stored::{StoredRow, Value};

impl StoredRow<'_> {
    /// Every column, with the names and forms that flows have which were not stored; times are RFC
    /// 3339. `docs/reference/flows.md` explains them.
    pub fn fields(&self) -> Map<String, Json> {
        let mut fields = Map::new();
        for (column, value) in self.values() {
            let value = match value {
                Value::None => Json::Null,
                Value::Time(time) => rfc3339(time).into(),
                Value::Number(number) => number.into(),
                Value::Text(text) => text.into(),
                Value::Flag(flag) => flag.into(),
            };
            fields.insert(column.name.to_owned(), value);
        }
        // What is not there is what counts.
        for name in ["client_packets", "client_octets", "server_packets", "server_octets"] {
            if fields.get(name) == Some(&Json::Null) {
                let counted = number(&fields, &name.replace('_', "_counted_"));
                fields.insert(name.to_owned(), counted.into());
            }
        }
        let id = ends(&fields).map(|ends| community_id(&ends));
        fields.insert("community_id".into(), id.into());
        fields
    }

    /// Whether nothing of it counts, because another sighting does.
    pub fn is_copy(&self) -> bool {
        let is_count = |name: &str| name.contains("_counted_");
        self.values()
            .filter(|(column, _)| is_count(column.name))
            .all(|(_, value)| matches!(value, Value::None | Value::Number(0)))
    }
}

/// Who talks to whom.
fn ends(row: &Map<String, Json>) -> Option<Ends> {
    let ip = |name| row.get(name).and_then(Json::as_str).unwrap_or_default().parse().ok();
    let port = |name| u16::try_from(number(row, name)).unwrap_or_default();
    Some(Ends {
        addresses: [ip("client_ip")?, ip("server_ip")?],
        ports: [port("client_port"), port("server_port")],
        protocol: u8::try_from(number(row, "protocol")).unwrap_or_default(),
    })
}

fn number(row: &Map<String, Json>, name: &str) -> u64 {
    row.get(name).and_then(Json::as_u64).unwrap_or_default()
}

fn rfc3339(time: Timestamp) -> Option<String> {
    let nanos = i128::from(time.as_nanos());
    Some(jiff::Timestamp::from_nanosecond(nanos).ok()?.to_string())
}
