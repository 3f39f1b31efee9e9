//! `Response`: one variant for each reply.
//!
//! In: what was done. Out: the bytes of whole frames.
//!
//! Always true:
//! * a body follows a reply header exactly if its error is 0 and the operation has one, but for multiRead.
//!
//! Not here: which zxid a reply carries (`replica`), the order of replies (`net::clients`).

use bytes::Bytes;

use super::op::Op;
use super::record::{Acl, ClientInfo, Stat, WatchedEvent};
use crate::base::Zxid;
use crate::base::wire::Writer;

/// The body of a successful reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Nothing after the header: delete, setWatches, ping, auth, closeSession, …
    Empty,
    /// The final path: create, and sync with the path it was given (`None` is null).
    Path(Option<String>),
    /// Path and stat of the new node: create2, createContainer, createTTL.
    Created {
        /// The final path.
        path: String,
        /// The new node's stat.
        stat: Stat,
    },
    /// exists, setData, setACL.
    Stat(Stat),
    /// getData, reconfig.
    Data {
        /// The data; null and empty differ.
        data: Option<Bytes>,
        /// The node's stat.
        stat: Stat,
    },
    /// getACL.
    Acl {
        /// The list, already masked for this client.
        acl: Vec<Acl>,
        /// The node's stat.
        stat: Stat,
    },
    /// getChildren: names in no particular order. getEphemerals: full paths.
    Names(Vec<String>),
    /// getChildren2.
    Children {
        /// Names in no particular order.
        names: Vec<String>,
        /// The node's stat.
        stat: Stat,
    },
    /// getAllChildrenNumber.
    Count(i32),
    /// addWatch: a record with error 0.
    WatchAdded,
    /// whoAmI.
    WhoAmI(Vec<ClientInfo>),
    /// sasl; `None` is the null token that ends an exchange.
    Sasl(Option<Bytes>),
    /// multi: one result for each operation.
    Multi(Vec<MultiResult>),
    /// multiRead: one result for each read.
    MultiRead(Vec<MultiReadResult>),
}

/// The result of one write of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiResult {
    /// create.
    Path(String),
    /// create2, createContainer, createTTL.
    Created {
        /// The final path.
        path: String,
        /// The new node's stat.
        stat: Stat,
    },
    /// delete.
    Deleted,
    /// setData: the stat after it.
    Set(Stat),
    /// check.
    Checked,
    /// In a multi that failed: 0 before the failing operation, its code, -2 after it.
    Failed(i32),
}

/// The result of one read of a multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiReadResult {
    /// getData.
    Data {
        /// The data; null and empty differ.
        data: Option<Bytes>,
        /// The node's stat.
        stat: Stat,
    },
    /// getChildren: names in no particular order.
    Names(Vec<String>),
    /// This read's error; the others stand.
    Failed(i32),
}

/// What stands before every reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's number; -2 for every ping, -1 for a notification.
    pub xid: i32,
    /// What the client may remember as seen; 0 or -1 where it must not.
    pub zxid: Zxid,
    /// 0 for success, else an error code.
    pub err: i32,
}

impl ReplyHeader {
    /// The xid of every ping's reply, whatever was sent.
    pub const PING_XID: i32 = -2;

    fn encode(self, writer: &mut Writer) {
        writer.i32(self.xid).i64(self.zxid.0).i32(self.err);
    }
}

/// Appends one whole reply frame. The body of a failed reply is left out, but for the results that a multiRead had
/// before it failed: ZooKeeper sends them.
pub fn encode_reply(header: ReplyHeader, response: &Response, writer: &mut Writer) {
    in_frame(writer, |writer| {
        header.encode(writer);
        if header.err == 0 || matches!(response, Response::MultiRead(_)) {
            response.encode(writer);
        }
    });
}

/// Appends one whole reply frame whose body `fill` writes: a read is encoded straight from the tree.
pub fn encode_reply_with(header: ReplyHeader, writer: &mut Writer, fill: impl FnOnce(&mut Writer)) {
    in_frame(writer, |writer| {
        header.encode(writer);
        fill(writer);
    });
}

