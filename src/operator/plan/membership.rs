//! Who is a member: growth by observers and one promotion, shrinking by one reconfiguration, and how many pods that needs.
//!
//! In: a [`View`]. Out: at most one step, and the number of pods of each pool.
//!
//! Always true:
//! * a newcomer has no vote before it is level, and all newcomers get theirs at once;
//! * who leaves is out of the committed configuration before its pod goes;
//! * the disk of one who left is retired before its pod goes, so that old disks never make a quorum.
//!
//! Not here: templates and restarts (`rollout`).

use std::collections::BTreeSet;

use super::action::{Action, Hold, Operation, OperationKind, Reason};
use super::view::{Phase, View};
use crate::base::{Ensemble, Member, MemberRole, ServerId};
use crate::operator::desired::{Keep, Parity, Pool, voters_of};
use crate::operator::identity::any_disk_of;

/// What is done about membership.
#[derive(Default)]
pub struct Membership {
    /// At most one step.
    pub actions: Vec<Action>,
    /// How it is told.
    pub operation: Operation,
    /// Whether the number of members may be changed.
    pub scale: Hold,
    /// Whether membership is what is asked for.
    pub in_sync: Hold,
    /// Whether restarts have to wait for it.
    pub business: Business,
}

/// Whether a change of membership is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Business {
    /// No, or it waits for something that may take for ever.
    #[default]
    Idle,
    /// Yes.
    Busy,
}

/// The pods that a pool needs in this step.
pub fn pods(view: &View<'_>, pool: Pool) -> u32 {
    if view.desired.size == 0 {
        return 0;
    }
    if view.phase == Phase::Bootstrap {
        return match pool {
            Pool::Voters => in_configuration(view, pool),
            Pool::Observers => 0,
        };
    }
    let needed = in_configuration(view, pool);
    let existing = view.observed.sets.get(&pool).map_or(0, |set| set.replicas);
    if existing > needed && !unretired(view, pool).is_empty() { existing } else { needed }
}

/// One more than the highest pod that is a member.
pub fn in_configuration(view: &View<'_>, pool: Pool) -> u32 {
    view.ordinals(pool).max().map_or(0, |ordinal| ordinal + 1)
}

/// What has to stand in the list of retired disks before the pods that left may go.
pub fn unretired(view: &View<'_>, pool: Pool) -> Vec<String> {
    let has_disks = match pool {
        Pool::Voters => view.desired.data.keep == Keep::Retain,
        Pool::Observers => false,
    };
    if !has_disks || view.phase == Phase::Bootstrap || view.desired.size == 0 {
        return Vec::new();
    }
    let existing = view.observed.sets.get(&pool).map_or(0, |set| set.replicas);
    let left = (in_configuration(view, pool)..existing).map(|ordinal| view.desired.id(pool, ordinal));
    let entry = |id: ServerId| view.incarnation(id).unwrap_or_else(|| any_disk_of(id));
    left.map(entry).filter(|entry| !view.identity.retired.contains(entry)).collect()
}

/// The step of membership.
pub fn decide(view: &View<'_>) -> Membership {
    if view.desired.size == 0 {
        return Membership::default();
    }
    if view.phase == Phase::Bootstrap {
        return bootstrapping(view);
    }
    let change = Change::of(view);
    if change.is_nothing() {
        return Membership { in_sync: drift(view), ..Membership::default() };
    }
    let Some(leader) = view.leader else {
        return change.wait(view, Business::Idle, "NoQuorum", "no leader is known that a quorum follows");
    };
    if leader.report.pending.is_some() {
        return change.wait(
            view,
            Business::Busy,
            "OperationInFlight",
            "a configuration is proposed and not committed yet",
        );
    }
    if change.starts() && rollout_is_half_done(view) {
        return change.wait(view, Business::Idle, "RolloutInProgress", "a rollout has to end first");
    }
    if !change.leaving.is_empty() || !change.demoted.is_empty() {
        return leave(view, &change);
    }
    if !change.new.is_empty() {
        return join(view, &change);
    }
    promote(view, &change)
}

/// What differs between the configuration and what is asked for.
struct Change {
    /// Members that are not wanted.
    leaving: Vec<ServerId>,
    /// Voters that are to observe.
    demoted: Vec<ServerId>,
    /// Wanted and not members.
    new: Vec<ServerId>,
    /// Observers that are to vote.
    candidates: Vec<ServerId>,
}

