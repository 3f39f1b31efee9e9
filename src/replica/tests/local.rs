//! Sessions that live on one server alone, on a leader and on a learner.

use super::together::{At, Together, sync};
use super::*;

const EPHEMERAL_ON_LOCAL: i32 = -120;
const SESSION_EXPIRED: i32 = -112;
const EPHEMERAL: i32 = 1;

fn local() -> Together {
    ready(Together::with(|settings| settings.local_sessions = LocalRule::Local))
}

fn upgraded() -> Together {
    ready(Together::with(|settings| settings.local_sessions = LocalRule::Upgraded))
}

/// The epoch has a txn, so that zxids count from it.
fn ready(mut together: Together) -> Together {
    let at = together.client(together.leader());
    assert_eq!(together.err(at, set_data(1, "/", b"", -1)), 0);
    assert_eq!(together.err(at, bare(2, Op::CloseSession)), 0);
    together
}

/// The leader and one that learns.
fn both(together: &Together) -> [i64; 2] {
    [together.leader(), together.learners()[0]]
}

fn zxid(together: &Together) -> Zxid {
    together.replicas[&together.leader()].inspect().zxid
}

/// Local and replicated sessions as a server knows them.
fn sessions(together: &Together, server: i64) -> (usize, usize) {
    let inspect = together.replicas[&server].inspect();
    (inspect.local_session_count, inspect.session_count)
}

fn owner(together: &mut Together, at: At, path: &str) -> SessionId {
    SessionId(together.ask(at, read(9, Op::Exists, path, Watch::No))[0].stat().ephemeral_owner)
}

#[test]
fn a_local_session_writes_without_being_known_elsewhere() {
    let mut together = local();
    let before = zxid(&together);
    for (nth, server) in both(&together).into_iter().enumerate() {
        let at = together.client(server);
        assert_eq!((zxid(&together).0 - before.0, sessions(&together, server)), (nth as i64 * 3, (1, 0)));
        let path = format!("/by-{server}");
        assert_eq!(together.err(at, create(1, &path, 0)), 0);
        assert_eq!(together.err(at, set_data(2, &path, b"x", -1)), 0);
        let ops = [(Op::Create, body(&create(1, &format!("{path}/m"), 2)))];
        assert_eq!(together.ask(at, multi(3, &ops))[0].err, 0);
    }
    together.assert_level();
}

#[test]
fn the_end_of_a_local_session_takes_no_zxid_and_its_turn() {
    let mut together = local();
    for server in both(&together) {
        let at = together.client(server);
        let path = format!("/by-{server}");
        together.frames(at, [sync(1), create(2, &path, 0), bare(3, Op::CloseSession), create(4, "/late", 0)]);
        let last = zxid(&together);
        let heads: Vec<_> =
            together.replies(at).iter().map(|frame| (frame.xid, frame.err, frame.zxid)).collect();
        assert_eq!(heads[1..], [(2, 0, last.0), (3, 0, last.0)]);
        assert_eq!((together.closed[&at], sessions(&together, server)), (Closing::Orderly, (0, 0)));
    }
}

#[test]
fn a_local_session_is_presented_again_where_it_was_opened_and_nowhere_else() {
    let mut together = local();
    let (leader, learner) = (together.leader(), together.learners()[0]);
    for (home, away) in [(leader, learner), (learner, leader), (learner, together.learners()[1])] {
        let session = {
            let at = together.client(home);
            together.session(at)
        };
        assert!(!together.attach(away, session).1, "{home} to {away}");
        let (at, is_granted) = together.attach(home, session);
        assert!(is_granted, "{home}");
        assert_eq!(together.err(at, set_data(1, "/", b"", -1)), 0);
    }
}

#[test]
fn a_silent_local_session_ends_on_its_server() {
    let mut together = local();
    for server in both(&together) {
        let silent = together.client(server);
        let session = together.session(silent);
        let lively = together.client(server);
        let before = zxid(&together);
        for _ in 0..14 {
            together.wait(1_000);
            assert_eq!(together.err(lively, bare(1, Op::Ping)), 0);
        }
        assert_eq!(together.closed.get(&silent), Some(&Closing::Abrupt));
        assert_eq!((sessions(&together, server), zxid(&together)), ((1, 0), before));
        assert!(!together.attach(server, session).1);
    }
}

