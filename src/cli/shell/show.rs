//! The screen: answers, failures and events as text, in colour on a terminal, or as JSON.
//!
//! In: what commands have to say. Out: lines on standard output and standard error.
//!
//! Always true:
//! * as JSON, each command and each event is one line on standard output, failures too;
//! * without a terminal there is no colour, unless it is asked for.
//!
//! Not here: what is said (`ops`).

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::answer::{Answer, Failure, Stream};
use super::command::ParseError;
use super::forms::FORMS;
use super::print::Event;
use super::watches::Show;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What answers look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// As zkCli prints them.
    Text,
    /// As JSON.
    Json,
}

/// Whether one stream is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// It is.
    Colour,
    /// It is not.
    Plain,
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The name of a field.
    Name,
    /// What was done.
    Done,
    /// What went wrong.
    Wrong,
    /// A watch event.
    Event,
    /// The prompt.
    Prompt,
}

/// Prints text above the line that is being edited.
pub type Above = Box<dyn FnMut(String) + Send>;

/// Where everything is shown.
#[derive(Clone)]
pub struct Screen {
    output: Output,
    out: Paint,
    err: Paint,
    editing: Arc<Editing>,
}

/// While a line is edited, events go above it.
#[derive(Default)]
struct Editing(Mutex<Option<Above>>);

impl Paint {
    fn new(when: ColorWhen, is_terminal: impl FnOnce() -> bool) -> Paint {
        let is_wanted = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && is_terminal()
            }
        };
        if is_wanted { Paint::Colour } else { Paint::Plain }
    }

    /// A text in the colour of what it is.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if self == Paint::Plain || text.is_empty() => return text.to_owned(),
            Tone::Name => "36",
            Tone::Done => "32",
            Tone::Wrong => "31",
            Tone::Event => "33",
            Tone::Prompt => "1;34",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Lines in one colour each, so that nothing stays coloured when the output is cut.
    fn lines(self, tone: Tone, text: &str) -> String {
        text.split('\n').map(|line| self.paint(tone, line)).collect::<Vec<_>>().join("\n")
    }

    /// An answer whose lines may be `name = value`.
    fn answer(self, text: &str) -> String {
        let line = |line: &str| match line.split_once(" = ") {
            Some((name, value)) if is_name(name) => format!("{} = {value}", self.paint(Tone::Name, name)),
            _ => line.to_owned(),
        };
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Whether this is what a stat calls a field.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic())
}

impl Screen {
    /// The screen of this process.
    pub fn new(output: Output, when: ColorWhen) -> Screen {
        let out = Paint::new(when, || io::stdout().is_terminal());
        let err = Paint::new(when, || io::stderr().is_terminal());
        Screen { output, out, err, editing: Arc::default() }
    }

    /// The colours of standard output.
    pub fn paint(&self) -> Paint {
        self.out
    }

    /// Lets events be printed above a line that is edited.
    pub fn set_above(&self, above: Option<Above>) {
        *self.editing.0.lock().unwrap_or_else(PoisonError::into_inner) = above;
    }

    /// What shows events.
    pub fn events(&self) -> Show {
        let screen = self.clone();
        Arc::new(move |event: &Event| screen.event(event))
    }

    fn event(&self, event: &Event) {
        let text = match self.output {
            Output::Json => event.json().to_string(),
            Output::Text => format!(
                "\n{}\n\n{}",
                self.out.paint(Tone::Event, "WATCHER::"),
                self.out.paint(Tone::Event, &event.line())
            ),
        };
        match self.editing.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(above) => above(format!("{text}\n")),
            None => write_out(&text),
        }
    }

    /// Greets people; programs that read JSON are not.
    pub fn greet(&self, text: &str) {
        if self.output == Output::Text {
            write_out(text);
        }
    }

    /// Tells people something about their command.
    pub fn note(&self, text: &str) {
        write_err(&self.err.paint(Tone::Event, text));
    }

    /// Shows an answer; the exit code.
    pub fn say(&self, answer: &Answer) -> u8 {
        match self.output {
            Output::Json => write_out(&Value::Object(answer.json.clone()).to_string()),
            Output::Text => {
                for (stream, text) in &answer.parts {
                    match stream {
                        Stream::Out => write_out(&self.out.answer(text)),
                        Stream::Err => write_err(&self.err.lines(Tone::Done, text)),
                    }
                }
            }
        }
        0
    }

    /// Shows what went wrong; the exit code.
    pub fn fail(&self, failure: &Failure) -> u8 {
        match self.output {
            Output::Json => write_out(&failure.json().to_string()),
            Output::Text => write_err(&self.err.lines(Tone::Wrong, &failure.message)),
        }
        1
    }

    /// Says what is wrong with a command; the exit code.
    pub fn complain(&self, error: &ParseError) -> u8 {
        if !error.is_unknown() {
            return self.fail(&error.to_string().into());
        }
        if self.output == Output::Text {
            let usage = FORMS.iter().map(|form| format!("\n\t{} {}", form.name, form.usage));
            write_err(&format!("quorate shell --server host:port cmd args{}", usage.collect::<String>()));
        }
        self.fail(&error.to_string().into());
        127
    }
}

fn write_out(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn write_err(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_stat_are_coloured_and_data_is_not() {
        let coloured = Paint::Colour.answer("a b = c\ncZxid = 0x1");
        assert_eq!(coloured, "a b = c\n\x1b[36mcZxid\x1b[0m = 0x1");
        assert_eq!(Paint::Plain.answer("cZxid = 0x1"), "cZxid = 0x1");
    }

    #[test]
    fn each_line_is_coloured_by_itself() {
        let coloured = Paint::Colour.lines(Tone::Wrong, "a\n\nb");
        assert_eq!(coloured, "\x1b[31ma\x1b[0m\n\n\x1b[31mb\x1b[0m");
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Paint::new(ColorWhen::Auto, || false), Paint::Plain);
        assert_eq!(Paint::new(ColorWhen::Always, || false), Paint::Colour);
        assert_eq!(Paint::new(ColorWhen::Never, || true), Paint::Plain);
    }
}
