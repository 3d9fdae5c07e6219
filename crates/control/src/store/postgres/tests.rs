//! Against a real server, which the test starts on a socket in a folder of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use crate::audit::{Action, Answer, Who, verify};
use crate::ca::Ca;
use crate::store::{Expected, conformance};

#[test]
fn the_postgresql_store_conforms() {
    let Some(server) = Server::start() else { return };
    conformance::run(|name, case| {
        let url = server.database(name);
        case(&|| Box::new(PostgresStore::open(&url, None).unwrap()));
    });
}

#[test]
fn a_store_outlives_its_server() {
    let Some(mut server) = Server::start() else { return };
    let url = server.database("outlives");
    let store = PostgresStore::open(&url, None).unwrap();
    let before = store.commit(&[], &[draft("before")]).unwrap();
    server.stop();
    assert!(store.commit(&[], &[draft("meanwhile")]).is_err());
    assert!(store.version().is_err());
    server.restart();
    assert_eq!(store.audit_head().unwrap(), before.head, "asked on a new connection");
    let after = store.commit(&[], &[draft("after")]).unwrap();
    let entries = store.audit(1, 10).unwrap();
    verify(&entries, &[before.head, after.head]).unwrap();
    assert_eq!(entries.len(), 2);
}

#[test]
fn the_audit_log_cannot_be_changed_by_accident() {
    let Some(server) = Server::start() else { return };
    let url = server.database("accident");
    PostgresStore::open(&url, None).unwrap().commit(&[], &[draft("one")]).unwrap();
    let mut client = Client::connect(&url, NoTls).unwrap();
    for sql in [
        "DELETE FROM overtap.audit",
        "UPDATE overtap.audit SET body = ''",
        "TRUNCATE overtap.audit",
    ] {
        let error = client.batch_execute(sql).unwrap_err();
        let message = error.as_db_error().unwrap().message();
        assert_eq!(message, "the audit log is only added to", "{sql}");
    }
    let sql = "UPDATE overtap.layout SET step = 2";
    client.batch_execute(sql).unwrap();
    let refused = PostgresStore::open(&url, None);
    assert!(matches!(refused, Err(StoreError::Newer { found: 2, known: 1 })));
}

#[test]
fn a_server_far_away_is_not_talked_to_without_encryption() {
    for url in ["postgres://ann@db.example.com/overtap", "host=10.0.0.9 user=ann"] {
        let refused = PostgresStore::open(url, None);
        assert!(matches!(refused, Err(StoreError::Postgres(PostgresError::Distant(_)))), "{url}");
    }
    let refused = PostgresStore::open("no address", None);
    assert!(matches!(refused, Err(StoreError::Postgres(PostgresError::Url(_)))));
}

#[test]
fn a_server_is_talked_to_with_encryption_if_its_authority_is_known() {
    let Some(mut server) = Server::start() else { return };
    let now = jiff::Timestamp::now();
    let (ours, other) = (Ca::make(now).unwrap(), Ca::make(now).unwrap());
    let port = server.speak_tls(&ours);
    server.database("encrypted");
    let url = |host: &str| format!("host={host} port={port} user=overtap dbname=t_encrypted");
    let open = |host: &str, ca: &Ca| PostgresStore::open(&url(host), Some(&ca.certificate().pem()));
    let store = open("localhost", &ours).unwrap();
    store.commit(&[], &[draft("one")]).unwrap();
    let mut client = Client::connect(&server.url("postgres"), NoTls).unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE datname = 't_encrypted' AND application_name = 'overtap'";
    assert!(client.query_one(sql, &[]).unwrap().get::<_, bool>(0));
    let refused = open("localhost", &other).unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let refused = open("127.0.0.1", &ours).unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
    let refused = PostgresStore::open(&url("localhost"), Some("no certificate"));
    assert!(matches!(refused, Err(StoreError::Postgres(PostgresError::Authorities(_)))));
}

