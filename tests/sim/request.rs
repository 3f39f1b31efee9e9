//! What clients ask for, and its bytes.
//!
//! In: a request as a value. Out: its frame, and what must be known of it to judge its reply.
//!
//! Always true:
//! * every operation of the client protocol is there.
//!
//! Not here: which answers are right (`oracle`), who asks for what (`workload`).

use bytes::Bytes;
use quorate::base::Zxid;
use quorate::base::wire::Writer;

use crate::acl::{List, User};
use crate::wire::{self, op};

/// The flags of create.
pub mod flags {
    /// It goes with its session.
    pub const EPHEMERAL: i32 = 1;
    /// A number is added to its name.
    pub const SEQUENTIAL: i32 = 2;
    /// It goes with its last child.
    pub const CONTAINER: i32 = 4;
    /// It has a time to live.
    pub const TTL: i32 = 5;
    /// It has a time to live, and a number is added to its name.
    pub const SEQUENTIAL_TTL: i32 = 6;
}

/// The version that fits any.
pub const ANY: i32 = -1;

/// A node to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The operation: one of four.
    pub op: i32,
    /// Where; a sequence number may be added.
    pub path: String,
    /// What it holds.
    pub data: Bytes,
    /// Who may do what.
    pub acl: List,
    /// As on the wire.
    pub flags: i32,
    /// In ms; only createTTL has it.
    pub ttl_ms: i64,
}

impl Create {
    /// An open node by the first of the operations, or the one that the flags need.
    pub fn open(path: impl Into<String>, data: Bytes, flags: i32) -> Create {
        let op = match flags {
            flags::CONTAINER => op::CREATE_CONTAINER,
            flags::TTL | flags::SEQUENTIAL_TTL => op::CREATE_TTL,
            _ => op::CREATE,
        };
        Create { op, path: path.into(), data, acl: List::Open, flags, ttl_ms: -1 }
    }

    /// Whether the node goes with its session.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.flags, flags::EPHEMERAL | 3)
    }

    /// Whether a number is added.
    pub fn is_sequential(&self) -> bool {
        matches!(self.flags, flags::SEQUENTIAL | 3 | flags::SEQUENTIAL_TTL)
    }

    /// Whether the reply tells the stat.
    pub fn answers_with_stat(&self) -> bool {
        self.op != op::CREATE
    }
}

/// What addWatch registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddMode {
    /// On this path, for ever.
    Persistent,
    /// On this path and everything below, for ever.
    Recursive,
}

/// Which watches checkWatches and removeWatches mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// Those of a list of children.
    Children = 1,
    /// Those of data.
    Data = 2,
    /// All.
    Any = 3,
    /// Those of addWatch.
    Persistent = 4,
    /// The recursive ones.
    Recursive = 5,
}

/// What a client asks for, as far as the oracle must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Replaces a node's data; the version that it must have, -1 for any.
    Set {
        /// Where.
        path: String,
        /// A value that is used once.
        data: Bytes,
        /// What version it must have.
        expected: i32,
    },
    /// Replaces a node's ACL.
    SetAcl {
        /// Where.
        path: String,
        /// Who may do what.
        acl: List,
        /// What version the ACL must have.
        expected: i32,
    },
    /// Creates a node.
    Create(Create),
    /// Removes a node.
    Delete {
        /// Where.
        path: String,
        /// What version it must have; -1 for any.
        expected: i32,
    },
    /// Checks a node's version. Outside of a multi it is refused, and costs the connection.
    Check {
        /// Where.
        path: String,
        /// What version it must have.
        expected: i32,
    },
    /// Several of those before, or nothing.
    Multi(Vec<Request>),
    /// Changes the membership.
    Reconfig {
        /// Lines of servers to add or replace.
        joining: String,
        /// Ids of servers to remove.
        leaving: String,
    },
    /// Reads a node.
    Get {
        /// Where.
        path: String,
        /// Whether to be told of its next change.
        watch: bool,
    },
    /// Looks whether a node exists.
    Exists {
        /// Where.
        path: String,
        /// Whether to be told of its next change.
        watch: bool,
    },
    /// Lists the children of a node.
    Children {
        /// The operation: one of two.
        op: i32,
        /// Where.
        path: String,
        /// Whether to be told of their next change.
        watch: bool,
    },
    /// Several reads of data and children at once.
    MultiRead(Vec<Request>),
    /// Reads a node's ACL.
    GetAcl {
        /// Where.
        path: String,
    },
    /// Lists the session's ephemeral nodes.
    Ephemerals {
        /// How their paths begin.
        prefix: String,
    },
    /// Counts everything below a node.
    Count {
        /// Where.
        path: String,
    },
    /// Registers a watch that stays.
    AddWatch {
        /// Where.
        path: String,
        /// What it covers.
        mode: AddMode,
    },
    /// Asks whether there is such a watch.
    CheckWatches {
        /// Where.
        path: String,
        /// Of which kind.
        kind: WatchKind,
    },
    /// Removes watches.
    RemoveWatches {
        /// Where.
        path: String,
        /// Of which kind.
        kind: WatchKind,
    },
    /// Registers watches again, on another connection: the paths of each list.
    SetWatches {
        /// What the client had seen.
        seen: Zxid,
        /// Watches of data, of nodes that were not there, of children; persistent and recursive ones.
        lists: [Vec<String>; 5],
    },
    /// Asks who it is.
    WhoAmI,
    /// Begins an authentication that these servers do not have.
    Sasl,
    /// Waits until this server has seen all that was committed before.
    Sync,
    /// Adds an identity to the connection.
    Auth(User),
    /// Nothing: keeps the session alive.
    Ping,
    /// Ends the session.
    Close,
}

