//! The commands of the shell: what they are called and what they take.
//!
//! In: a line. Out: an [`Ask`], or why the line is none.
//!
//! Always true:
//! * names, options, usage lines and the reading of options are those of zkCli 3.9;
//! * an `Ask` has as many words as its command needs, and no option that the command does not know.
//!
//! Not here: the table of commands (`forms`), doing them (`ops`).

use std::collections::BTreeMap;
use std::str::FromStr;

use super::forms::{FORMS, Form, OptionForm, Together, Verb};

/// A command that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How it is written.
    pub form: &'static Form,
    /// Options that were given; the value of one that takes none is empty.
    options: BTreeMap<&'static str, String>,
    words: Vec<String>,
    /// What to tell people who write a command as earlier versions took it.
    pub deprecated: Option<&'static str>,
}

/// Why words are no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No command has this name.
    #[error("Command not found: Command not found {0}")]
    Unknown(String),
    /// It does not have this option.
    #[error("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {0}")]
    Option(String),
    /// An option stands without its value.
    #[error("org.apache.commons.cli.MissingArgumentException: Missing argument for option: {0}")]
    Value(&'static str),
    /// Two options exclude each other.
    #[error(
        "org.apache.commons.cli.AlreadySelectedException: The option '{second}' was specified but an option \
         from this group has already been selected: '{first}'"
    )]
    Exclusive {
        /// The option that was given first.
        first: &'static str,
        /// The one that does not go with it.
        second: &'static str,
    },
    /// None of several options was given, and one is needed.
    #[error("org.apache.commons.cli.MissingOptionException: Missing required option: [{}]", one_of(.0))]
    Missing(&'static Form),
    /// Words are missing.
    #[error("{}", .0.full_usage())]
    Usage(&'static Form),
}

impl ParseError {
    /// Whether there is no such command at all.
    pub fn is_unknown(&self) -> bool {
        matches!(self, ParseError::Unknown(_))
    }
}

fn one_of(form: &Form) -> String {
    let shown = form.options.iter().map(|option| format!("{} {}", option.dashed, option.about));
    shown.collect::<Vec<_>>().join(", ")
}

/// Splits a line at blanks. A word that begins with a quote of either kind reaches to the next one; nothing escapes.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '\'' | '"').then(|| rest[1..].split_once(first));
        rest = match quoted {
            Some(Some((word, after))) => {
                words.push(word.to_owned());
                after
            }
            // A quote that nothing closes is passed over.
            Some(None) => &rest[1..],
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                &rest[end..]
            }
        }
        .trim_start();
    }
    words
}

/// Reads options as Apache Commons CLI does: anywhere, also `-sw`, `-v5` and `-v=5`, until `--`.
struct Options {
    form: &'static Form,
    given: BTreeMap<&'static str, String>,
    words: Vec<String>,
    /// The option whose value comes next.
    open: Option<&'static OptionForm>,
    /// The first given of options that exclude each other.
    first: Option<&'static str>,
}

impl Options {
    fn read(form: &'static Form, words: &[String]) -> Result<Options, ParseError> {
        let mut options =
            Options { form, given: BTreeMap::new(), words: Vec::new(), open: None, first: None };
        let mut words = words.iter();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            options.word(word)?;
        }
        if let Some(open) = options.open {
            return Err(ParseError::Value(open.name()));
        }
        options.words.extend(words.cloned());
        if form.together == Together::One && options.first.is_none() {
            return Err(ParseError::Missing(form));
        }
        Ok(options)
    }

    fn word(&mut self, word: &str) -> Result<(), ParseError> {
        let cluster = word.strip_prefix('-').filter(|cluster| !cluster.is_empty());
        if let Some(open) = self.open {
            // A negative number is a value, another option is none.
            if cluster.is_none_or(|number| number.parse::<f64>().is_ok() || !self.is_option(number)) {
                self.open = None;
                self.given.insert(open.name(), word.to_owned());
                return Ok(());
            }
            return Err(ParseError::Value(open.name()));
        }
        let Some(cluster) = cluster else {
            self.words.push(word.to_owned());
            return Ok(());
        };
        let unknown = || ParseError::Option(word.to_owned());
        if let Some(option) = self.form.option(cluster) {
            return self.option(option);
        }
        if let Some((name, value)) = cluster.split_once('=') {
            let option = self.form.option(name).filter(|option| option.takes_value());
            self.option(option.ok_or_else(unknown)?)?;
            return self.value(value);
        }
        for (at, letter) in cluster.char_indices() {
            let after = at + letter.len_utf8();
            let option = self.form.option(&cluster[at..after]).ok_or_else(unknown)?;
            self.option(option)?;
            if option.takes_value() && after < cluster.len() {
                return self.value(&cluster[after..]);
            }
        }
        Ok(())
    }

    fn is_option(&self, cluster: &str) -> bool {
        let name = cluster.split_once('=').map_or(cluster, |(name, _)| name);
        self.form.option(name).is_some()
            || cluster.chars().next().is_some_and(|c| self.form.option(&c.to_string()).is_some())
    }

    fn option(&mut self, option: &'static OptionForm) -> Result<(), ParseError> {
        if self.form.together != Together::Any {
            match self.first {
                Some(first) if first != option.name() => {
                    return Err(ParseError::Exclusive { first, second: option.name() });
                }
                _ => self.first = Some(option.name()),
            }
        }
        if option.takes_value() {
            self.open = Some(option);
        } else {
            self.given.insert(option.name(), String::new());
        }
        Ok(())
    }

    fn value(&mut self, value: &str) -> Result<(), ParseError> {
        let open = self.open.take().expect("an option was opened for its value");
        self.given.insert(open.name(), value.to_owned());
        Ok(())
    }
}

