//! Which objects are made, changed or deleted.
//!
//! In: a [`View`] and what was decided about membership and template. Out: actions.
//!
//! Always true:
//! * an object that is as it should be is not written;
//! * the bootstrap token goes with the first leader and never comes back;
//! * a claim is deleted only if a leader's configuration does not hold its member.
//!
//! Not here: what an object holds (`build`).

use std::collections::BTreeMap;

use super::action::{Action, Reason};
use super::membership;
use super::rollout::{self, Verdict};
use super::view::View;
use crate::base::{Ensemble, MemberRole, ServerId};
use crate::operator::build::{self, DETACHED, ENSEMBLE};
use crate::operator::desired::{Keep, Pool};
use crate::operator::identity::{Identity, any_disk_of};
use crate::operator::object::{Kind, Object, ObjectKey};
use crate::operator::observed::{Attachment, ClaimFact, IdentityFact};
use crate::operator::report::StartMode;

/// The identity, if it is to be made or changed.
pub fn identity(view: &View<'_>) -> Option<Action> {
    let next = next_identity(view);
    match &view.observed.identity {
        IdentityFact::Absent => Some(Action::Create(Box::new(build::identity(view.desired, &next, None)))),
        IdentityFact::Present(_, version) => {
            let object = build::identity(view.desired, &next, Some(version.clone()));
            changed(view, object)
        }
        IdentityFact::Broken(_) => None,
    }
}

fn next_identity(view: &View<'_>) -> Identity {
    let mut next = view.identity.clone();
    if let Some(leader) = view.leader {
        next.bootstrap = None;
        if leader.report.members.version >= next.members.version {
            next.members = leader.report.members.clone();
        }
    }
    next.retire(membership::unretired(view, Pool::Voters));
    let is_back = |id: &ServerId| {
        let report = view.reports.get(id);
        report.is_some_and(|report| report.start == StartMode::Join && report.incarnation.is_some())
    };
    let back: Vec<String> =
        view.members.members.keys().filter(|id| is_back(id)).map(|id| any_disk_of(*id)).collect();
    next.retired.retain(|entry| !back.contains(entry));
    next
}

/// Everything but the identity and the pools.
pub fn furniture(view: &View<'_>) -> Vec<Action> {
    let desired = view.desired;
    let objects =
        [build::service_account(desired), build::peers(desired), build::client(desired), config_map(view)];
    let mut actions: Vec<Action> = objects.into_iter().filter_map(|object| changed(view, object)).collect();
    actions.extend(budget(view));
    actions
}

/// The settings asked for and those in use, and the members: committed, and newcomers as observers.
fn config_map(view: &View<'_>) -> Object {
    let mut members: Ensemble = view.members.clone();
    let wanted = view.desired.voter_ids().into_iter().chain(view.desired.observer_ids());
    let is_settled = view.identity.bootstrap.is_none();
    for id in wanted.filter(|_| is_settled) {
        let (pool, ordinal) = view.desired.place(id).expect("wanted ids have a place");
        members.members.entry(id).or_insert_with(|| view.desired.member(pool, ordinal, MemberRole::Observer));
    }
    let key = ObjectKey { kind: Kind::ConfigMap, name: build::config_name(view.desired) };
    let existing = view.observed.objects.get(&key).and_then(|object| object.get("data"));
    let existing: BTreeMap<String, String> =
        existing.and_then(|data| serde_json::from_value(data.clone()).ok()).unwrap_or_default();
    let stable: Vec<String> =
        view.templates.values().map(|templates| build::settings_of(&templates.stable)).collect();
    let in_use = |key: &str| {
        view.observed.pods.iter().any(|pod| pod.settings == key) || stable.iter().any(|used| used == key)
    };
    build::config_map(view.desired, &members, &existing, in_use)
}

fn budget(view: &View<'_>) -> Option<Action> {
    let key = ObjectKey { kind: Kind::Budget, name: build::budget_name(view.desired) };
    match (view.desired.disruption, max_unavailable(view)) {
        (Some(disruption), Some(number)) => changed(view, build::budget(view.desired, disruption, number)),
        (None, _) | (_, None) => {
            let existing = view.observed.objects.get(&key)?;
            let uid =
                existing.pointer("/metadata/uid").and_then(serde_json::Value::as_str).unwrap_or_default();
            let reason =
                Reason { code: "BudgetRemoved", text: "no disruption budget is asked for".to_owned() };
            Some(Action::Delete { object: key, uid: uid.to_owned(), reason })
        }
    }
}

