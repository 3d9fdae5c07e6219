//! How the view of one VM is drawn.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline, Wrap};

use super::{Pane, Watch};
use crate::amount::per_second;
use crate::parts::{self, List, SUMS};
use crate::{bits, bytes, count};

impl Watch {
    /// Draws it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        if parts::is_too_small(frame, (60, 20)) {
            return;
        }
        let [title, upper, rate, talkers, events, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(self.upper_lines(frame.area().height)),
            Constraint::Length(3),
            Constraint::Min(5),
            Constraint::Length(if frame.area().height < 30 { 5 } else { 8 }),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let [place, points] =
            Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)])
                .areas(upper);
        self.draw_title(frame, title);
        self.draw_place(frame, place);
        self.draw_points(frame, points);
        self.draw_rate(frame, rate);
        self.draw_talkers(frame, talkers);
        self.draw_events(frame, events);
        let back = if self.is_nested { "back" } else { "quit" };
        let known = [
            ("q", back),
            ("?", "help"),
            ("Tab", "pane"),
            ("s", "sort"),
            ("p", if self.is_paused { "go on" } else { "pause" }),
            ("c", "capture command"),
        ];
        parts::keys(frame, keys, &known, self.look);
        if self.is_help {
            parts::help(frame, "Keys", &HELP, self.look);
        }
    }

    /// Lines for where it is and its points: what they need, as far as there is room.
    fn upper_lines(&self, height: u16) -> u16 {
        let points = self.subject.points.iter().map(|point| 2 + point.misses.len());
        let needed = (self.subject.vnics.len() * 2 + 1).max(points.sum()) + 2;
        let room = if height < 30 { 7 } else { height / 4 };
        u16::try_from(needed).unwrap_or(room).clamp(5, room)
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect) {
        let subject = &self.subject;
        let mut spans = vec![
            Span::styled(format!(" {} ", subject.name), self.look.chosen()),
            Span::raw(format!("  {}", subject.state)),
            match subject.hosts.as_slice() {
                [] => Span::styled("  on no host now", self.look.alarm()),
                hosts => Span::raw(format!("  on {}", hosts.join(" and "))),
            },
        ];
        if let Some(tenant) = &subject.tenant {
            spans.push(Span::raw(format!("  tenant {tenant}")));
        }
        if let Some(since) = &subject.since {
            spans.push(Span::styled(format!("  since {since}"), self.look.quiet()));
        }
        if self.is_paused {
            spans.push(Span::styled("  PAUSED", self.look.alarm()));
        }
        if self.ended.is_some() {
            spans.push(Span::styled("  ENDED", self.look.alarm()));
        }
        frame.render_widget(Line::from(spans), area);
    }

    fn draw_place(&self, frame: &mut Frame<'_>, area: Rect) {
        let vnics = self.subject.vnics.iter().flat_map(|vnic| {
            [
                Line::from(vec![
                    Span::styled(vnic.name.clone(), self.look.strong()),
                    Span::raw(format!(" {}", vnic.addresses)),
                ]),
                Line::raw(format!("  {}", vnic.place)),
            ]
        });
        self.draw_text(frame, area, Pane::Where, "Where it is", vnics.collect());
    }

    fn draw_points(&self, frame: &mut Frame<'_>, area: Rect) {
        let points = self.subject.points.iter().flat_map(|point| {
            let mark = if point.is_used { "* " } else { "  " };
            let style = if point.is_used { self.look.strong() } else { self.look.quiet() };
            let misses = point.misses.iter().map(|miss| Line::raw(format!("  misses {miss}")));
            let sees = Line::raw(format!("  {}", point.sees));
            // What is missing first: it is what one must know, and there may not be room for all.
            [Line::styled(format!("{mark}{}", point.place), style)]
                .into_iter()
                .chain(misses)
                .chain([sees])
        });
        self.draw_text(frame, area, Pane::Points, "Points (* looked at)", points.collect());
    }

    fn draw_rate(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = parts::pane("Now", false, self.look);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let [numbers, curve] =
            Layout::horizontal([Constraint::Length(66), Constraint::Fill(1)]).areas(inner);
        let dropped = match self.dropped {
            0 => Span::styled("0 dropped", self.look.good()),
            dropped => Span::styled(format!("{} DROPPED", count(dropped)), self.look.alarm()),
        };
        let line = Line::from(vec![
            Span::styled(format!("{:>11}", bits(self.seen.octets_per_s)), self.look.strong()),
            Span::raw(format!("{:>6} packets/s  ", per_second(self.seen.packets_per_s))),
            dropped,
            Span::raw(format!("  {} packets", count(self.seen.packets))),
            Span::raw(format!("  {}", bytes(self.seen.octets))),
        ]);
        frame.render_widget(line, numbers);
        let skipped = self.history.len().saturating_sub(usize::from(curve.width));
        let rates: Vec<u64> = self.history.iter().skip(skipped).copied().collect();
        frame.render_widget(Sparkline::default().data(rates).style(self.look.good()), curve);
    }

    fn draw_talkers(&self, frame: &mut Frame<'_>, area: Rect) {
        let is_focused = self.focus == Pane::Talkers;
        let title =
            format!("Talkers ({}, by {})", count(self.talks.len() as u64), self.sort.word());
        let block = parts::pane(&title, is_focused, self.look);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let is_wide = area.width >= WIDE;
        let row = |number: usize| {
            let Some(talk) = self.talks.get(number) else { return Vec::new() };
            let [one, other] = &talk.ends;
            let mut row = vec![one.label(), other.label(), parts::used_for(talk)];
            row.extend(is_wide.then(|| parts::ways(talk)));
            row.extend(parts::sums(&talk.both));
            row
        };
        let mut columns = vec![
            ("ONE", Constraint::Fill(3)),
            ("OTHER", Constraint::Fill(3)),
            ("USED FOR", Constraint::Fill(2)),
        ];
        columns.extend(is_wide.then_some(parts::WAYS));
        columns.extend(SUMS);
        let list = List {
            columns: &columns,
            len: self.talks.len(),
            row: &row,
            chosen: self.cursor.place(&self.keys()),
            empty: "No packet yet.",
        };
        list.draw(frame, inner, self.look);
    }

    fn draw_events(&self, frame: &mut Frame<'_>, area: Rect) {
        // The newest first: that is what one looks for.
        let events = self.events.iter().rev().map(|event| Line::raw(event.clone()));
        self.draw_text(frame, area, Pane::Events, "What happens", events.collect());
    }

    fn draw_text(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        pane: Pane,
        title: &str,
        lines: Vec<Line<'_>>,
    ) {
        let scrolled = match pane {
            Pane::Where => self.scrolled[0],
            Pane::Points => self.scrolled[1],
            Pane::Events => self.scrolled[2],
            Pane::Talkers => 0,
        };
        let scrolled = u16::try_from(scrolled).unwrap_or(u16::MAX);
        let text = Paragraph::new(lines)
            .block(parts::pane(title, self.focus == pane, self.look))
            .wrap(Wrap { trim: false })
            .scroll((scrolled, 0));
        frame.render_widget(text, area);
    }
}

/// From so many columns on there is room for both directions.
const WIDE: u16 = 100;

const HELP: [(&str, &str); 9] = [
    ("q", "leaves; Esc too where this was opened from a list"),
    ("Tab, arrows", "the next pane, the one before; up and down within it"),
    ("s", "talkers by rate, bytes, packets or name"),
    ("p, space", "holds the picture; what comes meanwhile is counted"),
    ("c", "leaves, and prints the command that captures this VM, or the"),
    ("", "talk that the cursor was put on"),
    ("?", "this page; any key closes it"),
    ("", ""),
    ("PACKETS/S", "from the one on the left >< from the other; from 100 columns on"),
];