#[test]
fn many_controllers_that_start_at_once_make_one_layout() {
    let Some(server) = Server::start() else { return };
    let url = server.database("at_once");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let url = &url;
            scope.spawn(move || {
                let store = PostgresStore::open(url, None).unwrap();
                let key = number.to_string();
                let change =
                    Change::write(Kind::Setting, key, "1".to_owned(), Expected::Absent).unwrap();
                store.commit(&[change], &[draft("x")]).unwrap();
            });
        }
    });
    let store = PostgresStore::open(&url, None).unwrap();
    assert_eq!(store.version().unwrap(), Version(8));
    let entries = store.audit(1, 100).unwrap();
    assert_eq!(verify(&entries, &[]).unwrap().head.seq, 8);
}

fn draft(subject: &str) -> Draft {
    Draft {
        at: jiff::Timestamp::UNIX_EPOCH,
        who: Who::Controller,
        from: "local".to_owned(),
        action: Action::Setting,
        subject: subject.to_owned(),
        machines: vec![],
        answer: Answer::Granted,
        reason: String::new(),
    }
}

/// A PostgreSQL server on a socket, without network. It ends with this.
struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    child: Option<Child>,
    /// Names the socket, too.
    port: u16,
}

const DEFAULT_PORT: u16 = 5432;

impl Server {
    /// `None`, said aloud, where PostgreSQL is not installed.
    fn start() -> Option<Self> {
        let Some(programs) = programs().filter(|_| !is_root() || other_user().is_some()) else {
            eprintln!("not tried: PostgreSQL is not installed (scripts/deps stores)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("overtap-pg").tempdir().unwrap();
        let mut server = Self { folder, programs, child: None, port: DEFAULT_PORT };
        if let Some((user, group)) = other_user() {
            chown(server.folder.path(), Some(user), Some(group)).unwrap();
        }
        fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let made = server
            .program("initdb")
            .args(["--no-sync", "--auth=trust", "--username=overtap", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--pgdata"])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.restart();
        Some(server)
    }

    /// Starts it again with TLS, also on a port of loopback, as `localhost`.
    fn speak_tls(&mut self, ca: &Ca) -> u16 {
        self.stop();
        let (leaf, key) =
            ca.issue_server(&["localhost".to_owned()], jiff::Timestamp::now()).unwrap();
        for (name, text) in [("server.crt", leaf.pem()), ("server.key", key)] {
            let path = self.data().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = other_user() {
                chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let more = format!("ssl = on\nlisten_addresses = '127.0.0.1'\nport = {port}\n");
        let path = self.data().join("postgresql.auto.conf");
        fs::write(path, more).unwrap();
        self.port = port;
        self.restart();
        port
    }

    fn restart(&mut self) {
        let mut program = self.program("postgres");
        program.args(["-c", "fsync=off", "-c", "max_connections=40"]);
        if self.port == DEFAULT_PORT {
            program.args(["-c", "listen_addresses="]);
        }
        program.arg("-k").arg(self.folder.path()).arg("-D").arg(self.data());
        self.child = Some(program.spawn().unwrap());
        let began = Instant::now();
        while Client::connect(&self.url("postgres"), NoTls).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGTERM would wait for the clients, SIGINT sends them away (postgres(1)).
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            child.wait().unwrap();
        }
    }

    /// Makes a database and says where it is.
    fn database(&self, name: &str) -> String {
        let mut client = Client::connect(&self.url("postgres"), NoTls).unwrap();
        client.batch_execute(&format!("CREATE DATABASE t_{name}")).unwrap();
        self.url(&format!("t_{name}"))
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        let port = self.port;
        format!("host={folder} port={port} user=overtap dbname={database} connect_timeout=5")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir(self.folder.path());
        if let Some((user, group)) = other_user() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The server refuses to run as root; it gets the account of its package then.
fn other_user() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let account = accounts.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = account.split(':').skip(2).map(|field| field.parse().unwrap());
    Some((fields.next()?, fields.next()?))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Debian keeps them beside the path, by version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max()
}
