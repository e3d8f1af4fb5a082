//! `radroute classify`.

use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `radroute classify`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
#[allow(unused_variables)]
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    todo!()
}
