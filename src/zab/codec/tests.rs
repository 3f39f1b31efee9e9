//! The codec against observed bytes, cut and damaged streams, and arbitrary packets.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

fn bytes_of(packet: &Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(packet, &mut out);
    out.to_vec()
}

fn decode(side: Side, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    Decoder::new(side, Limits::default()).feed(&mut BytesMut::from(bytes))
}

/// One byte at a time, so that every cut is tried.
fn decode_in_pieces(side: Side, bytes: &[u8]) -> Vec<Packet> {
    let mut decoder = Decoder::new(side, Limits::default());
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for byte in bytes {
        buffer.put_u8(*byte);
        packets.extend(decoder.feed(&mut buffer).expect("good bytes"));
    }
    assert!(buffer.is_empty());
    packets
}

/// Specification 3, sections 3.2, 6.1 and 6.2: bytes observed on a real ensemble.
#[test]
fn observed_packets_are_read_and_written_bit_for_bit() {
    let zxid = |raw| Zxid(raw);
    let session = SessionId(0x0100_0020_b48a_0000);
    let learner = [
        (
            "00000010 0000000000000000 00000014 0000000000000009 00010000 0000000000000000 ffffffff",
            Packet::LearnerInfo {
                observer: true,
                accepted: Epoch(0),
                id: Some(ServerId(9)),
                config_version: Some(Zxid(0)),
                mark: None,
            },
        ),
        (
            "00000012 0000000000000000 00000004 00000000 ffffffff",
            Packet::AckEpoch { current: Some(Epoch(0)), last: Zxid(0) },
        ),
        ("00000003 0000000100000000 ffffffff ffffffff", Packet::Ack(zxid(0x1_0000_0000))),
        (
            "00000005 0000000100000002 0000000c 01000020b48a0000 00000fa0 ffffffff",
            Packet::Pong { zxid: zxid(0x1_0000_0002), touched: vec![(session, 4000)] },
        ),
        (
            "00000006 ffffffffffffffff 0000000c 01000020b48a0000 00000fa0 ffffffff",
            Packet::Revalidate { session, timeout_ms: 4000 },
        ),
        (
            "00000001 ffffffffffffffff 0000003b 0900000000000001 00000001 00000001 00000004 2f6e6577 00000000 \
             00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000001 00000000",
            Packet::Request(Forwarded {
                session: SessionId(0x0900_0000_0000_0001),
                cxid: 1,
                op: 1,
                body: Bytes::from(hex(
                    "00000004 2f6e6577 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000001",
                )),
                identities: vec![],
            }),
        ),
    ];
    for (text, packet) in learner {
        assert_eq!(bytes_of(&packet), hex(text), "{packet:?}");
        assert_eq!(decode_in_pieces(Side::Leader, &hex(text)), vec![packet]);
    }
    let leader = [
        (
            "00000011 0000000100000000 00000004 00010000 ffffffff",
            Packet::LeaderInfo { epoch: Epoch(1), mark: None },
        ),
        ("0000000c ffffffffffffffff ffffffff ffffffff", Packet::UpToDate),
        ("00000005 0000000100000002 ffffffff ffffffff", Packet::Ping(zxid(0x1_0000_0002))),
        (
            "00000006 ffffffffffffffff 00000009 01000020b48a0000 01 ffffffff",
            Packet::Revalidated { session, valid: true },
        ),
        ("00000007 0000000000000000 ffffffff ffffffff", Packet::Sync),
    ];
    for (text, packet) in leader {
        assert_eq!(bytes_of(&packet), hex(text), "{packet:?}");
        assert_eq!(decode_in_pieces(Side::Learner, &hex(text)), vec![packet]);
    }
}

fn snapshot_body() -> Bytes {
    let mut body = Writer::new();
    body.count(1).i64(7).i32(4000);
    body.count(1).i64(1).count(2);
    for _ in 0..2 {
        body.i32(31).string("world").string("anyone");
    }
    for path in ["", "/zookeeper", "/a"] {
        body.string(path).buffer((path != "/a").then_some(path.as_bytes())).i64(1).raw(&[0; 60]);
    }
    body.string("/");
    body.finish()
}

#[test]
fn a_snapshot_stream_ends_where_its_structure_ends() {
    let snap = Packet::Snap { zxid: Zxid(5), body: snapshot_body() };
    let new_leader = Packet::NewLeader { zxid: Zxid(1 << 32), config: Some("version=0".to_owned()) };
    let bytes = [bytes_of(&snap), bytes_of(&new_leader)].concat();
    assert_eq!(decode_in_pieces(Side::Learner, &bytes), vec![snap.clone(), new_leader]);
    assert_eq!(decode(Side::Learner, &bytes), Ok(Some(snap.clone())));
    let mut bad = bytes_of(&snap);
    let last = bad.len() - 1;
    bad[last] = b'?';
    assert!(decode(Side::Learner, &bad).is_err());
}

#[test]
fn lengths_over_the_limit_are_refused_before_their_bytes_come() {
    let mut bytes = hex("00000002 0000000100000001 00200000");
    assert!(decode(Side::Learner, &bytes).is_err());
    bytes = hex("00000002 0000000100000001 fffffffe");
    assert!(decode(Side::Learner, &bytes).is_err());
    bytes = hex("00000001 0000000000000000 00000000 00100000");
    assert!(decode(Side::Leader, &bytes).is_err());
    bytes = hex("0000000f 0000000000000000 ffffffff ffffffff 00000000 00000000 7fffffff");
    assert!(decode(Side::Learner, &bytes).is_err());
}

