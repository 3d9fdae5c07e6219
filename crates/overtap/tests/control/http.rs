//! A browser, or a program, at the controller's HTTP door. Every answer is held against the
//! document that describes the API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::controller::Controller;
use crate::schema::Described;

/// Somebody who asks over HTTP.
pub(crate) struct Http {
    address: String,
    /// Lines of the head that go with each question.
    head: Vec<String>,
    described: Described,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// Nobody.
    pub(crate) fn new(controller: &Controller) -> Self {
        let address = controller.web().to_owned();
        let mut http =
            Self { address, head: Vec::new(), described: Described::new("{\"paths\":{}}") };
        http.described = Described::new(&http.raw("GET", "/api/v1/openapi.json", "").text());
        http
    }

    /// A user of this controller, with their token.
    pub(crate) fn of(controller: &Controller, user: &str) -> Self {
        let token = token(controller, user);
        Self::new(controller).with(&format!("Authorization: Bearer {token}"))
    }

    /// The same with another line in the head.
    pub(crate) fn with(mut self, line: &str) -> Self {
        self.head.push(line.to_owned());
        self
    }

    pub(crate) fn described(&self) -> &Described {
        &self.described
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The JSON that is answered.
    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Asks, and holds the answer against its description.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.raw(method, path, body);
        let text = String::from_utf8_lossy(&answer.body);
        if let Some(fault) = self.described.fault(method, path, answer.status, &text) {
            panic!("{fault}");
        }
        answer
    }

    /// Asks, and gives the lines of the answer's body as they come.
    pub(crate) fn lines(&self, path: &str) -> impl Iterator<Item = String> {
        let mut stream = self.send("GET", path, "");
        let (status, head) = read_head(&mut stream);
        assert_eq!(status, 200, "{path}: {head:?}");
        stream.lines().map_while(Result::ok)
    }

    fn raw(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = self.send(method, path, body);
        let (status, head) = read_head(&mut stream);
        let value =
            |name: &str| head.iter().find(|(known, _)| known == name).map(|(_, v)| v.as_str());
        let mut body = Vec::new();
        if value("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let len = usize::from_str_radix(line.trim(), 16).expect("the body breaks off");
                let mut chunk = vec![0; len + 2];
                stream.read_exact(&mut chunk).unwrap();
                if len == 0 {
                    break;
                }
                body.extend(&chunk[..len]);
            }
        } else if let Some(len) = value("content-length") {
            body = vec![0; len.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
        }
        Answer { status, head, body }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for line in &self.head {
            text += &format!("{line}\r\n");
        }
        if !body.is_empty() {
            text +=
                &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        text += "Connection: close\r\n\r\n";
        stream.write_all((text + body).as_bytes()).unwrap();
        BufReader::new(stream)
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A value of the head; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.head.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// What a problem says.
    pub(crate) fn detail(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

/// The token of a user who is logged in at the controller.
pub(crate) fn token(controller: &Controller, user: &str) -> String {
    let login = std::fs::read_to_string(controller.path(&format!("{user}.json"))).unwrap();
    let login: Value = serde_json::from_str(&login).unwrap();
    login["token"].as_str().unwrap().to_owned()
}

fn read_head(stream: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut lines = stream.lines().map(|line| line.unwrap()).take_while(|line| !line.is_empty());
    let first = lines.next().expect("an answer");
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    let head = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    (status, head.collect())
}
