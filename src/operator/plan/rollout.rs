//! How a template reaches the members: observers, followers, the leader last, one at a time.
//!
//! In: a [`View`]. Out: at most one restart or hand-over, and which template is in force.
//!
//! Always true:
//! * nobody is restarted before everybody who was is back and has been well for a while;
//! * the template in force is the last good one, but for the moment in which a pod is replaced.
//!
//! Not here: pods that cannot contribute (`repair`), whether the rest holds (`gate`).

use std::collections::BTreeSet;

use super::action::{Action, Farewell, Reason, RolloutProgress, Stage};
use super::membership::{Business, successor};
use super::repair::why_useless;
use super::view::{Phase, View};
use super::{gate, version};
use crate::base::ServerId;
use crate::operator::crd::RolloutMode;
use crate::operator::desired::{HandOver, Pool};
use crate::operator::observed::{PodCondition, PodFact};

/// The gate has to hold for this long: two looks at fresh reports.
const GATE_MS: i64 = 2_000;
/// A leader that refused this often is restarted as it is.
const REFUSALS_MAX: u32 = 2;

/// What is done about the template.
pub struct Rollout {
    /// At most one.
    pub action: Option<Action>,
    /// How it is told.
    pub progress: RolloutProgress,
    /// The member whose gate holds, and since when.
    pub gate: Option<(ServerId, i64)>,
    /// Whether the template asked for becomes the good one.
    pub verdict: Verdict,
}

/// Whether the template asked for has proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It becomes the one that every pod is made from.
    Good,
    /// Not yet.
    Open,
}

/// The step of the rollout.
pub fn decide(view: &View<'_>, business: Business) -> Rollout {
    let is_new = |pool: &Pool| view.templates(*pool).wanted_hash != view.templates(*pool).stable_hash;
    let outdated: Vec<&PodFact> = view.outdated().collect();
    let is_news = Pool::ALL.iter().any(is_new);
    if outdated.is_empty() {
        return if is_news { soak(view) } else { told(Stage::Done, None, "") };
    }
    if let Some((stage, message)) = version::refusal(view) {
        return told(stage, None, message);
    }
    if view.desired.rollout.mode == RolloutMode::Paused {
        return told(Stage::Paused, None, "rollout.mode is Paused");
    }
    if let Some(waiting) = updated_not_back(view) {
        return waiting;
    }
    if view.phase == Phase::Bootstrap || view.leader.is_none() {
        return told(Stage::Followers, None, "no leader is known that a quorum follows");
    }
    if business == Business::Busy {
        return told(Stage::Followers, None, "a change of membership has to end first");
    }
    let (stage, candidate) = candidate(view, &outdated);
    if stage == Stage::Leader {
        return leader(view, candidate);
    }
    gated(view, stage, candidate)
}

/// Whose turn it is: who has no vote, then who does not lead, then the leader; the highest number first.
fn candidate<'a>(view: &View<'_>, outdated: &[&'a PodFact]) -> (Stage, &'a PodFact) {
    let stage = |pod: &PodFact| {
        let id = view.id_of(pod);
        match view.leader {
            Some(leader) if leader.id == id => (2, Stage::Leader),
            Some(_) | None if view.members.is_voter(id) => (1, Stage::Followers),
            Some(_) | None => (0, Stage::Observers),
        }
    };
    let key = |pod: &&&PodFact| (stage(pod).0, std::cmp::Reverse((pod.pool, pod.ordinal)));
    let pod = outdated.iter().min_by_key(key).expect("the caller has at least one");
    (stage(pod).1, pod)
}

/// The leader hands over, if it is asked to and does not refuse; what remains is a follower.
fn leader(view: &View<'_>, pod: &PodFact) -> Rollout {
    let id = view.id_of(pod);
    if let Some(annotation) = asked(view, Question::Leader) {
        let text = format!("server {id} leads and is the last; annotate the resource with {annotation}");
        return told(Stage::WaitingForApproval, Some(id), text);
    }
    let leader = view.leader.expect("the caller looked");
    let voters: BTreeSet<ServerId> = view.members.voters().map(|member| member.id).collect();
    let hands_over = view.desired.rollout.hand_over == HandOver::First
        && voters.len() > 1
        && view.observed.memory.refusals < REFUSALS_MAX;
    if !hands_over {
        return gated(view, Stage::Leader, pod);
    }
    if let Some(why) = gate::objection(view, id) {
        return told(Stage::HandOver, Some(id), why);
    }
    let Some(to) = successor(view, &voters) else {
        return told(Stage::HandOver, Some(id), "no voter can take over from the leader");
    };
    let text = format!("server {id} leads and is to be restarted; server {to} takes over");
    let reason = Reason { code: "HandOver", text: text.clone() };
    let action = Action::Transfer { from: id, epoch: leader.report.epoch, to, reason };
    Rollout { action: Some(action), ..told(Stage::HandOver, Some(id), text) }
}

