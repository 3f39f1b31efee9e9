//! Makes a [`Desired`] of a resource: defaults filled in, texts read.
//!
//! In: a resource as the API server accepted it, and what the operator knows of itself. Out: what the servers are to be, or what is wrong.
//!
//! Always true:
//! * one resource and one operator give one answer;
//! * a refusal says which field and what to write.
//!
//! Not here: rules that the API server checks (`crd`), what needs other objects (`status`).

use super::crd::{
    CoordinationEnsemble, EvenReplicas, PullPolicy, Retention, RolloutMode, Span, Spread,
    UnhealthyPodEvictionPolicy, VolumeSpec, VolumeType,
};
use super::desired::{
    CatchUp, Choice, Desired, Disruption, HandOver, Keep, Parity, Rollout, Volume, VolumeGroup, voters_of,
};
use super::quantity;
use crate::base::Millis;

/// What the operator knows of itself and of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Repository of its own image.
    pub repository: String,
    /// Tag of its own image.
    pub tag: String,
    /// Pull policy of its own image; `None` leaves it to Kubernetes.
    pub pull_policy: Option<PullPolicy>,
    /// Its own version.
    pub version: String,
    /// Whether pods get a group for their volumes.
    pub volume_group: VolumeGroup,
}

/// Why a resource cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Refusal {
    /// Path of the field.
    pub field: &'static str,
    /// What is wrong, and what to write.
    pub problem: String,
}

/// What the servers are to be.
pub fn validate(resource: &CoordinationEnsemble, defaults: &Defaults) -> Result<Desired, Refusal> {
    let spec = resource.spec.clone();
    let meta = &resource.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let size = count("spec.replicas", spec.replicas, 9)?;
    let parity = match spec.membership.even_replicas {
        None | Some(EvenReplicas::HoldAsObserver) => Parity::Odd,
        Some(EvenReplicas::Promote) => Parity::Any,
    };
    let log_is_ephemeral =
        spec.storage.data_log.as_ref().is_some_and(|log| log.kind == VolumeType::Ephemeral);
    if log_is_ephemeral && !spec.storage.allow_ephemeral_voters {
        let problem = "a log that is gone with its pod loses acknowledged writes when a majority restarts; \
                       set storage.allowEphemeralVoters to accept that";
        return Err(Refusal { field: "spec.storage.dataLog.type", problem: problem.to_owned() });
    }
    let keep = |retention: Option<Retention>| match retention {
        None | Some(Retention::Retain) => Keep::Retain,
        Some(Retention::Delete) => Keep::Delete,
    };
    Ok(Desired {
        name: text(&meta.name),
        namespace: text(&meta.namespace),
        uid: text(&meta.uid),
        generation: meta.generation.unwrap_or(0),
        version: spec.version.clone().unwrap_or_else(|| defaults.version.clone()),
        version_is_chosen: if spec.version.is_some() { Choice::Chosen } else { Choice::Computed },
        image: image(resource, defaults),
        pull_policy: spec.image.pull_policy.or(defaults.pull_policy).map(pull_policy),
        volume_group: defaults.volume_group,
        size,
        voters: voters_of(size, parity),
        // Observers follow a leader: a hibernating ensemble has none.
        observers: if size == 0 { 0 } else { count("spec.observers.replicas", spec.observers.replicas, 32)? },
        parity,
        catch_up: catch_up(resource)?,
        data: volume("spec.storage.data.size", &spec.storage.data)?,
        data_log: spec
            .storage
            .data_log
            .as_ref()
            .map(|log| volume("spec.storage.dataLog.size", log))
            .transpose()?,
        when_deleted: keep(spec.storage.retention.when_deleted),
        when_scaled: keep(spec.storage.retention.when_scaled),
        rollout: rollout(resource)?,
        disruption: disruption(resource)?,
        spread_host: spec.pod.spread.host.unwrap_or(Spread::Preferred),
        spread_zone: spec.pod.spread.zone.unwrap_or(Spread::Preferred),
        zone_key: spec
            .pod
            .spread
            .zone_key
            .clone()
            .unwrap_or_else(|| "topology.kubernetes.io/zone".to_owned()),
        cluster_domain: spec.network.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned()),
        spec,
    })
}

fn image(resource: &CoordinationEnsemble, defaults: &Defaults) -> String {
    let image = &resource.spec.image;
    let repository = image.repository.as_ref().unwrap_or(&defaults.repository);
    match &image.digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => {
            let tag = image.tag.as_ref().or(resource.spec.version.as_ref()).unwrap_or(&defaults.tag);
            format!("{repository}:{tag}")
        }
    }
}

/// The name that Kubernetes has for it.
pub fn pull_policy(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}

fn catch_up(resource: &CoordinationEnsemble) -> Result<CatchUp, Refusal> {
    let spec = &resource.spec.membership.catch_up;
    Ok(CatchUp {
        max_lag: u64::from(count(
            "spec.membership.catchUp.maxLagTransactions",
            spec.max_lag_transactions.unwrap_or(100),
            1_000_000,
        )?),
        settle: seconds("spec.membership.catchUp.settleSeconds", spec.settle_seconds.unwrap_or(5))?,
        timeout: span("spec.membership.catchUp.timeout", spec.timeout.as_ref(), "30m")?,
    })
}

