//! Tables for people: columns side by side, text to the left, numbers to the right.
//!
//! What others named cannot move the cursor: control characters are shown as `?`.

use std::fmt::Write as _;

/// Rows of cells; the first is the heading.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with this heading.
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self::of(heading.map(str::to_owned).to_vec())
    }

    /// One with a heading that is not known beforehand.
    pub(crate) fn of(heading: Vec<String>) -> Self {
        Self { rows: vec![heading] }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// How many rows there are below the heading.
    pub(crate) fn len(&self) -> usize {
        self.rows.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As text. A column whose cells all begin with a digit or are `-` is one of numbers.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let body = || self.rows.iter().skip(1);
        let shapes: Vec<(usize, bool)> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let width = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
                let mut cells = body().filter_map(|row| row.get(column));
                (width, cells.all(|cell| is_number(cell)))
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (number, (cell, (width, is_number))) in row.iter().zip(&shapes).enumerate() {
                let gap = if number == 0 { "" } else { "  " };
                // Writing into a string does not fail.
                let _ = match is_number {
                    true => write!(line, "{gap}{cell:>width$}"),
                    false => write!(line, "{gap}{cell:<width$}"),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A table whose rows are all known.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new(heading);
    for row in rows {
        table.add(row.iter().cloned());
    }
    table.text()
}

/// Text without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn is_number(cell: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '\u{202f}' | '%');
    let first = cell.split(' ').next().unwrap_or_default();
    let is_counted = first.chars().all(is_part) && first.matches('.').count() < 2;
    cell == "-" || first.starts_with(|c: char| c.is_ascii_digit()) && is_counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut table = Table::new(["VM", "BYTES", "NOTE"]);
        table.add(["web".to_owned(), "1 200".to_owned(), "x".to_owned()]);
        table.add(["db-01".to_owned(), "-".to_owned(), String::new()]);
        assert_eq!(table.text(), "VM     BYTES  NOTE\nweb    1 200  x\ndb-01      -\n");
    }

    #[test]
    fn names_of_others_cannot_move_the_cursor() {
        let rows =
            [["ä".to_owned(), "longer".to_owned()], ["bcd".to_owned(), "\x1b[2J".to_owned()]];
        assert_eq!(table(["A", "B"], &rows), "A    B\nä    longer\nbcd  ?[2J\n");
    }
}
