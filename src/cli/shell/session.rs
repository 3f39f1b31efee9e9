//! A shell: its lines, its history, what concerns itself.
//!
//! In: lines. Out: what they lead to; answers go to the screen.
//!
//! Always true:
//! * events that came before an answer are shown before it;
//! * without a session, a command that needs one says so and is no failure, as in zkCli.
//!
//! Not here: operations (`ops`), where lines come from.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use zookeeper_client::{Error, SessionState};

use super::answer::{Answer, Failure};
use super::command::{Ask, split};
use super::connection::{Connection, prompt_state};
use super::forms::Verb;
use super::ops::Work;
use super::print::{self, Event};
use super::show::Screen;
use super::watches::Printing;

/// Commands that `history` shows; zkCli's number.
const HISTORY_SHOWN: usize = 11;

/// What a line leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read on; the code is what leaving would return.
    Go(u8),
    /// Leave.
    Quit,
}

/// A shell.
pub struct Shell {
    runtime: Runtime,
    connection: Connection,
    screen: Screen,
    /// Every line so far, for `history` and `redo`.
    lines: Vec<String>,
    /// What leaving would return.
    code: u8,
}

impl Shell {
    /// A shell without a session.
    pub fn new(runtime: Runtime, connection: Connection, screen: Screen) -> Shell {
        Shell { runtime, connection, screen, lines: Vec::new(), code: 0 }
    }

    /// Opens a session.
    pub fn connect(&mut self) -> Result<(), Error> {
        self.runtime.block_on(self.connection.open())
    }

    /// Tells of the session, as of an event.
    pub fn tell_state(&self) {
        self.connection.tell_state();
    }

    /// Where answers go.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// The session.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The tasks of the session.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// zkCli's prompt.
    pub fn prompt(&self) -> String {
        let state = prompt_state(self.connection.client().as_ref());
        format!("[zk: {}({state}) {}] ", self.connection.servers, self.lines.len())
    }

    /// Does a line of the input.
    pub fn line(&mut self, line: &str) -> Next {
        let words = split(line);
        if words.is_empty() {
            return Next::Go(self.code);
        }
        self.lines.push(line.trim().to_owned());
        self.run(&words)
    }

    /// Does the words of a command.
    pub fn run(&mut self, words: &[String]) -> Next {
        let ask = match Ask::parse(words) {
            // An unknown name is told in any state; what else is wrong with a command matters in a session only.
            Err(error) if self.connection.client().is_some() || error.is_unknown() => {
                return self.done(self.screen.complain(&error));
            }
            Err(_) => return self.done(self.not_connected()),
            Ok(ask) => ask,
        };
        match ask.form.verb {
            Verb::Quit => return Next::Quit,
            Verb::Redo => return self.redo(&ask),
            _ => {}
        }
        let answer = match self.own(&ask) {
            Some(answer) => answer,
            None => {
                let Some(client) = self.connection.client() else { return self.done(self.not_connected()) };
                let mut work = Work { ask: &ask, client, connection: &mut self.connection };
                self.runtime.block_on(work.perform())
            }
        };
        if let Some(watches) = self.connection.watches() {
            watches.flush();
        }
        if let Some(note) = ask.deprecated {
            self.screen.note(note);
        }
        let code = match answer {
            Ok(answer) => self.screen.say(&answer),
            Err(failure) => self.screen.fail(&failure),
        };
        self.done(code)
    }

    /// Closes the session; what the program returns.
    pub fn close(mut self) -> u8 {
        self.runtime.block_on(self.connection.close());
        self.code
    }

    fn done(&mut self, code: u8) -> Next {
        self.code = code;
        Next::Go(code)
    }

    fn not_connected(&self) -> u8 {
        self.screen.say(&Answer::out("Not connected").field("error", "Not connected"))
    }

    /// What the shell does by itself; `None` for the other commands.
    fn own(&mut self, ask: &Ask) -> Option<Result<Answer, Failure>> {
        match ask.form.verb {
            Verb::Close => Some(Ok(self.close_session())),
            Verb::Connect => Some(self.reconnect(ask)),
            Verb::History => Some(Ok(self.history())),
            Verb::PrintWatches => Some(Ok(self.print_watches(ask))),
            _ => None,
        }
    }

    fn close_session(&mut self) -> Answer {
        if !self.runtime.block_on(self.connection.close()) {
            return Answer::out("Not connected").field("error", "Not connected");
        }
        self.connection.tell(&Event::session(SessionState::Closed));
        Answer::none()
    }

    fn reconnect(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        if ask.words() > 0 {
            ask.word(0).clone_into(&mut self.connection.servers);
        }
        self.connect().map_err(|error| print::error(&error, "/"))?;
        self.connection.tell_state();
        Ok(Answer::none().field("connected", self.connection.servers.as_str()))
    }

    fn history(&self) -> Answer {
        let first = self.lines.len().saturating_sub(HISTORY_SHOWN);
        let shown = || self.lines.iter().enumerate().skip(first);
        let text: Vec<String> = shown().map(|(number, line)| format!("{number} - {line}")).collect();
        let listed: Vec<Value> =
            shown().map(|(number, line)| json!({"number": number, "command": line})).collect();
        let answer = if text.is_empty() { Answer::none() } else { Answer::out(text.join("\n")) };
        answer.field("history", listed)
    }

    fn print_watches(&mut self, ask: &Ask) -> Answer {
        if ask.words() == 0 {
            let printing = match self.connection.printing() {
                Printing::On => "on",
                Printing::Off => "off",
            };
            return Answer::out(format!("printwatches is {printing}")).field("printwatches", printing);
        }
        self.connection.set_printing(if ask.word(0) == "on" { Printing::On } else { Printing::Off });
        Answer::none()
    }

    fn redo(&mut self, ask: &Ask) -> Next {
        let this = self.lines.len().saturating_sub(1);
        let number = ask.word(0).parse::<usize>().ok().filter(|number| *number < this);
        let words = number.map(|number| split(&self.lines[number]));
        let failure = match words {
            None => "Command index out of range",
            Some(words) if words.first().is_some_and(|name| name == "redo") => "No redoing redos",
            Some(words) => {
                let line = self.lines[number.unwrap_or_default()].clone();
                self.lines[this] = line;
                return self.run(&words);
            }
        };
        let code = self.screen.fail(&failure.into());
        self.done(code)
    }
}
