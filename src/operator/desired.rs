//! What the servers are to be: a spec that was checked, with every default filled in.
//!
//! In: a spec (`validate` makes this of it). Out: plain values for `build` and `plan`.
//!
//! Always true:
//! * nothing in it is missing, negative or out of its range.
//!
//! Not here: what exists (`observed`).

use std::collections::BTreeSet;

use super::crd::{EnsembleSpec, RolloutMode, Spread};
use crate::base::{Address, Member, MemberRole, Millis, ServerId};

/// What the servers are to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Name of the ensemble.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The resource's uid: it owns every object.
    pub uid: String,
    /// The generation that this comes from.
    pub generation: i64,
    /// What is taken over as it stands: resources, labels, tolerations, settings.
    pub spec: EnsembleSpec,
    /// Version of the servers.
    pub version: String,
    /// Whether the spec names the version, so that steps between versions are judged.
    pub version_is_chosen: Choice,
    /// The whole reference of the image.
    pub image: String,
    /// When the kubelet pulls it; `None` leaves it to Kubernetes.
    pub pull_policy: Option<&'static str>,
    /// Whether a group for the volumes is set on the pods.
    pub volume_group: VolumeGroup,
    /// Pods in the voters' pool; 0 hibernates.
    pub size: u32,
    /// How many of them vote; the rest, of the highest ordinals, observe.
    pub voters: u32,
    /// Pods in the observers' pool.
    pub observers: u32,
    /// Whether the number of voters is kept odd.
    pub parity: Parity,
    /// When a newcomer counts as level.
    pub catch_up: CatchUp,
    /// The data volume.
    pub data: Volume,
    /// The volume of the log, if it has one of its own.
    pub data_log: Option<Volume>,
    /// What becomes of claims when the resource is deleted.
    pub when_deleted: Keep,
    /// What becomes of the claims of members that have left.
    pub when_scaled: Keep,
    /// How a change reaches the members.
    pub rollout: Rollout,
    /// The disruption budget, if there is to be one.
    pub disruption: Option<Disruption>,
    /// How pods are spread over nodes.
    pub spread_host: Spread,
    /// How pods are spread over zones.
    pub spread_zone: Spread,
    /// The node label that names a zone.
    pub zone_key: String,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
}

/// Whether a value was chosen by the user or computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By the user.
    Chosen,
    /// By the operator.
    Computed,
}

/// Whether pods get a group that owns their volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeGroup {
    /// The group of the image's user: volumes of most drivers belong to root otherwise.
    Set,
    /// Left to the platform, which gives every namespace a range of its own (OpenShift).
    Platform,
}

/// Whether the number of voters is kept odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Odd.
    Odd,
    /// Any.
    Any,
}

/// Keep or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Keep.
    Retain,
    /// Delete.
    Delete,
}

/// When a newcomer counts as level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// Transactions that it may lag.
    pub max_lag: u64,
    /// For how long it has to be ready.
    pub settle: Millis,
    /// After this the others go on without it.
    pub timeout: Millis,
}

/// One volume of every member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// A claim, or gone with the pod.
    pub keep: Keep,
    /// As written.
    pub size: String,
    /// `None`: the cluster's default.
    pub class: Option<String>,
}

/// How a change reaches the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Who decides that it goes on.
    pub mode: RolloutMode,
    /// For how long all has to be well before the next pod.
    pub settle: Millis,
    /// After this a restarted member that is not back stalls the rollout.
    pub member_timeout: Millis,
    /// Whether a leader hands over before it is restarted.
    pub hand_over: HandOver,
    /// Any new value restarts every member.
    pub restart_at: Option<String>,
}

/// Whether a leader hands over before it is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// It does.
    First,
    /// It is restarted as it is.
    Never,
}

/// The disruption budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disruption {
    /// `None`: what leaves a quorum.
    pub max_unavailable: Option<u32>,
    /// `AlwaysAllow` or `IfHealthyBudget`.
    pub unhealthy: &'static str,
}

/// Which pods: those with the ensemble's voters, or the additional observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// The StatefulSet `NAME`.
    Voters,
    /// The StatefulSet `NAME-observers`.
    Observers,
}

