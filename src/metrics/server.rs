//! The figures over HTTP: `GET /metrics`, and nothing else.

use super::{Metrics, Now};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError};
use crate::spool::Spool;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at once; more are closed.
const CONNECTIONS: usize = 8;
/// A request's head must be here by then.
const HEAD: Duration = Duration::from_secs(5);
/// A connection serves one request, and must be done with it by then.
const LONGEST: Duration = Duration::from_secs(20);
/// The most that a request's head may have, bytes: the least that hyper takes.
const HEAD_BYTES: usize = 8192;

const TEXT: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What is served, and where it is asked for.
pub struct Figures {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Knows what waits.
    pub ledger: Ledger,
    /// Knows what is free.
    pub spool: Spool,
    /// Names the destinations.
    pub config: watch::Receiver<Arc<Config>>,
    /// Counts the open associations.
    pub associations: Box<dyn Fn() -> usize + Send + Sync>,
}

impl Figures {
    /// Serves until `stop` is rung.
    pub async fn serve(self, socket: TcpListener, mut stop: watch::Receiver<bool>) {
        let figures = Arc::new(self);
        let turn = Arc::new(Mutex::new(()));
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection for metrics could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
            let (figures, turn) = (figures.clone(), turn.clone());
            connections.spawn(async move {
                let _slot = slot;
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (figures, turn) = (figures.clone(), turn.clone());
                    async move { Ok::<_, Infallible>(figures.answer(&request, &turn).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(HEAD_BYTES)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                // Whatever a client does wrong concerns nobody but it.
                let _ = tokio::time::timeout(LONGEST, connection).await;
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>, turn: &Mutex<()>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "there is /metrics");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let now = match self.now(turn).await {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, "the ledger could not be asked for metrics");
                return plain(StatusCode::SERVICE_UNAVAILABLE, "the ledger does not answer");
            }
        };
        match self.metrics.text(&now) {
            Ok(text) => {
                let mut response = Response::new(Full::from(text));
                response.headers_mut().insert(CONTENT_TYPE, TEXT);
                response
            }
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be written"),
        }
    }

    /// One at a time, so that many who ask leave the ledger's readers to the stages.
    async fn now(&self, turn: &Mutex<()>) -> Result<Now, LedgerError> {
        let _turn = turn.lock().await;
        let waiting = self.ledger.waiting().await?;
        Ok(Now {
            waiting,
            destinations: self.config.borrow().destination.iter().map(|d| d.name.clone()).collect(),
            associations: (self.associations)() as u64,
            free: self.spool.free().unwrap_or(0),
            commits: self.ledger.commits(),
            syncs: self.ledger.syncs(),
        })
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
