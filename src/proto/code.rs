//! Error codes, and when each is used.
//!
//! In and out: the numbers of the wire.
//!
//! Always true:
//! * only codes that clients know: the Java client throws on one that it does not.
//!
//! Not here: codes that only a client's library uses.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// Why a request failed, as clients are told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $code),*
        }

        impl ErrorCode {
            /// Every code, for tables and tests.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];
        }
    };
}

codes! {
    /// Stands for an exception in the leader's pipeline; only seen in txns of Apache leaders.
    SystemError = -1,
    /// An operation of a multi after the one that failed.
    RuntimeInconsistency = -2,
    /// The request's bytes cannot be read.
    MarshallingError = -5,
    /// Unknown operation, or one that this server does not do.
    Unimplemented = -6,
    /// Bad path, flags, TTL or reconfig argument.
    BadArguments = -8,
    /// The session vanished while the request was under way.
    UnknownSession = -12,
    /// A reconfig whose new quorum is not connected and level.
    NewConfigNoQuorum = -13,
    /// Another reconfig is under way.
    ReconfigInProgress = -14,
    /// Marks the range of errors that an application can cause; only seen in txns of Apache leaders.
    ApiError = -100,
    /// The node, or the parent of a new one, does not exist.
    NoNode = -101,
    /// The connection's identities do not allow it.
    NoAuth = -102,
    /// The version given is not the current one.
    BadVersion = -103,
    /// An ephemeral node cannot have children.
    NoChildrenForEphemerals = -108,
    /// The node exists.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session is closing or unknown.
    SessionExpired = -112,
    /// An ACL list that is empty, or that has an entry which no scheme accepts.
    InvalidAcl = -114,
    /// Authentication failed; the connection is closed after it.
    AuthFailed = -115,
    /// The session has moved to another server; never sent, the connection is closed.
    SessionMoved = -118,
    /// A write on a read-only server.
    NotReadOnly = -119,
    /// An ephemeral node of a session that is local to its server.
    EphemeralOnLocalSession = -120,
    /// There is no such watch.
    NoWatcher = -121,
    /// Reconfig is switched off.
    ReconfigDisabled = -123,
    /// Authentication is required; the connection is closed after it.
    SessionClosedRequireSaslAuth = -124,
    /// A hard quota would be exceeded.
    QuotaExceeded = -125,
    /// The request waited too long before the pipeline.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// The number on the wire; always negative.
    pub fn as_wire(self) -> i32 {
        self as i32
    }

    /// The code of a number of the wire; `None` for 0 and for what is not in the table.
    pub fn from_wire(code: i32) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|known| known.as_wire() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_negative_and_found_by_its_number() {
        for code in ErrorCode::ALL {
            assert!(code.as_wire() < 0);
            assert_eq!(ErrorCode::from_wire(code.as_wire()), Some(*code));
        }
        assert_eq!(ErrorCode::from_wire(0), None);
        assert_eq!(ErrorCode::from_wire(-113), None);
    }
}
