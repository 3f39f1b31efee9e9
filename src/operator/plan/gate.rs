//! Whether one member may be restarted without harm to the rest.
//!
//! In: a [`View`] and a member. Out: yes, or why not.
//!
//! Always true:
//! * without the member, the rest of the level voters is a quorum of the committed configuration;
//! * nothing else is on the move.
//!
//! Not here: whose turn it is (`rollout`).

use std::collections::BTreeSet;

use super::membership::list;
use super::view::View;
use crate::base::ServerId;
use crate::operator::observed::PodCondition;

/// Why the member must not be restarted at this moment; `None` if it may.
pub fn objection(view: &View<'_>, member: ServerId) -> Option<String> {
    let Some(leader) = view.leader else {
        return Some("no leader is known that a quorum follows".to_owned());
    };
    if let Some((a, b)) = view.split {
        return Some(format!("servers {a} and {b} both lead in one epoch"));
    }
    if leader.report.pending.is_some() {
        return Some("a configuration is proposed and not committed yet".to_owned());
    }
    if let Some(pod) = view.observed.pods.iter().find(|pod| pod.condition == PodCondition::Terminating) {
        return Some(format!("pod {} is ending", pod.name));
    }
    let disagrees = |id: &ServerId| {
        view.reports.get(id).is_some_and(|report| {
            report.leader != Some(leader.id)
                || report.epoch != leader.report.epoch
                || report.members.version != leader.report.members.version
        })
    };
    let voters: Vec<ServerId> = view.members.voters().map(|voter| voter.id).collect();
    let strangers: Vec<ServerId> =
        voters.iter().copied().filter(|id| *id != member && disagrees(id)).collect();
    if !strangers.is_empty() {
        return Some(format!("servers {} see another leader or configuration", list(&strangers)));
    }
    let settle = view.desired.rollout.settle.0;
    if leader.report.leader_since_seconds.unwrap_or(0) * 1000 < settle {
        return Some(format!("server {} leads only since a moment", leader.id));
    }
    let rest: BTreeSet<ServerId> = view.level_voters().into_iter().filter(|id| *id != member).collect();
    let is_small = voters.len() <= 2 && voters.contains(&member);
    if is_small {
        // One or two voters have no quorum without one of them: all that can be asked for is that the other is well.
        let others: Vec<ServerId> =
            voters.iter().copied().filter(|id| *id != member && !rest.contains(id)).collect();
        return (!others.is_empty()).then(|| format!("server {} is not level", list(&others)));
    }
    if !view.members.is_quorum(&rest) {
        return Some(format!("without server {member} too few voters would be level"));
    }
    None
}
