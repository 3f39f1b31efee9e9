//! The client's side of the protocol's bytes, and txns as this test reads them: written here a second time, from the
//! specification, so that a mistake in the crate's codecs does not hide itself.
//!
//! In: what a client wants, and bytes of a server or of a log. Out: frames, and replies and txns as values.
//!
//! Always true:
//! * nothing of `quorate::proto` or `quorate::tree` is used.
//!
//! Not here: when a client sends what (`client`), what a txn means (`model`).

use bytes::Bytes;
use quorate::base::wire::{Reader, Writer};

pub use quorate::base::wire::DecodeError as Unreadable;
use quorate::base::{SessionId, Zxid};

/// Operation codes.
pub mod op {
    /// create
    pub const CREATE: i32 = 1;
    /// delete
    pub const DELETE: i32 = 2;
    /// exists
    pub const EXISTS: i32 = 3;
    /// getData
    pub const GET_DATA: i32 = 4;
    /// setData
    pub const SET_DATA: i32 = 5;
    /// getACL
    pub const GET_ACL: i32 = 6;
    /// setACL
    pub const SET_ACL: i32 = 7;
    /// getChildren
    pub const GET_CHILDREN: i32 = 8;
    /// sync
    pub const SYNC: i32 = 9;
    /// ping
    pub const PING: i32 = 11;
    /// getChildren2
    pub const GET_CHILDREN2: i32 = 12;
    /// check, inside a multi
    pub const CHECK: i32 = 13;
    /// multi
    pub const MULTI: i32 = 14;
    /// create2
    pub const CREATE2: i32 = 15;
    /// reconfig
    pub const RECONFIG: i32 = 16;
    /// checkWatches
    pub const CHECK_WATCHES: i32 = 17;
    /// removeWatches
    pub const REMOVE_WATCHES: i32 = 18;
    /// createContainer
    pub const CREATE_CONTAINER: i32 = 19;
    /// deleteContainer
    pub const DELETE_CONTAINER: i32 = 20;
    /// createTTL
    pub const CREATE_TTL: i32 = 21;
    /// multiRead
    pub const MULTI_READ: i32 = 22;
    /// auth
    pub const AUTH: i32 = 100;
    /// setWatches
    pub const SET_WATCHES: i32 = 101;
    /// sasl
    pub const SASL: i32 = 102;
    /// getEphemerals
    pub const GET_EPHEMERALS: i32 = 103;
    /// getAllChildrenNumber
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    /// setWatches2
    pub const SET_WATCHES2: i32 = 105;
    /// addWatch
    pub const ADD_WATCH: i32 = 106;
    /// whoAmI
    pub const WHO_AM_I: i32 = 107;
    /// What clients ask for, other than pings.
    pub const ASKED: [i32; 28] = [
        CREATE,
        DELETE,
        EXISTS,
        GET_DATA,
        SET_DATA,
        GET_ACL,
        SET_ACL,
        GET_CHILDREN,
        SYNC,
        GET_CHILDREN2,
        CHECK,
        MULTI,
        CREATE2,
        RECONFIG,
        CHECK_WATCHES,
        REMOVE_WATCHES,
        CREATE_CONTAINER,
        CREATE_TTL,
        MULTI_READ,
        AUTH,
        SET_WATCHES,
        SASL,
        GET_EPHEMERALS,
        GET_ALL_CHILDREN_NUMBER,
        SET_WATCHES2,
        ADD_WATCH,
        WHO_AM_I,
        CLOSE_SESSION,
    ];
    /// createSession
    pub const CREATE_SESSION: i32 = -10;
    /// closeSession
    pub const CLOSE_SESSION: i32 = -11;
    /// error, as the type of a txn
    pub const ERROR: i32 = -1;
}

/// A node's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// zxid of the creation.
    pub czxid: i64,
    /// zxid of the last change of the data.
    pub mzxid: i64,
    /// Time of the creation, in ms since 1970.
    pub ctime: i64,
    /// Time of the last change of the data, in ms since 1970.
    pub mtime: i64,
    /// Number of changes of the data.
    pub version: i32,
    /// Number of children that came or went.
    pub cversion: i32,
    /// Number of changes of the ACL.
    pub aversion: i32,
    /// The session that owns an ephemeral node, else 0.
    pub owner: i64,
    /// Bytes of data.
    pub data_len: i32,
    /// Number of children.
    pub children: i32,
    /// zxid of the last change of the children.
    pub pzxid: i64,
}

/// A frame: the length, then the body.
pub fn frame(body: Writer) -> Bytes {
    let body = body.finish();
    let mut frame = Writer::new();
    frame.i32(body.len() as i32).raw(&body);
    frame.finish()
}

