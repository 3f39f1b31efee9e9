//! The template of the servers' pods.
//!
//! In: what the servers are to be, and the pool. Out: a pod template that carries its own hash.
//!
//! Always true:
//! * it satisfies the pod security level `restricted`, with a read-only root and without a fixed user;
//! * the same spec gives the same hash in every version of the operator, unless a golden file says otherwise.
//!
//! Not here: which of two templates a pod gets (`plan`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext,
    TopologySpreadConstraint, Volume as PodVolume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config::{CONFIG_PATH, DATA_PATH, IDENTITY_PATH, LOG_PATH, settings_key, settings_text};
use super::names::{self, MEMBER_VERSION, TEMPLATE_HASH};
use crate::operator::crd::Spread;
use crate::operator::desired::{Desired, Keep, Pool, Volume, VolumeGroup};
use crate::operator::object;

/// The group of the image's user.
const IMAGE_GROUP: i64 = 65532;
/// A server ends within 2 s of SIGTERM; a node under load may take longer to say so.
const GRACE_SECONDS: i64 = 30;
/// The name of the node's own label.
const HOST_KEY: &str = "kubernetes.io/hostname";
/// The claim or volume with the data.
pub(super) const DATA: &str = "data";
/// The claim or volume with the log.
pub(super) const DATA_LOG: &str = "datalog";

/// The template of a pool's pods.
pub fn template(desired: &Desired, pool: Pool) -> PodTemplateSpec {
    let pod = &desired.spec.pod;
    let mut annotations = pod.annotations.clone();
    annotations.insert(MEMBER_VERSION.to_owned(), desired.version.clone());
    if let Some(restart_at) = &desired.rollout.restart_at {
        annotations.insert("quorate.dev/restart-at".to_owned(), restart_at.clone());
    }
    let labels = pod.labels.clone().into_iter().chain(names::pool_labels(desired, pool)).collect();
    let metadata =
        ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
    let mut template = PodTemplateSpec { metadata: Some(metadata), spec: Some(spec(desired, pool)) };
    let hash = object::hash(&serde_json::to_value(&template).expect("a template is plain data"));
    let annotations = template.metadata.as_mut().and_then(|meta| meta.annotations.as_mut());
    annotations.expect("set above").insert(TEMPLATE_HASH.to_owned(), hash);
    template
}

fn spec(desired: &Desired, pool: Pool) -> PodSpec {
    let pod = &desired.spec.pod;
    let secrets = &desired.spec.image.pull_secrets;
    PodSpec {
        service_account_name: Some(names::account_name(desired)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        image_pull_secrets: (!secrets.is_empty())
            .then(|| secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            fs_group: (desired.volume_group == VolumeGroup::Set).then_some(IMAGE_GROUP),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(desired, pool)],
        node_selector: (!pod.node_selector.is_empty()).then(|| pod.node_selector.clone()),
        tolerations: (!pod.tolerations.is_empty()).then(|| pod.tolerations.clone()),
        affinity: affinity(desired, pool),
        topology_spread_constraints: spread(desired, pool),
        volumes: Some(volumes(desired, pool)),
        ..PodSpec::default()
    }
}

fn container(desired: &Desired, pool: Pool) -> Container {
    let ports = &desired.spec.network.ports;
    let ports = [
        ("client", ports.client),
        ("peer", ports.peer),
        ("election", ports.election),
        ("admin", ports.admin),
        ("metrics", ports.metrics),
    ];
    let probe = |path: &str, period: i32, failures: i32| {
        Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port: IntOrString::Int(desired.spec.network.ports.admin),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(period),
            timeout_seconds: Some(3),
            failure_threshold: Some(failures),
            ..Probe::default()
        })
    };
    let settings = settings_key(&settings_text(desired));
    Container {
        name: "server".to_owned(),
        image: Some(desired.image.clone()),
        image_pull_policy: desired.pull_policy.map(str::to_owned),
        args: Some(vec![
            "server".to_owned(),
            "--config".to_owned(),
            format!("{CONFIG_PATH}/{settings}"),
            format!("quorate.myid.offset={}", desired.offset(pool)),
        ]),
        env: Some(vec![EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.name".to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        ports: Some(
            ports
                .map(|(name, container_port)| ContainerPort {
                    name: Some(name.to_owned()),
                    container_port,
                    ..ContainerPort::default()
                })
                .into(),
        ),
        resources: desired.spec.resources.clone(),
        // Loading a large snapshot may take twenty minutes; the probe itself fails when it makes no progress.
        startup_probe: probe("/startupz", 2, 600),
        liveness_probe: probe("/livez", 10, 6),
        readiness_probe: probe("/readyz", 2, 2),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(desired)),
        ..Container::default()
    }
}

