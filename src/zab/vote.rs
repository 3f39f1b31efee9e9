//! The notifications of the election port and their bytes, as Apache ZooKeeper writes them.
//!
//! In: the bytes of one connection. Out: its [`Hello`], then one [`Notification`] a frame; and back.
//!
//! Always true:
//! * what is written is a version 2 notification; every older layout that Apache ZooKeeper accepts is read.
//!
//! Not here: when an election is over (`election`), who keeps a connection (`net::election`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::wire::{DecodeError, Reader, Writer};
use crate::base::{Address, Epoch, ServerId, Zxid};

/// Longest frame after the initial message.
pub const FRAME_BYTES_MAX: usize = 524_288;
/// Longest list of addresses in the initial message.
const ADDRESSES_BYTES_MAX: usize = 2048;
/// Begins an initial message with one address.
const HELLO_V1: i64 = -65_536;
/// Begins an initial message with several addresses.
const HELLO_V2: i64 = -65_535;
/// The layout that is written: with the text of a membership.
const VERSION: i32 = 2;

/// What the sender of a notification is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// 0: it has no leader.
    Looking,
    /// 1: it follows.
    Following,
    /// 2: it leads.
    Leading,
    /// 3: it observes.
    Observing,
}

/// Who should lead, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The proposed or followed leader; `ServerId::NOBODY` from a server without a vote.
    pub leader: ServerId,
    /// The last zxid of that leader.
    pub zxid: Zxid,
    /// The number of the election round (logical clock).
    pub round: i64,
    /// The current epoch of that leader; a raw value, since servers without a vote send `-2^63`.
    pub epoch: i64,
}

/// One message on the election port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What the sender is doing.
    pub state: PeerState,
    /// Its vote.
    pub vote: Vote,
    /// The layout's version: 2 in all that is written here, 0 from old peers.
    pub version: i32,
    /// The text of the sender's membership in force; `None` in old layouts.
    pub config: Option<String>,
}

/// The initial epoch of a vote, as a plain number.
pub fn raw_epoch(epoch: Epoch) -> i64 {
    i64::from(epoch.0)
}

/// What the server that dialed says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who dialed; `i64::MAX` is an observer without an id.
    pub id: ServerId,
    /// Where it takes part in elections; empty from servers before 3.5.
    pub addresses: Vec<Address>,
}

impl Hello {
    /// The bytes, to be sent in one write: Apache ZooKeeper does not wait for the rest of a message.
    pub fn encode(id: ServerId, address: &Address) -> Bytes {
        let mut out = Writer::new();
        out.i64(HELLO_V1).i64(id.0).string(&address.to_string());
        out.finish()
    }

    /// Takes the message from the front of `bytes`; `None` if it has not arrived whole.
    pub fn decode(bytes: &mut BytesMut) -> Result<Option<Hello>, DecodeError> {
        let Some(version) = bytes.get(..8) else { return Ok(None) };
        let version = i64::from_be_bytes(version.try_into().expect("eight bytes were taken"));
        if version >= 0 {
            bytes.advance(8);
            return Ok(Some(Hello { id: ServerId(version), addresses: Vec::new() }));
        }
        if version != HELLO_V1 && version != HELLO_V2 {
            return Err(DecodeError::Unknown { field: "election protocol version", value: version });
        }
        let Some(len) = bytes.get(16..20) else { return Ok(None) };
        let len = i32::from_be_bytes(len.try_into().expect("four bytes were taken"));
        let max = ADDRESSES_BYTES_MAX;
        let size = usize::try_from(len).ok().filter(|size| (1..=max).contains(size));
        let size =
            size.ok_or(DecodeError::Length { field: "election addresses", len: i64::from(len), max })?;
        if bytes.len() < 20 + size {
            return Ok(None);
        }
        let mut reader = Reader::new(bytes.split_to(20 + size).freeze());
        reader.i64("election protocol version")?;
        let id = ServerId(reader.i64("server id")?);
        let text = reader.string("election addresses")?.unwrap_or_default();
        let addresses: Option<Vec<Address>> = text.split('|').map(address).collect();
        let addresses = addresses.ok_or(DecodeError::Unknown { field: "election address", value: id.0 })?;
        if version == HELLO_V1 && addresses.len() != 1 {
            let len = addresses.len() as i64;
            return Err(DecodeError::Length { field: "election addresses", len, max: 1 });
        }
        Ok(Some(Hello { id, addresses }))
    }
}

fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    if host.is_empty() { None } else { Some(Address { host: host.to_owned(), port }) }
}

/// Takes the payload of one frame from the front of `bytes`; `None` if it has not arrived whole.
pub fn take_frame(bytes: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
    let Some(len) = bytes.get(..4) else { return Ok(None) };
    let len = i32::from_be_bytes(len.try_into().expect("four bytes were taken"));
    let max = FRAME_BYTES_MAX;
    let size = usize::try_from(len).ok().filter(|size| (1..=max).contains(size));
    let size = size.ok_or(DecodeError::Length { field: "election frame", len: i64::from(len), max })?;
    if bytes.len() < 4 + size {
        return Ok(None);
    }
    bytes.advance(4);
    Ok(Some(bytes.split_to(size).freeze()))
}