impl Request {
    /// Whether it gets a zxid of its own.
    pub fn is_write(&self) -> bool {
        match self {
            Request::Set { .. }
            | Request::SetAcl { .. }
            | Request::Create(_)
            | Request::Delete { .. }
            | Request::Multi(_)
            | Request::Reconfig { .. }
            | Request::Close => true,
            Request::Get { .. }
            | Request::Check { .. }
            | Request::Exists { .. }
            | Request::Children { .. }
            | Request::MultiRead(_)
            | Request::GetAcl { .. }
            | Request::Ephemerals { .. }
            | Request::Count { .. }
            | Request::AddWatch { .. }
            | Request::CheckWatches { .. }
            | Request::RemoveWatches { .. }
            | Request::SetWatches { .. }
            | Request::WhoAmI
            | Request::Sasl
            | Request::Sync
            | Request::Auth(_)
            | Request::Ping => false,
        }
    }

    /// Whether its reply tells of a state of the tree.
    pub fn tells_of_state(&self) -> bool {
        !matches!(self, Request::Auth(_) | Request::Sasl | Request::Check { .. })
    }

    /// Whether it creates an ephemeral node, also in a multi.
    pub fn wants_ephemeral(&self) -> bool {
        match self {
            Request::Create(create) => create.is_ephemeral(),
            Request::Multi(parts) => parts.iter().any(Request::wants_ephemeral),
            _ => false,
        }
    }

    /// The operation code.
    pub fn op(&self) -> i32 {
        match self {
            Request::Set { .. } => op::SET_DATA,
            Request::SetAcl { .. } => op::SET_ACL,
            Request::Create(create) => create.op,
            Request::Delete { .. } => op::DELETE,
            Request::Check { .. } => op::CHECK,
            Request::Multi(_) => op::MULTI,
            Request::Reconfig { .. } => op::RECONFIG,
            Request::Get { .. } => op::GET_DATA,
            Request::Exists { .. } => op::EXISTS,
            Request::Children { op, .. } => *op,
            Request::MultiRead(_) => op::MULTI_READ,
            Request::GetAcl { .. } => op::GET_ACL,
            Request::Ephemerals { .. } => op::GET_EPHEMERALS,
            Request::Count { .. } => op::GET_ALL_CHILDREN_NUMBER,
            Request::AddWatch { .. } => op::ADD_WATCH,
            Request::CheckWatches { .. } => op::CHECK_WATCHES,
            Request::RemoveWatches { .. } => op::REMOVE_WATCHES,
            // The older operation has three lists only.
            Request::SetWatches { lists, .. } if lists[3..].iter().all(Vec::is_empty) => op::SET_WATCHES,
            Request::SetWatches { .. } => op::SET_WATCHES2,
            Request::WhoAmI => op::WHO_AM_I,
            Request::Sasl => op::SASL,
            Request::Sync => op::SYNC,
            Request::Auth(_) => op::AUTH,
            Request::Ping => op::PING,
            Request::Close => op::CLOSE_SESSION,
        }
    }

    /// The frame.
    pub fn encode(&self, xid: i32) -> Bytes {
        let mut body = wire::header(xid, self.op());
        self.put(&mut body);
        wire::frame(body)
    }

    fn put(&self, body: &mut Writer) {
        match self {
            Request::Set { path, data, expected } => {
                body.string(path).buffer(Some(data)).i32(*expected);
            }
            Request::SetAcl { path, acl, expected } => {
                body.string(path);
                wire::put_acl(body, &acl.entries());
                body.i32(*expected);
            }
            Request::Create(create) => {
                body.string(&create.path).buffer(Some(&create.data));
                wire::put_acl(body, &create.acl.entries());
                body.i32(create.flags);
                if create.op == op::CREATE_TTL {
                    body.i64(create.ttl_ms);
                }
            }
            Request::Delete { path, expected } | Request::Check { path, expected } => {
                body.string(path).i32(*expected);
            }
            Request::Multi(parts) | Request::MultiRead(parts) => {
                for part in parts {
                    body.i32(part.op()).bool(false).i32(-1);
                    part.put(body);
                }
                body.i32(-1).bool(true).i32(-1);
            }
            Request::Reconfig { joining, leaving } => {
                body.string(joining).string(leaving).i32(-1).i64(-1);
            }
            Request::Get { path, watch }
            | Request::Exists { path, watch }
            | Request::Children { path, watch, .. } => {
                body.string(path).bool(*watch);
            }
            Request::GetAcl { path } | Request::Ephemerals { prefix: path } | Request::Count { path } => {
                body.string(path);
            }
            Request::AddWatch { path, mode } => {
                body.string(path).i32(*mode as i32);
            }
            Request::CheckWatches { path, kind } | Request::RemoveWatches { path, kind } => {
                body.string(path).i32(*kind as i32);
            }
            Request::SetWatches { seen, lists } => {
                body.i64(seen.0);
                let count = if self.op() == op::SET_WATCHES { 3 } else { 5 };
                for list in &lists[..count] {
                    body.count(list.len());
                    for path in list {
                        body.string(path);
                    }
                }
            }
            Request::Sasl => {
                body.buffer(Some(&[]));
            }
            Request::Sync => {
                body.string("/");
            }
            Request::Auth(user) => {
                body.i32(0).string("digest").buffer(Some(user.credential().as_bytes()));
            }
            Request::WhoAmI | Request::Ping | Request::Close => {}
        }
    }
}
