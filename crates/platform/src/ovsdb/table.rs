//! The rows we monitor, kept up to date by the server's updates.
//!
//! Two languages: `update2` and `update3` of ovsdb-server(7), in which a change of a set or map
//! is the *difference*, and `update` of RFC 7047, section 4.1.6, which gives whole new rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

/// The monitored part of the database.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Database {
    tables: HashMap<String, BTreeMap<String, Row>>,
}

/// A row: its columns by name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Row(BTreeMap<String, Column>);

/// The value of a column; every atom as text, a UUID without its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    /// At most one atom.
    One(Option<String>),
    /// Any number of atoms.
    Set(BTreeSet<String>),
    /// Pairs of atoms.
    Map(BTreeMap<String, String>),
}

/// How a column is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Set,
    Map,
}

impl Database {
    /// The request's part that says what to monitor.
    pub(super) fn requests(is_conditional: bool) -> Value {
        let tables = TABLES.iter().map(|(table, columns)| {
            let columns: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            let request = json!({ "columns": columns });
            // The newer methods take an array of conditions, each with columns.
            let request = if is_conditional { json!([request]) } else { request };
            ((*table).to_owned(), request)
        });
        Value::Object(tables.collect())
    }

    /// Takes a `table-updates2` of `monitor_cond_since`, `update2` or `update3`.
    pub(super) fn apply_differences(&mut self, updates: &Value) {
        for_each_row(updates, |table, shapes, uuid, update| {
            let rows = self.tables.entry(table.to_owned()).or_default();
            if let Some(row) = update.get("initial").or(update.get("insert")) {
                rows.insert(uuid.to_owned(), Row::whole(shapes, row));
            } else if let Some(difference) = update.get("modify") {
                rows.entry(uuid.to_owned()).or_default().change(shapes, difference);
            } else if update.contains_key("delete") {
                rows.remove(uuid);
            }
        });
    }

    /// Takes a `table-updates` of `monitor` or `update`.
    pub(super) fn apply_rows(&mut self, updates: &Value) {
        for_each_row(updates, |table, shapes, uuid, update| {
            let rows = self.tables.entry(table.to_owned()).or_default();
            match update.get("new") {
                Some(row) => rows.insert(uuid.to_owned(), Row::whole(shapes, row)),
                None => rows.remove(uuid),
            };
        });
    }

    /// All rows of a table, by their UUID.
    pub(super) fn rows(&self, table: &str) -> impl Iterator<Item = &Row> {
        self.tables.get(table).into_iter().flat_map(BTreeMap::values)
    }

    /// The rows of `table` that a column of another row points at.
    pub(super) fn referenced<'a>(
        &'a self,
        table: &str,
        from: &'a Row,
        column: &str,
    ) -> impl Iterator<Item = &'a Row> {
        let rows = self.tables.get(table);
        from.set(column).filter_map(move |uuid| rows?.get(uuid))
    }
}

impl Row {
    /// The atom of a column, where it has one.
    pub(super) fn one(&self, column: &str) -> Option<&str> {
        match self.0.get(column)? {
            Column::One(atom) => atom.as_deref(),
            _ => None,
        }
    }

    /// The atoms of a set.
    pub(super) fn set(&self, column: &str) -> impl Iterator<Item = &str> {
        let set = match self.0.get(column) {
            Some(Column::Set(set)) => Some(set),
            _ => None,
        };
        set.into_iter().flatten().map(String::as_str)
    }

