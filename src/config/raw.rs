//! What was written: every setting with the place where it stands.
//!
//! In: texts in properties form, overrides. Out: the last value of each key, unknown keys, the nearest known one.
//!
//! Always true:
//! * the last of several settings of one key wins, and an override wins over the file;
//! * a key written `zookeeper.X` is the key X, if that one is known.
//!
//! Not here: what a value means (`check`), which keys there are (`keys`).

use std::collections::BTreeMap;
use std::fmt;

use super::keys::{self, Kind};
use crate::base::properties;

/// One setting as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, without a `zookeeper.` before it.
    pub key: String,
    /// The value, trimmed.
    pub value: String,
    /// The file's name, or `command line`.
    pub file: String,
    /// The line in that file, from 1; 0 for the command line.
    pub line: u32,
}

/// Why a configuration is refused; one line of text.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub struct Problem {
    /// `file:line`, or `command line`.
    pub place: String,
    /// The key; empty if the whole text is meant.
    pub key: String,
    /// The value as written; `None` if the key is missing.
    pub found: Option<String>,
    /// What should stand there.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { place, key, found, expected } = self;
        let text = match found {
            _ if key.is_empty() => format!("{place}: {expected}"),
            Some(found) => format!("{place}: {key}={found}: expected {expected}"),
            None => format!("{place}: {key} is not set: expected {expected}"),
        };
        f.write_str(&one_line(&text))
    }
}

/// A text without its control characters: keys and values may hold any, by the escapes of properties.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Every setting that was written, before anything is made of it.
#[derive(Clone, Debug, Default)]
pub struct RawConfig {
    /// The static file's name; empty if there is none.
    file: String,
    /// The last setting of each key.
    settings: BTreeMap<String, Setting>,
    /// What is odd about keys, one line each.
    warnings: Vec<String>,
    /// Keys of our own that do not exist.
    problems: Vec<Problem>,
    /// Other keys that do not exist.
    unknown: Vec<Problem>,
}

impl RawConfig {
    /// Reads the text of a `zoo.cfg`.
    pub fn parse(file: &str, text: &str) -> Result<RawConfig, Problem> {
        let mut raw = RawConfig { file: file.to_owned(), ..RawConfig::default() };
        let properties = properties::parse(text).map_err(|error| Problem {
            place: format!("{file}:{}", error.line),
            key: String::new(),
            found: None,
            expected: error.to_string(),
        })?;
        for property in properties {
            raw.add(Setting {
                key: property.key,
                value: property.value,
                file: file.to_owned(),
                line: property.line,
            });
        }
        Ok(raw)
    }

    /// Takes `key=value` from the command line; it wins over what stands in the file.
    pub fn set(&mut self, text: &str) -> Result<(), Problem> {
        let file = "command line".to_owned();
        let Some((key, value)) = text.split_once('=') else {
            let (key, found) = (text.to_owned(), Some(String::new()));
            return Err(Problem { place: file, key, found, expected: "key=value".to_owned() });
        };
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        self.add(Setting { key, value, file, line: 0 });
        Ok(())
    }

    /// Takes a value for a key that was not written.
    pub fn set_default(&mut self, key: &str, value: &str) {
        if self.setting(key).is_none() {
            let (key, value, file) = (key.to_owned(), value.to_owned(), "default".to_owned());
            self.add(Setting { key, value, file, line: 0 });
        }
    }

    /// Makes problems of unknown keys, which are otherwise warned about.
    pub fn refuse_unknown(&mut self) {
        self.problems.append(&mut self.unknown);
    }

    /// The static file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The setting of a key, if it was written.
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// The value of a key, if it was written and is not empty.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|setting| setting.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every setting, by key.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings.values()
    }

    /// What is odd about keys, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Keys of our own that do not exist.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn add(&mut self, mut setting: Setting) {
        if let Some(plain) = setting.key.strip_prefix("zookeeper.")
            && keys::find(plain).is_some()
        {
            let place = setting.place();
            self.warnings.push(format!("{place}: {} is read as {plain}; leave out zookeeper.", setting.key));
            setting.key = plain.to_owned();
        }
        match keys::find(&setting.key) {
            Some(Kind::Used | Kind::Tls | Kind::NoEffect | Kind::Refused { .. }) => {}
            None => self.on_unknown(&setting),
        }
        self.settings.insert(setting.key.clone(), setting);
    }

    fn on_unknown(&mut self, setting: &Setting) {
        let key = &setting.key;
        let nearest = keys::nearest(key);
        let expected = match nearest {
            Some(nearest) => format!("a key that exists, such as {nearest}"),
            None => "a key that exists".to_owned(),
        };
        let problem = setting.problem(&expected);
        if key.starts_with("quorate.") {
            self.problems.push(problem);
            return;
        }
        self.unknown.push(problem);
        let place = setting.place();
        self.warnings.push(match nearest {
            Some(nearest) => {
                format!("{place}: the key {key} is unknown and has no effect; {nearest} is known")
            }
            None => format!("{place}: the key {key} is unknown and has no effect"),
        });
    }
}

impl Setting {
    /// Where it stands: `file:line`, or `command line`.
    pub fn place(&self) -> String {
        if self.line == 0 { self.file.clone() } else { format!("{}:{}", self.file, self.line) }
    }

    /// The problem that this value is not what is expected.
    pub fn problem(&self, expected: &str) -> Problem {
        Problem {
            place: self.place(),
            key: self.key.clone(),
            found: Some(self.value.clone()),
            expected: expected.to_owned(),
        }
    }
}
