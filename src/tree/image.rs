//! An unchanging view of the tree, to and from snapshot bytes.
//!
//! In: a tree at some zxid. Out: sessions, ACL table and nodes as they stand in a snapshot file after its header, up to
//! and with the end marker; and a tree again.
//!
//! Always true:
//! * taking an image costs a pointer per 16,384 nodes and the list of sessions; nothing done to the tree later shows;
//! * while an image is kept, the tree takes additional room only for what is changed meanwhile;
//! * parents are written before their children.
//!
//! Not here: files, seals and sections behind the end marker (`storage`).

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::acls::{Entry, OPEN, OPEN_ID};
use super::names::Names;
use super::node::Node;
use super::slots::Frozen;
use super::store::{Place, ROOT, Tree, path_by, split};
use crate::base::wire::{DecodeError, Reader, Writer};
use crate::base::{SessionId, Zxid};
use crate::proto::{Acl, StatPersisted};

/// How much is written at once.
const CHUNK_BYTES: usize = 64 * 1_024;
/// What stands behind a node's data.
const ACL_ID_BYTES: usize = 8;
const STAT_BYTES: usize = 60;
/// The path that ends the nodes.
const END: &str = "/";

/// An unchanging view of the tree.
#[derive(Clone)]
pub struct Image {
    view: Arc<View>,
}

struct View {
    zxid: Zxid,
    digest: u64,
    sessions: Vec<(SessionId, i32)>,
    acls: Frozen<Entry>,
    nodes: Frozen<Node>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("zxid", &self.zxid()).field("digest", &self.digest()).finish()
    }
}

/// Two images of one zxid with one digest are taken for equal.
impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        (self.zxid(), self.digest()) == (other.zxid(), other.digest())
    }
}

impl Eq for Image {}

impl Image {
    /// The last txn in it.
    pub fn zxid(&self) -> Zxid {
        self.view.zxid
    }

    /// Digest of the tree in it.
    pub fn digest(&self) -> u64 {
        self.view.digest
    }

    /// Writes it in chunks. No lock is held meanwhile, and the tree may change.
    pub fn write_body(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut writer = Writer::new();
        self.encode_sessions(&mut writer);
        self.encode_acls(&mut writer, out)?;
        self.encode_nodes(&mut writer, out)?;
        writer.string(END);
        out.write_all(&writer.bytes)
    }

    /// The same bytes in memory.
    pub fn to_body(&self) -> Bytes {
        let mut body = Vec::new();
        self.write_body(&mut body).expect("memory takes whatever is written");
        Bytes::from(body)
    }

    fn encode_sessions(&self, writer: &mut Writer) {
        writer.count(self.view.sessions.len());
        for (session, timeout_ms) in &self.view.sessions {
            writer.i64(session.0).i32(*timeout_ms);
        }
    }

    fn encode_acls(&self, writer: &mut Writer, out: &mut dyn io::Write) -> io::Result<()> {
        // A list that is still unknown has no place in the table, as in the snapshot that it came from.
        let known = || {
            let listed = self.view.acls.iter().filter(|(number, _)| *number != OPEN);
            listed.filter_map(|(_, entry)| Some((entry.id, entry.list.as_ref()?)))
        };
        writer.count(known().count());
        for (id, list) in known() {
            writer.i64(id);
            Acl::encode_list(list, writer);
            flush_if_full(writer, out)?;
        }
        Ok(())
    }

    fn encode_nodes(&self, writer: &mut Writer, out: &mut dyn io::Write) -> io::Result<()> {
        let nodes = &self.view.nodes;
        let mut done = vec![false; nodes.end() as usize];
        let mut waiting = Vec::new();
        let mut parent_path = ParentPath::default();
        for (number, _) in nodes.iter() {
            // A child may have a lower number than its parent: what is above it goes first.
            let mut number = number;
            while !done[number as usize] {
                done[number as usize] = true;
                waiting.push(number);
                number = self.node(number).parent();
            }
            while let Some(number) = waiting.pop() {
                self.encode_node(number, &mut parent_path, writer);
                flush_if_full(writer, out)?;
            }
        }
        Ok(())
    }

    fn encode_node(&self, number: u32, parent_path: &mut ParentPath, writer: &mut Writer) {
        let (parts, stat) = self.node(number).unpack();
        if number == ROOT {
            writer.string("");
        } else {
            parent_path.go_to(parts.parent, |number| {
                let node = self.node(number);
                (node.parent(), node.name())
            });
            let base = &parent_path.path;
            writer.count(base.len() + 1 + parts.name.len());
            writer.raw(base.as_bytes()).u8(b'/').raw(parts.name.as_bytes());
        }
        let acl_id = if parts.acl == OPEN { OPEN_ID } else { self.acl_id(parts.acl) };
        writer.buffer(parts.data).i64(acl_id);
        stat.encode(writer);
    }

    fn node(&self, number: u32) -> &Node {
        self.view.nodes.at(number).expect("a node's parent is in the same view")
    }

    fn acl_id(&self, number: u32) -> i64 {
        self.view.acls.at(number).expect("a node's list is in the same view").id
    }
}

/// The path of the last parent: most nodes are written next to their siblings. The root's is empty.
#[derive(Default)]
struct ParentPath {
    number: u32,
    path: String,
}

impl ParentPath {
    fn go_to<'a>(&mut self, number: u32, look: impl Fn(u32) -> (u32, &'a str)) {
        if number != self.number {
            self.number = number;
            self.path = if number == ROOT { String::new() } else { path_by(number, look) };
        }
    }
}

fn flush_if_full(writer: &mut Writer, out: &mut dyn io::Write) -> io::Result<()> {
    if writer.bytes.len() >= CHUNK_BYTES {
        out.write_all(&writer.bytes)?;
        writer.bytes.clear();
    }
    Ok(())
}

