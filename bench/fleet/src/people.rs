//! The administrator, who also asks and captures.

use std::time::{Duration, Instant};

use api::document::{HostFound, Session, Status, Wish};
use api::proto::people_client::PeopleClient;
use api::proto::{
    AdministerRequest, FindRequest, RefilterSessionRequest, StartSessionRequest, StatusRequest,
};
use control::admin::{Command, NewGrant, Reply};
use control::grants::{Purpose, Snaplen};
use tonic::Request;
use tonic::transport::Channel;

use crate::Result;
use crate::controller::Controller;

pub struct People {
    client: PeopleClient<Channel>,
    bearer: String,
}

impl People {
    pub fn new(controller: &Controller) -> Result<Self> {
        let channel = channel(controller, None)?;
        let client = PeopleClient::new(channel).max_decoding_message_size(usize::MAX);
        Ok(Self { client, bearer: format!("Bearer {}", controller.token) })
    }

    /// Has an order carried out.
    pub async fn order(&self, command: &Command) -> Result<Reply> {
        let ask = AdministerRequest { command_json: serde_json::to_string(command)? };
        let reply = self.client.clone().administer(self.by(ask)?).await?;
        Ok(serde_json::from_str(&reply.into_inner().reply_json)?)
    }

    /// How long it took to find something, and on which hosts it is.
    pub async fn find(&self, what: &str) -> Result<(Duration, Vec<String>)> {
        let began = Instant::now();
        let ask = FindRequest { what: what.to_owned(), at_ns: 0 };
        let reply = self.client.clone().find(self.by(ask)?).await?.into_inner();
        let took = began.elapsed();
        let hosts = reply
            .host_json
            .iter()
            .map(|json| serde_json::from_str::<HostFound>(json).map(|found| found.host));
        Ok((took, hosts.collect::<std::result::Result<_, _>>()?))
    }

    /// Waits until the controller knows so many machines.
    pub async fn wait_for(&self, machines: usize) -> Result<()> {
        let grant = NewGrant {
            to: "admin".parse()?,
            machines: ["all".parse()?].into(),
            purposes: [Purpose::Capture].into(),
            snaplen: Snaplen::WHOLE,
            longest: None,
            from: None,
            until: None,
            needs_reason: false,
            note: String::new(),
        };
        self.order(&Command::AddGrant(grant)).await?;
        for _ in 0..600 {
            let reply = self.client.clone().status(self.by(StatusRequest {})?).await?.into_inner();
            let status: Status = serde_json::from_str(&reply.status_json)?;
            if status.machines == machines {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("not all machines became known within 30 s".into())
    }

    /// Starts 20 sessions, as a busy day has, and returns one.
    pub async fn session(&self) -> Result<String> {
        let mut id = String::new();
        for number in 0..20 {
            let wish = Wish {
                tenants: vec![format!("t{number}")],
                lifetime_s: 3600,
                snaplen: 1 << 18,
                ..Wish::default()
            };
            let ask = StartSessionRequest { wish_json: serde_json::to_string(&wish)? };
            let reply = self.client.clone().start_session(self.by(ask)?).await?.into_inner();
            id = serde_json::from_str::<Session>(&reply.session_json)?.id;
        }
        Ok(id)
    }

    pub async fn refilter(&self, session: &str, expression: &str) -> Result<()> {
        let (session, expression) = (session.to_owned(), expression.to_owned());
        let ask = RefilterSessionRequest { session, expression };
        self.client.clone().refilter_session(self.by(ask)?).await?;
        Ok(())
    }

    fn by<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.parse()?);
        Ok(request)
    }
}

/// A connection to the controller; as an agent with certificate and key.
pub fn channel(controller: &Controller, identity: Option<(&str, &str)>) -> Result<Channel> {
    let (address, ca_pem) = (controller.address.clone(), controller.ca_pem.clone());
    Ok(api::tls::Controller { address, ca_pem }.channel(identity)?)
}
