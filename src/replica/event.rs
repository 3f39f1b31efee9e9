//! Everything that can happen to a server, and everything that it can ask for.
//!
//! In and out: plain data, so that a run can be printed, recorded and played again.
//!
//! Always true:
//! * the edge begins effects in the order given;
//! * messages to one link arrive in order and without a gap, or the link is reported down.
//!
//! Not here: what is done about an event (`machine`), performing an effect (`server::edge`).

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{ConnId, Ensemble, LinkId, Millis, ServerId, SessionId, Write, WriteSeq, Zxid};
use crate::proto::{ConnectRequest, ConnectResponse, Request};
use crate::tree::Image;
use crate::zab::effects::Status;
use crate::zab::packet::{Identity, Packet};
use crate::zab::vote::Notification;

/// Everything that can happen to a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed. Comes at least every 50 ms.
    Tick,
    /// A link on the quorum port stands: dialed to this server, or accepted (`None`).
    LinkUp(LinkId, Option<ServerId>),
    /// A server asked for by `Effect::Dial` could not be reached.
    DialFailed(ServerId),
    /// A link is gone.
    LinkDown(LinkId),
    /// A packet of a link.
    Packet(LinkId, Packet),
    /// A notification on the election port.
    Vote(ServerId, Notification),
    /// Every write up to this one is durable.
    Synced(WriteSeq),
    /// The snapshot asked for by `Effect::TakeSnapshot` is durable, or could not be written.
    SnapshotTaken(Zxid, Result<(), String>),
    /// A client sent its connect request; its address counts as its first identity.
    ClientUp(ConnId, IpAddr, ConnectRequest),
    /// A client asks for something that the loop must order: a write, a sync, a close.
    Request(ConnId, ClientRequest),
    /// A connection with a session had traffic (at most once per half tick and connection).
    Touched(ConnId),
    /// A client's connection is gone.
    ClientDown(ConnId),
    /// Give leadership to this voter; `None` chooses the voter that is most level.
    Transfer(Option<ServerId>),
}

/// A request that passes through the loop.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRequest {
    /// The client's number for it.
    pub xid: i32,
    /// The operation code.
    pub op: i32,
    /// The request, decoded once.
    pub request: Request,
    /// The request's body as received, for the leader.
    pub body: Bytes,
    /// The connection's identities when the request was read.
    pub identities: Arc<Vec<Identity>>,
}

/// Everything that a server can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make this durable and report its number.
    Write(WriteSeq, Write),
    /// Send a packet on the quorum port.
    Send(LinkId, Packet),
    /// Send this tree as a SNAP packet in the order of the link's packets.
    SendSnapshot(LinkId, Image),
    /// Send a notification on the election port; a newer one replaces one that waits.
    Vote(ServerId, Notification),
    /// Connect to the quorum port of this server.
    Dial(ServerId),
    /// Close this link.
    DropLink(LinkId),
    /// Write this tree as a snapshot file; everything in it is already durable in the log.
    TakeSnapshot(Image),
    /// Answer a connect request: accepted with a session, or refused (timeout 0) and closed.
    Connected(ConnId, ConnectResponse),
    /// Answer a request: the connection puts the watch events up to `zxid` before it.
    Reply(ConnId, Reply),
    /// Watch events wait for these connections.
    Notify(Vec<ConnId>),
    /// Close this connection: `true` after what is queued for it was written.
    DropClient(ConnId, Closing),
    /// Serve clients or stop: on `false` every client's connection is closed.
    Status(Status),
    /// The membership in force changed.
    Ensemble(Ensemble),
    /// The answer to `Event::Transfer`.
    Transferred(Result<ServerId, String>),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// After everything that is queued for it was written.
    Orderly,
    /// At once.
    Abrupt,
}

/// A reply to a request that passed through the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The client's number for the request.
    pub xid: i32,
    /// The reply header's zxid.
    pub zxid: Zxid,
    /// The reply header's error; 0 for success.
    pub err: i32,
    /// The body after the header; empty if there is none.
    pub body: Bytes,
    /// Whether the connection is closed after it.
    pub last: bool,
}

/// The session of a connection, as the loop granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The session.
    pub session: SessionId,
    /// The negotiated timeout.
    pub timeout: Millis,
}
