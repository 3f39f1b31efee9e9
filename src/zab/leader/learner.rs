//! One learner, as its leader keeps track of it.
//!
//! In: what was sent and what came back. Out: whether it lives, is level, or lags too long.
//!
//! Always true:
//! * a learner is level only after it acknowledged NEWLEADER and got UPTODATE.
//!
//! Not here: what to send (`discovery`, `broadcast`).

use crate::base::{Ensemble, Epoch, Millis, ServerId, Zxid};
use crate::zab::inspect::PeerPicture;

/// How it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Gets proposals and commits, and acknowledges.
    Follower,
    /// Gets committed txns only (OBSERVERINFO).
    Observer,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The link stands.
    Connected,
    /// It introduced itself and waits for the epoch.
    Greeted,
    /// It was told the epoch.
    Invited,
    /// It accepted the epoch and waits for its synchronisation.
    Accepted {
        /// The end of its log.
        last: Zxid,
        /// Its current epoch; `None` if it is not counted.
        current: Option<Epoch>,
    },
    /// The replica puts the tree into its queue.
    SnapshotWanted,
    /// It was sent NEWLEADER.
    Syncing,
    /// It acknowledged NEWLEADER and waits for the epoch to be established.
    Synced,
    /// It got UPTODATE.
    Live,
}

/// One learner.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) id: ServerId,
    pub(super) kind: Kind,
    pub(super) quorate: bool,
    pub(super) stage: Stage,
    pub(super) heard: Millis,
    /// The last txn in its queue or its log.
    pub(super) sent: Zxid,
    /// It knows that everything up to here is committed.
    pub(super) told_committed: Zxid,
    pub(super) acked: Zxid,
    /// A proposal that it has not acknowledged, since when; and the newest one after it.
    watched: Option<(Zxid, Millis)>,
    newest: Option<(Zxid, Millis)>,
    /// Pings that it answers, and answers.
    pings: u64,
    pongs: u64,
    /// The confirmation round, and the number of the ping that belongs to it.
    probe: (u64, u64),
    pub(super) confirmed: u64,
}

impl Learner {
    pub(super) fn new(now: Millis) -> Learner {
        Learner {
            id: ServerId::NOBODY,
            kind: Kind::Follower,
            quorate: false,
            stage: Stage::Connected,
            heard: now,
            sent: Zxid::ZERO,
            told_committed: Zxid::ZERO,
            acked: Zxid::ZERO,
            watched: None,
            newest: None,
            pings: 0,
            pongs: 0,
            probe: (0, 0),
            confirmed: 0,
        }
    }

    /// Whether it introduced itself.
    pub(super) fn is_known(&self) -> bool {
        self.stage != Stage::Connected
    }

    pub(super) fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// Whether a ping reaches it in its order: Apache's learners read none before NEWLEADER.
    pub(super) fn takes_pings(&self) -> bool {
        match self.stage {
            Stage::Syncing | Stage::Synced | Stage::Live => true,
            Stage::Accepted { .. } => self.quorate,
            Stage::Connected | Stage::Greeted | Stage::Invited | Stage::SnapshotWanted => false,
        }
    }

    /// Takes note of a proposal sent to it.
    pub(super) fn on_proposed(&mut self, zxid: Zxid, now: Millis) {
        self.sent = zxid;
        if self.watched.is_none() {
            self.watched = Some((zxid, now));
        } else {
            self.newest = Some((zxid, now));
        }
    }

    /// Takes note of an acknowledgement.
    pub(super) fn on_ack(&mut self, zxid: Zxid) {
        self.acked = self.acked.max(zxid);
        if self.watched.is_some_and(|(watched, _)| watched <= zxid) {
            self.watched = self.newest.take().filter(|(newest, _)| *newest > zxid);
        }
    }

    /// Whether a proposal waits for its acknowledgement longer than that.
    pub(super) fn is_stuck(&self, now: Millis, limit: Millis) -> bool {
        self.watched.is_some_and(|(_, since)| now.since(since) > limit)
    }

    /// Takes note of a ping sent to it, for a confirmation round if one is under way.
    pub(super) fn on_ping(&mut self, probe: u64) {
        if self.is_live() {
            self.pings += 1;
            if self.probe.0 < probe {
                self.probe = (probe, self.pings);
            }
        }
    }

    /// Takes note of an answered ping.
    pub(super) fn on_pong(&mut self) {
        self.pongs += 1;
        if self.pongs >= self.probe.1 {
            self.confirmed = self.probe.0;
        }
    }

    /// This process was held up: silence and slowness were its own.
    pub(super) fn forgive(&mut self, now: Millis) {
        self.heard = now;
        self.watched = self.watched.map(|(zxid, _)| (zxid, now));
        self.newest = self.newest.map(|(zxid, _)| (zxid, now));
    }

    /// For metrics and tests.
    pub(super) fn picture(&self, current: &Ensemble, last_proposed: Zxid) -> PeerPicture {
        let votes = current.is_voter(self.id);
        let behind = match self.kind {
            Kind::Follower if last_proposed.epoch() == self.acked.epoch() => last_proposed.0 - self.acked.0,
            Kind::Follower => i64::from(last_proposed.counter()),
            Kind::Observer => 0,
        };
        let lag = u64::try_from(behind).unwrap_or(0);
        let (id, quorate, synced, acked) = (self.id, self.quorate, self.is_live(), self.acked);
        PeerPicture { id, votes, quorate, synced, acked, lag }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_moves_on_with_the_acknowledgements() {
        let (mut learner, limit) = (Learner::new(Millis(0)), Millis(10));
        learner.on_proposed(Zxid(1), Millis(0));
        learner.on_proposed(Zxid(2), Millis(5));
        assert!(!learner.is_stuck(Millis(10), limit) && learner.is_stuck(Millis(11), limit));
        learner.on_ack(Zxid(1));
        assert!(!learner.is_stuck(Millis(15), limit) && learner.is_stuck(Millis(16), limit));
        learner.on_ack(Zxid(2));
        assert!(!learner.is_stuck(Millis(99), limit));
    }

    #[test]
    fn only_the_answer_to_a_ping_of_the_round_confirms_it() {
        let mut learner = Learner::new(Millis(0));
        learner.stage = Stage::Live;
        learner.on_ping(0);
        learner.on_ping(1);
        learner.on_pong();
        assert_eq!(learner.confirmed, 0);
        learner.on_pong();
        assert_eq!(learner.confirmed, 1);
    }
}
