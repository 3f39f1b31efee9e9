//! A server that is alone by configuration: no election, no peers; what is on disk is committed.
//!
//! In: proposals and reports of the disk. Out: deliveries.
//!
//! Always true:
//! * zxids go on from the last one on disk; the epoch files are left as they are.
//!
//! Not here: an ensemble of one member, which is a quorum like any other (`leader`).

use super::effects::Status;
use super::packet::Proposal;
use super::shared::Shared;
use crate::base::{Epoch, Zxid};

/// Serving alone.
#[derive(Debug)]
pub(super) struct Standalone;

impl Standalone {
    /// Everything recovered is committed at once.
    pub(super) fn start(shared: &mut Shared) -> Standalone {
        shared.history.commit(shared.history.last());
        shared.deliver();
        shared.set_status(Status::Standalone);
        Standalone
    }

    /// The zxid that the next proposal gets; `None` once every epoch is used up.
    pub(super) fn next_zxid(shared: &Shared) -> Option<Zxid> {
        let last = shared.history.last();
        if last.counter() < Zxid::LAST_COUNTER {
            return Some(last.next());
        }
        (last.epoch() < Epoch::MAX).then(|| Zxid::new(last.epoch().next(), 1))
    }

    /// Logs a txn; it is committed as soon as it is durable.
    pub(super) fn propose(shared: &mut Shared, proposal: Proposal) {
        let zxid = proposal.zxid;
        shared.history.append(&mut shared.fx, proposal);
        shared.history.commit(zxid);
    }
}
