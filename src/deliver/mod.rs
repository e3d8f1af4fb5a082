//! The last stage: what the ledger has decided goes to its destinations by C-STORE.
//!
//! One queue per destination ([`queue`]), each a task of its own, so that one dead destination never delays another. A queue
//! keeps up to `max_associations` associations busy ([`worker`]); each sends instances as long as some wait ([`sender`]),
//! in the form that the destination takes ([`contexts`], [`transcode`]). Every outcome is in the ledger before the next
//! instance is complete at the destination, so that a kill costs at most one extra delivery (see [`worker`]).

pub mod accept;
pub mod association;
pub mod backoff;
pub mod contexts;
pub mod feed;
pub mod frames;
pub mod queue;
pub mod report;
pub mod sender;
pub mod transcode;
pub mod worker;

pub use queue::Deliver;