#[test]
fn the_first_ephemeral_node_replicates_a_session_and_keeps_its_id() {
    let mut together = upgraded();
    let (leader, learner) = (together.leader(), together.learners()[0]);
    for (server, away) in [(leader, learner), (learner, leader)] {
        let at = together.client(server);
        let session = together.session(at);
        let path = format!("/by-{server}");
        let before = zxid(&together);
        let created = together.ask(at, create(1, &path, EPHEMERAL));
        assert_eq!((created[0].err, created[0].zxid), (0, before.0 + 2), "the session takes a zxid");
        assert_eq!(owner(&mut together, at, &path), session);
        assert_eq!(sessions(&together, server).0, 0);
        assert_eq!(together.err(at, create(2, &format!("{path}-2"), EPHEMERAL)), 0);
        assert_eq!(zxid(&together), Zxid(before.0 + 3), "once only");
        // Its server's clock is not what it lives by any more.
        for _ in 0..14 {
            together.wait(1_000);
            assert_eq!(together.err(at, bare(1, Op::Ping)), 0);
        }
        let (moved, is_granted) = together.attach(away, session);
        assert!(is_granted, "it moves as any other");
        assert_eq!(together.ask(moved, bare(3, Op::CloseSession))[0].err, 0);
        let other = together.client(server);
        assert_eq!(together.err(other, read(1, Op::Exists, &path, Watch::No)), -101);
    }
    together.assert_level();
}

#[test]
fn an_upgrade_and_what_stands_behind_it_keep_their_order() {
    let mut together = upgraded();
    for server in both(&together) {
        let at = together.client(server);
        let session = together.session(at);
        let path = format!("/by-{server}");
        let ops = [
            (Op::Create, body(&create(1, &path, 0))),
            (Op::Create2, body(&create(1, &format!("{path}/e"), EPHEMERAL))),
        ];
        together.frames(
            at,
            [sync(1), multi(2, &ops), create(3, &format!("{path}/f"), EPHEMERAL), bare(4, Op::CloseSession)],
        );
        let heads: Vec<_> = together.replies(at).iter().map(|frame| (frame.xid, frame.err)).collect();
        assert_eq!(heads, [(1, 0), (2, 0), (3, 0), (4, 0)]);
        assert_eq!(sessions(&together, server), (0, 0), "{session} is closed everywhere");
        assert_eq!(together.replicas[&server].inspect().ephemeral_count, 0);
    }
    together.assert_level();
}

#[test]
fn without_an_upgrade_ephemeral_nodes_are_refused_and_take_a_zxid() {
    let mut together = local();
    for (server, in_multi) in both(&together).into_iter().zip([EPHEMERAL_ON_LOCAL, SESSION_EXPIRED]) {
        let at = together.client(server);
        let before = zxid(&together);
        let refused = together.ask(at, create(1, "/e", EPHEMERAL));
        assert_eq!((refused[0].err, refused[0].zxid), (EPHEMERAL_ON_LOCAL, before.0 + 1));
        let ops = [(Op::Create, body(&create(1, "/p", 0))), (Op::Create, body(&create(1, "/e", EPHEMERAL)))];
        let refused = together.ask(at, multi(2, &ops));
        assert_eq!(failures(&refused[0]), [0, in_multi]);
        let odd = create_with(3, Op::CreateContainer, "/c", EPHEMERAL, &open_acl());
        assert_eq!(together.err(at, odd), SESSION_EXPIRED);
        assert_eq!(
            together.err(at, create_with(3, Op::CreateContainer, &format!("/c{server}"), 4, &open_acl())),
            0
        );
    }
    together.assert_level();
}

#[test]
fn a_server_that_is_alone_has_no_local_sessions() {
    let settings = Settings { local_sessions: LocalRule::Local, ..settings() };
    let mut alone = Alone::with(settings, Recovered { may_vote: true, ..Recovered::default() });
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/e", EPHEMERAL)), 0);
    assert_eq!(alone.replica.inspect().session_count, 1);
}
