//! The client protocol: bytes to values and back.
//!
//! In: frames of a client. Out: a [`ConnectRequest`], then [`Request`]s; and the bytes of every answer.
//!
//! Always true:
//! * any bytes give a value or an error, never a panic, and never an allocation larger than the bytes themselves;
//! * null and empty stay different wherever a client can see it.
//!
//! Not here: what a request does (`replica`), sockets and words (`net`).

pub mod code;
pub mod frame;
pub mod handshake;
pub mod multi;
pub mod op;
pub mod record;
pub mod request;
pub mod response;

pub use code::ErrorCode;
pub use handshake::{ConnectRequest, ConnectResponse};
pub use multi::{MultiOp, ReadOp};
pub use op::Op;
pub use record::{Acl, ClientInfo, EventKind, Id, Stat, StatPersisted, WatchedEvent, perms};
pub use request::{CreateMode, CreateRequest, Request, RequestError};
pub use response::{MultiReadResult, MultiResult, ReplyHeader, Response};
