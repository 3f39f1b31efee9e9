//! A disk that fills: what is refused, to whom, and what goes on.

use super::together::Together;
use super::*;
use crate::base::Room;

const THROTTLED: i32 = -127;

#[test]
fn without_room_nothing_is_written_and_everything_is_read() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/a", 0)), 0);
    let before = alone.zxid();
    alone.step(Event::Room(Room::Low));
    let ops = [(Op::Create, body(&create(1, "/m", 0)))];
    let writes = [create(2, "/b", 0), set_data(3, "/a", b"x", -1), delete(4, "/a", -1), multi(5, &ops)];
    for request in writes {
        let reply = alone.one(id, request);
        assert_eq!((reply.err, reply.zxid), (THROTTLED, before.0), "not executed, and no zxid taken");
    }
    alone.frames(id, [create(6, "/b", 0), read(7, Op::Exists, "/a", Watch::No), bare(8, Op::Ping)]);
    let replies: Vec<_> = alone.replies(id).iter().map(|frame| (frame.xid, frame.err)).collect();
    assert_eq!(replies, [(6, THROTTLED), (7, 0), (-2, 0)], "in the order asked");

    let other = alone.client();
    assert_eq!(alone.zxid(), before.next(), "sessions begin");
    assert_eq!(alone.err(other, bare(1, Op::CloseSession)), 0, "and end");
    alone.step(Event::Room(Room::Enough));
    assert_eq!(alone.err(id, create(9, "/b", 0)), 0);
}

#[test]
fn with_hardly_any_room_no_session_begins_or_ends() {
    let mut alone = Alone::new();
    let (silent, id) = (alone.client(), alone.client());
    let before = alone.zxid();
    alone.step(Event::Room(Room::Scarce));
    let new = alone.accept();
    alone.frames(new, [connect(10_000, SessionId::NONE, &[])]);
    assert_eq!((alone.take(new).len(), alone.closed(new)), (0, Some(Closing::Abrupt)));
    for _ in 0..30 {
        alone.wait(1_000);
        assert_eq!(alone.err(id, read(1, Op::Exists, "/", Watch::No)), 0);
    }
    assert_eq!((alone.closed(silent), alone.zxid()), (None, before), "what is due waits");
    let session = alone.session(id);
    let again = alone.accept();
    alone.frames(again, [reconnect(session)]);
    assert_eq!(alone.session(again), session, "a session may move: that takes no room");

    alone.step(Event::Room(Room::Low));
    alone.wait(2_000);
    assert_eq!((alone.closed(silent), alone.zxid()), (Some(Closing::Abrupt), before.next()));
    assert_eq!(alone.err(again, bare(2, Op::CloseSession)), 0);
}

#[test]
fn a_session_that_cannot_end_for_want_of_room_loses_its_connection_and_lives() {
    let mut alone = Alone::new();
    let id = alone.client();
    let (session, before) = (alone.session(id), alone.zxid());
    alone.step(Event::Room(Room::Scarce));
    alone.frames(id, [bare(1, Op::CloseSession), create(2, "/late", 0)]);
    let replies: Vec<_> = alone.replies(id).iter().map(|frame| (frame.xid, frame.err)).collect();
    assert_eq!(replies, [(1, THROTTLED)], "what came behind it was not read");
    assert_eq!((alone.closed(id), alone.zxid()), (Some(Closing::Orderly), before));
    let again = alone.accept();
    alone.frames(again, [reconnect(session)]);
    assert_eq!(alone.session(again), session);
}

#[test]
fn a_leader_without_room_gives_leadership_away_once() {
    let mut together = Together::new();
    let first = together.leader();
    together.queue.push_back((first, Event::Room(Room::Low)));
    together.run();
    together.wait_for_service();
    let second = together.leader();
    assert_ne!(first, second);
    let (at_first, at_second) = (together.client(first), together.client(second));
    assert_eq!(together.err(at_first, create(1, "/a", 0)), THROTTLED, "its own clients do not write");
    assert_eq!(together.err(at_second, create(1, "/a", 0)), 0, "the others' do");
    together.assert_level();

    // Leadership that comes back is kept: nobody may have more room.
    together.queue.push_back((second, Event::Transfer(Some(ServerId(first)))));
    together.run();
    together.wait_for_service();
    assert_eq!(together.leader(), first);
    together.wait(5_000);
    assert_eq!(together.leader(), first);
    let at = together.client(second);
    assert_eq!(together.err(at, create(1, "/b", 0)), THROTTLED, "the leader refuses for all");
    together.queue.push_back((first, Event::Room(Room::Enough)));
    together.run();
    assert_eq!(together.err(at, create(2, "/b", 0)), 0);
    together.assert_level();
}
