//! The tree against a naive model: every node, stat, digest and index after every txn, and after snapshots, whole and
//! fuzzy, with the txns behind them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::digest::{node_digest, prefix};
use super::store::split;
use super::*;
use crate::base::wire::Writer;
use crate::base::{SessionId, Zxid};
use crate::proto::{Acl, ErrorCode, Id, StatPersisted};

/// A node of the model: everything as it is stored.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    data: Option<Bytes>,
    acl: Vec<Acl>,
    stat: StatPersisted,
}

/// A model of the tree: paths and nodes, nothing shared, nothing indexed.
#[derive(Clone, Debug, PartialEq, Default)]
struct Model {
    nodes: BTreeMap<String, Plain>,
    sessions: BTreeMap<SessionId, i32>,
}

/// What a client wants; the model's leader makes a txn of it.
#[derive(Clone, Debug)]
enum Wish {
    Create(String, CreateKind, Option<Bytes>, i32),
    Delete(String),
    SetData(String, Option<Bytes>),
    SetAcl(String, i32),
    Multi(Vec<Wish>),
    Open,
    Close,
}

const SESSIONS: i64 = 3;

fn acl(perms: i32) -> Vec<Acl> {
    vec![Acl { perms, id: Id::new("world", "anyone") }]
}

impl Model {
    fn fresh() -> Model {
        let node = |acl: Vec<Acl>, aversion| Plain {
            data: Some(Bytes::new()),
            acl,
            stat: StatPersisted { aversion, ..StatPersisted::default() },
        };
        let mut nodes = BTreeMap::new();
        nodes.insert(String::new(), node(Acl::open(), 0));
        nodes.insert("/zookeeper".to_owned(), node(Acl::open(), 0));
        nodes.insert("/zookeeper/quota".to_owned(), node(Acl::open(), 0));
        nodes.insert("/zookeeper/config".to_owned(), node(Acl::read_only(), -1));
        Model { nodes, sessions: BTreeMap::new() }
    }

    fn children(&self, path: &str) -> Vec<&str> {
        let names = self.nodes.keys().filter_map(|of| split(of));
        names.filter(|(parent, _)| *parent == path).map(|(_, name)| name).collect()
    }

    fn digest(&self) -> u64 {
        let parts = self.nodes.iter();
        parts.map(|(path, node)| node_digest(path, prefix(path, node.data.as_deref()), &node.stat)).sum()
    }

    /// Decides as a leader does, and changes the model.
    fn decide(&mut self, header: TxnHeader, wish: &Wish) -> TxnBody {
        let failed = |code: ErrorCode| TxnBody::Error { err: code.as_wire() };
        match wish {
            Wish::Open => {
                self.sessions.insert(header.session, 5_000);
                TxnBody::CreateSession { timeout_ms: 5_000 }
            }
            Wish::Close => {
                let owned = |node: &Plain| node.stat.ephemeral_owner == header.session.0;
                let paths = self.nodes.iter().filter(|(_, node)| owned(node));
                let paths: Vec<String> = paths.map(|(path, _)| path.clone()).collect();
                paths.iter().for_each(|path| self.delete(header, path));
                self.sessions.remove(&header.session);
                TxnBody::CloseSession { paths }
            }
            Wish::Multi(wishes) => {
                let before = self.clone();
                let mut ops: Vec<TxnBody> = wishes.iter().map(|wish| self.decide(header, wish)).collect();
                if let Some(bad) = ops.iter().position(|op| matches!(op, TxnBody::Error { .. })) {
                    *self = before;
                    let after = failed(ErrorCode::RuntimeInconsistency);
                    ops[bad + 1..].iter_mut().for_each(|op| *op = after.clone());
                }
                TxnBody::Multi(ops)
            }
            Wish::Create(path, kind, data, perms) => {
                self.create(header, path, *kind, data, *perms).map_or_else(failed, TxnBody::Create)
            }
            Wish::Delete(path) => {
                if !self.nodes.contains_key(path) {
                    return failed(ErrorCode::NoNode);
                }
                if !self.children(path).is_empty() {
                    return failed(ErrorCode::NotEmpty);
                }
                self.delete(header, path);
                TxnBody::Delete { path: path.clone(), reason: DeleteReason::Client }
            }
            Wish::SetData(path, data) => {
                let Some(node) = self.nodes.get_mut(path) else {
                    return failed(ErrorCode::NoNode);
                };
                node.data.clone_from(data);
                node.stat.version += 1;
                (node.stat.mzxid, node.stat.mtime) = (header.zxid, header.time);
                let (path, data, version) = (path.clone(), data.clone(), node.stat.version);
                TxnBody::SetData(SetDataTxn { path, data, version, reason: SetDataReason::Client })
            }
            Wish::SetAcl(path, perms) => {
                let Some(node) = self.nodes.get_mut(path) else {
                    return failed(ErrorCode::NoNode);
                };
                node.acl = acl(*perms);
                node.stat.aversion += 1;
                let version = node.stat.aversion;
                TxnBody::SetAcl { path: path.clone(), acl: acl(*perms), version }
            }
        }
    }

