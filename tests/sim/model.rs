//! A naive tree that replays the committed history: every node's past, so that a reply can be checked at its zxid.
//!
//! In: committed txns in order. Out: what any path held at any zxid, and everything that changed, in order.
//!
//! Always true:
//! * a txn is applied only if a right leader could have decided it: a version goes up by one, a node is created once,
//!   an ephemeral node belongs to a session that lives, a session's end takes exactly its own nodes with it.
//!
//! Not here: what clients were told (`oracle`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate::base::{SessionId, Zxid};

use crate::acl::List;
use crate::invariants::quotas;
use crate::trace::hash_bytes;
use crate::wire::{AclEntry, Change, NodeKind, Stat, Txn};

/// Where the membership stands.
pub const CONFIG: &str = "/zookeeper/config";
/// Where quotas stand.
pub const QUOTA: &str = "/zookeeper/quota";

/// A node at one zxid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its data.
    pub data: Bytes,
    /// Its numbers.
    pub stat: Stat,
    /// Number of children created so far: the next sequence number.
    pub created: i32,
    /// Sum of the hashes of its children's names.
    pub names: u64,
    /// Who may do what.
    pub acl: Arc<[AclEntry]>,
    /// What kind of node it is.
    pub kind: NodeKind,
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was created.
    Created,
    /// It was deleted.
    Deleted,
    /// Its data was replaced.
    Set,
}

/// Something that watches may wait for.
#[derive(Clone, Debug)]
pub struct Changed {
    /// By which txn.
    pub zxid: Zxid,
    /// What.
    pub what: What,
    /// Where.
    pub path: String,
}

/// The replayed history.
pub struct Model {
    /// What each path held from a zxid on; `None`: nothing.
    paths: BTreeMap<String, Vec<(Zxid, Option<Node>)>>,
    sessions: BTreeMap<SessionId, BTreeSet<String>>,
    closed: BTreeMap<SessionId, Zxid>,
    /// Everything that changed, in order.
    pub changes: Vec<Changed>,
    /// The list of most nodes.
    open: Arc<[AclEntry]>,
    /// The last txn that was applied.
    pub last: Zxid,
}

impl Model {
    /// The tree before the first txn.
    pub fn new() -> Model {
        let open: Arc<[AclEntry]> = List::Open.entries().into();
        let mut model = Model {
            paths: BTreeMap::new(),
            sessions: BTreeMap::new(),
            closed: BTreeMap::new(),
            changes: Vec::new(),
            open,
            last: Zxid::ZERO,
        };
        let first = |children: i32, names: &[&str]| {
            let stat = Stat { children, cversion: -children, ..Stat::default() };
            let names = names.iter().map(|name| name_hash(name)).fold(0, u64::wrapping_add);
            let (data, acl) = (Bytes::new(), Arc::clone(&model.open));
            Node { data, stat, created: 0, names, acl, kind: NodeKind::Persistent }
        };
        let config = Node {
            stat: Stat { version: -1, aversion: -1, ..Stat::default() },
            acl: [AclEntry { perms: 1, scheme: "world".into(), id: "anyone".into() }].into(),
            ..first(0, &[])
        };
        let nodes = [
            ("/", first(1, &["/zookeeper"])),
            ("/zookeeper", first(2, &[QUOTA, CONFIG])),
            (QUOTA, first(0, &[])),
            (CONFIG, config),
        ];
        for (path, node) in nodes {
            model.paths.insert(path.to_owned(), vec![(Zxid(i64::MIN), Some(node))]);
        }
        model
    }

