//! Questions to the controller, with the user's token at each.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use api::MAX_MESSAGE_BYTES;
use api::document::{HostFound, Session, Status as Health, Wish};
use api::proto::people_client::PeopleClient;
use api::proto::{
    AdministerRequest, AuditEntries, FetchRequest, FindRequest, FollowRequest, ListSessionsRequest,
    Piece, ReadAuditRequest, RefilterSessionRequest, ReleaseRequest, RemoveSessionRequest,
    SessionReply, StartSessionRequest, StatusRequest, StopSessionRequest, TrafficReply,
    TrafficRequest, WatchMachinesReply, WatchMachinesRequest, WatchReply, WatchRequest,
    WhoAmIReply, WhoAmIRequest,
};
use api::tls::{AUTHORITY_HEADER, ConnectError, Controller};
use api::traffic::{Answer, Question};
use api::within::Passage;
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::Login;

/// A connection to the controller; made when it is first used, and again whenever it has to.
#[derive(Debug, Clone)]
pub struct Connection {
    client: PeopleClient<Listening>,
    heard: Heard,
    bearer: Option<MetadataValue<tonic::metadata::Ascii>>,
    way: Way,
}

/// How the controller is reached.
#[derive(Debug, Clone)]
enum Way {
    /// Over the network.
    Network(Controller),
    /// Within its own process, on behalf of somebody at this address.
    Within(Passage, SocketAddr),
}

