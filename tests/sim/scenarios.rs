//! Named faults, each as the shortest story that would show it; most are told once for every disk operation at which
//! power may fail.
//!
//! In: a world without chance faults. Out: the same invariants, oracle and recovery as in every run.
//!
//! Always true:
//! * a story that does not reach its point fails, so that none goes stale unnoticed.
//!
//! Not here: seeds (`main`), what must hold (`invariants`, `oracle`).

mod service;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate::base::Zxid;
use quorate::replica::Event;
use quorate::session::LocalRule;
use quorate::zab::effects::Status;

use crate::faults::{Growth, Kind};
use crate::nemesis::Crash;
use crate::network::{Side, Slot};
use crate::queue::Micros;
use crate::request::Request;
use crate::run::recover;
use crate::setup::Setup;
use crate::trace::Detail;
use crate::world::{Mend, World};

/// How many disk operations of a server are tried as the last one before power fails.
const OPS_TRIED: u64 = 24;
/// How many leaders may give up, cut off, before their clients have written enough.
const LEADERS_TRIED: u64 = 8;

/// Tells a story of three servers. A panic is told again with its name and the last events.
fn story(name: &str, turn: u64, tell: impl Fn(&mut World)) {
    story_of(3, name, turn, tell);
}

/// Tells a story of three servers, of which so many are members from the start.
fn story_of(founders: usize, name: &str, turn: u64, tell: impl Fn(&mut World)) {
    let setup = setup_of(founders, turn);
    story_in(setup, name, turn, tell);
}

fn setup_of(founders: usize, turn: u64) -> Setup {
    Setup {
        servers: 3,
        founders,
        clients: 4,
        tick: Micros::of_ms(200),
        init_limit_ticks: 10,
        sync_limit_ticks: 4,
        session_timeout: Micros::of_ms(2_000),
        snapshot_every: 100_000,
        commit_log_count: 500,
        sync_max: Micros(500),
        local_sessions: LocalRule::Replicated,
        ..Setup::new(turn + 1)
    }
}

/// Tells a story in this setup.
fn story_in(setup: Setup, name: &str, turn: u64, tell: impl Fn(&mut World)) {
    let mut world = World::new(setup, Detail::Lines);
    let told = catch_unwind(AssertUnwindSafe(|| {
        tell(&mut world);
        recover(&mut world);
    }));
    if let Err(panic) = told {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let lines: Vec<&String> = world.trace.lines().collect();
        for line in &lines[lines.len().saturating_sub(60)..] {
            println!("    {line}");
        }
        panic!("scenario {name}, turn {turn}: at {}: {}", world.queue.now(), text.unwrap_or_default());
    }
}

impl World {
    /// Lets time pass until something is so; it must be within some seconds.
    fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        let limit = self.queue.now() + Micros::of_s(12);
        self.run_while(limit, |world| !is_so(world));
        assert!(is_so(self), "the story never comes to the point where {what}");
    }

    fn for_ms(&mut self, ms: u64) {
        self.run_until(self.queue.now() + Micros::of_ms(ms));
    }

    /// Lets the ensemble elect and serve, and says who leads and who follows.
    fn served(&mut self) -> (Slot, Vec<Slot>) {
        let before = self.facts.committed.len();
        self.until("a leader serves", |world| {
            world.leader().is_some() && world.facts.committed.len() > before + 30
        });
        let leader = self.leader().expect("it was waited for");
        (leader, (0..self.servers.len()).map(Slot).filter(|slot| *slot != leader).collect())
    }

    /// Packets from one server no longer arrive anywhere.
    fn silence(&mut self, from: Slot) {
        let ways = self.ways(|one, _| one == from);
        self.cut(ways, Micros::of_s(1_000));
    }

    fn open_all(&mut self) {
        self.network.heal();
        self.flush_links();
    }

    fn crash_all(&mut self, how: Crash) {
        for slot in (0..self.servers.len()).map(Slot) {
            self.crash(slot, how);
        }
    }

    /// A leader logs what nobody else gets, and all servers end. Says who has the tail, and where it ends.
    fn leave_a_tail(&mut self) -> (Slot, Zxid, Vec<Slot>) {
        for _ in 0..LEADERS_TRIED {
            let (leader, others) = self.served();
            self.silence(leader);
            let enough = Zxid(self.facts.last_committed().0 + 3);
            let has_tail = |world: &World| world.facts.server(leader).durable.last() > enough;
            self.until("the leader has a tail that is durable, or gives up", |world| {
                has_tail(world)
                    || world.status(leader).is_none_or(|status| !matches!(status, Status::Leading(_)))
            });
            let is_done = has_tail(self);
            if is_done {
                self.crash_all(Crash::Kill);
            }
            self.open_all();
            if is_done {
                let tail = self.facts.server(leader).durable.last();
                assert!(
                    others.iter().all(|slot| self.facts.server(*slot).written.last() < tail),
                    "only one has the tail"
                );
                return (leader, tail, others);
            }
        }
        panic!("the story never comes to the point where a leader has a tail: nobody writes to it in time");
    }

    fn status(&self, slot: Slot) -> Option<Status> {
        self.facts.server(slot).picture.map(|picture| picture.status)
    }
}

