//! The subcommands of the one binary.
//!
//! In: arguments. Out: an exit code.
//!
//! Always true:
//! * each subcommand has one place for its flags.
//!
//! Not here: settings of a server (`config`).

pub mod bench;
pub mod command;
pub mod local;
pub mod ops;
pub mod print;
pub mod shell;

use std::process::ExitCode;

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
}

/// Runs the program with this process's arguments.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Server(args) => return server::run(&args),
        Command::Local(args) => local::run(&args),
        Command::Shell(args) => shell::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("quorate: {error:#}");
        ExitCode::FAILURE
    })
}
