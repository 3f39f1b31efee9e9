//! `Txn`: what was decided, complete enough to replay without asking.
//!
//! In and out: values and their bytes, as they stand in proposals and in the log.
//!
//! Always true:
//! * the bytes written are those that Apache ZooKeeper 3.8 and 3.9 write, with the digest where they write it;
//! * a txn holds every time, version and path that it needs: two servers that apply it hold the same tree.
//!
//! Not here: deciding (`replica::prepare`), applying (`store`).

use bytes::Bytes;

use crate::base::wire::{DecodeError, Reader, Writer};
use crate::base::{SessionId, Zxid};
use crate::proto::{Acl, Op};

/// Bytes of a txn besides paths and data: header, lengths, one entry of an ACL, digest.
const FIXED_BYTES: usize = 112;
/// Version of the digest's algorithm; other versions are not compared.
const DIGEST_VERSION: i32 = 2;
/// A parent's counter is not known: historic txns, and creates whose record has no such field.
pub const PARENT_CVERSION_UNKNOWN: i32 = -1;

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Who asked, when, and its place in the order.
    pub header: TxnHeader,
    /// What it does.
    pub body: TxnBody,
    /// Digest of the whole tree after it; `None` if its leader did not say.
    pub digest: Option<u64>,
}

/// What every txn starts with, besides its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session that asked; `SessionId::NONE` for the server itself.
    pub session: SessionId,
    /// The client's xid; 0 for session operations and the server itself.
    pub cxid: i32,
    /// Its place in the order.
    pub zxid: Zxid,
    /// The leader's wall clock in ms since 1970; node times come from it.
    pub time: i64,
}

/// What a txn does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnBody {
    /// -10: a session is opened.
    CreateSession {
        /// Its timeout in ms.
        timeout_ms: i32,
    },
    /// -11: a session is closed; these of its ephemeral nodes go, and all others that it owns.
    CloseSession {
        /// Paths known to the leader, also of creates in flight before it.
        paths: Vec<String>,
    },
    /// -1: a write failed; it only takes a zxid.
    Error {
        /// The error code, negative.
        err: i32,
    },
    /// 1, 15, 19, 21: a node is created.
    Create(CreateTxn),
    /// 2, 20: a node is deleted.
    Delete {
        /// The node.
        path: String,
        /// Who deletes it.
        reason: DeleteReason,
    },
    /// 5, 16: the data is replaced.
    SetData(SetDataTxn),
    /// 7: the ACL is replaced.
    SetAcl {
        /// The node.
        path: String,
        /// The list, expanded.
        acl: Vec<Acl>,
        /// The new ACL version.
        version: i32,
    },
    /// 13: a version was checked; only inside a multi.
    Check {
        /// The node.
        path: String,
        /// The version that was asked for; -1 for any.
        version: i32,
    },
    /// 14: several of the above. If one of them is an `Error`, nothing is done.
    Multi(Vec<TxnBody>),
}

/// A node is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTxn {
    /// The final path.
    pub path: String,
    /// The data; null and empty differ.
    pub data: Option<Bytes>,
    /// The list, expanded.
    pub acl: Vec<Acl>,
    /// Which operation asked, and what kind of node it makes.
    pub kind: CreateKind,
    /// The parent's creation counter after it; -1 stands for "the current one plus one".
    pub parent_cversion: i32,
}

/// Which operation asked for a create, and what kind of node it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    /// 1: create.
    Create {
        /// Whether the node goes with its session.
        ephemeral: bool,
    },
    /// 15: create2.
    Create2 {
        /// Whether the node goes with its session.
        ephemeral: bool,
    },
    /// 19: a container.
    Container,
    /// 21: a node with a time to live.
    Ttl {
        /// In ms.
        ttl_ms: i64,
    },
}

/// Who deletes a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// 2: a client.
    Client,
    /// 20: the server, for an empty container or an expired TTL node.
    Reaped,
}

/// The data is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDataTxn {
    /// The node.
    pub path: String,
    /// The data; null and empty differ.
    pub data: Option<Bytes>,
    /// The new version.
    pub version: i32,
    /// What asked for it.
    pub reason: SetDataReason,
}

/// What asked for new data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetDataReason {
    /// 5: setData.
    Client,
    /// 16: a new membership is put into `/zookeeper/config`.
    Reconfig,
}

impl Txn {
    /// Reads a whole proposal or log entry.
    pub fn decode(bytes: Bytes) -> Result<Txn, DecodeError> {
        let mut reader = Reader::new(bytes);
        let session = SessionId(reader.i64("clientId")?);
        let cxid = reader.i32("cxid")?;
        let zxid = Zxid(reader.i64("zxid")?);
        let time = reader.i64("time")?;
        let op = reader.i32("txn type")?;
        let body = decode_top(op, &mut reader)?;
        // Java reads a digest if 12 more bytes are there. Other versions of it say nothing to us.
        let digest = if reader.remaining() >= 12 {
            let version = reader.i32("digest version")?;
            let digest = reader.i64("tree digest")?.cast_unsigned();
            (version == DIGEST_VERSION).then_some(digest)
        } else {
            None
        };
        Ok(Txn { header: TxnHeader { session, cxid, zxid, time }, body, digest })
    }

