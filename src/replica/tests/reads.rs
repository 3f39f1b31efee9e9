//! Reads, their checks, and the identities of a connection.

use super::*;

const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;

#[test]
fn a_read_without_permission_or_node_leaves_no_watch_but_exists_on_a_missing_node() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(other, create_with(1, Op::Create, "/locked", 0, &acl(31, "digest", "a:b"))), 0);
    for op in [Op::Exists, Op::GetData, Op::GetChildren, Op::GetChildren2] {
        assert_eq!(alone.err(id, read(1, op, "/locked", Watch::Yes)), NO_AUTH, "{op:?}");
        assert_eq!(alone.err(id, read(1, op, "/missing", Watch::Yes)), NO_NODE, "{op:?}");
    }
    assert_eq!(alone.replica.inspect().watch_count, 1);
    assert_eq!(alone.err(other, create(1, "/missing", 0)), 0);
    assert_eq!(events(&alone.replies(id)), [(1, "/missing".to_owned())]);
}

#[test]
fn reads_take_paths_as_they_are() {
    let mut alone = Alone::new();
    let id = alone.client();
    for path in ["nonsense", "/a/", "//", "/..", "/\u{1}"] {
        for op in [Op::Exists, Op::GetData, Op::GetChildren] {
            assert_eq!(alone.err(id, read(1, op, path, Watch::No)), NO_NODE, "{path:?}");
        }
    }
    assert_eq!(alone.err(id, read(1, Op::GetData, "", Watch::No)), 0, "the empty path is the root");
    assert_eq!(alone.err(id, read(1, Op::Exists, "/a\0", Watch::No)), -8);
    for op in [Op::Exists, Op::GetData, Op::GetChildren, Op::GetChildren2] {
        let null = request(1, op, |writer| {
            writer.buffer(None).bool(false);
        });
        assert_eq!(alone.err(id, null), -5);
    }
}

#[test]
fn null_and_empty_data_stay_different() {
    let mut alone = Alone::new();
    let id = alone.client();
    for (path, data) in [("/null", None), ("/empty", Some(&b""[..]))] {
        let create = request(1, Op::Create, |writer| {
            writer.string(path).buffer(data);
            Acl::encode_list(&open_acl(), writer);
            writer.i32(0);
        });
        assert_eq!(alone.err(id, create), 0);
        let frame = alone.one(id, read(1, Op::GetData, path, Watch::No));
        let got = Reader::new(frame.body.clone()).buffer("data").expect("data");
        assert_eq!(got.as_deref(), data);
        assert_eq!(frame.stat().data_length, 0);
    }
}

#[test]
fn the_fresh_tree_has_the_stats_of_zookeeper() {
    let mut alone = Alone::new();
    let id = alone.client();
    let mut stat = |path: &str| alone.one(id, read(1, Op::Exists, path, Watch::No)).stat();
    assert_eq!((stat("/").cversion, stat("/").num_children), (-1, 1));
    assert_eq!((stat("/zookeeper").cversion, stat("/zookeeper").num_children), (-2, 2));
    assert_eq!(stat("/zookeeper/quota"), Stat::default());
    assert_eq!(stat("/zookeeper/config"), Stat { aversion: -1, ..Stat::default() });
}

#[test]
fn an_acl_is_shown_without_the_secrets_of_others() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(id, auth("bob:pw")), 0);
    let mut list = acl(31, "auth", "");
    list.extend(acl(1, "world", "anyone"));
    assert_eq!(alone.err(id, create_with(1, Op::Create, "/n", 0, &list)), 0);
    let get = |alone: &mut Alone, id| {
        let frame = alone.one(
            id,
            request(1, Op::GetAcl, |writer| {
                writer.string("/n");
            }),
        );
        let list = Acl::decode_list(&mut Reader::new(frame.body.clone())).expect("a list").expect("a list");
        list.into_iter().map(|acl| acl.id.id).collect::<Vec<_>>()
    };
    assert_eq!(get(&mut alone, id), ["bob:ikIaKsbtGweaHnb/jKn7OHqbunM=", "anyone"]);
    assert_eq!(get(&mut alone, other), ["bob:x", "anyone"]);
}

