//! The order of checks of every write, and what a write that fails leaves behind: nothing but a zxid.

use super::*;

const OK: i32 = 0;
const MARSHALLING: i32 = -5;
const UNIMPLEMENTED: i32 = -6;
const BAD_ARGUMENTS: i32 = -8;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN: i32 = -108;
const NODE_EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const INVALID_ACL: i32 = -114;

/// Sends a write, expects its error, and a zxid of its own.
#[track_caller]
fn is(alone: &mut Alone, id: ConnId, request: Bytes, err: i32) {
    let before = alone.zxid().0;
    let frame = alone.one(id, request.clone());
    assert_eq!((frame.err, frame.zxid), (err, before + 1), "{request:?}");
}

fn create_acl(path: &str, flags: i32, acl: &[Acl]) -> Bytes {
    create_with(1, Op::Create, path, flags, acl)
}

fn create_ttl(path: &str, flags: i32, ttl: i64) -> Bytes {
    request(1, Op::CreateTtl, |writer| {
        write_create(writer, path, flags, &open_acl());
        writer.i64(ttl);
    })
}

/// A client beside `/open`, `/locked` (nothing allowed but ADMIN for the client's address), `/ephemeral`.
fn prepared() -> (Alone, ConnId) {
    let mut alone = Alone::new();
    let id = alone.client();
    let locked = acl(16, "ip", "127.0.0.1");
    is(&mut alone, id, create(1, "/open", 0), OK);
    is(&mut alone, id, create(1, "/open/child", 0), OK);
    is(&mut alone, id, create(1, "/locked", 0), OK);
    is(&mut alone, id, create(1, "/locked/child", 0), OK);
    is(&mut alone, id, set_acl(1, "/locked", &locked, -1), OK);
    is(&mut alone, id, create(1, "/ephemeral", 1), OK);
    (alone, id)
}

#[test]
fn a_create_reports_the_first_of_several_faults() {
    let (mut alone, id) = prepared();
    let none = Vec::new();
    let null_path = request(1, Op::Create, |writer| {
        writer.buffer(None).buffer(None);
        Acl::encode_list(&none, writer);
        writer.i32(0);
    });
    for (request, err) in [
        // Flags before the path, the path before the ACL, the ACL before the parent.
        (create(1, "nonsense", 7), BAD_ARGUMENTS),
        (create(1, "/open/new", -1), BAD_ARGUMENTS),
        (null_path, MARSHALLING),
        (create_acl("nonsense", 0, &none), BAD_ARGUMENTS),
        (create_acl("/a\0", 0, &none), BAD_ARGUMENTS),
        (create_acl("/missing/new", 0, &none), INVALID_ACL),
        (create_acl("/open/new", 0, &acl(31, "host", "x")), INVALID_ACL),
        // The parent before the rest of the path.
        (create(1, "/missing/", 0), NO_NODE),
        (create(1, "/missing/..", 0), NO_NODE),
        (create(1, "/open/", 0), BAD_ARGUMENTS),
        (create(1, "/open/..", 0), BAD_ARGUMENTS),
        (create(1, "a/b", 0), NO_NODE),
        // The permission before the rest of the path, and before whether the node is there.
        (create(1, "/locked/", 0), NO_AUTH),
        (create(1, "/locked/child", 0), NO_AUTH),
        (create(1, "/open/child", 0), NODE_EXISTS),
        (create(1, "/", 0), NODE_EXISTS),
        (create(1, "/ephemeral/new", 0), NO_CHILDREN),
        (create(1, "/ephemeral/", 0), BAD_ARGUMENTS),
    ] {
        is(&mut alone, id, request, err);
    }
}

#[test]
fn a_time_to_live_is_checked_before_the_path() {
    let (mut alone, id) = prepared();
    for (request, err) in [
        (create(1, "/ttl", 5), BAD_ARGUMENTS),
        (create_with(1, Op::Create2, "/ttl", 6, &open_acl()), BAD_ARGUMENTS),
        (create_ttl("nonsense", 5, 0), BAD_ARGUMENTS),
        (create_ttl("/ttl", 5, 1 << 40), BAD_ARGUMENTS),
        (create_ttl("/ttl", 0, 5), BAD_ARGUMENTS),
        (create_ttl("/ttl", 0, -5), BAD_ARGUMENTS),
        (create_ttl("/ttl", 5, (1 << 40) - 1), OK),
    ] {
        is(&mut alone, id, request, err);
    }
    let stat = alone.one(id, read(1, Op::Exists, "/ttl", Watch::No)).stat();
    assert_eq!(stat.ephemeral_owner, 0, "the owner of a TTL node is hidden");
}

