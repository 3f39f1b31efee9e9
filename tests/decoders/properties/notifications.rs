//! What arrives on the election port: who calls, then notifications.

use bytes::BytesMut;
use quorate::zab::vote::{Hello, Notification, take_frame};

pub fn judge(input: &[u8]) {
    let mut stream = BytesMut::from(input);
    let Ok(Some(hello)) = Hello::decode(&mut stream) else { return };
    if let [address] = &hello.addresses[..] {
        let mut again = BytesMut::from(&Hello::encode(hello.id, address)[..]);
        assert_eq!(Hello::decode(&mut again), Ok(Some(hello)));
    }
    while let Ok(Some(frame)) = take_frame(&mut stream) {
        let Ok(notification) = Notification::decode(frame) else { continue };
        // Only the newest layout is written.
        let newest = Notification { version: 2, ..notification };
        let mut again = BytesMut::new();
        newest.encode(&mut again);
        let frame = take_frame(&mut again).expect("it was written").expect("whole");
        assert!(again.is_empty());
        assert_eq!(Notification::decode(frame), Ok(newest));
    }
}
