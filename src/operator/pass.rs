//! One pass over one resource: observe, validate, plan, apply, status.
//!
//! In: a resource. Out: when to look again.
//!
//! Always true:
//! * the status is written even if an action could not be done;
//! * after an action that could not be done no other is begun.
//!
//! Not here: when passes run (`controller`).

use std::io::Read as _;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::apply::{self, Performer};
use super::controller::{Context, PassError};
use super::crd::{CoordinationEnsemble, EnsembleStatus};
use super::desired::Desired;
use super::identity::Fresh;
use super::observe::observe;
use super::observed::Memory;
use super::plan::{self, Action, Plan};
use super::status;
use super::validate::validate;

/// The name under which the status is written.
const STATUS_MANAGER: &str = "quorate-status";
/// What moves under load is told this often.
const REFRESH_MS: i64 = 60_000;
/// Conditions whose fall people should hear of, with the status that is bad.
const ALARMS: &[(&str, &str)] = &[
    ("Degraded", "True"),
    ("QuorumLost", "True"),
    ("StorageHealthy", "False"),
    ("SplitBrainSuspected", "True"),
    ("SpecAccepted", "False"),
];

/// What is remembered of a resource between passes.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    /// For the plan.
    pub memory: Memory,
    /// Passes that failed since one that did not.
    pub failures: u32,
    /// When the status was written, in milliseconds since 1970.
    pub told_ms: i64,
}

/// One pass.
pub async fn run(
    context: &Context,
    resource: &CoordinationEnsemble,
    mut memo: Memo,
) -> (Memo, Result<Duration, PassError>) {
    let result = pass(context, resource, &mut memo).await;
    (memo, result)
}

async fn pass(
    context: &Context,
    stale: &CoordinationEnsemble,
    memo: &mut Memo,
) -> Result<Duration, PassError> {
    let api = resources(context, &stale.metadata);
    // The cache may lag behind what this very operator wrote.
    let Some(resource) = api.get_opt(&stale.name_any()).await.map_err(PassError::new)? else {
        return Ok(Duration::from_secs(60));
    };
    let resource = &resource;
    if resource.uid() != stale.uid() || resource.metadata.deletion_timestamp.is_some() {
        return Ok(Duration::from_secs(60));
    }
    let desired = match validate(resource, &context.defaults) {
        Ok(desired) => desired,
        Err(refusal) => {
            let old = resource.status.clone().unwrap_or_default();
            let generation = resource.metadata.generation.unwrap_or(0);
            let told = status::refused(&old, generation, "Invalid", &refusal.to_string(), now_ms());
            tell(context, resource, &told, memo).await?;
            return Ok(Duration::from_secs(60));
        }
    };
    let fresh = fresh().map_err(PassError::new)?;
    let observed = observe(&context.client, resource, &desired, memo.memory.clone(), fresh).await;
    let observed = observed.map_err(PassError::new)?;
    let (desired, storage) = plan::on_existing(&desired, &observed);
    let plan = plan::plan(&desired, &storage, &observed, now_ms());
    memo.memory = plan.memory.clone();
    let told = status::status(&desired, &observed, &plan, now_ms());
    tell(context, resource, &told, memo).await?;
    let performer = Performer {
        client: &context.client,
        desired: &desired,
        observed: &observed,
        tenure: &context.tenure,
    };
    perform(context, resource, &performer, &plan, memo).await?;
    log(&desired, &plan);
    Ok(plan.again)
}

