//! Against servers that misbehave on purpose, and against the real one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use tempfile::TempDir;

use super::*;

/// A server that plays `script` on its first connections, one for each.
fn serve(scripts: Vec<fn(UnixStream)>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for script in scripts {
            let Ok((stream, _)) = listener.accept() else { return };
            script(stream);
        }
    });
    (directory, path)
}

fn hear(stream: &mut UnixStream) -> Value {
    let mut framer = Framer::default();
    let mut byte = [0];
    loop {
        if let Some(object) = framer.next().unwrap() {
            return serde_json::from_slice(&object).unwrap();
        }
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the client hung up");
        framer.bytes().extend_from_slice(&byte);
    }
}

fn say(stream: &mut UnixStream, message: &Value) {
    stream.write_all(message.to_string().as_bytes()).unwrap();
}

/// Waits until the client leaves.
fn wait_for_end(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn bridge_row(name: &str) -> Value {
    json!({
        "Open_vSwitch": { "o": { "initial": { "bridges": ["uuid", "b"],
            "external_ids": ["map", [["hostname", "hv-1"]]] } } },
        "Bridge": { "b": { "initial": { "name": name, "ports": ["set", []] } } },
    })
}

fn answer_monitor(stream: &mut UnixStream, name: &str) {
    let request = hear(stream);
    assert_eq!(request["method"], "monitor_cond_since");
    assert_eq!(request["params"][3], "00000000-0000-0000-0000-000000000000");
    let result = json!([false, "00000000-0000-0000-0000-000000000000", bridge_row(name)]);
    say(stream, &json!({ "id": request["id"], "result": result, "error": null }));
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// A watch of one socket that ends with the test.
struct Watching {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watching {
    fn start(path: &Path) -> Self {
        let (shared, waker) = (Arc::new(Shared::default()), Waker::new().unwrap());
        let (path, theirs, woken) = (path.to_owned(), Arc::clone(&shared), waker.clone());
        let thread = thread::spawn(move || watch(&path, &theirs, &woken));
        Self { shared, waker, thread: Some(thread) }
    }

    fn next(&self, timeout: Duration) -> Option<Result<OvsFacts, String>> {
        Some(self.shared.mailbox.take(timeout)?.facts.map(|facts| match facts {
            Facts::OpenVSwitch(facts) => facts,
            other => panic!("not Open vSwitch: {other:?}"),
        }))
    }

    /// Waits until the facts are as wanted; at most the second the user was promised.
    fn until(&self, what: &str, is_so: impl Fn(&OvsFacts) -> bool) -> OvsFacts {
        let end = Instant::now() + Duration::from_secs(1);
        while let Some(report) = self.next(end.saturating_duration_since(Instant::now())) {
            if let Ok(facts) = report
                && is_so(&facts)
            {
                return facts;
            }
        }
        panic!("not within a second: {what}");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.stop();
        self.waker.wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn names(facts: &OvsFacts) -> Vec<&str> {
    facts.bridges.iter().map(|bridge| bridge.name.as_str()).collect()
}

#[test]
fn an_echo_before_the_answer_is_answered() {
    let (_directory, path) = serve(vec![|mut stream| {
        say(&mut stream, &json!({ "method": "echo", "params": ["x"], "id": "e" }));
        answer_monitor(&mut stream, "br0");
        assert_eq!(hear(&mut stream), json!({ "result": ["x"], "error": null, "id": "e" }));
    }]);
    let facts = read_once(&path, soon()).unwrap().unwrap();
    assert_eq!(names(&facts), ["br0"]);
    assert_eq!(facts.hostname.as_deref(), Some("hv-1"));
}

#[test]
fn an_update_after_seconds_of_silence_is_received() {
    let (_directory, path) = serve(vec![|mut stream| {
        answer_monitor(&mut stream, "br0");
        thread::sleep(Duration::from_secs(3));
        let update = json!({ "Bridge": { "b": { "modify": { "name": "br1" } } } });
        let update = json!({ "method": "update3", "params": [DATABASE, "0", update], "id": null });
        // In two pieces: what a read timeout in between would lose.
        let update = update.to_string();
        let (begin, end) = update.split_at(20);
        stream.write_all(begin.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(300));
        stream.write_all(end.as_bytes()).unwrap();
        wait_for_end(stream);
    }]);
    let watching = Watching::start(&path);
    watching.until("br0", |facts| names(facts) == ["br0"]);
    assert_eq!(watching.next(Duration::from_secs(2)), None);
    let facts = watching.next(Duration::from_secs(3)).unwrap().unwrap();
    assert_eq!(names(&facts), ["br1"]);
}

#[test]
fn an_old_server_is_asked_again_in_its_own_words() {
    let (_directory, path) = serve(vec![|mut stream| {
        let request = hear(&mut stream);
        let refusal = json!({ "id": request["id"], "result": null, "error": "unknown method" });
        say(&mut stream, &refusal);
        let request = hear(&mut stream);
        assert_eq!(request["method"], "monitor");
        let rows = json!({
            "Open_vSwitch": { "o": { "new": { "bridges": ["uuid", "b"] } } },
            "Bridge": { "b": { "new": { "name": "old" } } },
        });
        say(&mut stream, &json!({ "id": request["id"], "result": rows, "error": null }));
    }]);
    assert_eq!(names(&read_once(&path, soon()).unwrap().unwrap()), ["old"]);
}

#[test]
fn a_cut_connection_is_made_again_without_a_word() {
    let (_directory, path) =
        serve(vec![|mut stream| answer_monitor(&mut stream, "br0"), |mut stream| {
            answer_monitor(&mut stream, "br1");
            wait_for_end(stream);
        }]);
    let watching = Watching::start(&path);
    watching.until("br1", |facts| names(facts) == ["br1"]);
}

#[test]
fn garbage_is_an_error_and_not_a_panic() {
    for garbage in ["hello", "{]", r#"{"id":"monitor_cond_since","result":[1,2,3]}"#] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(garbage.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(200));
        });
        let deadline = Instant::now() + Duration::from_millis(100);
        match read_once(&path, deadline).unwrap() {
            // A reply in the right frame with nothing in it is an empty switch.
            Ok(facts) => assert_eq!(facts, OvsFacts::default()),
            Err(sentence) => assert!(sentence.contains("cannot read Open vSwitch"), "{sentence}"),
        }
    }
}

#[test]
fn a_silent_server_is_left_at_the_deadline() {
    let (_directory, path) = serve(vec![|mut stream| {
        hear(&mut stream);
        thread::sleep(Duration::from_secs(1));
    }]);
    let begin = Instant::now();
    let sentence = read_once(&path, begin + Duration::from_millis(200)).unwrap().unwrap_err();
    assert!(begin.elapsed() < Duration::from_millis(900));
    assert!(sentence.ends_with("no answer"), "{sentence}");
}

#[test]
fn a_message_without_end_is_given_up() {
    let (_directory, path) = serve(vec![|mut stream| {
        let piece = vec![b'{'; 1 << 20];
        while stream.write_all(&piece).is_ok() {}
    }]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let sentence = read_once(&path, deadline).unwrap().unwrap_err();
    assert!(sentence.contains("longer than 64 MiB"), "{sentence}");
}

#[test]
fn no_socket_is_no_switch_and_a_dead_one_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    assert_eq!(read_once(&path, soon()), None);
    drop(UnixListener::bind(&path).unwrap());
    let sentence = read_once(&path, soon()).unwrap().unwrap_err();
    assert!(sentence.ends_with("start ovsdb-server"), "{sentence}");
}

/// The real server with an empty database of its own.
struct Server {
    directory: TempDir,
    process: Child,
}

impl Server {
    /// `None`, said loudly, where it is not installed.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("conf.db");
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        let created = Command::new("ovsdb-tool").arg("create").arg(&database).arg(schema).status();
        if !created.is_ok_and(|status| status.success()) {
            eprintln!("NOT TESTED: ovsdb-server is not installed (package openvswitch-switch)");
            return None;
        }
        let process = Self::spawn(&directory);
        let server = Self { directory, process };
        server.vsctl(&["--no-wait", "init"]);
        Some(server)
    }

    fn spawn(directory: &TempDir) -> Child {
        let path = directory.path();
        let _ = fs::remove_file(path.join("db.sock"));
        let process = Command::new("ovsdb-server")
            .arg(format!("--remote=punix:{}/db.sock", path.display()))
            .arg(format!("--unixctl={}/ctl.sock", path.display()))
            .arg(path.join("conf.db"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !path.join("db.sock").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        process
    }

    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(&self.directory);
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("db.sock")
    }

    fn vsctl(&self, arguments: &[&str]) {
        let database = format!("--db=unix:{}", self.socket().display());
        let status = Command::new("ovs-vsctl").arg(database).args(arguments).status().unwrap();
        assert!(status.success(), "ovs-vsctl {arguments:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_real_server_shows_each_change_within_a_second() {
    let Some(mut server) = Server::start() else { return };
    let watching = Watching::start(&server.socket());
    watching.until("an empty switch", |facts| facts.bridges.is_empty());
    server.vsctl(&[
        "--no-wait",
        "add-br",
        "br-int",
        "--",
        "set",
        "bridge",
        "br-int",
        "datapath_type=netdev",
        "--",
        "add-port",
        "br-int",
        "vnet0",
        "tag=100",
        "--",
        "set",
        "interface",
        "vnet0",
        r#"external_ids:attached-mac="52:54:00:00:00:01""#,
        "external_ids:iface-id=port-1",
        "external_ids:vm-id=8f2e8e0c-52cf-4a4f-9b45-0a7f2d1c0b01",
    ]);
    let facts = watching.until("a port", |facts| names(facts) == ["br-int"]);
    assert_eq!(facts.bridges[0].datapath, "netdev");
    let port = facts.bridges[0].ports.iter().find(|port| port.name == "vnet0").unwrap();
    assert_eq!(port.tag, VlanId::new(100));
    let interface = &port.interfaces[0];
    assert_eq!(interface.attached_mac.unwrap().to_string(), "52:54:00:00:00:01");
    assert_eq!(interface.iface_id.as_deref(), Some("port-1"));
    assert_eq!(interface.vm_id.as_deref(), Some("8f2e8e0c-52cf-4a4f-9b45-0a7f2d1c0b01"));
    // Each of these is a difference on the wire.
    server.vsctl(&[
        "--no-wait",
        "add-port",
        "br-int",
        "vx0",
        "--",
        "set",
        "interface",
        "vx0",
        "type=vxlan",
        "options:remote_ip=10.0.0.2",
        "options:key=flow",
    ]);
    let facts = watching.until("a tunnel", |facts| facts.bridges[0].ports.len() == 3);
    let tunnel = facts.bridges[0].ports.iter().find(|port| port.name == "vx0").unwrap();
    assert_eq!(tunnel.interfaces[0].kind, "vxlan");
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        tunnel.interfaces[0].options,
        [option("key", "flow"), option("remote_ip", "10.0.0.2")]
    );
    server.vsctl(&["--no-wait", "set", "interface", "vx0", "options:remote_ip=10.0.0.3"]);
    watching.until("another remote", |facts| {
        let ports = &facts.bridges[0].ports;
        let tunnel = ports.iter().find(|port| port.name == "vx0").unwrap();
        tunnel.interfaces[0].options[1].1 == "10.0.0.3"
    });
    server.vsctl(&[
        "--no-wait",
        "set",
        "port",
        "vnet0",
        "trunks=10,20",
        "--",
        "clear",
        "port",
        "vnet0",
        "tag",
    ]);
    watching.until("a trunk", |facts| {
        let port = facts.bridges[0].ports.iter().find(|port| port.name == "vnet0").unwrap();
        port.tag.is_none() && port.trunks == [VlanId::new(10).unwrap(), VlanId::new(20).unwrap()]
    });
    server.vsctl(&[
        "--no-wait",
        "add-bond",
        "br-int",
        "bond0",
        "up0",
        "up1",
        "bond_mode=active-backup",
    ]);
    watching.until("a team", |facts| {
        facts.bridges[0].ports.iter().any(|port| {
            port.interfaces.len() == 2 && port.bond_mode.as_deref() == Some("active-backup")
        })
    });
    server.vsctl(&["--no-wait", "del-port", "vnet0"]);
    watching
        .until("the port gone", |facts| facts.bridges[0].ports.iter().all(|p| p.name != "vnet0"));
    server.restart();
    server.vsctl(&["--no-wait", "add-br", "br-new"]);
    watching.until("a bridge after a restart", |facts| names(facts) == ["br-int", "br-new"]);
}