impl Notification {
    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut payload = Writer::new();
        payload.i32(self.state.code());
        payload.i64(self.vote.leader.0).i64(self.vote.zxid.0).i64(self.vote.round).i64(self.vote.epoch);
        payload.i32(VERSION).string(self.config.as_deref().unwrap_or_default());
        let len = i32::try_from(payload.bytes.len()).expect("a membership's text came in by a frame");
        out.put_i32(len);
        out.put_slice(&payload.bytes);
    }

    /// Reads the payload of a frame. A message that cannot be read is skipped; the connection stays.
    pub fn decode(payload: Bytes) -> Result<Notification, DecodeError> {
        let len = payload.len();
        let mut reader = Reader::new(payload);
        let state = PeerState::from_code(reader.i32("state")?)?;
        let (leader, zxid) = (ServerId(reader.i64("leader")?), Zxid(reader.i64("zxid")?));
        let round = reader.i64("election epoch")?;
        let epoch = if len == 28 { raw_epoch(zxid.epoch()) } else { reader.i64("peer epoch")? };
        let vote = Vote { leader, zxid, round, epoch };
        if len == 28 || len == 40 {
            return Ok(Notification { state, vote, version: 0, config: None });
        }
        let version = reader.i32("notification version")?;
        if version < VERSION {
            return Ok(Notification { state, vote, version, config: None });
        }
        let config = reader.string("configuration")?.filter(|config| !config.is_empty());
        Ok(Notification { state, vote, version, config })
    }
}

impl PeerState {
    fn code(self) -> i32 {
        match self {
            PeerState::Looking => 0,
            PeerState::Following => 1,
            PeerState::Leading => 2,
            PeerState::Observing => 3,
        }
    }

    fn from_code(code: i32) -> Result<PeerState, DecodeError> {
        match code {
            0 => Ok(PeerState::Looking),
            1 => Ok(PeerState::Following),
            2 => Ok(PeerState::Leading),
            3 => Ok(PeerState::Observing),
            _ => Err(DecodeError::Unknown { field: "state", value: i64::from(code) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(notification: &Notification) -> Bytes {
        let mut out = BytesMut::new();
        notification.encode(&mut out);
        take_frame(&mut out).expect("a frame").expect("whole")
    }

    fn leading() -> Notification {
        let vote = Vote { leader: ServerId(3), zxid: Zxid(0), round: 1, epoch: 1 };
        let config = Some("server.1=127.0.0.1:1:2:participant\nversion=0".to_owned());
        Notification { state: PeerState::Leading, vote, version: 2, config }
    }

    /// Specification 3, section 2.6.
    #[test]
    fn a_notification_is_the_observed_one() {
        let bytes = payload(&leading());
        let head = [
            &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 44],
        ];
        assert_eq!(bytes[..44], head.concat());
        assert_eq!(Notification::decode(bytes), Ok(leading()));
    }

    #[test]
    fn older_layouts_are_read_as_apache_zookeeper_reads_them() {
        let bytes = payload(&leading());
        let old = Notification { version: 0, config: None, ..leading() };
        assert_eq!(Notification::decode(bytes.slice(..40)), Ok(old.clone()));
        let zxid_says = Notification { vote: Vote { epoch: 0, ..old.vote }, ..old };
        assert_eq!(Notification::decode(bytes.slice(..28)), Ok(zxid_says));
        for short in [0, 27, 29, 36, 43, 60] {
            assert!(Notification::decode(bytes.slice(..short)).is_err(), "{short}");
        }
    }

    #[test]
    fn an_initial_message_names_its_sender() {
        let address = Address { host: "::1".to_owned(), port: 3888 };
        let mut bytes = BytesMut::from(&Hello::encode(ServerId(2), &address)[..]);
        let mut part = bytes.clone().split_to(25);
        assert_eq!(Hello::decode(&mut part), Ok(None));
        assert_eq!(Hello::decode(&mut bytes), Ok(Some(Hello { id: ServerId(2), addresses: vec![address] })));
        assert!(bytes.is_empty());
        let mut old = BytesMut::from(&7i64.to_be_bytes()[..]);
        assert_eq!(Hello::decode(&mut old), Ok(Some(Hello { id: ServerId(7), addresses: vec![] })));
    }

    #[test]
    fn a_bad_initial_message_is_refused() {
        let hello = |version: i64, text: &str| {
            let mut out = Writer::new();
            out.i64(version).i64(1).string(text);
            Hello::decode(&mut out.bytes)
        };
        assert!(hello(-65_535, "a:1|b:2").is_ok());
        let long = "a".repeat(2049);
        for (version, text) in [
            (-65_536, "a:1|b:2"),
            (-65_536, ""),
            (-65_536, "a"),
            (-65_536, "a:x"),
            (-1, "a:1"),
            (-65_536, &long),
        ] {
            assert!(hello(version, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_frame_has_a_length_within_limits() {
        for len in [0, -1, 524_289] {
            assert!(take_frame(&mut BytesMut::from(&i32::to_be_bytes(len)[..])).is_err(), "{len}");
        }
        assert_eq!(take_frame(&mut BytesMut::from(&[0, 0, 0, 2, 1][..])), Ok(None));
    }

    proptest! {
        #[test]
        fn notifications_read_back_equal(leader: i64, zxid: i64, round: i64, epoch: i64, config in ".{1,40}") {
            let vote = Vote { leader: ServerId(leader), zxid: Zxid(zxid), round, epoch };
            let notification =
                Notification { state: PeerState::Looking, vote, version: 2, config: Some(config) };
            prop_assert_eq!(Notification::decode(payload(&notification)), Ok(notification));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), version in -65_537i64..2) {
            let _ = Notification::decode(Bytes::from(bytes.clone()));
            let _ = take_frame(&mut BytesMut::from(&bytes[..]));
            let mut hello = BytesMut::from(&version.to_be_bytes()[..]);
            hello.extend_from_slice(&bytes);
            let _ = Hello::decode(&mut hello);
        }
    }
}
