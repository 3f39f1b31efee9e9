//! What applying tells, and the corners that the model does not reach.

use bytes::Bytes;

use super::*;
use crate::base::Zxid;
use crate::proto::{MultiResult, Response};
use crate::tree::txn::{DeleteReason, SetDataReason};

fn header(zxid: i64) -> TxnHeader {
    TxnHeader { session: SessionId(5), cxid: 1, zxid: Zxid(zxid), time: 1_000 + zxid }
}

fn txn(zxid: i64, body: TxnBody) -> Txn {
    Txn { header: header(zxid), body, digest: None }
}

fn create(path: &str, kind: CreateKind) -> TxnBody {
    TxnBody::Create(CreateTxn {
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"d")),
        acl: Acl::open(),
        kind,
        parent_cversion: PARENT_CVERSION_UNKNOWN,
    })
}

fn delete(path: &str) -> TxnBody {
    TxnBody::Delete { path: path.to_owned(), reason: DeleteReason::Client }
}

fn set_data(path: &str, reason: SetDataReason) -> TxnBody {
    TxnBody::SetData(SetDataTxn { path: path.to_owned(), data: None, version: 4, reason })
}

const PLAIN: CreateKind = CreateKind::Create { ephemeral: false };

/// Applies bodies as txns 1, 2, … and returns what each did.
fn apply_all(tree: &mut Tree, bodies: &[TxnBody]) -> Vec<(Txn, Applied)> {
    let first = tree.zxid().0 + 1;
    let txns = (first..).zip(bodies).map(|(zxid, body)| txn(zxid, body.clone()));
    txns.map(|txn| (txn.clone(), tree.apply(&txn))).collect()
}

fn response(body: &TxnBody, tree: &mut Tree) -> Result<Response, i32> {
    let (txn, applied) = apply_all(tree, std::slice::from_ref(body)).remove(0);
    applied.to_response(&txn)
}

#[test]
fn a_node_below_the_root_has_one_name() {
    let mut tree = Tree::new();
    for path in ["//a", "a", "/a/", "//"] {
        assert_eq!(response(&create(path, PLAIN), &mut tree), Err(ErrorCode::NoNode.as_wire()), "{path}");
    }
    let digest = Some((tree.zxid(), tree.digest()));
    let again = Tree::from_body(tree.zxid(), tree.image().to_body(), digest).expect("a tree");
    assert_eq!(again.digest_mismatch_count(), 0);
}

#[test]
fn an_apache_leaders_digest_of_a_plain_node_with_a_containers_flags_is_known() {
    let as_container = |path: &str, zxid: i64| {
        let (mut plain, mut other) = (Tree::new(), Tree::new());
        let of = |tree: &mut Tree, kind| {
            tree.zxid = Zxid(zxid - 1);
            tree.apply(&txn(zxid, create(path, kind)));
            tree.digest()
        };
        of(&mut other, CreateKind::Container).wrapping_sub(of(&mut plain, PLAIN))
    };
    let mut tree = Tree::new();
    let mut next = |body: TxnBody, off: u64| {
        let zxid = tree.zxid().0 + 1;
        let mut twin = Tree::from_body(tree.zxid(), tree.image().to_body(), None).expect("a tree");
        twin.apply(&txn(zxid, body.clone()));
        let digest = Some(twin.digest().wrapping_add(off));
        tree.apply(&Txn { digest, ..txn(zxid, body) }).mismatch.is_some()
    };
    assert!(!next(create("/a", PLAIN), as_container("/a", 1)));
    assert!(!next(set_data("/a", SetDataReason::Client), as_container("/a", 1)), "it was decided meanwhile");
    assert!(!next(delete("/a"), 0));
    assert!(next(delete("/b"), as_container("/a", 1)), "nothing of the kind is created");
    let both = TxnBody::Multi(vec![create("/c", PLAIN), create("/d", PLAIN)]);
    assert!(!next(both, as_container("/d", 5)));
    assert!(next(create("/e", CreateKind::Container), 1));
}

