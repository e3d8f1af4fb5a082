//! What happens on one association: what waits goes out, what is answered is told.

use super::association::{Association, AssociationError};
use super::feed::{Idle, MOST, Next};
use super::pipeline::Pipeline;
use super::report::Report;
use super::sender::{Answer, Gone, SendError};
use super::worker::{AFTER_OTHERS, Line, PATIENCE, Permits, Worker, stopped};
use crate::dimse::outcome::{self, Fate};
use crate::ledger::{DeliveryId, DeliveryJob, Millis, Outcome};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// How long an association is kept open with nothing to send: a modality sends its images one by one.
const LINGER: Duration = Duration::from_millis(1500);

/// An instance that went out, or was about to.
struct Flight {
    job: DeliveryJob,
    report: Report,
    started: Instant,
    permits: Permits,
}

/// What comes next on the association.
enum Turn {
    /// This one goes out.
    Send(Box<DeliveryJob>),
    /// It has served: nothing is in flight any more.
    Leave,
    /// It is over.
    Over(AssociationError),
}

/// Sends on an association until there is nothing more for it, beginning with `job`. Returns whether another association may
/// follow.
pub(super) async fn run(worker: &mut Worker, mut association: Association, job: DeliveryJob) -> bool {
    let line = worker.line.clone();
    let window = association.window();
    let mut session = Session {
        pipeline: Pipeline::new(&mut association),
        told: Told {
            line: line.clone(),
            records: &mut worker.records,
            again: &mut worker.again,
            answers: 0,
            rested: false,
            spare: false,
        },
        stop: worker.stop.clone(),
        own: Arc::new(Semaphore::new(usize::from(window))),
        share: u32::from(line.peer.window.div_ceil(window)),
    };
    let another = session.serve(job).await;
    association.release().await;
    another
}

struct Session<'a> {
    pipeline: Pipeline<'a, Flight>,
    told: Told<'a>,
    stop: watch::Receiver<bool>,
    /// As many as may be in doubt on this association.
    own: Arc<Semaphore>,
    /// What one of its instances takes of the line's doubt.
    share: u32,
}

impl Session<'_> {
    async fn serve(&mut self, first: DeliveryJob) -> bool {
        let mut turn = Turn::Send(Box::new(first));
        loop {
            match turn {
                Turn::Send(job) => {
                    if let Some(another) = self.send(*job).await {
                        return another;
                    }
                }
                Turn::Leave => return !self.told.spare,
                Turn::Over(error) => return self.told.lost(self.pipeline.lost(), &error),
            }
            turn = self.turn().await;
        }
    }

    /// Sends one. `Some`: the association is over, and whether another may follow.
    async fn send(&mut self, job: DeliveryJob) -> Option<bool> {
        let line = self.told.line.clone();
        let item = match line.item(&job) {
            Ok(item) => item,
            Err(error) => {
                self.told.record(&job, Report::failure(Outcome::Dead, error.to_string()), Permits::new());
                return None;
            }
        };
        let mut report = Report::failure(Outcome::Dead, String::new());
        report.corrected = item.overlay.is_some();
        report.transfer_syntax = item.need.transfer_syntax.clone();
        let mut flight = Flight { job, report, started: Instant::now(), permits: Permits::new() };
        let (own, share, doubt) = (self.own.clone(), self.share, line.doubt.clone());
        let permits = &mut flight.permits;
        let ready = async move {
            // of its own association it waits for the outcomes before without end: they are on their way into the ledger
            permits.extend(own.acquire_owned().await.ok());
            let granted = tokio::time::timeout(PATIENCE, doubt.acquire_many_owned(share)).await;
            permits.extend(granted.ok().and_then(Result::ok));
        };
        let told = &mut self.told;
        let gone = self.pipeline.send(&item, ready, |flight, answer| told.answered(flight, &answer)).await;
        flight.report.send_ms = milliseconds(flight.started);
        match gone {
            Ok(Gone::Whole(sent)) => {
                if let Some((flight, answer)) = self.pipeline.enter(sent, flight) {
                    self.told.answered(flight, &answer);
                }
                None
            }
            Ok(Gone::Refused(answer)) => {
                self.told.answered(flight, &answer);
                // those before it have done nothing
                let ended = AssociationError::Closed;
                Some(self.told.lost(self.pipeline.lost(), &ended) && !self.told.spare)
            }
            Err(SendError::Association(error)) => {
                let mut flights = self.pipeline.lost();
                flights.push(flight);
                Some(self.told.lost(flights, &error))
            }
            Err(error) => {
                self.told.failed(flight, error);
                // given up for a file that failed half way
                (!self.pipeline.association().usable()).then(|| {
                    let flights = self.pipeline.lost();
                    self.told.lost(flights, &AssociationError::Closed) && !self.told.spare
                })
            }
        }
    }

    /// What comes next: responses are taken until there is room for another instance and one waits.
    async fn turn(&mut self) -> Turn {
        let line = self.told.line.clone();
        let until = tokio::time::Instant::now() + LINGER;
        let mut idle: Option<Idle> = None;
        loop {
            if *self.stop.borrow() || self.told.spare || !self.pipeline.association().usable() {
                return self.leave().await;
            }
            if !self.pipeline.room() {
                match self.pipeline.hear().await {
                    Ok((flight, answer)) => self.told.answered(flight, &answer),
                    Err(error) => return Turn::Over(error),
                }
                continue;
            }
            let arrived = line.feed.arrived();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let association = self.pipeline.association();
            match line.feed.next(|need| association.negotiated().proposed(need)) {
                Next::Job(job) => {
                    if line.more.load(Ordering::Relaxed) && line.feed.waiting() < MOST / 2 {
                        line.wake.notify_one();
                    }
                    return Turn::Send(job);
                }
                Next::Other => return self.leave().await,
                Next::Nothing => {}
            }
            if !self.pipeline.is_empty() {
                tokio::select! {
                    () = arrived => {}
                    heard = self.pipeline.hear() => match heard {
                        Ok((flight, answer)) => self.told.answered(flight, &answer),
                        Err(error) => return Turn::Over(error),
                    },
                }
                continue;
            }
            // what was told must not wait for the next instance to become durable
            self.told.records.retain(|record| !record.is_finished());
            idle.get_or_insert_with(|| line.feed.idling());
            self.told.rested = true;
            line.wake.notify_one();
            tokio::select! {
                () = arrived => {}
                () = self.pipeline.association().ended() => return Turn::Leave,
                () = tokio::time::sleep_until(until) => return Turn::Leave,
                () = stopped(&mut self.stop) => return Turn::Leave,
            }
        }
    }

    /// Nothing more goes out; what has gone out is answered first.
    async fn leave(&mut self) -> Turn {
        while !self.pipeline.is_empty() {
            match self.pipeline.hear().await {
                Ok((flight, answer)) => self.told.answered(flight, &answer),
                Err(error) => return Turn::Over(error),
            }
        }
        Turn::Leave
    }
}