#[test]
fn without_extended_types_a_time_to_live_is_not_implemented_and_closes_nothing() {
    let plain = Settings { ttl_nodes: Switch::Off, ..settings() };
    let mut alone = Alone::with(plain, Recovered::default());
    let id = alone.client();
    is(&mut alone, id, create_ttl("/ttl", 5, 0), UNIMPLEMENTED);
    is(&mut alone, id, create(1, "/ttl", 6), UNIMPLEMENTED);
    assert_eq!(alone.closed(id), None);
}

#[test]
fn the_operation_decides_the_kind_of_node_where_the_flags_say_something_else() {
    let (mut alone, id) = prepared();
    let container = |path: &str, flags| create_with(1, Op::CreateContainer, path, flags, &open_acl());
    is(&mut alone, id, container("/c", 4), OK);
    is(&mut alone, id, container("/e", 1), OK);
    is(&mut alone, id, create(1, "/p", 4), OK);
    for (path, is_container) in [("/c", true), ("/e", true), ("/p", false)] {
        is(&mut alone, id, create(1, &format!("{path}/child"), 0), OK);
        is(&mut alone, id, delete(1, &format!("{path}/child"), -1), OK);
        // Longer than the reaper's round, and not so long that the session expires.
        for _ in 0..13 {
            alone.wait(5_000);
            assert_eq!(alone.err(id, bare(1, Op::Ping)), OK);
        }
        let found = alone.err(id, read(1, Op::Exists, path, Watch::No));
        assert_eq!(found, if is_container { NO_NODE } else { OK }, "{path}");
    }
}

#[test]
fn a_delete_reports_the_first_of_several_faults() {
    let (mut alone, id) = prepared();
    for (request, err) in [
        (delete(1, "nonsense", -1), BAD_ARGUMENTS),
        (delete(1, "/", -1), BAD_ARGUMENTS),
        (delete(1, "/zookeeper", -1), BAD_ARGUMENTS),
        (delete(1, "/zookeeper/quota", -1), BAD_ARGUMENTS),
        (delete(1, "/zookeeper/config", -1), BAD_ARGUMENTS),
        (delete(1, "/missing/child", -1), NO_NODE),
        (delete(1, "/locked/missing", -1), NO_AUTH),
        (delete(1, "/open/missing", -1), NO_NODE),
        (delete(1, "/open/", -1), NO_NODE),
        (delete(1, "/open", 7), BAD_VERSION),
        (delete(1, "/open", -2), BAD_VERSION),
        (delete(1, "/open", -1), NOT_EMPTY),
        (delete(1, "/open/child", 0), OK),
        (delete(1, "/open", 0), OK),
    ] {
        is(&mut alone, id, request, err);
    }
}

#[test]
fn set_data_and_set_acl_report_the_first_of_several_faults() {
    let (mut alone, id) = prepared();
    let none = Vec::new();
    for (request, err) in [
        (set_data(1, "/open/", b"", 7), BAD_ARGUMENTS),
        (set_data(1, "", b"", 7), BAD_ARGUMENTS),
        (set_data(1, "/missing", b"", 7), NO_NODE),
        (set_data(1, "/locked", b"", 7), NO_AUTH),
        (set_data(1, "/open", b"", 7), BAD_VERSION),
        (set_data(1, "/open", b"x", 0), OK),
        (set_data(1, "/open", b"x", 0), BAD_VERSION),
        (set_acl(1, "/open/..", &none, 7), BAD_ARGUMENTS),
        (set_acl(1, "/missing", &none, 7), INVALID_ACL),
        (set_acl(1, "/missing", &open_acl(), 7), NO_NODE),
        (set_acl(1, "/zookeeper/config", &open_acl(), 7), NO_AUTH),
        (set_acl(1, "/locked", &open_acl(), 7), BAD_VERSION),
        // Compared with the ACL's version, not with the data's.
        (set_acl(1, "/open", &open_acl(), 1), BAD_VERSION),
        (set_acl(1, "/open", &open_acl(), 0), OK),
    ] {
        is(&mut alone, id, request, err);
    }
}

#[test]
fn reconfig_is_refused_where_it_is_off_and_not_implemented_alone() {
    let reconfig = || {
        request(1, Op::Reconfig, |writer| {
            writer.buffer(None).buffer(None).buffer(None).i64(-1);
        })
    };
    let mut alone = Alone::new();
    let id = alone.client();
    is(&mut alone, id, reconfig(), -123);
    let mut on = settings();
    on.zab.reconfig = zab::Reconfig::Enabled;
    let mut alone = Alone::with(on, Recovered::default());
    let id = alone.client();
    is(&mut alone, id, reconfig(), UNIMPLEMENTED);
    assert_eq!(alone.closed(id), None);
}

