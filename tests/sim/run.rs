//! Runs a seed from its first start to its verdict: faults, then recovery, then the last comparison.
//!
//! In: a seed. Out: what was counted, or why the run failed, with the last things that happened.
//!
//! Always true:
//! * every seed is run twice, and both runs do the same;
//! * once faults stop, the ensemble leads, serves and is level within three times `initLimit`;
//! * at the end every member holds every acknowledged write, and nothing that no history explains.
//!
//! Not here: which seeds are run (`main`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate::base::{SessionId, Zxid};
use quorate::tree::Tree;
use quorate::zab::effects::Status;

use crate::faults::{Counts, Growth, Plan};
use crate::invariants::{quotas, reaping};
use crate::model::{CONFIG, Model};
use crate::network::Slot;
use crate::queue::Micros;
use crate::setup::Setup;
use crate::trace::Detail;
use crate::world::{Happening, Syncs, World};

/// The longest that a run may take, in its own time.
const RUN_MAX: Micros = Micros::of_s(120);
/// How long clients go on after the ensemble has recovered.
const AFTERMATH: Micros = Micros::of_s(2);
/// How often a run is asked whether it has come to rest.
const SETTLED_EVERY: Micros = Micros::of_ms(20);
/// How many lines of a failed run are shown.
const LINES_SHOWN: usize = 120;

/// What a run, or many of them, amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Seeds.
    pub runs: u64,
    /// Epochs that got an established leader.
    pub elections: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Writes that were committed.
    pub committed: u64,
    /// Watches that fired.
    pub fired: u64,
    /// Watches that went on waiting on another connection, and those that were found due when they were to.
    pub rearmed: u64,
    /// See `rearmed`.
    pub found_due: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Events of watches that stay.
    pub persistent: u64,
    /// How often each operation was answered.
    pub by_op: BTreeMap<i32, u64>,
    /// Containers and nodes with a time to live that ended, writes refused for a quota, and writes that were refused
    /// before they were begun: by servers that only read, or for want of room.
    pub reaped: u64,
    /// See `reaped`.
    pub over_quota: u64,
    /// See `reaped`.
    pub put_off: u64,
    /// Connections to servers that only read, and sessions that clients gave up, mostly for one there.
    pub read_only: u64,
    /// See `read_only`.
    pub given_up: u64,
    /// Steps of servers.
    pub steps: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// The longest recovery, in microseconds.
    pub recovery_max_us: u64,
    /// Packets that were overtaken by one sent later to another peer.
    pub overtaken: u64,
    /// Learners brought level by a diff, a cut and a snapshot.
    pub syncs: Syncs,
    /// Disks that were refused for a damaged file and replaced.
    pub disks_replaced: u64,
    /// Runs that began with one member, and those of them that got three or more.
    pub small: u64,
    /// See `small`.
    pub grown: u64,
    /// The longest run, in microseconds.
    pub longest_us: u64,
    /// Faults by kind.
    pub faults: Counts,
}

impl Totals {
    /// Adds another run's.
    pub fn merge(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.elections += other.elections;
        self.answered += other.answered;
        self.committed += other.committed;
        self.fired += other.fired;
        self.rearmed += other.rearmed;
        self.found_due += other.found_due;
        self.expired += other.expired;
        self.persistent += other.persistent;
        other.by_op.iter().for_each(|(op, count)| *self.by_op.entry(*op).or_default() += count);
        self.reaped += other.reaped;
        self.over_quota += other.over_quota;
        self.put_off += other.put_off;
        self.read_only += other.read_only;
        self.given_up += other.given_up;
        self.steps += other.steps;
        self.simulated_us += other.simulated_us;
        self.recovery_max_us = self.recovery_max_us.max(other.recovery_max_us);
        self.overtaken += other.overtaken;
        self.syncs.diffs += other.syncs.diffs;
        self.syncs.cuts += other.syncs.cuts;
        self.syncs.snapshots += other.syncs.snapshots;
        self.disks_replaced += other.disks_replaced;
        self.small += other.small;
        self.grown += other.grown;
        self.longest_us = self.longest_us.max(other.longest_us);
        self.faults.merge(&other.faults);
    }
}

/// Why a run failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub message: String,
    /// What happened last.
    pub lines: Vec<String>,
}

