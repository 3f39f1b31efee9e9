//! What clients depend on and no other test here shows; `tests/traps.txt` has the whole list.

use super::*;
use crate::tree::{SetDataTxn, TxnBody};

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const INVALID_ACL: i32 = -114;
const BAD_ARGUMENTS: i32 = -8;

fn named(op: Op, text: &str) -> Bytes {
    request(1, op, |writer| {
        writer.string(text);
    })
}

/// The names that a body begins with.
fn names(frame: &Frame) -> Vec<String> {
    let mut reader = Reader::new(frame.body.clone());
    let count = reader.i32("count").expect("a count");
    (0..count).map(|_| reader.string("name").expect("a name").expect("no null")).collect()
}

fn stat(alone: &mut Alone, id: ConnId, path: &str) -> Stat {
    alone.one(id, read(1, Op::Exists, path, Watch::No)).stat()
}

/// What `/zookeeper` and `/` look like to a client with nothing else.
#[test]
fn the_root_lists_zookeeper_and_a_leaf_lists_nothing() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(names(&alone.one(id, read(1, Op::GetChildren, "/", Watch::No))), ["zookeeper"]);
    let leaf = alone.one(id, read(1, Op::GetChildren, "/zookeeper/quota", Watch::No));
    assert_eq!(leaf.body[..], [0; 4], "an empty list, not a null one");
    for path in ["/zookeeper/mine", "/zookeeper/quota/mine"] {
        assert_eq!(alone.err(id, create(1, path, 0)), 0, "{path}");
    }
    let both = alone.one(id, read(1, Op::GetChildren2, "/zookeeper", Watch::No));
    assert_eq!(names(&both).len(), 3);
    assert_eq!(both.stat().num_children, 3, "list and stat are of one instant");
}

#[test]
fn a_connect_request_of_any_version_and_without_a_password_opens_a_session() {
    let mut alone = Alone::new();
    let id = alone.accept();
    let mut writer = Writer::new();
    writer.i32(77).i64(0).i32(10_000).i64(0).buffer(None).bool(false);
    alone.frames(id, [writer.finish()]);
    let response = alone.take(id);
    assert_eq!((response.len(), &response[4..8]), (41, &[0; 4][..]), "the version in the answer is 0");
}

#[test]
fn an_xid_is_echoed_whatever_it_is_but_for_a_ping() {
    let mut alone = Alone::new();
    let id = alone.client();
    for xid in [-3, 0, i32::MAX, -8, -100] {
        assert_eq!(alone.one(id, read(xid, Op::Exists, "/", Watch::No)).xid, xid);
        assert_eq!(alone.one(id, set_data(xid, "/", b"", -1)).xid, xid);
    }
    let ping = alone.one(id, bare(77, Op::Ping));
    assert_eq!((ping.xid, ping.zxid, ping.err, ping.body.len()), (-2, alone.zxid().0, 0, 0));
}

#[test]
fn credentials_do_not_keep_a_session_alive() {
    let mut alone = Alone::new();
    let id = alone.accept();
    alone.frames(id, [connect(4_000, SessionId::NONE, &[])]);
    for _ in 0..8 {
        alone.wait(1_000);
        if alone.closed(id).is_some() {
            return;
        }
        alone.ask(id, auth("a:b"));
    }
    panic!("the session lives without a request");
}

