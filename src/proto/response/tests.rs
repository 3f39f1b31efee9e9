//! Golden bytes of the server's side, as observed on an empty standalone server of Apache ZooKeeper.

use super::*;
use crate::proto::record::EventKind;

/// Bytes of hexadecimal text; white space is ignored.
pub fn hex(text: &str) -> Bytes {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

fn reply(header: (i32, i64, i32), response: &Response) -> Bytes {
    let mut writer = Writer::new();
    let (xid, zxid, err) = header;
    encode_reply(ReplyHeader { xid, zxid: Zxid(zxid), err }, response, &mut writer);
    writer.finish()
}

const CTIME: i64 = 0x1a2_04d5_a6b7;

#[test]
fn the_observed_replies_are_written_byte_for_byte() {
    assert_eq!(
        reply((1, 2, 0), &Response::Path(Some("/t".to_owned()))),
        hex("00000016 00000001 0000000000000002 00000000 00000002 2f74")
    );
    let stat = Stat {
        czxid: Zxid(2),
        mzxid: Zxid(2),
        ctime: CTIME,
        mtime: CTIME,
        data_length: 2,
        pzxid: Zxid(2),
        ..Stat::default()
    };
    assert_eq!(
        reply((2, 2, 0), &Response::Data { data: Some(Bytes::from_static(b"hi")), stat }),
        hex("0000005a 00000002 0000000000000002 00000000 00000002 6869
            0000000000000002 0000000000000002 000001a204d5a6b7 000001a204d5a6b7 00000000 00000000 00000000
            0000000000000000 00000002 00000000 0000000000000002")
    );
    assert_eq!(
        reply((3, 2, -101), &Response::Stat(stat)),
        hex("00000010 00000003 0000000000000002 ffffff9b")
    );
    let set = Stat { mzxid: Zxid(3), mtime: 0x1a2_04d5_a6f1, version: 1, ..stat };
    assert_eq!(
        reply((4, 3, 0), &Response::Stat(set)),
        hex("00000054 00000004 0000000000000003 00000000
            0000000000000002 0000000000000003 000001a204d5a6b7 000001a204d5a6f1 00000001 00000000 00000000
            0000000000000000 00000002 00000000 0000000000000002")
    );
    assert_eq!(
        reply((ReplyHeader::PING_XID, 4, 0), &Response::Empty),
        hex("00000010 fffffffe 0000000000000004 00000000")
    );
    let root = Stat { num_children: 2, pzxid: Zxid(2), ..Stat::default() };
    let names = vec!["zookeeper".to_owned(), "t".to_owned()];
    assert_eq!(
        reply((6, 4, 0), &Response::Children { names, stat: root }),
        hex("0000006a 00000006 0000000000000004 00000000 00000002 00000009 7a6f6f6b6565706572 00000001 74
            0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 00000000 00000000
            0000000000000000 00000000 00000002 0000000000000002")
    );
}

#[test]
fn the_observed_notification_is_written_byte_for_byte() {
    let event = WatchedEvent { kind: EventKind::DataChanged, path: "/t".to_owned(), zxid: Zxid(3) };
    let mut writer = Writer::new();
    encode_notification(&event, &mut writer);
    assert_eq!(
        writer.finish(),
        hex("0000001e ffffffff 0000000000000003 00000000 00000003 00000003 00000002 2f74")
    );
}

#[test]
fn the_observed_failed_multi_is_written_byte_for_byte() {
    let results = [0, -101, -2].map(MultiResult::Failed).to_vec();
    assert_eq!(
        reply((7, 5, 0), &Response::Multi(results)),
        hex("00000040 00000007 0000000000000005 00000000
            ffffffff 00 00000000 00000000
            ffffffff 00 ffffff9b ffffff9b
            ffffffff 00 fffffffe fffffffe
            ffffffff 01 ffffffff")
    );
}

#[test]
fn results_of_a_multi_carry_the_type_that_clients_expect() {
    let created = MultiResult::Created { path: "/a".to_owned(), stat: Stat::default() };
    let body = Response::Multi(vec![MultiResult::Path("/a".to_owned()), created]).to_body();
    assert_eq!(body[..15], hex("00000001 00 00000000 00000002 2f61")[..]);
    assert_eq!(body[15..24], hex("0000000f 00 00000000")[..]);
    let body = Response::Multi(vec![MultiResult::Set(Stat::default()), MultiResult::Deleted]).to_body();
    assert_eq!(body[..9], hex("00000005 00 00000000")[..]);
    assert_eq!(body[9 + 68..18 + 68], hex("00000002 00 00000000")[..]);
    let body = Response::MultiRead(vec![MultiReadResult::Names(Vec::new())]).to_body();
    assert_eq!(body, hex("00000008 00 00000000 00000000 ffffffff 01 ffffffff"));
}

#[test]
fn null_and_empty_data_differ() {
    let stat = Stat::default();
    let null = Response::Data { data: None, stat }.to_body();
    let empty = Response::Data { data: Some(Bytes::new()), stat }.to_body();
    assert_eq!((&null[..4], &empty[..4]), (&[255_u8; 4][..], &[0_u8; 4][..]));
    assert_eq!(Response::WatchAdded.to_body(), hex("00000000"));
    assert_eq!(Response::Sasl(None).to_body(), hex("ffffffff"));
}