impl Change {
    fn of(view: &View<'_>) -> Change {
        let (voters, observers) = (view.desired.voter_ids(), view.desired.observer_ids());
        let is_wanted = |id: &ServerId| voters.contains(id) || observers.contains(id);
        let is_ours = |id: &ServerId| view.desired.place(*id).is_some();
        let current: Vec<ServerId> = view.members.members.keys().copied().filter(is_ours).collect();
        let votes = |id: &ServerId| view.members.is_voter(*id);
        let pick =
            |wanted: &dyn Fn(&ServerId) -> bool| current.iter().copied().filter(|id| wanted(id)).collect();
        Change {
            leaving: pick(&|id| !is_wanted(id)),
            demoted: pick(&|id| votes(id) && observers.contains(id)),
            candidates: pick(&|id| !votes(id) && voters.contains(id)),
            new: voters.union(&observers).copied().filter(|id| !current.contains(id)).collect(),
        }
    }

    fn is_nothing(&self) -> bool {
        self.leaving.is_empty()
            && self.demoted.is_empty()
            && self.new.is_empty()
            && self.candidates.is_empty()
    }

    /// Whether nothing of it was done yet.
    fn starts(&self) -> bool {
        self.candidates.is_empty()
    }

    fn operation(&self, view: &View<'_>, step: &str) -> Operation {
        let is_leave = !self.leaving.is_empty() || !self.demoted.is_empty();
        let (kind, ids) = if is_leave {
            (OperationKind::RemoveMembers, [&self.leaving[..], &self.demoted[..]].concat())
        } else {
            (OperationKind::AddMembers, [&self.new[..], &self.candidates[..]].concat())
        };
        Operation {
            kind,
            step: step.to_owned(),
            ids: ids.iter().map(|id| id.0).collect(),
            from: Some(view.members.version),
            message: String::new(),
        }
    }

    fn wait(
        &self,
        view: &View<'_>,
        business: Business,
        code: &'static str,
        text: impl Into<String>,
    ) -> Membership {
        let text = text.into();
        let operation = Operation { message: text.clone(), ..self.operation(view, "Waiting") };
        let in_sync = Hold::no("ChangePending", text.clone());
        Membership { actions: Vec::new(), operation, scale: Hold::no(code, text), in_sync, business }
    }

    fn act(&self, view: &View<'_>, step: &str, actions: Vec<Action>) -> Membership {
        let text = format!("{step} is under way");
        Membership {
            actions,
            operation: self.operation(view, step),
            scale: Hold::no("OperationInFlight", text.clone()),
            in_sync: Hold::no("ChangeInFlight", text),
            business: Business::Busy,
        }
    }
}

fn bootstrapping(view: &View<'_>) -> Membership {
    let text = "the first members have not elected a leader yet";
    let ids = view.members.members.keys().map(|id| id.0).collect();
    Membership {
        actions: Vec::new(),
        operation: Operation {
            kind: OperationKind::Bootstrap,
            step: "WaitingForFirstLeader".to_owned(),
            ids,
            from: None,
            message: String::new(),
        },
        scale: Hold::no("NoQuorum", text),
        in_sync: Hold::no("ChangeInFlight", text),
        business: Business::Busy,
    }
}

/// Members that stand in the configuration and belong to nobody here.
fn drift(view: &View<'_>) -> Hold {
    let foreign = view.members.members.keys().filter(|id| view.desired.place(**id).is_none());
    let ids: Vec<String> = foreign.map(ServerId::to_string).collect();
    if ids.is_empty() {
        return Hold::default();
    }
    let ids = ids.join(", ");
    Hold::no(
        "ExternalDrift",
        format!("the configuration holds servers {ids} that this resource does not; they are left alone"),
    )
}

fn rollout_is_half_done(view: &View<'_>) -> bool {
    let outdated = view.outdated().count();
    outdated > 0 && outdated < view.observed.pods.len()
}