/// The connect request, with a session and its password.
pub fn connect(last_zxid: Zxid, timeout_ms: i32, session: (SessionId, &[u8]), mode: ConnectMode) -> Bytes {
    let (session, password) = session;
    let mut body = Writer::new();
    body.i32(0).i64(last_zxid.0).i32(timeout_ms).i64(session.0).buffer(Some(password));
    body.bool(mode == ConnectMode::ReadOnlyWillDo);
    frame(body)
}

/// What a client wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectMode {
    /// It writes.
    ReadWrite,
    /// It can do with reading.
    ReadOnlyWillDo,
}

/// A request's header.
pub fn header(xid: i32, op: i32) -> Writer {
    let mut body = Writer::new();
    body.i32(xid).i32(op);
    body
}

/// Puts an ACL.
pub fn put_acl(body: &mut Writer, acl: &[AclEntry]) {
    body.count(acl.len());
    for entry in acl {
        body.i32(entry.perms).string(&entry.scheme).string(&entry.id);
    }
}

/// An entry of an ACL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// What it allows, as bits.
    pub perms: i32,
    /// How who asks is known.
    pub scheme: String,
    /// As whom.
    pub id: String,
}

/// Reads an ACL.
pub fn acl(reader: &mut Reader) -> Result<Vec<AclEntry>, Unreadable> {
    let count = reader.i32("acl")?;
    (0..count)
        .map(|_| {
            let perms = reader.i32("perms")?;
            Ok(AclEntry { perms, scheme: string(reader)?, id: string(reader)? })
        })
        .collect()
}

/// What a server says to a connect request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Negotiated, in ms; 0 means refused.
    pub timeout_ms: i32,
    /// The session; 0 means refused.
    pub session: SessionId,
    /// Its password.
    pub password: Bytes,
    /// Whether the server only reads.
    pub is_read_only: bool,
}

/// Reads a connect response.
pub fn connected(frame: Bytes) -> Result<Connected, Unreadable> {
    let mut reader = Reader::new(frame);
    reader.i32("protocolVersion")?;
    let timeout_ms = reader.i32("timeOut")?;
    let session = SessionId(reader.i64("sessionId")?);
    let password = reader.buffer("passwd")?.unwrap_or_default();
    let is_read_only = reader.bool("readOnly")?;
    Ok(Connected { timeout_ms, session, password, is_read_only })
}

/// A reply or a watch event.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The request's number; -1 for an event.
    pub xid: i32,
    /// The zxid.
    pub zxid: Zxid,
    /// The error; 0 for none.
    pub err: i32,
    /// What follows the header.
    pub body: Reader,
}

/// Reads a reply's header.
pub fn reply(frame: Bytes) -> Result<Reply, Unreadable> {
    let mut body = Reader::new(frame);
    let (xid, zxid, err) = (body.i32("xid")?, Zxid(body.i64("zxid")?), body.i32("err")?);
    Ok(Reply { xid, zxid, err, body })
}

/// Reads a stat.
pub fn stat(reader: &mut Reader) -> Result<Stat, Unreadable> {
    Ok(Stat {
        czxid: reader.i64("czxid")?,
        mzxid: reader.i64("mzxid")?,
        ctime: reader.i64("ctime")?,
        mtime: reader.i64("mtime")?,
        version: reader.i32("version")?,
        cversion: reader.i32("cversion")?,
        aversion: reader.i32("aversion")?,
        owner: reader.i64("ephemeralOwner")?,
        data_len: reader.i32("dataLength")?,
        children: reader.i32("numChildren")?,
        pzxid: reader.i64("pzxid")?,
    })
}

/// Reads a string that must not be null.
pub fn string(reader: &mut Reader) -> Result<String, Unreadable> {
    Ok(reader.string("string")?.unwrap_or_default())
}

/// A txn of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Who asked.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: i32,
    /// Its place.
    pub zxid: Zxid,
    /// Its leader's wall clock, in ms since 1970.
    pub time: i64,
    /// What it does.
    pub change: Change,
}

/// What kind of node is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// It stays.
    Persistent,
    /// It goes with its session.
    Ephemeral,
    /// It goes when its last child has gone.
    Container,
    /// It goes when it has had no children and no new data for so long, in ms.
    Ttl(i64),
}

/// Who deletes a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A client.
    Asked,
    /// The server: it is a container or has a time to live.
    Reaped,
}

