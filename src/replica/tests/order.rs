//! The order of replies and events on one connection.

use super::*;

const CREATED: i32 = 1;

fn heads(frames: &[Frame]) -> Vec<(i32, i64, i32)> {
    frames.iter().map(|frame| (frame.xid, frame.zxid, frame.err)).collect()
}

/// A client that waits for these nodes, and another.
fn watching(paths: &[&str]) -> (Alone, ConnId, ConnId) {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    for path in paths {
        assert_eq!(alone.err(id, read(1, Op::Exists, path, Watch::Yes)), -101);
    }
    (alone, id, other)
}

#[test]
fn what_comes_behind_a_write_waits_for_it() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    alone.disk = Disk::Held;
    alone.frames(
        id,
        [
            create(1, "/n", 0),
            read(2, Op::GetData, "/n", Watch::No),
            bare(3, Op::Ping),
            request(4, Op::Create, |_| {}),
            auth("a:b"),
            bare(5, Op::WhoAmI),
        ],
    );
    assert_eq!(alone.replies(id), []);
    assert_eq!(heads(&alone.ask(other, bare(1, Op::Ping))), [(-2, 2, 0)], "others do not wait");
    alone.sync();
    let expected = [(1, 3, 0), (2, 3, 0), (-2, 3, 0), (4, 3, -5), (-4, 0, 0), (5, 3, 0)];
    assert_eq!(heads(&alone.replies(id)), expected);
}

#[test]
fn a_read_between_two_writes_sees_the_first_and_not_the_second() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    alone.disk = Disk::Held;
    alone.frames(
        id,
        [
            read(2, Op::GetData, "/n", Watch::No),
            set_data(3, "/n", b"one", -1),
            read(4, Op::GetData, "/n", Watch::No),
            set_data(5, "/n", b"two", -1),
            read(6, Op::GetData, "/n", Watch::No),
        ],
    );
    alone.sync();
    alone.sync();
    let frames = alone.replies(id);
    let data = |frame: &Frame| Reader::new(frame.body.clone()).buffer("data").expect("data").expect("data");
    let read: Vec<Bytes> = [0, 2, 4].map(|index| data(&frames[index])).into();
    assert_eq!(read, [&b"d"[..], b"one", b"two"]);
    assert_eq!(heads(&frames), [(2, 2, 0), (3, 3, 0), (4, 3, 0), (5, 4, 0), (6, 4, 0)]);
}

#[test]
fn a_sync_keeps_its_turn_and_echoes_its_path() {
    let mut alone = Alone::new();
    let id = alone.client();
    alone.disk = Disk::Held;
    let sync = request(2, Op::Sync, |writer| {
        writer.string("nonsense");
    });
    alone.frames(id, [create(1, "/n", 0), sync, create(3, "/m", 0)]);
    alone.sync();
    alone.sync();
    let frames = alone.replies(id);
    assert_eq!(
        heads(&frames),
        [(1, 2, 0), (2, 2, 0), (3, 3, 0)],
        "no reply tells of less than the one before it"
    );
    assert_eq!(frames[1].path(), "nonsense");
}

#[test]
fn an_event_comes_before_the_reply_of_the_change_and_before_any_read_of_it() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    for watcher in [id, other] {
        assert_eq!(alone.err(watcher, read(2, Op::GetData, "/n", Watch::Yes)), 0);
    }
    let frames = alone.ask(id, set_data(3, "/n", b"x", -1));
    assert_eq!(heads(&frames), [(-1, 4, 0), (3, 4, 0)]);
    let frames = alone.ask(other, read(3, Op::GetData, "/n", Watch::No));
    assert_eq!(heads(&frames), [(-1, 4, 0), (3, 4, 0)]);
}

#[test]
fn an_event_of_a_later_txn_does_not_overtake_an_earlier_reply() {
    let (mut alone, id, other) = watching(&["/a", "/c"]);
    alone.disk = Disk::Held;
    alone.frames(other, [create(1, "/a", 0)]);
    alone.frames(id, [create(2, "/b", 0)]);
    alone.frames(other, [create(2, "/c", 0)]);
    (0..3).for_each(|_| alone.sync());
    let frames = alone.replies(id);
    assert_eq!(heads(&frames), [(-1, 3, 0), (2, 4, 0), (-1, 5, 0)]);
    assert_eq!(events(&frames), [(CREATED, "/a".to_owned()), (CREATED, "/c".to_owned())]);
}

#[test]
fn replies_of_one_step_take_each_the_events_of_its_own_state_along() {
    let (mut alone, id, other) = watching(&["/a", "/c"]);
    alone.disk = Disk::Held;
    alone.frames(other, [create(1, "/a", 0)]);
    alone.frames(id, [create(2, "/b", 0), read(3, Op::Exists, "/c", Watch::No), create(4, "/d", 0)]);
    alone.frames(other, [create(2, "/c", 0)]);
    alone.sync_all();
    let frames = alone.replies(id);
    assert_eq!(heads(&frames), [(-1, 3, 0), (2, 4, 0), (3, 4, -101), (4, 5, 0), (-1, 6, 0)]);
    assert_eq!(events(&frames), [(CREATED, "/a".to_owned()), (CREATED, "/c".to_owned())]);
}