fn rollout(resource: &CoordinationEnsemble) -> Result<Rollout, Refusal> {
    let spec = &resource.spec.rollout;
    Ok(Rollout {
        mode: spec.mode.unwrap_or(RolloutMode::Automatic),
        settle: seconds("spec.rollout.settleSeconds", spec.settle_seconds.unwrap_or(10))?,
        member_timeout: span("spec.rollout.memberTimeout", spec.member_timeout.as_ref(), "15m")?,
        hand_over: if spec.transfer_leadership.unwrap_or(true) { HandOver::First } else { HandOver::Never },
        restart_at: spec.restart_at.clone(),
    })
}

fn disruption(resource: &CoordinationEnsemble) -> Result<Option<Disruption>, Refusal> {
    let spec = &resource.spec.disruption;
    if !spec.enabled.unwrap_or(true) {
        return Ok(None);
    }
    let max_unavailable =
        spec.max_unavailable.map(|number| count("spec.disruption.maxUnavailable", number, 4)).transpose()?;
    let unhealthy = match spec.unhealthy_pod_eviction_policy {
        None | Some(UnhealthyPodEvictionPolicy::AlwaysAllow) => "AlwaysAllow",
        Some(UnhealthyPodEvictionPolicy::IfHealthyBudget) => "IfHealthyBudget",
    };
    Ok(Some(Disruption { max_unavailable, unhealthy }))
}

fn volume(field: &'static str, spec: &VolumeSpec) -> Result<Volume, Refusal> {
    if quantity::parse(&spec.size).is_none_or(|amount| amount == 0) {
        return Err(Refusal {
            field,
            problem: format!("{:?} is no size; write a number with a unit, such as 10Gi", spec.size),
        });
    }
    let keep = match spec.kind {
        VolumeType::Persistent => Keep::Retain,
        VolumeType::Ephemeral => Keep::Delete,
    };
    Ok(Volume { keep, size: spec.size.clone(), class: spec.storage_class_name.clone() })
}

fn count(field: &'static str, number: i32, max: u32) -> Result<u32, Refusal> {
    match u32::try_from(number) {
        Ok(number) if number <= max => Ok(number),
        _ => Err(Refusal { field, problem: format!("{number} is not from 0 to {max}") }),
    }
}

fn seconds(field: &'static str, number: i32) -> Result<Millis, Refusal> {
    Ok(Millis(u64::from(count(field, number, 3600)?) * 1000))
}

fn span(field: &'static str, span: Option<&Span>, default: &str) -> Result<Millis, Refusal> {
    let text = span.map_or(default, |span| &span.0);
    read_span(text).map(Millis).ok_or_else(|| Refusal {
        field,
        problem: format!("{text:?} is no span of time; write for example 30m or 1h30m"),
    })
}

/// Milliseconds of a text such as `1h30m`.
fn read_span(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(number.checked_mul(milliseconds)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::crd::EnsembleSpec;

    fn defaults() -> Defaults {
        Defaults {
            repository: "quorate".to_owned(),
            tag: "dev".to_owned(),
            pull_policy: None,
            version: "0.1.0".to_owned(),
            volume_group: VolumeGroup::Set,
        }
    }

    fn of(yaml: &str) -> Result<Desired, Refusal> {
        let spec: EnsembleSpec = serde_yaml::from_str(yaml).expect("the sample is well formed");
        validate(&CoordinationEnsemble::new("main", spec), &defaults())
    }

    #[test]
    fn the_image_follows_digest_tag_version_and_operator_in_this_order() {
        let image = |yaml: &str| of(yaml).expect("it is valid").image;
        let digest = "0".repeat(64);
        assert_eq!(image("{}"), "quorate:dev");
        assert_eq!(image("version: 1.2.3"), "quorate:1.2.3");
        assert_eq!(image("{version: 1.2.3, image: {tag: x}}"), "quorate:x");
        assert_eq!(
            image(&format!("{{image: {{repository: r, tag: x, digest: 'sha256:{digest}'}}}}")),
            format!("r@sha256:{digest}")
        );
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(read_span("1h30m"), Some(5_400_000));
        assert_eq!(read_span("250ms"), Some(250));
        for text in ["", "h", "1", "1d", "99999999999999999999h", "1h 2m"] {
            assert_eq!(read_span(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let refusal = of("{storage: {data: {size: '0'}}}").expect_err("no size");
        assert_eq!(
            refusal.to_string(),
            "spec.storage.data.size: \"0\" is no size; write a number with a unit, such as 10Gi"
        );
    }

    #[test]
    fn a_log_that_goes_with_its_pod_has_to_be_accepted() {
        let spec = |allowed: bool| {
            of(&format!("{{storage: {{dataLog: {{type: Ephemeral}}, allowEphemeralVoters: {allowed}}}}}"))
        };
        assert_eq!(spec(false).expect_err("not accepted").field, "spec.storage.dataLog.type");
        assert!(spec(true).is_ok());
    }

    #[test]
    fn ids_follow_from_ordinals() {
        let desired = of("{replicas: 4, observers: {replicas: 2}}").expect("it is valid");
        let ids = |ids: std::collections::BTreeSet<crate::base::ServerId>| -> Vec<i64> {
            ids.iter().map(|id| id.0).collect()
        };
        assert_eq!(ids(desired.voter_ids()), [1, 2, 3]);
        assert_eq!(ids(desired.observer_ids()), [4, 64, 65]);
        for (pool, ordinal) in
            [(super::super::desired::Pool::Voters, 3), (super::super::desired::Pool::Observers, 1)]
        {
            assert_eq!(desired.place(desired.id(pool, ordinal)), Some((pool, ordinal)));
        }
        assert_eq!(desired.place(crate::base::ServerId(200)), None);
    }
}
