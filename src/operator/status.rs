//! What is told about an ensemble: phase, members, conditions.
//!
//! In: what the servers are to be, what exists, and the plan. Out: the status of the resource.
//!
//! Always true:
//! * a condition's time changes only with its status;
//! * every condition that is not well says why, and what to do.
//!
//! Not here: writing it (`controller`).

mod conditions;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::build::{self, MEMBER_VERSION};
use super::crd::{
    EffectiveStatus, EndpointsStatus, EnsembleStatus, MemberStatus, OperationStatus, QuorumStatus,
    RolloutStatus, StorageStatus, VersionStatus,
};
use super::desired::{Desired, Pool};
use super::observed::{IdentityFact, Observed, PodCondition, PodFact};
use super::plan::{Phase, Plan, Stage, View, max_unavailable, why_useless};
use super::report::{Role, Service, StartMode};
use crate::base::ServerId;
use conditions::Quorum;

/// The status of a resource.
pub fn status(desired: &Desired, observed: &Observed, plan: &Plan, now_ms: i64) -> EnsembleStatus {
    let old = &observed.status;
    let Some(view) = View::new(desired, observed, now_ms) else {
        let problem = match &observed.identity {
            IdentityFact::Broken(problem) => problem.as_str(),
            IdentityFact::Absent | IdentityFact::Present(..) => "",
        };
        let name = build::identity_name(desired);
        let text = format!("secret {name}: {problem}; put back the secret from a backup");
        return refused(old, desired.generation, "SecretMissing", &text, now_ms);
    };
    let quorum = conditions::quorum(&view);
    let since = if old.quorum.state == quorum.name() { old.quorum.since.clone() } else { None };
    let members = members(&view);
    let of = |pool: Pool| observed.pods.iter().filter(move |pod| pod.pool == pool);
    let is_updated = |pod: &&PodFact| pod.template_hash == view.templates(pod.pool).wanted_hash;
    let count = |pods: usize| i32::try_from(pods).expect("fewer pods than that");
    let voters = view.templates(Pool::Voters);
    let total = membership_total(&view);
    let rollout = &plan.progress.rollout;
    let mut status = EnsembleStatus {
        observed_generation: Some(desired.generation),
        phase: phase(&view, plan, quorum).to_owned(),
        ensemble_id: match &observed.identity {
            IdentityFact::Present(identity, _) => identity.ensemble_id.clone(),
            IdentityFact::Absent | IdentityFact::Broken(_) => String::new(),
        },
        replicas: count(of(Pool::Voters).count()),
        ready_replicas: count(of(Pool::Voters).filter(|pod| pod.ready_since_ms.is_some()).count()),
        updated_replicas: count(of(Pool::Voters).filter(is_updated).count()),
        voting_members: count(view.members.voters().count()),
        observer_replicas: count(of(Pool::Observers).count()),
        ready_observers: count(of(Pool::Observers).filter(|pod| pod.ready_since_ms.is_some()).count()),
        selector: build::selector_text(desired, Pool::Voters),
        quorum: quorum_status(&view, quorum, since.unwrap_or_else(|| now(now_ms))),
        members,
        version: version(&view, plan),
        rollout: RolloutStatus {
            target_hash: voters.wanted_hash.clone(),
            stable_hash: voters.stable_hash.clone(),
            stage: rollout.stage.name().to_owned(),
            member_id: rollout.member.map_or(0, |id| id.0),
            updated: count(observed.pods.iter().filter(is_updated).count()),
            total,
            message: rollout.message.clone(),
        },
        operation: operation(plan),
        storage: StorageStatus {
            data: desired.data.size.clone(),
            data_log: desired.data_log.as_ref().map(|log| log.size.clone()).unwrap_or_default(),
        },
        endpoints: endpoints(&view),
        highest_epoch_seen: highest_epoch(&view),
        highest_zxid_seen: highest_zxid(&view),
        effective: EffectiveStatus {
            version: desired.version.clone(),
            image: desired.image.clone(),
            pdb_max_unavailable: max_unavailable(&view).map_or(0, |number| number as i32),
            voters: desired.voters as i32,
            held_as_observer: desired.held_ids(),
        },
        conditions: Vec::new(),
    };
    status.conditions = conditions::all(&view, plan, quorum)
        .into_iter()
        .map(|said| said.stamp(&old.conditions, desired.generation, now_ms))
        .collect();
    status
}

