//! The receiving stage: associations in, durable instances out.
//!
//! [`Listener`] accepts connections and keeps the limits, [`association`] leads one association from its first byte to its
//! last, [`wire`] reads and writes PDUs within their time. What becomes of an instance is behind [`Deposit`]: [`Router`] puts
//! it into the spool and the ledger before it is answered 0000, [`sink::Sink`] into a folder.
//!
//! Each connection has a thread of its own, which waits for its socket and its disk ([`blocking`]); their number is limited, as that
//! of connections is.
//!
//! Everything that a peer sends is taken as hostile: a PDU is read only up to the negotiated length, a fragment goes to the
//! disk as it comes, no name of a file is made from what was sent, and a peer that stalls is let go.

pub mod association;
mod blocking;
pub mod deposit;
mod limits;
pub mod listener;
mod request;
pub mod router;
pub mod sink;
mod store;
mod told;
pub mod wire;

pub use deposit::{Announced, Deposit, Refusal};
pub use listener::Listener;
pub use router::Router;
