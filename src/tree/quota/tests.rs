//! Quotas as Apache ZooKeeper 3.9.5 keeps them: what the nodes hold after each txn, and which limits a write passes.

use bytes::Bytes;

use super::*;
use crate::base::{SessionId, Zxid};
use crate::proto::Acl;
use crate::tree::{CreateKind, CreateTxn, DeleteReason, SetDataReason, SetDataTxn, Txn, TxnBody, TxnHeader};

/// A tree, and the txns that change it.
struct Story {
    tree: Tree,
}

impl Story {
    fn new() -> Story {
        Story { tree: Tree::new() }
    }

    fn apply(&mut self, body: TxnBody) {
        let zxid = Zxid(self.tree.zxid().0 + 1);
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: 5 };
        self.tree.apply(&Txn { header, body, digest: None });
    }

    fn create(&mut self, path: &str, data: &str) {
        self.apply(TxnBody::Create(CreateTxn {
            path: path.to_owned(),
            data: Some(Bytes::copy_from_slice(data.as_bytes())),
            acl: Acl::open(),
            kind: CreateKind::Create { ephemeral: false },
            parent_cversion: -1,
        }));
    }

    fn delete(&mut self, path: &str) {
        self.apply(TxnBody::Delete { path: path.to_owned(), reason: DeleteReason::Client });
    }

    fn set(&mut self, path: &str, data: Option<&str>) {
        let data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
        let (path, reason) = (path.to_owned(), SetDataReason::Client);
        self.apply(TxnBody::SetData(SetDataTxn { path, data, version: 1, reason }));
    }

    /// Limits, and a node whose contents are counted.
    fn quota(&mut self, path: &str, limits: &str) {
        let mut above = TOP.to_owned();
        for part in path.split('/').skip(1) {
            above = format!("{above}/{part}");
            if self.tree.node(&above).is_none() {
                self.create(&above, "");
            }
        }
        self.create(&format!("{above}/{LIMITS}"), limits);
        self.create(&format!("{above}/{STATS}"), "count=0,bytes=0");
    }

    fn stats(&self, path: &str) -> String {
        let node = self.tree.node(&format!("{TOP}{path}/{STATS}")).expect("it is counted");
        String::from_utf8(node.data().expect("not null").to_vec()).expect("text")
    }
}

#[test]
fn amounts_are_read_and_written_as_zookeeper_does() {
    let again = |text: &str| Amounts::parse(text.as_bytes()).map(|amounts| amounts.to_string());
    for (text, expected) in [
        ("", "count=-1,bytes=-1"),
        (";,", "count=-1,bytes=-1"),
        ("count=3,bytes=20", "count=3,bytes=20"),
        ("bytes=+20;count=-3", "count=-3,bytes=20"),
        ("count=1,,bytes==7", "count=1,bytes=-1"),
        ("count=1=9,bytes=2==", "count=1,bytes=2"),
        (
            "count=-1,bytes=5=;countHardLimit=3;byteHardLimit=100",
            "count=-1,bytes=5=;byteHardLimit=100;countHardLimit=3",
        ),
        ("x=4,count=1", "count=1,bytes=-1=;x=4"),
    ] {
        assert_eq!(again(text).as_deref(), Some(expected), "{text}");
    }
    for text in ["count", "count=", "count=x", "count= 1", ",count=1", "=", "count=9223372036854775808"] {
        assert_eq!(again(text), None, "{text}");
    }
}

#[test]
fn a_node_that_comes_goes_or_changes_is_counted_for_the_deepest_quota() {
    let mut story = Story::new();
    for (path, data) in [("/a", "1"), ("/a/b", "22"), ("/a/b/c", ""), ("/ab", "x")] {
        story.create(path, data);
    }
    story.quota("/a", "count=5,bytes=-1");
    assert_eq!(story.stats("/a"), "count=3,bytes=3");
    story.quota("/a/b", "count=5,bytes=-1");
    assert_eq!(story.stats("/a/b"), "count=2,bytes=2");
    story.create("/a/b/d", "4444");
    story.create("/a/e", "55555");
    story.create("/ab/f", "55555");
    story.set("/a/b/c", Some("333"));
    story.set("/a", None);
    assert_eq!(
        (story.stats("/a"), story.stats("/a/b")),
        ("count=4,bytes=7".into(), "count=3,bytes=9".into())
    );
    story.delete("/a/b/d");
    assert_eq!(story.stats("/a/b"), "count=2,bytes=5");
    story.delete("/zookeeper/quota/a/b/zookeeper_limits");
    story.delete("/a/b/c");
    assert_eq!(
        (story.stats("/a"), story.stats("/a/b")),
        ("count=3,bytes=4".into(), "count=2,bytes=5".into())
    );
}

