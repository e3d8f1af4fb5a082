//! The wire, pure: command sets (PS3.7), association negotiation and PDV reassembly (PS3.8). No socket, no clock.

pub mod command;
mod elements;
pub mod negotiate;
pub mod outcome;
pub mod pdv;
pub mod status;
