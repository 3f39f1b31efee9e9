//! Reaping: containers and nodes with a time to live end only when they may, and do.
//!
//! In: each end that a server decided by itself, the model, and a leader's wall clock. Out: a panic when a node ended that
//! had to stay; which nodes are still there that had to end.
//!
//! Always true:
//! * what ends has no children, at the moment of its end;
//! * a container has had a child, or was not used for long; a time to live is over by the clock of the leader that
//!   decides. That is judged by what was applied there: what was in flight it may not have seen, as Apache ZooKeeper.
//!
//! Not here: ephemeral nodes (`ephemerals`).

use quorate::base::Zxid;
use quorate::replica::Reaping;

use crate::model::{Model, Node};
use crate::wire::NodeKind;

/// A leader ended a node by itself, when something between these two zxids was applied.
pub fn check(model: &Model, reaping: Reaping, txn: (Zxid, i64, &str), applied: (Zxid, Zxid)) {
    let (zxid, time, path) = txn;
    let node =
        model.before(path, zxid).unwrap_or_else(|| panic!("reaping: {zxid} ends {path}, which is not there"));
    assert!(
        node.stat.children == 0 && matches!(node.kind, NodeKind::Container | NodeKind::Ttl(_)),
        "reaping: {zxid} ends {path}, which is {node:?}"
    );
    let (first, last) = applied;
    let between = model.changes.iter().rev().take_while(|change| change.zxid > first);
    let mut states = between.map(|change| change.zxid).filter(|state| *state <= last).chain([first]);
    assert!(
        states.any(|state| model.at(path, state).is_some_and(|node| is_over(node, reaping, time))),
        "reaping: {zxid} ends {path} at {time}, and it had to stay: {node:?}"
    );
}

/// A node that has to end by this wall clock, and is there.
pub fn left_over(model: &Model, reaping: Reaping, wall_ms: i64) -> Option<&str> {
    model.nodes().find(|(_, node)| is_over(node, reaping, wall_ms)).map(|(path, _)| path)
}

fn is_over(node: &Node, reaping: Reaping, wall_ms: i64) -> bool {
    let age = wall_ms - node.stat.mtime;
    let is_unused = || reaping.unused_after.is_some_and(|limit| age > limit.0 as i64);
    node.stat.children == 0
        && match node.kind {
            NodeKind::Container => node.created > 0 || is_unused(),
            NodeKind::Ttl(ttl_ms) => age > ttl_ms,
            NodeKind::Persistent | NodeKind::Ephemeral => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::List;
    use crate::wire::{Change, Txn};
    use bytes::Bytes;
    use quorate::base::{Millis, SessionId};

    fn ended_at(time: i64) {
        let mut model = Model::new();
        let (acl, kind) = (List::Open.entries(), NodeKind::Ttl(1_000));
        let change = Change::Create { path: "/t".into(), data: Bytes::new(), acl, kind };
        model.apply(&Txn { session: SessionId(1), cxid: 1, zxid: Zxid(1), time: 500, change });
        let reaping = Reaping { every: Millis(1), per_minute_max: 1, unused_after: None };
        assert_eq!(left_over(&model, reaping, 1_500), None);
        assert_eq!(left_over(&model, reaping, 1_501), Some("/t"));
        check(&model, reaping, (Zxid(2), time, "/t"), (Zxid(1), Zxid(1)));
    }

    #[test]
    fn an_end_in_time_is_right() {
        ended_at(1_501);
    }

    #[test]
    #[should_panic(expected = "had to stay")]
    fn an_end_before_its_time_is_noticed() {
        ended_at(1_500);
    }
}