    /// The pairs of a map, by key.
    pub(super) fn map(&self, column: &str) -> impl Iterator<Item = (&str, &str)> {
        let map = match self.0.get(column) {
            Some(Column::Map(map)) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key of a map, where it has one.
    pub(super) fn key(&self, column: &str, key: &str) -> Option<&str> {
        self.map(column).find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    fn whole(shapes: &[(&str, Shape)], row: &Value) -> Self {
        let columns = shapes.iter().filter_map(|(name, shape)| {
            Some(((*name).to_owned(), Column::read(*shape, row.get(name)?)))
        });
        Self(columns.collect())
    }

    fn change(&mut self, shapes: &[(&str, Shape)], difference: &Value) {
        for (name, shape) in shapes {
            let Some(value) = difference.get(name) else { continue };
            let new = Column::read(*shape, value);
            match (self.0.get_mut(*name), new) {
                (Some(Column::Set(old)), Column::Set(difference)) => {
                    for atom in difference {
                        if !old.remove(&atom) {
                            old.insert(atom);
                        }
                    }
                }
                (Some(Column::Map(old)), Column::Map(difference)) => {
                    for (key, value) in difference {
                        // The same pair again takes it away; another value replaces the old.
                        if old.get(&key) == Some(&value) {
                            old.remove(&key);
                        } else {
                            old.insert(key, value);
                        }
                    }
                }
                (_, new) => {
                    self.0.insert((*name).to_owned(), new);
                }
            }
        }
    }
}

impl Column {
    fn read(shape: Shape, value: &Value) -> Self {
        match shape {
            Shape::One => Self::One(atoms(value).next()),
            Shape::Set => Self::Set(atoms(value).collect()),
            Shape::Map => Self::Map(pairs(value).collect()),
        }
    }
}

/// Calls `take` for each row of the tables we know.
fn for_each_row(
    updates: &Value,
    mut take: impl FnMut(&str, &[(&str, Shape)], &str, &Map<String, Value>),
) {
    for (table, shapes) in TABLES {
        let rows = updates.get(table).and_then(Value::as_object);
        for (uuid, update) in rows.into_iter().flatten() {
            if let Some(update) = update.as_object() {
                take(table, shapes, uuid, update);
            }
        }
    }
}

/// The atoms of a set; one atom alone is a set of one (RFC 7047, section 5.1).
pub(crate) fn atoms(value: &Value) -> impl Iterator<Item = String> {
    let set = tagged(value, "set").unwrap_or(std::slice::from_ref(value));
    set.iter().filter_map(atom)
}

/// The pairs of a map.
pub(crate) fn pairs(value: &Value) -> impl Iterator<Item = (String, String)> {
    let pairs = tagged(value, "map").unwrap_or_default().iter();
    pairs.filter_map(|pair| Some((atom(pair.get(0)?)?, atom(pair.get(1)?)?)))
}

fn atom(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(tag), Value::String(uuid)] if tag.ends_with("uuid") => {
                Some(uuid.clone())
            }
            _ => None,
        },
        _ => None,
    }
}

/// The second element of `[tag, [...]]`.
fn tagged<'a>(value: &'a Value, tag: &str) -> Option<&'a [Value]> {
    match value.as_array()?.as_slice() {
        [Value::String(t), Value::Array(elements)] if t == tag => Some(elements),
        _ => None,
    }
}

