//! What all views are made of: panes, tables, the line of keys, the page of help.

use flows::Network;
use ratatui::Frame;
use ratatui::layout::{Constraint, Margin, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Cell, Clear, Paragraph, Row, Table, Wrap};

use crate::Look;
use crate::amount::per_second;
use crate::cursor::first_shown;
use crate::tally::{Talk, Traffic};

/// A frame around something; the one that keys go to has a thick line and a mark.
pub(crate) fn pane(title: &str, is_focused: bool, look: Look) -> Block<'static> {
    let mark = if is_focused { "▸ " } else { "" };
    let title = Span::styled(format!(" {mark}{title} "), look.title());
    let border = if is_focused { BorderType::Thick } else { BorderType::Plain };
    let style = if is_focused { Style::new() } else { look.quiet() };
    Block::bordered().border_type(border).border_style(style).title(title)
}

/// A table with a row that may be chosen.
pub(crate) struct List<'a> {
    /// The columns: heading and width; text to the left.
    pub(crate) columns: &'a [(&'a str, Constraint)],
    /// How many rows there are.
    pub(crate) len: usize,
    /// The cells of one of them; asked for those that are shown.
    pub(crate) row: &'a dyn Fn(usize) -> Vec<String>,
    /// Which row the cursor is on, if it is shown.
    pub(crate) chosen: Option<usize>,
    /// What is said where there is no row.
    pub(crate) empty: &'a str,
}

impl List<'_> {
    /// Draws it, with the chosen row in sight.
    pub(crate) fn draw(self, frame: &mut Frame<'_>, area: Rect, look: Look) {
        if self.len == 0 {
            let text = Paragraph::new(self.empty).style(look.quiet()).wrap(Wrap { trim: true });
            return frame.render_widget(text, area);
        }
        let lines = usize::from(area.height.saturating_sub(1));
        let first = first_shown(self.chosen.unwrap_or_default(), lines);
        let shown = (first..self.len).take(lines);
        let rows = shown.map(|number| {
            let cells = (self.row)(number);
            let is_chosen = self.chosen == Some(number);
            let mark = if is_chosen { ">" } else { " " };
            let cells = std::iter::once(mark.to_owned()).chain(cells).map(Cell::from);
            Row::new(cells).style(if is_chosen { look.chosen() } else { Style::new() })
        });
        let heading = std::iter::once("").chain(self.columns.iter().map(|(name, _)| *name));
        let widths = self.columns.iter().map(|(_, width)| *width);
        let table = Table::new(rows, std::iter::once(Constraint::Length(1)).chain(widths))
            .header(Row::new(heading).style(look.title()))
            .column_spacing(1);
        frame.render_widget(table, area);
    }
}

/// A number that stands right in a column of `width`.
pub(crate) fn right(text: &str, width: u16) -> String {
    format!("{text:>width$}", width = usize::from(width))
}

/// The last line: what keys do.
pub(crate) fn keys(frame: &mut Frame<'_>, area: Rect, keys: &[(&str, &str)], look: Look) {
    let mut spans = Vec::new();
    for (key, what) in keys {
        spans.push(Span::styled(format!(" {key} "), look.chosen()));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    frame.render_widget(Line::from(spans), area);
}

/// The page of help, in front of everything.
pub(crate) fn help(frame: &mut Frame<'_>, title: &str, lines: &[(&str, &str)], look: Look) {
    let area = frame.area();
    let text: Vec<Line<'_>> = lines
        .iter()
        .map(|(key, what)| {
            Line::from(vec![Span::styled(format!("{key:<16}"), look.strong()), Span::raw(*what)])
        })
        .collect();
    let height = u16::try_from(text.len()).unwrap_or(u16::MAX).saturating_add(2);
    let middle = centred(area, 74, height);
    frame.render_widget(Clear, middle);
    let page = Paragraph::new(text).block(pane(title, true, look)).wrap(Wrap { trim: false });
    frame.render_widget(page, middle);
}

/// Too small a terminal gets a sentence, not a torn picture. Whether that is so.
pub(crate) fn is_too_small(frame: &mut Frame<'_>, least: (u16, u16)) -> bool {
    let area = frame.area();
    let (columns, rows) = least;
    if area.width >= columns && area.height >= rows {
        return false;
    }
    let text = format!(
        "The terminal has {} x {} characters; {columns} x {rows} are needed. q quits.",
        area.width, area.height
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    true
}

/// The application of a talk, with its network where that has a name and the two have none.
pub(crate) fn used_for(talk: &Talk) -> String {
    let is_named = talk.ends.iter().any(|end| end.machine.is_some());
    match talk.key.network {
        network if is_named || network == Network::NONE => talk.application.clone(),
        network => format!("{} in {network}", talk.application),
    }
}

/// The cells of what was sent by both: rate, packets, bytes.
pub(crate) fn sums(traffic: &Traffic) -> [String; 3] {
    [
        right(&crate::bits(traffic.octets_per_s), RATE),
        right(&crate::count(traffic.packets), PACKETS),
        right(&crate::bytes(traffic.octets), BYTES),
    ]
}

/// The cell of what each sends the other: packets for each second.
pub(crate) fn ways(talk: &Talk) -> String {
    let [there, back] = talk.ways.map(|way| per_second(way.packets_per_s));
    format!("{there:>5} >< {back:<5}")
}

/// The column of [`ways`].
pub(crate) const WAYS: (&str, Constraint) = ("  PACKETS/S", Constraint::Length(14));

/// The columns of [`sums`].
pub(crate) const SUMS: [(&str, Constraint); 3] = [
    ("       RATE", Constraint::Length(RATE)),
    ("  PACKETS", Constraint::Length(PACKETS)),
    ("    BYTES", Constraint::Length(BYTES)),
];

const RATE: u16 = 11;
const PACKETS: u16 = 9;
const BYTES: u16 = 9;

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let across = area.width.saturating_sub(width) / 2;
    let down = area.height.saturating_sub(height) / 2;
    area.inner(Margin { horizontal: across, vertical: down })
}
