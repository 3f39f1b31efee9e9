//! The members in force and the ones proposed: whose votes and acknowledgements count.
//!
//! In: memberships from files, notifications, NEWLEADER and reconfigs. Out: who votes, and whether a set is a quorum.
//!
//! Always true:
//! * a proposed membership is newer than the one in force;
//! * with `reconfigEnabled=false` the configuration file is the only truth, and foreign text changes nothing.
//!
//! Not here: when a membership is proposed or committed (`leader`, `follower`).

use std::collections::BTreeSet;

use super::packet::Proposal;
use crate::base::wire::Reader;
use crate::base::{Ensemble, ServerId, Write, Zxid};

/// The type of a reconfig's txn.
const RECONFIG: i32 = 16;

/// Whether memberships may change while the ensemble runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconfig {
    /// `reconfigEnabled=true`.
    Enabled,
    /// `reconfigEnabled=false`: every change is a new configuration file.
    Disabled,
}

/// The membership in force and the one proposed.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    current: Ensemble,
    proposed: Option<Ensemble>,
    reconfig: Reconfig,
}

impl Membership {
    pub(super) fn new(current: Ensemble, proposed: Option<Ensemble>, reconfig: Reconfig) -> Membership {
        let mut membership = Membership { current, proposed: None, reconfig };
        if let Some(proposed) = proposed {
            membership.propose(proposed);
        }
        membership
    }

    /// The one in force.
    pub(super) fn current(&self) -> &Ensemble {
        &self.current
    }

    /// The one that was proposed and is not in force.
    pub(super) fn proposed(&self) -> Option<&Ensemble> {
        self.proposed.as_ref()
    }

    /// The newest one known.
    pub(super) fn last_seen(&self) -> &Ensemble {
        self.proposed.as_ref().unwrap_or(&self.current)
    }

    /// Everyone who votes in either.
    pub(super) fn voters(&self) -> BTreeSet<ServerId> {
        let proposed = self.proposed.iter().flat_map(Ensemble::voters);
        self.current.voters().chain(proposed).map(|member| member.id).collect()
    }

    /// Whether a server votes in either.
    pub(super) fn is_voter(&self, id: ServerId) -> bool {
        self.current.is_voter(id) || self.proposed.as_ref().is_some_and(|proposed| proposed.is_voter(id))
    }

    /// Whether these are a quorum of the membership in force, and of the proposed one if there is one.
    pub(super) fn is_quorum(&self, present: &BTreeSet<ServerId>) -> bool {
        self.current.is_quorum(present)
            && self.proposed.as_ref().is_none_or(|proposed| proposed.is_quorum(present))
    }

    /// Whether these are a quorum of the membership in force or of the proposed one.
    pub(super) fn is_quorum_of_either(&self, present: &BTreeSet<ServerId>) -> bool {
        self.current.is_quorum(present)
            || self.proposed.as_ref().is_some_and(|proposed| proposed.is_quorum(present))
    }

    /// Whether these may commit the txn: from a reconfig on, a quorum of what it proposes is needed as well.
    pub(super) fn may_commit(&self, zxid: Zxid, acks: &BTreeSet<ServerId>) -> bool {
        let proposed = self.proposed.as_ref().filter(|proposed| proposed.version <= zxid);
        self.current.is_quorum(acks) && proposed.is_none_or(|proposed| proposed.is_quorum(acks))
    }

    /// Takes a proposed membership in; `false` if it is not newer than the one in force.
    pub(super) fn propose(&mut self, ensemble: Ensemble) -> bool {
        let is_newer = self.reconfig == Reconfig::Enabled && ensemble.version > self.current.version;
        if is_newer {
            self.proposed = Some(ensemble);
        }
        is_newer
    }

    /// Forgets a proposed membership that did not survive; whether there was one.
    pub(super) fn withdraw(&mut self) -> bool {
        self.proposed.take().is_some()
    }

    /// Puts a membership in force; `false` if it is not newer.
    pub(super) fn activate(&mut self, ensemble: Ensemble) -> bool {
        let is_newer = self.reconfig == Reconfig::Enabled && ensemble.version > self.current.version;
        if is_newer {
            self.proposed = self.proposed.take().filter(|proposed| proposed.version > ensemble.version);
            self.current = ensemble;
        }
        is_newer
    }

    /// Whether memberships may change.
    pub(super) fn reconfig(&self) -> Reconfig {
        self.reconfig
    }

    /// The write that makes both survive.
    pub(super) fn write(&self) -> Write {
        let proposed = self.proposed.as_ref().map(Ensemble::to_string);
        Write::Ensemble { current: self.current.to_string(), proposed }
    }
}

/// The membership that a txn carries, if it is a reconfig: the only payload that the agreement looks into.
pub(super) fn membership_of(proposal: &Proposal) -> Option<Ensemble> {
    let mut reader = Reader::new(proposal.txn.clone());
    reader.raw("txn header", 28).ok()?;
    if reader.i32("txn type").ok()? != RECONFIG {
        return None;
    }
    reader.string("path").ok()?;
    let text = reader.string("data").ok()??;
    Ensemble::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::wire::Writer;

    fn ensemble(voters: &[i64], version: i64) -> Ensemble {
        let lines: String = voters.iter().map(|id| format!("server.{id}=h{id}:1:2\n")).collect();
        Ensemble::parse(&format!("{lines}version={version:x}")).expect("good")
    }

    fn set(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().map(|id| ServerId(*id)).collect()
    }

    #[test]
    fn from_a_reconfig_on_both_memberships_must_agree() {
        let mut membership = Membership::new(ensemble(&[1], 0), None, Reconfig::Enabled);
        assert!(membership.propose(ensemble(&[1, 2, 3], 7)));
        assert_eq!(membership.voters(), set(&[1, 2, 3]));
        assert!(membership.may_commit(Zxid(6), &set(&[1])));
        assert!(
            !membership.may_commit(Zxid(7), &set(&[1])) && !membership.may_commit(Zxid(7), &set(&[2, 3]))
        );
        assert!(membership.may_commit(Zxid(8), &set(&[1, 3])));
        assert!(membership.activate(ensemble(&[1, 2, 3], 7)) && membership.proposed().is_none());
        assert!(!membership.activate(ensemble(&[1], 5)) && !membership.propose(ensemble(&[1], 7)));
    }

    #[test]
    fn without_reconfig_foreign_text_changes_nothing() {
        let mut membership = Membership::new(ensemble(&[1], 0), Some(ensemble(&[2], 5)), Reconfig::Disabled);
        assert!(!membership.propose(ensemble(&[2], 7)) && !membership.activate(ensemble(&[2], 7)));
        assert_eq!(membership.last_seen(), &ensemble(&[1], 0));
    }

    #[test]
    fn a_reconfig_txn_is_told_by_its_type() {
        let mut txn = Writer::new();
        txn.i64(1).i32(2).i64(7).i64(0).i32(16).string("/zookeeper/config");
        txn.string(&ensemble(&[4], 7).to_string()).i32(-1);
        let mut proposal = Proposal { zxid: Zxid(7), txn: txn.finish() };
        assert_eq!(membership_of(&proposal), Some(ensemble(&[4], 7)));
        let mut other = Writer::new();
        other.i64(1).i32(2).i64(7).i64(0).i32(5).string("/a").string("version=1").i32(-1);
        proposal.txn = other.finish();
        assert_eq!(membership_of(&proposal), None);
    }
}
