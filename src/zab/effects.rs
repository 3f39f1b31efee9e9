//! What a step of the agreement asks for; holds promises until they are on disk.
//!
//! In: writes, packets and news from the roles, in order. Out: the same, a packet that rests on a write only once
//! that write is synced.
//!
//! Always true:
//! * a packet sent with [`When::Durable`] leaves after every write that was asked for before it is synced;
//! * no packet of a link overtakes another of that link, but for those that promise nothing ([`When::Free`]).
//!
//! Not here: performing effects (`server::edge`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::packet::{Forwarded, Packet, Proposal};
use super::vote::Notification;
use crate::base::{Ensemble, Epoch, LinkId, ServerId, SessionId, Write, WriteSeq, Zxid};

/// When a packet may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once (but never before what was sent on this link earlier).
    Now,
    /// When everything written so far is synced.
    Durable,
    /// At once, also before packets that wait for the disk: for what promises nothing, such as a request or the
    /// answer to a ping.
    Free,
}

/// What a server is, as seen from outside the agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No leader: clients are not served.
    Looking,
    /// It leads but has not established its epoch.
    Discovering,
    /// It leads an established epoch and serves.
    Leading(Epoch),
    /// It follows but is not level.
    Joining(ServerId),
    /// It follows a leader with a vote, is level and serves.
    Following(ServerId, Epoch),
    /// It follows without a vote, is level and serves.
    Observing(ServerId, Epoch),
    /// It is alone by configuration and serves.
    Standalone,
}

impl Status {
    /// Whether there is nobody who could decide: no leader, or only this server, which has not won enough others over.
    pub fn is_leaderless(self) -> bool {
        match self {
            Status::Looking | Status::Discovering => true,
            Status::Leading(_)
            | Status::Joining(_)
            | Status::Following(..)
            | Status::Observing(..)
            | Status::Standalone => false,
        }
    }
}

/// What the agreement tells the rest of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Status or membership in force changed. On leaving a serving status every request in flight is lost.
    Status(Status),
    /// The membership in force changed: ports and addresses may differ.
    Ensemble(Ensemble),
    /// This txn is committed and durable here: apply it. In order, without a gap.
    Deliver(Proposal),
    /// The whole tree is replaced by this snapshot of a leader. The replica answers with `Zab::on_installed`.
    Install {
        /// The last txn that it holds.
        zxid: Zxid,
        /// Sessions, ACL table and nodes.
        body: Bytes,
    },
    /// Leader: this learner needs the tree. The replica answers with `Zab::on_snapshot_sent`.
    SnapshotWanted(LinkId),
    /// Leader: a learner forwards a write, of one of the ops that Apache ZooKeeper forwards (specification 3, section
    /// 3.10; `check` and `deleteContainer` among them). It needs exactly one proposal, if only of an error.
    Request(ServerId, Forwarded),
    /// Leader: sessions that a learner heard from, with timeouts in ms.
    Touched(Vec<(SessionId, i32)>),
    /// Leader: a learner asks whether a session lives. The replica answers with `Zab::revalidated`.
    Revalidate(LinkId, ServerId, SessionId, i32),
    /// Learner: the leader's answer, in the order of the questions.
    Revalidated(SessionId, bool),
    /// The oldest sync asked for by `Zab::sync` on this server is done.
    Synced,
}

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable and report its number.
    Write(WriteSeq, Write),
    /// Send a packet on the quorum port.
    Send(LinkId, Packet),
    /// Send a notification on the election port; a newer one replaces one that waits.
    Vote(ServerId, Notification),
    /// Connect to the quorum port of this server; the answer is `Input::LinkUp` or `Input::DialFailed`.
    Dial(ServerId),
    /// Close this link, after what was sent on it before.
    DropLink(LinkId),
    /// Tell the rest of the server.
    News(News),
}

/// Collects the effects of a step, and holds back packets that rest on writes.
#[derive(Debug, Default)]
pub(super) struct Effects {
    out: VecDeque<Effect>,
    written: WriteSeq,
    synced: WriteSeq,
    /// Per link, in order: packets and the write that each waits for.
    held: BTreeMap<LinkId, VecDeque<(WriteSeq, Packet)>>,
}

