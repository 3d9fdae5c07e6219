//! A host with VMs that exist only in what its agent says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::document::{Orders, Part};
use api::proto::agents_client::AgentsClient;
use api::proto::from_agent::Said;
use api::proto::{FromAgent, Hello, Piece, Pong, SendPart, to_agent};
use control::grants::{MachineFacts, Permit};
use inventory::{Look, Site};
use station::Identity;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::controller::Controller;

/// An agent that is enrolled and attends, and does nothing with what it is ordered.
pub(crate) struct FakeHost {
    runtime: Runtime,
    to: mpsc::Sender<FromAgent>,
    orders: Arc<Mutex<Orders>>,
    spool: Spool,
    name: String,
}

/// What it has of each part, by session and number, and whether that is all.
type Spool = Arc<Mutex<BTreeMap<(String, u32), (Vec<u8>, bool)>>>;

impl FakeHost {
    /// Enrols and attends.
    pub(crate) fn new(controller: &Controller, name: &str) -> Self {
        Self::with_clock(controller, name, 0)
    }

    /// The same, with a clock that is so far ahead, in ns.
    pub(crate) fn with_clock(controller: &Controller, name: &str, ahead_ns: u64) -> Self {
        let folder = controller.path(name);
        let line = controller.done("admin", &["agents", "invite"]);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let more = ["--name", name, "--dir", folder.to_str().unwrap()];
        controller.done("admin", &[&words[..], &more].concat());
        api::tls::install_provider();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (to, outgoing) = mpsc::channel(16);
        let orders = Arc::new(Mutex::new(Orders::default()));
        let heard = Arc::clone(&orders);
        let spool = Spool::default();
        let (spooled, answers) = (Arc::clone(&spool), to.clone());
        let identity = Identity::open(&folder).unwrap();
        runtime.spawn(async move {
            let mut client = AgentsClient::new(identity.channel().unwrap());
            let answer = client.attend(ReceiverStream::new(outgoing)).await;
            let mut incoming = answer.unwrap().into_inner();
            while let Ok(Some(message)) = incoming.message().await {
                match message.said {
                    Some(to_agent::Said::OrdersJson(json)) => {
                        *heard.lock().unwrap() = serde_json::from_str(&json).unwrap();
                    }
                    Some(to_agent::Said::Ping(ping)) => {
                        let now = now_ns() + ahead_ns;
                        let pong =
                            Pong { asked_ns: ping.asked_ns, received_ns: now, answered_ns: now };
                        answers.send(FromAgent { said: Some(Said::Pong(pong)) }).await.unwrap();
                    }
                    Some(to_agent::Said::Send(wanted)) => {
                        let client = AgentsClient::new(identity.channel().unwrap());
                        tokio::spawn(upload(client, Arc::clone(&spooled), wanted));
                    }
                    _ => {}
                }
            }
        });
        let host = Self { runtime, to, orders, spool, name: name.to_owned() };
        host.say(Said::Hello(Hello {
            version: "0".to_owned(),
            host: name.to_owned(),
            ..Hello::default()
        }));
        host
    }

    /// Tells which VMs run here: tenant, name, number. The number makes UUID, MAC and address.
    pub(crate) fn runs(&self, machines: &[(&str, &str, u8)]) {
        let machines: Vec<serde_json::Value> = machines
            .iter()
            .map(|(tenant, name, number)| {
                serde_json::json!({
                    "id": format!("uuid:{}", uuid(*number)), "name": name, "aliases": [],
                    "kind": "vm", "state": "running", "tenant": tenant, "pid": null, "since": null,
                    "vnics": [{
                        "name": "net0", "mac": mac(*number),
                        "ips": [{ "ip": ip(*number), "source": "libvirt" }], "attachment": null,
                    }],
                })
            })
            .collect();
        let site = serde_json::json!({
            "host": { "name": self.name }, "machines": machines, "sources": [],
        });
        let site: Site = serde_json::from_value(site).unwrap();
        let nanos = now_ns();
        let look = Look {
            at: wire::Timestamp::from_nanos(nanos),
            host: site.host,
            previous: None,
            is_whole: true,
            unread: vec![],
            machines: site.machines,
            gone: vec![],
        };
        self.say(Said::LookJson(look.encode().unwrap()));
    }

    fn say(&self, said: Said) {
        self.runtime.block_on(self.to.send(FromAgent { said: Some(said) })).unwrap();
    }

    /// Says that it has a part, and gives it to whoever asks: as far as `bytes` go, and as ended
    /// if `is_all`.
    pub(crate) fn has(&self, part: &Part, bytes: Vec<u8>, is_all: bool) {
        let key = (part.session.clone(), part.number);
        self.spool.lock().unwrap().insert(key, (bytes, is_all));
        self.say(Said::PartJson(serde_json::to_string(part).unwrap()));
    }

    /// The permit of a running session, once it came; `None` if the session is not to run.
    pub(crate) fn permit(&self, session: &str) -> Option<Permit> {
        let orders = self.orders.lock().unwrap();
        let order = orders.sessions.iter().find(|order| order.session == session)?;
        Some(serde_json::from_value(order.permit.clone()).unwrap())
    }

    /// Waits until the orders are so.
    pub(crate) fn wait_for(&self, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", self.orders.lock());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn upload(
    mut client: AgentsClient<tonic::transport::Channel>,
    spool: Spool,
    wanted: SendPart,
) {
    let (to, pieces) = mpsc::channel(1);
    let sending = async move {
        to.send(Piece { transfer: wanted.transfer, ..Piece::default() }).await?;
        let mut offset = usize::try_from(wanted.offset).unwrap();
        loop {
            let (bytes, is_all) = {
                let spool = spool.lock().unwrap();
                let (bytes, is_all) = &spool[&(wanted.session.clone(), wanted.part)];
                (bytes[offset..].to_vec(), *is_all)
            };
            for piece in bytes.chunks(api::PIECE_BYTES) {
                offset += piece.len();
                to.send(Piece { bytes: piece.to_vec().into(), ..Piece::default() }).await?;
            }
            if is_all {
                return to.send(Piece { is_last: true, ..Piece::default() }).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Whoever has heard enough hangs up.
    let _ = tokio::join!(client.upload(ReceiverStream::new(pieces)), sending);
}

/// Now, by the test's own clock.
pub(crate) fn now_ns() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

/// What an agent would ask its permits about.
pub(crate) fn facts(tenant: &str, name: &str, number: u8) -> MachineFacts {
    let id = format!("uuid:{}", uuid(number)).parse().unwrap();
    MachineFacts { id, name: name.to_owned(), tenant: Some(tenant.to_owned()) }
}

pub(crate) fn uuid(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02x}")
}

pub(crate) fn mac(number: u8) -> String {
    format!("52:54:00:00:00:{number:02x}")
}

pub(crate) fn ip(number: u8) -> String {
    format!("10.0.0.{number}")
}