#[test]
fn an_error_has_no_body_and_some_answers_never_have_one() {
    let mut alone = Alone::new();
    let id = alone.client();
    for request in [
        create(1, "/no/n", 0),
        delete(1, "/no", -1),
        set_data(1, "/no", b"", -1),
        set_acl(1, "/no", &open_acl(), -1),
        read(1, Op::Exists, "/no", Watch::No),
        read(1, Op::GetData, "/no", Watch::No),
        read(1, Op::GetChildren, "/no", Watch::No),
        read(1, Op::GetChildren2, "/no", Watch::No),
        named(Op::GetAcl, "/no"),
        named(Op::GetAllChildrenNumber, "/no"),
    ] {
        let frame = alone.one(id, request);
        assert_eq!((frame.err, frame.body.len()), (NO_NODE, 0));
    }
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    let watched = |op: Op| {
        request(1, op, |writer| {
            writer.string("/n").i32(2);
        })
    };
    let again = |op: Op, lists: usize| {
        request(1, op, |writer| {
            writer.i64(0);
            for _ in 0..lists {
                writer.count(0);
            }
        })
    };
    assert_eq!(alone.err(id, read(1, Op::GetData, "/n", Watch::Yes)), 0);
    for request in [
        watched(Op::CheckWatches),
        watched(Op::RemoveWatches),
        again(Op::SetWatches, 3),
        again(Op::SetWatches, 3),
        again(Op::SetWatches2, 5),
        auth("a:b"),
        bare(1, Op::Ping),
        delete(1, "/n", -1),
        bare(1, Op::CloseSession),
    ] {
        let frame = alone.one(id, request.clone());
        assert_eq!((frame.err, frame.body.len()), (0, 0), "{request:?}");
    }
}

#[test]
fn a_new_node_carries_the_zxid_of_its_reply_everywhere() {
    let mut alone = Alone::new();
    let id = alone.client();
    let frame = alone.one(id, create_with(1, Op::Create2, "/n", 0, &open_acl()));
    let made = frame.stat();
    let zxid = Zxid(frame.zxid);
    assert_eq!((made.czxid, made.mzxid, made.pzxid), (zxid, zxid, zxid));
    assert_eq!((made.version, made.cversion, made.aversion, made.ctime), (0, 0, 0, made.mtime));
    assert_eq!(stat(&mut alone, id, "/n"), made);
    let set = alone.one(id, set_data(1, "/n", b"x", -1));
    assert_eq!(set.stat().mzxid, Zxid(set.zxid));
}

#[test]
fn each_kind_of_create_answers_as_its_client_expects() {
    let mut alone = Alone::new();
    let id = alone.client();
    let path_bytes = |path: &str| 4 + path.len();
    let plain = alone.one(id, create(1, "/plain", 0));
    assert_eq!(plain.body.len(), path_bytes("/plain"));
    let ttl = request(1, Op::CreateTtl, |writer| {
        write_create(writer, "/ttl", 5, &open_acl());
        writer.i64(1_000);
    });
    for (request, path) in [
        (create_with(1, Op::Create2, "/stat", 0, &open_acl()), "/stat"),
        (create_with(1, Op::CreateContainer, "/box", 4, &open_acl()), "/box"),
        (ttl, "/ttl"),
    ] {
        let frame = alone.one(id, request);
        assert_eq!((frame.err, frame.path(), frame.body.len()), (0, path.to_owned(), path_bytes(path) + 68));
        assert_eq!(frame.stat().ephemeral_owner, 0);
    }
}

#[test]
fn a_ttl_node_goes_once_it_is_old_and_has_no_children() {
    let mut alone = Alone::new();
    let id = alone.client();
    for path in ["/parent", "/old", "/changed"] {
        let ttl = request(1, Op::CreateTtl, |writer| {
            write_create(writer, path, 5, &open_acl());
            writer.i64(100_000);
        });
        assert_eq!(alone.err(id, ttl), 0);
    }
    assert_eq!(alone.err(id, create_with(1, Op::CreateContainer, "/unused", 4, &open_acl())), 0);
    assert_eq!(alone.err(id, create(1, "/parent/child", 0)), 0);
    assert_eq!(alone.err(id, read(1, Op::Exists, "/old", Watch::Yes)), 0);
    let mut told = Vec::new();
    for second in 0..125 {
        alone.wait(1_000);
        if second == 60 {
            assert_eq!(alone.err(id, set_data(1, "/changed", b"", -1)), 0);
        }
        told.extend(events(&alone.ask(id, bare(1, Op::Ping))));
    }
    assert_eq!(told, [(2, "/old".to_owned())], "it is told of like any deletion");
    for (path, err) in [("/old", NO_NODE), ("/parent", 0), ("/changed", 0), ("/unused", 0)] {
        assert_eq!(alone.err(id, read(1, Op::Exists, path, Watch::No)), err, "{path}");
    }
}