/// What a txn does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session begins.
    CreateSession {
        /// In ms.
        timeout_ms: i32,
    },
    /// A session ends, and these nodes of it.
    CloseSession {
        /// Its ephemeral nodes.
        paths: Vec<String>,
    },
    /// Nothing: the request failed.
    Error(i32),
    /// A node appears.
    Create {
        /// Where, with the sequence number.
        path: String,
        /// What it holds.
        data: Bytes,
        /// Who may do what.
        acl: Vec<AclEntry>,
        /// What kind of node it is.
        kind: NodeKind,
    },
    /// A node goes.
    Delete {
        /// Where.
        path: String,
        /// Who wants it.
        why: Why,
    },
    /// A node's ACL is replaced.
    SetAcl {
        /// Where.
        path: String,
        /// Who may do what.
        acl: Vec<AclEntry>,
        /// The new version of the ACL.
        version: i32,
    },
    /// A node's data is replaced.
    SetData {
        /// Where.
        path: String,
        /// What it holds.
        data: Bytes,
        /// The new version.
        version: i32,
    },
    /// A node's version was looked at, in a multi.
    Check,
    /// The membership is replaced.
    Reconfig {
        /// Its text.
        text: String,
    },
    /// Several at once, or none if one of them is an error.
    Multi(Vec<Change>),
}

/// Reads a txn.
pub fn txn(bytes: Bytes) -> Result<Txn, Unreadable> {
    let mut reader = Reader::new(bytes);
    let session = SessionId(reader.i64("clientId")?);
    let cxid = reader.i32("cxid")?;
    let zxid = Zxid(reader.i64("zxid")?);
    let time = reader.i64("time")?;
    let kind = reader.i32("type")?;
    Ok(Txn { session, cxid, zxid, time, change: change(kind, &mut reader)? })
}

/// Who asked for a txn, the client's number for it, and its type; `None` if there is no whole header.
pub fn txn_head(txn: &Bytes) -> Option<(SessionId, i32, i32)> {
    let number = |at: usize| Some(i32::from_be_bytes(txn.get(at..at + 4)?.try_into().ok()?));
    let session = i64::from_be_bytes(txn.get(..8)?.try_into().ok()?);
    Some((SessionId(session), number(8)?, number(28)?))
}

fn change(kind: i32, reader: &mut Reader) -> Result<Change, Unreadable> {
    Ok(match kind {
        op::CREATE_SESSION => Change::CreateSession { timeout_ms: reader.i32("timeOut")? },
        op::CLOSE_SESSION => {
            let count = reader.i32("count")?;
            let paths = (0..count).map(|_| string(reader)).collect::<Result<_, _>>()?;
            Change::CloseSession { paths }
        }
        op::ERROR => Change::Error(reader.i32("err")?),
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => create(kind, reader)?,
        op::DELETE => Change::Delete { path: string(reader)?, why: Why::Asked },
        op::DELETE_CONTAINER => Change::Delete { path: string(reader)?, why: Why::Reaped },
        op::SET_ACL => {
            let path = string(reader)?;
            let acl = acl(reader)?;
            Change::SetAcl { path, acl, version: reader.i32("version")? }
        }
        op::SET_DATA => {
            let path = string(reader)?;
            let data = reader.buffer("data")?.unwrap_or_default();
            Change::SetData { path, data, version: reader.i32("version")? }
        }
        op::RECONFIG => {
            string(reader)?;
            let text = reader.buffer("data")?.unwrap_or_default();
            Change::Reconfig { text: String::from_utf8_lossy(&text).into_owned() }
        }
        op::CHECK => Change::Check,
        op::MULTI => {
            let count = reader.i32("count")?;
            let mut parts = Vec::new();
            for _ in 0..count {
                let kind = reader.i32("type")?;
                let mut part = Reader::new(reader.buffer("txn")?.unwrap_or_default());
                parts.push(change(kind, &mut part)?);
            }
            Change::Multi(parts)
        }
        _ => panic!("the simulated clients cause no txn of type {kind}"),
    })
}

fn create(kind: i32, reader: &mut Reader) -> Result<Change, Unreadable> {
    let path = string(reader)?;
    let data = reader.buffer("data")?.unwrap_or_default();
    let acl = acl(reader)?;
    let kind = match kind {
        op::CREATE_CONTAINER => NodeKind::Container,
        op::CREATE_TTL => {
            reader.i32("parentCVersion")?;
            NodeKind::Ttl(reader.i64("ttl")?)
        }
        _ if reader.bool("ephemeral")? => NodeKind::Ephemeral,
        _ => NodeKind::Persistent,
    };
    Ok(Change::Create { path, data, acl, kind })
}