impl Tree {
    /// A view of the tree as it is.
    pub fn image(&self) -> Image {
        Image {
            view: Arc::new(View {
                zxid: self.zxid,
                digest: self.digest,
                sessions: self.sessions.iter().map(|(session, timeout_ms)| (*session, *timeout_ms)).collect(),
                acls: self.acls.freeze(),
                nodes: self.nodes.freeze(),
            }),
        }
    }

    /// Reads a snapshot, of this server or of Apache ZooKeeper, whose name says that it holds every txn up to `zxid`; it may
    /// hold some later ones in part. `digest` is its digest section: the tree's digest after the txn of that zxid. It is
    /// compared when that txn was applied, see [`Tree::snapshot_reaches`].
    pub fn from_body(zxid: Zxid, body: Bytes, digest: Option<(Zxid, u64)>) -> Result<Tree, DecodeError> {
        let mut reader = Reader::new(body);
        let mut tree = Tree::bare();
        tree.zxid = zxid;
        let sessions = reader.count("sessions", 12)?.unwrap_or(0);
        for _ in 0..sessions {
            let session = SessionId(reader.i64("session")?);
            tree.sessions.insert(session, reader.i32("session timeout")?);
        }
        let acls = load_acls(&mut tree, &mut reader)?;
        load_nodes(&mut tree, &mut reader, &acls)?;
        tree.acls.forget_unused(acls.iter().map(|(_, number)| *number));
        tree.load_quotas();
        match digest {
            Some((at, expected)) if at == zxid && expected != tree.digest => {
                // Zeros stand for "unknown".
                let is_known = (at, expected) != (Zxid::ZERO, 0);
                tree.mismatch_count += u64::from(is_known);
            }
            Some((at, expected)) if at > zxid => tree.digest_due = Some((at, expected)),
            Some(_) | None => {}
        }
        Ok(tree)
    }
}

/// Ids of a snapshot's table and the numbers that they have here, ascending by id.
type AclNumbers = Vec<(i64, u32)>;

fn load_acls(tree: &mut Tree, reader: &mut Reader) -> Result<AclNumbers, DecodeError> {
    let count = reader.count("acl table", 12)?.unwrap_or(0);
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        let id = check_acl_id(reader.i64("acl id")?)?;
        let list = Acl::decode_list(reader)?.unwrap_or_default();
        numbers.push((id, tree.acls.load(id, &list)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// How many nodes there are, up to the first that is broken.
fn count_nodes(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(next) = skip_node(bytes) {
        bytes = next;
        count += 1;
    }
    count
}

/// What follows a node.
fn skip_node(bytes: &[u8]) -> Option<&[u8]> {
    let behind_path = skip_buffer(bytes)?;
    skip_buffer(behind_path)?.get(ACL_ID_BYTES + STAT_BYTES..)
}

fn skip_buffer(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.get(usize::try_from(i32::from_be_bytes(*len).max(0)).ok()?..)
}

fn load_nodes(tree: &mut Tree, reader: &mut Reader, acls: &AclNumbers) -> Result<(), DecodeError> {
    let count = count_nodes(&reader.rest());
    tree.names = Names::with_room(count);
    tree.links.reserve(count);
    let invalid = |reason| DecodeError::Invalid { field: "snapshot node", reason };
    let mut last_parent: Option<(String, u32)> = None;
    loop {
        let path = reader.buffer("node path")?.ok_or(DecodeError::Null { field: "node path" })?;
        let path = String::from_utf8_lossy(&path);
        let is_first = tree.node_count() == 0;
        if path == END {
            let is_whole = reader.remaining() == 0 && !is_first;
            return is_whole.then_some(()).ok_or(invalid("the end marker is not the end, or comes first"));
        }
        let data = reader.buffer("node data")?;
        let acl_id = reader.i64("node acl")?;
        let stat = StatPersisted::decode(reader)?;
        if is_first != path.is_empty() {
            return Err(invalid("the root must come first, and once"));
        }
        if is_first {
            let acl = acquire(tree, acls, acl_id)?;
            tree.insert_root(acl, data.as_deref(), &stat);
            continue;
        }
        let (parent_path, name) = split(&path).ok_or(invalid("it has no name"))?;
        let parent = match &last_parent {
            Some((path, number)) if path == parent_path => *number,
            Some(_) | None => {
                let number = tree.find(parent_path).ok_or(invalid("its parent does not come before it"))?;
                last_parent = Some((parent_path.to_owned(), number));
                number
            }
        };
        if tree.find_child(parent, name).is_some() {
            return Err(invalid("it comes twice"));
        }
        let acl = acquire(tree, acls, acl_id)?;
        tree.insert(Place { path: &path, parent, name }, acl, data.as_deref(), &stat);
    }
}

fn acquire(tree: &mut Tree, acls: &AclNumbers, id: i64) -> Result<u32, DecodeError> {
    if id == OPEN_ID {
        return Ok(tree.acls.acquire(&[]));
    }
    match acls.binary_search_by_key(&id, |(id, _)| *id) {
        Ok(index) => {
            let number = acls[index].1;
            tree.acls.acquire_number(number);
            Ok(number)
        }
        Err(_) => Ok(tree.acls.acquire_pending(check_acl_id(id)?)),
    }
}

/// Ids count up from 1; half of the positive ones are kept back, so that new ones can always follow.
fn check_acl_id(id: i64) -> Result<i64, DecodeError> {
    let is_valid = (1..i64::MAX / 2).contains(&id);
    is_valid.then_some(id).ok_or(DecodeError::Unknown { field: "acl id", value: id })
}

#[cfg(test)]
mod tests;
