//! Finds out what exists: objects from the API server, members from the servers themselves.
//!
//! In: a resource. Out: [`Observed`].
//!
//! Always true:
//! * every fact is read live, so that what follows never rests on an old cache;
//! * a server that does not answer is a fact; only the API server's silence is an error.
//!
//! Not here: what follows from it (`plan`), changing anything (`apply`).

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, PersistentVolumeClaim, Pod, PodTemplateSpec, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admin;
use super::build::{self, DETACHED, ENSEMBLE, STABLE_TEMPLATE};
use super::crd::CoordinationEnsemble;
use super::desired::{Desired, Keep, Pool};
use super::identity::{Fresh, Identity};
use super::object::{Kind, ObjectKey, Objects};
use super::observed::{
    Attachment, Binding, ClaimFact, IdentityFact, Memory, NodeFact, Observed, Orders, PodFact, SetFact,
};
use super::pods;
use super::report::Report;

/// What exists for a resource.
pub async fn observe(
    client: &Client,
    resource: &CoordinationEnsemble,
    desired: &Desired,
    memory: Memory,
    fresh: Fresh,
) -> Result<Observed, kube::Error> {
    let namespace = &desired.namespace;
    let mut objects = Objects::new();
    let name = &desired.name;
    let identity =
        keep::<Secret>(client, namespace, Kind::Secret, &build::identity_name(desired), &mut objects).await?;
    keep::<ServiceAccount>(client, namespace, Kind::ServiceAccount, &format!("{name}-server"), &mut objects)
        .await?;
    keep::<ConfigMap>(client, namespace, Kind::ConfigMap, &build::config_name(desired), &mut objects).await?;
    keep::<Service>(client, namespace, Kind::Service, &build::peers_name(desired), &mut objects).await?;
    keep::<Service>(client, namespace, Kind::Service, &build::client_name(desired), &mut objects).await?;
    keep::<PodDisruptionBudget>(client, namespace, Kind::Budget, &build::budget_name(desired), &mut objects)
        .await?;
    let mut sets = BTreeMap::new();
    for pool in Pool::ALL {
        let name = desired.pool_name(pool);
        if let Some(set) =
            keep::<StatefulSet>(client, namespace, Kind::StatefulSet, &name, &mut objects).await?
        {
            sets.insert(pool, set_fact(&set));
        }
    }
    let selected = ListParams::default().labels(&format!("{ENSEMBLE}={name}"));
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&selected).await?.items;
    let pods: Vec<PodFact> = pods.iter().filter_map(|pod| pods::fact(desired, pod)).collect();
    let claims =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace).list(&selected).await?.items;
    let claims: Vec<ClaimFact> = claims.iter().filter_map(|claim| claim_fact(desired, claim)).collect();
    let identity = identity.map_or(IdentityFact::Absent, |secret| identity_fact(&secret));
    let reports = reports(desired, &pods, &identity).await;
    Ok(Observed {
        nodes: nodes(client, &pods).await?,
        missing_classes: missing_classes(client, desired, &claims).await?,
        objects,
        identity,
        fresh,
        sets,
        pods,
        claims,
        reports,
        status: resource.status.clone().unwrap_or_default(),
        orders: orders(resource),
        memory,
    })
}

/// Reads an object and keeps it as JSON too.
async fn keep<K>(
    client: &Client,
    namespace: &str,
    kind: Kind,
    name: &str,
    objects: &mut Objects,
) -> Result<Option<K>, kube::Error>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let object = Api::<K>::namespaced(client.clone(), namespace).get_opt(name).await?;
    if let Some(object) = &object {
        let json = serde_json::to_value(object).expect("an object is plain data");
        objects.insert(ObjectKey { kind, name: name.to_owned() }, json);
    }
    Ok(object)
}

fn identity_fact(secret: &Secret) -> IdentityFact {
    let data = secret.data.clone().unwrap_or_default();
    if data.is_empty() {
        // Made, but not filled: its maker was cut off.
        return IdentityFact::Absent;
    }
    let data = data.into_iter().map(|(key, value)| (key, value.0)).collect();
    let version = secret.metadata.resource_version.clone().unwrap_or_default();
    match Identity::parse(&data) {
        Ok(identity) => IdentityFact::Present(Box::new(identity), version),
        Err(problem) => IdentityFact::Broken(problem),
    }
}

fn set_fact(set: &StatefulSet) -> SetFact {
    let spec = set.spec.clone().unwrap_or_default();
    let annotations = set.metadata.annotations.clone().unwrap_or_default();
    let stable = annotations.get(STABLE_TEMPLATE);
    let claims = spec.volume_claim_templates.unwrap_or_default();
    SetFact {
        replicas: spec.replicas.and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        template: spec.template,
        stable: stable.and_then(|text| serde_json::from_str::<PodTemplateSpec>(text).ok()),
        claims: claims.iter().map(claim_size).collect(),
    }
}

