//! Which rows a question is about: by values of columns, of either end where it has two.

use std::fmt;
use std::str::FromStr;

use arrow_array::types::Int32Type;
use arrow_array::{Array, BooleanArray, PrimitiveArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;
use parquet::file::statistics::Statistics;

use crate::column::{Shape, flow_column};
use crate::scan::{ints, texts};

/// Conditions that all must hold. Without one, every row is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(Vec<Condition>);

/// A value that a column of a row must have; where it is said of an end, either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    word: &'static str,
    columns: &'static [&'static str],
    value: String,
    number: Option<i32>,
}

impl Filter {
    /// All of these conditions.
    pub const fn new(conditions: Vec<Condition>) -> Self {
        Self(conditions)
    }

    /// Its conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether every row is meant.
    pub const fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// What of it still holds of rows of which names are hidden: all rows that it then takes are
    /// among those that this takes before. Hiding takes names away; only a split becomes another.
    pub(crate) fn before_hiding(&self) -> Self {
        Self(self.0.iter().filter(|condition| condition.word != "split").cloned().collect())
    }

    /// The columns that must be read to decide.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(|condition| condition.columns).copied().collect()
    }

    /// Which of the rows are meant.
    pub(crate) fn mask(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let mut mask = BooleanBuffer::new_set(rows.num_rows());
        for condition in &self.0 {
            mask = &mask & &condition.mask(rows)?;
        }
        Ok(BooleanArray::new(mask, None))
    }

    /// Whether meant rows may be among those of which the least and the most of each column are
    /// known.
    pub(crate) fn may_be_in(&self, bounds: impl Fn(&str) -> Option<Statistics>) -> bool {
        self.0.iter().all(|condition| {
            condition.columns.iter().any(|column| condition.may_be_within(bounds(column).as_ref()))
        })
    }
}

impl Condition {
    fn mask(&self, rows: &RecordBatch) -> Result<BooleanBuffer, ArrowError> {
        let mut mask = BooleanBuffer::new_unset(rows.num_rows());
        for column in self.columns {
            let is_text = flow_column(column).is_none_or(|column| column.shape == Shape::Text);
            let here =
                if is_text { self.of_text(rows, column)? } else { self.of_int(rows, column)? };
            mask = &mask | &here;
        }
        Ok(mask)
    }

    fn of_text(&self, rows: &RecordBatch, column: &str) -> Result<BooleanBuffer, ArrowError> {
        let words = texts(rows, column)?;
        // The text is compared once for each different one, then numbers are.
        let meant: Vec<bool> = (0..words.len()).map(|key| words.word(key) == self.value).collect();
        if !meant.contains(&true) {
            return Ok(BooleanBuffer::new_unset(rows.num_rows()));
        }
        let is_meant = |row| words.key(row).and_then(|key| meant.get(key)) == Some(&true);
        Ok((0..rows.num_rows()).map(is_meant).collect())
    }

    fn of_int(&self, rows: &RecordBatch, column: &str) -> Result<BooleanBuffer, ArrowError> {
        let numbers: &PrimitiveArray<Int32Type> = ints(rows, column)?;
        let values = numbers.values().iter().enumerate();
        Ok(values
            .map(|(row, value)| Some(*value) == self.number && numbers.is_valid(row))
            .collect())
    }

    fn may_be_within(&self, bounds: Option<&Statistics>) -> bool {
        match bounds {
            Some(Statistics::ByteArray(bounds)) => {
                let value = self.value.as_bytes();
                let least = bounds.min_opt().is_none_or(|least| least.data() <= value);
                let most = bounds.max_opt().is_none_or(|most| value <= most.data());
                least && most
            }
            _ => true,
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    /// `vm=acme/web-01`, `address=10.0.0.7`, `port=443`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` names no value; write for example vm=acme/web-01"))?;
        let (word, columns) = WORDS.into_iter().find(|known| known.0 == word).ok_or_else(|| {
            let known: Vec<&str> = WORDS.iter().map(|known| known.0).collect();
            format!("rows have no `{word}`; they have {}", known.join(", "))
        })?;
        let is_number = columns
            .iter()
            .any(|name| flow_column(name).is_some_and(|column| column.shape == Shape::Int));
        let number = value.parse().ok();
        if is_number && number.is_none() {
            return Err(format!("`{value}` is no number, as `{word}` has"));
        }
        Ok(Self { word, columns, value: value.to_owned(), number })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.word, self.value)
    }
}

/// The words of conditions, and the columns of each.
const WORDS: [(&str, &[&str]); 11] = [
    ("vm", &["client_vm", "server_vm"]),
    ("host", &["client_host", "server_host"]),
    ("tenant", &["client_tenant", "server_tenant"]),
    ("address", &["client_ip", "server_ip"]),
    ("mac", &["client_mac", "server_mac"]),
    ("client", &["client_vm", "client_ip"]),
    ("server", &["server_vm", "server_ip"]),
    ("port", &["server_port"]),
    ("app", &["app"]),
    ("split", &["split"]),
    ("point", &["point"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_word_and_a_value() {
        let condition: Condition = "vm=acme/web-01".parse().unwrap();
        assert_eq!(condition.to_string(), "vm=acme/web-01");
        assert_eq!("port=x".parse::<Condition>().unwrap_err(), "`x` is no number, as `port` has");
        assert!(
            "colour=red".parse::<Condition>().unwrap_err().starts_with("rows have no `colour`")
        );
        assert!("vm".parse::<Condition>().unwrap_err().contains("names no value"));
    }
}
