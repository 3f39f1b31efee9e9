//! The arguments of `quorate shell`.
//!
//! In: a command line, also one that was written for zkCli. Out: [`ShellArgs`].
//!
//! Always true:
//! * what follows the first word belongs to a command of the shell.
//!
//! Not here: what is done by them (`shell`).

use std::ffi::OsString;
use std::time::Duration;

use super::connection::{Access, Connection, End, Patience, Terms};
use super::forms::FORMS;
use super::show::{ColorWhen, Screen};

/// Arguments of `quorate shell`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = long_help())]
pub struct ShellArgs {
    /// Servers as `host:port,…[/chroot]`.
    #[arg(long, default_value = "localhost:2181")]
    pub server: String,
    /// Session timeout to ask for, in ms.
    #[arg(long, default_value_t = 30_000)]
    pub timeout: u64,
    /// Also take a server that has no leader and only reads.
    #[arg(short = 'r', long)]
    pub read_only: bool,
    /// Try until the session timeout where no server answers, instead of once.
    #[arg(long = "wait-for-connection")]
    pub wait: bool,
    /// Print one JSON object for each command and event.
    #[arg(long)]
    pub json: bool,
    /// When to use colours.
    #[arg(long, value_enum, default_value = "auto")]
    pub color: ColorWhen,
    /// Run this command and leave; may be given several times, and ends with the first that fails.
    #[arg(short = 'e', value_name = "CMD")]
    pub commands: Vec<String>,
    /// The words of one command to run, as an alternative to -e.
    #[arg(value_name = "WORDS", trailing_var_arg = true, conflicts_with = "commands")]
    pub words: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  quorate shell                                      on a terminal: history, Tab completes commands and paths
  quorate shell --server zk1:2181,zk2:2181/app       several servers, and a chroot
  quorate shell -e 'create /app x' -e 'get -s /app'
  quorate shell ls -R /app
  quorate shell --json -e 'get /app' | jq -r .data
  quorate shell < script                             the exit code is that of the last command
  quorate shell -server zk1:2181 get /app            as zkCli.sh takes it";

/// The examples and every command.
fn long_help() -> String {
    let commands = FORMS.iter().map(|form| {
        let usage = form.usage.split(" # ").next().unwrap_or_default();
        format!("  {}\n      {}\n", format!("{} {usage}", form.name).trim_end(), form.about)
    });
    format!("{EXAMPLES}\n\nCommands:\n{}", commands.collect::<String>().trim_end())
}

impl ShellArgs {
    /// A session by these arguments, which is not open yet.
    pub fn connection(&self, end: End, screen: &Screen) -> Connection {
        let terms = Terms {
            timeout: Duration::from_millis(self.timeout),
            access: if self.read_only { Access::ReadOnly } else { Access::ReadWrite },
            patience: if self.wait { Patience::UntilTimeout } else { Patience::Once },
            end,
        };
        Connection::new(&self.server, terms, screen.events())
    }
}

/// Takes zkCli's options with one dash, as `-server`, for the ones that there are; other arguments stay.
pub fn adopt_zkcli_options(args: Vec<OsString>) -> Vec<OsString> {
    const SAME: [(&str, &str); 3] =
        [("-server", "--server"), ("-timeout", "--timeout"), ("-waitforconnection", "--wait-for-connection")];
    const WITH_VALUE: [&str; 6] = ["-server", "-timeout", "--server", "--timeout", "--color", "-e"];
    if args.get(1).is_none_or(|command| command != "shell") {
        return args;
    }
    let mut is_value = false;
    let mut is_command = false;
    let adopt = |(at, arg): (usize, OsString)| {
        if at < 2 || is_command || std::mem::take(&mut is_value) {
            return arg;
        }
        // From the first word on it is a command with options of its own.
        is_command = !arg.to_string_lossy().starts_with('-');
        is_value = WITH_VALUE.iter().any(|option| arg == *option);
        SAME.iter().find(|(theirs, _)| arg == *theirs).map_or(arg, |(_, ours)| OsString::from(ours))
    };
    args.into_iter().enumerate().map(adopt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zkclis_options_are_taken_until_the_command_begins() {
        let adopted = |line: &str| {
            let args = line.split(' ').map(OsString::from).collect();
            let adopted = adopt_zkcli_options(args).into_iter();
            adopted.map(|arg| arg.into_string().expect("it is text")).collect::<Vec<_>>().join(" ")
        };
        let ours = "quorate shell --server a:1 --timeout 5 -r --wait-for-connection ls -server";
        assert_eq!(adopted("quorate shell -server a:1 -timeout 5 -r -waitforconnection ls -server"), ours);
        assert_eq!(
            adopted("quorate shell -server -timeout -e -server"),
            "quorate shell --server -timeout -e -server"
        );
        assert_eq!(adopted("quorate bench -server a"), "quorate bench -server a");
    }

    #[test]
    fn the_long_help_has_every_command() {
        let help = long_help();
        assert!(FORMS.iter().all(|form| help.contains(&format!("\n  {}", form.name))), "{help}");
        assert!(help.contains("\n  addWatch [-m mode] path\n"), "{help}");
    }
}