/// What became of the instances of an association, as it is told.
struct Told<'a> {
    line: Arc<Line>,
    records: &'a mut Vec<JoinHandle<()>>,
    again: &'a mut Vec<DeliveryId>,
    answers: u32,
    /// The association had nothing to do, and nothing was heard on it since.
    rested: bool,
    /// The destination is to be spared.
    spare: bool,
}

impl Told<'_> {
    fn record(&mut self, job: &DeliveryJob, report: Report, permits: Permits) {
        self.records.retain(|record| !record.is_finished());
        self.records.push(self.line.record(job, report, permits));
    }

    fn answered(&mut self, mut flight: Flight, answer: &Answer) {
        self.answers += 1;
        self.rested = false;
        let meaning = outcome::of_c_store(answer.status);
        flight.report.send_ms = milliseconds(flight.started);
        flight.report.answered(answer, meaning);
        match meaning.fate {
            Fate::Spare => flight.report.outcome = Outcome::Retry(self.spared(&flight.job)),
            fate => {
                self.line.circuit().worked();
                if fate == Fate::Retry {
                    flight.report.outcome = Outcome::Retry(self.line.next_at(&flight.job));
                }
            }
        }
        let why = flight.report.detail.clone();
        self.record(&flight.job, flight.report, flight.permits);
        if meaning.fate == Fate::Spare {
            self.stand_back(&why);
        }
    }

    /// It could not be sent, by itself or for now.
    fn failed(&mut self, flight: Flight, error: SendError) {
        let Flight { job, mut report, permits, .. } = flight;
        match error {
            SendError::Missing => return self.records.push(self.line.missing(&job)),
            SendError::NotProposed => return self.line.feed.put_back(job),
            SendError::Unreadable(_) | SendError::NotNow(_) => {
                report.outcome = Outcome::Retry(self.line.next_at(&job));
            }
            SendError::Refused(_) | SendError::Transcode { .. } | SendError::Damaged(_) | SendError::Association(_) => {
            }
        }
        report.detail = error.to_string();
        self.record(&job, report, permits);
    }

    /// There will be no response to these, oldest first. Returns whether another association may follow.
    fn lost(&mut self, flights: Vec<Flight>, error: &AssociationError) -> bool {
        if flights.is_empty() {
            return !self.spare;
        }
        // It was closing while we began to send: no fault of theirs, nor of the destination's.
        let stale = self.rested && error.is_end();
        let (again, counted): (Vec<_>, Vec<_>) =
            flights.into_iter().partition(|flight| stale && !self.again.contains(&flight.job.id));
        if stale {
            tracing::debug!(destination = self.line.destination.name, %error, "stale association");
            *self.again = again.iter().map(|flight| flight.job.id).collect();
        }
        let failed = !counted.is_empty() && self.answers == 0;
        for Flight { job, mut report, permits, started } in counted {
            report.send_ms = milliseconds(started);
            report.detail = error.to_string();
            report.outcome = Outcome::Retry(if failed { self.spared(&job) } else { self.line.next_at(&job) });
            self.record(&job, report, permits);
        }
        // the oldest is the next one again
        again.into_iter().rev().for_each(|flight| self.line.feed.put_back(flight.job));
        if failed {
            self.stand_back(&error.to_string());
        }
        !self.spare
    }

    fn stand_back(&mut self, why: &str) {
        self.spare = true;
        self.line.stand_back(self.records, why);
    }

    /// The destination is to be spared after `job`. Returns when that is due again: later than the destination.
    fn spared(&self, job: &DeliveryJob) -> Millis {
        let until = self.line.failed(job).unwrap_or_else(|| self.line.circuit().until());
        self.line.next_at(job).max(until.saturating_add(AFTER_OTHERS))
    }
}

fn milliseconds(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1000.0
}