/// Everybody who leaves, in one step; a leader among them hands over first.
fn leave(view: &View<'_>, change: &Change) -> Membership {
    let leader = view.leader.expect("the caller looked").id;
    let gone = |id: &ServerId| change.leaving.contains(id) || change.demoted.contains(id);
    let level: BTreeSet<ServerId> = view.level_voters();
    let staying: BTreeSet<ServerId> = level.iter().copied().filter(|id| !gone(id)).collect();
    let mut rest: Ensemble = view.members.clone();
    rest.members.retain(|id, _| !gone(id));
    if rest.voters().next().is_none() || !rest.is_quorum(&staying) {
        let text = "the members that stay would have no quorum: not enough of them are level";
        return change.wait(view, Business::Idle, "RemainingWithoutQuorum", text);
    }
    if gone(&leader) {
        let Some(to) = successor(view, &staying) else {
            return change.wait(
                view,
                Business::Idle,
                "MemberNotReady",
                "no member that stays can take over from the leader",
            );
        };
        let reason =
            reason("LeaderLeaves", format!("server {leader} leads and is to leave; server {to} takes over"));
        let epoch = view.leader.expect("the caller looked").report.epoch;
        return change.act(view, "HandOver", vec![Action::Transfer { from: leader, epoch, to, reason }]);
    }
    let text = format!("servers {} leave the configuration in one step", list(&change.leaving));
    let join: Vec<Member> =
        change.demoted.iter().filter_map(|id| member(view, *id, MemberRole::Observer)).collect();
    let mut actions = Vec::new();
    let reachable: Vec<ServerId> =
        change.leaving.iter().copied().filter(|id| view.reports.contains_key(id)).collect();
    if !reachable.is_empty() {
        let reason =
            reason("Draining", format!("servers {} leave and send their clients away", list(&reachable)));
        actions.push(Action::Drain { servers: reachable, reason });
    }
    actions.push(Action::Reconfigure {
        from: view.members.version,
        join,
        leave: change.leaving.clone(),
        reason: reason("RemovingMembers", text),
    });
    change.act(view, "Reconfigure", actions)
}

/// Everybody who is new, as observers.
fn join(view: &View<'_>, change: &Change) -> Membership {
    let quorum = view.members.is_quorum(&view.level_voters());
    if !quorum {
        return change.wait(view, Business::Idle, "NoQuorum", "not enough voters are level");
    }
    let text = format!("servers {} join as observers", list(&change.new));
    let action = Action::Reconfigure {
        from: view.members.version,
        join: change.new.iter().filter_map(|id| member(view, *id, MemberRole::Observer)).collect(),
        leave: Vec::new(),
        reason: reason("AddingMembers", text),
    };
    change.act(view, "Join", vec![action])
}

/// Those who are level get their votes in one step.
fn promote(view: &View<'_>, change: &Change) -> Membership {
    let settle = view.desired.catch_up.settle.0;
    let is_ready = |id: &ServerId| {
        let ready = view.pod_of(*id).and_then(|pod| pod.ready_for_ms(view.now_ms));
        view.contributes(*id) && ready.is_some_and(|time| time >= settle)
    };
    let is_late = |id: &ServerId| {
        let age = view.pod_of(*id).map(|pod| pod.age_ms(view.now_ms));
        age.is_some_and(|age| age > view.desired.catch_up.timeout.0)
    };
    let (level, waiting): (Vec<ServerId>, Vec<ServerId>) =
        change.candidates.iter().copied().partition(is_ready);
    let awaited: Vec<ServerId> = waiting.iter().copied().filter(|id| !is_late(id)).collect();
    if !awaited.is_empty() {
        let text = format!("servers {} are not level yet", list(&awaited));
        return change.wait(view, Business::Busy, "WaitingForCatchUp", text);
    }
    let votes = u32::try_from(view.members.voters().count()).expect("at most 255 servers");
    let sum = votes + u32::try_from(level.len()).expect("at most nine");
    let voters = match view.desired.parity {
        Parity::Any => sum,
        Parity::Odd => voters_of(sum, Parity::Odd),
    };
    let chosen: Vec<ServerId> = level.into_iter().take(voters.saturating_sub(votes) as usize).collect();
    if chosen.is_empty() {
        let code = if waiting.is_empty() { "HeldForOddCount" } else { "CatchUpStalled" };
        let text = format!("servers {} are not level; the others go on without them", list(&waiting));
        return change.wait(view, Business::Idle, code, text);
    }
    let action = Action::Reconfigure {
        from: view.members.version,
        join: chosen.iter().filter_map(|id| member(view, *id, MemberRole::Participant)).collect(),
        leave: Vec::new(),
        reason: reason(
            "Promoting",
            format!("servers {} are level and get their votes in one step", list(&chosen)),
        ),
    };
    change.act(view, "Promote", vec![action])
}

/// Who takes over from a leader: the one that lags least, then the lowest id.
pub fn successor(view: &View<'_>, among: &BTreeSet<ServerId>) -> Option<ServerId> {
    let leader = view.leader.map(|leader| leader.id);
    let fit = among.iter().copied().filter(|id| Some(*id) != leader && view.contributes(*id));
    fit.min_by_key(|id| (view.lag(*id), *id))
}

fn member(view: &View<'_>, id: ServerId, role: MemberRole) -> Option<Member> {
    let (pool, ordinal) = view.desired.place(id)?;
    Some(view.desired.member(pool, ordinal, role))
}

fn reason(code: &'static str, text: String) -> Reason {
    Reason { code, text }
}

/// Ids as words.
pub fn list(ids: &[ServerId]) -> String {
    ids.iter().map(ServerId::to_string).collect::<Vec<_>>().join(", ")
}
