//! Snapshots of this server and of Apache ZooKeeper, whole and fuzzy.

use super::*;

#[test]
fn a_fresh_tree_is_what_apache_zookeeper_writes() {
    let tree = Tree::new();
    assert_eq!(tree.digest(), 0x51c6_d660);
    // 664 bytes of the observed file, of which the nodes end at 597, less 16 of the header.
    assert!(tree.image().to_body().len() < 597 - 16);
    let read = Tree::from_body(Zxid::ZERO, tree.image().to_body(), Some((Zxid::ZERO, 0))).expect("whole");
    assert_eq!((read.digest(), read.digest_mismatch_count()), (tree.digest(), 0));
    assert_eq!(read.image().to_body(), tree.image().to_body());
}

fn body(acl_id: i64, paths: &[&str]) -> Bytes {
    let mut writer = Writer::new();
    writer.count(0).count(0);
    for path in paths {
        writer.string(path).buffer(None).i64(acl_id);
        StatPersisted::default().encode(&mut writer);
    }
    writer.string(END);
    writer.finish()
}

fn read(acl_id: i64, paths: &[&str]) -> Result<Tree, DecodeError> {
    Tree::from_body(Zxid(5), body(acl_id, paths), None)
}

#[test]
fn a_snapshot_that_is_no_tree_is_refused() {
    assert!(read(-1, &["", "/a", "/a/b"]).is_ok());
    for paths in [&[][..], &["/a"], &["", "/a/b"], &["", "/a", "/a"], &["", ""], &["", "a"], &["", "/a/"]] {
        let error = read(-1, paths).expect_err("no tree");
        assert!(matches!(error, DecodeError::Invalid { field: "snapshot node", .. }), "{paths:?}");
    }
    let mut long = body(-1, &["", "/a"]).to_vec();
    long.push(0);
    assert!(Tree::from_body(Zxid(5), Bytes::from(long), None).is_err());
}

#[test]
fn acl_ids_outside_the_table_are_pending_or_refused() {
    assert_eq!(read(7, &["", "/a"]).expect("legal in a fuzzy snapshot").acl_pending_count(), 1);
    for id in [0, -2, i64::MAX, i64::MIN] {
        assert!(matches!(read(id, &[""]), Err(DecodeError::Unknown { field: "acl id", .. })));
    }
}

#[test]
fn a_digest_section_is_compared_where_it_belongs() {
    let with = |digest| Tree::from_body(Zxid(5), body(-1, &[""]), Some(digest)).expect("whole");
    let right = with((Zxid(4), 1)).digest();
    assert_eq!(with((Zxid(5), right)).digest_mismatch_count(), 0);
    assert_eq!(with((Zxid(5), right + 1)).digest_mismatch_count(), 1);
    assert_eq!(with((Zxid(4), right + 1)).snapshot_reaches(), None);
    assert_eq!(with((Zxid(6), right + 1)).snapshot_reaches(), Some(Zxid(6)));
}

#[test]
fn the_membership_is_put_into_its_node_outside_the_digest() {
    let mut tree = Tree::new();
    let before = tree.digest();
    tree.set_config("server.1=a:1:2\nversion=0", Zxid(9), 77);
    let node = tree.node("/zookeeper/config").expect("there");
    assert_eq!(node.data(), Some(&b"server.1=a:1:2\nversion=0"[..]));
    let stat = node.stat();
    assert_eq!((stat.version, stat.aversion, stat.mzxid, stat.mtime), (-1, -1, Zxid(9), 77));
    assert_eq!((tree.digest(), node.acl().to_vec()), (before, Acl::read_only()));
    // A tree of release 3.4 has no such node.
    let mut old = read(-1, &["", "/zookeeper"]).expect("whole");
    old.set_config("x", Zxid(0), 1);
    assert_eq!(old.node("/zookeeper/config").expect("created").stat().version, -1);
    let mut bare = read(-1, &[""]).expect("whole");
    bare.set_config("x", Zxid(0), 1);
    assert!(bare.node("/zookeeper/config").is_none());
}

#[test]
fn nodes_are_counted_before_they_are_read() {
    let nodes = |paths: &[&str]| body(3, paths).slice(8..);
    assert_eq!(count_nodes(&nodes(&["", "/a", "/a/b"])), 3);
    assert_eq!(count_nodes(&nodes(&[])), 0);
    let whole = nodes(&["", "/a"]);
    for at in 0..whole.len() {
        assert!(count_nodes(&whole[..at]) <= 2, "{at}");
    }
    assert_eq!(count_nodes(&[0x7f; 200]), 0);
}
