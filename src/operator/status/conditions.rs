//! The conditions of an ensemble.
//!
//! In: a view of what exists, and the plan. Out: each condition with its reason and words.
//!
//! Always true:
//! * a reason is one of the documented ones; programs may rely on it.
//!
//! Not here: the other parts of the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::now;
use crate::operator::crd::RolloutMode;
use crate::operator::observed::{NodeFact, Observed, PodCondition};
use crate::operator::plan::{Hold, Phase, Plan, Stage, View, why_useless};
use crate::operator::report::StartMode;

/// The exit code of a server that finds another ensemble's disk.
const FOREIGN_DISK: i32 = 78;
/// For so long a silent node counts as one that may be back.
const NODE_LOST_MS: i64 = 300_000;

/// Whether writes are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quorum {
    /// They are, and a voter may be lost.
    Healthy,
    /// They are, but no voter may be lost that could be.
    AtRisk,
    /// They are not.
    Lost,
    /// No server answers the operator.
    Unknown,
    /// The ensemble hibernates.
    None,
}

impl Quorum {
    pub(super) fn name(self) -> &'static str {
        match self {
            Quorum::Healthy => "Healthy",
            Quorum::AtRisk => "AtRisk",
            Quorum::Lost => "Lost",
            Quorum::Unknown => "Unknown",
            Quorum::None => "None",
        }
    }
}

/// A condition before it gets its time.
pub(super) struct Said {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    text: String,
}

impl Said {
    pub(super) fn yes(kind: &'static str, reason: &'static str, text: impl Into<String>) -> Said {
        Said { kind, status: "True", reason, text: text.into() }
    }

    pub(super) fn no(kind: &'static str, reason: &'static str, text: impl Into<String>) -> Said {
        Said { kind, status: "False", reason, text: text.into() }
    }

    /// With the time at which its status became what it is.
    pub(super) fn stamp(self, old: &[Condition], generation: i64, now_ms: i64) -> Condition {
        let before =
            old.iter().find(|condition| condition.type_ == self.kind && condition.status == self.status);
        Condition {
            type_: self.kind.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.text,
            observed_generation: Some(generation),
            last_transition_time: before
                .map_or_else(|| now(now_ms), |before| before.last_transition_time.clone()),
        }
    }
}

/// Whether writes are served.
pub(super) fn quorum(view: &View<'_>) -> Quorum {
    if view.desired.size == 0 {
        return Quorum::None;
    }
    if view.leader.is_none() {
        return if view.reports.is_empty() { Quorum::Unknown } else { Quorum::Lost };
    }
    let level = view.level_voters();
    if !view.members.is_quorum(&level) {
        return Quorum::Lost;
    }
    let voters = view.members.voters().count();
    let can_lose = level.len() > voters / 2 + 1;
    if can_lose || level.len() == voters { Quorum::Healthy } else { Quorum::AtRisk }
}

/// Every condition.
pub(super) fn all(view: &View<'_>, plan: &Plan, quorum: Quorum) -> Vec<Said> {
    vec![
        ready(view, plan, quorum),
        available(quorum),
        progressing(view, plan),
        degraded(view, plan),
        initialized(view),
        quorum_lost(view, quorum),
        held("MembershipInSync", "InSync", "membership is what is asked for", &plan.progress.membership),
        held("ScaleAllowed", "ReadyToScale", "the number of members may be changed", &plan.progress.scale),
        rollout_complete(plan),
        storage_healthy(view, plan),
        split_brain(view),
        spec_accepted(view),
        paused(view.observed),
    ]
}

fn ready(view: &View<'_>, plan: &Plan, quorum: Quorum) -> Said {
    let (pods, wanted) = (view.observed.pods.len(), view.desired.size + view.desired.observers);
    let well = view.observed.pods.iter().filter(|pod| view.contributes(view.id_of(pod))).count();
    let text = format!("{well} of {wanted} members are level and ready");
    match quorum {
        Quorum::None => Said::no("Ready", "Hibernated", "replicas is 0"),
        Quorum::Lost | Quorum::Unknown if view.phase == Phase::Bootstrap => {
            Said::no("Ready", "Bootstrapping", "the first members have not elected a leader yet")
        }
        Quorum::Lost | Quorum::Unknown => Said::no("Ready", "QuorumLost", lost_words(view)),
        Quorum::Healthy | Quorum::AtRisk => {
            let is_whole =
                pods == wanted as usize && well == pods && plan.progress.membership.reason.is_none();
            if is_whole && view.phase == Phase::Initialised {
                Said::yes("Ready", "AllMembersSynced", text)
            } else {
                Said::no("Ready", "WaitingForMembers", text)
            }
        }
    }
}

