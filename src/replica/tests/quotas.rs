//! Quotas that are enforced: which writes are refused, and what is told of it.

use super::*;
use crate::tree::{LimitKind, Measure};

const BAD_VERSION: i32 = -103;
const QUOTA_EXCEEDED: i32 = -125;

fn create_of(path: &str, data: &str) -> Bytes {
    request(1, Op::Create, |writer| {
        writer.string(path).buffer(Some(data.as_bytes()));
        Acl::encode_list(&open_acl(), writer);
        writer.i32(0);
    })
}

/// `/a` of 5 bytes with a quota.
fn limited(settings: Settings, limits: &str) -> (Alone, ConnId) {
    let mut alone = Alone::with(settings, Recovered { may_vote: true, ..Recovered::default() });
    let id = alone.client();
    for (path, data) in [
        ("/a", "12345"),
        ("/zookeeper/quota/a", ""),
        ("/zookeeper/quota/a/zookeeper_limits", limits),
        ("/zookeeper/quota/a/zookeeper_stats", "count=0,bytes=0"),
    ] {
        assert_eq!(alone.err(id, create_of(path, data)), 0, "{path}");
    }
    (alone, id)
}

fn stats(alone: &mut Alone, id: ConnId) -> String {
    let frame = alone.one(id, read(1, Op::GetData, "/zookeeper/quota/a/zookeeper_stats", Watch::No));
    let data = Reader::new(frame.body).buffer("data").expect("whole").expect("no null");
    String::from_utf8(data.to_vec()).expect("text")
}

#[test]
fn a_write_beyond_a_hard_limit_is_refused_and_takes_a_zxid() {
    let (mut alone, id) = limited(settings(), "count=-1,bytes=-1=;byteHardLimit=8;countHardLimit=3");
    assert_eq!(alone.err(id, create_of("/a/b", "678")), 0);
    let zxid = alone.zxid().0;
    let frame = alone.one(id, create_of("/a/c", "9"));
    assert_eq!((frame.err, frame.zxid), (QUOTA_EXCEEDED, zxid + 1));
    assert_eq!(alone.err(id, set_data(1, "/a/b", b"6789", 77)), QUOTA_EXCEEDED, "it beats a wrong version");
    assert_eq!(alone.err(id, set_data(1, "/a/b", b"xyz", 77)), BAD_VERSION, "nothing is added");
    assert_eq!(alone.err(id, create_of("/a/c", "")), 0);
    assert_eq!(alone.err(id, create_of("/a/d", "")), QUOTA_EXCEEDED);
    assert_eq!(alone.err(id, create_of("/b", "far more than eight bytes")), 0);
    assert_eq!(stats(&mut alone, id), "count=3,bytes=8");
    let limits: Vec<_> = alone.passed.iter().map(|one| (one.measure, one.limit, one.amount)).collect();
    assert_eq!(limits, [(Measure::Bytes, 8, 9), (Measure::Bytes, 8, 9), (Measure::Count, 3, 4)]);
    assert_eq!(alone.replica.inspect().quota_refusals, BTreeMap::from([("a".to_owned(), 3)]));
}

#[test]
fn a_soft_limit_is_told_of_and_nothing_more() {
    let (mut alone, id) = limited(settings(), "count=1,bytes=6");
    assert_eq!(alone.err(id, create_of("/a/b", "67")), 0);
    let kinds: Vec<_> = alone.passed.iter().map(|one| (one.measure, one.limit_kind)).collect();
    assert_eq!(kinds, [(Measure::Count, LimitKind::Soft), (Measure::Bytes, LimitKind::Soft)]);
    assert_eq!(alone.replica.inspect().quota_refusals, BTreeMap::new());
}

#[test]
fn quotas_that_are_not_enforced_are_counted_all_the_same() {
    let (mut alone, id) =
        limited(Settings { quotas: Switch::Off, ..settings() }, "count=-1,bytes=-1=;countHardLimit=1");
    assert_eq!(alone.err(id, create_of("/a/b", "678")), 0);
    assert_eq!((stats(&mut alone, id).as_str(), alone.passed.len()), ("count=2,bytes=8", 0));
}

#[test]
fn what_is_in_flight_does_not_count_as_in_zookeeper() {
    let (mut alone, id) = limited(settings(), "count=-1,bytes=-1=;byteHardLimit=8;countHardLimit=2");
    let ops = ["/a/b", "/a/c"].map(|path| (Op::Create, body(&create_of(path, ""))));
    let frame = alone.one(id, multi(1, &ops));
    assert_eq!((frame.err, stats(&mut alone, id).as_str()), (0, "count=3,bytes=5"));
    assert_eq!(failures(&alone.one(id, multi(1, &ops[..1]))), [-110]);
    let ops = [(Op::Create, body(&create_of("/a/d", ""))), (Op::Delete, body(&delete(1, "/a/b", -1)))];
    assert_eq!(failures(&alone.one(id, multi(1, &ops))), [QUOTA_EXCEEDED, -2]);
    // The size before is the one in flight: 5 bytes more than none, then 5 more than 10.
    alone.disk = Disk::Held;
    alone.frames(id, [set_data(1, "/a/b", b"123", -1), set_data(2, "/a/b", b"1234567", -1)]);
    (0..2).for_each(|_| alone.sync());
    let errs: Vec<i32> = alone.replies(id).iter().map(|frame| frame.err).collect();
    assert_eq!(errs, [0, QUOTA_EXCEEDED], "5 applied and 4 more, not 7");
}

#[test]
fn limits_that_cannot_be_read_fail_every_write_below() {
    let (mut alone, id) = limited(settings(), "nonsense");
    assert_eq!(alone.err(id, create_of("/a/b", "")), -5);
    assert_eq!(alone.one(id, multi(1, &[(Op::Create, body(&create_of("/a/b", "")))])).err, -5);
    assert_eq!(alone.err(id, set_data(1, "/zookeeper/quota/a/zookeeper_limits", b"count=9", -1)), 0);
    assert_eq!(alone.err(id, create_of("/a/b", "")), 0);
}
