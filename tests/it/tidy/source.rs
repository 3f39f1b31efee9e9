//! The files that the tidy rules look at: their text, their functions, where their tests begin.
//!
//! In: what git lists. Out: [`Source`]s.
//!
//! Always true:
//! * a file that is not committed yet is seen too; one that git ignores is not.
//!
//! Not here: the rules (`tidy`).

use std::fs;
use std::path::Path;
use std::process::Command;

/// One file of the project.
pub struct Source {
    /// From the top level, with `/`.
    pub path: String,
    /// The whole text; files that are not text are left out.
    pub text: String,
}

/// Which part of a file a line belongs to.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    Code,
    Tests,
}

/// What a rule found.
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl Source {
    /// The module right below the root, `main` or `lib`; `None` outside of `src`.
    pub fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        inside.split('/').next().map(|first| first.trim_end_matches(".rs"))
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is a file of the library that holds nothing but tests.
    pub fn is_tests(&self) -> bool {
        self.path.starts_with("src/") && (self.path.ends_with("tests.rs") || self.path.contains("/tests/"))
    }

    /// Lines with their number from 1, without comments, and the part they belong to.
    pub fn code(&self) -> Vec<(usize, &str, Part)> {
        let start =
            if !self.path.starts_with("src/") || self.is_tests() { 0 } else { self.lines_before_tests() };
        let lines = self.text.lines().enumerate();
        lines
            .map(|(at, line)| {
                (at + 1, without_comment(line), if at >= start { Part::Tests } else { Part::Code })
            })
            .collect()
    }

    pub fn lines_before_tests(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && (pair[1].starts_with("mod ") || pair[1].starts_with("#["))
        });
        tests.unwrap_or(lines.len())
    }

    pub fn violation(&self, line: usize, what: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, what: what.into() }
    }
}

/// The line up to a `//` that stands outside of a string.
fn without_comment(line: &str) -> &str {
    let bytes = line.as_bytes();
    let mut quoted = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' if at == 0 || bytes[at - 1] != b'\'' => quoted = !quoted,
            b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => return &line[..at],
            _ => {}
        }
        at += 1;
    }
    line
}

/// Every function: the line of its `fn`, its name, its signature, and its length in lines.
pub fn functions(source: &Source) -> Vec<(usize, String, String, usize)> {
    let lines: Vec<&str> = source.text.lines().map(without_comment).map(str::trim_end).collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else { continue };
        let words = before.trim_start();
        let is_item = words
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["const", "async", "unsafe"].contains(&word));
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !is_item || name.is_empty() {
            continue;
        }
        let ends = |line: &&str| line.ends_with('{') || line.ends_with(';') || line.ends_with('}');
        let body = lines[start..].iter().position(ends).map_or(start, |offset| start + offset);
        let indent = &before[..before.len() - words.len()];
        let close = format!("{indent}}}");
        let end = match lines[body].ends_with('{') {
            true => lines[body..].iter().position(|line| *line == close).map_or(body, |offset| body + offset),
            false => body,
        };
        found.push((start + 1, name, lines[start..=body].join(" "), end - start + 1));
    }
    found
}

/// Every text file that git knows or would add.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git runs");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let names = String::from_utf8(listing.stdout).expect("paths are UTF-8");
    let paths = names.split('\0').filter(|path| !path.is_empty());
    let read =
        |path: &str| Some(Source { path: path.to_owned(), text: fs::read_to_string(root.join(path)).ok()? });
    paths.filter_map(read).collect()
}
