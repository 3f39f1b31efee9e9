//! Golden bytes of the client's side, and what must not be taken for a request.

use proptest::prelude::*;

use super::*;
use crate::proto::response::tests::hex;

fn decode(op: i32, text: &str) -> Result<Request, RequestError> {
    Request::decode(op, hex(text))
}

fn path(path: &str) -> Option<String> {
    Some(path.to_owned())
}

fn plain_create(of: &str) -> CreateRequest {
    CreateRequest { path: path(of), data: Some(Bytes::new()), acl: Some(Acl::open()), flags: 0, ttl: -1 }
}

const OPEN: &str = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65";

#[test]
fn the_observed_requests_are_read() {
    let mut frame = hex(&format!("00000001 00000001 00000002 2f74 00000002 6869 {OPEN} 00000000"));
    let header = RequestHeader::decode(&mut frame).expect("whole");
    assert_eq!(header, RequestHeader { xid: 1, op: 1 });
    let create = CreateRequest { data: Some(Bytes::from_static(b"hi")), ..plain_create("/t") };
    assert_eq!(Request::decode(header.op, frame), Ok(Request::Create(create)));
    let get = ReadRequest { path: path("/t"), watch: true };
    assert_eq!(decode(4, "00000002 2f74 01"), Ok(Request::GetData(get)));
    let exists = ReadRequest { path: path("/none"), watch: false };
    assert_eq!(decode(3, "00000005 2f6e6f6e65 00"), Ok(Request::Exists(exists)));
    let set = Request::SetData { path: path("/t"), data: Some(Bytes::from_static(b"yo")), version: 0 };
    assert_eq!(decode(5, "00000002 2f74 00000002 796f 00000000"), Ok(set));
    assert_eq!(decode(11, ""), Ok(Request::Ping));
    let auth = Request::Auth { scheme: path("digest"), auth: Some(Bytes::from_static(b"bob:pw")) };
    assert_eq!(decode(100, "00000000 00000006 646967657374 00000006 626f623a7077"), Ok(auth));
    assert_eq!(decode(-11, ""), Ok(Request::CloseSession));
}

#[test]
fn the_observed_multi_is_read() {
    let text = format!(
        "00000001 00 ffffffff 00000002 2f6d 00000000 {OPEN} 00000000
        00000002 00 ffffffff 00000003 2f6e6f ffffffff
        0000000d 00 ffffffff 00000002 2f74 00000001
        ffffffff 01 ffffffff"
    );
    let ops = vec![
        MultiOp::Create(plain_create("/m")),
        MultiOp::Delete { path: path("/no"), version: -1 },
        MultiOp::Check { path: path("/t"), version: 1 },
    ];
    assert_eq!(decode(14, &text), Ok(Request::Multi(ops)));
    assert_eq!(decode(14, "ffffffff 01 ffffffff"), Ok(Request::Multi(Vec::new())));
}

#[test]
fn flags_decide_what_a_create_in_a_multi_is() {
    let one = |op: &str, flags: &str, ttl: &str| {
        let create = format!("00000002 2f6d 00000000 {OPEN} {flags} {ttl}");
        decode(14, &format!("{op} 00 ffffffff {create} ffffffff 01 ffffffff"))
    };
    let create = |flags| CreateRequest { flags, ..plain_create("/m") };
    let expect = |op: MultiOp| Ok(Request::Multi(vec![op]));
    assert_eq!(one("0000000f", "00000002", ""), expect(MultiOp::Create2(create(2))));
    assert_eq!(one("00000013", "00000001", ""), expect(MultiOp::CreateContainer(create(1))));
    assert_eq!(one("00000001", "00000004", ""), expect(MultiOp::CreateContainer(create(4))));
    assert_eq!(one("00000015", "00000000", "0000000000000005"), expect(MultiOp::Create(create(0))));
    let ttl = CreateRequest { ttl: 5, ..create(6) };
    assert_eq!(one("00000015", "00000006", "0000000000000005"), expect(MultiOp::CreateTtl(ttl)));
    for flags in ["00000005", "00000006", "00000007", "ffffffff"] {
        assert!(matches!(one("00000001", flags, ""), Err(RequestError::Body { op: Op::Multi, .. })));
    }
}

#[test]
fn mixed_and_unsupported_elements_fail_the_whole_multi() {
    let body_error = |op, text: &str| matches!(decode(op, text), Err(RequestError::Body { .. }));
    assert!(body_error(14, "00000004 00 ffffffff 00000002 2f6d 00 ffffffff 01 ffffffff"), "a read");
    assert!(body_error(14, "00000014 00 ffffffff 00000002 2f6d ffffffff 01 ffffffff"), "deleteContainer");
    assert!(body_error(22, "00000002 00 ffffffff 00000002 2f6d ffffffff ffffffff 01 ffffffff"), "a write");
    assert!(body_error(14, "00000002 00 ffffffff 00000002 2f6d ffffffff"), "no end");
    let read = "00000008 00 ffffffff 00000002 2f6d 01 ffffffff 01 ffffffff";
    assert_eq!(decode(22, read), Ok(Request::MultiRead(vec![ReadOp::GetChildren(path("/m"))])));
}

#[test]
fn each_kind_of_failure_has_its_own_answer() {
    for op in [0, -1, -10, 10, 13, 20, 23, 108, 10_000] {
        assert_eq!(Request::decode(op, Bytes::new()), Err(RequestError::UnknownOp(op)));
    }
    assert!(matches!(decode(1, "0000"), Err(RequestError::Body { op: Op::Create, .. })));
    assert!(matches!(decode(100, "0000"), Err(RequestError::Frame(_))));
    assert!(matches!(decode(102, "ffffffff"), Err(RequestError::Frame(_))));
    let null_list = "0000000000000000 00000000 ffffffff 00000000";
    let Ok(Request::SetWatches(set)) = decode(101, null_list) else { panic!("a null list can be read") };
    assert_eq!((set.data, set.exist), (Some(vec![]), None));
    assert!(matches!(decode(17, "00000001 2f 00000006"), Err(RequestError::Body { .. })));
    assert!(matches!(decode(106, "00000001 2f 00000002"), Err(RequestError::Body { .. })));
    assert!(RequestHeader::decode(&mut Bytes::from_static(&[0; 7])).is_err());
}

#[test]
fn bytes_after_a_request_are_ignored_and_nulls_are_kept() {
    let get = ReadRequest { path: None, watch: true };
    assert_eq!(decode(4, "ffffffff 07 0102"), Ok(Request::GetData(get)));
    let set = Request::SetData { path: path("/"), data: None, version: -1 };
    assert_eq!(decode(5, "00000001 2f ffffffff ffffffff"), Ok(set));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_error(
        op in prop::sample::select(Op::ALL.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(request) = Request::decode(op.as_wire(), Bytes::from(body)) {
            prop_assert_eq!(request.op(), op);
        }
    }

    #[test]
    fn any_small_numbers_are_a_request_or_an_error(
        op in prop::sample::select(Op::ALL.to_vec()),
        words in prop::collection::vec(-2_i32..24, 0..60),
    ) {
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let _ = Request::decode(op.as_wire(), Bytes::from(body));
    }
}