#[test]
fn counting_changes_neither_stat_nor_digest() {
    let mut story = Story::new();
    story.create("/a", "");
    story.quota("/a", "count=5,bytes=-1");
    let stats = |story: &Story| story.tree.node("/zookeeper/quota/a/zookeeper_stats").expect("there").stat();
    let before = stats(&story);
    story.create("/a/b", "0123456789");
    let after = stats(&story);
    assert_eq!(story.stats("/a"), "count=2,bytes=10");
    assert_eq!((after.data_length, before.data_length), (16, 15));
    assert_eq!(crate::proto::Stat { data_length: 15, ..after }, before);
    let mut plain = Story::new();
    plain.create("/a", "");
    (0..3).for_each(|_| plain.apply(TxnBody::Error { err: -101 }));
    plain.create("/a/b", "0123456789");
    assert_eq!(story.tree.digest(), plain.tree.digest());
}

#[test]
fn the_stat_of_a_reply_tells_of_the_data_that_was_sent() {
    let mut story = Story::new();
    story.create("/zookeeper/quota/a", "");
    let zxid = Zxid(story.tree.zxid().0 + 1);
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: 5 };
    let create = CreateTxn {
        path: "/zookeeper/quota/a/zookeeper_stats".to_owned(),
        data: Some(Bytes::from_static(b"x")),
        acl: Acl::open(),
        kind: CreateKind::Create2 { ephemeral: false },
        parent_cversion: -1,
    };
    let applied = story.tree.apply(&Txn { header, body: TxnBody::Create(create), digest: None });
    match &applied.outcomes[0] {
        crate::tree::Outcome::Created { stat, .. } => assert_eq!(stat.data_length, 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(story.stats("/a"), "count=0,bytes=0");
}

#[test]
fn a_snapshot_is_counted_anew_and_its_quotas_stay() {
    let mut story = Story::new();
    for path in ["/a", "/a/b", "/a/b/c"] {
        story.create(path, "xx");
    }
    story.quota("/a/b", "count=5,bytes=-1");
    story.quota("/a", "count=5,bytes=-1");
    story.create("/a/b/d", "1");
    story.set("/zookeeper/quota/a/zookeeper_stats", Some("count=77,bytes=77"));
    let body = story.tree.image().to_body();
    story.tree = Tree::from_body(story.tree.zxid(), body, None).expect("its own snapshot");
    assert_eq!(
        (story.stats("/a"), story.stats("/a/b")),
        ("count=4,bytes=7".into(), "count=3,bytes=5".into())
    );
    story.create("/a/b/e", "1");
    assert_eq!(
        (story.stats("/a"), story.stats("/a/b")),
        ("count=4,bytes=7".into(), "count=4,bytes=6".into())
    );
}

#[test]
fn what_would_stop_zookeeper_is_ignored_or_counted_anew() {
    let mut story = Story::new();
    story.create("/zookeeper/quota/zookeeper_limits", "count=1,bytes=1");
    story.create("/zookeeper/quota/zookeeper_stats", "count=0,bytes=0");
    assert_eq!(story.stats(""), "count=6,bytes=30");
    story.create("/a", "1");
    assert_eq!(story.stats(""), "count=6,bytes=30", "the root has no quota");
    story.delete("/zookeeper/quota/zookeeper_limits");
    story.create("/zookeeper/zookeeper_limits", "");
    story.delete("/zookeeper/zookeeper_limits");
    story.quota("/a", "count=5,bytes=-1");
    for data in [None, Some("nonsense")] {
        story.set("/zookeeper/quota/a/zookeeper_stats", data);
        story.set("/a", Some("333"));
        assert_eq!(story.stats("/a"), "count=1,bytes=3");
    }
}

#[test]
fn a_path_with_a_blank_component_has_the_quota_of_the_path_without_it() {
    let mut story = Story::new();
    for path in ["/a", "/a/ ", "/a/ /b"] {
        story.create(path, "");
    }
    story.quota("/a/b", "count=5,bytes=-1");
    assert_eq!(story.stats("/a/b"), "count=0,bytes=0");
    story.create("/a/ /b/c", "7");
    assert_eq!(story.stats("/a/b"), "count=1,bytes=1");
}

#[test]
fn the_limit_in_force_is_the_hard_one_where_there_is_one() {
    let passed = |limits: &str, growth: Growth| -> Vec<(Measure, LimitKind, i64, i64)> {
        let mut story = Story::new();
        story.create("/a", "12345");
        story.quota("/a", limits);
        let passed = story.tree.limits_passed("/a/b", growth).expect("they can be read");
        assert!(passed.iter().all(|one| one.quota == "/a" && one.namespace() == "a"));
        passed.into_iter().map(|one| (one.measure, one.limit_kind, one.limit, one.amount)).collect()
    };
    let (count, bytes) = (Measure::Count, Measure::Bytes);
    let one = Growth { count: 1, bytes: 3 };
    assert_eq!(passed("count=2,bytes=8", one), []);
    assert_eq!(passed("count=-1,bytes=-1", one), []);
    let soft = [(count, LimitKind::Soft, 1, 2), (bytes, LimitKind::Soft, 7, 8)];
    assert_eq!(passed("count=1,bytes=7", one), soft);
    assert_eq!(passed("count=1,bytes=7=;countHardLimit=2;byteHardLimit=8", one), []);
    let hard = [(count, LimitKind::Hard, 1, 2)];
    assert_eq!(
        passed("count=9,bytes=1=;countHardLimit=1;byteHardLimit=1", one),
        hard,
        "the first hard one ends it"
    );
    let hard = [(count, LimitKind::Soft, 0, 2), (bytes, LimitKind::Hard, 0, 8)];
    assert_eq!(passed("count=0,bytes=-1=;byteHardLimit=0;countHardLimit=-1", one), hard);
    let same_size = Growth { count: 0, bytes: 0 };
    assert_eq!(passed("count=0,bytes=0=;byteHardLimit=0", same_size), []);
    let less = Growth { count: 0, bytes: -1 };
    assert_eq!(passed("count=0,bytes=3", less), [(bytes, LimitKind::Soft, 3, 4)], "still above");
}

#[test]
fn limits_that_cannot_be_read_fail_the_write_and_missing_counts_do_not() {
    let mut story = Story::new();
    story.create("/a", "");
    story.quota("/a", "nonsense");
    let one = Growth { count: 1, bytes: 0 };
    assert_eq!(story.tree.limits_passed("/a/b", one), Err(ErrorCode::MarshallingError));
    story.set("/zookeeper/quota/a/zookeeper_limits", Some("count=0,bytes=-1"));
    assert_eq!(story.tree.limits_passed("/a/b", one).map(|passed| passed.len()), Ok(1));
    story.delete("/zookeeper/quota/a/zookeeper_stats");
    assert_eq!(story.tree.limits_passed("/a/b", one), Ok(vec![]));
}

#[test]
fn the_quotas_of_a_namespace_are_added_up() {
    let mut story = Story::new();
    for path in ["/a", "/a/b", "/c"] {
        story.create(path, "xx");
    }
    story.quota("/a/b", "count=5,bytes=-1");
    story.quota("/a", "count=5,bytes=9=;byteHardLimit=20;countHardLimit=-1");
    story.create("/zookeeper/quota/c", "");
    story.create("/zookeeper/quota/c/zookeeper_limits", "count=1,bytes=1");
    let all: Vec<_> = story.tree.quotas().into_iter().collect();
    let growth = |count, bytes| Some(Growth { count, bytes });
    assert_eq!(
        all,
        [
            ("a".to_owned(), NamespaceQuotas { limits: growth(10, 19), used: growth(3, 6) }),
            ("c".to_owned(), NamespaceQuotas { limits: growth(1, 1), used: None }),
        ]
    );
}