impl Ask {
    /// Parses the words of one command; there must be at least one.
    pub fn parse(words: &[String]) -> Result<Ask, ParseError> {
        let (name, rest) = words.split_first().expect("an empty line is no command");
        let form = FORMS.iter().find(|form| form.name == name);
        let form = form.ok_or_else(|| ParseError::Unknown(name.clone()))?;
        let options = Options::read(form, rest)?;
        let mut ask = Ask { form, options: options.given, words: options.words, deprecated: None };
        if !form.words.contains(&ask.words.len()) {
            return Err(ParseError::Usage(form));
        }
        ask.take_old_form();
        if form.verb == Verb::AddWatch && ask.value("m").is_some() && ask.watch_mode().is_none() {
            return Err(ParseError::Usage(form));
        }
        Ok(ask)
    }

    /// Takes what was the second word in earlier versions as the option that it is.
    fn take_old_form(&mut self) {
        if self.words.len() < 2 {
            return;
        }
        let (option, note) = match self.form.verb {
            Verb::Get => {
                ("w", "'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead.")
            }
            Verb::Ls => ("w", "'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead."),
            Verb::Stat => {
                ("w", "'stat path [watch]' has been deprecated. Please use 'stat [-w] path' instead.")
            }
            Verb::Delete => (
                "v",
                "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.",
            ),
            _ => return,
        };
        self.deprecated = Some(note);
        let value = if option == "v" { self.words[1].clone() } else { String::new() };
        self.options.entry(option).or_insert(value);
    }

    /// Whether the session must outlive the program, since it owns a node that was asked for.
    pub fn makes_ephemeral(&self) -> bool {
        self.form.verb == Verb::Create && self.has("e")
    }

    /// Whether an option was given.
    pub fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// A word that is no option, counted from 0; empty if it was left out.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// How many words there are besides options.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// The value of an option.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    /// The value of an option as a number, or zkCli's words for what is none.
    pub fn number<T: FromStr>(&self, option: &str) -> Result<Option<T>, String> {
        let Some(text) = self.value(option) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| match self.form.verb {
            Verb::Create => format!("-{option} argument must be a long value"),
            Verb::DeleteAll => format!("-{option} argument must be an int value"),
            _ => format!("-{option} argument must be a number, and is {text}"),
        })
    }

    /// The mode of `addWatch`, recursive unless told otherwise; `None` for one that there is not.
    pub fn watch_mode(&self) -> Option<zookeeper_client::AddWatchMode> {
        use zookeeper_client::AddWatchMode;
        match self.value("m").map(str::to_uppercase).as_deref() {
            None | Some("PERSISTENT_RECURSIVE") => Some(AddWatchMode::PersistentRecursive),
            Some("PERSISTENT") => Some(AddWatchMode::Persistent),
            Some(_) => None,
        }
    }

    /// What is wrong with the path, in ZooKeeper's words; `None` also for a command without one.
    pub fn path_flaw(&self) -> Option<String> {
        if !self.form.takes_path() || self.words.is_empty() {
            return None;
        }
        if self.form.verb == Verb::Create && self.has("s") {
            return flaw(&format!("{}1", self.word(0)));
        }
        flaw(self.word(0))
    }
}

/// ZooKeeper's check of a path, in its words; positions count UTF-16 units.
fn flaw(path: &str) -> Option<String> {
    match path {
        "" => return Some("Path length must be > 0".to_owned()),
        "/" => return None,
        _ if !path.starts_with('/') => return Some("Path must start with / character".to_owned()),
        _ if path.ends_with('/') => return Some("Path must not end with / character".to_owned()),
        _ => {}
    }
    let mut at = 0;
    for name in path.split('/').skip(1) {
        // Where the name begins, behind its slash.
        at += 1;
        let length = name.encode_utf16().count();
        let invalid = name.chars().position(is_invalid);
        let reason = match name {
            "" => Some(format!("empty node name specified @{at}")),
            "." | ".." => Some(format!("relative paths not allowed @{}", at + length - 1)),
            _ => invalid.map(|before| {
                let units: usize = name.chars().take(before).map(char::len_utf16).sum();
                let what =
                    if name.contains('\0') { "null character not allowed" } else { "invalid character" };
                format!("{what} @{}", at + units)
            }),
        };
        if let Some(reason) = reason {
            return Some(format!("Invalid path string \"{path}\" caused by {reason}"));
        }
        at += length;
    }
    None
}