#[test]
fn the_observed_digest_after_a_create_is_reached() {
    let mut tree = Tree::new();
    let header = TxnHeader { zxid: Zxid(0x1_0000_0002), time: 0x1a2_04d1_361c, ..header(1) };
    let applied = tree.apply(&Txn { header, body: create("/a", PLAIN), digest: Some(0x1_5699_3190) });
    assert_eq!((applied.mismatch, tree.digest()), (None, 0x1_5699_3190));
    let wrong =
        Txn { header: TxnHeader { zxid: header.zxid.next(), ..header }, body: delete("/b"), digest: Some(1) };
    assert_eq!(tree.apply(&wrong).mismatch.map(|mismatch| mismatch.expected), Some(1));
    assert_eq!(tree.digest_mismatch_count(), 1);
}

#[test]
fn changes_carry_the_acls_that_filter_their_events() {
    let mut tree = Tree::new();
    let acl = Acl::read_only();
    let set_acl = TxnBody::SetAcl { path: "/a".to_owned(), acl: acl.clone(), version: 1 };
    let bodies = [
        create("/a", PLAIN),
        set_acl,
        create("/a/b", PLAIN),
        set_data("/a", SetDataReason::Client),
        delete("/a/b"),
        set_data("", SetDataReason::Client),
    ];
    let changes: Vec<Change> =
        apply_all(&mut tree, &bodies).into_iter().flat_map(|(_, applied)| applied.changes).collect();
    let (open, acl): (std::sync::Arc<[Acl]>, std::sync::Arc<[Acl]>) = (Acl::open().into(), acl.into());
    let path = |path: &str| path.to_owned();
    assert_eq!(
        changes,
        [
            Change::Created { path: path("/a"), acl: open.clone(), parent_acl: open.clone() },
            Change::Created { path: path("/a/b"), acl: open.clone(), parent_acl: acl.clone() },
            Change::DataChanged { path: path("/a"), acl: acl.clone() },
            Change::Deleted { path: path("/a/b"), acl: open.clone(), parent_acl: acl },
            Change::DataChanged { path: path("/"), acl: open },
        ]
    );
}

#[test]
fn a_closed_session_takes_its_nodes_and_those_that_its_leader_listed() {
    let mut tree = Tree::new();
    let ephemeral = CreateKind::Create2 { ephemeral: true };
    let open = TxnBody::CreateSession { timeout_ms: 4_000 };
    apply_all(&mut tree, &[open, create("/mine", ephemeral), create("/other", PLAIN)]);
    assert_eq!(tree.node("/mine").expect("created").stat().ephemeral_owner, 5);
    assert_eq!(tree.sessions().get(&SessionId(5)), Some(&4_000));
    let close = TxnBody::CloseSession { paths: vec!["/other".to_owned(), "/gone".to_owned()] };
    let (_, applied) = apply_all(&mut tree, &[close]).remove(0);
    assert_eq!(applied.outcomes, [Outcome::SessionClosed(SessionId(5))]);
    assert_eq!(applied.changes.len(), 2);
    assert!(tree.node("/mine").is_none() && tree.node("/other").is_none() && tree.sessions().is_empty());
    // A listed path that is gone still moves its parent's pzxid, as a delete does.
    assert_eq!(tree.node("/").expect("root").stat().pzxid, Zxid(4));
}

#[test]
fn owners_of_containers_and_ttl_nodes_are_hidden() {
    let mut tree = Tree::new();
    apply_all(&mut tree, &[create("/c", CreateKind::Container), create("/t", CreateKind::Ttl { ttl_ms: 9 })]);
    for (path, kind) in [("/c", NodeKind::Container), ("/t", NodeKind::Ttl(9))] {
        let node = tree.node(path).expect("created");
        assert_eq!((node.kind(), node.stat().ephemeral_owner), (kind, 0));
    }
    assert_eq!(tree.ephemeral_owners().count(), 0);
    assert_eq!(tree.containers().map(|node| node.path()).collect::<Vec<_>>(), ["/c"]);
}

