//! What clients see of a leader and of those that learn from it.

use super::together::{At, Together, sync};
use super::*;
use crate::zab::Status;

#[test]
fn a_learner_answers_its_clients_as_a_leader_does() {
    let mut together = Together::new();
    let server = together.learners()[0];
    let at = together.client(server);
    together.frames(
        at,
        [
            create(1, "/n", 0),
            read(2, Op::GetData, "/n", Watch::Yes),
            create(3, "/n", 0),
            create(4, "/n/s-", 3),
            set_data(5, "/n", b"x", 0),
            sync(6),
            delete(7, "/n", -1),
            bare(8, Op::Ping),
            multi(9, &[(Op::Create, body(&create(1, "/m", 0))), (Op::Delete, body(&delete(1, "/no", -1)))]),
            set_data(10, "/zookeeper/config", b"x", -1),
        ],
    );
    let frames = together.replies(at);
    let heads: Vec<_> = frames.iter().map(|frame| (frame.xid, frame.zxid & 0xffff, frame.err)).collect();
    assert_eq!(
        heads,
        [
            (1, 2, 0),
            (2, 2, 0),
            (3, 3, -110),
            (4, 4, 0),
            (-1, 5, 0),
            (5, 5, 0),
            (6, 5, 0),
            (7, 6, -111),
            (-2, 6, 0),
            (9, 7, 0),
            (10, 8, -102),
        ]
    );
    assert_eq!(frames[3].path(), "/n/s-0000000000");
    assert_eq!(failures(&frames[9]), [0, -101]);
    // No leader sees what cannot be read, but for what every leader can refuse.
    let broken = together.ask(at, request(11, Op::Multi, |_| {}));
    assert_eq!((broken[0].zxid & 0xffff, broken[0].err), (8, -5));
    let broken = together.ask(at, multi(12, &[(Op::Create, body(&create(1, "/m", 5)))]));
    assert_eq!((broken[0].zxid & 0xffff, broken[0].err), (9, -5));
    together.assert_level();
    assert_eq!(together.replicas[&server].inspect().outstanding_count, 0);
}

#[test]
fn what_one_server_was_told_another_shows_after_a_sync() {
    let mut together = Together::new();
    let clients: Vec<At> = (1..=3).map(|server| together.client(server)).collect();
    for (number, writer) in clients.iter().enumerate() {
        let path = format!("/n{number}");
        assert_eq!(together.err(*writer, create(1, &path, 0)), 0);
        for reader in &clients {
            assert_eq!(together.err(*reader, sync(2)), 0);
            assert_eq!(together.err(*reader, read(3, Op::Exists, &path, Watch::No)), 0);
        }
    }
    together.assert_level();
}

#[test]
fn a_session_moves_to_the_server_that_it_is_presented_to() {
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        let mut together = Together::new();
        let old = together.client(from);
        let session = together.session(old);
        assert_eq!(together.err(old, create(1, "/e", 1)), 0);
        let (new, is_granted) = together.attach(to, session);
        assert!(is_granted);
        assert_eq!(together.err(new, set_data(1, "/e", b"", -1)), 0);
        // On the old connection reads and pings go on; a write gets no answer.
        assert_eq!(together.err(old, read(2, Op::Exists, "/e", Watch::No)), 0);
        assert_eq!(together.err(old, bare(3, Op::Ping)), 0);
        assert_eq!(together.err(old, sync(4)), 0);
        assert_eq!(together.ask(old, set_data(5, "/e", b"", -1)), []);
        assert_eq!(together.closed.get(&old), Some(&Closing::Orderly));
        assert_eq!(together.closed.get(&new), None);
        assert_eq!(together.err(new, set_data(2, "/e", b"", -1)), 0);
        together.assert_level();
    }
}

#[test]
fn a_multi_of_a_session_that_moved_gets_no_answer_and_its_end_gets_one() {
    let mut together = Together::new();
    let (one, other) = (together.learners()[0], together.learners()[1]);
    for request in [multi(5, &[(Op::Create, body(&create(1, "/m", 0)))]), create(5, "/m", 0)] {
        let old = together.client(one);
        let session = together.session(old);
        assert!(together.attach(other, session).1);
        assert_eq!(together.ask(old, request), []);
        assert_eq!(together.closed.get(&old), Some(&Closing::Orderly));
    }
    let old = together.client(one);
    let session = together.session(old);
    let (new, _) = together.attach(other, session);
    assert_eq!(together.err(old, bare(5, Op::CloseSession)), 0);
    assert_eq!(together.closed.get(&new), Some(&Closing::Abrupt));
    assert!(!together.attach(one, session).1, "it is gone everywhere");
    together.assert_level();
}

