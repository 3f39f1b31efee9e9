//! What the operating system allows this process.
//!
//! In and out: nothing.
//!
//! Always true:
//! * nothing is lowered.
//!
//! Not here: limits of the settings (`config`).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Allows as many open files as the process may have: each connection is one, and many systems begin with 1,024.
///
/// A JVM does the same at its start. Where it is refused, the limit stays as it was.
pub fn raise_open_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        eprintln!("quorate: the limit of open files stays at {soft}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_are_allowed() {
        raise_open_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