/// What we monitor: only what the facts are made of. Statistics would be an update for each
/// interface every five seconds.
const TABLES: [(&str, &[(&str, Shape)]); 5] = [
    ("Open_vSwitch", &[("bridges", Shape::Set), ("external_ids", Shape::Map)]),
    ("Bridge", &[("name", Shape::One), ("datapath_type", Shape::One), ("ports", Shape::Set)]),
    (
        "Port",
        &[
            ("name", Shape::One),
            ("tag", Shape::One),
            ("trunks", Shape::Set),
            ("vlan_mode", Shape::One),
            ("bond_mode", Shape::One),
            ("bond_active_slave", Shape::One),
            ("other_config", Shape::Map),
            ("interfaces", Shape::Set),
        ],
    ),
    ("Mirror", &[("output_port", Shape::Set)]),
    (
        "Interface",
        &[
            ("name", Shape::One),
            ("type", Shape::One),
            ("ofport", Shape::One),
            ("ifindex", Shape::One),
            ("mac_in_use", Shape::One),
            ("link_state", Shape::One),
            ("external_ids", Shape::Map),
            ("options", Shape::Map),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bridge(database: &Database) -> &Row {
        database.rows("Bridge").next().unwrap()
    }

    #[test]
    fn a_set_in_modify_is_what_toggles() {
        let mut database = Database::default();
        database.apply_differences(&json!({ "Bridge": { "b": { "initial": {
            "name": "br", "ports": ["set", [["uuid", "p1"], ["uuid", "p2"]]] } } } }));
        database.apply_differences(&json!({ "Bridge": { "b": { "modify": {
            "ports": ["set", [["uuid", "p2"], ["uuid", "p3"]]] } } } }));
        assert_eq!(bridge(&database).set("ports").collect::<Vec<_>>(), ["p1", "p3"]);
        // One element stands alone, without its set.
        database.apply_differences(
            &json!({ "Bridge": { "b": { "modify": { "ports": ["uuid", "p1"] } } } }),
        );
        assert_eq!(bridge(&database).set("ports").collect::<Vec<_>>(), ["p3"]);
        assert_eq!(bridge(&database).one("name"), Some("br"));
    }

    #[test]
    fn a_map_in_modify_adds_replaces_and_removes() {
        let mut database = Database::default();
        let external_ids = |database: &Database| {
            let row = database.rows("Open_vSwitch").next().unwrap();
            row.map("external_ids").map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()
        };
        database.apply_differences(&json!({ "Open_vSwitch": { "o": { "insert": {
            "external_ids": ["map", [["a", "1"], ["b", "2"]]] } } } }));
        database.apply_differences(&json!({ "Open_vSwitch": { "o": { "modify": {
            "external_ids": ["map", [["a", "1"], ["b", "3"], ["c", "4"]]] } } } }));
        assert_eq!(external_ids(&database), ["b=3", "c=4"]);
    }

    #[test]
    fn an_optional_atom_in_modify_is_the_new_value() {
        let mut database = Database::default();
        let row = |update| json!({ "Port": { "p": update } });
        database.apply_differences(&row(json!({ "insert": { "tag": ["set", []] } })));
        assert_eq!(database.rows("Port").next().unwrap().one("tag"), None);
        database.apply_differences(&row(json!({ "modify": { "tag": 100 } })));
        assert_eq!(database.rows("Port").next().unwrap().one("tag"), Some("100"));
        database.apply_differences(&row(json!({ "modify": { "tag": ["set", []] } })));
        assert_eq!(database.rows("Port").next().unwrap().one("tag"), None);
        database.apply_differences(&row(json!({ "delete": null })));
        assert_eq!(database.rows("Port").count(), 0);
    }

    #[test]
    fn the_plain_update_gives_whole_rows() {
        let mut database = Database::default();
        database.apply_rows(&json!({ "Bridge": { "b": {
            "new": { "name": "br", "ports": ["uuid", "p1"] } } } }));
        database.apply_rows(&json!({ "Bridge": { "b": {
            "old": { "ports": ["uuid", "p1"] },
            "new": { "name": "br", "ports": ["set", [["uuid", "p1"], ["uuid", "p2"]]] } } } }));
        assert_eq!(bridge(&database).set("ports").collect::<Vec<_>>(), ["p1", "p2"]);
        database.apply_rows(&json!({ "Bridge": { "b": { "old": { "name": "br" } } } }));
        assert_eq!(database.rows("Bridge").count(), 0);
    }

    proptest! {
        #[test]
        fn the_difference_of_two_sets_makes_one_of_the_other(
            old in proptest::collection::btree_set("[a-e]", 0..5),
            new in proptest::collection::btree_set("[a-e]", 0..5),
        ) {
            let mut database = Database::default();
            database.apply_differences(
                &json!({ "Bridge": { "b": { "insert": { "ports": ["set", old] } } } }));
            let difference: Vec<_> = old.symmetric_difference(&new).collect();
            database.apply_differences(
                &json!({ "Bridge": { "b": { "modify": { "ports": ["set", difference] } } } }));
            prop_assert!(bridge(&database).set("ports").eq(new.iter().map(String::as_str)));
        }

        #[test]
        fn the_difference_of_two_maps_makes_one_of_the_other(
            old in proptest::collection::btree_map("[a-d]", "[xy]", 0..5),
            new in proptest::collection::btree_map("[a-d]", "[xy]", 0..5),
        ) {
            let pairs = |map: &BTreeMap<String, String>| json!(["map", map.iter().collect::<Vec<_>>()]);
            let mut database = Database::default();
            let update = |row| json!({ "Interface": { "i": row } });
            database.apply_differences(&update(json!({ "insert": { "options": pairs(&old) } })));
            // As ovsdb-server makes it: what went, what came, and the new value of what changed.
            let mut difference = new.clone();
            difference.retain(|key, value| old.get(key) != Some(value));
            difference.extend(
                old.iter().filter(|(k, _)| !new.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())));
            database.apply_differences(
                &update(json!({ "modify": { "options": pairs(&difference) } })));
            let row = database.rows("Interface").next().unwrap();
            prop_assert!(row.map("options").eq(new.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        }
    }
}
