//! Many connections of one address do not keep the exporters of others out.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use collector::{Address, Listener, Receiver};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// An IPFIX message (RFC 7011, section 3.1) of 16 bytes: a header, and nothing behind it.
const MESSAGE: [u8; 16] = [
    0, 10, 0, 16, // version 10, length
    0, 0, 0, 1, // export time
    0, 0, 0, 0, // sequence number
    0, 0, 0, 7, // observation domain
];

/// A connection from another address of this host.
fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// Takes batches until `is_there`, for a while.
fn until(receiver: &Receiver, is_there: impl Fn(&Receiver) -> bool) -> bool {
    let began = Instant::now();
    while !is_there(receiver) && began.elapsed() < Duration::from_secs(5) {
        if let Some(batch) = receiver.next(Duration::from_millis(20)) {
            receiver.give_back(batch);
        }
    }
    is_there(receiver)
}

#[test]
fn an_address_with_a_thousand_connections_shuts_no_other_out() {
    let address: Address = "tcp://127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(address, None).unwrap();
    let at = listener.address.socket;
    let receiver = Receiver::start(vec![listener]).unwrap();
    let idle: Vec<TcpStream> = (0..1100).map(|_| from("127.0.0.2", at)).collect();
    let all = idle.len() as u64;
    let counted = |receiver: &Receiver| {
        let counters = receiver.counters();
        counters.connections + counters.connections_refused == all
    };
    assert!(until(&receiver, counted), "{:?}", receiver.counters());
    assert_eq!(receiver.counters().connections, Receiver::MOST_OF_ONE as u64);

    let mut exporter = from("127.0.0.3", at);
    exporter.write_all(&MESSAGE).unwrap();
    assert!(until(&receiver, |receiver| receiver.counters().connections == 65));
    exporter.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let kept = exporter.read(&mut [0; 1]);
    let is_open = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    assert!(kept.is_err_and(is_open), "it is kept");
    drop(idle);
    // What they had is free again.
    let again = |receiver: &Receiver| {
        drop(from("127.0.0.2", at));
        receiver.counters().connections > 65
    };
    assert!(until(&receiver, again), "{:?}", receiver.counters());
}