#[test]
fn only_the_parents_permissions_count_for_its_children() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    let closed = acl(0, "world", "anyone");
    assert_eq!(alone.err(other, create(1, "/top", 0)), 0);
    assert_eq!(alone.err(other, create(1, "/top/open", 0)), 0);
    assert_eq!(alone.err(other, create_with(1, Op::Create, "/top/open/shut", 0, &closed)), 0);
    assert_eq!(alone.err(other, set_acl(1, "/top", &acl(16, "ip", "127.0.0.1"), -1)), 0);
    // Nothing is inherited from `/top`, and the node's own list does not protect it from going.
    assert_eq!(alone.err(id, create(1, "/top/open/new", 0)), 0);
    assert_eq!(alone.err(id, delete(1, "/top/open/shut", -1)), 0);
    let list = acl(1 << 9, "world", "anyone");
    assert_eq!(
        alone.err(id, create_with(1, Op::Create, "/bits", 0, &list)),
        0,
        "permissions are not checked"
    );
}

#[test]
fn a_list_that_is_null_or_stands_for_nobody_is_refused() {
    let mut alone = Alone::new();
    let id = alone.client();
    let null = request(1, Op::Create, |writer| {
        writer.string("/n").buffer(None).i32(-1).i32(0);
    });
    assert_eq!(alone.err(id, null), INVALID_ACL);
    assert_eq!(alone.err(id, create_with(1, Op::Create, "/n", 0, &acl(31, "auth", ""))), INVALID_ACL);
    // Any password is taken: it is another identity.
    for credential in ["bob:one", "bob:two", "eve:x"] {
        assert_eq!(alone.err(id, auth(credential)), 0);
    }
    assert_eq!(alone.err(id, create_with(1, Op::Create, "/n", 0, &acl(31, "auth", ""))), 0);
    let frame = alone.one(id, named(Op::GetAcl, "/n"));
    let list = Acl::decode_list(&mut Reader::new(frame.body)).expect("a list").expect("a list");
    assert_eq!(list.len(), 3, "all identities count, but for the address: {list:?}");
}

#[test]
fn a_version_is_compared_as_it_stands_and_wraps_around() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    assert_eq!(alone.err(id, set_data(1, "/n", b"d", -2)), BAD_VERSION);
    assert_eq!(alone.err(id, read(1, Op::GetData, "/n", Watch::Yes)), 0);
    let frames = alone.ask(id, set_data(1, "/n", b"d", 0));
    assert_eq!(events(&frames), [(3, "/n".to_owned())], "also where the data is what it was");
    assert_eq!(frames[1].stat().version, 1);
    // The same history, with a version at the end of its range.
    let mut txns = alone.txns.clone();
    let (_, last) = txns.last_mut().expect("a txn");
    let mut txn = Txn::decode(last.clone()).expect("a txn");
    let TxnBody::SetData(set) = txn.body else { panic!("the last txn sets data") };
    txn.body = TxnBody::SetData(SetDataTxn { version: i32::MAX, ..set });
    *last = Txn { digest: None, ..txn }.to_bytes();
    let mut alone = Alone::with(settings(), Recovered { txns, may_vote: true, ..Recovered::default() });
    let id = alone.client();
    assert_eq!(stat(&mut alone, id, "/n").version, i32::MAX);
    assert_eq!(alone.one(id, set_data(1, "/n", b"d", i32::MAX)).stat().version, i32::MIN);
}

#[test]
fn ephemeral_nodes_are_listed_for_their_session_by_prefix() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    for (client, path) in [(id, "/a1"), (id, "/a2"), (id, "/b"), (other, "/a3")] {
        assert_eq!(alone.err(client, create(1, path, 1)), 0);
    }
    let mut listed = |prefix: &str| {
        let mut listed = names(&alone.one(id, named(Op::GetEphemerals, prefix)));
        listed.sort();
        listed
    };
    assert_eq!(listed("/a"), ["/a1", "/a2"], "a prefix is text, not a parent");
    assert_eq!(listed("/"), ["/a1", "/a2", "/b"]);
    let number = alone.one(id, named(Op::GetAllChildrenNumber, "/"));
    assert_eq!(number.body[..], 7_i32.to_be_bytes(), "with /zookeeper and what is below it");
}

