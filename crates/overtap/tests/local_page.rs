//! `overtap serve --local`: a link that logs in once, for this computer alone, and nothing left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A program that is ended with the test.
struct Served {
    child: Child,
    links: Receiver<String>,
}

impl Served {
    fn start(temporary: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_overtap"))
            .args(["serve", "--local", "--web", "127.0.0.1:0"])
            .env("TMPDIR", temporary)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, links) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, links }
    }

    /// The next link that is printed: the address, and the word that logs in.
    fn link(&self) -> (String, String) {
        let link = self.links.recv_timeout(Duration::from_secs(30)).expect("a link is printed");
        let (address, word) = link.split_once("/#/enter/").unwrap();
        (address.strip_prefix("http://").unwrap().to_owned(), word.to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The head of an answer.
fn ask(address: &str, method: &str, path: &str, header: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn log_in(address: &str, word: &str) -> String {
    ask(address, "POST", "login", "", &format!("{{\"token\": \"{word}\"}}"))
}

#[test]
fn a_link_logs_in_once_and_ctrl_c_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut served = Served::start(temporary.path());
    let (address, word) = served.link();
    assert!(address.starts_with("127.0.0.1:"), "{address}");

    assert!(ask(&address, "GET", "me", "", "").starts_with("HTTP/1.1 401"));
    let answer = log_in(&address, &word);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let me = ask(&address, "GET", "me", &format!("Cookie: {cookie}\r\n"), "");
    assert!(me.contains("\"name\":\"local\""), "{me}");
    let hosts = ask(&address, "GET", "agents", &format!("Cookie: {cookie}\r\n"), "");
    assert!(hosts.starts_with("HTTP/1.1 200"), "{hosts}");

    assert!(log_in(&address, &word).starts_with("HTTP/1.1 401"), "the link was used");
    let (same, next) = served.link();
    assert_eq!(same, address);
    assert!(log_in(&address, &next).starts_with("HTTP/1.1 204"), "another browser");

    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1, "its folder");
    let pid = Pid::from_raw(i32::try_from(served.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let done = Command::new(env!("CARGO_BIN_EXE_overtap"))
        .args(["serve", "--local", "--web", "0.0.0.0:7480"])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("this computer alone"), "{said}");
}
