//! argv → exit code, nothing else.

fn main() -> std::process::ExitCode {
    radroute::cli::main()
}
