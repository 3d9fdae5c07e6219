//! Comma-separated values (RFC 4180), with a line feed at the end of a line.

use std::io::{self, Write};

use serde_json::Value;

/// One line of texts.
pub(crate) fn write<'a>(
    out: &mut impl Write,
    cells: impl IntoIterator<Item = &'a str>,
) -> io::Result<()> {
    for (number, cell) in cells.into_iter().enumerate() {
        if number > 0 {
            out.write_all(b",")?;
        }
        if cell.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

/// One line of values; nothing is an empty cell.
pub(crate) fn write_values<'a>(
    out: &mut impl Write,
    values: impl IntoIterator<Item = &'a Value>,
) -> io::Result<()> {
    let cells: Vec<String> = values
        .into_iter()
        .map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        })
        .collect();
    write(out, cells.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_taken_for_a_separator_is_quoted() {
        let mut out = Vec::new();
        write_values(&mut out, &[1.into(), "a,b \"c\"".into(), Value::Null, true.into()]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "1,\"a,b \"\"c\"\"\",,true\n");
    }
}
