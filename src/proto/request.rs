//! `Request`: one variant for each operation.
//!
//! In: the operation code and the bytes after a request header. Out: a [`Request`], or how the server must answer
//! what cannot be read.
//!
//! Always true:
//! * every operation that clients may ask for is read here, whether or not this server does it;
//! * operations that only servers ask for are unknown here, also where Apache ZooKeeper would take them.
//!
//! Not here: whether paths, flags, versions and ACLs make sense (`replica::prepare`).

use bytes::Bytes;

use super::multi::{self, MultiOp, ReadOp};
use super::op::Op;
use super::record::Acl;
use crate::base::Zxid;
use crate::base::wire::{DecodeError, Reader};

/// A decoded request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// 1: create, answered with the path.
    Create(CreateRequest),
    /// 15: create, answered with path and stat.
    Create2(CreateRequest),
    /// 19: create a container.
    CreateContainer(CreateRequest),
    /// 21: create a node with a time to live.
    CreateTtl(CreateRequest),
    /// 2: delete a node.
    Delete {
        /// The node; `None` is null.
        path: Option<String>,
        /// The version expected; -1 for any.
        version: i32,
    },
    /// 3: stat of a node.
    Exists(ReadRequest),
    /// 4: data and stat.
    GetData(ReadRequest),
    /// 5: replace the data.
    SetData {
        /// The node; `None` is null.
        path: Option<String>,
        /// The data; null and empty differ.
        data: Option<Bytes>,
        /// The version expected; -1 for any.
        version: i32,
    },
    /// 6: ACL and stat.
    GetAcl {
        /// The node; `None` is null.
        path: Option<String>,
    },
    /// 7: replace the ACL.
    SetAcl {
        /// The node; `None` is null.
        path: Option<String>,
        /// The list; `None` is null.
        acl: Option<Vec<Acl>>,
        /// The ACL version expected; -1 for any.
        version: i32,
    },
    /// 8: names of the children.
    GetChildren(ReadRequest),
    /// 12: names of the children, and stat.
    GetChildren2(ReadRequest),
    /// 9: wait until this server has caught up.
    Sync {
        /// Echoed.
        path: Option<String>,
    },
    /// 11: keep the session alive.
    Ping,
    /// 14: several writes, all or nothing.
    Multi(Vec<MultiOp>),
    /// 22: several reads of one state.
    MultiRead(Vec<ReadOp>),
    /// 16: change the membership.
    Reconfig(ReconfigRequest),
    /// 17: is there such a watch.
    CheckWatches(WatcherRequest),
    /// 18: remove watches.
    RemoveWatches(WatcherRequest),
    /// 100: add an identity.
    Auth {
        /// The scheme; `None` is null.
        scheme: Option<String>,
        /// The credential; `None` is null.
        auth: Option<Bytes>,
    },
    /// 101: register one-shot watches again.
    SetWatches(SetWatchesRequest),
    /// 105: register watches of every mode again.
    SetWatches2(SetWatchesRequest),
    /// 102: one step of a SASL exchange.
    Sasl {
        /// The client's token.
        token: Bytes,
    },
    /// 103: ephemeral nodes of this session.
    GetEphemerals {
        /// Plain string prefix; `None` is null and means all.
        prefix: Option<String>,
    },
    /// 104: how many descendants.
    GetAllChildrenNumber {
        /// The node; `None` is null.
        path: Option<String>,
    },
    /// 106: register a persistent watch.
    AddWatch {
        /// The path; `None` is null.
        path: Option<String>,
        /// Its mode.
        mode: AddWatchMode,
    },
    /// 107: the connection's identities.
    WhoAmI,
    /// -11: close the session.
    CloseSession,
}

/// The body of the four creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest {
    /// The path, before a sequence number; `None` is null.
    pub path: Option<String>,
    /// The data; null and empty differ.
    pub data: Option<Bytes>,
    /// The list; `None` is null.
    pub acl: Option<Vec<Acl>>,
    /// As sent; [`CreateMode::from_flags`] gives their meaning.
    pub flags: i32,
    /// The time to live in ms as sent with op 21; -1 for the others.
    pub ttl: i64,
}

/// The body of reads that may leave a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The node; `None` is null.
    pub path: Option<String>,
    /// Whether a one-shot watch is asked for.
    pub watch: bool,
}