#[test]
fn f01_what_a_new_leader_brought_along_survives_its_first_followers_crash() {
    for ops in 0..OPS_TRIED {
        story("F-01", ops, |world| {
            let (first, tail, others) = world.leave_a_tail();
            world.start(first);
            world.start(others[0]);
            world.fail_after(others[0], ops);
            world.for_ms(1_500);
            let is_committed = world.facts.last_committed() >= tail;
            world.crash_all(Crash::Power);
            // The one with the tail stays away.
            world.start(others[0]);
            world.start(others[1]);
            world.served();
            let position = world.facts.count_up_to(tail);
            let is_there = position > 0 && world.facts.committed[position - 1].logged.zxid == tail;
            assert!(!is_committed || is_there, "{tail} was committed, and is gone");
        });
    }
}

#[test]
fn f03_a_crash_between_history_and_epoch_loses_nothing() {
    for ops in 0..OPS_TRIED {
        story("F-03", ops, |world| {
            let (leader, others) = world.served();
            // One lacks what the others commit.
            let lagging = others[0];
            world.crash(lagging, Crash::Kill);
            world.served();
            world.crash_all(Crash::Kill);
            let committed = world.facts.last_committed();
            assert!(world.facts.server(lagging).durable.last() < committed);
            world.start(leader);
            world.start(lagging);
            world.fail_after(lagging, ops);
            world.for_ms(1_500);
            world.crash_all(Crash::Power);
            // Now the two that were level, and the one that was half way.
            world.start(others[1]);
            world.start(lagging);
            world.served();
            assert!(world.facts.server(lagging).written.holds(committed));
        });
    }
}

#[test]
fn f11_f12_f13_a_tail_that_nobody_committed_is_cut_wherever_power_fails() {
    for ops in 0..OPS_TRIED {
        story("F-11, F-12, F-13", ops, |world| {
            let (first, tail, others) = world.leave_a_tail();
            world.start(others[0]);
            world.start(others[1]);
            world.served();
            assert!(world.facts.count_up_to(tail) > 0);
            let cuts = world.syncs.cuts;
            world.start(first);
            world.until("the tail is cut", |world| world.syncs.cuts > cuts);
            world.fail_after(first, ops);
            world.for_ms(400);
            world.crash(first, Crash::Power);
            world.start(first);
            world.served();
        });
    }
}

#[test]
fn f12_a_cut_whose_leader_is_lost_at_once_is_not_forgotten() {
    for turn in 0..8 {
        story("F-12", turn, |world| {
            let (first, _, others) = world.leave_a_tail();
            world.start(others[0]);
            world.start(others[1]);
            let (leader, _) = world.served();
            let cuts = world.syncs.cuts;
            world.start(first);
            world.until("the tail is being cut", |world| world.syncs.cuts > cuts);
            world.run_until(world.queue.now() + Micros(turn * 150));
            world.crash(leader, Crash::Power);
            world.served();
        });
    }
}