#[test]
fn a_session_lives_as_long_as_its_server_hears_from_it() {
    let mut together = Together::new();
    let server = together.learners()[0];
    let (busy, silent) = (together.client(server), together.client(server));
    let leader = together.leader();
    let witness = together.client(leader);
    assert_eq!(together.err(busy, create(1, "/busy", 1)), 0);
    assert_eq!(together.err(silent, create(1, "/silent", 1)), 0);
    let start = together.now.mono;
    while !together.closed.contains_key(&silent) {
        assert_eq!(together.err(busy, read(2, Op::Exists, "/", Watch::No)), 0);
        assert_eq!(together.err(witness, bare(2, Op::Ping)), 0);
        together.wait(500);
        assert!(together.now.mono.since(start).0 <= 14_000);
    }
    assert!(together.now.mono.since(start).0 >= 10_000);
    (0..20).for_each(|_| {
        together.wait(1_000);
        assert_eq!(together.err(busy, bare(3, Op::Ping)), 0);
        assert_eq!(together.err(witness, bare(3, Op::Ping)), 0);
    });
    assert_eq!(together.err(witness, read(4, Op::Exists, "/busy", Watch::No)), 0);
    assert_eq!(together.err(witness, read(4, Op::Exists, "/silent", Watch::No)), -101);
    together.assert_level();
}

#[test]
fn a_lost_leader_costs_connections_and_no_session() {
    let mut together = Together::new();
    let leader = together.leader();
    let server = together.learners()[0];
    let at = together.client(server);
    let session = together.session(at);
    assert_eq!(together.err(at, create(1, "/e", 1)), 0);
    together.stop(leader);
    assert_eq!(together.closed.get(&at), Some(&Closing::Abrupt));
    together.wait_for_service();
    let next = together.leader();
    let (again, is_granted) = together.attach(next, session);
    assert!(is_granted);
    assert_eq!(together.err(again, set_data(1, "/e", b"", -1)), 0);
    assert_eq!(together.err(again, create(2, "/f", 0)), 0);
    // The old leader comes back with its log and gets level.
    let txns = together.logs[&leader].clone();
    together.start(leader, Recovered { txns, may_vote: true, ..Recovered::default() });
    together.wait_for_service();
    let back = together.client(leader);
    assert_eq!(together.err(back, sync(1)), 0);
    assert_eq!(together.err(back, read(2, Op::Exists, "/f", Watch::No)), 0);
    together.assert_level();
}

#[test]
fn a_new_leader_tells_the_start_of_its_epoch_and_its_learners_what_they_applied() {
    let mut together = Together::new();
    let old = together.leader();
    let at = together.client(old);
    let created = together.ask(at, create(1, "/n", 0))[0].zxid;
    let session = together.session(at);
    let gone = together.logs[&old].clone();
    together.stop(old);
    together.wait_for_service();
    let (leader, learner) = (together.leader(), together.learners()[0]);
    let (at, is_granted) = together.attach(leader, session);
    assert!(is_granted);
    let start = ((created >> 32) + 1) << 32;
    let told = |frames: Vec<Frame>| frames.iter().map(|frame| (frame.zxid, frame.err)).collect::<Vec<_>>();
    assert_eq!(told(together.ask(at, bare(1, Op::Ping))), [(start, 0)]);
    assert_eq!(told(together.ask(at, read(2, Op::Exists, "/n", Watch::No))), [(start, 0)]);
    assert_eq!(told(together.ask(at, read(3, Op::GetData, "/m", Watch::No))), [(start, -101)]);
    assert_eq!(told(together.ask(at, sync(4))), [(start, 0)]);
    // A learner tells its last txn, and sends away whom the leader told more.
    let (at, is_granted) = together.attach(learner, session);
    assert!(is_granted);
    assert_eq!(told(together.ask(at, bare(1, Op::Ping))), [(created, 0)]);
    assert_eq!(told(together.ask(at, sync(2))), [(created, 0)]);
    let again = connect_after(Zxid(start), 10_000, session, &session::password(session));
    let ahead = together.connect(learner, again.clone());
    assert_eq!((together.take(ahead).len(), together.closed.get(&ahead)), (0, Some(&Closing::Abrupt)));
    assert_eq!(told(together.ask(at, set_data(3, "/n", b"", -1))), [(start + 1, 0)]);
    let level = together.connect(learner, again);
    assert_eq!(together.take(level).len(), 41);
    // The start of an epoch is no txn: who comes back gets level by what it lacks alone.
    together.start(old, Recovered { txns: gone, may_vote: true, ..Recovered::default() });
    together.wait_for_service();
    together.assert_level();
}

