//! Columns for people.

/// Lines with columns as wide as their longest text, two blanks apart; the first row is the heading.
///
/// What others named cannot move the cursor: control characters are shown as `?`.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", plain(cell)));
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Text without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_text() {
        let rows =
            [["ä".to_owned(), "longer".to_owned()], ["bcd".to_owned(), "\x1b[2J".to_owned()]];
        assert_eq!(table(["A", "B"], &rows), "A    B\nä    longer\nbcd  ?[2J\n");
    }
}