/// The body of checkWatches and removeWatches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatcherRequest {
    /// The path of the registration; `None` is null.
    pub path: Option<String>,
    /// Which registrations are meant.
    pub kind: WatcherKind,
}

/// The body of setWatches and setWatches2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetWatchesRequest {
    /// What the client has seen: later changes fire at once.
    pub relative_zxid: Zxid,
    /// Watches left by getData, and by exists on a node that was there; `None` is null.
    pub data: Option<Vec<String>>,
    /// Watches left by exists on a missing node; `None` is null.
    pub exist: Option<Vec<String>>,
    /// Watches left by getChildren; `None` is null.
    pub child: Option<Vec<String>>,
    /// Persistent watches; empty for setWatches, `None` is null.
    pub persistent: Option<Vec<String>>,
    /// Persistent recursive watches; empty for setWatches, `None` is null.
    pub recursive: Option<Vec<String>>,
}

/// The body of reconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconfigRequest {
    /// Servers that join or change, incrementally.
    pub joining: Option<String>,
    /// Ids that leave, incrementally.
    pub leaving: Option<String>,
    /// The whole membership, instead of the two others.
    pub members: Option<String>,
    /// The configuration's version expected; -1 for any.
    pub config_id: i64,
}

/// Which registrations checkWatches and removeWatches mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum WatcherKind {
    /// One-shot watches on children.
    Children = 1,
    /// One-shot watches on data.
    Data = 2,
    /// Every watch.
    Any = 3,
    /// Persistent watches.
    Persistent = 4,
    /// Persistent recursive watches.
    PersistentRecursive = 5,
}

/// How an added watch behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AddWatchMode {
    /// It stays when it fires.
    Persistent = 0,
    /// It stays, and covers everything below its path.
    PersistentRecursive = 1,
}

/// What the flags of a create mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// 0.
    Persistent,
    /// 1.
    Ephemeral,
    /// 2.
    PersistentSequential,
    /// 3.
    EphemeralSequential,
    /// 4.
    Container,
    /// 5.
    Ttl,
    /// 6.
    TtlSequential,
}

/// Why a request could not be read, by how it is answered.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Answered with -6 and zxid -1, then the connection is closed.
    #[error("operation {0} is unknown")]
    UnknownOp(i32),
    /// Answered with -5; the connection stays.
    #[error("operation {op:?} cannot be read: {source}")]
    Body {
        /// The operation.
        op: Op,
        /// What is wrong with its body.
        source: DecodeError,
    },
    /// The connection is closed without an answer: no header, or a broken auth or SASL packet.
    #[error("frame cannot be read: {0}")]
    Frame(#[from] DecodeError),
}

/// What stands before every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The client's number for the request; echoed.
    pub xid: i32,
    /// The operation code as sent.
    pub op: i32,
}

impl RequestHeader {
    /// Takes the header off a frame; what is left is the body.
    pub fn decode(frame: &mut Bytes) -> Result<RequestHeader, DecodeError> {
        let mut reader = Reader::new(frame.clone());
        let header = RequestHeader { xid: reader.i32("xid")?, op: reader.i32("type")? };
        *frame = reader.rest();
        Ok(header)
    }
}

impl CreateMode {
    /// The meaning of flags; `None` for those without one.
    pub fn from_flags(flags: i32) -> Option<CreateMode> {
        Some(match flags {
            0 => CreateMode::Persistent,
            1 => CreateMode::Ephemeral,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::Ttl,
            6 => CreateMode::TtlSequential,
            _ => return None,
        })
    }

    /// Whether the node goes with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }

    /// Whether the path gets a number.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential | CreateMode::EphemeralSequential | CreateMode::TtlSequential
        )
    }

    /// Whether the node has a time to live.
    pub fn is_ttl(self) -> bool {
        matches!(self, CreateMode::Ttl | CreateMode::TtlSequential)
    }
}

