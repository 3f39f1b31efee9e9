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
pub mod manual;
pub mod shell;
pub mod snapshot;
pub mod snapshot_diff;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

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
    #[command(after_help = "\
Examples:
  quorate server                                     alone on 127.0.0.1:2181
  quorate server --config /etc/zookeeper/zoo.cfg
  quorate server --config zoo.cfg --check            says whether it can be used, and ends
  quorate server clientPort=2182 dataDir=data")]
    Server(server::ServerArgs),
    /// Run an ensemble on this machine, one process a member.
    #[command(after_help = "\
Examples:
  quorate local                                      three members, clients at 2181, 2182 and 2183
  quorate local --members 5 --base-port 3000
  quorate local --data ensemble --restart            a member that was killed comes back")]
    Local(local::LocalArgs),
    /// A command line for any ZooKeeper ensemble.
    Shell(shell::ShellArgs),
    /// Measure how many requests per second an ensemble answers.
    Bench(bench::BenchArgs),
    /// Look at transaction logs, check and cut them.
    #[command(after_help = "\
Examples:
  quorate log dump --json version-2/log.100000001
  quorate log check --config /etc/zookeeper/zoo.cfg
  quorate log cut --after 0x10000001f version-2/log.100000001")]
    Log(log::LogArgs),
    /// Look at snapshots, check and compare them.
    #[command(after_help = "\
Examples:
  quorate snapshot dump version-2/snapshot.100000095
  quorate snapshot check version-2/snapshot.100000095.gz
  quorate snapshot stat version-2/snapshot.100000095
  quorate snapshot diff LEFT RIGHT")]
    Snapshot(snapshot::SnapshotArgs),
    /// Remove snapshots and logs that are not needed any more.
    Purge(files::PurgeArgs),
    /// Make the directories of a new server.
    Init(files::InitArgs),
    /// Run ensembles on Kubernetes, as their resources say.
    #[cfg(feature = "operator")]
    #[command(after_help = "\
Examples:
  quorate operator                                   within the cluster, or by $KUBECONFIG
  quorate operator --image registry.example/quorate:0.1.0 --log-level debug")]
    Operator(crate::operator::OperatorArgs),
    /// Print the definition of the operator's resource.
    #[cfg(feature = "operator")]
    #[command(after_help = "\
Examples:
  quorate crds | kubectl apply -f -")]
    Crds,
    /// Print what makes a shell complete this program's arguments.
    #[command(after_help = "\
Examples:
  quorate completions bash > /etc/bash_completion.d/quorate
  quorate completions zsh > ~/.zfunc/_quorate
  quorate completions fish > ~/.config/fish/completions/quorate.fish")]
    Completions(manual::CompletionsArgs),
    /// Print a manual page.
    #[command(after_help = "\
Examples:
  quorate man | man -l -
  quorate man shell > /usr/local/share/man/man1/quorate-shell.1
  quorate man log cut")]
    Man(manual::ManArgs),
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
        Command::Completions(args) => manual::completions(&args, Arguments::command()),
        Command::Man(args) => manual::man(&args, Arguments::command()),
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
