//! Connect request and response: the first frame in each direction.
//!
//! In: the first frame of a client. Out: a [`ConnectRequest`]; and the bytes of a [`ConnectResponse`].
//!
//! Always true:
//! * the response has the read-only byte exactly if the request had it: old clients read a fixed size;
//! * a refusal has timeout 0, session 0 and 16 zero bytes: clients test different fields.
//!
//! Not here: which session a client gets (`session`).

use bytes::Bytes;

use crate::base::wire::{DecodeError, Reader, Writer};
use crate::base::{SessionId, Zxid};

/// What a client sends first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Ignored.
    pub protocol_version: i32,
    /// The highest zxid that the client has seen: a server that is behind closes the connection.
    pub last_zxid_seen: Zxid,
    /// The session timeout asked for, in ms; anything is allowed.
    pub timeout_ms: i32,
    /// The session to continue; `SessionId::NONE` asks for a new one.
    pub session: SessionId,
    /// Its password; empty for null.
    pub password: Bytes,
    /// Whether the client can do with a read-only server; `None` if the byte was not sent.
    pub read_only: Option<bool>,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The negotiated timeout in ms; 0 for a refusal.
    pub timeout_ms: i32,
    /// The session; `SessionId::NONE` for a refusal.
    pub session: SessionId,
    /// Its password; zeros for a refusal.
    pub password: [u8; 16],
    /// Whether this server is read-only; `None` leaves the byte out, as the request did.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Reads a client's first frame.
    pub fn decode(frame: Bytes) -> Result<ConnectRequest, DecodeError> {
        let mut reader = Reader::new(frame);
        Ok(ConnectRequest {
            protocol_version: reader.i32("protocolVersion")?,
            last_zxid_seen: Zxid(reader.i64("lastZxidSeen")?),
            timeout_ms: reader.i32("timeOut")?,
            session: SessionId(reader.i64("sessionId")?),
            password: reader.buffer("passwd")?.unwrap_or_default(),
            read_only: if reader.remaining() == 0 { None } else { Some(reader.bool("readOnly")?) },
        })
    }
}

impl ConnectResponse {
    /// The session is unknown, expired, closing, or the password wrong: clients cannot tell which.
    pub fn refused(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse { timeout_ms: 0, session: SessionId::NONE, password: [0; 16], read_only }
    }

    /// Whether it refuses the session, so that the connection is closed after it.
    pub fn is_refusal(&self) -> bool {
        self.session == SessionId::NONE
    }

    /// Appends the whole frame, its length included.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i32(if self.read_only.is_some() { 37 } else { 36 });
        writer.i32(0).i32(self.timeout_ms).i64(self.session.0).buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            writer.bool(read_only);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        crate::proto::response::tests::hex(text)
    }

    #[test]
    fn the_observed_handshake_is_read_and_answered_byte_for_byte() {
        let frame = hex("00000000 0000000000000000 00002710 0000000000000000 00000010
            00000000000000000000000000000000 00");
        assert_eq!(frame.len(), 0x2d);
        let request = ConnectRequest::decode(frame).expect("whole");
        assert_eq!(
            request,
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: 10_000,
                session: SessionId::NONE,
                password: Bytes::from_static(&[0; 16]),
                read_only: Some(false),
            }
        );
        let password = hex("4f2646af307bb246455fec4cf9d67a5d");
        let response = ConnectResponse {
            timeout_ms: 10_000,
            session: SessionId(0x0100_0022_edf3_0000),
            password: password[..].try_into().expect("16 bytes"),
            read_only: Some(false),
        };
        let mut writer = Writer::new();
        response.encode(&mut writer);
        assert_eq!(
            writer.finish(),
            hex("00000025 00000000 00002710 01000022edf30000 00000010 4f2646af307bb246455fec4cf9d67a5d 00")
        );
    }

    #[test]
    fn without_the_read_only_byte_there_is_none_in_the_answer() {
        let frame = hex("00000000 0000000000000000 00002710 0000000000000000 ffffffff");
        let request = ConnectRequest::decode(frame).expect("whole");
        assert_eq!((request.read_only, request.password.len()), (None, 0));
        let mut writer = Writer::new();
        ConnectResponse::refused(request.read_only).encode(&mut writer);
        assert_eq!(writer.bytes.len(), 40);
        assert!(writer.bytes[4..].iter().all(|byte| *byte == 0 || *byte == 16));
    }

    #[test]
    fn a_short_request_is_refused() {
        assert!(ConnectRequest::decode(Bytes::from_static(&[0; 20])).is_err());
    }
}
