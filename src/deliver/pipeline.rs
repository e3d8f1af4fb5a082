//! C-STORE requests over one association, as many at once as it allows (PS3.7 D.3.3.3): one goes out while others wait for their
//! responses, which may come in any order.
//!
//! Messages never mingle: the next begins when the last PDU of the one before is out. Whatever the peer says is heard while
//! something is sent, so that an outcome never waits for a message that has nothing to do with it. Without a window there is
//! room for one, and this is a request and its response.

use super::association::{Association, AssociationError};
use super::flights::Flights;
use super::message::Message;
use super::sender::{self, Answer, Gone, Item, Response, SendError, Sent};
use super::wire::{Ear, within};
use crate::dimse::command::Command;
use crate::dimse::outcome::{self, Fate};
use std::time::Duration;

/// When sending has failed, what the peer said before is listened to for so long: it tells more than "broken pipe".
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The requests on one association; `T` is what the caller wants to know of each when it is answered.
pub struct Pipeline<'a, T> {
    association: &'a mut Association,
    talk: Talk<T>,
}

/// What has been asked and not been answered.
struct Talk<T> {
    flights: Flights<(Sent, T)>,
    /// Message ID of what is going out.
    current: Option<u16>,
    /// The response to it, before its end or before it was entered.
    early: Option<Response>,
}

