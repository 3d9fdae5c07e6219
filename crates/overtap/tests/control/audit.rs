//! The audit log: whole through a crash, and checked by others.

use std::fs;
use std::process::Command;

use crate::controller::Controller;

#[test]
fn the_log_is_proven_by_a_head_that_was_kept_through_a_crash() {
    let mut controller = Controller::start();
    controller.add_user("ann", "viewer");
    let verified = controller.json("admin", &["audit", "verify"]);
    assert_eq!(verified["is_whole"], true);
    let head = verified["head"].as_str().unwrap().to_owned();
    controller.crash_and_restart();
    let text = controller.done("admin", &["audit", "verify", "--head", &head]);
    let entries: u64 = head.split(':').next().unwrap().parse().unwrap();
    assert!(text.contains(&format!("proven by kept heads up to {entries}")), "{text}");

    let export = controller.done("admin", &["audit", "export"]);
    let path = controller.path("audit.log");
    let file = path.to_str().unwrap();
    let verify = |lines: &[&str]| {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let output = controller.overtap("nobody", &["audit", "verify", file, "--head", &head]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let whole: Vec<&str> = export.lines().collect();
    assert_eq!(verify(&whole).0, Some(0), "without a controller");
    let changed = whole[2].replace("\"ann\"", "\"bob\"").replace("user ann", "user bob");
    let mut lines = whole.clone();
    lines[2] = &changed;
    let (code, said) = verify(&lines);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("NOT WHOLE: entry 3 was changed"), "{said}");
    let (_, said) = verify(&[&whole[..2], &whole[3..]].concat());
    assert_eq!(said, "NOT WHOLE: entries 3 to 3 are missing\n");
    let (_, said) = verify(&whole[..2]);
    assert_eq!(said, format!("NOT WHOLE: entries 3 to {entries} are missing at the end\n"));
}

#[test]
fn the_reference_shows_how_to_verify_without_us() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/audit.md");
    let reference = fs::read_to_string(reference).unwrap();
    let script = reference.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let controller = Controller::start();
    controller.add_user("ann", "viewer");
    let export = controller.done("admin", &["audit", "export"]);
    let path = controller.path("audit.log");
    let run = |text: &str| {
        fs::write(&path, text).unwrap();
        let input = fs::File::open(&path).unwrap();
        let output = Command::new("sh").args(["-c", script]).stdin(input).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let last = export.lines().last().unwrap().split(' ').next().unwrap();
    assert_eq!(run(&export), (true, format!("whole up to {last}\n")));
    assert!(!run(&export.replace("operator", "admin").replace("viewer", "admin")).0);
    let cut: Vec<&str> =
        export.lines().enumerate().filter(|(n, _)| *n != 1).map(|(_, l)| l).collect();
    assert!(!run(&(cut.join("\n") + "\n")).0);
}
