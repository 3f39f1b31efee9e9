//! Txns, as they stand in a log and in proposals, and the tree that they make.
//!
//! Each has its length before it.

use bytes::Bytes;
use quorate::base::wire::Reader;
use quorate::tree::{Tree, Txn};

pub fn judge(input: &[u8]) {
    let mut tree = Tree::new();
    let mut reader = Reader::new(Bytes::copy_from_slice(input));
    while let Ok(Some(bytes)) = reader.buffer("txn") {
        let Ok(txn) = Txn::decode(bytes) else { continue };
        assert_eq!(Txn::decode(txn.to_bytes()), Ok(txn.clone()));
        // Whoever takes a txn checks its place before.
        if txn.header.zxid > tree.zxid() {
            tree.apply(&txn);
        }
    }
    same_from_its_snapshot(&tree);
}

/// A tree is the same when it was read from its own snapshot.
pub fn same_from_its_snapshot(tree: &Tree) {
    let body = tree.image().to_body();
    let digest = Some((tree.zxid(), tree.digest()));
    let again = Tree::from_body(tree.zxid(), body, digest).expect("a tree's own snapshot is read");
    assert_eq!(again.digest(), tree.digest(), "digest");
    assert_eq!(again.node_count(), tree.node_count(), "nodes");
    assert_eq!(again.sessions(), tree.sessions(), "sessions");
}
