//! The deliver stage against real receivers: dcmtk's storescp, pynetdicom, Orthanc.

mod failures;
mod forms;
mod node;
mod receivers;
mod running;
mod send;