/// A restart, once the gate has held for long enough.
fn gated(view: &View<'_>, stage: Stage, pod: &PodFact) -> Rollout {
    let id = view.id_of(pod);
    if let Some(why) = gate::objection(view, id) {
        return told(stage, Some(id), why);
    }
    let since = match view.observed.memory.gate {
        Some((held, since)) if held == id => since,
        Some(_) | None => view.now_ms,
    };
    let gate = Some((id, since));
    if view.now_ms - since < GATE_MS {
        return Rollout { gate, ..told(stage, Some(id), format!("server {id} is next")) };
    }
    let is_needed = view.members.is_voter(id) && view.members.voters().count() <= 2;
    let meanwhile =
        if is_needed { "no writes are served until it is back" } else { "the other members hold the quorum" };
    let text = format!("pod {} gets the new template; {meanwhile}", pod.name);
    let action = Action::RestartPod {
        server: id,
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        farewell: Farewell::Drain,
        reason: Reason { code: "RollingUpdate", text: text.clone() },
    };
    Rollout { action: Some(action), ..told(stage, Some(id), text) }
}

/// Everybody who is on the template asked for, and not yet back or not yet for long enough.
fn updated_not_back(view: &View<'_>) -> Option<Rollout> {
    let settle = view.desired.rollout.settle.0;
    let is_updated = |pod: &&PodFact| pod.template_hash == view.templates(pod.pool).wanted_hash;
    let is_news =
        |pod: &&PodFact| view.templates(pod.pool).wanted_hash != view.templates(pod.pool).stable_hash;
    let is_back = |pod: &PodFact| {
        view.contributes(view.id_of(pod)) && pod.ready_for_ms(view.now_ms).is_some_and(|time| time >= settle)
    };
    let missing = missing_pods(view);
    if let Some(name) = missing.first() {
        return Some(told(Stage::Followers, None, format!("pod {name} is being made")));
    }
    let pods = view.observed.pods.iter();
    let pod = pods.filter(is_updated).filter(is_news).find(|pod| !is_back(pod))?;
    let id = Some(view.id_of(pod));
    if let Some(why) = why_useless(view, pod) {
        return Some(told(Stage::Stalled, id, format!("pod {} does not come up: {why}", pod.name)));
    }
    if pod.ready_since_ms.is_none() && pod.age_ms(view.now_ms) > view.desired.rollout.member_timeout.0 {
        let text =
            format!("pod {} has not come back in time; the other members are left as they are", pod.name);
        return Some(told(Stage::Stalled, id, text));
    }
    Some(told(Stage::Followers, id, format!("pod {} has to be well for a while", pod.name)))
}

/// Every pod is on the template: it is the good one once all of them have been well for a while.
fn soak(view: &View<'_>) -> Rollout {
    let settle = view.desired.rollout.settle.0;
    let is_well = |pod: &&PodFact| {
        view.contributes(view.id_of(pod)) && pod.ready_for_ms(view.now_ms).is_some_and(|time| time >= settle)
    };
    let missing = missing_pods(view);
    let waiting: Vec<&str> =
        view.observed.pods.iter().filter(|pod| !is_well(pod)).map(|pod| &pod.name[..]).collect();
    let waiting = [missing.iter().map(String::as_str).collect(), waiting].concat();
    if !waiting.is_empty() {
        let stuck = view.observed.pods.iter().find_map(|pod| Some((pod, why_useless(view, pod)?)));
        return match stuck {
            Some((pod, why)) => {
                let text = format!("pod {} does not come up: {why}", pod.name);
                told(Stage::Stalled, Some(view.id_of(pod)), text)
            }
            None => told(Stage::Soak, None, format!("{} have to be well for a while", waiting.join(", "))),
        };
    }
    if let Some(annotation) = asked(view, Question::Final) {
        let text = format!("all members are on the new template; annotate the resource with {annotation}");
        return told(Stage::WaitingForApproval, None, text);
    }
    Rollout { verdict: Verdict::Good, ..told(Stage::Done, None, "") }
}

/// Names of pods that a StatefulSet is about to make.
pub fn missing_pods(view: &View<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    for (pool, set) in &view.observed.sets {
        for ordinal in (0..set.replicas).filter(|ordinal| view.observed.pod(*pool, *ordinal).is_none()) {
            missing.push(view.desired.pod_name(*pool, ordinal));
        }
    }
    missing
}

/// Whether a pod of the pool is being replaced.
pub fn is_replacing(view: &View<'_>, pool: Pool) -> bool {
    let replicas = view.observed.sets.get(&pool).map_or(0, |set| set.replicas);
    (0..replicas).any(|ordinal| match view.observed.pod(pool, ordinal) {
        Some(pod) => pod.condition == PodCondition::Terminating,
        None => true,
    })
}

/// What a supervised rollout asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// May the leader be restarted?
    Leader,
    /// May every pod be made from the new template from here on?
    Final,
}

/// The annotation that answers a question; `None` if nothing has to be asked, or was answered.
fn asked(view: &View<'_>, question: Question) -> Option<String> {
    match view.desired.rollout.mode {
        RolloutMode::Automatic | RolloutMode::Paused => return None,
        RolloutMode::Supervised => {}
    }
    let word = match question {
        Question::Leader => "leader",
        Question::Final => "final",
    };
    let answer = format!("{word}-{}", view.templates(Pool::Voters).wanted_hash);
    let is_given = view.observed.orders.approved.as_ref() == Some(&answer);
    (!is_given).then(|| format!("quorate.dev/approved={answer}"))
}

fn told(stage: Stage, member: Option<ServerId>, message: impl Into<String>) -> Rollout {
    let progress = RolloutProgress { stage, member, message: message.into() };
    Rollout { action: None, progress, gate: None, verdict: Verdict::Open }
}