fn available(quorum: Quorum) -> Said {
    match quorum {
        Quorum::Healthy | Quorum::AtRisk => {
            Said::yes("Available", "QuorumServing", "reads and writes are served")
        }
        Quorum::Lost => Said::no("Available", "NoLeader", "no leader is known that a quorum follows"),
        Quorum::Unknown => Said::no("Available", "Unknown", "no server answers"),
        Quorum::None => Said::no("Available", "NoClientEndpoint", "the ensemble hibernates"),
    }
}

fn progressing(view: &View<'_>, plan: &Plan) -> Said {
    if view.phase == Phase::Bootstrap && view.desired.size > 0 {
        return Said::yes("Progressing", "Bootstrapping", "the first members start");
    }
    if let Some(reason) = &plan.progress.membership.reason
        && reason.code != "ExternalDrift"
    {
        return Said::yes("Progressing", "Scaling", reason.text.clone());
    }
    let rollout = &plan.progress.rollout;
    match rollout.stage {
        Stage::Done => Said::no("Progressing", "Idle", "nothing is under way"),
        Stage::WaitingForApproval => Said::yes("Progressing", "WaitingForApproval", rollout.message.clone()),
        Stage::Stalled => Said::yes("Progressing", "DeadlineExceeded", rollout.message.clone()),
        Stage::Paused | Stage::VersionSkipRefused | Stage::DowngradeRefused => {
            Said::no("Progressing", "Idle", rollout.message.clone())
        }
        Stage::Repair
        | Stage::Observers
        | Stage::Followers
        | Stage::HandOver
        | Stage::Leader
        | Stage::Soak => Said::yes("Progressing", "RollingUpdate", rollout.message.clone()),
    }
}

fn degraded(view: &View<'_>, plan: &Plan) -> Said {
    let yes = |reason, text: String| Said::yes("Degraded", reason, text);
    let lost = view.observed.pods.iter().find(|pod| match view.observed.nodes.get(&pod.node) {
        Some(NodeFact::Lost(since)) => view.now_ms - since > NODE_LOST_MS,
        Some(NodeFact::Ready) | None => false,
    });
    if let Some(pod) = lost {
        let (pod, node) = (&pod.name, &pod.node);
        return yes(
            "MemberNodeLost",
            format!(
                "node {node} of pod {pod} is silent; bring it back, or, if it is stopped for good: \
                 kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
            ),
        );
    }
    if plan.progress.rollout.stage == Stage::Stalled {
        return yes("RolloutStalled", plan.progress.rollout.message.clone());
    }
    if let Some(reason) = plan.progress.scale.reason.as_ref().filter(|reason| reason.code == "CatchUpStalled")
    {
        return yes("CatchUpStalled", reason.text.clone());
    }
    let useless = view.observed.pods.iter().find_map(|pod| Some((pod, why_useless(view, pod)?)));
    if let Some((pod, why)) = useless {
        return yes("MemberDown", format!("pod {}: {why}", pod.name));
    }
    let is_down = |id: &crate::base::ServerId| !view.contributes(*id);
    let down: Vec<String> =
        view.members.members.keys().filter(|id| is_down(id)).map(ToString::to_string).collect();
    if !down.is_empty() && view.desired.size > 0 && view.phase == Phase::Initialised {
        return yes("MemberDown", format!("servers {} are not level and ready", down.join(", ")));
    }
    Said::no("Degraded", "AsExpected", "every member is as it should be")
}

fn initialized(view: &View<'_>) -> Said {
    match view.phase {
        Phase::Initialised => Said::yes("Initialized", "FirstCommitSeen", "the bootstrap token is gone"),
        Phase::Bootstrap => Said::no("Initialized", "WaitingForFirstLeader", "no leader was seen yet"),
    }
}

fn quorum_lost(view: &View<'_>, quorum: Quorum) -> Said {
    match quorum {
        Quorum::Healthy | Quorum::AtRisk | Quorum::None => {
            Said::no("QuorumLost", "QuorumPresent", "a quorum of the voters is level")
        }
        Quorum::Lost | Quorum::Unknown if view.phase == Phase::Bootstrap => {
            Said::no("QuorumLost", "QuorumPresent", "the ensemble has never served yet")
        }
        Quorum::Unknown => Said::yes("QuorumLost", "VotersUnreachable", lost_words(view)),
        Quorum::Lost if !can_return(view) => Said::yes("QuorumLost", "VotersUnrecoverable", lost_words(view)),
        Quorum::Lost => Said::yes("QuorumLost", "VotersRestarting", lost_words(view)),
    }
}

/// Voters whose disks are known to be empty: they know nothing that could bring the quorum back.
fn blank_voters(view: &View<'_>) -> Vec<String> {
    let is_blank = |id: &crate::base::ServerId| {
        view.reports.get(id).is_some_and(|report| report.start == StartMode::Join && report.leader.is_none())
    };
    view.members.voters().map(|member| member.id).filter(is_blank).map(|id| id.to_string()).collect()
}

/// Whether enough voters with intact disks may exist.
fn can_return(view: &View<'_>) -> bool {
    let voters = view.members.voters().count();
    voters - blank_voters(view).len() > voters / 2
}

