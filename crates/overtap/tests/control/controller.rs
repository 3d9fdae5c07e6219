//! A controller of our own, and people who are logged in there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A controller, and a folder with the logins of those who use it.
pub(crate) struct Controller {
    folder: tempfile::TempDir,
    child: Child,
    address: String,
    metrics: String,
    web: String,
    /// What else it was told at its start.
    more: Vec<String>,
}

impl Controller {
    /// Starts one, with `admin` logged in.
    pub(crate) fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), &[])
    }

    /// The same in this folder, with more words; in these `DIR` is the folder.
    pub(crate) fn start_with(folder: tempfile::TempDir, more: &[&str]) -> Self {
        let path = folder.path().to_str().unwrap();
        let more: Vec<String> = more.iter().map(|word| word.replace("DIR", path)).collect();
        let served = serve(folder.path(), "127.0.0.1:0", &more);
        let Served { child, address, login, metrics, web } = served;
        let controller = Self { folder, child, address, metrics, web, more };
        let line = login.expect("the first start makes an administrator");
        controller.log_in("admin", &line.replace("127.0.0.1:0", &controller.address));
        controller
    }

    /// Ends it as a power cut would.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same, and starts it again where it was.
    pub(crate) fn crash_and_restart(&mut self) {
        self.crash();
        let served = serve(self.folder.path(), &self.address, &self.more);
        (self.child, self.metrics, self.web) = (served.child, served.metrics, served.web);
        assert_eq!(served.login, None, "there is an administrator");
    }

    /// Adds a user with a token, logged in.
    pub(crate) fn add_user(&self, name: &str, role: &str) {
        self.done("admin", &["users", "add", name, "--role", role]);
        let line = self.done("admin", &["tokens", "add", name]);
        self.log_in(name, line.trim());
    }

    /// Does what `tokens add` and `serve` have printed.
    fn log_in(&self, user: &str, line: &str) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        self.done(user, &words);
    }

    pub(crate) fn overtap(&self, user: &str, words: &[&str]) -> Output {
        self.command(user, words).output().unwrap()
    }

    /// The program with these words, not run yet.
    pub(crate) fn command(&self, user: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.env("OVERTAP_LOGIN", self.path(&format!("{user}.json")));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// What is printed by words that succeed.
    pub(crate) fn done(&self, user: &str, words: &[&str]) -> String {
        let output = self.overtap(user, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{user}: overtap {words:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is printed as JSON.
    pub(crate) fn json(&self, user: &str, words: &[&str]) -> Value {
        let text = self.done(user, &[words, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// What is said by words that fail.
    pub(crate) fn refused(&self, user: &str, words: &[&str]) -> String {
        let output = self.overtap(user, words);
        assert_eq!(output.status.code(), Some(1), "{user}: overtap {words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The audit log: what each entry is about, and whether it was granted.
    pub(crate) fn log(&self) -> Vec<(String, bool)> {
        let text = self.done("admin", &["audit", "list", "--last", "0", "--output", "json"]);
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let words = |v: &Value| v.as_str().unwrap().to_owned();
        entries.map(|e| (words(&e["subject"]), e["answer"] == "granted")).collect()
    }

    /// Where its metrics are.
    pub(crate) fn metrics(&self) -> &str {
        &self.metrics
    }

    /// Where its HTTP door is.
    pub(crate) fn web(&self) -> &str {
        &self.web
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A controller that runs.
struct Served {
    child: Child,
    /// Where it listens.
    address: String,
    /// The login of the first administrator, if it made one.
    login: Option<String>,
    /// Where its metrics are.
    metrics: String,
    /// Where its HTTP door is.
    web: String,
}

fn serve(folder: &Path, listen: &str, more: &[String]) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
    command.args(["serve", "--listen", listen, "--dir"]).arg(folder.join("controller"));
    command.args(["--metrics", "127.0.0.1:0", "--web", "127.0.0.1:0"]).args(more);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let (mut login, mut metrics, mut heard) = (None, String::new(), String::new());
    let (mut address, mut web) = (String::new(), String::new());
    while address.is_empty() || web.is_empty() {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {heard}"));
        let told = |what: &str| line.split(what).nth(1).map(str::to_owned);
        if line.trim().starts_with("overtap login ") {
            login = Some(line.trim().to_owned());
        }
        address = told(" listening on ").unwrap_or(address);
        metrics = told(" metrics are at ").unwrap_or(metrics);
        web =
            told(" the page is at http://").map_or(web, |web| web.trim_end_matches('/').to_owned());
        heard += &line;
    }
    // It goes on talking, and must not stop at a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Served { child, address, login, metrics, web }
}
