//! What a person sees of a host.

use flows::{Network, Split};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::{End, MachineSums, Talk, TalkKey, Traffic};

fn traffic(packets: u64) -> Traffic {
    let mut traffic = Traffic::default();
    traffic.add(packets, packets * 100);
    traffic.tick(std::time::Duration::from_secs(1));
    traffic
}

fn talk(ends: [(&str, Option<&str>); 2], port: u16, ways: [u64; 2], split: Split) -> Talk {
    let addresses = ends.map(|(address, _)| address.parse().unwrap());
    let mut talk = Talk::of(TalkKey { addresses, network: Network::NONE, protocol: 6, port });
    talk.ends = ends.map(|(address, machine)| End {
        machine: machine.map(str::to_owned),
        address: address.parse().unwrap(),
    });
    talk.split = split;
    talk.ways = ways.map(traffic);
    talk.both = traffic(ways.iter().sum());
    talk
}

fn snapshot() -> Snapshot {
    let (web, db) = (("10.0.7.10", Some("web")), ("10.0.7.20", Some("db")));
    let talks = vec![
        talk([web, db], 5432, [40, 20], Split::IntraHost),
        talk([web, db], 22, [5, 5], Split::IntraHost),
        talk([web, ("192.0.2.1", None)], 443, [10, 20], Split::VmToPhysical),
    ];
    let machine = |name: &str, sent, received| MachineSums {
        name: name.to_owned(),
        sent: traffic(sent),
        received: traffic(received),
        both: traffic(sent + received),
    };
    let mut splits: [Traffic; Split::ALL.len()] = Default::default();
    splits[Split::IntraHost as usize] = traffic(70);
    splits[Split::VmToPhysical as usize] = traffic(30);
    Snapshot {
        talks,
        machines: vec![machine("db", 25, 45), machine("web", 55, 45)],
        splits,
        total: traffic(100),
        others: Traffic::default(),
    }
}

fn view() -> Top {
    let mut view = Top::new(Look::Plain, "hv-1".into(), Of::Vms, String::new());
    view.tick(snapshot(), 0);
    view
}

/// Knows no word but `tcp`.
fn check(text: &str) -> Option<Fault> {
    (text != "tcp").then(|| Fault {
        column: 1,
        width: text.chars().count(),
        message: format!("{text} is no word"),
        suggestion: Some("tcp".into()),
    })
}

fn press(view: &mut Top, keys: &str) -> Option<TopAct> {
    let acts: Vec<_> = keys.chars().map(|c| view.press(Key::Char(c), &check)).collect();
    acts.into_iter().flatten().next()
}

fn screen(view: &Top, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal.backend().to_string()
}

#[track_caller]
fn shows(view: &Top, texts: &[&str]) {
    let shown = screen(view, 80, 24);
    for text in texts {
        assert!(shown.contains(text), "{text} is missing in\n{shown}");
    }
}

#[test]
fn vms_with_what_they_send_and_how_much_stays_within() {
    shows(
        &view(),
        &[
            " hv-1   80.0 kbit/s  100 packets/s  0 dropped",
            "intra-host 70 %",
            "to physical 30 %",
            "[VMs] Talkers Pairs (2, by rate)",
            "> web  ",
            "  db  ",
            "44.0 kbit/s 36.0 kbit/s 80.0 kbit/s       100   9.8 KiB",
        ],
    );
}

#[test]
fn talkers_are_all_and_pairs_are_summed_over_applications() {
    let mut view = view();
    view.press(Key::Tab, &check);
    shows(&view, &["VMs [Talkers] Pairs (3, by rate)", "  192.0.2.1  "]);
    view.press(Key::Tab, &check);
    shows(&view, &["VMs Talkers [Pairs] (2, by rate)", "intra-host postgresql"]);
    shows(&view, &["56.0 kbit/s   6.8 KiB"]);
    view.press(Key::Left, &check);
    shows(&view, &["[Talkers]"]);
}

#[test]
fn enter_watches_the_machine_of_the_row() {
    let mut view = view();
    assert_eq!(view.press(Key::Enter, &check), Some(TopAct::Watch("web".into())));
    view.press(Key::Down, &check);
    view.press(Key::Down, &check);
    assert_eq!(view.press(Key::Enter, &check), Some(TopAct::Watch("db".into())));
    view.press(Key::Tab, &check);
    view.press(Key::Home, &check);
    press(&mut view, "sss");
    view.press(Key::Home, &check);
    assert_eq!(view.press(Key::Enter, &check), None, "192.0.2.1 is no machine");
}

#[test]
fn a_filter_is_checked_as_one_types_and_taken_when_it_is_right() {
    let mut view = view();
    assert_eq!(press(&mut view, "/tc"), None);
    shows(&view, &["┃tc  ", "┃^^ tc is no word; did you mean tcp?"]);
    assert_eq!(view.press(Key::Enter, &check), None, "not while it is wrong");
    press(&mut view, "p");
    assert!(!screen(&view, 80, 24).contains('^'));
    assert_eq!(view.press(Key::Enter, &check), Some(TopAct::Filter("tcp".into())));
    shows(&view, &["filter: tcp"]);
    press(&mut view, "/x");
    view.press(Key::Escape, &check);
    shows(&view, &["filter: tcp"]);
    press(&mut view, "/");
    for _ in 0..3 {
        view.press(Key::Backspace, &check);
    }
    assert_eq!(view.press(Key::Enter, &check), Some(TopAct::Filter(String::new())));
}

#[test]
fn the_end_of_a_long_filter_and_what_is_wrong_are_in_sight() {
    let mut view = view();
    let long = "host 10.0.0.1 or ".repeat(20);
    press(&mut view, &format!("/{long}"));
    shows(&view, &["┃host 10.0.0.1 or", "^^^^"]);
    screen(&view, 500, 50);
    screen(&view, 60, 16);
}

#[test]
fn a_pause_holds_and_q_leaves() {
    let mut view = view();
    press(&mut view, "p");
    view.tick(Snapshot::default(), 3);
    shows(&view, &["PAUSED", "web", "0 dropped"]);
    press(&mut view, "p");
    view.tick(Snapshot::default(), 3);
    shows(&view, &["3 DROPPED", "Nothing yet."]);
    press(&mut view, "?");
    shows(&view, &["counts begin anew"]);
    assert_eq!(press(&mut view, "xq"), Some(TopAct::Leave));
}