impl Request {
    /// Reads the body of operation `op`. Bytes after the body are ignored.
    pub fn decode(op: i32, body: Bytes) -> Result<Request, RequestError> {
        let Some(op) = Op::from_wire(op) else {
            return Err(RequestError::UnknownOp(op));
        };
        let reader = &mut Reader::new(body);
        let request = match op {
            Op::Auth | Op::Sasl => return Ok(decode_connection(op, reader)?),
            Op::CreateSession | Op::Error | Op::Check | Op::DeleteContainer => {
                return Err(RequestError::UnknownOp(op.as_wire()));
            }
            Op::Create => create(reader).map(Request::Create),
            Op::Create2 => create(reader).map(Request::Create2),
            Op::CreateContainer => create(reader).map(Request::CreateContainer),
            Op::CreateTtl => create_ttl(reader).map(Request::CreateTtl),
            Op::Delete => path_version(reader).map(|(path, version)| Request::Delete { path, version }),
            Op::SetData => {
                set_data(reader).map(|(path, data, version)| Request::SetData { path, data, version })
            }
            Op::SetAcl => set_acl(reader),
            Op::Exists => read(reader).map(Request::Exists),
            Op::GetData => read(reader).map(Request::GetData),
            Op::GetChildren => read(reader).map(Request::GetChildren),
            Op::GetChildren2 => read(reader).map(Request::GetChildren2),
            Op::GetAcl => reader.string("path").map(|path| Request::GetAcl { path }),
            Op::Sync => reader.string("path").map(|path| Request::Sync { path }),
            Op::GetEphemerals => reader.string("prefixPath").map(|prefix| Request::GetEphemerals { prefix }),
            Op::GetAllChildrenNumber => {
                reader.string("path").map(|path| Request::GetAllChildrenNumber { path })
            }
            Op::Ping => Ok(Request::Ping),
            Op::WhoAmI => Ok(Request::WhoAmI),
            Op::CloseSession => Ok(Request::CloseSession),
            Op::Multi => multi::decode(reader).map(Request::Multi),
            Op::MultiRead => multi::decode_reads(reader).map(Request::MultiRead),
            Op::Reconfig => reconfig(reader).map(Request::Reconfig),
            Op::CheckWatches => watcher(reader).map(Request::CheckWatches),
            Op::RemoveWatches => watcher(reader).map(Request::RemoveWatches),
            Op::SetWatches => set_watches(reader).map(Request::SetWatches),
            Op::SetWatches2 => set_watches_2(reader).map(Request::SetWatches2),
            Op::AddWatch => add_watch(reader),
        };
        request.map_err(|source| RequestError::Body { op, source })
    }

    /// The operation that this is a request for.
    pub fn op(&self) -> Op {
        match self {
            Request::Create(_) => Op::Create,
            Request::Create2(_) => Op::Create2,
            Request::CreateContainer(_) => Op::CreateContainer,
            Request::CreateTtl(_) => Op::CreateTtl,
            Request::Delete { .. } => Op::Delete,
            Request::Exists(_) => Op::Exists,
            Request::GetData(_) => Op::GetData,
            Request::SetData { .. } => Op::SetData,
            Request::GetAcl { .. } => Op::GetAcl,
            Request::SetAcl { .. } => Op::SetAcl,
            Request::GetChildren(_) => Op::GetChildren,
            Request::GetChildren2(_) => Op::GetChildren2,
            Request::Sync { .. } => Op::Sync,
            Request::Ping => Op::Ping,
            Request::Multi(_) => Op::Multi,
            Request::MultiRead(_) => Op::MultiRead,
            Request::Reconfig(_) => Op::Reconfig,
            Request::CheckWatches(_) => Op::CheckWatches,
            Request::RemoveWatches(_) => Op::RemoveWatches,
            Request::Auth { .. } => Op::Auth,
            Request::SetWatches(_) => Op::SetWatches,
            Request::SetWatches2(_) => Op::SetWatches2,
            Request::Sasl { .. } => Op::Sasl,
            Request::GetEphemerals { .. } => Op::GetEphemerals,
            Request::GetAllChildrenNumber { .. } => Op::GetAllChildrenNumber,
            Request::AddWatch { .. } => Op::AddWatch,
            Request::WhoAmI => Op::WhoAmI,
            Request::CloseSession => Op::CloseSession,
        }
    }
}

