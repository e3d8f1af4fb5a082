//! The deliver stage against real receivers: dcmtk's storescp, pynetdicom, Orthanc.

mod failures;
mod forms;
mod kill;
mod node;
mod receivers;
mod running;
mod send;
