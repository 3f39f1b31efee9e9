//! What to do next: a function of what is asked for, what exists, and the time.
//!
//! In: [`Desired`] and [`Observed`]. Out: a [`Plan`].
//!
//! Always true:
//! * the same inputs give the same plan, and on a settled ensemble it has no action;
//! * at most one action disturbs members that contribute, and only while the rest keeps a quorum;
//! * steps that need no servers (objects, templates, pods that cannot contribute) go on without a quorum.
//!
//! Not here: doing it (`apply`), telling it (`status`).

mod action;
mod gate;
mod membership;
mod objects;
mod repair;
mod rollout;
mod version;
mod view;
mod volumes;

#[cfg(test)]
mod tests;

pub use action::{
    Action, Farewell, Hold, Operation, OperationKind, Plan, Progress, Reason, RolloutProgress, Stage,
};
pub use objects::max_unavailable;
pub use repair::why_useless;
pub use view::{Leader, Phase, Templates, View};
pub use volumes::on_existing;

use std::time::Duration;

use super::desired::{Desired, Pool};
use super::observed::{IdentityFact, Memory, Observed};
use membership::Business;
use rollout::Verdict;

/// While something is under way.
const SOON: Duration = Duration::from_secs(1);
/// When all is well: reports are still looked at.
const LATER: Duration = Duration::from_secs(10);

/// What to do next. `desired` is on the volumes that exist ([`on_existing`]); `storage` is what that could not meet.
pub fn plan(desired: &Desired, storage: &str, observed: &Observed, now_ms: i64) -> Plan {
    let idle = Plan {
        actions: Vec::new(),
        again: LATER,
        progress: Progress { storage: storage.to_owned(), ..Progress::default() },
        memory: Memory { gate: None, ..observed.memory.clone() },
    };
    let never_lived = desired.size == 0 && observed.identity == IdentityFact::Absent;
    if observed.orders.pause.is_some() || never_lived {
        return idle;
    }
    let Some(view) = View::new(desired, observed, now_ms) else { return idle };
    if view.split.is_some() {
        // Two leaders in one epoch: whatever is wrong, a change would make it worse.
        return idle;
    }
    let repairs = repair::decide(&view);
    let membership = membership::decide(&view);
    let mut rollout = rollout::decide(&view, membership.business);
    if !repairs.is_empty() {
        rollout.progress.stage = Stage::Repair;
        rollout.action = None;
    }
    if !membership.actions.is_empty() {
        rollout.action = None;
    }
    let restarts: Vec<Action> = repairs.into_iter().chain(rollout.action.clone()).collect();
    let replaced: Vec<Pool> = restarts.iter().filter_map(|action| pool_of(&view, action)).collect();
    let mut actions: Vec<Action> = objects::identity(&view).into_iter().collect();
    actions.extend(objects::furniture(&view));
    actions.extend(objects::pools(&view, &replaced, rollout.verdict));
    actions.extend(objects::claims(&view));
    actions.extend(restarts);
    actions.extend(membership.actions);
    let waits = membership.business == Business::Busy || rollout.progress.stage != Stage::Done;
    let is_quiet = actions.is_empty() && !waits && view.leader.is_some() && rollout.verdict == Verdict::Open;
    let hibernates = actions.is_empty() && desired.size == 0;
    Plan {
        actions,
        again: if is_quiet || hibernates { LATER } else { SOON },
        progress: Progress {
            operation: membership.operation,
            scale: membership.scale,
            membership: membership.in_sync,
            rollout: rollout.progress,
            storage: storage.to_owned(),
        },
        memory: Memory { gate: rollout.gate, ..observed.memory.clone() },
    }
}

/// The pool whose pod an action replaces.
fn pool_of(view: &View<'_>, action: &Action) -> Option<Pool> {
    match action {
        Action::RestartPod { server, .. } => view.desired.place(*server).map(|(pool, _)| pool),
        Action::Create(_)
        | Action::Apply(_)
        | Action::Delete { .. }
        | Action::Reconfigure { .. }
        | Action::Transfer { .. }
        | Action::Drain { .. } => None,
    }
}
