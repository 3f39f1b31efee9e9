//! Containers and nodes with a time to live end by themselves, one after the other.

use super::*;

const CONTAINER: i32 = 4;
const TTL: i32 = 5;

fn reaping(reaping: Reaping) -> (Alone, ConnId) {
    let settings = Settings { reaping, ..settings() };
    let mut alone = Alone::with(settings, Recovered { may_vote: true, ..Recovered::default() });
    let id = alone.client();
    (alone, id)
}

fn create_ttl(path: &str, ttl_ms: i64) -> Bytes {
    request(1, Op::CreateTtl, |writer| {
        write_create(writer, path, TTL, &open_acl());
        writer.i64(ttl_ms);
    })
}

/// Lets time pass while the session lives.
fn wait(alone: &mut Alone, id: ConnId, ms: u64) {
    for _ in 0..ms / 1_000 {
        alone.wait(1_000);
        assert_eq!(alone.err(id, bare(1, Op::Ping)), 0);
    }
}

/// How many nodes there are besides those that everybody has.
fn count(alone: &Alone) -> usize {
    alone.replica.inspect().node_count - 4
}

#[test]
fn what_is_due_ends_evenly_over_time() {
    let limits = Reaping { every: Millis(10_000), per_minute_max: 30, unused_after: None };
    let (mut alone, id) = reaping(limits);
    for path in ["/a", "/b", "/c"] {
        assert_eq!(alone.err(id, create_with(1, Op::CreateContainer, path, CONTAINER, &open_acl())), 0);
        assert_eq!(alone.err(id, create(1, &format!("{path}/x"), 0)), 0);
        assert_eq!(alone.err(id, delete(1, &format!("{path}/x"), -1)), 0);
    }
    wait(&mut alone, id, 9_000);
    assert_eq!(count(&alone), 3);
    let counts: Vec<usize> = (0..6)
        .map(|_| {
            wait(&mut alone, id, 1_000);
            count(&alone)
        })
        .collect();
    assert_eq!(counts, [2, 2, 1, 1, 0, 0]);
}

#[test]
fn what_was_used_since_the_round_began_stays() {
    let limits = Reaping { every: Millis(10_000), per_minute_max: 30, unused_after: None };
    let (mut alone, id) = reaping(limits);
    for path in ["/a", "/b", "/c"] {
        assert_eq!(alone.err(id, create_ttl(path, 5_000)), 0);
    }
    wait(&mut alone, id, 10_000);
    assert_eq!(count(&alone), 2, "the first is gone");
    for path in ["/b", "/c"] {
        assert_eq!(alone.err(id, set_data(1, path, b"again", -1)), 0);
    }
    wait(&mut alone, id, 4_000);
    assert_eq!(count(&alone), 2);
}

#[test]
fn a_container_that_never_had_a_child_ends_where_that_is_asked_for() {
    for (unused_after, left) in [(None, 1), (Some(Millis(15_000)), 0)] {
        let (mut alone, id) =
            reaping(Reaping { every: Millis(10_000), per_minute_max: 10_000, unused_after });
        assert_eq!(alone.err(id, create_with(1, Op::CreateContainer, "/a", CONTAINER, &open_acl())), 0);
        wait(&mut alone, id, 12_000);
        assert_eq!(count(&alone), 1, "not before its time");
        wait(&mut alone, id, 12_000);
        assert_eq!(count(&alone), left);
    }
}