    fn create(
        &mut self,
        header: TxnHeader,
        path: &str,
        kind: CreateKind,
        data: &Option<Bytes>,
        perms: i32,
    ) -> Result<CreateTxn, ErrorCode> {
        let (parent_path, _) = split(path).ok_or(ErrorCode::BadArguments)?;
        let exists = self.nodes.contains_key(path);
        let parent = self.nodes.get_mut(parent_path).ok_or(ErrorCode::NoNode)?;
        if exists {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(NodeKind::of_owner(parent.stat.ephemeral_owner), NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        parent.stat.cversion += 1;
        parent.stat.pzxid = header.zxid;
        let parent_cversion = parent.stat.cversion;
        let owner = match kind {
            CreateKind::Create { ephemeral: true } | CreateKind::Create2 { ephemeral: true } => {
                header.session.0
            }
            CreateKind::Create { .. } | CreateKind::Create2 { .. } => 0,
            CreateKind::Container => i64::MIN,
            CreateKind::Ttl { ttl_ms } => 0xff_u64.cast_signed() << 56 | ttl_ms,
        };
        let stat = StatPersisted::created(header.zxid, header.time, owner);
        self.nodes.insert(path.to_owned(), Plain { data: data.clone(), acl: acl(perms), stat });
        Ok(CreateTxn { path: path.to_owned(), data: data.clone(), acl: acl(perms), kind, parent_cversion })
    }

    fn delete(&mut self, header: TxnHeader, path: &str) {
        self.nodes.remove(path);
        let (parent, _) = split(path).expect("not the root");
        self.nodes.get_mut(parent).expect("its parent is there").stat.pzxid = header.zxid;
    }
}

/// The tree's content in the model's form.
fn content(tree: &Tree) -> Model {
    let mut nodes = BTreeMap::new();
    let mut waiting = vec![String::new()];
    while let Some(path) = waiting.pop() {
        let node = tree.node(&path).expect("its parent lists it");
        waiting.extend(node.children().map(|name| format!("{path}/{name}")));
        let data = node.data().map(Bytes::copy_from_slice);
        let plain = Plain { data, acl: node.acl().to_vec(), stat: *node.stat_persisted() };
        nodes.insert(path, plain);
    }
    Model { nodes, sessions: tree.sessions().clone() }
}

#[track_caller]
fn assert_agrees(tree: &Tree, model: &Model) {
    assert_eq!(content(tree), *model);
    assert_eq!(tree.digest(), model.digest());
    assert_eq!(tree.node_count(), model.nodes.len());
    for (path, node) in &model.nodes {
        let children = model.children(path);
        let stat = tree.node(path).expect("in the model").stat();
        assert_eq!(stat.num_children as usize, children.len());
        assert_eq!(stat.cversion, 2 * node.stat.cversion - stat.num_children);
    }
    let root = tree.node("/").expect("there is a root");
    assert_eq!(root.descendant_count() as usize, model.nodes.len() - 1);
    let size: usize =
        model.nodes.iter().map(|(path, node)| path.len() + node.data.as_ref().map_or(0, Bytes::len)).sum();
    assert_eq!(tree.size_bytes(), size as u64);
    for session in (1..=SESSIONS).map(SessionId) {
        let owned = model.nodes.iter().filter(|(_, node)| node.stat.ephemeral_owner == session.0);
        let owned: Vec<String> = owned.map(|(path, _)| path.clone()).collect();
        let mut found = tree.ephemerals(session);
        found.sort();
        assert_eq!(tree.ephemeral_path_bytes(session), owned.iter().map(String::len).sum::<usize>());
        assert_eq!(found, owned);
    }
    let kinds = |wanted: fn(NodeKind) -> bool| {
        model.nodes.values().filter(|node| wanted(NodeKind::of_owner(node.stat.ephemeral_owner))).count()
    };
    assert_eq!(tree.containers().count(), kinds(|kind| kind == NodeKind::Container));
    assert_eq!(tree.ttls().count(), kinds(|kind| matches!(kind, NodeKind::Ttl(_))));
}

/// The txns that a leader makes of wishes, and the model after each.
fn history(wishes: &[(i64, Wish)]) -> (Vec<Txn>, Vec<Model>) {
    let mut model = Model::fresh();
    let (mut txns, mut models) = (Vec::new(), vec![model.clone()]);
    for (index, (session, wish)) in wishes.iter().enumerate() {
        let number = i64::try_from(index).expect("few") + 1;
        let header =
            TxnHeader { session: SessionId(*session), cxid: 7, zxid: Zxid(number), time: 1_000 + number };
        let body = model.decide(header, wish);
        let digest = body.has_digest().then(|| model.digest());
        txns.push(Txn { header, body, digest });
        models.push(model.clone());
    }
    (txns, models)
}

fn any_path() -> impl Strategy<Value = String> {
    // Few names on three levels, so that paths meet.
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![
        4 => any::<bool>().prop_map(|ephemeral| CreateKind::Create { ephemeral }),
        2 => any::<bool>().prop_map(|ephemeral| CreateKind::Create2 { ephemeral }),
        1 => Just(CreateKind::Container),
        1 => (1_i64..9).prop_map(|ttl_ms| CreateKind::Ttl { ttl_ms }),
    ];
    let data = || {
        let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..4), Just(vec![7; 300])];
        prop::option::of(bytes.prop_map(Bytes::from))
    };
    let single = prop_oneof![
        6 => (any_path(), kind, data(), 1..4_i32)
            .prop_map(|(path, kind, data, perms)| Wish::Create(path, kind, data, perms)),
        3 => any_path().prop_map(Wish::Delete),
        2 => (any_path(), data()).prop_map(|(path, data)| Wish::SetData(path, data)),
        2 => (any_path(), 1..6_i32).prop_map(|(path, perms)| Wish::SetAcl(path, perms)),
    ];
    prop_oneof![
        12 => single.clone(),
        3 => prop::collection::vec(single, 0..4).prop_map(Wish::Multi),
        1 => Just(Wish::Open),
        2 => Just(Wish::Close),
    ]
}