/// Runs a seed twice and compares; a run that fails is run again to be read.
pub fn run_seed(seed: u64) -> Result<Totals, Failure> {
    let first = run_once(seed, Detail::Hash);
    let second = run_once(seed, if first.is_ok() { Detail::Hash } else { Detail::Lines });
    let differ = |message: String| Failure { seed, message, lines: Vec::new() };
    match (first, second) {
        (Ok((first, totals)), Ok((second, _))) if first == second => Ok(totals),
        (Ok((first, _)), Ok((second, _))) => {
            Err(differ(format!("two runs differ: their traces hash to {first:x} and {second:x}")))
        }
        (Err(first), Err(second)) if first.message == second.message => Err(second),
        (Err(first), Err(second)) => {
            Err(differ(format!("two runs differ: {} / {}", first.message, second.message)))
        }
        (Err(failed), Ok(_)) | (Ok(_), Err(failed)) => {
            Err(differ(format!("two runs differ: one went well, the other: {}", failed.message)))
        }
    }
}

/// Runs a seed once. Answers the hash of its trace.
pub fn run_once(seed: u64, detail: Detail) -> Result<(u64, Totals), Failure> {
    let mut world = World::new(Setup::new(seed), detail);
    let result = catch_unwind(AssertUnwindSafe(|| whole_run(&mut world)));
    match result {
        Ok(recovery) => Ok((world.trace.hash(), totals(&world, recovery))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let message = format!("at {}: {}", world.queue.now(), text.unwrap_or_default());
            let lines = world.trace.lines().cloned().collect();
            Err(Failure { seed, message, lines })
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let skipped = self.lines.len().saturating_sub(LINES_SHOWN);
        for line in &self.lines[skipped..] {
            writeln!(f, "    {line}")?;
        }
        write!(f, "seed {}: {}", self.seed, self.message)
    }
}

fn totals(world: &World, recovery: Micros) -> Totals {
    Totals {
        runs: 1,
        elections: world.invariants.leadership.elections(),
        answered: world.oracle.answered,
        committed: world.facts.committed.len() as u64,
        fired: world.clients.iter().map(|client| client.watches.fired).sum(),
        rearmed: world.clients.iter().map(|client| client.watches.rearmed).sum(),
        found_due: world.clients.iter().map(|client| client.watches.found_due).sum(),
        expired: world.invariants.sessions.expiries,
        persistent: world.clients.iter().map(|client| client.watches.persistent_fired).sum(),
        by_op: world.oracle.by_op.clone(),
        reaped: world.oracle.reaped,
        over_quota: world.oracle.over_quota,
        put_off: world.oracle.put_off,
        read_only: world.clients.iter().map(|client| client.read_only).sum(),
        given_up: world.clients.iter().map(|client| client.given_up).sum(),
        steps: world.steps,
        simulated_us: world.queue.now().0,
        recovery_max_us: recovery.0,
        overtaken: world.network.overtaken,
        syncs: world.syncs,
        disks_replaced: world.disks_replaced,
        small: u64::from(world.setup.growth() == Growth::Wanted),
        grown: u64::from(has_grown(world)),
        longest_us: world.queue.now().0,
        faults: world.counts.clone(),
    }
}

/// Whether a membership of one has become one of three or more.
fn has_grown(world: &World) -> bool {
    world.setup.growth() == Growth::Wanted
        && world.facts.ensembles.iter().any(|(_, ensemble)| ensemble.voters().count() >= 3)
}

/// All phases. Answers how long the recovery took.
fn whole_run(world: &mut World) -> Micros {
    let setup = world.setup.clone();
    let mut plan = Plan::new(setup.seed ^ 0xfa17, setup.tick, setup.growth());
    world.is_faulty = true;
    world.queue.after(Micros(setup.tick.0 * 4) + plan.pause(), Happening::Fault);
    world.plan = Some(plan);
    world.run_until(setup.faulty);
    let recovery = recover(world);
    assert!(world.queue.now() <= RUN_MAX, "the run took longer than {RUN_MAX} simulated seconds");
    recovery
}

/// Takes all faults back, waits until the ensemble is well, lets clients go on for a while, and compares everything.
/// Answers how long it took to get well.
pub fn recover(world: &mut World) -> Micros {
    let limit = world.setup.recovery_limit();
    world.heal();
    let healed = world.queue.now();
    let floor = world.oracle.seen();
    world.run_while(healed + limit, |world| !is_well(world, healed, floor));
    let recovered = world.queue.now();
    assert!(is_well(world, healed, floor), "liveness: {}", ills(world, healed, floor));
    world.run_until(recovered + AFTERMATH);
    world.clients.iter_mut().for_each(|client| client.finish());
    let end = world.queue.now() + limit;
    while world.queue.now() < end && !is_settled(world) {
        world.run_until(world.queue.now() + SETTLED_EVERY);
    }
    assert!(is_settled(world), "liveness: after the last request {}", ills(world, healed, floor));
    last_comparison(world);
    Micros(recovered.0 - healed.0)
}

/// Whether it leads, serves and is level: every member serves and has all that is committed, and a client had an answer
/// to a write that was sent after the faults stopped.
fn is_well(world: &World, healed: Micros, floor: Zxid) -> bool {
    is_level(world) && world.oracle.last_write_sent >= healed && world.oracle.seen() > floor
}

fn is_level(world: &World) -> bool {
    let members = &world.facts.ensemble().members;
    let last = world.facts.last_committed();
    world.leader().is_some()
        && world.facts.servers.iter().filter(|server| members.contains_key(&server.id)).all(|server| {
            let status = server.picture.map(|picture| picture.status);
            let serves =
                matches!(status, Some(Status::Leading(_) | Status::Following(..) | Status::Observing(..)));
            // Something is always under way: a server that is one round trip behind is level.
            serves && world.facts.count_up_to(last) - server.delivered_count <= 8
        })
}

fn is_settled(world: &World) -> bool {
    let members = &world.facts.ensemble().members;
    let all = world.facts.committed.len();
    let has_client = |session: &SessionId| {
        world.clients.iter().any(|client| client.session.as_ref().is_some_and(|held| held.id == *session))
    };
    world.clients.iter().all(|client| client.is_live() && client.is_idle())
        // Sessions whose client never heard of them, or forgot them, have ended by themselves.
        && world.oracle.model.sessions().keys().all(has_client)
        && local_count(world) <= world.clients.len()
        && left_over(world).is_none()
        && is_level(world)
        && world.facts.servers.iter().filter(|server| members.contains_key(&server.id)).all(|server| {
            server.delivered_count == all
                && server.written.last() <= world.facts.last_committed().max(server.written.base)
        })
}

/// How many sessions servers know that live on them alone.
fn local_count(world: &World) -> usize {
    let running = world.servers.iter().filter_map(|server| server.running.as_ref());
    running.map(|running| running.replica.inspect().local_session_count).sum()
}

/// A node that the leader had to end and that is still there.
fn left_over(world: &World) -> Option<&str> {
    let now = world.servers[world.leader()?.0].clock.now(world.queue.now());
    reaping::left_over(&world.oracle.model, world.setup.reaping, now.wall_ms)
}

fn ills(world: &World, healed: Micros, floor: Zxid) -> String {
    let servers: Vec<String> = world
        .facts
        .servers
        .iter()
        .map(|server| {
            let status = server.picture.map(|picture| picture.status);
            format!(
                "{} {status:?} delivered {} logged {}",
                server.id,
                server.delivered(),
                server.written.last()
            )
        })
        .collect();
    let live = world.clients.iter().filter(|client| client.is_live()).count();
    format!(
        "not well {} after the last fault (committed {}, clients saw {} after {floor}, {live} clients live, {} local \
         sessions, {:?} left over, members {}): {}",
        Micros(world.queue.now().0 - healed.0),
        world.facts.last_committed(),
        world.oracle.seen(),
        local_count(world),
        left_over(world),
        world.facts.ensemble().lines().join(" "),
        servers.join("; ")
    )
}

/// Every member's tree is what the model says, node by node.
fn last_comparison(world: &World) {
    world.oracle.on_end();
    let members = &world.facts.ensemble().members;
    for slot in (0..world.servers.len()).map(Slot) {
        let server = &world.servers[slot.0];
        if !members.contains_key(&server.id) {
            continue;
        }
        let running = server.running.as_ref().expect("every server runs at the end");
        running.replica.service().tree.read(|tree| {
            same_tree(slot, tree, &world.oracle.model);
            quotas::check(slot, tree);
        });
    }
}

fn same_tree(slot: Slot, tree: &Tree, model: &Model) {
    for (path, node) in model.nodes() {
        let found = tree.node(path).unwrap_or_else(|| panic!("{slot:?} has lost {path}"));
        let data = found.data().unwrap_or_default();
        // The membership of the configuration files is not in the history.
        let is_given = path == CONFIG && node.stat.mzxid == 0;
        assert!(is_given || data == node.data, "{slot:?} holds {data:?} at {path}: {:?}", node.data);
        let children = i32::try_from(found.child_count()).expect("few children");
        assert!(
            children == node.stat.children,
            "{slot:?} has {children} children at {path}: {:?}",
            node.stat
        );
    }
    let (found, live) = (tree.sessions().len(), model.sessions().len());
    assert!(found == live, "{slot:?} has {found} sessions, and {live} live");
}

impl World {
    /// Lets time pass up to a point.
    pub fn run_until(&mut self, until: Micros) {
        self.run_while(until, |_| true);
    }

    /// Lets time pass up to a point, or until a condition no longer holds.
    pub fn run_while(&mut self, until: Micros, goes_on: impl Fn(&World) -> bool) {
        self.queue.at(until, Happening::Look);
        while self.queue.now() < until && goes_on(self) {
            self.advance().expect("there is always a next tick");
        }
    }
}