#[test]
fn a_read_behind_a_write_goes_to_the_loop_only_if_another_write_follows_it() {
    let mut alone = Alone::new();
    let id = alone.client();
    let conn = alone.conns.get_mut(&id).expect("a connection");
    let mut asked = |frame: Bytes| {
        conn.on_frame(Millis(0), frame);
        let events = conn.take_events();
        let xids = |event: &Event| -> Vec<i32> {
            match event {
                Event::Requests(_, requests) => requests.iter().map(|request| request.xid).collect(),
                other => panic!("{other:?}"),
            }
        };
        (events.iter().flat_map(xids).collect::<Vec<i32>>(), conn.behind_count())
    };
    assert_eq!(asked(create(1, "/n", 0)), (vec![1], 0));
    assert_eq!(asked(read(2, Op::GetData, "/n", Watch::No)), (vec![], 1));
    assert_eq!(asked(bare(3, Op::Ping)), (vec![], 2));
    assert_eq!(asked(create(4, "/m", 0)), (vec![2, 3, 4], 0));
    assert_eq!(asked(read(5, Op::GetData, "/n", Watch::No)), (vec![], 1));
}

#[test]
fn reads_behind_a_write_are_answered_as_far_as_a_write_to_the_socket_takes_them() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    assert_eq!(alone.err(id, set_data(2, "/n", &[7; 101 << 10], -1)), 0);
    let conn = alone.conns.get_mut(&id).expect("a connection");
    let reads = (4..=13).map(|xid| read(xid, Op::GetData, "/n", Watch::No));
    conn.on_frames(Millis(0), &mut std::iter::once(create(3, "/m", 0)).chain(reads));
    drop(conn.take_events());
    let runs = vec![Run { state: Zxid(4), count: 1, bytes: 0 }];
    let replies = Replies { runs, frames: Bytes::new(), then: Then::Stay };
    conn.on_effect(Millis(0), ToClient::Replies(replies));
    let mut counts = Vec::new();
    while conn.has_answers() || counts.len() < 4 {
        counts.push(conn.take_bytes().len() / (101 << 10));
    }
    assert_eq!(counts, [3, 3, 3, 1], "the third makes it 256 KiB");
}

#[test]
fn a_reply_that_is_late_takes_only_the_events_of_its_state_along() {
    // The tree is ahead of what the connection was told: the mailbox holds an event of a later txn.
    let mut alone = Alone::new();
    let service = alone.replica.service();
    let mut conn = Conn::new(Millis(0), ConnId(77), IpAddr::V4(Ipv4Addr::LOCALHOST), service);
    conn.on_frame(Millis(0), connect(10_000, SessionId::NONE, &[]));
    let mut effects = Vec::new();
    let mut feed = |alone: &mut Alone, conn: &mut Conn| {
        for event in conn.take_events() {
            let mut queue = VecDeque::from([event]);
            while let Some(event) = queue.pop_front() {
                let asked: Vec<Effect> = alone.replica.step(alone.now, event).collect();
                for effect in asked {
                    match effect {
                        Effect::Write(seq, _) => queue.push_back(Event::Synced(seq)),
                        Effect::Client(ConnId(77), what) => effects.push(what),
                        Effect::Notify(zxid, ids) if ids.contains(&ConnId(77)) => {
                            effects.push(ToClient::Notify(zxid));
                        }
                        _ => {}
                    }
                }
            }
        }
        std::mem::take(&mut effects)
    };
    for effect in feed(&mut alone, &mut conn) {
        conn.on_effect(Millis(0), effect);
    }
    conn.on_frame(Millis(0), read(1, Op::Exists, "/n", Watch::Yes));
    conn.on_frame(Millis(0), create(2, "/m", 0));
    let late = feed(&mut alone, &mut conn);
    let other = alone.client();
    alone.ask(other, create(1, "/n", 0));
    conn.take_bytes();
    for effect in late {
        conn.on_effect(Millis(0), effect);
    }
    let mut bytes = Reader::new(conn.take_bytes().freeze());
    let reply = Frame::decode(bytes.buffer("frame").expect("whole").expect("a frame"));
    assert_eq!((reply.xid, reply.err, bytes.remaining()), (2, 0, 0));
    conn.on_frame(Millis(0), bare(3, Op::Ping));
    let mut bytes = Reader::new(conn.take_bytes().freeze());
    let event = Frame::decode(bytes.buffer("frame").expect("whole").expect("a frame"));
    assert_eq!(event.event(), Some((CREATED, "/n".to_owned())));
}

#[test]
fn one_segment_of_many_reads_and_writes_is_answered_in_order() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    let requests = (0..2_000).map(|xid| match xid % 7 {
        3 => set_data(xid, "/n", b"x", -1),
        _ => read(xid, Op::GetData, "/n", Watch::No),
    });
    alone.frames(id, requests);
    let frames = alone.replies(id);
    assert!(frames.iter().map(|frame| frame.xid).eq(0..2_000));
    assert!(frames.is_sorted_by_key(|frame| frame.zxid));
    assert_eq!(events(&frames), []);
}