/// Appends one whole notification frame.
pub fn encode_notification(event: &WatchedEvent, writer: &mut Writer) {
    in_frame(writer, |writer| {
        ReplyHeader { xid: -1, zxid: event.zxid, err: 0 }.encode(writer);
        event.encode(writer);
    });
}

fn in_frame(writer: &mut Writer, fill: impl FnOnce(&mut Writer)) {
    let start = writer.bytes.len();
    writer.i32(0);
    fill(writer);
    let size = writer.bytes.len() - start - 4;
    let len = i32::try_from(size).expect("a tree's node or its children's names fit in a frame");
    writer.bytes[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

impl Response {
    /// Bytes of data that it carries; 0 for what carries none.
    pub fn data_bytes(&self) -> usize {
        match self {
            Response::Data { data: Some(data), .. } => data.len(),
            _ => 0,
        }
    }

    /// The bytes after the reply header.
    pub fn to_body(&self) -> Bytes {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        writer.finish()
    }

    /// Appends the bytes after the reply header.
    pub fn encode(&self, writer: &mut Writer) {
        match self {
            Response::Empty => {}
            Response::Path(path) => {
                writer.buffer(path.as_ref().map(|path| path.as_bytes()));
            }
            Response::Created { path, stat } => {
                writer.string(path);
                stat.encode(writer);
            }
            Response::Stat(stat) => stat.encode(writer),
            Response::Data { data, stat } => {
                writer.buffer(data.as_deref());
                stat.encode(writer);
            }
            Response::Acl { acl, stat } => {
                Acl::encode_list(acl, writer);
                stat.encode(writer);
            }
            Response::Names(names) => encode_names(names, writer),
            Response::Children { names, stat } => {
                encode_names(names, writer);
                stat.encode(writer);
            }
            Response::Count(count) => {
                writer.i32(*count);
            }
            Response::WatchAdded => {
                writer.i32(0);
            }
            Response::WhoAmI(infos) => {
                writer.count(infos.len());
                for info in infos {
                    writer.string(&info.scheme).string(&info.user);
                }
            }
            Response::Sasl(token) => {
                writer.buffer(token.as_deref());
            }
            Response::Multi(results) => {
                results.iter().for_each(|result| result.encode(writer));
                encode_multi_end(writer);
            }
            Response::MultiRead(results) => {
                results.iter().for_each(|result| result.encode(writer));
                encode_multi_end(writer);
            }
        }
    }
}

impl MultiResult {
    fn encode(&self, writer: &mut Writer) {
        match self {
            MultiResult::Path(path) => {
                encode_multi_header(Op::Create, 0, writer);
                writer.string(path);
            }
            MultiResult::Created { path, stat } => {
                encode_multi_header(Op::Create2, 0, writer);
                writer.string(path);
                stat.encode(writer);
            }
            MultiResult::Deleted => encode_multi_header(Op::Delete, 0, writer),
            MultiResult::Set(stat) => {
                encode_multi_header(Op::SetData, 0, writer);
                stat.encode(writer);
            }
            MultiResult::Checked => encode_multi_header(Op::Check, 0, writer),
            MultiResult::Failed(err) => encode_multi_error(*err, writer),
        }
    }
}

impl MultiReadResult {
    fn encode(&self, writer: &mut Writer) {
        match self {
            MultiReadResult::Data { data, stat } => {
                encode_multi_header(Op::GetData, 0, writer);
                writer.buffer(data.as_deref());
                stat.encode(writer);
            }
            MultiReadResult::Names(names) => {
                encode_multi_header(Op::GetChildren, 0, writer);
                encode_names(names, writer);
            }
            MultiReadResult::Failed(err) => encode_multi_error(*err, writer),
        }
    }
}

fn encode_names(names: &[String], writer: &mut Writer) {
    writer.count(names.len());
    for name in names {
        writer.string(name);
    }
}

fn encode_multi_header(op: Op, err: i32, writer: &mut Writer) {
    writer.i32(op.as_wire()).bool(false).i32(err);
}

fn encode_multi_error(err: i32, writer: &mut Writer) {
    encode_multi_header(Op::Error, err, writer);
    writer.i32(err);
}

fn encode_multi_end(writer: &mut Writer) {
    writer.i32(-1).bool(true).i32(-1);
}

#[cfg(test)]
pub(super) mod tests;
