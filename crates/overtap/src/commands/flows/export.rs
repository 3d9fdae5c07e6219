//! `overtap flows --export`: flows told to another collector, over UDP.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use clap::ValueEnum;
use flows::{Dialect, Encoder, Flow};
use wire::Timestamp;

use crate::exit::WrongUsage;

/// Where flows go.
#[derive(clap::Args)]
pub(super) struct Target {
    /// Send the flows to this collector instead of printing them.
    #[arg(long, value_name = "ADDR[:PORT]")]
    export: Option<String>,

    /// What to speak; the usual port is 4739 for ipfix and 2055 for netflow9.
    #[arg(long = "as", value_enum, default_value_t = Spoken::Ipfix, requires = "export")]
    spoken: Spoken,

    /// The observation domain, or source id, that the exports are in.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "export")]
    export_domain: u32,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Spoken {
    /// RFC 7011.
    Ipfix,
    /// RFC 3954.
    Netflow9,
}

impl Target {
    /// The export, if one is wanted.
    pub(super) fn open(&self) -> anyhow::Result<Option<Export>> {
        let Some(text) = &self.export else { return Ok(None) };
        let (dialect, port) = match self.spoken {
            Spoken::Ipfix => (Dialect::Ipfix, 4739),
            Spoken::Netflow9 => (Dialect::Netflow9, 2055),
        };
        let address = resolve(text, port)?;
        let own = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(own)?;
        socket.connect(address)?;
        Ok(Some(Export {
            encoder: Encoder::new(dialect, self.export_domain),
            sender: Sender { socket, address, messages: 0, bytes: 0, unsent: 0 },
            flows: 0,
            latest: Timestamp::ZERO,
        }))
    }
}

/// `192.0.2.1`, `192.0.2.1:9995`, `[fd00::1]:9995`, `collector.example:9995`.
fn resolve(text: &str, port: u16) -> Result<SocketAddr, WrongUsage> {
    let found = match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => Ok(Some(SocketAddr::new(address, port))),
        Err(_) if text.contains(':') => text.to_socket_addrs().map(|mut found| found.next()),
        Err(_) => (text, port).to_socket_addrs().map(|mut found| found.next()),
    };
    let reason = match found {
        Ok(Some(address)) => return Ok(address),
        Ok(None) => "it has no address".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(WrongUsage(format!("cannot export to {text}: {reason}")))
}

/// Flows on their way to a collector.
pub(super) struct Export {
    encoder: Encoder,
    sender: Sender,
    flows: u64,
    /// The youngest packet of any flow so far: what time it is in the packets.
    latest: Timestamp,
}

impl Export {
    /// Sends a flow, with others that fit into one datagram.
    pub(super) fn add(&mut self, flow: &Flow) {
        self.flows += 1;
        self.latest = self.latest.max(flow.last());
        let sender = &mut self.sender;
        self.encoder.add(flow, self.latest, &mut |message| sender.send(message));
    }

    /// Sends what waits for more.
    pub(super) fn flush(&mut self) {
        let sender = &mut self.sender;
        self.encoder.flush(self.latest, &mut |message| sender.send(message));
    }

    /// Says what was sent; whether all could be.
    pub(super) fn finish(mut self, is_quiet: bool) -> bool {
        self.flush();
        let Sender { address, messages, unsent, .. } = self.sender;
        let number = agent::grouped;
        if !is_quiet {
            let (flows, messages) = (number(self.flows), number(messages));
            eprintln!("overtap: {flows} flows exported to {address} in {messages} datagrams");
        }
        if unsent > 0 {
            eprintln!(
                "overtap: {} datagrams could not be sent to {address}: nobody listens there, or \
                 there is no way",
                number(unsent)
            );
        }
        unsent == 0
    }
}

struct Sender {
    socket: UdpSocket,
    address: SocketAddr,
    messages: u64,
    bytes: u64,
    unsent: u64,
}

impl Sender {
    fn send(&mut self, message: &[u8]) {
        // An answer to an earlier datagram that nobody listens is told at the next one, once.
        let sent = match self.socket.send(message) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.unsent += 1;
                self.socket.send(message)
            }
            sent => sent,
        };
        match sent {
            Ok(_) => self.messages += 1,
            Err(_) => self.unsent += 1,
        }
        // UDP has no flow control: what most collectors' buffers hold, then a pause.
        self.bytes += message.len() as u64;
        if self.bytes >= BURST {
            self.bytes = 0;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Bytes in a row, some quarter of the usual receive buffer.
const BURST: u64 = 48 << 10;
