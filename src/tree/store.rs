//! `Tree`: read it, and the few changes that applying a txn is made of; the only writer of nodes.
//!
//! In: paths, and changes that were decided. Out: nodes, sessions, the running digest.
//!
//! Always true:
//! * `digest` is the sum of all nodes' digests, whatever was done;
//! * an ephemeral, container or TTL node is in its index exactly as long as it is in the tree.
//!
//! Not here: what a txn means (`apply`), snapshots (`image`), who may read (`acl`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::acls::Acls;
use super::apply::Beside;
use super::digest::{self, History};
use super::links::Links;
use super::names::{Key, Names};
use super::node::{Node, NodeKind, Parts};
use super::quota::Quotas;
use super::slots::Slots;
use crate::base::{SessionId, Zxid};
use crate::proto::record::Shape;
use crate::proto::{Acl, Stat, StatPersisted};

/// Number of the root; it is its own parent.
pub(super) const ROOT: u32 = 0;
const CONFIG_PATH: &str = "/zookeeper/config";

/// The data tree, the replicated sessions, and the place in the order up to which txns are applied.
#[derive(Debug)]
pub struct Tree {
    pub(super) nodes: Slots<Node>,
    pub(super) names: Names,
    pub(super) links: Links,
    pub(super) acls: Acls,
    pub(super) sessions: BTreeMap<SessionId, i32>,
    ephemerals: BTreeMap<SessionId, Owned>,
    containers: BTreeSet<u32>,
    ttls: BTreeSet<u32>,
    pub(super) quotas: Quotas,
    pub(super) zxid: Zxid,
    pub(super) beside: Beside,
    pub(super) digest: u64,
    pub(super) history: History,
    /// What the digest must be at a zxid that was not reached yet; until then txns' digests are not compared.
    pub(super) digest_due: Option<(Zxid, u64)>,
    pub(super) mismatch_count: u64,
    size_bytes: u64,
}

/// The ephemeral nodes of a session.
#[derive(Debug, Default)]
struct Owned {
    nodes: BTreeSet<u32>,
    path_bytes: usize,
}

/// A node, unpacked.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'a> {
    tree: &'a Tree,
    number: u32,
    parts: Parts<'a>,
    stat: StatPersisted,
}

/// Where a new node comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The whole path.
    pub path: &'a str,
    /// The parent's number.
    pub parent: u32,
    /// The last component.
    pub name: &'a str,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

impl Tree {
    /// The tree of a server that never held data.
    pub fn new() -> Tree {
        let mut tree = Tree::bare();
        let fresh = StatPersisted::default();
        let open = tree.acls.acquire(&[]);
        tree.insert_root(open, Some(b""), &fresh);
        for path in ["/zookeeper", "/zookeeper/quota"] {
            let open = tree.acls.acquire(&[]);
            tree.insert_at(path, open, Some(b""), &fresh);
        }
        tree.insert_config();
        tree
    }

    /// Nothing at all, not even a root: what a snapshot is read into.
    pub(super) fn bare() -> Tree {
        Tree {
            nodes: Slots::new(),
            names: Names::new(),
            links: Links::default(),
            acls: Acls::new(),
            sessions: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: Quotas::default(),
            zxid: Zxid::ZERO,
            beside: Beside::default(),
            digest: 0,
            history: History::default(),
            digest_due: None,
            mismatch_count: 0,
            size_bytes: 0,
        }
    }

    /// Puts the membership's text into `/zookeeper/config`, outside any txn: `version` is the membership's, `time` that of
    /// this server's start in ms since 1970.
    pub fn set_config(&mut self, text: &str, version: Zxid, time: i64) {
        if self.find(CONFIG_PATH).is_none() {
            self.insert_config();
        }
        let Some(number) = self.find(CONFIG_PATH) else {
            return; // a snapshot without even /zookeeper
        };
        let stat = StatPersisted { mzxid: version, mtime: time, version: -1, ..self.at(number).stat() };
        self.replace_data(CONFIG_PATH, number, Some(text.as_bytes()), &stat);
    }

