//! The commands of the shell: what they are called and what they take.
//!
//! In: a line. Out: an [`Ask`], or why the line is none.
//!
//! Always true:
//! * names, options and usage lines are those of zkCli 3.9;
//! * an `Ask` has as many words as its command takes, and no option that the command does not know.
//!
//! Not here: doing it (`ops`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Adds credentials to the session.
    AddAuth,
    /// Shows the membership.
    Config,
    /// Makes a node.
    Create,
    /// Removes a node.
    Delete,
    /// Removes a node and everything below it.
    DeleteAll,
    /// Shows a node's data.
    Get,
    /// Shows a node's ACL.
    GetAcl,
    /// Shows the last commands; done by the shell itself.
    History,
    /// Lists children.
    Ls,
    /// Leaves the shell; done by the shell itself.
    Quit,
    /// Changes the membership.
    Reconfig,
    /// Replaces a node's data.
    Set,
    /// Replaces a node's ACL.
    SetAcl,
    /// Shows a node's stat.
    Stat,
    /// Waits until the server has what the leader has committed.
    Sync,
    /// Shows the version.
    Version,
    /// Shows who the server takes this session for.
    WhoAmI,
}

/// How a command is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// What it does.
    pub verb: Verb,
    /// Its first word.
    pub name: &'static str,
    /// What follows the name, for people.
    pub usage: &'static str,
    /// Options that stand alone, without their dash.
    flags: &'static [&'static str],
    /// Options that take the next word, without their dash.
    values: &'static [&'static str],
    /// How many words there are besides options.
    words: RangeInclusive<usize>,
}

/// Every command, by name.
pub const FORMS: &[Form] = &[
    form(Verb::AddAuth, "addauth", "scheme auth", &[], &[], 1..=2),
    form(Verb::Config, "config", "[-c] [-w] [-s]", &["c", "w", "s"], &[], 0..=0),
    form(
        Verb::Create,
        "create",
        "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        &["s", "e", "c"],
        &["t"],
        1..=3,
    ),
    form(Verb::Delete, "delete", "[-v version] path", &[], &["v"], 1..=1),
    form(Verb::DeleteAll, "deleteall", "path [-b batch size]", &[], &["b"], 1..=1),
    form(Verb::Quit, "exit", "", &[], &[], 0..=0),
    form(Verb::Get, "get", "[-s] [-w] [-b] [-x] path", &["s", "w", "b", "x"], &[], 1..=1),
    form(Verb::GetAcl, "getAcl", "[-s] path", &["s"], &[], 1..=1),
    form(Verb::History, "history", "", &[], &[], 0..=0),
    form(Verb::Ls, "ls", "[-s] [-w] [-R] path", &["s", "w", "R"], &[], 1..=1),
    form(Verb::Quit, "quit", "", &[], &[], 0..=0),
    form(
        Verb::Reconfig,
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
         [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        &["s"],
        &["v", "file", "members", "add", "remove"],
        0..=0,
    ),
    form(Verb::Set, "set", "path data [-s] [-v version] [-b]", &["s", "b"], &["v"], 2..=2),
    form(Verb::SetAcl, "setAcl", "[-s] [-v version] [-R] path acl", &["s", "R"], &["v"], 2..=2),
    form(Verb::Stat, "stat", "[-w] path", &["w"], &[], 1..=1),
    form(Verb::Sync, "sync", "path", &[], &[], 1..=1),
    form(Verb::Version, "version", "", &[], &[], 0..=0),
    form(Verb::WhoAmI, "whoami", "", &[], &[], 0..=0),
];

const fn form(
    verb: Verb,
    name: &'static str,
    usage: &'static str,
    flags: &'static [&'static str],
    values: &'static [&'static str],
    words: RangeInclusive<usize>,
) -> Form {
    Form { verb, name, usage, flags, values, words }
}

/// A command that was parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// How it is written.
    pub form: &'static Form,
    flags: BTreeSet<&'static str>,
    values: BTreeMap<&'static str, String>,
    words: Vec<String>,
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
    /// Words are missing or too many.
    #[error("{} {}", .0.name, .0.usage)]
    Usage(&'static Form),
}

/// Splits a line at blanks; quotes of either kind group, and nothing escapes.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

