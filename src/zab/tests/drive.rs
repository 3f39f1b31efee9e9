//! What a test asks of a cluster, and what it waits for.
//!
//! In: writes, reconfigs, hand-overs. Out: when everybody is level.
//!
//! Not here: what befalls the cluster (`scenarios`, `random`).

use super::*;
use crate::zab::{ReconfigError, TransferError};

impl World {
    pub(super) fn zab(&mut self, node: ServerId) -> &mut Zab {
        self.nodes.get_mut(&node).and_then(|n| n.zab.as_mut()).expect("it is up")
    }

    pub(super) fn is_up(&self, node: ServerId) -> bool {
        self.nodes[&node].zab.is_some()
    }

    /// The server that leads the newest epoch, if it is up and believes so.
    pub(super) fn leader(&self) -> Option<ServerId> {
        let (epoch, node) = self.leaders.iter().next_back()?;
        (self.is_up(*node) && self.nodes[node].status == Status::Leading(*epoch)).then_some(*node)
    }

    pub(super) fn propose_at(&mut self, node: ServerId, kind: i32, body: &[u8]) -> Option<Zxid> {
        let now = self.clock();
        let zxid = self.zab(node).next_zxid()?;
        self.zab(node).propose(now, Proposal { zxid, txn: txn(zxid, kind, body) });
        Some(zxid)
    }

    /// A write through whoever leads.
    pub(super) fn propose(&mut self) -> Option<Zxid> {
        let leader = self.leader()?;
        self.proposed += 1;
        let body = self.proposed.to_be_bytes();
        let zxid = self.propose_at(leader, 5, &body);
        self.perform(leader);
        zxid
    }

    /// A reconfig through whoever leads; whether it was proposed.
    pub(super) fn reconfigure(&mut self, change: &Change) -> Result<Zxid, ReconfigError> {
        let Some(leader) = self.leader() else { return Err(ReconfigError::NotLeading) };
        let ensemble = self.zab(leader).check_reconfig(change, Zxid::NONE)?;
        let mut body = Writer::new();
        body.string("/zookeeper/config").string(&ensemble.to_string()).i32(-1);
        let zxid = self.propose_at(leader, 16, &body.finish()).expect("the check found a next zxid");
        self.perform(leader);
        Ok(zxid)
    }

    pub(super) fn transfer(&mut self, to: ServerId) -> Result<(), TransferError> {
        let Some(leader) = self.leader() else { return Err(TransferError::NotLeading) };
        let now = self.clock();
        let result = self.zab(leader).transfer(now, to);
        self.perform(leader);
        result
    }

    /// A server writes its tree as a snapshot and forgets the log below.
    pub(super) fn snapshot(&mut self, node: ServerId) {
        let n = self.nodes.get_mut(&node).expect("a node");
        let tree = n.tree.clone();
        n.disk.take_snapshot(tree);
    }

    /// Whether all these are level with all that is committed, and serve.
    pub(super) fn are_level(&self, nodes: &[i64]) -> bool {
        nodes.iter().all(|n| {
            let node = &self.nodes[&id(*n)];
            let serves = !matches!(node.status, Status::Looking | Status::Discovering | Status::Joining(_));
            node.zab.is_some() && serves && node.tree.len() == self.canon.len()
        })
    }

    pub(super) fn may_propose(&self) -> bool {
        let leader = self.leader().and_then(|leader| self.nodes[&leader].zab.as_ref());
        leader.is_some_and(|zab| zab.next_zxid().is_some())
    }

    /// Waits for a leader and for these to be level with it, then for a write to reach all of them.
    pub(super) fn settle(&mut self, nodes: &[i64], limit: u64) -> u64 {
        let start = self.now;
        let before = self.canon.len();
        let mut asked = None;
        while self.canon.len() == before || !self.may_propose() || !self.are_level(nodes) {
            assert!(self.now < start + limit, "not within {limit} ms:\n{}", self.trace.join("\n"));
            // A leader that was replaced takes what it was asked for with it.
            if asked != self.leader() && self.propose().is_some() {
                asked = self.leader();
            }
            self.run(STEP);
        }
        self.now - start
    }

    pub(super) fn payload_is_committed(&self, payload: &Bytes) -> bool {
        self.canon.iter().any(|(_, txn)| txn == payload)
    }
}