/// The status of a resource that cannot be served: all that is known stays, and the conditions say why.
pub fn refused(
    old: &EnsembleStatus,
    generation: i64,
    reason: &'static str,
    text: &str,
    now_ms: i64,
) -> EnsembleStatus {
    let mut status = old.clone();
    status.observed_generation = Some(generation);
    if status.phase.is_empty() || status.phase == "Pending" {
        status.phase = "Failed".to_owned();
    }
    let ready = if reason == "Invalid" { "SpecInvalid" } else { "Unknown" };
    for (kind, reason) in [("SpecAccepted", reason), ("Ready", ready)] {
        let said = conditions::Said::no(kind, reason, text);
        let condition = said.stamp(&old.conditions, generation, now_ms);
        status.conditions.retain(|existing| existing.type_ != kind);
        status.conditions.push(condition);
    }
    status
}

/// Whether two statuses tell people the same; what moves by itself under load is left out.
pub fn is_same(a: &EnsembleStatus, b: &EnsembleStatus) -> bool {
    let still = |status: &EnsembleStatus| {
        let mut status = status.clone();
        status.quorum.last_zxid.clear();
        status.highest_zxid_seen.clear();
        status
    };
    still(a) == still(b)
}

/// A moment as Kubernetes writes it: whole seconds.
pub(super) fn now(now_ms: i64) -> Time {
    Time(Timestamp::from_second(now_ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn phase(view: &View<'_>, plan: &Plan, quorum: Quorum) -> &'static str {
    if view.observed.orders.pause.is_some() {
        "Paused"
    } else if view.desired.size == 0 {
        "Hibernated"
    } else if view.observed.identity == IdentityFact::Absent {
        "Pending"
    } else if view.phase == Phase::Bootstrap {
        "Bootstrapping"
    } else if matches!(quorum, Quorum::Lost | Quorum::Unknown) {
        "Recovering"
    } else if plan.progress.membership.reason.is_some() {
        "Scaling"
    } else if plan.progress.rollout.stage != Stage::Done {
        "Updating"
    } else {
        "Running"
    }
}

fn quorum_status(view: &View<'_>, quorum: Quorum, since: Time) -> QuorumStatus {
    let voters = view.members.voters().count();
    let required = voters / 2 + 1;
    let synced = view.level_voters().len();
    let leader = view.leader;
    let pod = leader.and_then(|leader| view.pod_of(leader.id));
    QuorumStatus {
        state: quorum.name().to_owned(),
        required: required as i32,
        synced: synced as i32,
        can_lose: synced.saturating_sub(required) as i32,
        leader_id: leader.map(|leader| leader.id.0),
        leader_pod: pod.map(|pod| pod.name.clone()).unwrap_or_default(),
        epoch: leader.map_or(0, |leader| i64::from(leader.report.epoch)),
        config_version: format!("{}", view.members.version),
        last_zxid: leader.map(|leader| leader.report.last_zxid.to_string()).unwrap_or_default(),
        since: Some(since),
    }
}

fn members(view: &View<'_>) -> Vec<MemberStatus> {
    let with_pods = view.observed.pods.iter().map(|pod| view.id_of(pod));
    let mut ids: Vec<ServerId> = with_pods.chain(view.members.members.keys().copied()).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().map(|id| member(view, id)).collect()
}

fn member(view: &View<'_>, id: ServerId) -> MemberStatus {
    let pod = view.pod_of(id);
    let report = view.reports.get(&id);
    let pool = view.desired.place(id).map(|(pool, _)| pool);
    let voting = view.members.is_voter(id);
    let desired_voting = view.desired.voter_ids().contains(&id);
    let synced = view.is_level(id);
    let is_member = view.members.members.contains_key(&id);
    let role = match (pod, report) {
        (_, Some(report)) => match report.role {
            Role::Leader => "Leader",
            Role::Follower => "Follower",
            Role::Observer => "Observer",
            Role::Looking => "Looking",
        },
        (None, None) => "Down",
        (Some(_), None) => "Unknown",
    };
    let useless = pod.and_then(|pod| why_useless(view, pod));
    let (state, message) = match (&useless, report) {
        (Some(why), _) => ("Failed", why.clone()),
        (None, _) if !is_member && view.phase == Phase::Initialised => {
            ("Leaving", "not in the configuration".to_owned())
        }
        (None, Some(report)) if report.service == Service::Draining => ("Draining", String::new()),
        (None, _) if synced && voting == desired_voting => ("Active", String::new()),
        (None, _) if synced => ("CatchingUp", "waits for its vote".to_owned()),
        (None, Some(report)) if report.start == StartMode::Join => {
            ("Joining", "its disk was empty: it has no vote before the leader brought it level".to_owned())
        }
        (None, Some(_)) => ("CatchingUp", String::new()),
        (None, None) => (
            "Joining",
            pod.map_or_else(|| "it has no pod".to_owned(), |pod| words(&pod.condition).to_owned()),
        ),
    };
    MemberStatus {
        id: id.0,
        pod: pod.map(|pod| pod.name.clone()).unwrap_or_default(),
        pool: match pool {
            Some(Pool::Voters) => "Voters".to_owned(),
            Some(Pool::Observers) => "Observers".to_owned(),
            None => "External".to_owned(),
        },
        role: role.to_owned(),
        voting,
        desired_voting,
        ready: pod.is_some_and(|pod| pod.ready_since_ms.is_some()),
        synced,
        state: state.to_owned(),
        incarnation: view.incarnation(id).unwrap_or_default(),
        node: pod.map(|pod| pod.node.clone()).unwrap_or_default(),
        version: report.map(|report| report.version.clone()).unwrap_or_default(),
        template_hash: pod.map(|pod| pod.template_hash.clone()).unwrap_or_default(),
        message,
    }
}

fn words(condition: &PodCondition) -> &'static str {
    match condition {
        PodCondition::Terminating => "its pod is ending",
        PodCondition::Unschedulable(_) => "no node takes its pod",
        PodCondition::Stuck(..) => "its server cannot start",
        PodCondition::Starting => "its pod is starting",
        PodCondition::Running => "it does not answer",
    }
}

/// The version that all run: it moves on when the template asked for has proved itself.
fn version(view: &View<'_>, plan: &Plan) -> VersionStatus {
    let version_of = |template: &k8s_openapi::api::core::v1::PodTemplateSpec| {
        let annotations = template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref());
        annotations.and_then(|annotations| annotations.get(MEMBER_VERSION)).cloned().unwrap_or_default()
    };
    let current = version_of(&view.templates(Pool::Voters).stable);
    let target = view.desired.version.clone();
    VersionStatus { mixed: current != target && plan.progress.rollout.stage != Stage::Done, current, target }
}

fn membership_total(view: &View<'_>) -> i32 {
    view.observed.sets.values().map(|set| set.replicas as i32).sum()
}

fn operation(plan: &Plan) -> OperationStatus {
    let operation = &plan.progress.operation;
    OperationStatus {
        kind: operation.kind.name().to_owned(),
        step: operation.step.clone(),
        member_ids: operation.ids.clone(),
        from_config_version: operation.from.map(|version| version.to_string()).unwrap_or_default(),
        message: operation.message.clone(),
    }
}

fn endpoints(view: &View<'_>) -> EndpointsStatus {
    let desired = view.desired;
    let port = desired.spec.network.ports.client;
    let hosts = view.members.members.values().map(|member| format!("{}:{port}", member.host));
    EndpointsStatus {
        client: format!("{}.{}.svc:{port}", build::client_name(desired), desired.namespace),
        connect_string: hosts.collect::<Vec<_>>().join(","),
    }
}

fn highest_epoch(view: &View<'_>) -> i64 {
    let reported = view.reports.values().map(|report| i64::from(report.epoch)).max().unwrap_or(0);
    reported.max(view.observed.status.highest_epoch_seen)
}

fn highest_zxid(view: &View<'_>) -> String {
    let known = &view.observed.status.highest_zxid_seen;
    let known = i64::from_str_radix(known.trim_start_matches("0x"), 16).unwrap_or(0);
    let reported = view.reports.values().map(|report| report.last_zxid.0).max().unwrap_or(0);
    format!("0x{:x}", reported.max(known))
}

/// A condition by its type.
pub fn condition<'a>(status: &'a EnsembleStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}