impl Effects {
    /// Asks for a write.
    pub(super) fn write(&mut self, write: Write) -> WriteSeq {
        self.written.0 += 1;
        self.out.push_back(Effect::Write(self.written, write));
        self.written
    }

    /// The last write that was asked for.
    pub(super) fn written(&self) -> WriteSeq {
        self.written
    }

    /// Whether a write, and all before it, is durable.
    pub(super) fn is_synced(&self, seq: WriteSeq) -> bool {
        self.synced >= seq
    }

    /// Sends a packet, now or once it may leave.
    pub(super) fn send(&mut self, link: LinkId, packet: Packet, when: When) {
        let barrier = match when {
            When::Free => WriteSeq(0),
            When::Now if self.held.contains_key(&link) => self.synced,
            When::Now => WriteSeq(0),
            When::Durable => self.written,
        };
        let overtakes = when == When::Free || !self.held.contains_key(&link);
        if overtakes && barrier <= self.synced {
            self.out.push_back(Effect::Send(link, packet));
        } else {
            self.held.entry(link).or_default().push_back((barrier, packet));
        }
    }

    /// Takes note of durable writes and lets go what waited for them.
    pub(super) fn on_synced(&mut self, seq: WriteSeq) {
        assert!(seq <= self.written, "write {seq:?} was never asked for, the last one is {:?}", self.written);
        self.synced = self.synced.max(seq);
        let synced = self.synced;
        for (link, waiting) in &mut self.held {
            while let Some((_, packet)) = waiting.pop_front_if(|(barrier, _)| *barrier <= synced) {
                self.out.push_back(Effect::Send(*link, packet));
            }
        }
        self.held.retain(|_, waiting| !waiting.is_empty());
    }

    /// Forgets a link that is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.held.remove(&link);
    }

    /// Closes a link.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        self.forget(link);
        self.out.push_back(Effect::DropLink(link));
    }

    /// Sends a notification.
    pub(super) fn vote(&mut self, to: ServerId, notification: Notification) {
        self.out.push_back(Effect::Vote(to, notification));
    }

    /// Dials a server.
    pub(super) fn dial(&mut self, to: ServerId) {
        self.out.push_back(Effect::Dial(to));
    }

    /// Tells the rest of the server.
    pub(super) fn news(&mut self, news: News) {
        self.out.push_back(Effect::News(news));
    }

    /// The next effect that has not been taken.
    pub(super) fn pop(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(counter: i64) -> Packet {
        Packet::Ack(Zxid(counter))
    }

    fn taken(fx: &mut Effects) -> Vec<Effect> {
        std::iter::from_fn(|| fx.pop()).filter(|effect| !matches!(effect, Effect::Write(..))).collect()
    }

    #[test]
    fn a_promise_leaves_after_the_write_it_rests_on_and_nothing_overtakes_it_but_what_is_free() {
        let (mut fx, link, other) = (Effects::default(), LinkId(1), LinkId(2));
        let first = fx.write(Write::Truncate(Zxid(1)));
        fx.send(link, ack(1), When::Durable);
        let second = fx.write(Write::Truncate(Zxid(2)));
        fx.send(link, ack(2), When::Durable);
        fx.send(link, ack(3), When::Now);
        fx.send(link, ack(4), When::Free);
        fx.send(other, ack(5), When::Now);
        assert_eq!(taken(&mut fx), vec![Effect::Send(link, ack(4)), Effect::Send(other, ack(5))]);
        fx.on_synced(first);
        assert_eq!(taken(&mut fx), vec![Effect::Send(link, ack(1))]);
        assert!(!fx.is_synced(second));
        fx.on_synced(second);
        assert_eq!(taken(&mut fx), vec![Effect::Send(link, ack(2)), Effect::Send(link, ack(3))]);
        fx.send(link, ack(6), When::Durable);
        assert_eq!(taken(&mut fx), vec![Effect::Send(link, ack(6))]);
    }
}