#[test]
fn what_cannot_be_done_fails_and_changes_nothing() {
    let mut tree = Tree::new();
    let error = |tree: &mut Tree, body: TxnBody| response(&body, tree).expect_err("it cannot be done");
    assert_eq!(error(&mut tree, create("/", PLAIN)), -110);
    assert_eq!(error(&mut tree, create("/no/a", PLAIN)), -101);
    assert_eq!(error(&mut tree, create("no-slash", PLAIN)), -101);
    assert_eq!(error(&mut tree, create("/a/", PLAIN)), -101);
    for path in ["/", "", "/no", "/no/a", "/zookeeper/quota/"] {
        assert_eq!(error(&mut tree, delete(path)), -101, "{path}");
    }
    assert_eq!(error(&mut tree, set_data("/no", SetDataReason::Client)), -101);
    assert_eq!(error(&mut tree, TxnBody::Error { err: -103 }), -103);
    assert_eq!(tree.node_count(), 4);
}

#[test]
fn a_failed_multi_answers_with_the_error_of_each_operation() {
    let mut tree = Tree::new();
    let error = |err| TxnBody::Error { err };
    let multi = TxnBody::Multi(vec![create("/a", PLAIN), error(-101), error(-2)]);
    let results = [0, -101, -2].map(MultiResult::Failed).to_vec();
    assert_eq!(response(&multi, &mut tree), Ok(Response::Multi(results)));
    assert!(tree.node("/a").is_none());
}

#[test]
fn every_operation_answers_as_its_client_expects() {
    let mut tree = Tree::new();
    assert_eq!(response(&create("/a", PLAIN), &mut tree), Ok(Response::Path(Some("/a".to_owned()))));
    let stat_of = |tree: &Tree, path: &str| tree.node(path).expect("there").stat();
    for (path, kind) in [
        ("/b", CreateKind::Create2 { ephemeral: false }),
        ("/c", CreateKind::Container),
        ("/t", CreateKind::Ttl { ttl_ms: 1 }),
    ] {
        let answer = response(&create(path, kind), &mut tree);
        assert_eq!(answer, Ok(Response::Created { path: path.to_owned(), stat: stat_of(&tree, path) }));
    }
    let answer = response(&set_data("/a", SetDataReason::Client), &mut tree);
    assert_eq!(answer, Ok(Response::Stat(stat_of(&tree, "/a"))));
    let config = "/zookeeper/config";
    let answer = response(&set_data(config, SetDataReason::Reconfig), &mut tree);
    assert_eq!(answer, Ok(Response::Data { data: None, stat: stat_of(&tree, config) }));
    assert_eq!(response(&delete("/a"), &mut tree), Ok(Response::Empty));
    let check = TxnBody::Check { path: "/b".to_owned(), version: 0 };
    let multi = TxnBody::Multi(vec![
        check,
        create("/b/x", PLAIN),
        set_data("/b", SetDataReason::Client),
        delete("/b/x"),
    ]);
    let answer = response(&multi, &mut tree);
    let Ok(Response::Multi(results)) = answer else { panic!("{answer:?}") };
    let [checked, created, MultiResult::Set(stat), deleted] = results.as_slice() else {
        panic!("{results:?}")
    };
    assert_eq!((checked, deleted), (&MultiResult::Checked, &MultiResult::Deleted));
    assert_eq!(*created, MultiResult::Path("/b/x".to_owned()));
    // The stat is that after its operation, when the child was still there.
    assert_eq!((stat.num_children, stat.cversion, stat.version), (1, 1, 4));
    assert_eq!(stat_of(&tree, "/b").num_children, 0);
}

#[test]
fn a_creation_counter_that_is_used_up_stays() {
    let mut tree = Tree::new();
    let with = |path: &str, parent_cversion| {
        let TxnBody::Create(create) = create(path, PLAIN) else { unreachable!() };
        TxnBody::Create(CreateTxn { parent_cversion, ..create })
    };
    apply_all(&mut tree, &[with("/a", i32::MAX), with("/b", i32::MIN)]);
    let root = *tree.node("/").expect("root").stat_persisted();
    assert_eq!((root.cversion, root.pzxid), (i32::MAX, Zxid(1)));
}

#[test]
#[should_panic(expected = "is not after")]
fn a_txn_is_never_applied_twice() {
    let mut tree = Tree::new();
    tree.apply(&txn(3, create("/a", PLAIN)));
    tree.apply(&txn(3, create("/a", PLAIN)));
}
