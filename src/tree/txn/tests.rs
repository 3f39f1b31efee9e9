//! Bytes observed in the logs of Apache ZooKeeper, and round trips.

use proptest::prelude::*;

use super::*;
use crate::proto::Id;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

fn header(cxid: i32, zxid: i64, time: i64) -> TxnHeader {
    TxnHeader { session: SessionId(0x0100_001e_19a9_0000), cxid, zxid: Zxid(zxid), time }
}

#[track_caller]
fn is_both_ways(text: &str, txn: Txn) {
    assert_eq!(Txn::decode(hex(text)), Ok(txn.clone()));
    assert_eq!(txn.to_bytes(), hex(text));
}

#[test]
fn the_observed_create_session_is_read_and_written() {
    is_both_ways(
        "0100001e19a90000 00000000 0000000100000001 000001a204d13601 fffffff6
        00000fa0
        00000002 0000000051c6d660",
        Txn {
            header: header(0, 0x1_0000_0001, 0x1a2_04d1_3601),
            body: TxnBody::CreateSession { timeout_ms: 4_000 },
            digest: Some(0x51c6_d660),
        },
    );
}

#[test]
fn the_observed_create_is_read_and_written() {
    is_both_ways(
        "0100001e19a90000 00000001 0000000100000002 000001a204d1361c 00000001
        00000002 2f61 00000001 64 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00 00000001
        00000002 0000000156993190",
        Txn {
            header: header(1, 0x1_0000_0002, 0x1a2_04d1_361c),
            body: TxnBody::Create(CreateTxn {
                path: "/a".to_owned(),
                data: Some(Bytes::from_static(b"d")),
                acl: Acl::open(),
                kind: CreateKind::Create { ephemeral: false },
                parent_cversion: 1,
            }),
            digest: Some(0x1_5699_3190),
        },
    );
}

#[test]
fn the_observed_close_session_and_error_are_read_and_written() {
    let close = TxnBody::CloseSession { paths: Vec::new() };
    is_both_ways(
        "0100001e19a90000 00000000 0000000100000003 000001a204d1361c fffffff5 00000000 00000002 0000000051c6d660",
        Txn { header: header(0, 0x1_0000_0003, 0x1a2_04d1_361c), body: close, digest: Some(0x51c6_d660) },
    );
    is_both_ways(
        "0100001e19a90000 00000007 0000000100000003 000001a204d1361c ffffffff ffffff92",
        Txn {
            header: header(7, 0x1_0000_0003, 0x1a2_04d1_361c),
            body: TxnBody::Error { err: -110 },
            digest: None,
        },
    );
}

#[test]
fn a_close_session_without_a_body_is_told_from_one_with_paths() {
    let head = "0100001e19a90000 00000000 0000000100000003 000001a204d1361c fffffff5";
    let close = |rest: &str| Txn::decode(hex(&format!("{head} {rest}"))).expect("readable");
    assert_eq!(close("").body, TxnBody::CloseSession { paths: Vec::new() });
    let digest_only = close("00000002 0000000156993190");
    assert_eq!(digest_only.body, TxnBody::CloseSession { paths: Vec::new() });
    assert_eq!(digest_only.digest, Some(0x1_5699_3190));
    let paths = close("00000002 00000002 2f61 00000002 2f62");
    let expected = vec!["/a".to_owned(), "/b".to_owned()];
    assert_eq!(paths.body, TxnBody::CloseSession { paths: expected });
}

#[test]
fn a_create_of_release_3_3_has_no_parent_counter() {
    let head = "0100001e19a90000 00000001 0000000100000002 000001a204d1361c 00000001";
    let txn = Txn::decode(hex(&format!("{head} 00000002 2f61 ffffffff 00000000 01"))).expect("readable");
    let TxnBody::Create(create) = txn.body else { panic!("not a create") };
    assert_eq!(create.parent_cversion, PARENT_CVERSION_UNKNOWN);
    assert_eq!((create.kind, create.data), (CreateKind::Create { ephemeral: true }, None));
}

#[test]
fn types_that_only_a_multi_may_hold_are_refused_alone() {
    let head = "0100001e19a90000 00000001 0000000100000002 000001a204d1361c";
    for rest in ["0000000d 00000002 2f61 00000000", "0000000b", "00000063"] {
        let error = Txn::decode(hex(&format!("{head} {rest}")));
        assert!(matches!(error, Err(DecodeError::Unknown { field: "txn type", .. })), "{rest}");
    }
}

/// A strategy for single operations, as they may stand in a multi.
pub fn any_op() -> impl Strategy<Value = TxnBody> {
    let acl = prop::collection::vec(
        (any::<i32>(), "[a-z]{0,5}", "[a-z]{0,5}")
            .prop_map(|(perms, scheme, id)| Acl { perms, id: Id { scheme, id } }),
        0..3,
    );
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from));
    let kind = prop_oneof![
        any::<bool>().prop_map(|ephemeral| CreateKind::Create { ephemeral }),
        any::<bool>().prop_map(|ephemeral| CreateKind::Create2 { ephemeral }),
        Just(CreateKind::Container),
        (1_i64..1_000).prop_map(|ttl_ms| CreateKind::Ttl { ttl_ms }),
    ];
    let path = "/[a-c]{1,2}";
    prop_oneof![
        any::<i32>().prop_map(|err| TxnBody::Error { err }),
        (path, data.clone(), acl.clone(), kind, any::<i32>()).prop_map(
            |(path, data, acl, kind, parent_cversion)| {
                TxnBody::Create(CreateTxn { path, data, acl, kind, parent_cversion })
            }
        ),
        path.prop_map(|path| TxnBody::Delete { path, reason: DeleteReason::Client }),
        path.prop_map(|path| TxnBody::Delete { path, reason: DeleteReason::Reaped }),
        (path, data, any::<i32>()).prop_map(|(path, data, version)| {
            TxnBody::SetData(SetDataTxn { path, data, version, reason: SetDataReason::Client })
        }),
        (path, acl, any::<i32>()).prop_map(|(path, acl, version)| TxnBody::SetAcl { path, acl, version }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        ops in prop::collection::vec(any_op(), 0..4),
        single in any_op(),
        digest in prop::option::of(any::<u64>()),
        zxid in any::<i64>(),
    ) {
        for body in [TxnBody::Multi(ops.clone()), single.clone()] {
            let txn = Txn { header: header(1, zxid, 5), body, digest };
            prop_assert_eq!(Txn::decode(txn.to_bytes()), Ok(txn));
        }
    }

    #[test]
    fn any_bytes_are_a_txn_or_an_error(
        op in prop::sample::select(Op::ALL.to_vec()),
        rest in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = vec![0; 28];
        bytes.extend_from_slice(&op.as_wire().to_be_bytes());
        bytes.extend_from_slice(&rest);
        let _ = Txn::decode(Bytes::from(bytes));
    }
}