    /// The node at a path; the empty path is the root, too.
    pub fn node(&self, path: &str) -> Option<NodeRef<'_>> {
        self.find(path).map(|number| self.node_at(number))
    }

    /// An ACL, shared with the nodes that have the same.
    pub fn share_acl(&self, acl: &[Acl]) -> Arc<[Acl]> {
        self.acls.share(acl)
    }

    /// The last txn that is applied.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Digest of the whole tree.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Digests of every 128th txn, oldest first, at most 1,024.
    pub fn digests(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.history.iter()
    }

    /// How often a digest that came with a txn or a snapshot was not the tree's.
    pub fn digest_mismatch_count(&self) -> u64 {
        self.mismatch_count
    }

    /// The last txn that stands, at least in part, in the snapshot this tree was read from, until it was applied: a log
    /// that ends before it is too short. `None` if there is no such txn left.
    pub fn snapshot_reaches(&self) -> Option<Zxid> {
        self.digest_due.map(|(zxid, _)| zxid)
    }

    /// How many ACL lists were missing from the snapshot and not told by a txn since: not 0 after the whole log
    /// was applied, the snapshot is unusable.
    pub fn acl_pending_count(&self) -> usize {
        self.acls.pending_count()
    }

    /// How many nodes there are, the root included.
    pub fn node_count(&self) -> usize {
        self.nodes.count()
    }

    /// Bytes of all paths and all data.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Replicated sessions and their timeouts in ms.
    pub fn sessions(&self) -> &BTreeMap<SessionId, i32> {
        &self.sessions
    }

    /// Paths of a session's ephemeral nodes, in the order in which their places were taken.
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        self.ephemerals
            .get(&session)
            .map_or_else(Vec::new, |owned| owned.nodes.iter().map(|number| self.path_of(*number)).collect())
    }

    /// Bytes of the paths of a session's ephemeral nodes: they must fit into the txn that closes it.
    pub fn ephemeral_path_bytes(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, |owned| owned.path_bytes)
    }

    /// Sessions that own ephemeral nodes, and how many.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = (SessionId, usize)> + '_ {
        self.ephemerals.iter().map(|(session, owned)| (*session, owned.nodes.len()))
    }

    /// Containers, for the reaper.
    pub fn containers(&self) -> impl Iterator<Item = NodeRef<'_>> {
        self.containers.iter().map(|number| self.node_at(*number))
    }

    /// Nodes with a time to live, for the reaper.
    pub fn ttls(&self) -> impl Iterator<Item = NodeRef<'_>> {
        self.ttls.iter().map(|number| self.node_at(*number))
    }

    pub(super) fn at(&self, number: u32) -> &Node {
        self.nodes.at(number).expect("numbers in the indexes are in use")
    }

    pub(super) fn node_at(&self, number: u32) -> NodeRef<'_> {
        let (parts, stat) = self.at(number).unpack();
        NodeRef { tree: self, number, parts, stat }
    }

    /// The number of the node at a path.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        if path.is_empty() || path == "/" {
            return Some(ROOT);
        }
        path.strip_prefix('/')?.split('/').try_fold(ROOT, |parent, name| self.find_child(parent, name))
    }

    /// The number of a node's child.
    pub(super) fn find_child(&self, parent: u32, name: &str) -> Option<u32> {
        self.names.find(Key { parent, name }, |number| key_of(&self.nodes, number))
    }

    /// The path of a node; of the root it is `/`.
    pub(super) fn path_of(&self, number: u32) -> String {
        path_by(number, |number| {
            let node = self.at(number);
            (node.parent(), node.name())
        })
    }

    /// The root, into a bare tree.
    pub(super) fn insert_root(&mut self, acl: u32, data: Option<&[u8]>, stat: &StatPersisted) {
        let prefix = digest::prefix("", data);
        let parts = Parts { parent: ROOT, acl, name: "", data, prefix: Some(prefix) };
        let number = self.nodes.insert(Node::pack(&parts, stat));
        assert!(number == ROOT, "the root comes first");
        self.digest = self.digest.wrapping_add(digest::node_digest("", prefix, stat));
        self.size_bytes += byte_count("", data);
    }

    /// A node where there is none. The ACL's number is in use for it already; its parent's stat stays as it is.
    pub(super) fn insert(
        &mut self,
        place: Place<'_>,
        acl: u32,
        data: Option<&[u8]>,
        stat: &StatPersisted,
    ) -> u32 {
        let Place { path, parent, name } = place;
        let prefix = digest::prefix(path, data);
        let node = Node::pack(&Parts { parent, acl, name, data, prefix: Some(prefix) }, stat);
        let number = self.nodes.insert(node);
        let nodes = &self.nodes;
        self.names.insert(number, |number| key_of(nodes, number));
        self.links.add(parent, number);
        match NodeKind::of_owner(stat.ephemeral_owner) {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => {
                let owned = self.ephemerals.entry(session).or_default();
                owned.nodes.insert(number);
                owned.path_bytes += path.len();
            }
            NodeKind::Container => {
                self.containers.insert(number);
            }
            NodeKind::Ttl(_) => {
                self.ttls.insert(number);
            }
        }
        self.digest = self.digest.wrapping_add(digest::node_digest(path, prefix, stat));
        self.size_bytes += byte_count(path, data);
        number
    }

    /// Takes a node out, and what is below it: a snapshot of Apache ZooKeeper may hold children that were created after
    /// their parent was deleted and created again. The parent's stat stays as it is.
    pub(super) fn remove(&mut self, path: &str, number: u32) {
        let children: Vec<u32> = self.links.children(number).collect();
        for child in children {
            let child_path = format!("{path}/{}", self.at(child).name());
            self.remove(&child_path, child);
        }
        self.digest = self.digest.wrapping_sub(self.digest_of(path, number));
        let node = self.at(number).clone();
        let (parts, stat) = node.unpack();
        let parent = parts.parent;
        self.names.remove(number, Key { parent, name: parts.name });
        self.links.remove(parent, number);
        match NodeKind::of_owner(stat.ephemeral_owner) {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => self.disown(session, number, path.len()),
            NodeKind::Container => {
                self.containers.remove(&number);
            }
            NodeKind::Ttl(_) => {
                self.ttls.remove(&number);
            }
        }
        self.acls.release(parts.acl);
        self.size_bytes -= byte_count(path, parts.data);
        self.nodes.remove(number);
    }

    /// Sets what a child's coming or going changes.
    pub(super) fn set_children_stat(&mut self, path: &str, number: u32, pzxid: Zxid, cversion: i32) {
        let (parts, stat) = self.at(number).unpack();
        let prefix = parts.prefix.unwrap_or_else(|| digest::prefix(path, parts.data));
        let old = digest::node_digest(path, prefix, &stat);
        let new = digest::node_digest(path, prefix, &StatPersisted { pzxid, cversion, ..stat });
        self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
        let node = self.nodes.at_mut(number).expect("it was read above");
        node.set_children(pzxid, cversion);
    }

    /// Replaces a node's data and stat.
    pub(super) fn replace_data(
        &mut self,
        path: &str,
        number: u32,
        data: Option<&[u8]>,
        stat: &StatPersisted,
    ) {
        let old = self.digest_of(path, number);
        let prefix = digest::prefix(path, data);
        let new = digest::node_digest(path, prefix, stat);
        self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
        let (parts, _) = self.at(number).unpack();
        let old_bytes = byte_count(path, parts.data);
        let node = Node::pack(&Parts { data, prefix: Some(prefix), ..parts }, stat);
        self.size_bytes = self.size_bytes - old_bytes + byte_count(path, data);
        *self.nodes.at_mut(number).expect("it was read above") = node;
    }

    /// Replaces a node's ACL and sets its version.
    pub(super) fn replace_acl(&mut self, path: &str, number: u32, acl: &[Acl], aversion: i32) {
        let acl = self.acls.acquire(acl);
        let (parts, stat) = self.at(number).unpack();
        let prefix = parts.prefix.unwrap_or_else(|| digest::prefix(path, parts.data));
        let new_stat = StatPersisted { aversion, ..stat };
        let old = digest::node_digest(path, prefix, &stat);
        let new = digest::node_digest(path, prefix, &new_stat);
        let old_acl = parts.acl;
        let node = Node::pack(&Parts { acl, ..parts }, &new_stat);
        self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
        *self.nodes.at_mut(number).expect("it was read above") = node;
        self.acls.release(old_acl);
    }

    fn insert_at(&mut self, path: &str, acl: u32, data: Option<&[u8]>, stat: &StatPersisted) {
        let (parent_path, name) = split(path).expect("a fixed path");
        let parent = self.find(parent_path).expect("its parent came before");
        self.insert(Place { path, parent, name }, acl, data, stat);
    }

    fn insert_config(&mut self) {
        if self.find("/zookeeper").is_none() {
            return;
        }
        let read_only = self.acls.acquire(&Acl::read_only());
        // Apache ZooKeeper creates this node and sets its ACL without looking at the version: hence -1.
        let stat = StatPersisted { aversion: -1, ..StatPersisted::default() };
        self.insert_at(CONFIG_PATH, read_only, Some(b""), &stat);
    }

    fn disown(&mut self, session: SessionId, number: u32, path_bytes: usize) {
        let owned = self.ephemerals.get_mut(&session).expect("an ephemeral node is in its session's index");
        owned.nodes.remove(&number);
        owned.path_bytes -= path_bytes;
        if owned.nodes.is_empty() {
            self.ephemerals.remove(&session);
        }
    }

    fn digest_of(&self, path: &str, number: u32) -> u64 {
        let (parts, stat) = self.at(number).unpack();
        let prefix = parts.prefix.unwrap_or_else(|| digest::prefix(path, parts.data));
        digest::node_digest(path, prefix, &stat)
    }
}

