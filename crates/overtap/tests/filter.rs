//! `overtap filter check` as a person meets it; and every expression of docs/reference/filter*.md,
//! which is understood or refused as it says there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SITE: &str = r#"
[[vms]]
name = "web-01"
tenant = "acme"
host = "hv-3"

[[vms.vnics]]
mac = "52:54:00:00:00:01"
port_group = "VM Network"
networks = [{ vlan = 100 }]
"#;

fn overtap(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
    // What this host remembers is nobody's business here.
    let nowhere = std::env::temp_dir().join("overtap-no-journal");
    command.args(arguments).env("OVERTAP_STATE_DIR", nowhere).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn check(expression: &str) -> Value {
    let output = overtap(&["filter", "check", "--output", "json", "--", expression]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{expression}: {output:?}"))
}

#[test]
fn an_expression_is_explained_normalised_and_shown_as_the_kernel_runs_it() {
    let output = overtap(&["filter", "check", "tcp", "port", "https", "and", "not", "vni", "5001"]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output.stdout);
    let (words, program) = text.split_once("\nin the kernel: ").unwrap();
    assert_eq!(
        words,
        "understood as\n  \
           of the innermost frame, the packet as the VM sent it:\n    \
             all of:\n      \
               source or destination port in TCP is 443 (https)\n      \
               not: in VXLAN or GENEVE, VNI 5001, at whatever level\n\
         \n\
         normal form\n  \
           tcp port 443 and not vni 5001\n"
    );
    assert!(program.contains("\n  lets these pass too, for overtap to decide:\n"), "{program}");
    assert!(program.contains("\n    fragments of IP packets, first and later ones\n"), "{program}");
    assert!(program.contains("\n  (000) ld       #pktlen\n"), "{program}");
}

#[test]
fn a_program_that_lets_nothing_else_pass_says_so() {
    let output = overtap(&["filter", "check", "outer (ether src 52:54:00:00:00:01)"]);
    let text = text(&output.stdout);
    assert!(text.contains("in the kernel: 7 instructions\n  lets exactly these packets pass\n"));
    assert_eq!(check("outer (broadcast)")["kernel"]["exact"], true);
    assert_eq!(check("tcp")["kernel"]["exact"], false);
}

#[test]
fn numbers_alone_are_what_other_programs_take() {
    let output = overtap(&["filter", "check", "--ddd", "outer (broadcast)"]);
    let text = text(&output.stdout);
    let mut lines = text.lines();
    let count: usize = lines.next().unwrap().parse().unwrap();
    let rows: Vec<Vec<u32>> =
        lines.map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect()).collect();
    assert_eq!(rows.len(), count);
    assert!(rows.iter().all(|row| row.len() == 4));
    assert_eq!(rows.last().unwrap(), &[6, 0, 0, 262_144], "ret #262144");
    let all = overtap(&["filter", "check", "--ddd", "-s", "600", "inbound"]);
    assert_eq!(all.stdout, b"1\n6 0 0 600\n", "what the kernel cannot decide passes");
    let document = check("outer (broadcast)");
    assert_eq!(document["kernel"]["program"].as_array().unwrap().len(), count);
    assert_eq!(document["kernel"]["listing"].as_array().unwrap().len(), count);
}

#[test]
fn a_mistake_is_marked_with_what_was_probably_meant() {
    let output = overtap(&["filter", "check", "tcp prot 80"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(
        text(&output.stderr),
        "overtap: cannot understand the filter\n\
         filter, column 5: not a word of the filter language\n  \
           tcp prot 80\n      \
               ^^^^ did you mean `port`?\n"
    );
    let output = overtap(&["filter", "check", "--output", "json", "tcp prot 80"]);
    assert_eq!(output.status.code(), Some(2));
    let error = &serde_json::from_slice::<Value>(&output.stdout).unwrap()["error"];
    assert_eq!((&error["column"], &error["width"]), (&5.into(), &4.into()));
    assert_eq!(error["suggestion"], "port");
    assert_eq!(overtap(&["filter", "check"]).status.code(), Some(2), "an expression is needed");
}

#[test]
fn names_are_explained_by_an_inventory() {
    let site = Scratch::new("site.toml", SITE);
    let with = |expression: &str| {
        overtap(&["filter", "check", "--inventory", site.path(), "--output", "json", expression])
    };
    let output = with("src vm web-01 or portgroup \"VM Network\"");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["normal"], "src vm web-01 or portgroup \"VM Network\"");
    let line = document["explanation"][2].as_str().unwrap();
    assert!(
        line.contains("source MAC is one of `vm web-01`: 1 MAC, each in its network"),
        "{line}"
    );
    let passes: Vec<_> =
        document["kernel"]["passes"].as_array().unwrap().iter().map(|p| &p["what"]).collect();
    assert!(passes.contains(&&"names".into()), "{passes:?}");
    assert_eq!(with("vm wbe-01").status.code(), Some(2));
    let missing = overtap(&["filter", "check", "--inventory", "no/such.toml", "tcp"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("cannot read no/such.toml"), "{missing:?}");
}

/// In the tables, each expression in the first column stands for itself: `EXPR`, with what it
/// comes down to, or with the reason why it is refused, in the last.
#[test]
fn every_expression_of_the_reference_is_understood_or_refused_as_it_says() {
    let (mut understood, mut refused) = (0, 0);
    for file in ["filter.md", "filter-pcap.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
        for row in std::fs::read_to_string(path).unwrap().lines() {
            let cells: Vec<_> = row.split(" | ").collect();
            if !row.starts_with("| `") || cells.len() < 2 {
                continue;
            }
            let is_refused = cells.last().unwrap().starts_with("refused");
            for expression in cells[0].split('`').skip(1).step_by(2) {
                // A name needs an inventory, which the reader of a table has not got.
                if expression.contains("\"") || NAMES.iter().any(|name| expression.contains(name)) {
                    continue;
                }
                let document = check(&expression.replace("\\|", "|"));
                let is_error = document.get("error").is_some();
                assert_eq!(is_error, is_refused, "{file}: {expression}: {document}");
                if is_refused {
                    let message = document["error"]["message"].as_str().unwrap();
                    assert!(message.contains('`') || message.len() > 20, "{expression}: {message}");
                    refused += 1;
                } else {
                    understood += 1;
                }
            }
        }
    }
    assert!(understood > 150 && refused > 20, "{understood} understood, {refused} refused");
}

const NAMES: &[&str] = &["vm ", "tenant ", "host-of ", "portgroup "];

/// A file that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("overtap-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
