//! The protocol's invariants, checked at each promise, each election and each delivery.
//!
//! In: what a server is about to promise, became or delivers. Out: nothing, or a failed test.
//!
//! Not here: what happens in the world (`tests`).

use super::*;

impl World {
    /// Promises rest on what is on the disk.
    pub(super) fn check_promise(&self, node: ServerId, packet: &Packet) {
        let disk = &self.nodes[&node].disk;
        match packet {
            Packet::AckEpoch { current, last } => {
                assert!(current.is_none_or(|current| current == disk.epochs.current), "s{node}: {packet:?}");
                assert!(
                    *last == disk.last() || current.is_none() && *last == Zxid::ZERO,
                    "s{node}: {packet:?}"
                );
            }
            Packet::LeaderInfo { epoch, .. } => {
                assert_eq!(disk.epochs.accepted, *epoch, "s{node} promised its own epoch");
            }
            Packet::Ack(zxid) if zxid.counter() == 0 => {
                assert_eq!(disk.epochs.current, zxid.epoch(), "s{node} adopted the epoch");
            }
            Packet::Ack(zxid) => assert!(disk.holds(*zxid), "s{node} holds {zxid}"),
            _ => {}
        }
    }

    pub(super) fn on_status(&mut self, node: ServerId, status: Status) {
        if let Status::Leading(epoch) = status {
            self.elections += 1;
            let before = self.leaders.insert(epoch, node);
            assert!(before.is_none(), "epoch {epoch} is led by s{before:?} and s{node}");
            let tree = &self.nodes[&node].tree;
            let earlier = self.canon.iter().filter(|(zxid, _)| zxid.epoch() < epoch).count();
            assert!(
                tree.len() >= earlier,
                "s{node} leads epoch {epoch} without all that was committed before"
            );
        }
        let n = self.nodes.get_mut(&node).expect("a node");
        n.status = status;
        self.trace.push(format!("s{node} {}", shown(status)));
    }

    pub(super) fn deliver(&mut self, node: ServerId, proposal: Proposal) {
        let n = self.nodes.get_mut(&node).expect("a node");
        assert!(n.disk.holds(proposal.zxid), "s{node} delivers {} before it is durable", proposal.zxid);
        if matches!(n.status, Status::Leading(_)) {
            self.answered.insert(proposal.txn.clone());
        }
        n.tree.push((proposal.zxid, proposal.txn.clone()));
        if n.tree.len() > self.canon.len() {
            self.canon.push((proposal.zxid, proposal.txn));
        }
        self.check_prefix(node);
    }

    /// Agreement and total order: every tree is a prefix of what is committed.
    pub(super) fn check_prefix(&self, node: ServerId) {
        let tree = &self.nodes[&node].tree;
        let at = tree.len();
        assert!(at <= self.canon.len(), "s{node} installed what nobody delivered");
        assert!(
            at == 0 || tree[at - 1] == self.canon[at - 1],
            "s{node} delivers another txn at {at}: {:?} instead of {:?}\n{}",
            tree[at - 1],
            self.canon[at - 1],
            self.trace.join("\n")
        );
    }
}
