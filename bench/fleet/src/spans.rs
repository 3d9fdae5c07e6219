//! Spans of time and how they are spread.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Spans(Vec<Duration>);

impl Spans {
    pub fn add(&mut self, span: Duration) {
        self.0.push(span);
    }

    pub fn extend(&mut self, spans: Vec<Duration>) {
        self.0.extend(spans);
    }

    pub fn most(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
            sorted.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        write!(f, "median {:.1} ms, 99 % {:.1} ms, most {:.1} ms", at(50), at(99), at(100))?;
        write!(f, " ({} times)", sorted.len())
    }
}
