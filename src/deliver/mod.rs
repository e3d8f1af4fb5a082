//! The last stage: what the ledger has decided goes to its destinations by C-STORE.
//!
//! One queue per destination ([`queue`]), each a task of its own, so that one dead destination never delays another. A queue
//! keeps up to `max_associations` associations busy ([`worker`]); each sends instances as long as some wait (`session`), as many
//! at once as the destination allows ([`pipeline`]), in the form that it takes ([`sender`], [`contexts`], [`transcode`]). Before
//! more are in doubt than that, outcomes are in the ledger: without a window a kill costs at most one extra delivery (see
//! [`worker`]).

pub mod accept;
pub mod association;
pub mod backoff;
pub mod contexts;
pub mod feed;
pub mod flights;
pub mod frames;
mod message;
pub mod pipeline;
pub mod queue;
pub mod report;
pub mod sender;
mod session;
pub mod transcode;
mod wire;
pub mod worker;

pub use queue::Deliver;