    /// What a path holds after the txn at `zxid`.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        at(self.paths.get(path)?, zxid)
    }

    /// What a path holds before the txn at `zxid`.
    pub fn before(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        self.at(path, Zxid(zxid.0 - 1))
    }

    /// Every path that holds something, with it.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.paths.iter().filter_map(|(path, past)| Some((path.as_str(), past.last()?.1.as_ref()?)))
    }

    /// Everything at and below a path after the txn at `zxid`.
    pub fn below(&self, path: &str, zxid: Zxid) -> impl Iterator<Item = (&str, &Node)> {
        let is_below = {
            let path = path.to_owned();
            move |other: &str| covers(&path, other)
        };
        let begins = path.to_owned();
        let from = self.paths.range(path.to_owned()..);
        let near = from.take_while(move |(other, _)| other.starts_with(&begins));
        near.filter(move |(other, _)| is_below(other))
            .filter_map(move |(other, past)| Some((other.as_str(), at(past, zxid)?)))
    }

    /// The sessions that live.
    pub fn sessions(&self) -> &BTreeMap<SessionId, BTreeSet<String>> {
        &self.sessions
    }

    /// When a session was closed; `None` if it lives or never was.
    pub fn closed_at(&self, session: SessionId) -> Option<Zxid> {
        self.closed.get(&session).copied()
    }

    /// Applies a committed txn.
    pub fn apply(&mut self, txn: &Txn) {
        self.last = txn.zxid;
        let known = self.changes.len();
        match &txn.change {
            Change::CreateSession { .. } => {
                let is_new = self.sessions.insert(txn.session, BTreeSet::new()).is_none();
                let was_closed = self.closed.contains_key(&txn.session);
                assert!(is_new && !was_closed, "{}: session {} is created twice", txn.zxid, txn.session);
            }
            Change::CloseSession { paths } => self.close(txn, paths),
            Change::Error(_) => {}
            Change::Multi(parts) => {
                if !parts.iter().any(|part| matches!(part, Change::Error(_))) {
                    parts.iter().for_each(|part| self.change(txn, part));
                }
            }
            change @ (Change::Create { .. }
            | Change::Delete { .. }
            | Change::SetData { .. }
            | Change::SetAcl { .. }
            | Change::Reconfig { .. }
            | Change::Check) => {
                self.change(txn, change);
            }
        }
        self.count_quotas(txn.zxid, known);
    }

    fn close(&mut self, txn: &Txn, paths: &[String]) {
        let Some(owned) = self.sessions.remove(&txn.session) else {
            assert!(
                paths.is_empty(),
                "ephemerals: {} closes {} again, with {paths:?}",
                txn.zxid,
                txn.session
            );
            return;
        };
        let listed: BTreeSet<String> = paths.iter().cloned().collect();
        assert!(
            listed == owned && listed.len() == paths.len(),
            "ephemerals: {} closes {}, lists {paths:?}, and the session owns {owned:?}",
            txn.zxid,
            txn.session
        );
        for path in paths {
            self.remove(txn.zxid, path);
        }
        self.closed.insert(txn.session, txn.zxid);
    }

    fn change(&mut self, txn: &Txn, change: &Change) {
        let zxid = txn.zxid;
        match change {
            Change::Create { path, data, acl, kind } => self.create(txn, path, data, (acl, *kind)),
            Change::Delete { path, .. } => {
                let node = self.remove(zxid, path);
                if node.stat.owner != 0 {
                    let owned = self.sessions.get_mut(&SessionId(node.stat.owner));
                    owned.expect("an ephemeral node's session lives").remove(path);
                }
            }
            Change::SetData { path, data, version } => {
                let before = self.set(txn, path, data);
                assert!(*version == before + 1, "{zxid} sets {path} to version {version} after {before}");
                self.edit(zxid, path, |node| node.stat.version = *version);
            }
            Change::Reconfig { text } => {
                self.set(txn, CONFIG, &Bytes::copy_from_slice(text.as_bytes()));
            }
            Change::SetAcl { path, acl, version } => {
                let acl = self.shared(acl);
                let before = self.at(path, zxid).map(|node| node.stat.aversion);
                assert!(
                    before == Some(*version - 1),
                    "{zxid} sets the ACL of {path} to version {version} after {before:?}"
                );
                self.edit(zxid, path, |node| {
                    node.acl = acl;
                    node.stat.aversion = *version;
                });
            }
            Change::Check => {}
            Change::CreateSession { .. }
            | Change::CloseSession { .. }
            | Change::Error(_)
            | Change::Multi(_) => panic!("{zxid}: {change:?} is no change of a node"),
        }
    }

    fn create(&mut self, txn: &Txn, path: &str, data: &Bytes, form: (&[AclEntry], NodeKind)) {
        let (zxid, (acl, kind)) = (txn.zxid, form);
        assert!(self.at(path, zxid).is_none(), "{zxid} creates {path}, which exists");
        let owner = if kind == NodeKind::Ephemeral { txn.session.0 } else { 0 };
        if kind == NodeKind::Ephemeral {
            let owned = self.sessions.get_mut(&txn.session);
            let owned = owned.unwrap_or_else(|| {
                panic!("ephemerals: {zxid} creates {path} for {}, which does not live", txn.session)
            });
            owned.insert(path.to_owned());
        }
        let at = zxid.0;
        let stat = Stat {
            czxid: at,
            mzxid: at,
            pzxid: at,
            ctime: txn.time,
            mtime: txn.time,
            owner,
            ..Stat::default()
        };
        let stat = Stat { data_len: data.len() as i32, ..stat };
        let acl = self.shared(acl);
        let node = Node { data: data.clone(), stat, created: 0, names: 0, acl, kind };
        self.put(zxid, path, Some(node));
        self.note(zxid, What::Created, path);
        self.parent(zxid, path, 1);
    }

    /// Replaces data. Answers the version before.
    fn set(&mut self, txn: &Txn, path: &str, data: &Bytes) -> i32 {
        let zxid = txn.zxid;
        let before =
            self.at(path, zxid).unwrap_or_else(|| panic!("{zxid} sets {path}: no node")).stat.version;
        self.edit(zxid, path, |node| {
            node.data = data.clone();
            node.stat.data_len = data.len() as i32;
            node.stat.mzxid = zxid.0;
            node.stat.mtime = txn.time;
        });
        self.note(zxid, What::Set, path);
        before
    }

    fn remove(&mut self, zxid: Zxid, path: &str) -> Node {
        let node = self.at(path, zxid).cloned().unwrap_or_else(|| panic!("{zxid} deletes {path}: no node"));
        assert!(node.stat.children == 0, "{zxid} deletes {path}, which has children");
        self.put(zxid, path, None);
        self.note(zxid, What::Deleted, path);
        self.parent(zxid, path, -1);
        node
    }

    fn parent(&mut self, zxid: Zxid, path: &str, step: i32) {
        let hash = name_hash(path);
        self.edit(zxid, parent_of(path), |node| {
            node.stat.children += step;
            node.stat.pzxid = zxid.0;
            node.names = if step > 0 { node.names.wrapping_add(hash) } else { node.names.wrapping_sub(hash) };
            node.created += step.max(0);
            node.stat.cversion = 2 * node.created - node.stat.children;
        });
    }

    /// What the servers count for quotas is written where nobody's txn writes it: no number of the node changes, but
    /// for the length of its data.
    fn count_quotas(&mut self, zxid: Zxid, known: usize) {
        for quota in quotas::PATHS {
            let concerns = |change: &Changed| {
                covers(quota, &change.path) || (change.what == What::Created && covers(QUOTA, &change.path))
            };
            if !self.changes[known..].iter().any(concerns) {
                continue;
            }
            let (limits, stats) = (quotas::limits_path(quota), quotas::stats_path(quota));
            if self.at(&limits, zxid).is_none() || self.at(&stats, zxid).is_none() {
                continue;
            }
            let text = quotas::amount(self, quota, zxid).to_string();
            self.edit(zxid, &stats, |node| {
                node.stat.data_len = text.len() as i32;
                node.data = Bytes::from(text);
            });
        }
    }

    fn edit(&mut self, zxid: Zxid, path: &str, change: impl FnOnce(&mut Node)) {
        let node = self.at(path, zxid).cloned();
        let mut node = node.unwrap_or_else(|| panic!("{zxid} changes {path}, which does not exist"));
        change(&mut node);
        self.put(zxid, path, Some(node));
    }

    fn put(&mut self, zxid: Zxid, path: &str, node: Option<Node>) {
        let past = match self.paths.get_mut(path) {
            Some(past) => past,
            None => self.paths.entry(path.to_owned()).or_default(),
        };
        match past.last_mut() {
            Some((last, version)) if *last == zxid => *version = node,
            _ => past.push((zxid, node)),
        }
    }

    fn note(&mut self, zxid: Zxid, what: What, path: &str) {
        self.changes.push(Changed { zxid, what, path: path.to_owned() });
    }

    fn shared(&self, acl: &[AclEntry]) -> Arc<[AclEntry]> {
        if *acl == *self.open { Arc::clone(&self.open) } else { acl.into() }
    }
}

