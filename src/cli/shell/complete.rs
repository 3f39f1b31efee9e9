//! What can follow what was typed: commands, their options, paths of nodes that there are.
//!
//! In: a line up to the cursor, the session. Out: where the last word begins, and what it could become.
//!
//! Always true:
//! * a completed word is read as one word, also with blanks in it;
//! * a server that does not answer soon completes nothing.
//!
//! Not here: the line editor (`terminal`).

use std::sync::Arc;
use std::time::Duration;

use super::connection::Current;
use super::forms::{FORMS, Form, Verb};

/// How long the children of a node are waited for.
const WAIT: Duration = Duration::from_secs(2);

/// What a word could become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What is shown in a list.
    pub shown: String,
    /// What the word is replaced with.
    pub text: String,
}

/// Completes with the nodes of a session.
pub struct Complete {
    current: Arc<Current>,
}

/// The word that the cursor is in.
#[derive(Debug, PartialEq, Eq)]
struct Typed<'a> {
    /// Words before it.
    before: Vec<&'a str>,
    /// Where it begins, with its quote.
    start: usize,
    /// The quote that is open.
    quote: Option<char>,
    /// What there is of it, without the quote.
    word: &'a str,
}

/// What a word is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// One of these.
    OneOf(Vec<&'static str>),
    /// A path.
    Path,
    /// Nothing that can be known.
    Free,
}

impl Complete {
    /// Completes with the nodes of whatever session there is.
    pub fn new(current: Arc<Current>) -> Complete {
        Complete { current }
    }

    /// Where the last word of a line begins, and what it could become.
    pub async fn at(&self, line: &str) -> (usize, Vec<Candidate>) {
        let typed = Typed::of(line);
        let found = match typed.place() {
            Place::Free => Vec::new(),
            Place::OneOf(words) => {
                let words = words.into_iter().filter(|one| one.starts_with(typed.word));
                words.map(|one| Candidate { shown: one.to_owned(), text: format!("{one} ") }).collect()
            }
            Place::Path => self.paths(&typed).await,
        };
        (typed.start, found)
    }

    async fn paths(&self, typed: &Typed<'_>) -> Vec<Candidate> {
        let slash = typed.word.rfind('/').unwrap_or(0);
        let parent = if slash == 0 { "/" } else { &typed.word[..slash] };
        let Some(client) = self.current.client() else { return Vec::new() };
        let listed = tokio::time::timeout(WAIT, client.list_children(parent)).await;
        typed.children(listed.map_or(Vec::new(), Result::unwrap_or_default))
    }
}