/// Characters outside the basic plane are surrogates to ZooKeeper, which it refuses.
fn is_invalid(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Ask, ParseError> {
        Ask::parse(&split(line))
    }

    fn says(line: &str) -> String {
        ask(line).expect_err("it is no command").to_string()
    }

    #[test]
    fn quotes_group_whole_words_and_keep_empty_ones() {
        assert_eq!(split("create /big \"with spaces\" ''"), ["create", "/big", "with spaces", ""]);
        assert_eq!(split("  ls\t/  "), ["ls", "/"]);
        assert_eq!(split("set /a '{\"b\": 1}'"), ["set", "/a", "{\"b\": 1}"]);
        assert_eq!(split("set /a {\"b\":1}"), ["set", "/a", "{\"b\":1}"]);
        assert_eq!(split("'a''b'c"), ["a", "b", "c"]);
        assert_eq!(split("set /a \"it's"), ["set", "/a", "it's"]);
        assert!(split("   ").is_empty());
    }

    #[test]
    fn options_may_stand_anywhere_and_together() {
        let expected = ask("set -v 2 -s /t/a data4").expect("it is a command");
        for line in [
            "set /t/a data4 -s -v 2",
            "set -sv2 /t/a data4",
            "set -v=2 -s /t/a data4",
            "set -sv 2 /t/a data4",
        ] {
            assert_eq!(ask(line).as_ref(), Ok(&expected), "{line}");
        }
        assert_eq!(expected.number::<i32>("v"), Ok(Some(2)));
        let negative = ask("create -t -5 /a x").expect("it is a command");
        assert_eq!(negative.number::<i64>("t"), Ok(Some(-5)));
        let dashed = ask("create -s -- /a -e").expect("it is a command");
        assert_eq!((dashed.word(0), dashed.word(1), dashed.has("e")), ("/a", "-e", false));
    }

    #[test]
    fn what_is_no_command_is_told_in_zookeepers_words() {
        assert_eq!(says("whatever"), "Command not found: Command not found whatever");
        let unknown = "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: ";
        assert_eq!(says("ls -x /"), format!("{unknown}-x"));
        assert_eq!(says("ls -wx /"), format!("{unknown}-wx"));
        assert_eq!(says("delete"), "delete [-v version] path");
        let missing = "org.apache.commons.cli.MissingArgumentException: Missing argument for option: v";
        assert_eq!(says("delete /a -v"), missing);
        assert_eq!(says("set -v -s /a x"), missing);
        assert_eq!(
            says("get"),
            "get [-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n \
             -s   Print znode stats additionally\n -w   Watch for changes on the znode\n \
             -x   Output data in hexdump format"
        );
        assert_eq!(
            says("addWatch -m BOGUS /a"),
            "addWatch [-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is \
             PERSISTENT_RECURSIVE"
        );
    }

    #[test]
    fn a_quota_has_one_limit() {
        assert!(
            says("setquota /a").contains("Missing required option: [-n num soft quota, "),
            "{}",
            says("setquota /a")
        );
        assert!(says("setquota -n 1 -b 2 /a").ends_with(
            "The option 'b' was specified but an option from this group has already been selected: 'n'"
        ));
        assert!(ask("delquota /a").is_ok());
        assert!(ask("delquota -n -N /a").is_err());
    }

    #[test]
    fn old_forms_are_taken_with_a_note() {
        let old = ask("ls /a watch").expect("it is a command");
        assert!(old.has("w") && old.deprecated.is_some_and(|note| note.starts_with("'ls path [watch]'")));
        let old = ask("delete /a 7").expect("it is a command");
        assert_eq!(old.number::<i32>("v"), Ok(Some(7)));
        assert_eq!(ask("ls -w /a").expect("it is a command").deprecated, None);
    }

    #[test]
    fn a_bad_path_is_found_before_anything_is_sent() {
        let flaw = |line: &str| ask(line).expect("it is a command").path_flaw();
        assert_eq!(flaw("create t bad").as_deref(), Some("Path must start with / character"));
        assert_eq!(flaw("create /t/ x").as_deref(), Some("Path must not end with / character"));
        let invalid =
            |reason: &str, path: &str| Some(format!("Invalid path string \"{path}\" caused by {reason}"));
        assert_eq!(flaw("create /t//a x"), invalid("empty node name specified @3", "/t//a"));
        assert_eq!(flaw("get /t/../a"), invalid("relative paths not allowed @4", "/t/../a"));
        assert_eq!(flaw("get /./a"), invalid("relative paths not allowed @1", "/./a"));
        assert_eq!(flaw("get /é\u{1}"), invalid("invalid character @2", "/é\u{1}"));
        assert_eq!(flaw("get /😀"), invalid("invalid character @1", "/😀"));
        assert_eq!(flaw("get ''").as_deref(), Some("Path length must be > 0"));
        assert_eq!(flaw("create -s /t/ x"), None);
        assert_eq!(flaw("addauth digest a:b"), None);
        assert_eq!(flaw("getEphemerals"), None);
    }
}
