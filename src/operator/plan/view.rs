//! What follows from the facts before anything is decided: who leads, who is level, which template is whose.
//!
//! In: what the servers are to be and what exists. Out: a [`View`].
//!
//! Always true:
//! * a leader counts only if a quorum of its configuration says the same of leader and epoch;
//! * a report counts only if it is of this ensemble and of the pod that gave it.
//!
//! Not here: decisions.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::base::{Ensemble, MemberRole, ServerId};
use crate::operator::build::{self, TEMPLATE_HASH};
use crate::operator::desired::{Desired, Pool};
use crate::operator::identity::Identity;
use crate::operator::observed::{IdentityFact, Observed, PodCondition, PodFact};
use crate::operator::report::{Report, Role};

/// What follows from the facts.
pub struct View<'a> {
    /// What the servers are to be, on the volumes that exist.
    pub desired: &'a Desired,
    /// What exists.
    pub observed: &'a Observed,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// The identity that exists, or the one that is to be made.
    pub identity: Identity,
    /// Whether the first transaction was committed, as far as the identity says.
    pub phase: Phase,
    /// The committed configuration; without a leader the one last known.
    pub members: Ensemble,
    /// The leader.
    pub leader: Option<Leader<'a>>,
    /// Two servers that both lead in one epoch.
    pub split: Option<(ServerId, ServerId)>,
    /// Reports that count.
    pub reports: BTreeMap<ServerId, &'a Report>,
    /// Templates by pool.
    pub templates: BTreeMap<Pool, Templates>,
}

/// How far the ensemble's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was committed yet.
    Bootstrap,
    /// It has data.
    Initialised,
}

/// The leader, and what it says.
#[derive(Clone, Copy)]
pub struct Leader<'a> {
    /// Its id.
    pub id: ServerId,
    /// Its report.
    pub report: &'a Report,
}

/// The templates of a pool.
pub struct Templates {
    /// Asked for.
    pub wanted: PodTemplateSpec,
    /// Its hash.
    pub wanted_hash: String,
    /// The last one that every member ran well on; that asked for, if there is no other.
    pub stable: PodTemplateSpec,
    /// Its hash.
    pub stable_hash: String,
    /// The hash of the one in force; empty without a StatefulSet.
    pub current_hash: String,
}

impl<'a> View<'a> {
    /// What follows from the facts; `None` while the identity cannot be used.
    pub fn new(desired: &'a Desired, observed: &'a Observed, now_ms: i64) -> Option<View<'a>> {
        let identity = match &observed.identity {
            IdentityFact::Absent => Identity::first(observed.fresh.clone(), first_members(desired)),
            IdentityFact::Present(identity, _) => Identity::clone(identity),
            IdentityFact::Broken(_) => return None,
        };
        let reports = valid_reports(desired, observed, &identity.ensemble_id);
        let leader = leader(&reports);
        let members = match leader {
            Some(leader) if leader.report.members.version >= identity.members.version => {
                leader.report.members.clone()
            }
            Some(_) | None => identity.members.clone(),
        };
        let phase = if identity.bootstrap.is_some() { Phase::Bootstrap } else { Phase::Initialised };
        let split = split(&reports);
        let templates = Pool::ALL.map(|pool| (pool, templates(desired, observed, pool))).into();
        Some(View { desired, observed, now_ms, identity, phase, members, leader, split, reports, templates })
    }

    /// The templates of a pool.
    pub fn templates(&self, pool: Pool) -> &Templates {
        &self.templates[&pool]
    }

    /// The server of a pod.
    pub fn id_of(&self, pod: &PodFact) -> ServerId {
        self.desired.id(pod.pool, pod.ordinal)
    }

    /// The pod of a server.
    pub fn pod_of(&self, id: ServerId) -> Option<&'a PodFact> {
        let (pool, ordinal) = self.desired.place(id)?;
        self.observed.pod(pool, ordinal)
    }

    /// How many transactions a server lags; `None` if the leader does not count it as level.
    pub fn lag(&self, id: ServerId) -> Option<u64> {
        self.leader?.report.synced.get(&id).copied()
    }

    /// Whether a server is level.
    pub fn is_level(&self, id: ServerId) -> bool {
        self.lag(id).is_some_and(|lag| lag <= self.desired.catch_up.max_lag)
    }

    /// Whether a server is level and its pod ready.
    pub fn contributes(&self, id: ServerId) -> bool {
        let is_ready = |pod: &PodFact| pod.condition == PodCondition::Running && pod.ready_since_ms.is_some();
        self.is_level(id) && self.pod_of(id).is_some_and(is_ready)
    }

    /// Voters of the committed configuration that are level.
    pub fn level_voters(&self) -> BTreeSet<ServerId> {
        self.members.voters().map(|member| member.id).filter(|id| self.is_level(*id)).collect()
    }

    /// Members of the configuration that belong to a pool, as numbers of its pods.
    pub fn ordinals(&self, pool: Pool) -> impl Iterator<Item = u32> + '_ {
        let place = move |id: &ServerId| self.desired.place(*id);
        self.members
            .members
            .keys()
            .filter_map(place)
            .filter(move |(at, _)| *at == pool)
            .map(|(_, ordinal)| ordinal)
    }

    /// Pods whose template is not the one asked for.
    pub fn outdated(&self) -> impl Iterator<Item = &'a PodFact> + '_ {
        self.observed.pods.iter().filter(|pod| pod.template_hash != self.templates(pod.pool).wanted_hash)
    }

    /// The identity of a server's disk, as last heard of.
    pub fn incarnation(&self, id: ServerId) -> Option<String> {
        let reported = self.reports.get(&id).and_then(|report| report.incarnation.clone());
        let known = self.observed.status.members.iter().find(|member| member.id == id.0);
        reported.or_else(|| known.map(|member| member.incarnation.clone()).filter(|text| !text.is_empty()))
    }
}

