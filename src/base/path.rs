//! A path that was checked once.
//!
//! In: a string from a client. Out: a [`ZPath`], or why it is none.
//!
//! Always true:
//! * a `ZPath` passes ZooKeeper's full validation.
//!
//! Not here: the weaker checks of create and delete before their parent is looked up (`replica::prepare`).

/// An absolute path that passed ZooKeeper's full validation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZPath(String);

/// Why a string is not a path.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path:?} is not a path: {reason}")]
pub struct PathError {
    /// The string.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ZPath {
    /// Checks a string in full (specification 1, section 10.1).
    pub fn parse(path: &str) -> Result<ZPath, PathError> {
        ZPath::check(path).map(|()| ZPath(path.to_owned()))
    }

    /// The same check without the result.
    pub fn check(path: &str) -> Result<(), PathError> {
        match flaw(path) {
            None => Ok(()),
            Some(reason) => Err(PathError { path: path.to_owned(), reason }),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn flaw(path: &str) -> Option<&'static str> {
    if path == "/" {
        return None;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Some("it must start with /");
    };
    if path.ends_with('/') {
        return Some("it must not end with /");
    }
    for name in rest.split('/') {
        match name {
            "" => return Some("it has an empty component"),
            "." | ".." => return Some("it has a relative component"),
            _ if name.chars().any(is_forbidden) => return Some("it has a forbidden character"),
            _ => {}
        }
    }
    None
}

fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_without_empty_or_relative_components() {
        for path in ["/", "/a", "/a/b", "/...", "/.a", "/a.", "/..a", "/a b", "/é"] {
            assert!(ZPath::parse(path).is_ok(), "{path}");
        }
        for path in ["", "a", "/a/", "//", "/a//b", "/.", "/a/..", "/\0", "/\u{1}", "/\u{e000}", "/\u{1f600}"]
        {
            assert!(ZPath::parse(path).is_err(), "{path}");
        }
    }
}