/// Voters that may be evicted at once; `None` for one voter, whose budget would only block drains.
pub fn max_unavailable(view: &View<'_>) -> Option<u32> {
    let committed = u32::try_from(view.members.voters().count()).expect("at most 255 servers");
    // In the middle of a change the smaller of both numbers keeps a quorum.
    let voters = if view.desired.voters == 0 { committed } else { committed.min(view.desired.voters) };
    let chosen = view.desired.disruption.and_then(|disruption| disruption.max_unavailable);
    let safe = voters.saturating_sub(1) / 2;
    (voters > 1).then(|| chosen.unwrap_or(safe).min(safe))
}

/// The pools: how many pods, and from which template.
pub fn pools(view: &View<'_>, replaced: &[Pool], verdict: Verdict) -> Vec<Action> {
    let mut actions = Vec::new();
    for pool in Pool::ALL {
        let replicas = membership::pods(view, pool);
        let set = view.observed.sets.get(&pool);
        if set.is_none() && replicas == 0 {
            continue;
        }
        let templates = view.templates(pool);
        let has_no_pods =
            set.is_some_and(|set| set.replicas == 0) && view.observed.pods.iter().all(|pod| pod.pool != pool);
        let is_good = verdict == Verdict::Good || has_no_pods;
        let is_new_in_force = templates.current_hash == templates.wanted_hash;
        let (template, stable) = if is_good {
            (&templates.wanted, &templates.wanted)
        } else if replaced.contains(&pool) || (is_new_in_force && rollout::is_replacing(view, pool)) {
            (&templates.wanted, &templates.stable)
        } else {
            (&templates.stable, &templates.stable)
        };
        let object = build::stateful_set(view.desired, pool, build::SetInputs { replicas, template, stable });
        actions.extend(changed(view, object));
    }
    actions
}

/// Claims of members that left: deleted or labelled; labels of those that are back go.
pub fn claims(view: &View<'_>) -> Vec<Action> {
    if view.leader.is_none() || view.identity.bootstrap.is_some() || view.desired.size == 0 {
        return Vec::new();
    }
    let members = membership::in_configuration(view, Pool::Voters);
    let replicas = view.observed.sets.get(&Pool::Voters).map_or(u32::MAX, |set| set.replicas);
    let has_left = |claim: &ClaimFact| {
        let ordinal = claim.ordinal;
        ordinal >= members.max(replicas) && view.observed.pod(Pool::Voters, ordinal).is_none()
    };
    let mut actions = Vec::new();
    for claim in &view.observed.claims {
        match (has_left(claim), view.desired.when_scaled, claim.attachment) {
            (true, Keep::Delete, _) => actions.push(Action::Delete {
                object: ObjectKey { kind: Kind::Claim, name: claim.name.clone() },
                uid: claim.uid.clone(),
                reason: Reason {
                    code: "DeletingVolume",
                    text: format!(
                        "the member of claim {} has left and storage.retention.whenScaled is Delete",
                        claim.name
                    ),
                },
            }),
            (true, Keep::Retain, Attachment::InUse) => {
                let labels = [(DETACHED, "true"), (ENSEMBLE, view.desired.name.as_str())];
                let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
                actions.push(Action::Apply(Box::new(build::claim_labels(view.desired, &claim.name, labels))));
            }
            (false, _, Attachment::Detached) if claim.ordinal < members => {
                let none = BTreeMap::new();
                actions.push(Action::Apply(Box::new(build::claim_labels(view.desired, &claim.name, none))));
            }
            (true, Keep::Retain, Attachment::Detached) | (false, _, _) => {}
        }
    }
    actions
}

fn changed(view: &View<'_>, object: Object) -> Option<Action> {
    let existing = view.observed.objects.get(&object.key());
    let is_met = existing.is_some_and(|existing| object.is_met_by(existing));
    (!is_met).then(|| Action::Apply(Box::new(object)))
}