/// The members that a new ensemble begins with: voters only.
fn first_members(desired: &Desired) -> Ensemble {
    let voter = |ordinal| desired.member(Pool::Voters, ordinal, MemberRole::Participant);
    let members = (0..desired.voters).map(voter).map(|member| (member.id, member));
    Ensemble { members: members.collect(), ..Ensemble::default() }
}

fn valid_reports<'a>(
    desired: &Desired,
    observed: &'a Observed,
    ensemble_id: &str,
) -> BTreeMap<ServerId, &'a Report> {
    let mut reports = BTreeMap::new();
    for pod in &observed.pods {
        let id = desired.id(pod.pool, pod.ordinal);
        let Some(report) = observed.reports.get(&pod.name) else { continue };
        let is_ours = report.ensemble_id.as_deref().is_none_or(|at| at == ensemble_id);
        if report.id == id && is_ours {
            reports.insert(id, report);
        }
    }
    reports
}

fn leader<'a>(reports: &BTreeMap<ServerId, &'a Report>) -> Option<Leader<'a>> {
    let leads =
        |(id, report): &(&ServerId, &&'a Report)| report.role == Role::Leader && report.leader == Some(**id);
    let (id, report) = reports.iter().filter(leads).max_by_key(|(_, report)| report.epoch)?;
    let agrees =
        |(_, other): &(&ServerId, &&Report)| other.leader == Some(*id) && other.epoch == report.epoch;
    let agreeing: BTreeSet<ServerId> = reports.iter().filter(agrees).map(|(id, _)| *id).collect();
    report.members.is_quorum(&agreeing).then_some(Leader { id: *id, report })
}

fn split(reports: &BTreeMap<ServerId, &Report>) -> Option<(ServerId, ServerId)> {
    let leaders: Vec<_> = reports.iter().filter(|(_, report)| report.role == Role::Leader).collect();
    leaders.iter().enumerate().find_map(|(index, (id, report))| {
        let twin =
            leaders[index + 1..].iter().find(|(_, other)| other.epoch == report.epoch && other.epoch > 0);
        twin.map(|(other, _)| (**id, **other))
    })
}

fn templates(desired: &Desired, observed: &Observed, pool: Pool) -> Templates {
    let wanted = build::template(desired, pool);
    let wanted_hash = template_hash(&wanted);
    let set = observed.sets.get(&pool);
    let stable = set.and_then(|set| set.stable.clone()).unwrap_or_else(|| wanted.clone());
    Templates {
        wanted,
        wanted_hash,
        stable_hash: template_hash(&stable),
        stable,
        current_hash: set.map(|set| template_hash(&set.template)).unwrap_or_default(),
    }
}

/// The hash that a template carries; empty if it carries none.
pub fn template_hash(template: &PodTemplateSpec) -> String {
    let annotations = template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref());
    annotations.and_then(|annotations| annotations.get(TEMPLATE_HASH)).cloned().unwrap_or_default()
}
