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
