//! How the view of a host is drawn.

use flows::Split;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Of, Top};
use crate::amount::{float, per_second};
use crate::parts::{self, List, SUMS};
use crate::{Traffic, bits, bytes, count};

impl Top {
    /// Draws it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        if parts::is_too_small(frame, (60, 16)) {
            return;
        }
        let [title, split, filter, rows, event, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Length(if self.filter.is_open() { 4 } else { 1 }),
            Constraint::Min(5),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_title(frame, title);
        self.draw_split(frame, split);
        self.draw_filter(frame, filter);
        self.draw_rows(frame, rows);
        let text = self.event.clone().unwrap_or_default();
        frame.render_widget(Line::styled(format!(" {text}"), self.look.quiet()), event);
        let mut known = vec![("q", "quit"), ("?", "help"), ("Tab", "list"), ("s", "sort")];
        known.push(("p", if self.is_paused { "go on" } else { "pause" }));
        known.extend([("/", "filter"), ("Enter", "watch")]);
        parts::keys(frame, keys, &known, self.look);
        if self.is_help {
            parts::help(frame, "Keys", &HELP, self.look);
        }
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect) {
        let total = &self.snapshot.total;
        let mut spans = vec![
            Span::styled(format!(" {} ", self.title), self.look.chosen()),
            Span::styled(format!("  {}", bits(total.octets_per_s)), self.look.strong()),
            Span::raw(format!("  {} packets/s", per_second(total.packets_per_s))),
        ];
        match self.dropped {
            0 => spans.push(Span::styled("  0 dropped", self.look.good())),
            dropped => {
                let text = format!("  {} DROPPED", count(dropped));
                spans.push(Span::styled(text, self.look.alarm()));
            }
        }
        if self.is_paused {
            spans.push(Span::styled("  PAUSED", self.look.alarm()));
        }
        frame.render_widget(Line::from(spans), area);
    }

    /// How much stays within the host, goes to others, and leaves the VMs' world.
    fn draw_split(&self, frame: &mut Frame<'_>, area: Rect) {
        let of = |split: Split| self.snapshot.splits.get(split as usize).copied();
        let named = [
            ("intra-host", of(Split::IntraHost)),
            ("inter-host", of(Split::InterHost)),
            ("to physical", of(Split::VmToPhysical)),
        ];
        let mut others = Traffic::default();
        for split in [Split::Group, Split::Outside, Split::Unknown] {
            others.merge(&of(split).unwrap_or_default());
        }
        let block = parts::pane("Where it goes", false, self.look);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let is_wide = area.width >= WIDE;
        let columns = Layout::horizontal([Constraint::Ratio(1, 4); 4]).spacing(1).split(inner);
        let all = named
            .into_iter()
            .map(|(name, traffic)| (name, traffic.unwrap_or_default()))
            .chain([("other", others)]);
        for ((name, traffic), column) in all.zip(columns.iter()) {
            let share = match self.snapshot.total.octets {
                0 => 0.0,
                total => float(traffic.octets) / float(total) * 100.0,
            };
            let text = vec![
                Line::from(vec![
                    Span::styled(name, self.look.strong()),
                    Span::raw(format!(" {share:.0} %")),
                ]),
                Line::raw(match is_wide {
                    true => format!("{}  {}", bits(traffic.octets_per_s), bytes(traffic.octets)),
                    false => bits(traffic.octets_per_s),
                }),
            ];
            frame.render_widget(Paragraph::new(text), *column);
        }
    }

    fn draw_filter(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(typed) = &self.filter.typed else {
            let text = match self.filter.applied.as_str() {
                "" => " everything; / types a filter".to_owned(),
                applied => format!(" filter: {applied}"),
            };
            return frame.render_widget(Line::styled(text, self.look.quiet()), area);
        };
        let block = parts::pane("Filter: Enter takes it, Esc leaves it", true, self.look);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        // The end is where one types; what is wrong must be in sight as well.
        let width = usize::from(inner.width.saturating_sub(1));
        let len = typed.chars().count();
        let at = self.filter.fault.as_ref().map_or(len, |fault| fault.column.saturating_sub(1));
        let first = (len + 1).saturating_sub(width).min(at);
        let shown: String = typed.chars().skip(first).take(width).collect();
        let cursor = Span::styled(" ", self.look.chosen());
        let mut lines = vec![Line::from(vec![Span::raw(shown), cursor])];
        if let Some(fault) = &self.filter.fault {
            let mark = format!("{:at$}{:^<width$}", "", "", at = at - first, width = fault.width);
            let hint = fault.suggestion.as_ref();
            let hint = hint.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
            let text = format!("{mark} {}{hint}", fault.message);
            lines.push(Line::styled(text, self.look.alarm()));
        }
        frame.render_widget(Paragraph::new(lines), inner);
    }

    fn draw_rows(&self, frame: &mut Frame<'_>, area: Rect) {
        let names = Of::ALL.map(|of| match of == self.of {
            true => format!("[{}]", of.word()),
            false => of.word().to_owned(),
        });
        let lines = count(self.lines.len() as u64);
        let title = format!("{} ({lines}, by {})", names.join(" "), self.sort.word());
        let block = parts::pane(&title, true, self.look);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let chosen = self.cursor.place(&self.keys());
        let mut columns = match self.of {
            Of::Vms => vec![("VM", Constraint::Fill(1))],
            Of::Talkers => vec![("WHO", Constraint::Fill(1))],
            Of::Pairs => vec![("ONE", Constraint::Fill(3)), ("OTHER", Constraint::Fill(3))],
        };
        match self.of {
            Of::Vms | Of::Talkers => columns.extend([
                ("       SENT", Constraint::Length(11)),
                ("   RECEIVED", Constraint::Length(11)),
            ]),
            Of::Pairs => columns
                .extend([("WHERE", Constraint::Length(10)), ("USED FOR", Constraint::Fill(2))]),
        }
        let [rate, packets, bytes] = SUMS;
        // The sums of a pair leave its names room where there is little.
        let has_packets = self.of != Of::Pairs || area.width >= WIDE;
        columns.push(rate);
        columns.extend(has_packets.then_some(packets));
        columns.push(bytes);
        let row = |number: usize| {
            let Some(line) = self.lines.get(number) else { return Vec::new() };
            let mut row = match self.of {
                Of::Vms | Of::Talkers => {
                    let rates = [line.sent, line.received].map(|way| bits(way.octets_per_s));
                    let [sent, received] = rates.map(|rate| parts::right(&rate, 11));
                    vec![line.key.clone(), sent, received]
                }
                Of::Pairs => {
                    let [one, other] = line.ends.clone();
                    vec![one, other, where_to(line.split).to_owned(), line.application.clone()]
                }
            };
            let [rate, packets, bytes] = parts::sums(&line.both);
            row.push(rate);
            row.extend(has_packets.then_some(packets));
            row.push(bytes);
            row
        };
        let list = List {
            columns: &columns,
            len: self.lines.len(),
            row: &row,
            chosen: chosen.or((!self.lines.is_empty()).then_some(0)),
            empty: "Nothing yet.",
        };
        list.draw(frame, inner, self.look);
    }
}

/// Where the two of a pair are to each other, in few columns.
const fn where_to(split: Split) -> &'static str {
    match split {
        Split::VmToPhysical => "physical",
        split => split.name(),
    }
}

/// From so many columns on there is room for everything.
const WIDE: u16 = 100;

const HELP: [(&str, &str); 9] = [
    ("q", "leaves"),
    ("Tab, left, right", "VMs, all who talk, pairs of them"),
    ("up, down", "a row"),
    ("Enter", "watches the VM of that row; q leads back here"),
    ("s", "by rate, bytes, packets or name"),
    ("/", "types a filter (pcap-filter); counts begin anew"),
    ("p, space", "holds the picture; what comes meanwhile is counted"),
    ("?", "this page; any key closes it"),
    ("SENT, RECEIVED", "as the VM or talker of the row sees it, for each second"),
];
