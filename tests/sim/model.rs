//! A naive tree that replays the committed history: every node's past, so that a reply can be checked at its zxid.
//!
//! In: committed txns in order. Out: what any path held at any zxid, and when it changed next.
//!
//! Always true:
//! * a txn is applied only if a right leader could have decided it: a version goes up by one, a node is created once,
//!   an ephemeral node belongs to a session that lives, a session's end takes exactly its own nodes with it.
//!
//! Not here: what clients were told (`oracle`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::base::{SessionId, Zxid};

use crate::trace::hash_bytes;
use crate::wire::{Change, Stat, Txn};

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
}

/// A path's past.
#[derive(Clone, Debug, Default)]
struct Past {
    /// What it held from a zxid on; `None`: nothing.
    versions: Vec<(Zxid, Option<Node>)>,
    /// When it was created, changed or deleted.
    data_changes: Vec<Zxid>,
    /// When a child appeared or went, or it was deleted.
    child_changes: Vec<Zxid>,
}

/// Which changes a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Creation, deletion and new data of the node itself.
    Data,
    /// Children that appear or go, and deletion of the node itself.
    Children,
}

/// The replayed history.
pub struct Model {
    paths: BTreeMap<String, Past>,
    sessions: BTreeMap<SessionId, BTreeSet<String>>,
    closed: BTreeMap<SessionId, Zxid>,
    /// The last txn that was applied.
    pub last: Zxid,
}

impl Model {
    /// The tree before the first txn. Nodes below `/zookeeper` are not followed.
    pub fn new() -> Model {
        let stat = Stat { czxid: 0, mzxid: 0, version: 0, owner: 0, children: 1, pzxid: 0 };
        let root = Node { data: Bytes::new(), stat, created: 0, names: name_hash("/zookeeper") };
        let past = Past { versions: vec![(Zxid(i64::MIN), Some(root))], ..Past::default() };
        Model {
            paths: BTreeMap::from([("/".to_owned(), past)]),
            sessions: BTreeMap::new(),
            closed: BTreeMap::new(),
            last: Zxid::ZERO,
        }
    }