fn at(past: &[(Zxid, Option<Node>)], zxid: Zxid) -> Option<&Node> {
    let count = past.partition_point(|(from, _)| *from <= zxid);
    past[count.checked_sub(1)?].1.as_ref()
}

/// Whether a path is this one or below it.
pub fn covers(path: &str, other: &str) -> bool {
    path == "/" || other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The hash of the last component of a path.
pub fn name_hash(path: &str) -> u64 {
    let name = path.rsplit('/').next().unwrap_or(path);
    hash_bytes(0, name.as_bytes())
}

/// The path without its last component.
pub fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Why;

    fn create(zxid: i64, session: i64, path: &str, kind: NodeKind) -> Txn {
        let change =
            Change::Create { path: path.into(), data: Bytes::new(), acl: List::Open.entries(), kind };
        Txn { session: SessionId(session), cxid: 1, zxid: Zxid(zxid), time: 5, change }
    }

    #[test]
    fn a_path_is_known_at_every_zxid() {
        let mut model = Model::new();
        model.apply(&create(1, 7, "/a", NodeKind::Persistent));
        model.apply(&create(2, 7, "/a/b", NodeKind::Persistent));
        let change = Change::Delete { path: "/a/b".into(), why: Why::Asked };
        model.apply(&Txn { session: SessionId(7), cxid: 2, zxid: Zxid(4), time: 6, change });
        assert!(model.at("/a/b", Zxid(1)).is_none() && model.at("/a/b", Zxid(3)).is_some());
        assert!(model.at("/a/b", Zxid(4)).is_none() && model.before("/a/b", Zxid(4)).is_some());
        assert_eq!(model.at("/a", Zxid(3)).unwrap().stat.children, 1);
        let above = model.at("/a", Zxid(4)).unwrap();
        assert_eq!((above.created, above.stat.cversion, above.stat.pzxid), (1, 2, 4));
        assert_eq!(model.below("/a", Zxid(3)).count(), 2);
        assert_eq!(model.below("/", Zxid(4)).count(), 5);
        let seen: Vec<_> = model.changes.iter().map(|change| (change.zxid.0, change.what)).collect();
        assert_eq!(seen, [(1, What::Created), (2, What::Created), (4, What::Deleted)]);
    }

    #[test]
    #[should_panic(expected = "does not live")]
    fn an_ephemeral_node_without_a_session_is_noticed() {
        Model::new().apply(&create(1, 7, "/a", NodeKind::Ephemeral));
    }

    #[test]
    #[should_panic(expected = "owns {\"/a\"}")]
    fn a_session_that_leaves_a_node_behind_is_noticed() {
        let mut model = Model::new();
        let session = SessionId(7);
        let txn = |zxid, change| Txn { session, cxid: 0, zxid: Zxid(zxid), time: 5, change };
        model.apply(&txn(1, Change::CreateSession { timeout_ms: 1 }));
        model.apply(&create(2, 7, "/a", NodeKind::Ephemeral));
        model.apply(&txn(3, Change::CloseSession { paths: vec![] }));
    }
}
