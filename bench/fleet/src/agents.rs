//! The agents: one connection each, with a certificate of its own, in one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::proto::agents_client::AgentsClient;
use api::proto::enrolment_client::EnrolmentClient;
use api::proto::from_agent::Said;
use api::proto::{EnrolRequest, FromAgent, Hello, Pong, to_agent};
use control::admin::{Command, Made, NewInvitation, Reply};
use control::ca::Request as Key;
use inventory::Timeline;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::Result;
use crate::controller::Controller;
use crate::people::{People, channel};
use crate::site::{Site, host_name, now_ns};

/// Agents that were let in and are not there yet.
pub struct Enrolled(Vec<Channel>);

/// Agents that are there.
pub struct Agents(Vec<Agent>);

struct Agent {
    to: mpsc::Sender<FromAgent>,
    told: Mutex<Timeline>,
    /// The last orders that have come, and when.
    orders: Arc<Mutex<(String, Instant)>>,
}

impl Agents {
    /// Lets so many agents in.
    pub async fn enrol(controller: &Controller, people: &People, hosts: usize) -> Result<Enrolled> {
        let invitation = NewInvitation {
            address: controller.address.parse()?,
            agent: None,
            uses: u32::try_from(hosts)?,
            expires_at: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1),
            note: String::new(),
        };
        let Reply::Made(Made { token, .. }) = people.order(&Command::Invite(invitation)).await?
        else {
            return Err("the controller makes no invitation".into());
        };
        let mut stranger = EnrolmentClient::new(channel(controller, None)?);
        let mut channels = Vec::new();
        for host in 0..hosts {
            let key = Key::make()?;
            let (host, version) = (host_name(host), "bench".to_owned());
            let ask = EnrolRequest { token: token.clone(), host, request: key.der.into(), version };
            let given = stranger.enrol(ask).await?.into_inner();
            channels.push(channel(controller, Some((&given.certificate_pem, &key.key_pem)))?);
        }
        Ok(Enrolled(channels))
    }

    /// Tells what is different at a host.
    pub async fn look(&self, host: usize, site: &Site) -> Result<()> {
        let agent = self.0.get(host).ok_or("no such host")?;
        let at = wire::Timestamp::from_nanos(now_ns());
        let look =
            agent.told.lock().unwrap_or_else(PoisonError::into_inner).record(at, &site.of(host)).0;
        if let Some(look) = look {
            agent.to.send(FromAgent { said: Some(Said::LookJson(look.encode()?)) }).await?;
        }
        Ok(())
    }

    /// How long it took from `began` until each agent had orders with this expression.
    pub async fn have_heard(&self, expression: &str, began: Instant) -> Result<Vec<Duration>> {
        let expression = format!("\"{expression}\"");
        let mut spans = Vec::new();
        for agent in &self.0 {
            loop {
                let (has, at) = {
                    let orders = agent.orders.lock().unwrap_or_else(PoisonError::into_inner);
                    (orders.0.contains(&expression), orders.1)
                };
                if has {
                    spans.push(at.saturating_duration_since(began));
                    break;
                }
                if began.elapsed() > Duration::from_secs(10) {
                    return Err("an agent has not heard of the filter for 10 s".into());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(spans)
    }
}

impl Enrolled {
    /// Connects them all and has each tell what its host looks like.
    pub async fn attend(self, site: &Site) -> Result<Agents> {
        let mut agents = Vec::new();
        for (host, channel) in self.0.into_iter().enumerate() {
            agents.push(attend(host, channel).await?);
        }
        let agents = Agents(agents);
        for host in 0..agents.0.len() {
            agents.look(host, site).await?;
        }
        Ok(agents)
    }
}

async fn attend(host: usize, channel: Channel) -> Result<Agent> {
    let (to, said) = mpsc::channel(64);
    let hello = Hello { version: "bench".into(), host: host_name(host), ..Hello::default() };
    to.send(FromAgent { said: Some(Said::Hello(hello)) }).await?;
    let mut client = AgentsClient::new(channel).max_decoding_message_size(8 << 20);
    let mut heard = client.attend(ReceiverStream::new(said)).await?.into_inner();
    let orders = Arc::new(Mutex::new((String::new(), Instant::now())));
    let (answers, known) = (to.clone(), Arc::clone(&orders));
    tokio::spawn(async move {
        while let Ok(Some(message)) = heard.message().await {
            match message.said {
                Some(to_agent::Said::Ping(ping)) => {
                    let now = now_ns();
                    let pong = Pong { asked_ns: ping.asked_ns, received_ns: now, answered_ns: now };
                    let _ = answers.send(FromAgent { said: Some(Said::Pong(pong)) }).await;
                }
                Some(to_agent::Said::OrdersJson(orders)) => {
                    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                    *known = (orders, Instant::now());
                }
                _ => {}
            }
        }
    });
    Ok(Agent { to, told: Mutex::new(Timeline::new(1)), orders })
}