#[test]
fn a_server_that_lost_its_disk_gets_the_whole_tree() {
    let mut together = Together::new();
    let server = together.learners()[0];
    let leader = together.leader();
    let at = together.client(leader);
    together.stop(server);
    for number in 0..200 {
        assert_eq!(together.err(at, create(1, &format!("/n{number}"), 0)), 0);
    }
    together.logs.remove(&server);
    together.start(server, Recovered { may_vote: false, ..Recovered::default() });
    together.wait_for_service();
    let back = together.client(server);
    assert_eq!(together.err(back, read(1, Op::Exists, "/n199", Watch::No)), 0);
    assert_eq!(together.err(back, create(2, "/m", 0)), 0);
    together.assert_level();
}

#[test]
fn a_learner_whose_tree_is_another_stops_serving_and_takes_the_leaders() {
    let mut together = Together::new();
    let (leader, server) = (together.leader(), together.learners()[0]);
    let (at, other) = (together.client(leader), together.client(server));
    assert_eq!(together.err(at, create(1, "/a", 0)), 0);
    let lose = |together: &Together, id: i64| {
        let empty = |zxid| Tree::from_body(zxid, Tree::new().image().to_body(), None).expect("a tree");
        together.replicas[&id].service().tree.write(|tree| *tree = empty(tree.zxid()));
    };
    lose(&together, server);
    assert_eq!(together.err(at, create(2, "/b", 0)), 0);
    assert_eq!(together.closed.get(&other), Some(&Closing::Abrupt), "nobody reads from it");
    together.wait_for_service();
    assert_eq!(together.leader(), leader);
    let back = together.client(server);
    assert_eq!(together.err(back, read(1, Op::Exists, "/a", Watch::No)), 0);
    together.assert_level();
    // Once more soon after that, it goes on: it must not do nothing but take trees.
    lose(&together, server);
    assert_eq!(together.err(at, create(3, "/c", 0)), 0);
    assert!(matches!(together.status(server), Status::Following(..)));
}

#[test]
fn leadership_is_handed_over_and_writes_go_on() {
    let mut together = Together::new();
    let leader = together.leader();
    let to = together.learners()[0];
    let at = together.client(to);
    let session = together.session(at);
    assert_eq!(together.err(at, create(1, "/n", 1)), 0);
    together.queue.push_back((leader, Event::Transfer(Some(ServerId(to)))));
    together.run();
    together.wait_for_service();
    assert_eq!(together.transferred, Some(Ok(ServerId(to))));
    assert_eq!(together.leader(), to);
    let (again, is_granted) = together.attach(leader, session);
    assert!(is_granted);
    assert_eq!(together.err(again, set_data(1, "/n", b"", -1)), 0);
    let nobody = together.learners()[0];
    together.queue.push_back((nobody, Event::Transfer(None)));
    together.run();
    assert!(matches!(together.transferred, Some(Err(_))));
    together.assert_level();
}

#[test]
fn the_super_user_changes_the_membership_and_watchers_of_it_are_told() {
    let mut together = Together::new();
    let gone = together.learners()[0];
    let server = together.learners()[1];
    let (at, watcher) = (together.client(server), together.client(server));
    let leave = |xid: i32, from: i64| {
        request(xid, Op::Reconfig, |writer| {
            writer.buffer(None).string(&gone.to_string()).buffer(None).i64(from);
        })
    };
    assert_eq!(together.err(watcher, read(1, Op::GetData, "/zookeeper/config", Watch::Yes)), 0);
    assert_eq!(together.err(at, leave(1, -1)), -102);
    assert_eq!(together.err(at, auth("super:test")), 0);
    assert_eq!(together.err(at, leave(2, 77)), -103);
    let frames = together.ask(at, leave(3, -1));
    let reply = frames.last().expect("a reply");
    assert_eq!(reply.err, 0);
    let text = Reader::new(reply.body.clone()).buffer("text").expect("data").expect("data");
    let ensemble = Ensemble::parse(std::str::from_utf8(&text).expect("text")).expect("a membership");
    assert_eq!((ensemble.members.len(), ensemble.version.0), (2, reply.zxid));
    assert_eq!((reply.stat().version, reply.stat().mzxid.0), (-1, reply.zxid));
    let told = together.replies(watcher);
    assert_eq!(events(&told), [(3, "/zookeeper/config".to_owned())]);
    assert_eq!(together.err(at, create(4, "/after", 0)), 0);
    let config = together.ask(watcher, read(5, Op::GetData, "/zookeeper/config", Watch::No));
    assert!(
        config[0].body.ends_with(&reply.body[reply.body.len() - 68..]),
        "the stat is that of the reconfig"
    );
}