#[test]
fn a_body_that_cannot_be_read_takes_no_zxid() {
    let (mut alone, id) = prepared();
    let before = alone.zxid().0;
    let frame = alone.one(id, request(9, Op::Create, |_| {}));
    assert_eq!((frame.xid, frame.zxid, frame.err), (9, before, MARSHALLING));
    assert_eq!((alone.zxid().0, alone.closed(id)), (before, None));
    // But for a multi.
    is(&mut alone, id, request(9, Op::Multi, |_| {}), MARSHALLING);
}

#[test]
fn check_stands_in_a_multi_only_and_needs_a_readable_node() {
    let (mut alone, id) = prepared();
    let check = |path: &str, version| {
        request(1, Op::Check, |writer| {
            writer.string(path).i32(version);
        })
    };
    for (path, version, err) in [
        ("/open/", -1, BAD_ARGUMENTS),
        ("/missing", -1, NO_NODE),
        ("/locked", -1, NO_AUTH),
        ("/open", 3, BAD_VERSION),
    ] {
        let request = multi(1, &[(Op::Check, body(&check(path, version)))]);
        let frame = alone.one(id, request);
        assert_eq!((frame.err, failures(&frame)), (0, vec![err]), "{path}");
    }
    let frame = alone.one(id, check("/open", -1));
    assert_eq!((frame.zxid, frame.err), (-1, UNIMPLEMENTED));
    assert_eq!(alone.closed(id), Some(Closing::Orderly));
}

#[test]
fn the_operations_of_a_multi_see_each_other_and_share_one_zxid() {
    let (mut alone, id) = prepared();
    let zxid = alone.zxid().0 + 1;
    let ops = [
        (Op::Create, body(&create(1, "/m", 0))),
        (Op::Create2, body(&create(1, "/m/n-", 2))),
        (Op::SetData, body(&set_data(1, "/m", b"new", 0))),
        (Op::Check, body(&delete(1, "/m", 1))),
        (Op::Delete, body(&delete(1, "/m/n-0000000000", -1))),
    ];
    let frame = alone.one(id, multi(1, &ops));
    assert_eq!((frame.err, frame.zxid), (0, zxid));
    let mut reader = Reader::new(frame.body.clone());
    let header = |reader: &mut Reader| (reader.i32("type"), reader.bool("done"), reader.i32("err"));
    assert_eq!(header(&mut reader), (Ok(1), Ok(false), Ok(0)));
    assert_eq!(reader.string("path"), Ok(Some("/m".to_owned())));
    assert_eq!(header(&mut reader), (Ok(15), Ok(false), Ok(0)));
    assert_eq!(reader.string("path"), Ok(Some("/m/n-0000000000".to_owned())));
    assert_eq!(Stat::decode(&mut reader).map(|stat| stat.czxid), Ok(Zxid(zxid)));
    assert_eq!(header(&mut reader), (Ok(5), Ok(false), Ok(0)));
    // The stat as it is after this operation, not after all.
    let stat = Stat::decode(&mut reader).expect("a stat");
    assert_eq!((stat.version, stat.num_children, stat.mzxid), (1, 1, Zxid(zxid)));
    assert_eq!(header(&mut reader), (Ok(13), Ok(false), Ok(0)));
    assert_eq!(header(&mut reader), (Ok(2), Ok(false), Ok(0)));
    assert_eq!(header(&mut reader), (Ok(-1), Ok(true), Ok(-1)));
    assert_eq!(reader.remaining(), 0);
}

#[test]
fn a_multi_that_fails_leaves_nothing_behind() {
    let (mut alone, id) = prepared();
    let ops = [
        (Op::Create, body(&create(1, "/open/n-", 2))),
        (Op::Create, body(&create(1, "/missing/x", 0))),
        (Op::Delete, body(&delete(1, "/open", -1))),
    ];
    let zxid = alone.zxid().0 + 1;
    let frame = alone.one(id, multi(1, &ops));
    assert_eq!((frame.err, frame.zxid, failures(&frame)), (0, zxid, vec![0, NO_NODE, -2]));
    // The log holds the operation before the failing one as it was decided.
    let txn = last_txn(&alone);
    assert_eq!(txn.digest, Some(alone.replica.inspect().digest));
    let frame = alone.one(id, create(1, "/open/n-", 2));
    assert_eq!(frame.path(), "/open/n-0000000001", "the counter went back");
    let frame = alone.one(id, multi(1, &[]));
    assert_eq!((frame.err, failures(&frame)), (0, vec![]));
}

