//! radroute: a DICOM store-SCP router that looks at each radiograph.
//!
//! Four stages around a ledger, **receive, look, decide, deliver**. None calls another: each takes its work from the
//! ledger and the spool and leaves its result there; a notification only wakes the next one. Arrows go down this list:
//!
//! | floor | modules |
//! |---|---|
//! | commands | [`cli`] |
//! | wiring | [`daemon`], [`notify`] |
//! | stages | [`receive`], [`look`], [`decide`], [`deliver`], [`upkeep`] |
//! | shared by stages | [`config`], [`telemetry`], [`audit`], [`dimse`], [`ledger`], [`spool`], [`model`], [`pixels`], [`drawing`], [`judge`], [`train`], [`harvest`] |
//! | pure ground | [`dataset`], [`correct`], [`verdict`], [`route`], [`anatomy`], [`preprocess`] |
//!
//! The pure ground knows no tokio, no socket, no file and no configuration. See ARCHITECTURE.md.
// The kernels of the CPU engine allow it, each file for itself; nothing else does.
#![deny(unsafe_code)]
#![warn(missing_docs, clippy::undocumented_unsafe_blocks)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod anatomy;
pub mod audit;
pub mod cli;
pub mod config;
pub mod correct;
pub mod daemon;
pub mod dataset;
pub mod decide;
pub mod deliver;
pub mod dimse;
pub mod drawing;
pub mod harvest;
pub mod judge;
pub mod ledger;
pub mod look;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod pixels;
pub mod preprocess;
pub mod receive;
pub mod route;
pub mod spool;
pub mod telemetry;
pub mod thread;
pub mod train;
pub mod upkeep;
pub mod verdict;
