//! What Prometheus reads of both roles, held to the format, to its customs, and to the reference.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::controller::Controller;
use crate::host::FakeHost;

/// A page, read strictly: the type of each metric, and the figures by name and labels.
#[derive(Debug, Default)]
struct Scraped {
    kinds: BTreeMap<String, String>,
    figures: BTreeMap<String, f64>,
}

impl Scraped {
    /// Asks as Prometheus does.
    fn from(address: &str) -> Self {
        let address = address.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        Self::read(body)
    }

    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let (mut helped, mut current) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.'), "{line}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, helped, "the type follows its help");
                assert!(is_customary(name, kind), "{line}");
                assert_eq!(page.kinds.insert(name.to_owned(), kind.to_owned()), None, "{line}");
                current = name.to_owned();
            } else {
                let (series, figure) = line.rsplit_once(' ').unwrap();
                assert_eq!(name_of(series), current, "{line}");
                let figure: f64 = figure.parse().unwrap();
                assert!(figure.is_finite(), "{line}");
                assert_eq!(page.figures.insert(series.to_owned(), figure), None, "{line}");
            }
        }
        page
    }

    fn figure(&self, series: &str) -> f64 {
        *self.figures.get(series).unwrap_or_else(|| panic!("no {series} in {self:#?}"))
    }
}

/// The name of a series, its labels read to the last letter.
fn name_of(series: &str) -> &str {
    let Some((name, labels)) = series.split_once('{') else { return series };
    let mut rest = labels.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"").unwrap();
        assert!(is_word(label), "{series}");
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next().unwrap() {
                (_, '\\') => {
                    assert!(matches!(letters.next(), Some((_, '\\' | '"' | 'n'))), "{series}");
                }
                (at, '"') => break at,
                (_, letter) => assert_ne!(letter, '\n', "{series}"),
            }
        };
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    name
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Prometheus' custom: a prefix, base units, and `_total` at the end of what only grows.
fn is_customary(name: &str, kind: &str) -> bool {
    is_word(name)
        && ["overtap_", "process_"].iter().any(|prefix| name.starts_with(prefix))
        && ["_ms", "_ns", "_kb", "_mib"].iter().all(|unit| !name.contains(unit))
        && match kind {
            "counter" => name.ends_with("_total"),
            "gauge" => !name.ends_with("_total"),
            _ => false,
        }
}

/// The reference: kind and roles of each metric.
fn reference() -> BTreeMap<String, (String, String)> {
    let text = include_str!("../../../../docs/reference/metrics.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.split(['`', '{']).next()?;
        Some((name.to_owned(), (cells[2].to_owned(), cells[3].to_owned())))
    });
    rows.collect()
}

#[test]
fn both_roles_are_scraped_and_the_reference_knows_every_figure() {
    let controller = Controller::start();
    let host = FakeHost::new(&controller, "hv-fake");
    host.runs(&[("acme", "web", 1), ("acme", "db", 2)]);
    let agent = Agent::start(&controller, "hv-1");
    let began = Instant::now();
    let (ours, theirs) = loop {
        let page = Scraped::from(controller.metrics());
        let own = Scraped::from(&agent.metrics);
        let is_measured = page.figures.keys().filter(|s| s.contains("clock_offset")).count() == 2;
        if is_measured && own.figure("overtap_controller_connected") == 1.0 {
            break (page, own);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{page:#?} {own:#?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(ours.figure("overtap_agents{state=\"there\"}"), 2.0);
    assert_eq!(ours.figure("overtap_agents{state=\"away\"}"), 0.0);
    assert_eq!(ours.figure("overtap_agent_connected{agent=\"hv-fake\"}"), 1.0);
    assert!(ours.figure("overtap_machines") >= 2.0);
    assert!(ours.figure("overtap_audit_entries_total") >= 4.0);
    // Both ends have one clock here.
    let offset = ours.figure("overtap_agent_clock_offset_seconds{agent=\"hv-1\"}");
    let within = ours.figure("overtap_agent_clock_uncertainty_seconds{agent=\"hv-1\"}");
    assert!(offset.abs() <= within && within < 1.0, "{offset} within {within}");
    let now = jiff::Timestamp::now().as_second() as f64;
    let version = env!("CARGO_PKG_VERSION");
    for (page, role, certificate) in
        [(&ours, "controller", "authority"), (&theirs, "agent", "agent")]
    {
        let info = format!("overtap_build_info{{version=\"{version}\",role=\"{role}\"}}");
        assert_eq!(page.figure(&info), 1.0);
        let end = format!(
            "overtap_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}}"
        );
        assert!(page.figure(&end) > now);
        assert!(page.figure("process_resident_memory_bytes") > 1e6);
        let age = now - page.figure("process_start_time_seconds");
        assert!((-2.0..60.0).contains(&age), "{age}");
        assert!(page.figures.len() < 50, "two agents and no part: {page:#?}");
    }
    assert_eq!(theirs.figure("overtap_packets_dropped_total{reason=\"kernel\"}"), 0.0);

    let reference = reference();
    for (page, role) in [(&ours, "controller"), (&theirs, "agent")] {
        for (name, kind) in &page.kinds {
            let (its_kind, roles) = reference.get(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(its_kind, kind, "{name}");
            assert!(roles == "both" || roles == role, "{name}");
        }
        let told: BTreeSet<&String> = reference
            .iter()
            .filter(|(_, (_, r))| r == "both" || r == role)
            .map(|(n, _)| n)
            .collect();
        let scraped: BTreeSet<&String> = page.kinds.keys().collect();
        assert_eq!(told, scraped, "{role}");
    }
}

/// A capture agent of this machine, which is ordered nothing.
struct Agent {
    child: std::process::Child,
    metrics: String,
}

impl Agent {
    fn start(controller: &Controller, name: &str) -> Self {
        let folder = controller.path(name);
        let line = controller.done("admin", &["agents", "invite"]);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let more = ["--name", name, "--dir", folder.to_str().unwrap()];
        controller.done("admin", &[&words[..], &more].concat());
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.args(["agent", "--metrics", "127.0.0.1:0", "--dir"]).arg(&folder);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut heard = String::new();
        let metrics = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {heard}"));
            if let Some(address) = line.split(" metrics are at ").nth(1) {
                break address.to_owned();
            }
            heard += &line;
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, metrics }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
