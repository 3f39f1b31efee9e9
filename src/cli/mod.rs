//! The subcommands of the one binary.
//!
//! In: arguments. Out: an exit code.
//!
//! Always true:
//! * each subcommand has one place for its flags.
//!
//! Not here: settings of a server (`config`).

pub mod bench;
pub mod files;
pub mod local;
pub mod log;
pub mod shell;
pub mod snapshot;
pub mod snapshot_diff;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::server;

/// A coordination service that is ZooKeeper to every client and to every server.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one server in the foreground.
    Server(server::ServerArgs),
    /// Run an ensemble on this machine, one process a member.
    Local(local::LocalArgs),
    /// A command line for any ZooKeeper ensemble.
    Shell(shell::ShellArgs),
    /// Measure how many requests per second an ensemble answers.
    Bench(bench::BenchArgs),
    /// Look at transaction logs, check and cut them.
    Log(log::LogArgs),
    /// Look at snapshots, check and compare them.
    Snapshot(snapshot::SnapshotArgs),
    /// Remove snapshots and logs that are not needed any more.
    Purge(files::PurgeArgs),
    /// Make the directories of a new server.
    Init(files::InitArgs),
    /// Run ensembles on Kubernetes, as their resources say.
    #[cfg(feature = "operator")]
    Operator(crate::operator::OperatorArgs),
    /// Print the definition of the operator's resource.
    #[cfg(feature = "operator")]
    Crds,
}

/// Runs the program with this process's arguments.
pub fn main() -> ExitCode {
    let args = shell::adopt_zkcli_options(std::env::args_os().collect());
    let done = match Arguments::parse_from(args).command {
        Command::Server(args) => return server::run(&args),
        Command::Local(args) => local::run(&args),
        Command::Shell(args) => shell::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Purge(args) => files::run_purge(&args),
        Command::Init(args) => files::run_init(&args),
        #[cfg(feature = "operator")]
        Command::Operator(args) => crate::operator::run(args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "operator")]
        Command::Crds => print_crds(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("quorate: {error:#}");
        ExitCode::FAILURE
    })
}

/// Where this user's data is kept: `quorate` in `$XDG_DATA_HOME`, else in `~/.local/share`.
fn data_home() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    let home =
        home.context("neither $XDG_DATA_HOME nor a home directory is known; say where with the flag for it")?;
    Ok(home.join("quorate"))
}

#[cfg(feature = "operator")]
fn print_crds() -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    std::io::stdout().write_all(crate::operator::crds().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
