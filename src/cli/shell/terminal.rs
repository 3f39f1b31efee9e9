//! The shell on a terminal: a line editor with history, completion and colours.
//!
//! In: keys. Out: lines for the shell.
//!
//! Always true:
//! * events appear above the line that is edited.
//!
//! Not here: what can be completed (`complete`).

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter as _, Helper};
use tokio::runtime::{Handle, Runtime};

use super::ShellArgs;
use super::complete::Complete;
use super::connection::End;
use super::forms::FORMS;
use super::print;
use super::session::{Next, Shell};
use super::show::{Paint, Screen, Tone};

/// Lines that are kept for the next start.
const HISTORY_KEPT: usize = 1_000;

/// Runs the shell until the terminal is closed; the exit code.
pub fn run(runtime: Runtime, args: &ShellArgs, screen: Screen) -> anyhow::Result<u8> {
    screen.greet(&format!("Connecting to {}", args.server));
    let config = Config::builder()
        .max_history_size(HISTORY_KEPT)
        .context("set the history's size")?
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).context("open terminal")?;
    let mut printer = editor.create_external_printer().context("open terminal")?;
    screen.set_above(Some(Box::new(move |text| {
        // The terminal may be gone; then nobody looks.
        let _ = printer.print(text);
    })));
    let mut shell = Shell::new(runtime, args.connection(End::Closed, &screen), screen);
    if let Err(error) = shell.connect() {
        return Ok(shell.screen().fail(&print::error(&error, "/")));
    }
    editor.set_helper(Some(Assistant {
        complete: Complete::new(shell.connection().current()),
        handle: shell.runtime().handle().clone(),
        paint: shell.screen().paint(),
    }));
    let file = history_file();
    if let Some(file) = &file {
        // None was written yet, or it cannot be read: the shell works without.
        let _ = editor.load_history(file);
    }
    shell.screen().greet("Welcome to Quorate, a ZooKeeper to its clients. Tab completes; `quit` leaves.");
    loop {
        let line = match editor.readline(&shell.prompt()) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("read a line"),
        };
        // A line that repeats the last one is not kept, which is no error.
        let _ = editor.add_history_entry(line.as_str());
        if shell.line(&line) == Next::Quit {
            break;
        }
    }
    if let Some(file) = &file {
        let saved = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = saved.context("make its directory").and_then(|()| Ok(editor.save_history(file)?));
        if let Err(error) = saved {
            shell.screen().note(&format!("the history was not kept: {}: {error:#}", file.display()));
        }
    }
    shell.screen().set_above(None);
    drop(editor);
    Ok(shell.close())
}

/// Where the lines of earlier shells are kept; `None` without a home.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("quorate/shell_history"))
}

/// What helps with editing a line.
struct Assistant {
    complete: Complete,
    handle: Handle,
    paint: Paint,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.handle.block_on(self.complete.at(&line[..cursor]));
        let pairs = found.into_iter().map(|one| Pair { display: one.shown, replacement: one.text });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let name = line.trim_start().split(char::is_whitespace).next().unwrap_or_default();
        if self.paint == Paint::Plain || name.is_empty() {
            return Cow::Borrowed(line);
        }
        let is_known = FORMS.iter().any(|form| form.name == name);
        let is_begun = FORMS.iter().any(|form| form.name.starts_with(name));
        let tone = match (is_known, is_begun) {
            (true, _) => Tone::Done,
            (false, true) => return Cow::Borrowed(line),
            (false, false) => Tone::Wrong,
        };
        let at = line.find(name).unwrap_or(0);
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        Cow::Owned(format!("{before}{}{after}", self.paint.paint(tone, name)))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(self.paint.paint(Tone::Prompt, prompt))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.paint == Paint::Colour && kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {}

impl Helper for Assistant {}