impl Ask {
    /// Parses the words of one command; there must be at least one.
    pub fn parse(words: &[String]) -> Result<Ask, ParseError> {
        let (name, rest) = words.split_first().expect("an empty line is no command");
        let form = FORMS.iter().find(|form| form.name == name);
        let form = form.ok_or_else(|| ParseError::Unknown(name.clone()))?;
        let (mut flags, mut values, mut words) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let Some(option) = word.strip_prefix('-').filter(|option| !option.is_empty()) else {
                words.push(word.clone());
                continue;
            };
            if let Some(flag) = form.flags.iter().find(|flag| **flag == option) {
                flags.insert(*flag);
            } else if let Some(known) = form.values.iter().find(|known| **known == option) {
                let value = rest.next().ok_or(ParseError::Usage(form))?;
                values.insert(*known, value.clone());
            } else {
                return Err(ParseError::Option(word.clone()));
            }
        }
        if !form.words.contains(&words.len()) {
            return Err(ParseError::Usage(form));
        }
        Ok(Ask { form, flags, values, words })
    }

    /// Whether the session must outlive the program, since it owns a node that was asked for.
    pub fn makes_ephemeral(&self) -> bool {
        self.form.verb == Verb::Create && self.has("e")
    }

    /// Whether an option without a value was given.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// A word that is no option, counted from 0; empty if it was left out.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The value of an option.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.values.get(option).map(String::as_str)
    }

    /// The value of an option, as a number.
    pub fn number<T: FromStr>(&self, option: &str) -> Result<Option<T>, String> {
        let Some(text) = self.value(option) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("-{option} argument must be a number, and is {text}"))
    }

    /// What is wrong with the path, in ZooKeeper's words; `None` also for a command without one.
    pub fn path_flaw(&self) -> Option<String> {
        let sequential = self.form.verb == Verb::Create && self.has("s");
        let takes_path = !self.words.is_empty() && self.form.verb != Verb::AddAuth;
        let path = self.word(0);
        let path = if sequential { format!("{path}1") } else { path.to_owned() };
        if !takes_path || path == "/" {
            return None;
        }
        match path.chars().next() {
            None => return Some("Path length must be > 0".to_owned()),
            Some('/') => {}
            Some(_) => return Some("Path must start with / character".to_owned()),
        }
        if path.ends_with('/') {
            return Some("Path must not end with / character".to_owned());
        }
        let at = path.find("//")?;
        Some(format!("Invalid path string {path:?} caused by empty node name specified @{}", at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Ask, ParseError> {
        Ask::parse(&split(line))
    }

    #[test]
    fn quotes_group_words_and_keep_empty_ones() {
        assert_eq!(split("create /big \"with spaces\" ''"), ["create", "/big", "with spaces", ""]);
        assert_eq!(split("  ls\t/  "), ["ls", "/"]);
        assert_eq!(split("get /a'b c'"), ["get", "/ab c"]);
        assert!(split("   ").is_empty());
    }

    #[test]
    fn options_may_stand_anywhere() {
        let before = ask("set -v 2 -s /t/a data4").expect("it is a command");
        let after = ask("set /t/a data4 -s -v 2").expect("it is a command");
        assert_eq!(before, after);
        assert_eq!(before.number::<i32>("v"), Ok(Some(2)));
    }

    #[test]
    fn what_is_no_command_is_told_in_zookeepers_words() {
        let says = |line: &str| ask(line).expect_err("it is no command").to_string();
        assert_eq!(says("whatever"), "Command not found: Command not found whatever");
        assert_eq!(
            says("ls -x /"),
            "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -x"
        );
        assert_eq!(says("delete"), "delete [-v version] path");
        assert_eq!(says("delete /a -v"), "delete [-v version] path");
    }

    #[test]
    fn a_bad_path_is_found_before_anything_is_sent() {
        let flaw = |line: &str| ask(line).expect("it is a command").path_flaw();
        assert_eq!(flaw("create t bad").as_deref(), Some("Path must start with / character"));
        assert_eq!(flaw("create /t/ x").as_deref(), Some("Path must not end with / character"));
        let empty = "Invalid path string \"/t//a\" caused by empty node name specified @3";
        assert_eq!(flaw("create /t//a x").as_deref(), Some(empty));
        assert_eq!(flaw("create -s /t/ x"), None);
        assert_eq!(flaw("addauth digest a:b"), None);
    }
}