impl Way {
    fn channel(&self) -> Result<Channel, ConnectError> {
        match self {
            Self::Network(controller) => controller.channel(None),
            Self::Within(passage, from) => Ok(passage.channel(*from)),
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The connection cannot even be set up.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nobody answers now.
    #[error("cannot reach the controller at {address}: {reason}")]
    Away {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// The controller says no.
    #[error("{reason}")]
    Refused {
        /// What kind of no.
        code: Code,
        /// Why.
        reason: String,
    },
    /// It cannot be done here.
    #[error("{0}")]
    Failed(String),
    /// The controller says what this release does not understand.
    #[error("the controller's answer makes no sense: {0}")]
    Nonsense(#[from] serde_json::Error),
    /// The token cannot be sent.
    #[error("the token has letters that no token has; see overtap login")]
    Token,
}

impl RemoteError {
    /// Whether it may go away by itself.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether asking again is of no use: whoever asks is not let in, or may not have it.
    pub const fn is_final(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        matches!(code, Code::Unauthenticated | Code::PermissionDenied)
    }
}

impl Connection {
    /// To the controller of a login.
    ///
    /// # Errors
    /// When the login cannot be used. Whether somebody is there shows at the first question.
    pub fn new(login: &Login) -> Result<Self, RemoteError> {
        Self::by(Way::Network(login.controller.clone()), Some(&login.token))
    }

    /// To the controller of this process, for somebody who asks from `from` and shows this
    /// token, or none.
    ///
    /// # Errors
    /// When it cannot be a token.
    pub fn within(
        passage: Passage,
        from: SocketAddr,
        token: Option<&str>,
    ) -> Result<Self, RemoteError> {
        Self::by(Way::Within(passage, from), token)
    }

    fn by(way: Way, token: Option<&str>) -> Result<Self, RemoteError> {
        let heard = Heard::default();
        let listening = Listening { channel: way.channel()?, heard: heard.clone() };
        let client = PeopleClient::new(listening).max_decoding_message_size(usize::MAX);
        let bearer = token.map(|token| format!("Bearer {}", token.trim()).parse());
        Ok(Self { client, heard, bearer: bearer.transpose().map_err(|_| RemoteError::Token)?, way })
    }

    /// Where the controller is.
    pub fn address(&self) -> &str {
        match &self.way {
            Way::Network(controller) => &controller.address,
            Way::Within(..) => "this process",
        }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// When it is nobody's.
    pub async fn who_am_i(&self) -> Result<WhoAmIReply, RemoteError> {
        let reply = self.client.clone().who_am_i(self.request(WhoAmIRequest {})).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// Says when something is not as it was any more.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn watch(&self) -> Result<Streaming<WatchReply>, RemoteError> {
        let reply = self.client.clone().watch(self.request(WatchRequest {})).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// The login with the controller's authority as it is now, if the controller has said since
    /// that it is another one than the login knows.
    pub fn moved(&self, login: &Login) -> Option<Login> {
        let der = self.heard.last()?;
        let ca_pem = api::tls::pem(&der);
        (ca_pem != login.controller.ca_pem).then(|| {
            let controller = Controller { ca_pem, ..login.controller.clone() };
            Login { controller, token: login.token.clone() }
        })
    }

    /// The machines that are called so, by host, and names that were perhaps meant. All machines
    /// if `what` is empty; as of `at_ns` unless it is 0.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn find(
        &self,
        what: &str,
        at_ns: u64,
    ) -> Result<(Vec<HostFound>, Vec<String>), RemoteError> {
        self.find_at(FindRequest { what: what.to_owned(), at_ns, host: String::new() }).await
    }

    /// All machines of one host; as of `at_ns` unless it is 0.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn host(&self, host: &str, at_ns: u64) -> Result<Option<HostFound>, RemoteError> {
        let ask = FindRequest { what: String::new(), at_ns, host: host.to_owned() };
        let (found, _) = self.find_at(ask).await?;
        // A controller of the release before does not know the field.
        Ok(found.into_iter().find(|found| found.host == host))
    }

    async fn find_at(
        &self,
        ask: FindRequest,
    ) -> Result<(Vec<HostFound>, Vec<String>), RemoteError> {
        let ask = self.request(ask);
        let reply = self.client.clone().find(ask).await.map_err(|e| self.error(&e))?.into_inner();
        let hosts = reply.host_json.iter().map(|json| read(json)).collect::<Result<_, _>>()?;
        Ok((hosts, reply.suggestions))
    }

    /// Begins to watch the machines that are called so; all of them if `what` is empty.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn watch_machines(
        &self,
        what: &str,
    ) -> Result<Streaming<WatchMachinesReply>, RemoteError> {
        let ask = self.request(WatchMachinesRequest { what: what.to_owned() });
        let reply = self.client.clone().watch_machines(ask).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// The hosts at which something has changed, as they are now; all of them at first. `None` at
    /// the controller's end.
    ///
    /// # Errors
    /// When the controller is gone, or the user may watch no more.
    pub async fn watched(
        &self,
        replies: &mut Streaming<WatchMachinesReply>,
    ) -> Result<Option<Vec<HostFound>>, RemoteError> {
        let reply = replies.message().await.map_err(|e| self.error(&e))?;
        reply.map(|reply| reply.host_json.iter().map(|json| read(json)).collect()).transpose()
    }

    /// Asks about traffic; the answer may come in parts.
    ///
    /// # Errors
    /// When it is refused, or there is no answer.
    pub async fn traffic(
        &self,
        question: &Question,
    ) -> Result<Streaming<TrafficReply>, RemoteError> {
        let ask = TrafficRequest { question_json: serde_json::to_string(question)? };
        let reply = self.client.clone().traffic(self.request(ask)).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// The next part of the answer; `None` at its end.
    ///
    /// # Errors
    /// When it cannot be answered, or the controller is gone.
    pub async fn traffic_part(
        &self,
        parts: &mut Streaming<TrafficReply>,
    ) -> Result<Option<Answer>, RemoteError> {
        let part = parts.message().await.map_err(|e| self.error(&e))?;
        part.map(|part| read(&part.answer_json)).transpose()
    }

    /// The answer to a question that is answered at once.
    ///
    /// # Errors
    /// As both above.
    pub async fn traffic_at_once(&self, question: &Question) -> Result<Answer, RemoteError> {
        let mut parts = self.traffic(question).await?;
        let part = self.traffic_part(&mut parts).await?;
        part.ok_or_else(|| RemoteError::Failed("the controller has no answer".into()))
    }

    /// How controller and agents are.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn status(&self) -> Result<Health, RemoteError> {
        let reply = self.client.clone().status(self.request(StatusRequest {})).await;
        read(&reply.map_err(|e| self.error(&e))?.into_inner().status_json)
    }

    /// Starts a session.
    ///
    /// # Errors
    /// When it is refused, with the reason.
    pub async fn start(&self, wish: &Wish) -> Result<Session, RemoteError> {
        let ask = StartSessionRequest { wish_json: serde_json::to_string(wish)? };
        let reply = self.client.clone().start_session(self.request(ask)).await;
        session(&reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// The sessions one may see.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn sessions(&self) -> Result<Vec<Session>, RemoteError> {
        let reply = self.client.clone().list_sessions(self.request(ListSessionsRequest {})).await;
        let reply = reply.map_err(|e| self.error(&e))?.into_inner();
        reply.session_json.iter().map(|json| read(json)).collect()
    }

    /// One session.
    ///
    /// # Errors
    /// When there is none, or no answer.
    pub async fn session(&self, id: &str) -> Result<Session, RemoteError> {
        let mut replies = self.follow(id).await?;
        let reply = replies.message().await.map_err(|e| self.error(&e))?;
        let gone = || RemoteError::Failed(format!("nothing is told of session {id}"));
        session(&reply.ok_or_else(gone)?)
    }

    /// Ends a session; its packets stay to be fetched.
    ///
    /// # Errors
    /// When there is none, or no answer.
    pub async fn stop(&self, id: &str) -> Result<Session, RemoteError> {
        let ask = self.request(StopSessionRequest { session: id.to_owned() });
        let reply = self.client.clone().stop_session(ask).await;
        session(&reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// Captures other packets of the same machines from now on; all if `expression` is empty.
    ///
    /// # Errors
    /// When the expression means nothing, the session has ended, or there is no answer.
    pub async fn refilter(&self, id: &str, expression: &str) -> Result<Session, RemoteError> {
        let (session_id, expression) = (id.to_owned(), expression.to_owned());
        let ask = self.request(RefilterSessionRequest { session: session_id, expression });
        let reply = self.client.clone().refilter_session(ask).await;
        session(&reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// Ends a session and removes its packets everywhere.
    ///
    /// # Errors
    /// When there is none, or no answer.
    pub async fn remove(&self, id: &str) -> Result<(), RemoteError> {
        let ask = self.request(RemoveSessionRequest { session: id.to_owned() });
        self.client.clone().remove_session(ask).await.map_err(|e| self.error(&e))?;
        Ok(())
    }

    /// Has a `control::admin::Command` carried out; both command and reply are JSON.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn administer(&self, command_json: String) -> Result<String, RemoteError> {
        let ask = self.request(AdministerRequest { command_json });
        let reply = self.client.clone().administer(ask).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner().reply_json)
    }

    /// The audit log from an entry on; its last `last` entries unless that is 0.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn audit(
        &self,
        first: u64,
        last: u64,
    ) -> Result<Streaming<AuditEntries>, RemoteError> {
        let ask = self.request(ReadAuditRequest { first, last });
        let reply = self.client.clone().read_audit(ask).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// The next page of it; `None` at its end.
    ///
    /// # Errors
    /// When the controller is gone.
    pub async fn audit_page(
        &self,
        pages: &mut Streaming<AuditEntries>,
    ) -> Result<Option<Vec<String>>, RemoteError> {
        let page = pages.message().await.map_err(|e| self.error(&e))?;
        Ok(page.map(|page| page.line))
    }

    /// A session, now and whenever it has changed.
    pub(crate) async fn follow(&self, id: &str) -> Result<Streaming<SessionReply>, RemoteError> {
        let ask = self.request(FollowRequest { session: id.to_owned() });
        let reply = self.client.clone().follow(ask).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// The bytes of a part, from an offset on. On a connection of its own: what is not read holds
    /// up nothing else.
    pub(crate) async fn fetch(&self, ask: FetchRequest) -> Result<Streaming<Piece>, RemoteError> {
        // One that has run for long may know the authority before only by what it was told.
        let channel = match (&self.way, self.heard.last()) {
            (Way::Network(controller), Some(der)) => {
                let ca_pem = api::tls::pem(&der);
                Way::Network(Controller { ca_pem, ..controller.clone() }).channel()?
            }
            (way, _) => way.channel()?,
        };
        let listening = Listening { channel, heard: self.heard.clone() };
        let mut client = PeopleClient::new(listening).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let reply = client.fetch(self.request(ask)).await;
        Ok(reply.map_err(|e| self.error(&e))?.into_inner())
    }

    /// Whether its packets may be fetched, as far as that can be said now: asks for a beginning.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn may_fetch(&self, session: &Session) -> Result<(), RemoteError> {
        let reachable = session.parts.iter().find(|part| part.is_reachable);
        let Some(part) = reachable.or(session.parts.first()) else { return Ok(()) };
        let ask = FetchRequest {
            session: session.id.clone(),
            agent: part.agent.clone(),
            part: part.number,
            offset: part.bytes,
        };
        match self.fetch(ask).await {
            Err(error) if !error.is_passing() => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets an agent forget what a part has before an offset.
    pub(crate) async fn release(&self, release: ReleaseRequest) -> Result<(), RemoteError> {
        let released = self.client.clone().release(self.request(release)).await;
        released.map_err(|error| self.error(&error))?;
        Ok(())
    }

    pub(crate) fn error(&self, status: &Status) -> RemoteError {
        let reason = status.message().to_owned();
        match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => {
                let mut reason = reason;
                let mut cause = std::error::Error::source(status);
                while let Some(error) = cause {
                    let more = error.to_string();
                    if !reason.contains(&more) {
                        reason = format!("{reason}: {more}");
                    }
                    cause = error.source();
                }
                if api::tls::is_other_authority(&reason) {
                    reason += "; if its authority was rotated, log in again: overtap login";
                }
                RemoteError::Away { address: self.address().to_owned(), reason }
            }
            code => RemoteError::Refused { code, reason },
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }
}

/// What the controller has announced: the certificate (DER) of an authority that is to be known
/// from now on.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Option<Vec<u8>>>>);

impl Heard {
    fn last(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, certificate: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }
}

/// A channel on which announcements are heard. It is believed what comes by it: TLS has checked
/// that who speaks is vouched for by the authority that is known.
#[derive(Debug, Clone)]
struct Listening {
    channel: Channel,
    heard: Heard,
}

impl Service<http::Request<Body>> for Listening {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.channel.call(request);
        let heard = self.heard.clone();
        Box::pin(async move {
            let answer = answer.await?;
            let announced = answer.headers().get(AUTHORITY_HEADER);
            if let Some(der) = announced.and_then(|text| BASE64.decode(text.as_bytes()).ok()) {
                heard.put(der);
            }
            Ok(answer)
        })
    }
}

pub(crate) fn session(reply: &SessionReply) -> Result<Session, RemoteError> {
    read(&reply.session_json)
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, RemoteError> {
    Ok(serde_json::from_str(json)?)
}