fn any_wishes() -> impl Strategy<Value = Vec<(i64, Wish)>> {
    prop::collection::vec((1..=SESSIONS, any_wish()), 1..40)
}

fn replayed(txns: &[Txn]) -> Tree {
    let mut tree = Tree::new();
    for txn in txns {
        let applied = tree.apply(txn);
        assert_eq!(applied.mismatch, None, "{txn:?}");
    }
    tree
}

fn acl_id(tree: &Tree, path: &str) -> i64 {
    let number = tree.find(path).expect("it is there");
    let (parts, _) = tree.at(number).unpack();
    if parts.acl == acls::OPEN { -1 } else { tree.acls.freeze().at(parts.acl).expect("in use").id }
}

/// A snapshot as Apache ZooKeeper writes it while txns go on: sessions and ACL table first, then the nodes depth first, each as
/// it is when its turn comes. `waits` says how many txns pass before each node. Also tells the last txn that passed.
fn fuzzy(states: &[Tree], start: usize, mut waits: impl Iterator<Item = usize>) -> (Bytes, usize) {
    let mut writer = Writer::new();
    let begin = &states[start];
    writer.count(begin.sessions().len());
    for (session, timeout_ms) in begin.sessions() {
        writer.i64(session.0).i32(*timeout_ms);
    }
    let table = begin.acls.freeze();
    let lists: Vec<_> = table.iter().filter(|(number, _)| *number != acls::OPEN).collect();
    writer.count(lists.len());
    for (_, entry) in lists {
        writer.i64(entry.id);
        Acl::encode_list(entry.list.as_ref().expect("known"), &mut writer);
    }
    let mut at = start;
    let mut waiting = vec![String::new()];
    while let Some(path) = waiting.pop() {
        at = (at + waits.next().unwrap_or(0)).min(states.len() - 1);
        let Some(node) = states[at].node(&path) else {
            continue;
        };
        writer.string(&path).buffer(node.data()).i64(acl_id(&states[at], &path));
        node.stat_persisted().encode(&mut writer);
        waiting.extend(node.children().map(|name| format!("{path}/{name}")));
    }
    writer.string("/");
    (writer.finish(), at)
}