#[test]
fn f14_a_snapshot_of_a_leader_replaces_everything_wherever_power_fails() {
    for ops in 0..OPS_TRIED {
        story("F-14", ops, |world| {
            world.setup.commit_log_count = 20;
            let (_, others) = world.served();
            let lagging = others[0];
            world.crash(lagging, Crash::Kill);
            world.crash(others[1], Crash::Kill);
            world.start(others[1]);
            for _ in 0..20 {
                world.served();
            }
            let snapshots = world.syncs.snapshots;
            // Starts that have few txns in memory cannot send a diff.
            for slot in (0..3).map(Slot).filter(|slot| *slot != lagging) {
                world.crash(slot, Crash::Kill);
                world.start(slot);
            }
            world.served();
            world.start(lagging);
            world.for_ms(300);
            world.fail_after(lagging, ops);
            world.for_ms(700);
            world.crash(lagging, Crash::Power);
            world.start(lagging);
            world.served();
            assert!(world.syncs.snapshots > snapshots, "no snapshot was sent");
        });
    }
}

#[test]
fn f21_f23_sessions_take_their_nodes_along_through_every_change_of_leader() {
    for turn in 0..6 {
        story("F-21, F-23", turn, |world| {
            for _ in 0..4 {
                let (leader, _) = world.served();
                for client in 0..world.clients.len() {
                    let until = world.queue.now() + Micros::of_ms(5_500);
                    let mut wishes = Vec::new();
                    world.clients[client].freeze(until, &mut wishes);
                    world.grant(client, wishes);
                    world.run_client(client);
                }
                // Some expire before the leader is lost, some when the next one has waited for them once more.
                world.for_ms(1_800 + 100 * turn);
                world.crash(leader, Crash::Power);
                world.for_ms(1_200);
                world.start(leader);
            }
            world.served();
            let expired: u64 = world.clients.iter().map(|client| client.expired).sum();
            assert!(expired >= 4, "only {expired} sessions expired");
        });
    }
}

#[test]
fn f31_a_leader_whose_voters_left_gives_up_early() {
    for turn in 0..10 {
        story("F-31", turn, |world| {
            // A long limit: whoever waits for it is too late.
            world.setup.init_limit_ticks = 50;
            let (_, others) = world.served();
            world.crash_all(Crash::Kill);
            // Two elect one of them; its voter starts over, and the third stays away.
            world.start(others[0]);
            world.start(others[1]);
            let is_elected = |world: &World, slot: Slot| {
                world.facts.server(slot).picture.is_some_and(|picture| picture.status == Status::Discovering)
            };
            world.until("one of two is elected", |world| others.iter().any(|slot| is_elected(world, *slot)));
            let first = if is_elected(world, others[0]) { others[0] } else { others[1] };
            let voter = if first == others[0] { others[1] } else { others[0] };
            world.crash(voter, Crash::Kill);
            // Had it heard what the elected one said before its election, it would just follow.
            world.cut(vec![(first, voter)], Micros::of_ms(100 + 20 * turn));
            world.start(voter);
            let begun = world.queue.now();
            world.served();
            let took = Micros(world.queue.now().0 - begun.0);
            assert!(
                took < Micros::of_s(5),
                "liveness: nobody led for {took} s: {first:?} waited for {voter:?}"
            );
        });
    }
}

#[test]
fn f50_a_leader_that_is_cut_off_answers_no_sync_with_the_past() {
    for turn in 0..10 {
        story("F-50", turn, |world| {
            let (leader, _) = world.served();
            let ways = world.ways(|one, other| one == leader || other == leader);
            world.cut(ways, Micros::of_s(3));
            world.for_ms(2_500);
            world.until("the others lead", |world| world.leader() != Some(leader));
            world.served();
        });
    }
}

#[test]
fn a_hand_over_costs_no_session_and_less_than_an_election() {
    for turn in 0..10 {
        story("hand-over", turn, |world| {
            let (leader, others) = world.served();
            world.for_ms(500);
            let to = world.servers[others[turn as usize % 2].0].id;
            let process = world.process(leader).expect("a leader runs");
            let begun = world.queue.now();
            world.step(process, Event::Transfer(Some(to)));
            world.until("the successor leads", |world| {
                world.leader().is_some_and(|slot| world.servers[slot.0].id == to)
            });
            let took = Micros(world.queue.now().0 - begun.0);
            assert!(took < Micros::of_ms(150), "the hand-over took {took} s");
            world.served();
            assert!(world.clients.iter().all(|client| client.expired == 0), "a session was lost");
        });
    }
}

