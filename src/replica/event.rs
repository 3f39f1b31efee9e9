//! Everything that can happen to a server, and everything that it can ask for.
//!
//! In and out: plain data, so that a run can be printed, recorded and played again.
//!
//! Always true:
//! * the edge begins effects in the order given;
//! * messages to one link arrive in order and without a gap, or the link is reported down.
//!
//! Not here: what is done about an event (`machine`), performing an effect (`server::edge`).

use std::sync::Arc;

use bytes::Bytes;

use super::read::Local;
use crate::base::{ConnId, Ensemble, LinkId, Millis, Room, ServerId, SessionId, Write, WriteSeq, Zxid};
use crate::proto::{ConnectRequest, ConnectResponse, Id, Op, Request};
use crate::tree::{Image, Passed};
use crate::zab::effects::Status;
use crate::zab::packet::Packet;
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
    /// Bytes of a packet that is not whole yet arrived: the peer lives.
    Progress(LinkId),
    /// A packet of a link.
    Packet(LinkId, Packet),
    /// A notification on the election port.
    Vote(ServerId, Notification),
    /// Every write up to this one is durable.
    Synced(WriteSeq),
    /// The snapshot asked for by `Effect::TakeSnapshot` is durable, or could not be written.
    SnapshotTaken(Zxid, Result<(), String>),
    /// A client sent its connect request.
    ClientUp(ConnId, ConnectRequest),
    /// A client asks for what the loop must order: writes, syncs, and reads between them.
    Requests(ConnId, Vec<ClientRequest>),
    /// A connection with a session had traffic at this moment. A connection tells at least once per half tick
    /// with traffic.
    Touched(ConnId, Millis),
    /// A client's connection is gone.
    ClientDown(ConnId),
    /// How much room this server's disk has changed.
    Room(Room),
    /// Give leadership to this voter; `None` chooses the voter that is most level.
    Transfer(Option<ServerId>),
}

/// A request that passes through the loop.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRequest {
    /// The client's number for it.
    pub xid: i32,
    /// What it asks for.
    pub ask: Ask,
    /// The connection's identities when the request was read.
    pub identities: Arc<Vec<Id>>,
}

/// What the loop has to do about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Let the leader order it: a write, or the end of the session.
    Write {
        /// The operation code.
        op: Op,
        /// The request, decoded once.
        request: Request,
        /// The request's body as received, for the leader.
        body: Bytes,
    },
    /// A multi that cannot be read, but for which ZooKeeper takes a zxid.
    Broken {
        /// Its body, if every leader answers it with an error; `None` if none may see it, as it would stop the
        /// pipeline of Apache ZooKeeper. Then a learner answers by itself, and only a server that decides takes a zxid.
        body: Option<Bytes>,
    },
    /// Wait until this server has applied what its leader had committed.
    Sync(Option<String>),
    /// Answer it here, once everything that the client asked before is answered.
    Local(Local),
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
    /// Tell a connection something: `Conn::on_effect`.
    Client(ConnId, ToClient),
    /// Events of txns up to this one wait for these connections: `ToClient::Notify` for each.
    Notify(Zxid, Vec<ConnId>),
    /// What this server is. Unless it serves, or `Effect::ReadOnly` is in force, every client's connection is closed.
    Status(Status),
    /// As long as there is no leader, clients are served that can do with reading.
    ReadOnly,
    /// The membership in force changed.
    Ensemble(Ensemble),
    /// A write passed a limit of a quota, or was refused for it.
    LimitPassed(Passed),
    /// The answer to `Event::Transfer`.
    Transferred(Result<ServerId, String>),
}

/// What the loop tells a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ToClient {
    /// The answer to a connect request: a session, or a refusal.
    Connected(ConnectResponse),
    /// The answers to the oldest requests in the loop.
    Replies(Replies),
    /// Events of txns up to this one wait in the mailbox.
    Notify(Zxid),
    /// The connection ends.
    Drop(Closing),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// After everything that is queued for it was written.
    Orderly,
    /// At once.
    Abrupt,
}

/// What becomes of a connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    Stay,
    /// It is closed once the reply was written.
    Close,
}

/// Replies to requests that passed through the loop, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// Which of them tell of one state, at least one run.
    pub runs: Vec<Run>,
    /// The whole frames one after the other, their lengths included.
    pub frames: Bytes,
    /// What becomes of the connection.
    pub then: Then,
}

/// Replies one after the other that tell of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Events up to this txn go before them, later ones behind them.
    pub state: Zxid,
    /// How many they are.
    pub count: usize,
    /// How many bytes of the frames are theirs.
    pub bytes: usize,
}

impl Replies {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// Each frame, its length included.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.frames[..];
        std::iter::from_fn(move || {
            let len = u32::from_be_bytes(*rest.first_chunk()?) as usize;
            let (frame, behind) = rest.split_at_checked(4 + len)?;
            rest = behind;
            Some(frame)
        })
    }
}

/// The session of a connection, as the loop granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The session.
    pub session: SessionId,
    /// The negotiated timeout.
    pub timeout: Millis,
}
