//! The deliver stage against real receivers: dcmtk's storescp, pynetdicom, Orthanc.

mod failures;
mod forms;
mod kill;
#[path = "../support/local.rs"]
mod local;
mod node;
mod receivers;
mod running;
mod scripted;
mod send;
mod window;
