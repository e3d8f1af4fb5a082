//! Accepting connections, and stopping.

use super::association::{Phase, Setting, serve};
use super::blocking::Blocking;
use super::deposit::Deposit;
use super::limits::Slots;
use crate::config::Config;
use crate::ledger::now;
use crate::thread::alone;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// After the time for draining: for the last words and the last rows.
const LAST: Duration = Duration::from_secs(5);

/// A bound listener; [`Listener::run`] serves it.
pub struct Listener<D> {
    config: watch::Receiver<Arc<Config>>,
    deposit: Arc<D>,
    socket: TcpListener,
    address: SocketAddr,
    slots: Slots,
}

impl<D: Deposit> Listener<D> {
    /// Binds `listen.address` of the configuration. Each association takes the configuration as it is when it begins, so a
    /// reload is for new ones; the address itself stays.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub async fn bind(config: watch::Receiver<Arc<Config>>, deposit: Arc<D>) -> io::Result<Listener<D>> {
        let wanted = config.borrow().listen.address;
        let socket = TcpListener::bind(wanted).await?;
        let address = socket.local_addr()?;
        Ok(Listener { config, deposit, socket, address, slots: Slots::default() })
    }

    /// Where it listens: the port is known here when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Counts the associations that are open, for as long as anybody asks.
    pub fn open(&self) -> impl Fn() -> usize + Send + Sync + use<D> {
        let slots = self.slots.clone();
        move || slots.open()
    }

    /// Serves until `shutdown` completes. Then accepts no more, lets associations finish what is on the wire for
    /// `limits.drain` at most, and aborts what is left. Returns when the last association has ended.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Listener { config, deposit, socket, address, slots } = self;
        let (phase, phases) = watch::channel(Phase::Running);
        let mut tasks = JoinSet::new();
        tracing::info!(%address, "listening");
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let config = config.borrow().clone();
                        spawn(&mut tasks, stream, peer, &config, &deposit, &slots, &phases);
                    }
                    Err(error) => {
                        // out of file descriptors, or a peer gone again: neither is a reason to end
                        tracing::error!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop(socket);
        drop(phases);
        let drain = config.borrow().limits.drain;
        tracing::info!(%address, associations = tasks.len(), "no longer listening");
        phase.send_replace(Phase::Draining);
        if tokio::time::timeout(drain, all(&mut tasks)).await.is_err() {
            tracing::warn!(associations = tasks.len(), "limits.drain is over: aborting what is left");
            phase.send_replace(Phase::Aborting);
            if tokio::time::timeout(LAST, all(&mut tasks)).await.is_err() {
                tasks.shutdown().await;
            }
        }
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

fn spawn<D: Deposit>(
    tasks: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    config: &Arc<Config>,
    deposit: &Arc<D>,
    slots: &Slots,
    phases: &watch::Receiver<Phase>,
) {
    let connection = match slots.connection(peer.ip().to_canonical(), &config.listen) {
        Ok(connection) => connection,
        Err(busy) => {
            tracing::warn!(peer = %peer.ip(), ?busy, "too many connections: closed one before it asked for an association");
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let setting = Setting {
        config: Arc::clone(config),
        deposit: Arc::clone(deposit),
        slots: slots.clone(),
        phase: phases.clone(),
        peer: peer.ip(),
        id: association_id(),
    };
    tasks.spawn(async move {
        let _connection = connection;
        let halves = stream.into_std().and_then(|stream| Ok((stream.try_clone()?, stream)));
        let served = match halves.and_then(|(read, write)| Ok((Blocking::new(read)?, Blocking::new(write)?))) {
            Ok((read, write)) => alone("association", serve(setting, read, write)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, %peer, "a connection was dropped: the system gives no thread or no socket for it");
        }
    });
}

/// Unique over restarts: the time and chance.
fn association_id() -> String {
    format!("{:011x}{:08x}", now(), rand::random::<u32>())
}
