//! `quorate shell`: a command line for any ZooKeeper ensemble.
//!
//! In: [`ShellArgs`], lines of a terminal or of a pipe. Out: answers, watch events, an exit code.
//!
//! Always true:
//! * data goes to standard output, what was done and what went wrong to standard error;
//! * the exit code is that of the last command: 0, 1 for a failure, 127 for an unknown command.
//!
//! Not here: what the commands do (`ops`).

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, ExternalPrinter as _, Helper};
use tokio::runtime::{Builder, Handle, Runtime};
use zookeeper_client::{Client, Error, WatchedEvent};

use super::command::{Ask, FORMS, ParseError, Verb, split};
use super::ops::Watches;
use super::print;

/// Commands that `history` shows; zkCli's number.
const HISTORY_SHOWN: usize = 11;
/// Lines that are kept for the next start.
const HISTORY_KEPT: usize = 1_000;
/// How long Tab waits for the children of a node.
const COMPLETION_WAIT: Duration = Duration::from_secs(2);

/// Arguments of `quorate shell`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShellArgs {
    /// Servers as `host:port,…[/chroot]`.
    #[arg(long, default_value = "localhost:2181")]
    pub server: String,
    /// Session timeout to ask for, in ms.
    #[arg(long, default_value_t = 30_000)]
    pub timeout: u64,
    /// Run this command and leave; may be given several times.
    #[arg(short = 'e', value_name = "CMD")]
    pub commands: Vec<String>,
}

/// What a line leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Read on; the code is what leaving would return.
    Go(u8),
    /// Leave.
    Quit,
}

/// A connected shell.
struct Shell {
    runtime: Runtime,
    client: Client,
    watches: Watches,
    /// Every line so far, for `history`.
    lines: Vec<String>,
}

/// Runs the shell until its input ends.
pub fn run(args: &ShellArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start tasks")?;
    let code = match (args.commands.is_empty(), io::stdin().is_terminal()) {
        (false, _) => one_shot(runtime, args)?,
        (true, true) => terminal(runtime, args)?,
        (true, false) => pipe(runtime, args)?,
    };
    Ok(ExitCode::from(code))
}

impl Shell {
    fn connect(
        runtime: Runtime,
        args: &ShellArgs,
        detached: Session,
        watches: Watches,
    ) -> Result<Shell, Error> {
        let connector =
            Client::connector().with_session_timeout(Duration::from_millis(args.timeout)).with_fail_eagerly();
        let connector = match detached {
            Session::Closed => connector,
            Session::Kept => connector.with_detached(),
        };
        let client = runtime.block_on(connector.connect(&args.server))?;
        Ok(Shell { runtime, client, watches, lines: Vec::new() })
    }

    fn line(&mut self, line: &str) -> Next {
        let words = split(line);
        if words.is_empty() {
            return Next::Go(0);
        }
        self.lines.push(line.trim().to_owned());
        let ask = match Ask::parse(&words) {
            Ok(ask) => ask,
            Err(error) => return Next::Go(complain(&error)),
        };
        if ask.form.verb == Verb::Quit {
            return Next::Quit;
        }
        if ask.form.verb == Verb::History {
            let first = self.lines.len().saturating_sub(HISTORY_SHOWN);
            let shown = self.lines.iter().enumerate().skip(first);
            say(&shown.map(|(number, line)| format!("{number} - {line}\n")).collect::<String>());
            return Next::Go(0);
        }
        match self.runtime.block_on(ask.perform(&self.client, &mut self.watches)) {
            Ok(answer) => {
                say(&answer.out);
                warn(&answer.err);
                Next::Go(0)
            }
            Err(message) => {
                warn(&message);
                Next::Go(1)
            }
        }
    }

    /// Closes the session and waits until the server heard of it.
    fn close(self) {
        let Shell { runtime, client, watches, lines: _ } = self;
        drop(watches);
        let mut states = client.state_watcher();
        drop(client);
        runtime.block_on(async {
            // The client's task ends with its last request; a dead server must not keep the shell.
            let closed = async { while !states.changed().await.is_terminated() {} };
            let _ = tokio::time::timeout(COMPLETION_WAIT, closed).await;
        });
    }
}

/// What becomes of the session when the shell ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// It is closed.
    Closed,
    /// It stays until it times out, since its ephemeral nodes are wanted.
    Kept,
}

fn one_shot(runtime: Runtime, args: &ShellArgs) -> anyhow::Result<u8> {
    let mut session = Session::Closed;
    for command in &args.commands {
        let words = split(command);
        match Ask::parse(&words) {
            _ if words.is_empty() => {}
            Ok(ask) if ask.makes_ephemeral() => session = Session::Kept,
            Ok(_) => {}
            Err(error) => return Ok(complain(&error)),
        }
    }
    let mut shell = match Shell::connect(runtime, args, session, Watches::new(Arc::new(show))) {
        Ok(shell) => shell,
        Err(error) => {
            warn(&print::error(&error, "/"));
            return Ok(1);
        }
    };
    let mut code = 0;
    for command in &args.commands {
        match shell.line(command) {
            Next::Go(0) => {}
            Next::Go(failed) => {
                code = failed;
                break;
            }
            Next::Quit => break,
        }
    }
    shell.close();
    Ok(code)
}

