//! Puts a replica between the edges: start and stop in order.
//!
//! In: [`ServerArgs`]. Out: a server until it is told to stop, an exit status.
//!
//! Always true:
//! * nothing is listened on for clients before the data is loaded, and nothing is acknowledged after the disk failed;
//! * SIGTERM ends the process within 2 s, with status 0 and with everything that was acknowledged on disk.
//!
//! Not here: what the server does with an event (`replica`), sockets (`net`), files (`storage`).

mod clock;
mod edge;
mod exit;
mod identity;
mod limits;
mod load;
mod logs;
mod picture;
mod ports;
mod reload;
mod run;
mod signals;
mod stages;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

pub use exit::{Failure, PortKind};
pub use limits::raise_open_files;

/// Arguments of `quorate server`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// The configuration, as ZooKeeper reads it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings that win over the file's.
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Say whether the configuration can be used, and end. Unknown keys are refused.
    #[arg(long)]
    pub check: bool,
    /// Refuse unknown keys, which are otherwise warned about.
    #[arg(long)]
    pub strict: bool,
    /// End when standard input ends.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

/// Runs one server until it is told to stop.
pub fn run(args: &ServerArgs) -> ExitCode {
    raise_open_files();
    let outcome = if args.check { check(args) } else { start::serve(args) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where logs go is not known before the configuration is read; an operator looks here in any case.
            eprintln!("quorate server: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

/// Says what is odd about a configuration that can be used.
fn check(args: &ServerArgs) -> Result<(), Failure> {
    let loaded = load::load(args)?;
    for warning in loaded.notes.iter().chain(&loaded.warnings) {
        println!("{warning}");
    }
    println!("the configuration can be used");
    Ok(())
}
