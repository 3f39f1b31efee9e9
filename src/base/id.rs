//! Identifiers: which transaction, epoch, server, session, connection or link is meant.
//!
//! In: raw integers from the wire. Out: ordered types that print as ZooKeeper's logs print them.
//!
//! Always true:
//! * order is the signed order of the wire value, as Apache ZooKeeper compares them.
//!
//! Not here: how a session id is made (`session`), how an epoch is chosen (`zab`).

use std::fmt;

/// A transaction's place in the order of all: epoch in the high 32 bits, counter in the low 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before the first transaction.
    pub const ZERO: Zxid = Zxid(0);
    /// A server whose database is empty and not trusted says this about itself; a reply without a zxid too.
    pub const NONE: Zxid = Zxid(-1);
    /// The last counter that may be used in an epoch; the next proposal needs a new epoch.
    pub const LAST_COUNTER: u32 = 0xffff_fffe;

    /// The zxid of `counter` in `epoch`.
    pub fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(i64::from(epoch.0) << 32 | i64::from(counter))
    }

    /// The epoch in the high half; a negative zxid belongs to epoch 0.
    pub fn epoch(self) -> Epoch {
        Epoch(u32::try_from(self.0 >> 32).unwrap_or(0))
    }

    /// The counter in the low half.
    pub fn counter(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// The zxid that follows in the same epoch.
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// The reign of one leader. At most 0x7fff_fffe, so that no zxid turns negative.
    Epoch(u32)
);
id!(
    /// The number N of `server.N`, which stands in the file `myid`.
    ServerId(i64)
);
id!(
    /// A client's session. Never 0 for a session that exists.
    SessionId(i64)
);
id!(
    /// A client's TCP connection, numbered by the edge; never used again in one process.
    ConnId(u64)
);
id!(
    /// A TCP connection on the quorum port, numbered by the edge; never used again in one process.
    LinkId(u64)
);

impl Epoch {
    /// The largest epoch that may be used.
    pub const MAX: Epoch = Epoch(0x7fff_fffe);

    /// The epoch that follows.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl ServerId {
    /// What an observer and a server without a vote put where a leader is proposed (`-2^63`).
    pub const NOBODY: ServerId = ServerId(i64::MIN);
}

impl SessionId {
    /// Stands for "no session": a new client, or a request made by the server itself.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zxid_is_epoch_then_counter() {
        let zxid = Zxid::new(Epoch(3), 7);
        assert_eq!(zxid.0, 0x3_0000_0007);
        assert_eq!((zxid.epoch(), zxid.counter()), (Epoch(3), 7));
        assert_eq!(zxid.next(), Zxid::new(Epoch(3), 8));
        assert_eq!(zxid.to_string(), "0x300000007");
        assert_eq!(Zxid::NONE.epoch(), Epoch(0));
    }
}
