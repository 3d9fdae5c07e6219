//! What a person sees of one VM.

use flows::{Network, Split};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tally::End;

fn talk(one: &str, other: &str, packets: u64) -> Talk {
    let mut both = Traffic::default();
    both.add(packets, packets * 100);
    both.tick(std::time::Duration::from_secs(1));
    let addresses = [one, other].map(|text| text.parse().unwrap());
    let mut talk = Talk::of(TalkKey { addresses, network: Network::NONE, protocol: 1, port: 0 });
    talk.ends = addresses.map(|address| End { machine: None, address });
    talk.split = Split::IntraHost;
    talk.both = both;
    talk.ways = [both, Traffic::default()];
    talk
}

fn view() -> Watch {
    let subject = Subject {
        name: "web-01".into(),
        state: "VM, running".into(),
        hosts: vec!["hv-1".into()],
        tenant: Some("acme".into()),
        since: None,
        vnics: vec![VnicLine {
            name: "net0".into(),
            addresses: "52:54:00:00:07:0a 10.0.7.10".into(),
            place: "vnet3 on br-int, VNI 5001".into(),
        }],
        points: vec![PointLine {
            place: "own port vnet3".into(),
            is_used: true,
            sees: "every frame".into(),
            misses: vec!["what the switch does".into()],
        }],
    };
    Watch::new(Look::Plain, subject, false)
}

fn tick(view: &mut Watch, talks: Vec<Talk>) {
    let mut seen = Traffic::default();
    seen.add(15, 1500);
    seen.tick(std::time::Duration::from_secs(1));
    view.tick(seen, 2, Snapshot { talks, ..Snapshot::default() });
}

/// The screen as text.
fn screen(view: &Watch, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn all_of_it_is_on_eighty_columns_and_twenty_four_rows() {
    let mut view = view();
    view.happened("10:03:07.250: web-01 is paused".into());
    tick(&mut view, vec![talk("10.0.7.10", "10.0.7.20", 10), talk("10.0.7.10", "10.0.7.30", 5)]);
    let shown = screen(&view, 80, 24);
    for text in [
        "web-01   VM, running  on hv-1  tenant acme",
        "net0 52:54:00:00:07:0a 10.0.7.10",
        "* own port vnet3 ",
        "  every frame",
        "misses what the switch does",
        "12.0 kbit/s",
        "15 packets/s",
        "2 DROPPED",
        "Talkers (2, by rate)",
        "  10.0.7.10        10.0.7.20        icmp",
        "10:03:07.250: web-01 is paused",
        " c  capture command",
    ] {
        assert!(shown.contains(text), "{text} is missing in\n{shown}");
    }
}

#[test]
fn the_order_changes_by_s_and_the_chosen_talk_stays_chosen() {
    let mut view = view();
    tick(&mut view, vec![talk("10.0.7.10", "10.0.7.30", 5), talk("10.0.7.10", "10.0.7.20", 10)]);
    assert!(!screen(&view, 80, 24).contains("> 10.0.7.10"), "nobody has chosen");
    assert_eq!(view.press(Key::Char('c')), Some(Leave::WithCommand(None)));
    view.press(Key::Down);
    view.press(Key::Down);
    let chosen = Some("host 10.0.7.10 and host 10.0.7.30 and icmp".to_owned());
    assert_eq!(view.press(Key::Char('c')), Some(Leave::WithCommand(chosen.clone())));
    tick(&mut view, vec![talk("10.0.7.10", "10.0.7.20", 10), talk("10.0.7.10", "10.0.7.30", 50)]);
    let shown = screen(&view, 80, 24);
    assert!(shown.contains("> 10.0.7.10        10.0.7.30"), "{shown}");
    assert_eq!(view.press(Key::Char('c')), Some(Leave::WithCommand(chosen)));
    for word in ["bytes", "packets", "name", "rate"] {
        view.press(Key::Char('s'));
        assert!(screen(&view, 80, 24).contains(&format!("by {word})")));
    }
    view.press(Key::Escape);
    assert_eq!(view.press(Key::Char('c')), Some(Leave::WithCommand(None)));
}

#[test]
fn a_pause_holds_the_picture_and_says_so() {
    let mut view = view();
    view.press(Key::Char('p'));
    tick(&mut view, vec![talk("10.0.7.10", "10.0.7.20", 10)]);
    let shown = screen(&view, 80, 24);
    assert!(shown.contains("PAUSED") && shown.contains("No packet yet."), "{shown}");
    view.press(Key::Char('p'));
    tick(&mut view, vec![talk("10.0.7.10", "10.0.7.20", 10)]);
    assert!(screen(&view, 80, 24).contains("10.0.7.20"));
}

#[test]
fn the_pane_that_keys_go_to_has_a_mark() {
    let mut view = view();
    assert!(screen(&view, 80, 24).contains("▸ Talkers"));
    view.press(Key::Tab);
    assert!(screen(&view, 80, 24).contains("▸ What happens"));
    view.press(Key::Right);
    assert!(screen(&view, 80, 24).contains("▸ Where it is"));
    view.press(Key::BackTab);
    view.press(Key::Left);
    assert!(screen(&view, 80, 24).contains("▸ Talkers"));
}

#[test]
fn help_is_in_front_until_a_key_and_q_leaves() {
    let mut view = view();
    view.press(Key::Char('?'));
    assert!(screen(&view, 80, 24).contains("holds the picture"));
    assert_eq!(view.press(Key::Char('q')), None, "it closes the help");
    assert!(!screen(&view, 80, 24).contains("holds the picture"));
    assert_eq!(view.press(Key::Escape), None);
    assert_eq!(view.press(Key::Char('q')), Some(Leave::Quietly));
}

#[test]
fn a_small_terminal_is_told_so_and_a_large_one_is_filled() {
    let mut view = view();
    assert!(screen(&view, 40, 10).contains("The terminal has 40 x 10"));
    for (columns, rows) in [(60, 20), (200, 70), (500, 20), (1, 1)] {
        tick(&mut view, vec![talk("10.0.7.10", "10.0.7.20", 10)]);
        screen(&view, columns, rows);
    }
}

#[test]
fn a_name_cannot_move_the_cursor() {
    let mut view = view();
    view.happened("\x1b[2Jweb\r\nis\u{7}gone".into());
    let shown = screen(&view, 80, 24);
    assert!(!shown.contains('\x1b') && !shown.contains('\u{7}'), "{shown}");
}

#[test]
fn without_colours_no_cell_has_one() {
    let mut view = view();
    tick(&mut view, vec![talk("10.0.7.10", "10.0.7.20", 10)]);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let is_plain = |cell: &ratatui::buffer::Cell| {
        let none = ratatui::style::Color::Reset;
        cell.fg == none && cell.bg == none
    };
    assert!(terminal.backend().buffer().content().iter().all(is_plain));
}
