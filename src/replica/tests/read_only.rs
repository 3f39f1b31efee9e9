//! A member without a leader serves clients that only read, and nobody else.

use super::together::{At, Together, sync};
use super::*;
use crate::zab::Status;

const NOT_READ_ONLY: i32 = -119;

fn together() -> Together {
    Together::with(|settings| {
        settings.local_sessions = LocalRule::Upgraded;
        settings.read_only = Switch::On;
    })
}

/// Only one member is left; of the other two the first is returned. There are `/n`, and a replicated session.
fn cut_off(together: &mut Together) -> (i64, i64, SessionId) {
    let at = together.client(together.learners()[0]);
    assert_eq!(together.err(at, create(1, "/n", 0)), 0);
    assert_eq!(together.err(at, create(2, "/e", 1)), 0);
    let session = together.session(at);
    let [other, left] = together.learners()[..] else { panic!("three members") };
    let leader = together.leader();
    together.stop(other);
    together.stop(leader);
    (left, leader, session)
}

/// A connect request of a client that can do with reading.
fn connect_to_read(session: SessionId) -> Bytes {
    let mut writer = Writer::new();
    writer.i32(0).i64(0).i32(10_000).i64(session.0).buffer(Some(&session::password(session))).bool(true);
    writer.finish()
}

fn reader(together: &mut Together, server: i64) -> At {
    let at = together.connect(server, connect_to_read(SessionId::NONE));
    let response = together.take(at);
    assert_eq!((response.len(), response.last()), (41, Some(&1)), "it says that it is read-only");
    at
}

#[test]
fn a_member_that_is_cut_off_answers_reads_and_refuses_writes() {
    let mut together = together();
    let (left, _, _) = cut_off(&mut together);
    together.wait(2_200);
    let at = reader(&mut together, left);
    assert_eq!(together.err(at, read(1, Op::GetData, "/n", Watch::Yes)), 0);
    assert_eq!(together.err(at, bare(2, Op::WhoAmI)), 0);
    assert_eq!(together.err(at, auth("bob:pw")), 0);
    let zxid = together.replicas[&left].inspect().zxid;
    for request in [
        create(3, "/m", 0),
        create_with(3, Op::CreateContainer, "/m", 4, &open_acl()),
        delete(3, "/n", -1),
        set_data(3, "/n", b"", -1),
        set_acl(3, "/n", &open_acl(), -1),
        multi(3, &[]),
        sync(3),
    ] {
        let frame = together.ask(at, request).remove(0);
        assert_eq!((frame.xid, frame.err, frame.zxid), (3, NOT_READ_ONLY, zxid.0));
    }
    // In their order, and the session ends.
    together.frames(at, [create(4, "/m", 0), bare(5, Op::Ping), bare(6, Op::CloseSession)]);
    let heads: Vec<_> = together.replies(at).iter().map(|frame| (frame.xid, frame.err)).collect();
    assert_eq!(heads, [(4, NOT_READ_ONLY), (-2, 0), (6, 0)]);
    let inspect = together.replicas[&left].inspect();
    assert_eq!((inspect.is_read_only, inspect.local_session_count, inspect.zxid), (true, 0, zxid));
}

#[test]
fn only_clients_that_can_do_with_reading_are_served_and_no_replicated_session() {
    let mut together = together();
    let (left, _, session) = cut_off(&mut together);
    together.wait(1_800);
    let early = together.connect(left, connect_to_read(SessionId::NONE));
    assert_eq!(
        (together.take(early).len(), together.closed[&early]),
        (0, Closing::Abrupt),
        "an election may be on"
    );
    together.wait(400);
    for request in [
        connect(10_000, SessionId::NONE, &[]),
        connect(10_000, SessionId::NONE, &[0; 16]).slice(..44),
        connect_to_read(session),
    ] {
        let at = together.connect(left, request);
        assert_eq!((together.take(at).len(), together.closed[&at]), (0, Closing::Abrupt));
    }
    let at = together.connect(left, connect_to_read(SessionId(7)));
    assert_eq!(together.take(at)[8..12], [0; 4], "an unknown session is refused");
    let at = reader(&mut together, left);
    let own = together.session(at);
    let again = together.connect(left, connect_to_read(own));
    assert_eq!(together.take(again)[4 + 4..][..4], 10_000_i32.to_be_bytes());
    assert_eq!(together.closed[&at], Closing::Abrupt);
}

#[test]
fn with_a_leader_everything_is_as_before() {
    let mut together = together();
    let (left, leader, session) = cut_off(&mut together);
    together.wait(2_200);
    let at = reader(&mut together, left);
    let local = together.session(at);
    let txns = together.logs[&leader].clone();
    together.start(leader, Recovered { txns, may_vote: true, ..Recovered::default() });
    together.wait_for_service();
    assert_eq!(together.closed[&at], Closing::Abrupt);
    assert!(!together.replicas[&left].inspect().is_read_only);
    assert!(!together.attach(left, local).1, "its session ended with the read-only service");
    let (back, is_granted) = together.attach(left, session);
    assert!(is_granted);
    assert_eq!(together.err(back, set_data(1, "/e", b"x", -1)), 0);
    together.assert_level();
}

#[test]
fn a_member_that_may_not_have_local_sessions_serves_nobody_without_a_leader() {
    let mut together = Together::with(|settings| settings.read_only = Switch::On);
    let (left, _, _) = cut_off(&mut together);
    together.wait(2_200);
    let at = together.connect(left, connect_to_read(SessionId::NONE));
    assert_eq!((together.take(at).len(), together.closed[&at]), (0, Closing::Abrupt));
}

#[test]
fn a_member_that_would_lead_and_finds_no_followers_serves_readers_all_along() {
    let mut together = together();
    let leader = together.leader();
    let [other, left] = together.learners()[..] else { panic!("three members") };
    let at = together.client(left);
    assert_eq!(together.err(at, create(1, "/n", 0)), 0);
    together.stop(other);
    together.queue.push_back((leader, Event::Transfer(Some(ServerId(left)))));
    while together.status(left) != Status::Discovering {
        assert!(together.run_one(), "leadership is handed over");
    }
    together.stop(leader);
    assert_eq!(together.status(left), Status::Discovering);
    together.wait(2_200);
    let at = reader(&mut together, left);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..30 {
        together.wait(1_000);
        seen.insert(format!("{:?}", together.status(left)));
        assert_eq!(together.err(at, read(1, Op::GetData, "/n", Watch::No)), 0);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Discovering", "Looking"]);
    assert_eq!(together.closed.get(&at), None);
}