impl Pool {
    /// Both, in the order in which they are looked at.
    pub const ALL: [Pool; 2] = [Pool::Voters, Pool::Observers];

    /// The value of the pool's label.
    pub fn label(self) -> &'static str {
        match self {
            Pool::Voters => "voters",
            Pool::Observers => "observers",
        }
    }
}

impl Desired {
    /// What is added to an ordinal of the pool to give the server's id.
    pub fn offset(&self, pool: Pool) -> i64 {
        match pool {
            Pool::Voters => i64::from(self.spec.membership.myid_offset),
            Pool::Observers => i64::from(self.spec.observers.myid_offset),
        }
    }

    /// How many pods the pool is meant to have once every step is done.
    pub fn pods(&self, pool: Pool) -> u32 {
        match pool {
            Pool::Voters => self.size,
            Pool::Observers => self.observers,
        }
    }

    /// The pool's StatefulSet.
    pub fn pool_name(&self, pool: Pool) -> String {
        match pool {
            Pool::Voters => self.name.clone(),
            Pool::Observers => format!("{}-observers", self.name),
        }
    }

    /// The id of a pod's server.
    pub fn id(&self, pool: Pool, ordinal: u32) -> ServerId {
        ServerId(self.offset(pool) + i64::from(ordinal))
    }

    /// Whose pod a server is; `None` for an id outside of both ranges.
    pub fn place(&self, id: ServerId) -> Option<(Pool, u32)> {
        // The observers' range is asked first: it lies above the voters'.
        for (pool, ids) in [(Pool::Observers, 32), (Pool::Voters, 9)] {
            let ordinal = id.0 - self.offset(pool);
            if (0..ids).contains(&ordinal) {
                return Some((pool, u32::try_from(ordinal).expect("just checked to be small")));
            }
        }
        None
    }

    /// The name of a pod.
    pub fn pod_name(&self, pool: Pool, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.pool_name(pool))
    }

    /// Servers that are meant to vote.
    pub fn voter_ids(&self) -> BTreeSet<ServerId> {
        (0..self.voters).map(|ordinal| self.id(Pool::Voters, ordinal)).collect()
    }

    /// Servers that are meant to observe.
    pub fn observer_ids(&self) -> BTreeSet<ServerId> {
        let held = (self.voters..self.size).map(|ordinal| self.id(Pool::Voters, ordinal));
        held.chain((0..self.observers).map(|ordinal| self.id(Pool::Observers, ordinal))).collect()
    }

    /// Servers of the voters' pool that observe so that the number of voters stays odd.
    pub fn held_ids(&self) -> Vec<i64> {
        (self.voters..self.size).map(|ordinal| self.id(Pool::Voters, ordinal).0).collect()
    }

    /// The line of a server in the configuration.
    pub fn member(&self, pool: Pool, ordinal: u32, role: MemberRole) -> Member {
        let ports = &self.spec.network.ports;
        let port = |number: i32| u16::try_from(number).expect("the schema keeps ports in range");
        Member {
            id: self.id(pool, ordinal),
            host: format!("{}.{}", self.pod_name(pool, ordinal), self.peers_host()),
            quorum_port: port(ports.peer),
            election_port: port(ports.election),
            role,
            client: Some(Address { host: "0.0.0.0".to_owned(), port: port(ports.client) }),
        }
    }

    /// The name under which pods stand: `NAME-peers.NAMESPACE.svc.DOMAIN`.
    pub fn peers_host(&self) -> String {
        format!("{}-peers.{}.svc.{}", self.name, self.namespace, self.cluster_domain)
    }
}

/// How many of `size` members vote.
pub fn voters_of(size: u32, parity: Parity) -> u32 {
    match parity {
        Parity::Any => size,
        Parity::Odd if size == 0 => 0,
        Parity::Odd => size - (size + 1) % 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_size_holds_one_back_unless_told_otherwise() {
        let odd: Vec<u32> = (0..=6).map(|size| voters_of(size, Parity::Odd)).collect();
        assert_eq!(odd, [0, 1, 1, 3, 3, 5, 5]);
        assert_eq!(voters_of(4, Parity::Any), 4);
    }
}