#[test]
fn an_identity_counts_for_what_is_read_after_it() {
    let mut alone = Alone::new();
    let id = alone.client();
    let only_bob = acl(31, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
    assert_eq!(alone.err(id, create_with(1, Op::Create, "/n", 0, &only_bob)), 0);
    let get = |xid| read(xid, Op::GetData, "/n", Watch::No);
    alone.frames(id, [get(1), auth("bob:pw"), get(2)]);
    let errs: Vec<_> = alone.replies(id).iter().map(|frame| (frame.xid, frame.err)).collect();
    assert_eq!(errs, [(1, NO_AUTH), (-4, 0), (2, 0)]);
}

#[test]
fn the_super_user_may_do_everything() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(other, create_with(1, Op::Create, "/n", 0, &acl(0, "world", "anyone"))), 0);
    assert_eq!(alone.err(id, set_data(1, "/n", b"", -1)), NO_AUTH);
    assert_eq!(alone.err(id, auth("super:test")), 0);
    assert_eq!(alone.err(id, set_data(1, "/n", b"", -1)), 0);
    assert_eq!(alone.err(id, read(1, Op::GetData, "/n", Watch::No)), 0);
    let who = alone.one(id, bare(1, Op::WhoAmI));
    let mut reader = Reader::new(who.body.clone());
    let count = reader.i32("count").expect("a count");
    let infos: Vec<_> = (0..count).map(|_| (reader.string("scheme"), reader.string("user"))).collect();
    let pair = |scheme: &str, user: &str| (Ok(Some(scheme.to_owned())), Ok(Some(user.to_owned())));
    // In the order of Apache ZooKeeper's hash table.
    assert_eq!(infos, [pair("super", ""), pair("ip", "127.0.0.1"), pair("digest", "super")]);
}

#[test]
fn a_credential_of_no_scheme_ends_the_connection_after_its_answer() {
    let mut alone = Alone::new();
    let id = alone.client();
    let unknown = request(-4, Op::Auth, |writer| {
        writer.i32(0).string("nosuch").buffer(Some(b"x"));
    });
    alone.frames(id, [unknown, bare(1, Op::Ping)]);
    let frames = alone.replies(id);
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].xid, frames[0].zxid, frames[0].err), (-4, 0, -115));
    assert_eq!(alone.closed(id), Some(Closing::Orderly));
}

#[test]
fn sasl_is_answered_with_a_null_token() {
    let mut alone = Alone::new();
    let id = alone.client();
    let frame = alone.one(
        id,
        request(7, Op::Sasl, |writer| {
            writer.buffer(Some(b""));
        }),
    );
    assert_eq!((frame.xid, frame.zxid, frame.err, &frame.body[..]), (7, 0, 0, &[255; 4][..]));
}

#[test]
fn an_unknown_operation_is_answered_in_its_turn_and_ends_the_connection() {
    let mut alone = Alone::new();
    let id = alone.client();
    alone.disk = Disk::Held;
    let unknown = |xid: i32, op: i32| {
        let mut writer = Writer::new();
        writer.i32(xid).i32(op);
        writer.finish()
    };
    alone.frames(id, [create(1, "/n", 0), unknown(2, 99), create(3, "/o", 0)]);
    assert_eq!(alone.closed(id), None);
    alone.sync();
    let frames = alone.replies(id);
    let heads: Vec<_> = frames.iter().map(|frame| (frame.xid, frame.zxid, frame.err)).collect();
    assert_eq!(heads, [(1, 2, 0), (2, -1, -6)]);
    assert_eq!(alone.closed(id), Some(Closing::Orderly));
    alone.disk = Disk::Instant;
    for op in [0, -1, -10, 10, 13, 20] {
        let id = alone.client();
        assert_eq!(alone.err(id, unknown(2, op)), -6, "{op}");
        assert_eq!(alone.closed(id), Some(Closing::Orderly));
    }
}

