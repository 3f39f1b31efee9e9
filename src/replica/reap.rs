//! Ends containers that are empty and nodes whose time to live is over.
//!
//! In: the clock, and the tree of a server that decides. Out: the end of one node after the other, spread over time.
//!
//! Always true:
//! * a node is looked at once more right before its end is asked for: it may have been used since the round began.
//!
//! Not here: whether it may really go (`prepare`).

use std::collections::VecDeque;

use super::lead::Work;
use super::machine::{Replica, Role};
use super::settings::Reaping;
use crate::base::{Millis, Now};
use crate::tree::{NodeKind, NodeRef};

/// How many nodes one round takes up; the rest is found by the next.
const PER_ROUND_MAX: usize = 10_000;

/// What is to end.
#[derive(Debug)]
pub(super) struct Reaper {
    /// When the next round begins, if the last one is over.
    round_at: Millis,
    due: VecDeque<String>,
    /// When the next of them may end.
    next_at: Millis,
}

impl Reaper {
    /// Begins with a round at this moment.
    pub fn new(round_at: Millis) -> Reaper {
        Reaper { round_at, due: VecDeque::new(), next_at: round_at }
    }
}

impl Replica {
    /// Asks for the end of the nodes whose turn has come.
    pub(super) fn reap(&mut self, now: Now) {
        let reaping = self.settings.reaping;
        let Role::Leading(leading) = &mut self.role else { return };
        let reaper = &mut leading.reaper;
        if reaper.due.is_empty() && now.mono >= reaper.round_at {
            reaper.round_at = now.mono + reaping.every;
            reaper.next_at = now.mono;
            reaper.due = self.service.tree.read(|tree| {
                let nodes = tree.containers().chain(tree.ttls());
                let due = nodes.filter(|node| is_over(node, reaping, now.wall_ms));
                due.take(PER_ROUND_MAX).map(|node| node.path()).collect()
            });
        }
        while let Some(path) = self.next_to_reap(now) {
            let is_over = |node: NodeRef<'_>| is_over(&node, reaping, now.wall_ms);
            if self.service.tree.read(|tree| tree.node(&path).is_some_and(is_over)) {
                self.decide(now, Work::Reap(path));
            }
        }
    }

    fn next_to_reap(&mut self, now: Now) -> Option<String> {
        let pause = Millis(60_000 / u64::from(self.settings.reaping.per_minute_max.max(1)));
        let Role::Leading(leading) = &mut self.role else { return None };
        let reaper = &mut leading.reaper;
        if now.mono < reaper.next_at {
            return None;
        }
        let path = reaper.due.pop_front()?;
        reaper.next_at = reaper.next_at + pause;
        Some(path)
    }
}

/// Whether a node that ends by itself is due.
fn is_over(node: &NodeRef<'_>, reaping: Reaping, wall_ms: i64) -> bool {
    let stat = node.stat_persisted();
    let age_ms = wall_ms.saturating_sub(stat.mtime);
    let is_older = |limit: Millis| age_ms > i64::try_from(limit.0).unwrap_or(i64::MAX);
    match node.kind() {
        NodeKind::Container => {
            let had_children = stat.cversion > 0;
            node.child_count() == 0 && (had_children || reaping.unused_after.is_some_and(is_older))
        }
        NodeKind::Ttl(ttl_ms) => node.child_count() == 0 && age_ms > ttl_ms,
        NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
    }
}
