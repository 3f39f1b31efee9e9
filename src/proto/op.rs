//! Operation codes.
//!
//! In and out: the numbers of request headers, txn headers and multi headers.
//!
//! Always true:
//! * a number that is not in the table is no [`Op`].
//!
//! Not here: which operations a client may ask for (`request`).

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// What is asked for, or what a txn does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum Op {
            $($(#[$doc])* $name = $code),*
        }

        impl Op {
            /// Every operation, for tables and tests.
            pub const ALL: &[Op] = &[$(Op::$name),*];

            /// The operation of a number of the wire; `None` if there is none.
            pub fn from_wire(code: i32) -> Option<Op> {
                match code {
                    $($code => Some(Op::$name),)*
                    _ => None,
                }
            }
        }
    };
}

ops! {
    /// Ends a session; in a txn it also lists the ephemeral nodes that go.
    CloseSession = -11,
    /// Opens a session; only between servers and in txns.
    CreateSession = -10,
    /// A failed write; only in txns and in the results of a multi.
    Error = -1,
    /// Creates a node and answers with its path.
    Create = 1,
    /// Deletes a node.
    Delete = 2,
    /// Stat of a node, and a watch that also waits for its creation.
    Exists = 3,
    /// Data and stat.
    GetData = 4,
    /// Replaces the data.
    SetData = 5,
    /// ACL and stat.
    GetAcl = 6,
    /// Replaces the ACL.
    SetAcl = 7,
    /// Names of the children.
    GetChildren = 8,
    /// Waits until this server has caught up with its leader.
    Sync = 9,
    /// Keeps a session alive.
    Ping = 11,
    /// Names of the children, and stat.
    GetChildren2 = 12,
    /// Checks a version; only inside a multi.
    Check = 13,
    /// Several writes, all or nothing.
    Multi = 14,
    /// Creates a node and answers with its path and stat.
    Create2 = 15,
    /// Changes the membership of the ensemble.
    Reconfig = 16,
    /// Asks whether a watch is registered.
    CheckWatches = 17,
    /// Removes watches.
    RemoveWatches = 18,
    /// Creates a node that goes once its last child went.
    CreateContainer = 19,
    /// Deletes an empty container or an expired TTL node; only by the server itself.
    DeleteContainer = 20,
    /// Creates a node that goes when it was not modified for a while.
    CreateTtl = 21,
    /// Several reads of one state.
    MultiRead = 22,
    /// Adds an identity to a connection.
    Auth = 100,
    /// Registers one-shot watches again after a reconnect.
    SetWatches = 101,
    /// One step of a SASL exchange.
    Sasl = 102,
    /// The ephemeral nodes of the calling session.
    GetEphemerals = 103,
    /// How many descendants a node has.
    GetAllChildrenNumber = 104,
    /// Registers watches of every mode again after a reconnect.
    SetWatches2 = 105,
    /// Registers a persistent watch.
    AddWatch = 106,
    /// The connection's identities.
    WhoAmI = 107,
}

impl Op {
    /// The number on the wire.
    pub fn as_wire(self) -> i32 {
        self as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_is_found_by_its_number_and_no_other_is() {
        for op in Op::ALL {
            assert_eq!(Op::from_wire(op.as_wire()), Some(*op));
        }
        for code in [0, 10, 23, 99, 108, -2, i32::MIN] {
            assert_eq!(Op::from_wire(code), None);
        }
    }
}