#[test]
fn the_reads_of_a_multi_stand_each_for_itself() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/n", 0)), 0);
    let reads = request(1, Op::MultiRead, |writer| {
        for (op, path) in [(Op::GetData, "/n"), (Op::GetChildren, "/no"), (Op::GetChildren, "/n")] {
            writer.i32(op.as_wire()).bool(false).i32(-1).string(path).bool(true);
        }
        writer.i32(-1).bool(true).i32(-1);
    });
    let frame = alone.one(id, reads);
    assert_eq!((frame.err, alone.replica.inspect().watch_count), (0, 0), "no watch is left");
    let mut reader = Reader::new(frame.body);
    let header = |reader: &mut Reader| (reader.i32("type"), reader.bool("done"), reader.i32("err"));
    assert_eq!(header(&mut reader), (Ok(4), Ok(false), Ok(0)));
    assert_eq!(reader.buffer("data"), Ok(Some(Bytes::from_static(b"d"))));
    Stat::decode(&mut reader).expect("a stat");
    assert_eq!(header(&mut reader), (Ok(-1), Ok(false), Ok(NO_NODE)));
    assert_eq!(reader.i32("err"), Ok(NO_NODE));
    assert_eq!(header(&mut reader), (Ok(8), Ok(false), Ok(0)));
    assert_eq!(reader.i32("count"), Ok(0));
    assert_eq!(header(&mut reader), (Ok(-1), Ok(true), Ok(-1)));
}

#[test]
fn a_failed_multi_of_a_bad_path_tells_of_it_in_its_result() {
    let mut alone = Alone::new();
    let id = alone.client();
    let frame = alone.one(id, multi(1, &[(Op::Create, body(&create(1, "/a//b", 0)))]));
    assert_eq!(frame.err, 0);
    assert_eq!(failures(&frame), [NO_NODE], "the parent is looked for first");
    let frame = alone.one(id, multi(1, &[(Op::Create, body(&create(1, "/a\u{1}", 0)))]));
    assert_eq!((frame.err, failures(&frame)), (0, vec![BAD_ARGUMENTS]));
}

#[test]
fn credentials_after_a_reconnect_are_answered_by_the_next_frame() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    let other = alone.client();
    assert_eq!(alone.err(other, create(1, "/n", 0)), 0);
    let again = alone.accept();
    let watches = request(-8, Op::SetWatches, |writer| {
        writer.i64(0).count(1).string("/n").count(0).count(0);
    });
    alone.frames(again, [reconnect(session), auth("a:b"), watches.clone(), watches]);
    let bytes = alone.take(again);
    let mut reader = Reader::new(bytes.slice(41..));
    let xids = std::iter::from_fn(|| {
        (reader.remaining() > 0)
            .then(|| Frame::decode(reader.buffer("frame").expect("whole frames").expect("no null")).xid)
    });
    assert_eq!(xids.collect::<Vec<_>>(), [-4, -1, -8, -1, -8], "several setWatches in a row are taken");
}

#[test]
fn a_list_of_children_over_the_clients_limit_is_one_frame() {
    let mut alone = Alone::new();
    let id = alone.client();
    let name = "x".repeat(1_000);
    for number in 0..1_100 {
        assert_eq!(alone.err(id, create(1, &format!("/{name}{number}"), 0)), 0);
    }
    let frame = alone.one(id, read(1, Op::GetChildren, "/", Watch::No));
    assert!(frame.body.len() > 1_048_575, "{}", frame.body.len());
    assert_eq!(names(&frame).len(), 1_101);
}

#[test]
fn events_of_one_create_begin_with_the_node_itself() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(id, read(1, Op::Exists, "/n", Watch::Yes)), NO_NODE);
    assert_eq!(alone.err(id, read(1, Op::GetChildren, "/", Watch::Yes)), 0);
    assert_eq!(alone.err(id, read(1, Op::GetData, "/", Watch::Yes)), 0);
    assert_eq!(alone.err(other, create(1, "/n", 0)), 0);
    assert_eq!(events(&alone.replies(id)), [(1, "/n".to_owned()), (4, "/".to_owned())]);
}