impl<'a> Typed<'a> {
    /// Finds the last word of a line, as `split` would.
    fn of(line: &'a str) -> Typed<'a> {
        let mut before = Vec::new();
        let mut start = line.len() - line.trim_start().len();
        loop {
            let rest = &line[start..];
            let first = rest.chars().next();
            let quote = first.filter(|c| matches!(c, '\'' | '"'));
            let (word, end) = match quote {
                Some(quote) => match rest[1..].find(quote) {
                    Some(length) => (&rest[1..=length], length + 2),
                    None => return Typed { before, start, quote: Some(quote), word: &rest[1..] },
                },
                None => match rest.find(char::is_whitespace) {
                    Some(length) => (&rest[..length], length),
                    None => return Typed { before, start, quote: None, word: rest },
                },
            };
            before.push(word);
            start += end + (rest[end..].len() - rest[end..].trim_start().len());
        }
    }

    fn place(&self) -> Place {
        let Some(name) = self.before.first() else {
            return Place::OneOf(FORMS.iter().map(|form| form.name).collect());
        };
        let Some(form) = FORMS.iter().find(|form| form.name == *name) else { return Place::Free };
        let last = self.before.last().and_then(|word| word.strip_prefix('-'));
        let taking = last.and_then(|option| form.option(option)).filter(|option| option.takes_value());
        match (form.verb, taking) {
            (Verb::AddWatch, Some(_)) => return Place::OneOf(vec!["PERSISTENT", "PERSISTENT_RECURSIVE"]),
            (_, Some(_)) => return Place::Free,
            (Verb::PrintWatches, None) => return Place::OneOf(vec!["on", "off"]),
            (_, None) => {}
        }
        if self.word.starts_with('-') && self.quote.is_none() {
            return Place::OneOf(form.options.iter().map(|option| option.dashed).collect());
        }
        if form.takes_path() && self.is_first_word(form) { Place::Path } else { Place::Free }
    }

    /// Whether no word but options and their values stands before this one.
    fn is_first_word(&self, form: &Form) -> bool {
        let mut is_value = false;
        self.before[1..].iter().all(|word| {
            let option = word.strip_prefix('-').and_then(|option| form.option(option));
            let is_passed = std::mem::take(&mut is_value) || word.starts_with('-');
            is_value = option.is_some_and(|option| option.takes_value());
            is_passed
        })
    }

    /// Children that go on with the word, as whole words.
    fn children(&self, mut names: Vec<String>) -> Vec<Candidate> {
        let slash = self.word.rfind('/').unwrap_or(0);
        let parent = self.word.get(..slash).unwrap_or_default();
        let begun = self.word.get(slash + 1..).unwrap_or_default();
        names.retain(|name| name.starts_with(begun));
        names.sort();
        let candidate = |name: String| {
            let path = format!("{parent}/{name}");
            let needs_quote = path.contains(char::is_whitespace);
            let quote =
                self.quote.or_else(|| needs_quote.then(|| if path.contains('"') { '\'' } else { '"' }));
            let text = match quote {
                // It stays open, so that a deeper path can follow.
                Some(quote) => format!("{quote}{path}"),
                None => path,
            };
            Candidate { shown: name, text }
        };
        names.into_iter().map(candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str, names: &[&str]) -> Vec<String> {
        let names = names.iter().map(ToString::to_string).collect();
        Typed::of(line).children(names).into_iter().map(|one| one.text).collect()
    }

    #[test]
    fn the_last_word_is_found_as_lines_are_split() {
        let typed = |line| {
            let typed = Typed::of(line);
            (typed.before, typed.start, typed.word)
        };
        assert_eq!(typed(""), (vec![], 0, ""));
        assert_eq!(typed("  g"), (vec![], 2, "g"));
        assert_eq!(typed("get -s /a/b"), (vec!["get", "-s"], 7, "/a/b"));
        assert_eq!(typed("get "), (vec!["get"], 4, ""));
        assert_eq!(typed("get '/a b' \"/c d"), (vec!["get", "/a b"], 11, "/c d"));
    }

    #[test]
    fn a_word_is_a_command_an_option_or_a_path() {
        let place = |line| Typed::of(line).place();
        let Place::OneOf(names) = place("ge") else { panic!("a command comes first") };
        assert!(names.contains(&"getAcl"));
        assert_eq!(place("stat -"), Place::OneOf(vec!["-w"]));
        assert_eq!(place("addWatch -m "), Place::OneOf(vec!["PERSISTENT", "PERSISTENT_RECURSIVE"]));
        assert_eq!(place("printwatches "), Place::OneOf(vec!["on", "off"]));
        for path in ["get ", "get -s /a", "set -v 3 /", "setquota -n 5 /", "create \"/a", "getEphemerals /"] {
            assert_eq!(place(path), Place::Path, "{path}");
        }
        for free in ["set /a ", "set -v ", "addauth ", "nonsense /", "reconfig "] {
            assert_eq!(place(free), Place::Free, "{free}");
        }
    }

    #[test]
    fn a_path_goes_on_with_children_that_fit() {
        assert_eq!(texts("get /", &["b", "a"]), ["/a", "/b"]);
        assert_eq!(texts("get ", &["a"]), ["/a"]);
        assert_eq!(texts("get /a/x", &["xy", "y", "xz"]), ["/a/xy", "/a/xz"]);
        assert_eq!(texts("get /", &["zookeeper", "größe"]), ["/größe", "/zookeeper"]);
    }

    #[test]
    fn a_path_with_blanks_is_quoted() {
        assert_eq!(texts("get /", &["a b"]), ["\"/a b"]);
        assert_eq!(texts("get /", &["a\" b"]), ["'/a\" b"]);
        assert_eq!(texts("get '/a b/", &["c"]), ["'/a b/c"]);
    }
}
