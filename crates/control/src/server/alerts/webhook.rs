//! Sends what is to be told to a webhook, in order, trying again for some minutes.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, redirect};
use serde::Serialize;
use telemetry::{Event, Log};
use tokio::sync::mpsc;

use crate::alerts::{Alert, News};

/// The way to webhooks. What waits for one that does not answer holds up what is for others; of too
/// much of that the newest is left out, and said.
pub(super) struct Webhook {
    log: Log,
    version: String,
    to_send: mpsc::Sender<Letter>,
}

/// Something to send.
struct Letter {
    alert: Alert,
    body: String,
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    news: &'a News,
    at: String,
    controller: &'a str,
}

impl Webhook {
    pub(super) fn begin(log: Log, version: String) -> Self {
        let (to_send, letters) = mpsc::channel(MOST_WAITING);
        tokio::spawn(send(log.clone(), letters));
        Self { log, version, to_send }
    }

    /// Sends it, later.
    pub(super) fn tell(&self, alert: &Alert, news: &News) {
        let at = format!("{:.3}", Timestamp::now());
        let body = Body { news, at, controller: &self.version };
        // Texts and numbers can be written.
        let body = serde_json::to_string(&body).unwrap_or_default();
        let letter = Letter { alert: alert.clone(), body };
        if self.to_send.try_send(letter).is_err() {
            let text = format!("alert {} is not sent: too many wait already", alert.name);
            self.log.say(Event::error(text));
        }
    }
}

async fn send(log: Log, mut letters: mpsc::Receiver<Letter>) {
    let client = Client::builder()
        .timeout(ANSWER_WITHIN)
        // Whoever answers does not choose whom else we ask.
        .redirect(redirect::Policy::none())
        .user_agent("overtap")
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            log.say(Event::error(format!("alerts cannot be sent: {error}")));
            return;
        }
    };
    while let Some(letter) = letters.recv().await {
        let mut waits = WAITS.iter();
        while let Err(error) = post(&client, &letter).await {
            let Some(wait) = waits.next() else {
                let text = format!("alert {} could not be sent: {error}", letter.alert.name);
                log.say(Event::error(text));
                break;
            };
            tokio::time::sleep(*wait).await;
        }
    }
}

async fn post(client: &Client, letter: &Letter) -> Result<(), String> {
    let mut ask = client.post(&letter.alert.to).header("content-type", "application/json");
    for (name, value) in &letter.alert.headers {
        ask = ask.header(name, value);
    }
    // The URL may be as secret as a token.
    let failed = |error: reqwest::Error| error.without_url().to_string();
    let answer = ask.body(letter.body.clone()).send().await.map_err(failed)?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answers {status}")),
    }
}

const MOST_WAITING: usize = 1000;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long it waits before each further try.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(120),
];
