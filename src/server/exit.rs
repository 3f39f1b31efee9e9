//! Why a server ends, and the exit status that says so.
//!
//! In: errors of the parts. Out: one message and one exit status.
//!
//! Always true:
//! * ZooKeeper's exit statuses mean here what they mean there.
//!
//! Not here: printing the message (`server::run`).

use std::io;
use std::path::PathBuf;

use crate::base::Address;
use crate::config::Problem;
use crate::storage;

/// Why a server ends other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is refused.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// A file of the configuration cannot be read.
    #[error("read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A port cannot be listened on.
    #[error("listen on the {kind} port {at}: {source}")]
    Port {
        /// Whose port it is.
        kind: PortKind,
        /// Where.
        at: Address,
        /// The system's answer.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The disk belongs to another ensemble.
    #[error("{0}")]
    Foreign(String),
    /// A snapshot of a leader, or a file that was read whole, does not make sense.
    #[error("{0}")]
    Data(String),
    /// Something that should not happen.
    #[error("{0}")]
    Unexpected(String),
}

/// Whose port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// Clients'.
    Client,
    /// Learners'.
    Quorum,
    /// For elections.
    Election,
    /// For people and programs that look after it.
    Admin,
    /// For metrics.
    Metrics,
}

impl std::fmt::Display for PortKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PortKind::Client => "client",
            PortKind::Quorum => "quorum",
            PortKind::Election => "election",
            PortKind::Admin => "admin",
            PortKind::Metrics => "metrics",
        })
    }
}

impl Failure {
    /// The exit status (specification 6, section 1.2).
    pub fn status(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::File { .. } => 2,
            Failure::Port { kind, .. } => match kind {
                PortKind::Admin => 4,
                PortKind::Quorum | PortKind::Election => 14,
                PortKind::Client | PortKind::Metrics => 20,
            },
            Failure::Storage(error) => status_of_storage(error),
            Failure::Data(_) => 22,
            Failure::Foreign(_) => 78,
            Failure::Unexpected(_) => 1,
        }
    }
}

/// The exit status for an error of storage while it is opened.
fn status_of_storage(error: &storage::Error) -> u8 {
    match error {
        storage::Error::Io { .. }
        | storage::Error::MissingDirectory { .. }
        | storage::Error::Misplaced { .. } => 3,
        storage::Error::Refused { .. } => 2,
        storage::Error::Locked { .. } => 21,
        storage::Error::Damaged { .. }
        | storage::Error::Gap { .. }
        | storage::Error::NoSnapshot { .. }
        | storage::Error::LogWithoutSnapshot { .. }
        | storage::Error::Content { .. }
        | storage::Error::Contradiction { .. }
        | storage::Error::Outdated { .. } => 22,
    }
}

/// The exit status for a write or fsync that failed while the server ran.
pub const WRITE_FAILED: u8 = 23;
/// The exit status for a snapshot that could not be written.
pub const SNAPSHOT_FAILED: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_has_the_status_of_its_kind() {
        for (kind, status) in [
            (PortKind::Client, 20),
            (PortKind::Metrics, 20),
            (PortKind::Quorum, 14),
            (PortKind::Election, 14),
            (PortKind::Admin, 4),
        ] {
            let at = Address { host: "h".to_owned(), port: 1 };
            let failure = Failure::Port { kind, at, source: io::ErrorKind::AddrInUse.into() };
            assert_eq!(failure.status(), status, "{failure}");
        }
    }
}