#[test]
fn sequence_numbers_count_every_child_ever_created() {
    let mut alone = Alone::new();
    let id = alone.client();
    let mut made = |request: Bytes| alone.one(id, request).path();
    assert_eq!(made(create(1, "/q", 0)), "/q");
    assert_eq!(made(create(1, "/q/a", 0)), "/q/a");
    assert_eq!(made(create(1, "/q/b", 0)), "/q/b");
    assert_eq!(made(create(1, "/q/n-", 2)), "/q/n-0000000002");
    assert_eq!(made(create(1, "/q/", 3)), "/q/0000000003");
    assert_eq!(made(create(1, "/q/.", 2)), "/q/.0000000004");
    assert_eq!(made(create(1, "/", 2)), "/0000000001");
    assert_eq!(alone.err(id, delete(1, "/q/a", -1)), OK);
    assert_eq!(alone.err(id, create(1, "/q/b", 0)), NODE_EXISTS);
    assert_eq!(alone.one(id, create(1, "/q/n-", 2)).path(), "/q/n-0000000005");
}

#[test]
fn pipelined_writes_see_those_before_them_though_nothing_is_applied() {
    let mut alone = Alone::new();
    let id = alone.client();
    alone.disk = Disk::Held;
    let requests = [
        create(1, "/q", 0),
        create(2, "/q/n-", 2),
        create(3, "/q/n-", 2),
        create(4, "/q/n-", 2),
        delete(5, "/q/n-0000000001", -1),
        set_data(6, "/q", b"x", 0),
        set_data(7, "/q", b"x", 0),
        delete(8, "/q/n-0000000001", -1),
        create(9, "/q/n-", 2),
    ];
    let count = requests.len();
    alone.frames(id, requests);
    assert_eq!(alone.replies(id), [], "nothing is durable");
    (0..count).for_each(|_| alone.sync());
    let frames = alone.replies(id);
    let errs: Vec<i32> = frames.iter().map(|frame| frame.err).collect();
    assert_eq!(errs, [0, 0, 0, 0, 0, 0, BAD_VERSION, NO_NODE, 0]);
    assert_eq!(frames[3].path(), "/q/n-0000000002");
    assert_eq!(frames[8].path(), "/q/n-0000000003");
}

#[test]
fn a_parent_changes_only_where_its_children_are_counted() {
    let mut alone = Alone::new();
    let id = alone.client();
    let parent = alone.one(id, create_with(1, Op::Create2, "/p", 0, &open_acl())).stat();
    let stat = |alone: &mut Alone| alone.one(id, read(1, Op::Exists, "/p", Watch::No)).stat();
    let created = alone.one(id, create(1, "/p/a", 0)).zxid;
    let with_child = stat(&mut alone);
    let expected = Stat { cversion: 1, num_children: 1, pzxid: Zxid(created), ..parent };
    assert_eq!(with_child, expected);
    let deleted = alone.one(id, delete(1, "/p/a", -1)).zxid;
    let without = stat(&mut alone);
    assert_eq!(without, Stat { cversion: 2, num_children: 0, pzxid: Zxid(deleted), ..expected });
    alone.now.wall_ms += 5;
    let set = alone.one(id, set_data(1, "/p", b"xyz", -1));
    let changed =
        Stat { mzxid: Zxid(set.zxid), mtime: without.mtime + 5, version: 1, data_length: 3, ..without };
    assert_eq!(set.stat(), changed);
    let acl = alone.one(id, set_acl(1, "/p", &open_acl(), -1));
    assert_eq!(acl.stat(), Stat { aversion: 1, ..changed });
}

#[test]
fn a_txn_that_would_be_too_large_for_any_reader_is_refused_before_it_is_one() {
    let mut alone = Alone::new();
    let id = alone.client();
    let large = vec![7; 600_000];
    let ops: Vec<_> = (0..4).map(|_| (Op::SetData, body(&set_data(1, "/", &large, -1)))).collect();
    is(&mut alone, id, multi(1, &ops), MARSHALLING);
    is(&mut alone, id, set_data(1, "/", &large, -1), OK);
    assert!(alone.txns.iter().all(|(_, txn)| txn.len() < 2 * 1_048_575));
}

#[test]
fn ephemeral_nodes_that_no_txn_could_close_are_refused() {
    let mut alone = Alone::new();
    let id = alone.client();
    let name = "x".repeat(1_000);
    let mut errs = (0..1_100).map(|_| alone.err(id, create(1, &format!("/{name}"), 3)));
    assert_eq!(errs.find(|err| *err != OK), Some(MARSHALLING));
    let frame = alone.one(id, bare(1, Op::CloseSession));
    assert_eq!(frame.err, OK);
    assert_eq!(alone.replica.inspect().ephemeral_count, 0);
}