    /// Writes it whole: header, body, and the digest if there is one.
    pub fn to_bytes(&self) -> Bytes {
        let mut writer = Writer::with_room(FIXED_BYTES + self.body.rough_bytes());
        let header = &self.header;
        writer.i64(header.session.0).i32(header.cxid).i64(header.zxid.0).i64(header.time);
        writer.i32(self.body.op().as_wire());
        self.body.encode(&mut writer);
        if let Some(digest) = self.digest {
            writer.i32(DIGEST_VERSION).i64(digest.cast_signed());
        }
        writer.finish()
    }
}

impl TxnBody {
    /// About how many bytes it takes; the common ones not more.
    fn rough_bytes(&self) -> usize {
        let data_bytes = |data: &Option<Bytes>| data.as_ref().map_or(0, Bytes::len);
        match self {
            TxnBody::Create(create) => create.path.len() + data_bytes(&create.data),
            TxnBody::SetData(set) => set.path.len() + data_bytes(&set.data),
            TxnBody::Delete { path, .. } | TxnBody::Check { path, .. } | TxnBody::SetAcl { path, .. } => {
                path.len()
            }
            TxnBody::Multi(ops) => ops.iter().map(|op| FIXED_BYTES + op.rough_bytes()).sum(),
            TxnBody::CreateSession { .. } | TxnBody::CloseSession { .. } | TxnBody::Error { .. } => 0,
        }
    }

    /// The type that stands in the header.
    pub fn op(&self) -> Op {
        match self {
            TxnBody::CreateSession { .. } => Op::CreateSession,
            TxnBody::CloseSession { .. } => Op::CloseSession,
            TxnBody::Error { .. } => Op::Error,
            TxnBody::Create(create) => match create.kind {
                CreateKind::Create { .. } => Op::Create,
                CreateKind::Create2 { .. } => Op::Create2,
                CreateKind::Container => Op::CreateContainer,
                CreateKind::Ttl { .. } => Op::CreateTtl,
            },
            TxnBody::Delete { reason: DeleteReason::Client, .. } => Op::Delete,
            TxnBody::Delete { reason: DeleteReason::Reaped, .. } => Op::DeleteContainer,
            TxnBody::SetData(set) => match set.reason {
                SetDataReason::Client => Op::SetData,
                SetDataReason::Reconfig => Op::Reconfig,
            },
            TxnBody::SetAcl { .. } => Op::SetAcl,
            TxnBody::Check { .. } => Op::Check,
            TxnBody::Multi(_) => Op::Multi,
        }
    }

    /// Whether Apache ZooKeeper puts a digest behind it: every txn but a single failed write.
    pub fn has_digest(&self) -> bool {
        !matches!(self, TxnBody::Error { .. })
    }

    fn encode(&self, writer: &mut Writer) {
        match self {
            TxnBody::CreateSession { timeout_ms } => {
                writer.i32(*timeout_ms);
            }
            TxnBody::CloseSession { paths } => {
                writer.count(paths.len());
                for path in paths {
                    writer.string(path);
                }
            }
            TxnBody::Error { err } => {
                writer.i32(*err);
            }
            TxnBody::Create(create) => encode_create(create, writer),
            TxnBody::Delete { path, .. } => {
                writer.string(path);
            }
            TxnBody::SetData(set) => {
                writer.string(&set.path).buffer(set.data.as_deref()).i32(set.version);
            }
            TxnBody::SetAcl { path, acl, version } => {
                writer.string(path);
                Acl::encode_list(acl, writer);
                writer.i32(*version);
            }
            TxnBody::Check { path, version } => {
                writer.string(path).i32(*version);
            }
            TxnBody::Multi(ops) => {
                writer.count(ops.len());
                for op in ops {
                    writer.i32(op.op().as_wire());
                    let mut body = Writer::new();
                    op.encode(&mut body);
                    writer.buffer(Some(&body.bytes));
                }
            }
        }
    }
}

fn encode_create(create: &CreateTxn, writer: &mut Writer) {
    writer.string(&create.path).buffer(create.data.as_deref());
    Acl::encode_list(&create.acl, writer);
    match create.kind {
        CreateKind::Create { ephemeral } | CreateKind::Create2 { ephemeral } => {
            writer.bool(ephemeral).i32(create.parent_cversion);
        }
        CreateKind::Container => {
            writer.i32(create.parent_cversion);
        }
        CreateKind::Ttl { ttl_ms } => {
            writer.i32(create.parent_cversion).i64(ttl_ms);
        }
    }
}