fn decode_connection(op: Op, reader: &mut Reader) -> Result<Request, DecodeError> {
    if op == Op::Sasl {
        let token = reader.buffer("token")?.ok_or(DecodeError::Null { field: "token" })?;
        return Ok(Request::Sasl { token });
    }
    // The packet's type is ignored.
    reader.i32("auth type")?;
    Ok(Request::Auth { scheme: reader.string("scheme")?, auth: reader.buffer("auth")? })
}

pub(super) fn create(reader: &mut Reader) -> Result<CreateRequest, DecodeError> {
    Ok(CreateRequest {
        path: reader.string("path")?,
        data: reader.buffer("data")?,
        acl: Acl::decode_list(reader)?,
        flags: reader.i32("flags")?,
        ttl: -1,
    })
}

pub(super) fn create_ttl(reader: &mut Reader) -> Result<CreateRequest, DecodeError> {
    let request = create(reader)?;
    Ok(CreateRequest { ttl: reader.i64("ttl")?, ..request })
}

pub(super) fn path_version(reader: &mut Reader) -> Result<(Option<String>, i32), DecodeError> {
    Ok((reader.string("path")?, reader.i32("version")?))
}

/// Path, data and version.
pub(super) type SetDataFields = (Option<String>, Option<Bytes>, i32);

pub(super) fn set_data(reader: &mut Reader) -> Result<SetDataFields, DecodeError> {
    Ok((reader.string("path")?, reader.buffer("data")?, reader.i32("version")?))
}

fn set_acl(reader: &mut Reader) -> Result<Request, DecodeError> {
    Ok(Request::SetAcl {
        path: reader.string("path")?,
        acl: Acl::decode_list(reader)?,
        version: reader.i32("version")?,
    })
}

pub(super) fn read(reader: &mut Reader) -> Result<ReadRequest, DecodeError> {
    Ok(ReadRequest { path: reader.string("path")?, watch: reader.bool("watch")? })
}

fn reconfig(reader: &mut Reader) -> Result<ReconfigRequest, DecodeError> {
    Ok(ReconfigRequest {
        joining: reader.string("joiningServers")?,
        leaving: reader.string("leavingServers")?,
        members: reader.string("newMembers")?,
        config_id: reader.i64("curConfigId")?,
    })
}

fn watcher(reader: &mut Reader) -> Result<WatcherRequest, DecodeError> {
    let path = reader.string("path")?;
    let kind = match reader.i32("watcher type")? {
        1 => WatcherKind::Children,
        2 => WatcherKind::Data,
        3 => WatcherKind::Any,
        4 => WatcherKind::Persistent,
        5 => WatcherKind::PersistentRecursive,
        value => return Err(DecodeError::Unknown { field: "watcher type", value: i64::from(value) }),
    };
    Ok(WatcherRequest { path, kind })
}

fn add_watch(reader: &mut Reader) -> Result<Request, DecodeError> {
    let path = reader.string("path")?;
    let mode = match reader.i32("watch mode")? {
        0 => AddWatchMode::Persistent,
        1 => AddWatchMode::PersistentRecursive,
        value => return Err(DecodeError::Unknown { field: "watch mode", value: i64::from(value) }),
    };
    Ok(Request::AddWatch { path, mode })
}

fn set_watches(reader: &mut Reader) -> Result<SetWatchesRequest, DecodeError> {
    Ok(SetWatchesRequest {
        relative_zxid: Zxid(reader.i64("relativeZxid")?),
        data: paths(reader, "dataWatches")?,
        exist: paths(reader, "existWatches")?,
        child: paths(reader, "childWatches")?,
        persistent: Some(Vec::new()),
        recursive: Some(Vec::new()),
    })
}

fn set_watches_2(reader: &mut Reader) -> Result<SetWatchesRequest, DecodeError> {
    let request = set_watches(reader)?;
    Ok(SetWatchesRequest {
        persistent: paths(reader, "persistentWatches")?,
        recursive: paths(reader, "persistentRecursiveWatches")?,
        ..request
    })
}

fn paths(reader: &mut Reader, field: &'static str) -> Result<Option<Vec<String>>, DecodeError> {
    let Some(count) = reader.count(field, 4)? else { return Ok(None) };
    (0..count)
        .map(|_| reader.string(field)?.ok_or(DecodeError::Null { field }))
        .collect::<Result<_, _>>()
        .map(Some)
}

#[cfg(test)]
mod tests;