proptest! {
    #[test]
    fn the_tree_agrees_with_the_model(wishes in any_wishes()) {
        let (txns, models) = history(&wishes);
        let mut tree = Tree::new();
        assert_agrees(&tree, &models[0]);
        for (txn, model) in txns.iter().zip(&models[1..]) {
            let applied = tree.apply(txn);
            prop_assert_eq!(applied.mismatch, None);
            let ops = if let TxnBody::Multi(ops) = &txn.body { ops.len() } else { 1 };
            prop_assert_eq!(applied.outcomes.len(), ops);
            assert_agrees(&tree, model);
        }
        prop_assert_eq!((tree.digest_mismatch_count(), tree.zxid()), (0, Zxid(txns.len() as i64)));
    }

    #[test]
    fn an_image_and_the_txns_after_it_give_the_same_tree(wishes in any_wishes(), at in any::<prop::sample::Index>()) {
        let (txns, models) = history(&wishes);
        let at = at.index(models.len());
        let mut tree = replayed(&txns[..at]);
        let image = tree.image();
        let body = image.to_body();
        let digest = (image.zxid(), image.digest());
        for txn in &txns[at..] {
            tree.apply(txn);
        }
        // What was done since does not show in the image.
        prop_assert_eq!(image.to_body(), body.clone());
        let mut read = Tree::from_body(image.zxid(), body, Some(digest)).expect("it was written whole");
        assert_agrees(&read, &models[at]);
        for txn in &txns[at..] {
            prop_assert_eq!(read.apply(txn).mismatch, None);
        }
        assert_agrees(&read, &models[models.len() - 1]);
        prop_assert_eq!(read.digest_mismatch_count(), 0);
    }

    #[test]
    fn a_fuzzy_snapshot_and_the_txns_after_it_give_the_same_tree(
        wishes in any_wishes(),
        start in any::<prop::sample::Index>(),
        waits in prop::collection::vec(0..3_usize, 0..30),
    ) {
        let (txns, models) = history(&wishes);
        let states: Vec<Tree> = (0..=txns.len()).map(|end| replayed(&txns[..end])).collect();
        let start = start.index(states.len());
        let (body, end) = fuzzy(&states, start, waits.into_iter());
        let digest = (states[end].zxid(), states[end].digest());
        let mut read = Tree::from_body(states[start].zxid(), body, Some(digest)).expect("parents come first");
        prop_assert_eq!(read.snapshot_reaches().is_some(), end > start);
        for txn in &txns[start..] {
            prop_assert_eq!(read.apply(txn).mismatch, None);
        }
        assert_agrees(&read, &models[models.len() - 1]);
        prop_assert_eq!((read.acl_pending_count(), read.snapshot_reaches()), (0, None));
        prop_assert_eq!(read.digest_mismatch_count(), 0);
    }

    #[test]
    fn any_bytes_are_a_snapshot_or_an_error(
        wishes in any_wishes(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (txns, _) = history(&wishes);
        let mut body = replayed(&txns).image().to_body().to_vec();
        let at = at.index(body.len());
        prop_assert!(Tree::from_body(Zxid(1), Bytes::copy_from_slice(&body[..at]), None).is_err());
        body[at] = byte;
        if let Ok(mut tree) = Tree::from_body(Zxid::ZERO, Bytes::from(body), None) {
            // Whatever it is, it takes txns without falling over.
            for txn in &txns {
                tree.apply(txn);
            }
        }
    }
}