fn decode_top(op: i32, reader: &mut Reader) -> Result<TxnBody, DecodeError> {
    let unknown = DecodeError::Unknown { field: "txn type", value: i64::from(op) };
    match Op::from_wire(op).ok_or_else(|| unknown.clone())? {
        Op::CreateSession => Ok(TxnBody::CreateSession { timeout_ms: reader.i32("timeOut")? }),
        Op::CloseSession => decode_close(reader),
        Op::Reconfig => set_data(reader, SetDataReason::Reconfig),
        Op::Multi => {
            let count = reader.count("multi", 8)?.unwrap_or(0);
            let ops = (0..count).map(|_| decode_element(reader)).collect::<Result<_, _>>()?;
            Ok(TxnBody::Multi(ops))
        }
        op => decode_shared(op, reader)?.ok_or(unknown),
    }
}

fn decode_element(reader: &mut Reader) -> Result<TxnBody, DecodeError> {
    let op = reader.i32("multi type")?;
    let body = reader.buffer("multi body")?.ok_or(DecodeError::Null { field: "multi body" })?;
    let unknown = DecodeError::Unknown { field: "multi type", value: i64::from(op) };
    let reader = &mut Reader::new(body);
    match Op::from_wire(op) {
        Some(Op::Check) => Ok(TxnBody::Check { path: path(reader)?, version: reader.i32("version")? }),
        Some(op) => decode_shared(op, reader)?.ok_or(unknown),
        None => Err(unknown),
    }
}

/// Reads what may stand alone and in a multi; `None` for an operation that may not.
fn decode_shared(op: Op, reader: &mut Reader) -> Result<Option<TxnBody>, DecodeError> {
    Ok(Some(match op {
        Op::Error => TxnBody::Error { err: reader.i32("err")? },
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
            TxnBody::Create(decode_create(op, reader)?)
        }
        Op::Delete => TxnBody::Delete { path: path(reader)?, reason: DeleteReason::Client },
        Op::DeleteContainer => TxnBody::Delete { path: path(reader)?, reason: DeleteReason::Reaped },
        Op::SetData => set_data(reader, SetDataReason::Client)?,
        Op::SetAcl => {
            let path = path(reader)?;
            let acl = Acl::decode_list(reader)?.unwrap_or_default();
            TxnBody::SetAcl { path, acl, version: reader.i32("version")? }
        }
        _ => return Ok(None),
    }))
}

fn decode_create(op: Op, reader: &mut Reader) -> Result<CreateTxn, DecodeError> {
    let path = path(reader)?;
    let data = reader.buffer("data")?;
    let acl = Acl::decode_list(reader)?.unwrap_or_default();
    let parent = "parentCVersion";
    let (kind, parent_cversion) = match op {
        Op::CreateContainer => (CreateKind::Container, reader.i32(parent)?),
        Op::CreateTtl => {
            let parent_cversion = reader.i32(parent)?;
            (CreateKind::Ttl { ttl_ms: reader.i64("ttl")? }, parent_cversion)
        }
        _ => {
            let ephemeral = reader.bool("ephemeral")?;
            // Release 3.3 ended here.
            let has_parent = reader.remaining() >= 4;
            let parent_cversion = if has_parent { reader.i32(parent)? } else { PARENT_CVERSION_UNKNOWN };
            let is_create = op == Op::Create;
            let kind =
                if is_create { CreateKind::Create { ephemeral } } else { CreateKind::Create2 { ephemeral } };
            (kind, parent_cversion)
        }
    };
    Ok(CreateTxn { path, data, acl, kind, parent_cversion })
}

fn decode_close(reader: &mut Reader) -> Result<TxnBody, DecodeError> {
    // With `zookeeper.closeSessionTxn.enabled=false` a leader writes no body at all. What follows is then the
    // end or a digest; a digest's version would read as "2 paths", of which the 8 bytes after it are none.
    let rest = Reader::new(reader.rest());
    let paths = match paths(reader) {
        Ok(paths) => paths,
        Err(_) if rest.remaining() == 0 || rest.remaining() == 12 => {
            *reader = rest;
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    Ok(TxnBody::CloseSession { paths })
}

fn paths(reader: &mut Reader) -> Result<Vec<String>, DecodeError> {
    let count = reader.count("paths2Delete", 4)?.unwrap_or(0);
    (0..count).map(|_| path(reader)).collect()
}

fn path(reader: &mut Reader) -> Result<String, DecodeError> {
    reader.string("path")?.ok_or(DecodeError::Null { field: "path" })
}

fn set_data(reader: &mut Reader, reason: SetDataReason) -> Result<TxnBody, DecodeError> {
    let path = path(reader)?;
    let data = reader.buffer("data")?;
    let version = reader.i32("version")?;
    Ok(TxnBody::SetData(SetDataTxn { path, data, version, reason }))
}

#[cfg(test)]
mod tests;
