//! What servers go on doing for clients when they cannot do all of it: without room, and without a leader.
//!
//! In: a world without chance faults. Out: the same invariants, oracle and recovery as in every run.
//!
//! Always true:
//! * a story that does not reach its point fails.
//!
//! Not here: the other stories (`scenarios`).

use quorate::base::Room;
use quorate::replica::prepare::Switch;
use quorate::session::LocalRule;

use super::{setup_of, story, story_in};
use crate::files::RESERVE_BYTES;
use crate::network::Slot;
use crate::queue::Micros;
use crate::setup::Setup;
use crate::world::World;

#[test]
fn disks_that_are_full_everywhere_stop_writes_and_nothing_else() {
    for turn in 0..6 {
        story("full disks", turn, |world| {
            world.served();
            let lives: Vec<u32> = world.servers.iter().map(|server| server.life).collect();
            // Into the reserve, or nearly to its end.
            let free_bytes = RESERVE_BYTES * (2 + turn) / 10;
            (0..3).map(Slot).for_each(|slot| world.fill_disk(slot, free_bytes));
            world.until("every server knows", |world| {
                world.facts.servers.iter().all(|server| server.room != Room::Enough)
            });
            world.for_ms(300);
            let (put_off, reads) = (world.oracle.put_off, world.oracle.answered);
            world.for_ms(1_500);
            assert!(world.oracle.put_off > put_off + 5, "writes are refused");
            assert!(world.oracle.answered > reads + 50, "reads go on");
            let found: Vec<u32> = world.servers.iter().map(|server| server.life).collect();
            assert!(found == lives, "a process ended: {lives:?}, {found:?}");
            (0..3).map(Slot).for_each(|slot| world.empty_disk(slot));
            world.served();
            assert!(world.facts.servers.iter().all(|server| server.room == Room::Enough), "there is room");
        });
    }
}

#[test]
fn members_without_a_leader_serve_those_who_only_read() {
    for turn in 0..6 {
        let (local_sessions, read_only) = (LocalRule::Upgraded, Switch::On);
        let setup = Setup { local_sessions, read_only, ..setup_of(3, turn) };
        story_in(setup, "read-only service", turn, |world| {
            world.served();
            // Whoever has seen more than a server holds goes on to the next: none of them may get ahead.
            let ways = world.ways(|_, _| true);
            world.cut(ways, Micros::of_s(1_000));
            let readers = |world: &World| world.clients.iter().map(|client| client.read_only).sum::<u64>();
            world.until("they have readers", |world| readers(world) > 0 && world.oracle.put_off > 0);
            world.for_ms(500);
            world.open_all();
            world.served();
        });
    }
}