fn mounts(desired: &Desired) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("config", CONFIG_PATH, Some(true)),
        mount("identity", IDENTITY_PATH, Some(true)),
        mount(DATA, DATA_PATH, None),
    ];
    if desired.data_log.is_some() {
        mounts.push(mount(DATA_LOG, LOG_PATH, None));
    }
    mounts
}

fn volumes(desired: &Desired, pool: Pool) -> Vec<PodVolume> {
    let mut volumes = vec![
        PodVolume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config_name(desired),
                ..ConfigMapVolumeSource::default()
            }),
            ..PodVolume::default()
        },
        PodVolume {
            name: "identity".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::identity_name(desired)),
                // The volume is this container's alone, whose user may be any.
                default_mode: Some(0o444),
                ..SecretVolumeSource::default()
            }),
            ..PodVolume::default()
        },
    ];
    let log = desired.data_log.iter().map(|volume| (DATA_LOG, volume));
    for (name, volume) in [(DATA, &desired.data)].into_iter().chain(log) {
        if is_ephemeral(pool, volume) {
            volumes.push(PodVolume {
                name: name.to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    size_limit: Some(Quantity(volume.size.clone())),
                    ..EmptyDirVolumeSource::default()
                }),
                ..PodVolume::default()
            });
        }
    }
    volumes
}

/// Whether a pool keeps this volume only as long as its pods.
pub(super) fn is_ephemeral(pool: Pool, volume: &Volume) -> bool {
    match pool {
        Pool::Voters => volume.keep == Keep::Delete,
        Pool::Observers => true,
    }
}

fn affinity(desired: &Desired, pool: Pool) -> Option<Affinity> {
    let mut affinity = desired.spec.pod.affinity.clone();
    if desired.spread_host == Spread::Required {
        let term = PodAffinityTerm {
            label_selector: Some(names::selector(desired, pool)),
            topology_key: HOST_KEY.to_owned(),
            ..PodAffinityTerm::default()
        };
        let own =
            affinity.get_or_insert_default().pod_anti_affinity.get_or_insert_with(PodAntiAffinity::default);
        own.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
    }
    affinity
}

fn spread(desired: &Desired, pool: Pool) -> Option<Vec<TopologySpreadConstraint>> {
    let constraint = |key: &str, when: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: when.to_owned(),
        label_selector: Some(names::selector(desired, pool)),
        ..TopologySpreadConstraint::default()
    };
    let mut constraints = Vec::new();
    match desired.spread_host {
        Spread::Preferred => constraints.push(constraint(HOST_KEY, "ScheduleAnyway")),
        // An anti-affinity keeps them apart.
        Spread::Required | Spread::None => {}
    }
    match desired.spread_zone {
        Spread::Preferred => constraints.push(constraint(&desired.zone_key, "ScheduleAnyway")),
        Spread::Required => constraints.push(constraint(&desired.zone_key, "DoNotSchedule")),
        Spread::None => {}
    }
    (!constraints.is_empty()).then_some(constraints)
}

/// The labels of a template's pods, for a StatefulSet's own metadata.
pub(super) fn pod_labels(desired: &Desired, pool: Pool) -> BTreeMap<String, String> {
    names::pool_labels(desired, pool)
}