async fn perform(
    context: &Context,
    resource: &CoordinationEnsemble,
    performer: &Performer<'_>,
    plan: &Plan,
    memo: &mut Memo,
) -> Result<(), PassError> {
    for action in &plan.actions {
        let done = performer.perform(action).await;
        match (&done, action) {
            (Ok(()), Action::Transfer { .. }) => memo.memory.refusals = 0,
            (Ok(()), Action::RestartPod { .. }) => memo.memory = Memory::default(),
            (Err(apply::Error::Refusal(..)), _) => memo.memory.refusals += 1,
            (Ok(()) | Err(_), _) => {}
        }
        if let Some(reason) = action.reason() {
            let (kind, note) = match &done {
                Ok(()) => (EventType::Normal, reason.text.clone()),
                Err(error) => (EventType::Warning, format!("{}: {error}", reason.text)),
            };
            tracing::info!(namespace = ?resource.namespace(), name = %resource.name_any(), code = reason.code, %note, "action");
            event(context, resource, kind, reason.code, note).await;
        }
        context.health.acted();
        done.map_err(PassError::new)?;
    }
    Ok(())
}

/// Writes the status if people should read something new in it.
async fn tell(
    context: &Context,
    resource: &CoordinationEnsemble,
    told: &EnsembleStatus,
    memo: &mut Memo,
) -> Result<(), PassError> {
    let old = resource.status.clone().unwrap_or_default();
    let is_due = now_ms() - memo.told_ms > REFRESH_MS && old != *told;
    if status::is_same(&old, told) && !is_due {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": CoordinationEnsemble::api_version(&()),
        "kind": CoordinationEnsemble::kind(&()),
        "metadata": {"name": resource.name_any()},
        "status": told,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let api = resources(context, &resource.metadata);
    api.patch_status(&resource.name_any(), &params, &Patch::Apply(&patch)).await.map_err(PassError::new)?;
    memo.told_ms = now_ms();
    for (kind, bad) in ALARMS {
        let Some(condition) = status::condition(told, kind).filter(|condition| condition.status == *bad)
        else {
            continue;
        };
        let before = status::condition(&old, kind);
        let is_news = before.is_none_or(|before| before.status != *bad || before.reason != condition.reason);
        if is_news {
            event(context, resource, EventType::Warning, &condition.reason, condition.message.clone()).await;
        }
    }
    Ok(())
}

/// A resource that is no ensemble, although the API server took it: its definition is another version's.
pub async fn tell_unreadable(context: &Context, meta: &ObjectMeta, error: &str) -> Result<(), kube::Error> {
    let name = meta.name.clone().unwrap_or_default();
    let api = resources(context, meta);
    let condition = json!({
        "type": "SpecAccepted",
        "status": "False",
        "reason": "Invalid",
        "message": format!("the resource cannot be read: {error}; apply the operator's own definition, and correct the field"),
        "observedGeneration": meta.generation,
        "lastTransitionTime": status::now(now_ms()),
    });
    let patch = json!({"status": {"phase": "Failed", "conditions": [condition]}});
    let params = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(&name, &params, &Patch::Merge(&patch)).await.map(drop)
}

/// A pass that ended by a bug.
pub async fn tell_bug(context: &Context, resource: &CoordinationEnsemble, text: &str) {
    tracing::error!(namespace = ?resource.namespace(), name = %resource.name_any(), text, "bug");
    event(context, resource, EventType::Warning, "Bug", text.to_owned()).await;
}

async fn event(
    context: &Context,
    resource: &CoordinationEnsemble,
    kind: EventType,
    reason: &str,
    note: String,
) {
    let note = note.chars().take(1000).collect();
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note),
        action: reason.to_owned(),
        secondary: None,
    };
    let reference = resource.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        tracing::info!(%error, "event not written");
    }
}

fn resources(context: &Context, meta: &ObjectMeta) -> Api<CoordinationEnsemble> {
    Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default())
}

fn log(desired: &Desired, plan: &Plan) {
    tracing::debug!(
        namespace = %desired.namespace,
        name = %desired.name,
        actions = plan.actions.len(),
        stage = plan.progress.rollout.stage.name(),
        operation = plan.progress.operation.kind.name(),
        "pass"
    );
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn fresh() -> std::io::Result<Fresh> {
    let mut random = [0; 64];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(Fresh::new(&random))
}