fn pipe(runtime: Runtime, args: &ShellArgs) -> anyhow::Result<u8> {
    say(&format!("Connecting to {}", args.server));
    let shell = Shell::connect(runtime, args, Session::Closed, Watches::new(Arc::new(show)));
    let mut shell = shell.with_context(|| format!("connect to {}", args.server))?;
    show(&WatchedEvent::new_session(shell.client.state()));
    let mut code = 0;
    for line in io::stdin().lock().lines() {
        match shell.line(&line.context("read standard input")?) {
            Next::Go(last) => code = last,
            Next::Quit => break,
        }
    }
    shell.close();
    Ok(code)
}

fn terminal(runtime: Runtime, args: &ShellArgs) -> anyhow::Result<u8> {
    say(&format!("Connecting to {}", args.server));
    let config = Config::builder().max_history_size(HISTORY_KEPT).context("set the history's size")?.build();
    let mut editor: Editor<Complete, FileHistory> = Editor::with_config(config).context("open terminal")?;
    let printer = Arc::new(Mutex::new(editor.create_external_printer().context("open terminal")?));
    let watches = Watches::new(Arc::new(move |event: &WatchedEvent| {
        let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
        // The terminal may be gone; then nobody looks.
        let _ = printer.print(format!("{}\n", print::event(event)));
    }));
    let shell = Shell::connect(runtime, args, Session::Closed, watches);
    let mut shell = shell.with_context(|| format!("connect to {}", args.server))?;
    editor
        .set_helper(Some(Complete { handle: shell.runtime.handle().clone(), client: shell.client.clone() }));
    let file = history_file();
    if let Some(file) = &file {
        // None was written yet, or it cannot be read: the shell works without.
        let _ = editor.load_history(file);
    }
    say("Welcome to Quorate, a ZooKeeper to its clients. Tab completes; `quit` leaves.");
    let mut code = 0;
    loop {
        let prompt = format!("[zk: {}({}) {}] ", args.server, state(&shell.client), shell.lines.len());
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("read a line"),
        };
        // A line that repeats the last one is not kept, which is no error.
        let _ = editor.add_history_entry(line.as_str());
        match shell.line(&line) {
            Next::Go(last) => code = last,
            Next::Quit => break,
        }
    }
    if let Some(file) = &file {
        let saved = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = saved.context("make its directory").and_then(|()| Ok(editor.save_history(file)?));
        if let Err(error) = saved {
            warn(&format!("the history was not kept: {}: {error:#}", file.display()));
        }
    }
    drop(editor);
    shell.close();
    Ok(code)
}

/// Where the lines of earlier shells are kept; `None` without a home.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("quorate/shell_history"))
}

fn state(client: &Client) -> &'static str {
    use zookeeper_client::SessionState;
    match client.state() {
        SessionState::Disconnected => "CONNECTING",
        SessionState::SyncConnected => "CONNECTED",
        SessionState::ConnectedReadOnly => "CONNECTEDREADONLY",
        SessionState::AuthFailed => "AUTH_FAILED",
        SessionState::Expired | SessionState::Closed => "CLOSED",
    }
}

/// Says what is wrong with a command; the exit code.
fn complain(error: &ParseError) -> u8 {
    if matches!(error, ParseError::Unknown(_)) {
        let usage = FORMS.iter().map(|form| format!("\t{} {}\n", form.name, form.usage));
        warn(&format!("quorate shell --server host:port -e cmd\n{}{error}", usage.collect::<String>()));
        return 127;
    }
    warn(&error.to_string());
    1
}

fn show(event: &WatchedEvent) {
    say(&print::event(event));
}

/// Prints an answer; nothing for an empty one.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that has seen enough closes the pipe.
    let _ = match text {
        "" => Ok(()),
        text if text.ends_with('\n') => out.write_all(text.as_bytes()),
        text => writeln!(out, "{text}"),
    };
    let _ = out.flush();
}

fn warn(text: &str) {
    if !text.is_empty() {
        eprintln!("{text}");
    }
}

/// Completes the name of a command, then paths.
struct Complete {
    handle: Handle,
    client: Client,
}

impl Completer for Complete {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..cursor];
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &typed[start..];
        if typed[..start].trim().is_empty() {
            let names = FORMS.iter().map(|form| form.name).filter(|name| name.starts_with(word));
            return Ok((start, names.map(|name| format!("{name} ")).collect()));
        }
        let Some(slash) = word.rfind('/') else { return Ok((start, Vec::new())) };
        let parent = if slash == 0 { "/" } else { &word[..slash] };
        let listed = self.handle.block_on(async {
            // A timer needs the runtime around it.
            tokio::time::timeout(COMPLETION_WAIT, self.client.list_children(parent)).await
        });
        let mut children = listed.map_or(Vec::new(), Result::unwrap_or_default);
        children.retain(|child| child.starts_with(&word[slash + 1..]));
        children.sort();
        Ok((start + slash + 1, children))
    }
}

impl Hinter for Complete {
    type Hint = String;
}

impl Highlighter for Complete {}

impl Validator for Complete {}

impl Helper for Complete {}
