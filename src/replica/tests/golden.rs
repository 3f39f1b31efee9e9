//! The exchange that was observed on an empty server of Apache ZooKeeper, byte for byte.

use super::*;

/// Sends one frame with its length and expects these bytes.
#[track_caller]
fn exchange(alone: &mut Alone, id: ConnId, sent: &str, expected: &str) {
    let sent = hex(sent);
    assert_eq!(sent.len(), 4 + u32::from_be_bytes(sent[..4].try_into().expect("a length")) as usize);
    alone.frames(id, [sent.slice(4..)]);
    let got = alone.take(id);
    assert_eq!(got, hex(expected), "\n got {got:02x?}\nwant {:02x?}", hex(expected));
}

#[test]
fn the_observed_session_is_answered_byte_for_byte() {
    let mut alone = Alone::new();
    let id = alone.accept();
    let step = |alone: &mut Alone, sent: &str, expected: &str| exchange(alone, id, sent, expected);
    step(
        &mut alone,
        "0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010
         00000000000000000000000000000000 00",
        "00000025 00000000 00002710 01000022edf30000 00000010 4f2646af307bb246455fec4cf9d67a5d 00",
    );
    alone.now.wall_ms = 0x1a2_04d5_a6b7;
    step(
        &mut alone,
        "00000033 00000001 00000001 00000002 2f74 00000002 6869 00000001 0000001f 00000005 776f726c64
         00000006 616e796f6e65 00000000",
        "00000016 00000001 0000000000000002 00000000 00000002 2f74",
    );
    step(
        &mut alone,
        "0000000f 00000002 00000004 00000002 2f74 01",
        "0000005a 00000002 0000000000000002 00000000 00000002 6869
         0000000000000002 0000000000000002 000001a204d5a6b7 000001a204d5a6b7 00000000 00000000 00000000
         0000000000000000 00000002 00000000 0000000000000002",
    );
    step(
        &mut alone,
        "00000012 00000003 00000003 00000005 2f6e6f6e65 00",
        "00000010 00000003 0000000000000002 ffffff9b",
    );
    alone.now.wall_ms = 0x1a2_04d5_a6f1;
    step(
        &mut alone,
        "00000018 00000004 00000005 00000002 2f74 00000002 796f 00000000",
        "0000001e ffffffff 0000000000000003 00000000 00000003 00000003 00000002 2f74
         00000054 00000004 0000000000000003 00000000
         0000000000000002 0000000000000003 000001a204d5a6b7 000001a204d5a6f1 00000001 00000000 00000000
         0000000000000000 00000002 00000000 0000000000000002",
    );
    step(
        &mut alone,
        "00000018 00000005 00000005 00000002 2f74 00000002 796f 00000000",
        "00000010 00000005 0000000000000004 ffffff99",
    );
    step(&mut alone, "00000008 fffffffe 0000000b", "00000010 fffffffe 0000000000000004 00000000");
    step(
        &mut alone,
        "00000020 fffffffc 00000064 00000000 00000006 646967657374 00000006 626f623a7077",
        "00000010 fffffffc 0000000000000000 00000000",
    );
    the_rest_of_it(&mut alone, id);
}

fn the_rest_of_it(alone: &mut Alone, id: ConnId) {
    // The order of children is unspecified.
    alone.frames(id, [hex("00000006 0000000c 00000001 2f 00")]);
    let frames = alone.replies(id);
    assert_eq!((frames[0].xid, frames[0].zxid, frames[0].err), (6, 4, 0));
    let names = [
        hex("00000002 00000009 7a6f6f6b6565706572 00000001 74"),
        hex("00000002 00000001 74 00000009 7a6f6f6b6565706572"),
    ];
    assert!(names.iter().any(|names| frames[0].body.starts_with(names)), "{frames:?}");
    let stat =
        "0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 00000000 00000000
        0000000000000000 00000000 00000002 0000000000000002";
    assert!(frames[0].body.ends_with(&hex(stat)));
    exchange(
        alone,
        id,
        "0000006a 00000007 0000000e
         00000001 00 ffffffff 00000002 2f6d 00000000 00000001 0000001f 00000005 776f726c64
         00000006 616e796f6e65 00000000
         00000002 00 ffffffff 00000003 2f6e6f ffffffff
         0000000d 00 ffffffff 00000002 2f74 00000001
         ffffffff 01 ffffffff",
        "00000040 00000007 0000000000000005 00000000
         ffffffff 00 00000000 00000000
         ffffffff 00 ffffff9b ffffff9b
         ffffffff 00 fffffffe fffffffe
         ffffffff 01 ffffffff",
    );
    exchange(alone, id, "00000008 00000008 fffffff5", "00000010 00000008 0000000000000006 00000000");
    assert_eq!(alone.closed(id), Some(Closing::Orderly));
}
