//! Which pods are replaced at once, without asking the ensemble: those that cannot contribute to it.
//!
//! In: a [`View`]. Out: pods.
//!
//! Always true:
//! * only pods on another template than the one asked for: a new one would be no better otherwise;
//! * a voter that runs and looks for a leader is no such pod, as it is what brings a lost quorum back.
//!
//! Not here: pods that work (`rollout`).

use super::action::{Action, Farewell, Reason};
use super::view::View;
use crate::base::ServerId;
use crate::operator::observed::{NodeFact, PodCondition, PodFact};

/// A pod that no node takes may still be placed a moment later.
const UNSCHEDULABLE_MS: u64 = 10_000;
/// The time in which a server's startup probe gives up.
const STARTUP_MS: u64 = 1_200_000;

/// Restarts of the pods that cannot contribute.
pub fn decide(view: &View<'_>) -> Vec<Action> {
    let broken: Vec<(&PodFact, String)> =
        view.outdated().filter_map(|pod| Some((pod, why_useless(view, pod)?))).collect();
    let mut pods = broken;
    if pods.is_empty() {
        pods.extend(lost_cause(view));
    }
    let restart = |(pod, why): (&PodFact, String)| {
        let server = view.id_of(pod);
        Action::RestartPod {
            server,
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            farewell: Farewell::AtOnce,
            reason: Reason {
                code: "ReplacingPod",
                text: format!("pod {} cannot contribute ({why}) and gets the newest template", pod.name),
            },
        }
    };
    pods.into_iter().map(restart).collect()
}

/// Why a pod contributes nothing and will not do so by itself; `None` if it may.
pub fn why_useless(view: &View<'_>, pod: &PodFact) -> Option<String> {
    if matches!(view.observed.nodes.get(&pod.node), Some(NodeFact::Lost(_))) {
        // Nobody there would end it; deleting it would only hide it.
        return None;
    }
    let age = pod.age_ms(view.now_ms);
    match &pod.condition {
        PodCondition::Terminating => None,
        PodCondition::Unschedulable(why) if age > UNSCHEDULABLE_MS => Some(why.clone()),
        PodCondition::Stuck(reason, message) => Some(format!("{reason}: {message}")),
        PodCondition::Starting if age > STARTUP_MS => Some("its startup took too long".to_owned()),
        PodCondition::Unschedulable(_) | PodCondition::Starting => None,
        PodCondition::Running => dies_again_and_again(pod),
    }
}

/// A server between two deaths looks alive.
fn dies_again_and_again(pod: &PodFact) -> Option<String> {
    let (code, reason) = pod.last_end.as_ref()?;
    let dies = pod.restarts >= 2 && *code != 0 && pod.ready_since_ms.is_none();
    dies.then(|| format!("{reason} after {} restarts", pod.restarts))
}

/// With the quorum lost for long: one pod that runs without use, but never one that knows the most.
fn lost_cause<'a>(view: &View<'a>) -> Option<(&'a PodFact, String)> {
    if view.leader.is_some()
        || view.observed.pods.iter().any(|pod| pod.condition == PodCondition::Terminating)
    {
        return None;
    }
    let known = |id: ServerId| view.reports.get(&id).map(|report| (report.epoch, report.last_zxid));
    let best = view.reports.keys().filter_map(|id| known(*id)).max();
    let is_lost = |pod: &&PodFact| {
        let id = view.id_of(pod);
        let runs = pod.condition == PodCondition::Running && pod.ready_since_ms.is_none();
        runs && pod.age_ms(view.now_ms) > 2 * STARTUP_MS && known(id).is_some() && known(id) != best
    };
    view.outdated().find(is_lost).map(|pod| (pod, "it has found no leader for long".to_owned()))
}