    /// What a path holds after the txn at `zxid`.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        let past = self.paths.get(path)?;
        let count = past.versions.partition_point(|(from, _)| *from <= zxid);
        past.versions[count.checked_sub(1)?].1.as_ref()
    }

    /// What a path holds before the txn at `zxid`.
    pub fn before(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        self.at(path, Zxid(zxid.0 - 1))
    }

    /// When a path changes next after a zxid.
    pub fn next_change(&self, path: &str, kind: Kind, after: Zxid) -> Option<Zxid> {
        let past = self.paths.get(path)?;
        let changes = match kind {
            Kind::Data => &past.data_changes,
            Kind::Children => &past.child_changes,
        };
        changes.get(changes.partition_point(|zxid| *zxid <= after)).copied()
    }

    /// Every path that holds something, with it.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.paths.iter().filter_map(|(path, past)| Some((path.as_str(), past.versions.last()?.1.as_ref()?)))
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
        match &txn.change {
            Change::CreateSession { .. } => {
                let is_new = self.sessions.insert(txn.session, BTreeSet::new()).is_none();
                let was_closed = self.closed.contains_key(&txn.session);
                assert!(is_new && !was_closed, "{}: session {} is created twice", txn.zxid, txn.session);
            }
            Change::CloseSession { paths } => self.close(txn, paths),
            Change::Error(_) | Change::Reconfig { .. } => {}
            Change::Multi(parts) => {
                if !parts.iter().any(|part| matches!(part, Change::Error(_))) {
                    parts.iter().for_each(|part| self.change(txn, part));
                }
            }
            change @ (Change::Create { .. }
            | Change::Delete { .. }
            | Change::SetData { .. }
            | Change::Check) => {
                self.change(txn, change);
            }
        }
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
            Change::Create { path, data, is_ephemeral } => {
                assert!(self.at(path, zxid).is_none(), "{zxid} creates {path}, which exists");
                let owner = if *is_ephemeral { txn.session.0 } else { 0 };
                if *is_ephemeral {
                    let owned = self.sessions.get_mut(&txn.session);
                    let owned = owned.unwrap_or_else(|| {
                        panic!("ephemerals: {zxid} creates {path} for {}, which does not live", txn.session)
                    });
                    owned.insert(path.clone());
                }
                let stat =
                    Stat { czxid: zxid.0, mzxid: zxid.0, version: 0, owner, children: 0, pzxid: zxid.0 };
                let node = Node { data: data.clone(), stat, created: 0, names: 0 };
                self.put(zxid, path, Some(node), Kind::Data);
                self.parent(zxid, path, 1);
            }
            Change::Delete { path } => {
                let node = self.remove(zxid, path);
                if node.stat.owner != 0 {
                    let owned = self.sessions.get_mut(&SessionId(node.stat.owner));
                    owned.expect("an ephemeral node's session lives").remove(path);
                }
            }
            Change::SetData { path, data, version } => {
                let mut node =
                    self.at(path, zxid).cloned().unwrap_or_else(|| panic!("{zxid} sets {path}: no node"));
                assert!(
                    *version == node.stat.version + 1,
                    "{zxid} sets {path} to version {version} after {}",
                    node.stat.version
                );
                node.data = data.clone();
                node.stat.version = *version;
                node.stat.mzxid = zxid.0;
                self.put(zxid, path, Some(node), Kind::Data);
            }
            Change::Check => {}
            Change::CreateSession { .. }
            | Change::CloseSession { .. }
            | Change::Error(_)
            | Change::Reconfig { .. }
            | Change::Multi(_) => panic!("{zxid}: {change:?} is no change of a node"),
        }
    }

    fn remove(&mut self, zxid: Zxid, path: &str) -> Node {
        let node = self.at(path, zxid).cloned().unwrap_or_else(|| panic!("{zxid} deletes {path}: no node"));
        assert!(node.stat.children == 0, "{zxid} deletes {path}, which has children");
        self.put(zxid, path, None, Kind::Data);
        self.note(zxid, path, Kind::Children);
        self.parent(zxid, path, -1);
        node
    }

    fn parent(&mut self, zxid: Zxid, path: &str, step: i32) {
        let parent = parent_of(path);
        let node = self.at(parent, zxid).cloned();
        let mut node = node.unwrap_or_else(|| panic!("{zxid} changes {path}, whose parent does not exist"));
        node.stat.children += step;
        node.stat.pzxid = zxid.0;
        let hash = name_hash(path);
        node.names = if step > 0 { node.names.wrapping_add(hash) } else { node.names.wrapping_sub(hash) };
        node.created += step.max(0);
        self.put(zxid, parent, Some(node), Kind::Children);
    }

    fn put(&mut self, zxid: Zxid, path: &str, node: Option<Node>, kind: Kind) {
        let past = match self.paths.get_mut(path) {
            Some(past) => past,
            None => self.paths.entry(path.to_owned()).or_default(),
        };
        match past.versions.last_mut() {
            Some((last, version)) if *last == zxid => *version = node,
            _ => past.versions.push((zxid, node)),
        }
        self.note(zxid, path, kind);
    }

    fn note(&mut self, zxid: Zxid, path: &str, kind: Kind) {
        let past = self.paths.get_mut(path).expect("the path was put before");
        let changes = match kind {
            Kind::Data => &mut past.data_changes,
            Kind::Children => &mut past.child_changes,
        };
        if changes.last() != Some(&zxid) {
            changes.push(zxid);
        }
    }
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

    fn create(zxid: i64, session: i64, path: &str, is_ephemeral: bool) -> Txn {
        let change = Change::Create { path: path.into(), data: Bytes::new(), is_ephemeral };
        Txn { session: SessionId(session), cxid: 1, zxid: Zxid(zxid), change }
    }

    #[test]
    fn a_path_is_known_at_every_zxid() {
        let mut model = Model::new();
        model.apply(&create(1, 7, "/a", false));
        model.apply(&create(2, 7, "/a/b", false));
        let change = Change::Delete { path: "/a/b".into() };
        model.apply(&Txn { session: SessionId(7), cxid: 2, zxid: Zxid(4), change });
        assert!(model.at("/a/b", Zxid(1)).is_none() && model.at("/a/b", Zxid(3)).is_some());
        assert!(model.at("/a/b", Zxid(4)).is_none() && model.before("/a/b", Zxid(4)).is_some());
        assert_eq!(model.at("/a", Zxid(3)).unwrap().stat.children, 1);
        assert_eq!(model.at("/a", Zxid(4)).unwrap().created, 1);
        assert_eq!(model.next_change("/a", Kind::Children, Zxid(2)), Some(Zxid(4)));
        assert_eq!(model.next_change("/a", Kind::Data, Zxid(1)), None);
    }

    #[test]
    #[should_panic(expected = "does not live")]
    fn an_ephemeral_node_without_a_session_is_noticed() {
        Model::new().apply(&create(1, 7, "/a", true));
    }

    #[test]
    #[should_panic(expected = "owns {\"/a\"}")]
    fn a_session_that_leaves_a_node_behind_is_noticed() {
        let mut model = Model::new();
        let session = SessionId(7);
        model.apply(&Txn {
            session,
            cxid: 0,
            zxid: Zxid(1),
            change: Change::CreateSession { timeout_ms: 1 },
        });
        model.apply(&create(2, 7, "/a", true));
        model.apply(&Txn { session, cxid: 0, zxid: Zxid(3), change: Change::CloseSession { paths: vec![] } });
    }
}
