//! Exports by every transport, into batches; and what is remembered of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::{Address, Listener, Memory, MemoryError, Receiver, TlsFiles, server_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use wire::Timestamp;
use wire::export::{Collector, Datagram, Event, Limits};

/// Collects until `count` records have come, or patience is over.
struct Bed {
    receiver: Receiver,
    collector: Collector,
    octets: Vec<u64>,
}

impl Bed {
    fn listen(address: &str, tls: Option<&TlsFiles>) -> (Self, SocketAddr) {
        let tls = tls.map(|files| server_config(files).unwrap());
        let address: Address = address.parse().unwrap();
        let listener = Listener::bind(address, tls.as_ref()).unwrap();
        let at = listener.address.socket;
        let receiver = Receiver::start(vec![listener]).unwrap();
        (Self { receiver, collector: Collector::new(Limits::default()), octets: Vec::new() }, at)
    }

    fn until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_enough(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "it does not come");
            let Some(batch) = self.receiver.next(Duration::from_millis(50)) else { continue };
            for arrival in batch.arrivals() {
                let Some(payload) = arrival.payload else {
                    self.collector.forget_session(arrival.source);
                    continue;
                };
                let datagram = Datagram { time: arrival.time, source: arrival.source, payload };
                let octets = &mut self.octets;
                self.collector.take(&datagram, |event| {
                    if let Event::Flow(_, record) = event {
                        octets.push(record.counts().octets.unwrap());
                    }
                });
            }
            self.receiver.give_back(batch);
        }
    }
}

/// An IPFIX message: a template of octets and source port, and such records behind it.
fn message(sequence: u32, has_template: bool, octets: &[u32]) -> Vec<u8> {
    let mut sets = Vec::new();
    if has_template {
        sets.extend([0, 2, 0, 16, 1, 0, 0, 2, 0, 1, 0, 4, 0, 7, 0, 2]);
    }
    sets.extend([1, 0]);
    sets.extend(u16::try_from(4 + 6 * octets.len()).unwrap().to_be_bytes());
    for octets in octets {
        sets.extend(octets.to_be_bytes());
        sets.extend([0, 80]);
    }
    let mut message = vec![0, 10];
    message.extend(u16::try_from(16 + sets.len()).unwrap().to_be_bytes());
    message.extend(1_795_255_380_u32.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend([0; 4]);
    message.extend(sets);
    message
}

#[test]
fn datagrams_come_in_their_order() {
    let (mut bed, at) = Bed::listen("127.0.0.1:0", None);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&message(0, true, &[1]), at).unwrap();
    for number in 1..500 {
        socket.send_to(&message(number, false, &[number + 1]), at).unwrap();
    }
    bed.until(|bed| bed.octets.len() == 500);
    assert_eq!(bed.octets, (1..=500).collect::<Vec<u64>>());
    assert_eq!(bed.receiver.counters().kernel_drops, Some(0));
}

#[test]
fn messages_of_a_connection_may_come_in_any_pieces() {
    let (mut bed, at) = Bed::listen("tcp://127.0.0.1:0", None);
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    let bytes =
        [message(0, true, &[1, 2]), message(2, false, &[3]), message(3, false, &[4])].concat();
    for piece in bytes.chunks(7) {
        stream.write_all(piece).unwrap();
    }
    bed.until(|bed| bed.octets.len() == 4);
    assert_eq!(bed.octets, [1, 2, 3, 4]);
    // What is no IPFIX ends the connection, and is counted.
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    bed.until(|bed| bed.receiver.counters().connections_not_ipfix == 1);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let end = stream.read(&mut [0; 1]);
    assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
}

#[test]
fn templates_do_not_outlive_their_connection() {
    let (mut bed, at) = Bed::listen("tcp://127.0.0.1:0", None);
    let first = TcpStream::connect(at).unwrap();
    (&first).write_all(&message(0, true, &[1])).unwrap();
    bed.until(|bed| bed.octets.len() == 1);
    drop(first);
    let second = TcpStream::connect(at).unwrap();
    (&second).write_all(&message(0, false, &[2])).unwrap();
    bed.until(|bed| bed.collector.exporters().iter().any(|e| e.account.sets_without_template > 0));
    assert_eq!(bed.octets, [1]);
}

