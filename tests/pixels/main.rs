//! Whole files through `pixels`: every transfer syntax, every rule of display, and files that lie.
//!
//! Where a test needs dcmtk's tools and they are not installed, it says so and passes.

mod any;
mod foreign;
mod lies;
mod object;
mod rules;
mod syntaxes;