fn claim_size(claim: &PersistentVolumeClaim) -> (String, String, Option<String>) {
    let spec = claim.spec.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let size = requests.get("storage").map(|size| size.0.clone()).unwrap_or_default();
    (claim.metadata.name.clone().unwrap_or_default(), size, spec.storage_class_name)
}

/// A claim of the voters' pool: `data-NAME-3`, `datalog-NAME-3`.
fn claim_fact(desired: &Desired, claim: &PersistentVolumeClaim) -> Option<ClaimFact> {
    let name = claim.metadata.name.clone()?;
    let pod = name.strip_prefix("data-").or_else(|| name.strip_prefix("datalog-"))?;
    let ordinal = pod.strip_prefix(&desired.pool_name(Pool::Voters))?.strip_prefix('-')?.parse().ok()?;
    let labels = claim.metadata.labels.clone().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    Some(ClaimFact {
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        ordinal,
        binding: if phase == Some("Bound") { Binding::Bound } else { Binding::Pending },
        attachment: if labels.contains_key(DETACHED) { Attachment::Detached } else { Attachment::InUse },
        name,
    })
}

async fn reports(desired: &Desired, pods: &[PodFact], identity: &IdentityFact) -> BTreeMap<String, Report> {
    let token = match identity {
        IdentityFact::Present(identity, _) => identity.admin_token.as_str(),
        IdentityFact::Absent | IdentityFact::Broken(_) => return BTreeMap::new(),
    };
    let asked = pods.iter().filter(|pod| !pod.address.is_empty()).map(|pod| async {
        let address = pods::address(&pod.address, desired.spec.network.ports.admin);
        match admin::report(&address, token).await {
            Ok(report) => Some((pod.name.clone(), report)),
            Err(error) => {
                tracing::debug!(pod = %pod.name, %error, "no report");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn nodes(client: &Client, pods: &[PodFact]) -> Result<BTreeMap<String, NodeFact>, kube::Error> {
    let api = Api::<Node>::all(client.clone());
    let mut nodes = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.node.is_empty()) {
        if nodes.contains_key(&pod.node) {
            continue;
        }
        let node = api.get_opt(&pod.node).await?;
        let conditions =
            node.and_then(|node| node.status).and_then(|status| status.conditions).unwrap_or_default();
        let fact = match conditions.iter().find(|condition| condition.type_ == "Ready") {
            Some(ready) if ready.status == "True" => NodeFact::Ready,
            Some(ready) => {
                NodeFact::Lost(ready.last_transition_time.as_ref().map_or(0, |time| time.0.as_millisecond()))
            }
            None => NodeFact::Lost(0),
        };
        nodes.insert(pod.node.clone(), fact);
    }
    Ok(nodes)
}

/// Classes that a waiting claim asks for and the cluster lacks.
async fn missing_classes(
    client: &Client,
    desired: &Desired,
    claims: &[ClaimFact],
) -> Result<Vec<String>, kube::Error> {
    if claims.iter().all(|claim| claim.binding == Binding::Bound) {
        return Ok(Vec::new());
    }
    let classes = Api::<StorageClass>::all(client.clone()).list(&ListParams::default()).await?.items;
    let is_default = |class: &StorageClass| {
        let annotations = class.metadata.annotations.iter().flatten();
        annotations
            .into_iter()
            .any(|(key, value)| key == "storageclass.kubernetes.io/is-default-class" && value == "true")
    };
    let volumes = [Some(&desired.data), desired.data_log.as_ref()];
    let wanted = volumes.into_iter().flatten().filter(|volume| volume.keep == Keep::Retain);
    let missing = wanted.filter_map(|volume| match &volume.class {
        Some(class) => {
            let exists = classes.iter().any(|existing| existing.metadata.name.as_ref() == Some(class));
            (!exists).then(|| class.clone())
        }
        None => (!classes.iter().any(is_default)).then(|| "default".to_owned()),
    });
    let mut missing: Vec<String> = missing.collect();
    missing.dedup();
    Ok(missing)
}

fn orders(resource: &CoordinationEnsemble) -> Orders {
    let annotations = resource.metadata.annotations.clone().unwrap_or_default();
    Orders {
        pause: annotations.get("quorate.dev/paused").filter(|value| *value == "true").map(|_| ()),
        approved: annotations.get("quorate.dev/approved").cloned(),
    }
}