/// A certificate for `localhost` of an authority of its own, and that authority.
fn certificates(
    directory: &std::path::Path,
) -> (TlsFiles, rcgen::Certificate, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = TlsFiles {
        certificate: write("own.pem", own.pem()),
        key: write("own.key", own_key.serialize_pem()),
        clients: Some(write("ca.pem", authority.pem())),
    };
    (files, authority, issuer)
}

#[test]
fn tls_is_spoken_with_who_shows_a_certificate_that_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (files, authority, issuer) = certificates(directory.path());
    let (mut bed, at) = Bed::listen("tls://127.0.0.1:0", Some(&files));
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
    };
    let connect = |config: ClientConfig| {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, TcpStream::connect(at).unwrap())
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let exporter = rcgen::CertificateParams::new(vec!["exporter".into()]).unwrap();
    let exporter = exporter.signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let known = client().with_client_auth_cert(vec![exporter.der().clone()], key).unwrap();
    let mut stream = connect(known);
    stream.write_all(&message(0, true, &[7; 2000])).unwrap();
    stream.write_all(&message(2000, false, &[8; 9000])).unwrap();
    stream.flush().unwrap();
    bed.until(|bed| bed.octets.len() == 11_000);
    // Nobody knows this one.
    let mut stranger = connect(client().with_no_client_auth());
    let _ = stranger.write_all(&message(0, true, &[1]));
    let _ = stranger.flush();
    bed.until(|bed| bed.receiver.counters().connections_not_ipfix == 1);
    assert_eq!(bed.octets.len(), 11_000);
}

#[test]
fn what_was_learnt_is_remembered_and_a_part_that_is_damaged_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut collector = Collector::new(Limits::default());
    for port in 1..=3 {
        let source = SocketAddr::from(([192, 0, 2, 1], port));
        let payload = message(0, true, &[1]);
        collector.take(&Datagram { time: NOW, source, payload: &payload }, |_| {});
    }
    assert!(Memory::read(&state).unwrap().exporters.is_empty(), "nothing yet");
    let memory = Memory::open(&state).unwrap();
    assert!(matches!(Memory::open(&state), Err(MemoryError::InUse(_))));
    memory.write(NOW, collector.exporters().iter()).unwrap();
    let remembered = Memory::read(&state).unwrap();
    assert_eq!((remembered.written, remembered.exporters.len()), (NOW, 3));
    let mut anew = Collector::new(Limits::default());
    for saved in remembered.exporters {
        anew.restore(saved).unwrap();
    }
    let source = SocketAddr::from(([192, 0, 2, 1], 2));
    let (payload, mut octets) = (message(1, false, &[5]), Vec::new());
    anew.take(&Datagram { time: NOW, source, payload: &payload }, |event| {
        if let Event::Flow(_, record) = event {
            octets.push(record.counts().octets);
        }
    });
    assert_eq!(octets, [Some(5)]);
    // One line of it is spoilt.
    let path = state.join("exporters.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"port\":2", "\"port\":\"x\"", 1)).unwrap();
    let damaged = Memory::read(&state).unwrap();
    assert_eq!((damaged.exporters.len(), damaged.damage[0].line), (2, 3));
    // And what is not ours, or newer, is not touched.
    std::fs::write(&path, text.replacen("\"version\":1", "\"version\":2", 1)).unwrap();
    assert!(matches!(Memory::read(&state), Err(MemoryError::Newer { found: 2, .. })));
    std::fs::write(&path, "something\n").unwrap();
    assert!(matches!(Memory::read(&state), Err(MemoryError::NotOurs(_))));
}

const NOW: Timestamp = Timestamp::from_parts(1_795_255_380, 0);