fn lost_words(view: &View<'_>) -> String {
    let blank = blank_voters(view);
    let mut awaited = Vec::new();
    for voter in view.members.voters().filter(|voter| !blank.contains(&voter.id.to_string())) {
        let why = match view.pod_of(voter.id) {
            None => "has no pod".to_owned(),
            Some(pod) => match (&pod.condition, why_useless(view, pod)) {
                (_, Some(why)) => why,
                (PodCondition::Running, None) if view.reports.contains_key(&voter.id) => continue,
                (PodCondition::Running, None) => "does not answer".to_owned(),
                (PodCondition::Terminating, None) => "is ending".to_owned(),
                (PodCondition::Unschedulable(why), None) => why.clone(),
                (PodCondition::Stuck(reason, _), None) => reason.clone(),
                (PodCondition::Starting, None) => "is starting".to_owned(),
            },
        };
        awaited.push(format!("server {} {why}", voter.id));
    }
    let mut text = "no leader is known that a quorum follows".to_owned();
    if !awaited.is_empty() {
        text = format!("{text}; awaited: {}", awaited.join(", "));
    }
    if !blank.is_empty() {
        let blank = blank.join(", ");
        text = format!(
            "{text}; the disks of servers {blank} are empty: put their volumes back, nothing was deleted"
        );
    }
    text
}

fn held(kind: &'static str, good: &'static str, text: &str, hold: &Hold) -> Said {
    match &hold.reason {
        None => Said::yes(kind, good, text),
        Some(reason) => Said::no(kind, reason.code, reason.text.clone()),
    }
}

fn rollout_complete(plan: &Plan) -> Said {
    let rollout = &plan.progress.rollout;
    let reason = match rollout.stage {
        Stage::Done => {
            return Said::yes("RolloutComplete", "UpToDate", "every member is on the template asked for");
        }
        Stage::Stalled => "Stalled",
        Stage::Paused => "Paused",
        Stage::VersionSkipRefused => "VersionSkipRefused",
        Stage::DowngradeRefused => "DowngradeRefused",
        Stage::Repair
        | Stage::Observers
        | Stage::Followers
        | Stage::HandOver
        | Stage::Leader
        | Stage::Soak
        | Stage::WaitingForApproval => "InProgress",
    };
    Said::no("RolloutComplete", reason, rollout.message.clone())
}

fn storage_healthy(view: &View<'_>, plan: &Plan) -> Said {
    let foreign = view.observed.pods.iter().find(|pod| {
        pod.ready_since_ms.is_none() && pod.last_end.as_ref().is_some_and(|(code, _)| *code == FOREIGN_DISK)
    });
    if let Some(pod) = foreign {
        let text = format!(
            "the disk of pod {} belongs to another ensemble than {}; put back its own identity secret, or delete its claim",
            pod.name, view.identity.ensemble_id
        );
        return Said::no("StorageHealthy", "StorageForeign", text);
    }
    if !plan.progress.storage.is_empty() {
        return Said::no("StorageHealthy", "NotExpandable", plan.progress.storage.clone());
    }
    Said::yes("StorageHealthy", "AsRequested", "volumes are as asked for")
}

fn split_brain(view: &View<'_>) -> Said {
    match view.split {
        Some((a, b)) => Said::yes(
            "SplitBrainSuspected",
            "TwoLeaders",
            format!("servers {a} and {b} both lead in one epoch; nothing is changed"),
        ),
        None => Said::no("SplitBrainSuspected", "SingleLeader", "no two leaders in one epoch"),
    }
}

fn spec_accepted(view: &View<'_>) -> Said {
    if !view.observed.missing_classes.is_empty() {
        let classes = view.observed.missing_classes.join(", ");
        let text = format!("storage class {classes} does not exist; make it, or name another in storage");
        return Said::no("SpecAccepted", "StorageClassMissing", text);
    }
    let desired = view.desired;
    let mut warnings = Vec::new();
    if !desired.held_ids().is_empty() {
        warnings.push(format!("{} replicas are {} voters, the rest observes", desired.size, desired.voters));
    }
    if desired.voters == 2 {
        warnings.push("two voters have no quorum without either of them".to_owned());
    }
    if desired.spec.rollout.mode == Some(RolloutMode::Paused) {
        warnings.push("rollout.mode is Paused: no change reaches the members".to_owned());
    }
    if warnings.is_empty() {
        Said::yes("SpecAccepted", "Accepted", "the spec is served")
    } else {
        Said::yes("SpecAccepted", "Warnings", warnings.join("; "))
    }
}

fn paused(observed: &Observed) -> Said {
    match observed.orders.pause {
        Some(()) => Said::yes("Paused", "ByAnnotation", "quorate.dev/paused is true: nothing is changed"),
        None => Said::no("Paused", "NotPaused", "changes are made"),
    }
}
