//! `quorate shell`: a command line for any ZooKeeper ensemble.
//!
//! In: [`ShellArgs`], lines of a terminal or of a pipe. Out: answers, watch events, an exit code.
//!
//! Always true:
//! * commands, texts and exit codes are those of zkCli 3.9, so that scripts can switch;
//! * data goes to standard output, what was done and what went wrong to standard error;
//! * the exit code is that of the last command: 0, 1 for a failure, 127 for an unknown command.
//!
//! Not here: the arguments (`args`), single commands (`ops`), the line editor (`terminal`).

pub mod answer;
pub mod args;
pub mod command;
pub mod complete;
pub mod connection;
pub mod ensemble;
pub mod forms;
pub mod ops;
pub mod print;
pub mod quota;
pub mod raw;
pub mod session;
pub mod show;
pub mod subtree;
pub mod terminal;
pub mod watches;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

pub use args::{ShellArgs, adopt_zkcli_options};

use command::{Ask, split};
use connection::End;
use session::{Next, Shell};
use show::{Output, Screen};

/// Runs the shell until its input ends.
pub fn run(args: &ShellArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start tasks")?;
    let output = if args.json { Output::Json } else { Output::Text };
    let screen = Screen::new(output, args.color);
    let is_one_shot = !args.commands.is_empty() || !args.words.is_empty();
    let code = match (is_one_shot, io::stdin().is_terminal()) {
        (true, _) => one_shot(runtime, args, screen),
        (false, true) => terminal::run(runtime, args, screen)?,
        (false, false) => pipe(runtime, args, screen)?,
    };
    Ok(ExitCode::from(code))
}

fn one_shot(runtime: Runtime, args: &ShellArgs, screen: Screen) -> u8 {
    let mut commands: Vec<Vec<String>> = args.commands.iter().map(|command| split(command)).collect();
    commands.push(args.words.clone());
    commands.retain(|words| !words.is_empty());
    let mut end = End::Closed;
    for words in &commands {
        match Ask::parse(words) {
            Ok(ask) if ask.makes_ephemeral() => end = End::Kept,
            Ok(_) => {}
            Err(error) => return screen.complain(&error),
        }
    }
    let mut shell = Shell::new(runtime, args.connection(end, &screen), screen);
    if let Err(error) = shell.connect() {
        return shell.screen().fail(&print::error(&error, "/"));
    }
    let mut code = 0;
    for words in commands {
        match shell.run(&words) {
            Next::Go(0) => {}
            Next::Go(failed) => {
                code = failed;
                break;
            }
            Next::Quit => break,
        }
    }
    shell.close();
    code
}

fn pipe(runtime: Runtime, args: &ShellArgs, screen: Screen) -> anyhow::Result<u8> {
    screen.greet(&format!("Connecting to {}", args.server));
    let mut shell = Shell::new(runtime, args.connection(End::Closed, &screen), screen);
    if let Err(error) = shell.connect() {
        return Ok(shell.screen().fail(&print::error(&error, "/")));
    }
    shell.tell_state();
    for line in io::stdin().lines() {
        if shell.line(&line.context("read standard input")?) == Next::Quit {
            break;
        }
    }
    Ok(shell.close())
}