#[test]
fn a_disk_that_fails_once_ends_its_process_and_nothing_else() {
    for turn in 0..12 {
        story("F-08", turn, |world| {
            let (leader, others) = world.served();
            let slot = if turn % 2 == 0 { leader } else { others[0] };
            let mut plan = crate::faults::Plan::new(turn, world.setup.tick, Growth::Done);
            while !world.servers[slot.0].is_failing {
                world.inflict(Kind::DiskError, &mut plan);
            }
            world.for_ms(800);
            world.on_mend(Mend::Restart(slot));
            world.served();
        });
    }
}

#[test]
fn a_link_that_breaks_in_any_packet_of_the_synchronisation_is_made_again() {
    for turn in 0..20 {
        story("broken links", turn, |world| {
            let (_, others) = world.served();
            let lagging = others[0];
            world.crash(lagging, Crash::Kill);
            world.served();
            world.start(lagging);
            let stands = |world: &World| {
                let running = world.servers[lagging.0].running.as_ref();
                running.is_some_and(|running| !running.links.is_empty())
            };
            world.until("it has a link", stands);
            world.run_until(world.queue.now() + Micros(200 * turn));
            let running = world.servers[lagging.0].running.as_ref().expect("it runs");
            let links: Vec<(usize, Side)> = running.links.values().copied().collect();
            for (number, _) in links {
                world.break_link(number);
            }
            world.served();
        });
    }
}

#[test]
fn one_member_grows_to_three_wherever_power_fails() {
    for ops in 0..OPS_TRIED {
        story_of(1, "growth", ops, |world| {
            let (founder, newcomers) = world.served();
            let follows = |world: &World, slot: &Slot| {
                matches!(world.status(*slot), Some(Status::Following(..) | Status::Observing(..)))
            };
            world.until("the newcomers follow", |world| newcomers.iter().all(|slot| follows(world, slot)));
            let joining: Vec<String> =
                newcomers.iter().map(|slot| Setup::line(world.servers[slot.0].id)).collect();
            let ask = Request::Reconfig { joining: joining.join(","), leaving: String::new() };
            world.clients[0].workload.ask(ask.clone());
            // Of the founder's disk in half of the turns, else of a newcomer's.
            let slot = if ops % 2 == 0 { founder } else { newcomers[0] };
            world.fail_after(slot, ops / 2);
            world.for_ms(1_000);
            world.crash(slot, Crash::Power);
            world.start(slot);
            world.served();
            // Whoever was refused, or heard nothing, asks again.
            for _ in 0..10 {
                if world.facts.ensemble().voters().count() < 3 {
                    world.clients[0].workload.ask(ask.clone());
                    world.for_ms(500);
                }
            }
            assert!(world.facts.ensemble().voters().count() == 3, "liveness: it does not grow");
        });
    }
}

#[test]
fn a_damaged_file_is_named_and_its_disk_is_filled_by_peers() {
    let replaced = Cell::new(0);
    for turn in 0..24 {
        story("damaged files", turn, |world| {
            world.setup.snapshot_every = 60;
            world.crash_all(Crash::Kill);
            for slot in (0..3).map(Slot) {
                world.start(slot);
            }
            let (_, others) = world.served();
            for _ in 0..4 {
                world.served();
            }
            let mut plan = crate::faults::Plan::new(turn, world.setup.tick, Growth::Done);
            let damaged = |world: &World| world.servers.iter().any(|server| !server.flipped.is_empty());
            while !damaged(world) {
                world.inflict(Kind::BitFlip, &mut plan);
                world.for_ms(20);
            }
            world.for_ms(800);
            // It has a vote again: without one of the others it makes the quorum.
            world.crash(others[turn as usize % 2], Crash::Power);
            world.for_ms(500);
            replaced.set(replaced.get() + world.disks_replaced);
        });
    }
    assert!(replaced.get() > 0, "no start was refused");
}
