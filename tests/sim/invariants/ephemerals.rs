//! Ephemerals: an ephemeral node lives exactly as long as its session.
//!
//! In: a server's tree after each step that changed it. Out: a panic when a node outlives its session.
//!
//! Always true:
//! * on every server, at every zxid, the owner of an ephemeral node is a session of the same tree.
//!
//! Not here: that a session's end names exactly its own nodes, and that none of them goes earlier (`model`).

use quorate::tree::Tree;

use crate::network::Slot;

/// Checks a tree.
pub fn check(slot: Slot, tree: &Tree) {
    for (session, count) in tree.ephemeral_owners() {
        assert!(
            count == 0 || tree.sessions().contains_key(&session),
            "ephemerals: at {} {slot:?} has {count} nodes of {session}, which does not live",
            tree.zxid()
        );
    }
}