impl<'a, T> Pipeline<'a, T> {
    /// With nothing in flight.
    pub fn new(association: &'a mut Association) -> Pipeline<'a, T> {
        let flights = Flights::new(association.window());
        Pipeline { association, talk: Talk { flights, current: None, early: None } }
    }

    /// What it runs over.
    pub fn association(&mut self) -> &mut Association {
        self.association
    }

    /// Another request may go out.
    pub fn room(&self) -> bool {
        self.talk.flights.room()
    }

    /// Nothing waits for a response.
    pub fn is_empty(&self) -> bool {
        self.talk.flights.is_empty()
    }

    /// Sends `item`; `ready` is awaited before its last PDU. `answered` is told of the responses to others that come meanwhile. To
    /// be called when there is [room](Pipeline::room); what is out whole is then [entered](Pipeline::enter) by the caller.
    ///
    /// # Errors
    /// Any [`SendError`]. With one of the association's it is given up, and what was in flight is [lost](Pipeline::lost). A file
    /// that fails half way ends the association as well, once the others are answered.
    pub async fn send(
        &mut self,
        item: &Item,
        ready: impl Future<Output = ()>,
        mut answered: impl FnMut(T, Answer),
    ) -> Result<Gone, SendError> {
        let Association { ear, negotiated, .. } = &mut *self.association;
        let outward = match self.talk.during(sender::form(negotiated, item), ear, &mut answered).await {
            Ok(outward) => outward?,
            Err(error) => return self.lose(error).await,
        };
        let (id, transfer_syntax) = (self.talk.flights.next_id(), outward.transfer_syntax.clone());
        let fragment = self.association.fragment();
        let mut message = Message::open(outward, item, id, fragment)?;
        self.talk.current = Some(id);
        let Association { ear, mouth, .. } = &mut *self.association;
        let sending = async {
            if message.all_but_last(mouth).await? {
                ready.await;
                message.last(mouth).await?;
            }
            Ok(())
        };
        let sent = self.talk.during(sending, ear, &mut answered).await.flatten();
        match sent {
            Ok(()) => match message.read() {
                Ok(bytes) => Ok(Gone::Whole(Sent { id, transfer_syntax, bytes })),
                Err(error) => self.take_back(error, &mut answered).await,
            },
            Err(error) => {
                let last_words = self.talk.listen(&mut self.association.ear, &mut answered);
                let said = tokio::time::timeout(LAST_WORDS, last_words).await;
                // A destination may refuse before it has everything, and close. Success it cannot mean.
                if let Some(response) = self.talk.early.take()
                    && !matches!(outcome::of_c_store(response.status).fate, Fate::Delivered | Fate::Warned)
                {
                    self.association.give_up().await;
                    return Ok(Gone::Refused(Sent { id, transfer_syntax, bytes: 0 }.answer(response)));
                }
                match said {
                    Ok(said @ (AssociationError::Aborted { .. } | AssociationError::Released)) => self.lose(said).await,
                    _ => self.lose(error).await,
                }
            }
        }
    }

    /// What `send` gave waits for its response; if that has come already, here it is.
    pub fn enter(&mut self, sent: Sent, what: T) -> Option<(T, Answer)> {
        self.talk.current = None;
        if let Some(response) = self.talk.early.take() {
            return Some((what, sent.answer(response)));
        }
        self.talk.flights.enter(sent.id, (sent, what));
        None
    }

    /// The next response.
    ///
    /// # Errors
    /// None comes within the association's timeout, or none will come any more: it is given up, and what was in flight is
    /// [lost](Pipeline::lost). May be abandoned and called again.
    pub async fn hear(&mut self) -> Result<(T, Answer), AssociationError> {
        let timeout = self.association.peer().timeout;
        let heard = within(timeout, "waiting for the response", self.talk.heard(&mut self.association.ear)).await;
        match heard.flatten() {
            Ok(heard) => Ok(heard),
            Err(error) => {
                self.association.give_up().await;
                Err(error)
            }
        }
    }

    /// What will get no response any more, oldest first.
    pub fn lost(&mut self) -> Vec<T> {
        self.talk.flights.lost().into_iter().map(|(_, what)| what).collect()
    }

    async fn lose(&mut self, error: AssociationError) -> Result<Gone, SendError> {
        self.association.give_up().await;
        Err(error.into())
    }

    /// Of a message that has begun nothing more can be read. The others have done nothing: their responses are waited for.
    async fn take_back(
        &mut self,
        error: std::io::Error,
        answered: &mut impl FnMut(T, Answer),
    ) -> Result<Gone, SendError> {
        while !self.is_empty() {
            match self.hear().await {
                Ok((what, answer)) => answered(what, answer),
                Err(_) => break,
            }
        }
        self.association.give_up().await;
        Err(sender::of_file(error))
    }
}

impl<T> Talk<T> {
    /// Does `work`, and hears what comes meanwhile.
    async fn during<W>(
        &mut self,
        work: impl Future<Output = W>,
        ear: &mut Ear,
        answered: &mut impl FnMut(T, Answer),
    ) -> Result<W, AssociationError> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => Ok(done),
            error = self.listen(ear, answered) => Err(error),
        }
    }

    /// Hears what comes, until that is the end.
    async fn listen(&mut self, ear: &mut Ear, answered: &mut impl FnMut(T, Answer)) -> AssociationError {
        loop {
            match self.heard(ear).await {
                Ok((what, answer)) => answered(what, answer),
                Err(error) => return error,
            }
        }
    }

    /// The next response to what is out whole; one to what is going out is kept for later.
    async fn heard(&mut self, ear: &mut Ear) -> Result<(T, Answer), AssociationError> {
        loop {
            let (id, response) = response(ear).await?;
            if let Some((sent, what)) = self.flights.answered(id) {
                return Ok((what, sent.answer(response)));
            }
            if self.current != Some(id) || self.early.is_some() {
                let why = format!("a response to message {id}, which waits for none");
                return Err(AssociationError::Protocol(why));
            }
            self.early = Some(response);
        }
    }
}

async fn response(ear: &mut Ear) -> Result<(u16, Response), AssociationError> {
    match Command::parse(&ear.command().await?) {
        Ok(Command::CStoreRsp { message_id, status, error_comment, .. }) => {
            Ok((message_id, Response { status, comment: error_comment }))
        }
        Ok(_) => Err(AssociationError::Protocol("a message that is no response to C-STORE".into())),
        Err(error) => Err(AssociationError::Protocol(format!("a response that cannot be read: {error}"))),
    }
}
