//! The commands: one file each.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

pub mod audit;
pub mod bench;
mod cam;
pub mod check;
pub mod classify;
pub mod demo;
pub mod evaluate;
pub mod harvest;
pub mod queue;
pub mod send;
pub mod serve;
pub mod sink;
pub mod train;

/// The configuration where none is given and none lies here.
const SYSTEM_CONFIG: &str = "/etc/radroute/config.toml";

/// Exit codes of sysexits.h, as scripts and systemd know them.
pub mod exit {
    /// The command line was wrong.
    pub const USAGE: u8 = 64;
    /// The input was wrong.
    pub const DATAERR: u8 = 65;
    /// A service was not there.
    pub const UNAVAILABLE: u8 = 69;
    /// An error inside.
    pub const SOFTWARE: u8 = 70;
    /// An error of the operating system: files, sockets.
    pub const IOERR: u8 = 74;
    /// Not done yet: the same command goes on.
    pub const TEMPFAIL: u8 = 75;
    /// The configuration was wrong.
    pub const CONFIG: u8 = 78;
}

/// A DICOM router that looks at each radiograph.
#[derive(Parser)]
#[command(name = "radroute", version, about)]
struct Cli {
    /// Configuration; default: config.toml here, else /etc/radroute/config.toml
    #[arg(long, global = true, value_name = "F")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the router
    Serve(serve::Args),
    /// Check the configuration
    Check(check::Args),
    /// Name the body region of images
    Classify(classify::Args),
    /// Print the life of an instance, a series or a study
    Audit(audit::Args),
    /// List, retry or drop what waits for destinations
    Queue(queue::Args),
    /// Send DICOM files to a C-STORE SCP
    Send(send::Args),
    /// Run a small archive to try things with
    Sink(sink::Args),
    /// Train the network
    Train(train::Args),
    /// Show, export or remove thumbnails kept for training
    Harvest(harvest::Args),
    /// Measure the network
    Evaluate(evaluate::Args),
    /// Show the whole way in one process
    Demo(demo::Args),
    /// Measure this machine
    Bench(bench::Args),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            // Help and version go to standard output and are no error.
            let code = if said.use_stderr() { exit::USAGE } else { 0 };
            // Whoever does not read it does not want it.
            let _ = said.print();
            return code.into();
        }
    };
    let config = config_path(cli.config);
    match cli.command {
        Command::Serve(args) => serve::run(args, config),
        Command::Check(args) => check::run(args, config),
        Command::Classify(args) => classify::run(args, config),
        Command::Audit(args) => audit::run(args, config),
        Command::Queue(args) => queue::run(args, config),
        Command::Send(args) => send::run(args, config),
        Command::Sink(args) => sink::run(args, config),
        Command::Train(args) => train::run(args, config),
        Command::Harvest(args) => harvest::run(args, config),
        Command::Evaluate(args) => evaluate::run(args, config),
        Command::Demo(args) => demo::run(args, config),
        Command::Bench(args) => bench::run(args, config),
    }
}

/// The file given, else `config.toml` here if there is one, else the system's.
fn config_path(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| {
        let here = PathBuf::from("config.toml");
        if here.exists() { here } else { PathBuf::from(SYSTEM_CONFIG) }
    })
}
