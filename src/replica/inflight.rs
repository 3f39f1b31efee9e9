//! What is proposed and not yet applied, as the next request has to see it.
//!
//! In: the tree, and the changes of each proposal. Out: a view of the tree as it will be once all proposals are
//! applied, with its digest.
//!
//! Always true:
//! * a request that fails leaves nothing behind, however far it came;
//! * nothing depends on the order in which records lie;
//! * a record goes once the txn that wrote it last is applied: the tree then says the same.
//!
//! Not here: what may be done (`prepare`), who waits for it (`clients`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::base::{SessionId, Zxid};
use crate::proto::{Acl, StatPersisted};
use crate::tree::{NodeKind, NodeRef, Tree, digest};

/// One node as it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Checksum of its path and data.
    pub prefix: u32,
    /// Its ACL.
    pub acl: Arc<[Acl]>,
    /// Its stat.
    pub stat: StatPersisted,
    /// Bytes of its data; 0 for null.
    pub data_bytes: u32,
    /// How many children it has.
    pub children: u32,
    /// What it counts in the digest as it was found; 0 for one that is new.
    pub part: u64,
}

/// The changes of all outstanding proposals.
#[derive(Debug, Default)]
pub struct InFlight {
    records: FxHashMap<Arc<str>, Record>,
    /// Which record each outstanding proposal wrote, oldest first; a proposal that wrote several stands here as often.
    written: VecDeque<(Zxid, Arc<str>)>,
    /// Bytes of all records' paths.
    path_bytes: usize,
    digest: u64,
}

#[derive(Debug)]
struct Record {
    /// The proposal that wrote it last.
    zxid: Zxid,
    /// `None`: the node will not exist.
    node: Option<Known>,
}

/// The view of one request: the tree, what is in flight, and what the request itself did so far.
#[derive(Debug)]
pub struct View<'a> {
    tree: &'a Tree,
    in_flight: &'a InFlight,
    changed: FxHashMap<Arc<str>, Option<Known>>,
    digest: u64,
}

/// What a request changed, once it is decided.
#[derive(Debug)]
pub struct Changed {
    nodes: FxHashMap<Arc<str>, Option<Known>>,
    digest: u64,
}

impl InFlight {
    /// Nothing is outstanding: what will be is the tree.
    pub fn new(tree: &Tree) -> InFlight {
        InFlight { digest: tree.digest(), ..InFlight::default() }
    }

    /// A view for the next request.
    pub fn view<'a>(&'a self, tree: &'a Tree) -> View<'a> {
        View { tree, in_flight: self, changed: FxHashMap::default(), digest: self.digest }
    }

    /// The request behind these changes is proposed.
    pub fn propose(&mut self, zxid: Zxid, changed: Changed) {
        self.digest = changed.digest;
        for (path, node) in changed.nodes {
            self.written.push_back((zxid, Arc::clone(&path)));
            let path_bytes = path.len();
            if self.records.insert(path, Record { zxid, node }).is_none() {
                self.path_bytes += path_bytes;
            }
        }
    }

    /// The changes of a request that failed, or that changes no node: none.
    pub fn unchanged(&self) -> Changed {
        Changed { nodes: FxHashMap::default(), digest: self.digest }
    }

    /// Everything up to this txn is in the tree.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some((_, path)) = self.written.pop_front_if(|(proposed, _)| *proposed <= zxid) {
            if self.records.get(&path).is_some_and(|record| record.zxid <= zxid) {
                self.records.remove(&path);
                self.path_bytes -= path.len();
            }
        }
    }

    /// The digest of the tree once all of them are applied.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

impl View<'_> {
    /// A node, as it will be.
    pub fn node(&self, path: &str) -> Option<Known> {
        if let Some(node) = self.changed.get(path) {
            return node.clone();
        }
        match self.in_flight.records.get(path) {
            Some(record) => record.node.clone(),
            None => self.tree.node(path).map(|node| Known::of(path, node)),
        }
    }

    /// The tree without what is in flight.
    pub fn tree(&self) -> &Tree {
        self.tree
    }

    /// Puts a node as the request leaves it: a new one, or one that came from [`View::node`] for this path.
    pub fn put(&mut self, path: &str, mut node: Known) {
        let part = digest::node_digest(path, node.prefix, &node.stat);
        self.digest = self.digest.wrapping_sub(node.part).wrapping_add(part);
        node.part = part;
        self.changed.insert(path.into(), Some(node));
    }

    /// Takes a node away.
    pub fn remove(&mut self, path: &str) {
        let part = self.node(path).map_or(0, |node| node.part);
        self.digest = self.digest.wrapping_sub(part);
        self.changed.insert(path.into(), None);
    }

    /// The ephemeral nodes that a session will have, in order of their paths.
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let is_own = |node: &Option<Known>| {
            node.as_ref().is_some_and(|node| node.kind() == NodeKind::Ephemeral(session))
        };
        let mut paths: BTreeSet<String> = self.tree.ephemerals(session).into_iter().collect();
        let in_flight = self.in_flight.records.iter().map(|(path, record)| (path, &record.node));
        for (path, node) in in_flight.chain(&self.changed) {
            match is_own(node) {
                true => paths.insert(path.to_string()),
                false => paths.remove(&**path),
            };
        }
        paths.into_iter().collect()
    }

    /// Bytes that the paths of a session's ephemeral nodes may come to: of those in the tree, and of everything
    /// that is in flight, whoever's it is.
    pub fn ephemeral_path_bytes_max(&self, session: SessionId) -> usize {
        let changed: usize = self.changed.keys().map(|path| path.len()).sum();
        self.tree.ephemeral_path_bytes(session) + self.in_flight.path_bytes + changed
    }

    /// The digest of the tree as the request leaves it.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What the request did, for `InFlight::propose`.
    pub fn into_changed(self) -> Changed {
        Changed { nodes: self.changed, digest: self.digest }
    }
}

impl Known {
    /// A node as it is in the tree.
    fn of(path: &str, node: NodeRef<'_>) -> Known {
        let prefix = node.digest_prefix(path);
        Known {
            prefix,
            part: digest::node_digest(path, prefix, node.stat_persisted()),
            acl: Arc::clone(node.acl()),
            stat: *node.stat_persisted(),
            data_bytes: node.data().map_or(0, <[u8]>::len) as u32,
            children: node.child_count(),
        }
    }

    /// What the node is.
    pub fn kind(&self) -> NodeKind {
        NodeKind::of_owner(self.stat.ephemeral_owner)
    }

    /// A child comes, as `Tree::apply` does it: the counter only moves forward.
    pub fn add_child(&mut self, cversion: i32, zxid: Zxid) {
        if cversion > self.stat.cversion {
            self.stat.cversion = cversion;
            self.stat.pzxid = self.stat.pzxid.max(zxid);
        }
        self.children += 1;
    }

    /// A child goes.
    pub fn remove_child(&mut self, zxid: Zxid) {
        self.stat.pzxid = self.stat.pzxid.max(zxid);
        self.children -= 1;
    }
}
