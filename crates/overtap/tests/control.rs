//! A controller as people meet it: `overtap serve` on loopback, and users, tokens, grants, agents
//! and audit against it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A controller, and a folder with the logins of those who use it.
struct Controller {
    folder: tempfile::TempDir,
    child: Child,
    address: String,
}

impl Controller {
    /// Starts one, with `admin` logged in.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, address, login) = serve(folder.path(), "127.0.0.1:0");
        let controller = Self { folder, child, address };
        let line = login.expect("the first start makes an administrator");
        controller.log_in("admin", &line.replace("127.0.0.1:0", &controller.address));
        controller
    }

    /// Ends it as a power cut would, and starts it again where it was.
    fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, _, login) = serve(self.folder.path(), &self.address);
        self.child = child;
        assert_eq!(login, None, "there is an administrator");
    }

    /// Adds a user with a token, logged in.
    fn add_user(&self, name: &str, role: &str) {
        self.done("admin", &["users", "add", name, "--role", role]);
        let line = self.done("admin", &["tokens", "add", name]);
        self.log_in(name, line.trim());
    }

    /// Does what `tokens add` and `serve` have printed.
    fn log_in(&self, user: &str, line: &str) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        self.done(user, &words);
    }

    fn overtap(&self, user: &str, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.env("OVERTAP_LOGIN", self.path(&format!("{user}.json")));
        command.args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// What is printed by words that succeed.
    fn done(&self, user: &str, words: &[&str]) -> String {
        let output = self.overtap(user, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{user}: overtap {words:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is printed as JSON.
    fn json(&self, user: &str, words: &[&str]) -> Value {
        let text = self.done(user, &[words, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// What is said by words that fail.
    fn refused(&self, user: &str, words: &[&str]) -> String {
        let output = self.overtap(user, words);
        assert_eq!(output.status.code(), Some(1), "{user}: overtap {words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The audit log: what each entry is about, and whether it was granted.
    fn log(&self) -> Vec<(String, bool)> {
        let text = self.done("admin", &["audit", "list", "--last", "0", "--output", "json"]);
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let words = |v: &Value| v.as_str().unwrap().to_owned();
        entries.map(|e| (words(&e["subject"]), e["answer"] == "granted")).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process, where it listens, and the login of the first administrator if it made one.
fn serve(folder: &Path, listen: &str) -> (Child, String, Option<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
    command.args(["serve", "--listen", listen, "--dir"]).arg(folder.join("controller"));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let (mut login, mut heard) = (None, String::new());
    let address = loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {heard}"));
        if let Some(address) = line.strip_prefix("overtap: listening on ") {
            break address.to_owned();
        }
        if line.trim().starts_with("overtap login ") {
            login = Some(line.trim().to_owned());
        }
        heard += &line;
    };
    // It goes on talking, and must not stop at a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address, login)
}

#[test]
fn users_tokens_and_grants_come_and_go_and_the_log_knows() {
    let controller = Controller::start();
    controller.add_user("ann", "operator");
    let users = controller.json("admin", &["users", "list"]);
    assert_eq!((&users[0]["name"], &users[1]["name"]), (&"admin".into(), &"ann".into()));
    assert_eq!((&users[1]["role"], &users[1]["tokens"]), (&"operator".into(), &1.into()));

    let add = ["grants", "add", "ann", "--machine", "tenant:acme", "--machine", "vm:lab-*"];
    let limits = ["--snaplen", "headers", "--longest", "1h", "--until", "30d", "--needs-reason"];
    let id = controller.done("admin", &[&add[..], &limits].concat()).trim().to_owned();
    let grants = controller.json("ann", &["grants", "list"]);
    assert_eq!(grants[0]["id"], id.as_str());
    assert_eq!(grants[0]["machines"], serde_json::json!(["tenant:acme", "vm:lab-*"]));
    assert_eq!((&grants[0]["snaplen"], &grants[0]["longest"]), (&"128".into(), &"PT1H".into()));
    let text = controller.done("ann", &["grants", "list"]);
    assert!(text.contains("tenant:acme,vm:lab-*  128      1h"), "{text}");
    controller.done("admin", &["grants", "remove", &id]);
    assert_eq!(controller.json("ann", &["grants", "list"]), serde_json::json!([]));

    let tokens = controller.json("ann", &["tokens", "list"]);
    assert_eq!(tokens.as_array().unwrap().len(), 1, "her own alone: {tokens}");
    controller.done("ann", &["tokens", "remove", tokens[0]["id"].as_str().unwrap()]);
    assert!(controller.refused("ann", &["tokens", "list"]).contains("not known here"));

    let log = controller.log();
    let has =
        |subject: &str| log.iter().any(|(s, is_granted)| s.starts_with(subject) && *is_granted);
    assert!(has("add user ann as operator"), "{log:?}");
    assert!(has("add token for user ann, until "));
    assert!(has("add grant: ann may capture tenant:acme, vm:lab-*, snaplen 128, 1h at a time"));
    assert!(has(&format!("remove grant {id}")));
}

#[test]
fn who_administers_nothing_is_refused_each_time_and_each_time_it_is_logged() {
    let controller = Controller::start();
    controller.add_user("ann", "operator");
    let tries: [&[&str]; 8] = [
        &["users", "list"],
        &["users", "add", "eve", "--role", "admin"],
        &["users", "change", "ann", "--role", "admin"],
        &["users", "disable", "admin"],
        &["tokens", "add", "admin"],
        &["grants", "add", "ann", "--machine", "all"],
        &["agents", "invite"],
        &["agents", "remove", "hv-1"],
    ];
    for words in tries {
        let said = controller.refused("ann", words);
        assert!(said.contains("it needs the role admin"), "{words:?}: {said}");
    }
    for words in [&["audit", "list"][..], &["audit", "export"], &["audit", "verify"]] {
        assert!(controller.refused("ann", words).contains("it needs the role admin"), "{words:?}");
    }
    // What she may not see, she does not learn the existence of.
    let said = controller.refused("ann", &["capture", "web", "-w", "/dev/null"]);
    let refused: Vec<String> =
        controller.log().into_iter().filter(|(_, is)| !is).map(|(s, _)| s).collect();
    assert_eq!(refused.len(), 8 + 3 + 1, "{refused:?}, {said}");
    assert_eq!(refused[2], "change user ann: admin");
    let text = controller.done("admin", &["audit", "list", "--user", "ann", "--refused"]);
    assert_eq!(text.lines().count(), 12, "{text}");
    assert!(text.contains("REFUSED, a operator may not do this"), "{text}");
}

#[test]
fn a_disabled_user_is_out_at_once_and_an_administrator_stays() {
    let controller = Controller::start();
    controller.add_user("ann", "admin");
    controller.done("ann", &["users", "disable", "admin"]);
    assert!(
        controller.refused("admin", &["users", "list"]).contains("the account admin is disabled")
    );
    let said = controller.refused("ann", &["users", "change", "ann", "--role", "viewer"]);
    assert!(said.contains("ann is the last administrator"), "{said}");
    controller.done("ann", &["users", "enable", "admin"]);
    controller.done("admin", &["users", "list"]);
}

#[test]
fn a_token_of_nobody_and_a_token_misspelt_open_nothing() {
    let controller = Controller::start();
    let login = fs::read_to_string(controller.path("admin.json")).unwrap();
    let mut login: Value = serde_json::from_str(&login).unwrap();
    let good = login["token"].as_str().unwrap().to_owned();
    let other = Controller::start();
    let others = fs::read_to_string(other.path("admin.json")).unwrap();
    let others: Value = serde_json::from_str(&others).unwrap();
    let cases = [
        (others["token"].as_str().unwrap().to_owned(), "not known here"),
        (good[..good.len() - 1].to_owned(), "cut or changed"),
        (good.replacen("ovtu_", "ovte_", 1), "an enrolment token, and a user token is needed"),
        ("hunter2".to_owned(), "no overtap token"),
    ];
    for (token, words) in &cases {
        login["token"] = token.as_str().into();
        fs::write(controller.path("eve.json"), login.to_string()).unwrap();
        let said = controller.refused("eve", &["status"]);
        assert!(said.contains(words), "{token}: {said}");
    }
    let text = controller.done("admin", &["audit", "list", "--refused"]);
    assert_eq!(text.lines().filter(|line| line.contains("UNKNOWN")).count(), cases.len(), "{text}");
    assert!(!text.contains("hunter2"), "what might be a password of something is not logged");
}

#[test]
fn a_host_is_invited_once_listed_and_removed() {
    let controller = Controller::start();
    let line = controller.done("admin", &["agents", "invite"]);
    let folders = ["one", "two"].map(|name| controller.path(name));
    let enrol = |line: &str, name: &str, folder: &Path| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let more = ["--name", name, "--dir", folder.to_str().unwrap()];
        controller.overtap("admin", &[&words[..], &more].concat())
    };
    assert!(enrol(&line, "hv-1", &folders[0]).status.success());
    let agents = controller.json("admin", &["agents", "list"]);
    assert_eq!(agents[0]["id"], "hv-1");
    assert_eq!(agents[0]["certificates"].as_array().unwrap().len(), 1);
    let again = enrol(&line, "hv-2", &folders[1]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("used already"), "{said}");
    // Whoever has any invitation cannot become an agent that is there.
    let other = controller.done("admin", &["agents", "invite"]);
    let said = enrol(&other, "hv-1", &folders[1]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("there is an agent hv-1 already"));
    controller.done("admin", &["agents", "remove", "hv-1", "--reason", "sold"]);
    assert_eq!(controller.json("admin", &["agents", "list"]), serde_json::json!([]));
    assert!(enrol(&other, "hv-1", &folders[1]).status.success(), "the name is free again");
    let log = controller.log();
    assert_eq!(log.iter().filter(|(subject, is)| subject == "hv-1" && !is).count(), 1, "{log:?}");
    assert!(log.contains(&("remove agent hv-1".to_owned(), true)));
}

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