#[test]
fn broken_frames_end_the_connection_at_once() {
    for frame in [Bytes::new(), Bytes::from_static(b"1234567"), request(1, Op::Auth, |_| {})] {
        let mut alone = Alone::new();
        let id = alone.client();
        assert_eq!(alone.ask(id, frame), []);
        assert_eq!(alone.closed(id), Some(Closing::Abrupt));
    }
    let mut alone = Alone::new();
    let id = alone.accept();
    alone.frames(id, [Bytes::from_static(&[0; 20])]);
    assert_eq!((alone.take(id).len(), alone.closed(id)), (0, Some(Closing::Abrupt)));
}

#[test]
fn a_connection_takes_no_more_reads_than_fill_a_write() {
    let mut alone = Alone::new();
    let id = alone.client();
    let data = vec![7; 100 << 10];
    let create = request(1, Op::Create, |writer| {
        writer.string("/large").buffer(Some(&data));
        Acl::encode_list(&open_acl(), writer);
        writer.i32(0);
    });
    assert_eq!(alone.err(id, create), 0);
    let frames: Vec<_> = (1..=64).map(|xid| read(xid, Op::GetData, "/large", Watch::No)).collect();
    let mut frames = frames.into_iter();
    let conn = alone.conns.get_mut(&id).expect("a connection");
    let mut left = 64;
    while left > 0 {
        assert!(conn.wants_frames());
        conn.on_frames(Millis(0), &mut frames);
        assert_eq!(left - frames.len(), 3.min(left), "the third reply makes it 256 KiB");
        left = frames.len();
        assert_eq!(conn.wants_frames(), left == 0, "{left}");
        assert!(conn.take_bytes().len() < 4 * (101 << 10));
    }
}

#[test]
fn a_connection_takes_no_more_writes_than_the_loop_may_hold_of_it() {
    let mut alone = Alone::new();
    let id = alone.client();
    let set = |xid| {
        request(xid, Op::SetData, |writer| {
            writer.string("/").buffer(Some(&vec![7; 1 << 20])).i32(-1);
        })
    };
    let conn = alone.conns.get_mut(&id).expect("a connection");
    conn.on_frames(Millis(0), &mut (1..=64).map(set));
    let count = |event: &Event| match event {
        Event::Requests(_, requests) => requests.len(),
        _ => 0,
    };
    let asked: usize = conn.take_events().iter().map(count).sum();
    assert_eq!((asked, conn.wants_frames()), (8, false), "eight are more than 8 MiB");
    let runs = vec![Run { state: Zxid::ZERO, count: 1, bytes: 0 }];
    let replies = Replies { runs, frames: Bytes::new(), then: Then::Stay };
    conn.on_effect(Millis(0), ToClient::Replies(replies));
    assert!(conn.wants_frames());
}

#[test]
fn descendants_are_counted_and_the_root_under_its_other_name_counts_itself() {
    let mut alone = Alone::new();
    let id = alone.client();
    for path in ["/a", "/a/b", "/a/b/c"] {
        assert_eq!(alone.err(id, create(1, path, 0)), 0);
    }
    for (path, expected) in [("/a", 2), ("/a/b/c", 0), ("/", 6), ("", 7)] {
        let count = request(1, Op::GetAllChildrenNumber, |writer| {
            writer.string(path);
        });
        assert_eq!(alone.one(id, count).body, i32::to_be_bytes(expected)[..], "{path:?}");
    }
}

#[test]
fn nobody_watches_a_path_that_is_null() {
    let mut alone = Alone::new();
    let id = alone.client();
    for op in [Op::CheckWatches, Op::RemoveWatches] {
        for kind in 1..=5 {
            let asked = request(1, op, |writer| {
                writer.i32(-1).i32(kind);
            });
            assert_eq!(alone.err(id, asked), -121);
        }
    }
}