#[test]
fn what_must_be_there_is_missed_by_name() {
    let pong = hex("00000005 0000000000000000 ffffffff ffffffff");
    assert_eq!(decode(Side::Leader, &pong), Err(DecodeError::Null { field: "touched sessions" }));
    let short = hex("00000002 0000000100000001 00000002 0000 ffffffff");
    assert!(matches!(decode(Side::Learner, &short), Err(DecodeError::TooShort { field: "txn header", .. })));
}

#[test]
fn a_kind_that_nobody_knows_is_skipped() {
    let bytes = [hex("00000063 0000000000000000 ffffffff ffffffff"), bytes_of(&Packet::Sync)].concat();
    assert_eq!(decode(Side::Learner, &bytes), Ok(Some(Packet::Sync)));
}

fn proposal(zxid: i64, body: Vec<u8>) -> Proposal {
    let mut txn = Writer::new();
    txn.i64(1).i32(2).i64(zxid).i64(3).i32(4).raw(&body);
    Proposal { zxid: Zxid(zxid), txn: txn.finish() }
}

fn a_mark() -> impl Strategy<Value = Option<Mark>> {
    proptest::option::of(proptest::option::of("[a-z0-9-]{0,40}").prop_map(|ensemble_id| Mark { ensemble_id }))
}

fn from_learners() -> impl Strategy<Value = Packet> {
    let identity = ("[a-z]{0,5}", ".{0,8}").prop_map(|(scheme, id)| Identity { scheme, id });
    let identities = proptest::collection::vec(identity, 0..3);
    let body = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let request = (any::<i64>(), any::<i32>(), any::<i32>(), body, identities);
    prop_oneof![
        (any::<bool>(), 0..=Epoch::MAX.0, any::<i64>(), any::<i64>(), a_mark()).prop_map(
            |(observer, accepted, id, version, mark)| Packet::LearnerInfo {
                observer,
                accepted: Epoch(accepted),
                id: Some(ServerId(id)),
                config_version: Some(Zxid(version)),
                mark,
            }
        ),
        (proptest::option::of(0..=Epoch::MAX.0), any::<i64>())
            .prop_map(|(current, last)| Packet::AckEpoch { current: current.map(Epoch), last: Zxid(last) }),
        any::<i64>().prop_map(|zxid| Packet::Ack(Zxid(zxid))),
        (any::<i64>(), proptest::collection::vec((any::<i64>(), any::<i32>()), 0..4)).prop_map(
            |(zxid, touched)| Packet::Pong {
                zxid: Zxid(zxid),
                touched: touched.into_iter().map(|(session, ms)| (SessionId(session), ms)).collect(),
            }
        ),
        request.prop_map(|(session, cxid, op, body, identities)| {
            Packet::Request(Forwarded { session: SessionId(session), cxid, op, body, identities })
        }),
    ]
}

fn from_leaders() -> impl Strategy<Value = Packet> {
    let txn = (any::<i64>(), proptest::collection::vec(any::<u8>(), 0..40));
    let txn = txn.prop_map(|(zxid, body)| proposal(zxid, body));
    prop_oneof![
        (0..=Epoch::MAX.0, a_mark())
            .prop_map(|(epoch, mark)| Packet::LeaderInfo { epoch: Epoch(epoch), mark }),
        any::<i64>().prop_map(|zxid| Packet::Diff(Zxid(zxid))),
        any::<i64>().prop_map(|zxid| Packet::Trunc(Zxid(zxid))),
        any::<i64>().prop_map(|zxid| Packet::Snap { zxid: Zxid(zxid), body: snapshot_body() }),
        (any::<i64>(), proptest::option::of(".{1,20}"))
            .prop_map(|(zxid, config)| Packet::NewLeader { zxid: Zxid(zxid), config }),
        txn.clone().prop_map(Packet::Proposal),
        txn.clone().prop_map(Packet::Inform),
        (any::<i64>(), txn)
            .prop_map(|(leader, proposal)| Packet::InformAndActivate { leader: ServerId(leader), proposal }),
        any::<i64>().prop_map(|zxid| Packet::Commit(Zxid(zxid))),
        (any::<i64>(), any::<i64>()).prop_map(|(zxid, leader)| Packet::CommitAndActivate {
            zxid: Zxid(zxid),
            leader: ServerId(leader)
        }),
        (any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(leader, last, round)| Packet::HandOver {
            leader: ServerId(leader),
            last: Zxid(last),
            round
        }),
    ]
}

proptest! {
    #[test]
    fn packets_of_learners_read_back_equal(packets in proptest::collection::vec(from_learners(), 1..4)) {
        let bytes: Vec<u8> = packets.iter().flat_map(bytes_of).collect();
        prop_assert_eq!(decode_in_pieces(Side::Leader, &bytes), packets);
    }

    #[test]
    fn packets_of_leaders_read_back_equal(packets in proptest::collection::vec(from_leaders(), 1..4)) {
        let bytes: Vec<u8> = packets.iter().flat_map(bytes_of).collect();
        prop_assert_eq!(decode_in_pieces(Side::Learner, &bytes), packets);
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..21, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for side in [Side::Leader, Side::Learner] {
            let mut buffer = BytesMut::new();
            buffer.put_i32(kind);
            buffer.extend_from_slice(&bytes);
            let mut decoder = Decoder::new(side, Limits::default());
            while let Ok(Some(_)) = decoder.feed(&mut buffer) {}
        }
    }

    #[test]
    fn a_damaged_snapshot_never_panics(at in 0usize..400, value: u8) {
        let mut bytes = bytes_of(&Packet::Snap { zxid: Zxid(1), body: snapshot_body() });
        let at = at % bytes.len();
        bytes[at] = value;
        let mut decoder = Decoder::new(Side::Learner, Limits::default());
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decoder.feed(&mut buffer) {}
    }
}