impl<'a> NodeRef<'a> {
    /// What clients see.
    pub fn stat(&self) -> Stat {
        let owner = match self.kind() {
            NodeKind::Ephemeral(session) => session,
            NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => SessionId::NONE,
        };
        self.stat.as_stat(Shape {
            data_length: i32::try_from(self.parts.data.map_or(0, <[u8]>::len)).unwrap_or(i32::MAX),
            num_children: i32::try_from(self.child_count()).unwrap_or(i32::MAX),
            owner_visible: owner,
        })
    }

    /// What is stored: the creation counter, and the owner field as it is.
    pub fn stat_persisted(&self) -> &StatPersisted {
        &self.stat
    }

    /// What the node is.
    pub fn kind(&self) -> NodeKind {
        NodeKind::of_owner(self.stat.ephemeral_owner)
    }

    /// The data; null and empty differ.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.parts.data
    }

    /// The ACL.
    pub fn acl(&self) -> &'a Arc<[Acl]> {
        self.tree.acls.list(self.parts.acl)
    }

    /// How many children it has.
    pub fn child_count(&self) -> u32 {
        self.tree.links.child_count(self.number)
    }

    /// Names of its children, in no particular order.
    pub fn children(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let tree = self.tree;
        tree.links.children(self.number).map(|child| tree.at(child).name())
    }

    /// How many nodes are below it, at any depth.
    pub fn descendant_count(&self) -> u64 {
        let links = &self.tree.links;
        let mut waiting: Vec<u32> = links.children(self.number).collect();
        let mut count = 0;
        while let Some(number) = waiting.pop() {
            count += 1;
            waiting.extend(links.children(number));
        }
        count
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.tree.path_of(self.number)
    }

    /// Checksum of its path, which is this one, and its data, for [`digest::node_digest`].
    pub fn digest_prefix(&self, path: &str) -> u32 {
        self.parts.prefix.unwrap_or_else(|| digest::prefix(path, self.parts.data))
    }
}

/// Splits a path into its parent's and the last component; `None` for the root and for what is no path.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    // Of a node below the root the parent's path is empty; with "/" there it would have a second name.
    path.rsplit_once('/').filter(|(parent, name)| !name.is_empty() && *parent != "/")
}

/// The path of a node, by a way to its parent and name; of the root it is `/`.
pub(super) fn path_by<'a>(number: u32, look: impl Fn(u32) -> (u32, &'a str)) -> String {
    let mut names = Vec::new();
    let mut number = number;
    while number != ROOT {
        let (parent, name) = look(number);
        names.push(name);
        number = parent;
    }
    if names.is_empty() {
        return "/".to_owned();
    }
    let mut path = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for name in names.iter().rev() {
        path.push('/');
        path.push_str(name);
    }
    path
}

fn key_of(nodes: &Slots<Node>, number: u32) -> Key<'_> {
    let node = nodes.at(number).expect("numbers in the name table are in use");
    Key { parent: node.parent(), name: node.name() }
}

fn byte_count(path: &str, data: Option<&[u8]>) -> u64 {
    (path.len() + data.map_or(0, <[u8]>::len)) as u64
}
