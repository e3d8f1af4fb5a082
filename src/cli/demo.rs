//! `radroute demo`.

use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `radroute demo`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
#[allow(unused_variables)]
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    todo!()
}
