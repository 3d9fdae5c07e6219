//! The thread that talks to the server, and the way questions get there.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ::postgres::Client;

use crate::store::StoreError;
use crate::store::postgres::PostgresError;

type Question = Box<dyn FnOnce(&mut Talk) + Send>;
type Connect = Box<dyn FnMut() -> Result<Client, StoreError> + Send>;

/// Asks the thread of one connection. The thread ends with it.
#[derive(Debug)]
pub(super) struct Line(Sender<Question>);

impl Line {
    /// Connects once, so that a wrong address is known at once.
    pub(super) fn open(
        connect: impl FnMut() -> Result<Client, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (sender, questions) = channel();
        let talk = Talk { connect: Box::new(connect), client: None };
        let started = thread::Builder::new().name("store".to_owned()).spawn(|| talk.go(questions));
        started.map_err(|_| PostgresError::Gone)?;
        let line = Self(sender);
        line.ask(|_| Ok(()))?;
        Ok(line)
    }

    /// Waits for the answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Client) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answers) = channel();
        let question = Box::new(move |talk: &mut Talk| {
            // Who asked may have gone; nothing is lost then.
            let _ = answer.send(talk.client().and_then(question));
        });
        self.0.send(question).map_err(|_| PostgresError::Gone)?;
        answers.recv().map_err(|_| PostgresError::Gone)?
    }
}

struct Talk {
    connect: Connect,
    client: Option<Client>,
}

impl Talk {
    fn go(mut self, questions: Receiver<Question>) {
        for question in questions {
            question(&mut self);
        }
    }

    /// The connection, made anew if it was lost.
    fn client(&mut self) -> Result<&mut Client, StoreError> {
        if self.client.as_ref().is_some_and(Client::is_closed) {
            self.client = None;
        }
        match &mut self.client {
            Some(client) => Ok(client),
            none => Ok(none.insert((self.connect)()?)),
        }
    }
}
