//! Makes facts of pods.
//!
//! In: a pod as the API server holds it. Out: a [`PodFact`].
//!
//! Always true:
//! * a pod that is none of the ensemble's is no fact.
//!
//! Not here: what follows from it (`plan`).

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodTemplateSpec};

use super::build::{POOL, TEMPLATE_HASH, settings_of};
use super::desired::{Desired, Pool};
use super::observed::{PodCondition, PodFact};

/// Reasons for which a container that waits will not start by itself, or not soon.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// The fact of a pod; `None` if it is none of the ensemble's.
pub fn fact(desired: &Desired, pod: &Pod) -> Option<PodFact> {
    let meta = &pod.metadata;
    let name = meta.name.clone()?;
    let label = meta.labels.as_ref()?.get(POOL)?;
    let pool = Pool::ALL.into_iter().find(|pool| pool.label() == label)?;
    let ordinal = name.strip_prefix(&desired.pool_name(pool))?.strip_prefix('-')?.parse().ok()?;
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.iter().flatten().find(|container| container.name == "server");
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True");
    let template = PodTemplateSpec { metadata: None, spec: pod.spec.clone() };
    let hash = meta.annotations.as_ref().and_then(|annotations| annotations.get(TEMPLATE_HASH));
    let ready_since = ready.and_then(|ready| ready.last_transition_time.as_ref());
    Some(PodFact {
        uid: meta.uid.clone().unwrap_or_default(),
        pool,
        ordinal,
        template_hash: hash.cloned().unwrap_or_default(),
        settings: settings_of(&template),
        created_ms: meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond()),
        condition: condition(pod, container),
        ready_since_ms: ready_since.map(|time| time.0.as_millisecond()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        address: status.pod_ip.clone().unwrap_or_default(),
        restarts: container.map_or(0, |container| u32::try_from(container.restart_count).unwrap_or(0)),
        last_end: container.and_then(last_end),
        name,
    })
}

/// Host and port as one text.
pub fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn condition(pod: &Pod, container: Option<&ContainerStatus>) -> PodCondition {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodCondition::Terminating;
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions.into_iter().flatten().find(|condition| {
        let is_refused = condition.reason.as_deref() == Some("Unschedulable");
        condition.type_ == "PodScheduled" && condition.status == "False" && is_refused
    });
    if let Some(unscheduled) = unscheduled {
        return PodCondition::Unschedulable(unscheduled.message.clone().unwrap_or_default());
    }
    let Some(state) = container.and_then(|container| container.state.as_ref()) else {
        return PodCondition::Starting;
    };
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        return if STUCK.contains(&reason.as_str()) {
            PodCondition::Stuck(reason, waiting.message.clone().unwrap_or_default())
        } else {
            PodCondition::Starting
        };
    }
    if state.running.is_some() { PodCondition::Running } else { PodCondition::Starting }
}

fn last_end(container: &ContainerStatus) -> Option<(i32, String)> {
    let of = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.clone())
    };
    let end = of(&container.state).or_else(|| of(&container.last_state))?;
    Some((end.exit_code, end.reason.unwrap_or_default()))
}
