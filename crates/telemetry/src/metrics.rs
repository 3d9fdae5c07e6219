//! A page of figures in Prometheus' text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>: for each metric its help, its
//! type, and a line for each combination of labels. Names are checked where the page is read, by
//! the tests that scrape it.

use std::fmt::{self, Write};

/// A page. Written from the top, and whole when it is served.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Page(String);

/// What a figure does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A measure.
    Measure(f64),
}

impl Page {
    /// A metric with one line for each of `samples`: the labels, and the figure. Nothing is
    /// written where there is no sample.
    pub fn metric<'a, V: Into<Value>>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let text = &mut self.0;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", Escaped(help));
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {}", value.into());
        }
    }

    /// A metric without labels.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Into<Value>) {
        self.metric(name, kind, help, [(Labels(&[]), value)]);
    }

    /// A metric with one label.
    pub fn by<'a, V: Into<Value>>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        label: &'a str,
        samples: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        let samples: Vec<([(&str, &str); 1], V)> =
            samples.into_iter().map(|(value, figure)| ([(label, value)], figure)).collect();
        let (labels, figures): (Vec<_>, Vec<V>) = samples.into_iter().unzip();
        let lines = labels.iter().map(|labels| Labels(labels)).zip(figures);
        self.metric(name, kind, help, lines);
    }

    /// The page's text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// Labels and their values, in the order they are written.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a>(pub &'a [(&'a str, &'a str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = '{';
        for (name, value) in self.0 {
            write!(f, "{before}{name}=\"{}\"", Escaped(value))?;
            before = ',';
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Measure(measure) => write!(f, "{measure}"),
        }
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Value {
    fn from(measure: f64) -> Self {
        Self::Measure(measure)
    }
}

/// A label's value or a help text: a quote, a backslash and a line's end are written as two
/// characters.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_the_format_says() {
        let mut page = Page::default();
        page.one("x_bytes", Kind::Gauge, "Bytes of x.", 5_u64);
        page.by("y_total", Kind::Counter, "Of y.", "reason", [("a\"b\\c\nd", 1_u64), ("e", 2)]);
        page.by("z", Kind::Gauge, "Nothing is there.", "of", std::iter::empty::<(&str, u64)>());
        page.one("t_seconds", Kind::Gauge, "Time.", -0.25);
        let text = "# HELP x_bytes Bytes of x.\n# TYPE x_bytes gauge\nx_bytes 5\n\
                    # HELP y_total Of y.\n# TYPE y_total counter\n\
                    y_total{reason=\"a\\\"b\\\\c\\nd\"} 1\ny_total{reason=\"e\"} 2\n\
                    # HELP t_seconds Time.\n# TYPE t_seconds gauge\nt_seconds -0.25\n";
        assert_eq!(page.into_text(), text);
    }
}
