//! One client's connection as a state machine: frames in, replies and watch events out.
//!
//! In: frames of the client, and what the loop tells. Out: bytes for the client, events for the loop, and when and
//! how the connection ends.
//!
//! Always true:
//! * replies leave in the order of the requests, one each;
//! * while something of this client is in the loop, everything that it asks goes through the loop behind it, so that
//!   a read sees exactly the writes asked before it;
//! * a watch event leaves before any reply that tells of its change, and after every reply of an earlier state.
//!
//! Not here: sockets, frames and words (`net`), what an answer says (`read`), the order of writes (`machine`).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::event::{Ask, ClientRequest, Closing, Event, Granted, Then, ToClient};
use super::meters::Meters;
use super::read::{self, Answer, Caller, Local};
use crate::base::wire::{DecodeError, Writer};
use crate::base::{ConnId, Millis, SessionId, Zxid};
use crate::proto::request::RequestHeader;
use crate::proto::response::encode_reply;
use crate::proto::{ConnectRequest, ConnectResponse, ErrorCode, Id, Op, Request, RequestError};
use crate::tree::{AclCheck, Schemes, Shared, Tree, acl};
use crate::watch::{Watcher, Watches};

/// How many requests of one connection may be in the loop before nothing more is read from its socket.
const IN_LOOP_MAX: usize = 1_000;
/// Bytes of one connection's requests that are enough for the loop: nothing more is read before some are answered. With
/// the last of them they may be more, by as much as one frame has.
const IN_LOOP_BYTES_ENOUGH: usize = 8 << 20;
/// Bytes of replies that are worth a write: nothing more is answered before they are taken. With the last of them they
/// may be more, by as much as one reply has.
const REPLY_BYTES_ENOUGH: usize = 256 << 10;
/// How many reads of one connection share one hold of the tree before a writer gets its chance.
const READS_PER_HOLD: usize = 64;

/// What connections share with the rest of their server.
#[derive(Debug)]
pub struct Service {
    /// The tree that reads are answered from.
    pub tree: Shared,
    /// Where their watches are registered.
    pub watches: Watches,
    /// What they are told apart and limited by.
    pub settings: ClientSettings,
    /// What is counted.
    pub meters: Meters,
}

/// Settings of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// How often a connection with traffic tells the loop so: half a tick.
    pub touch_every: Millis,
    /// How long a connection may stay without a session. ZooKeeper: 10 s.
    pub session_wait: Millis,
    /// How clients prove who they are.
    pub schemes: Schemes,
    /// Whether ACLs are looked at.
    pub acl_check: AclCheck,
}

/// One client's connection.
#[derive(Debug)]
pub struct Conn {
    id: ConnId,
    service: Arc<Service>,
    watcher: Arc<Watcher>,
    identities: Arc<Vec<Id>>,
    address: IpAddr,
    phase: Phase,
    born: Millis,
    /// How many bytes each request has that went to the loop and is not answered, oldest first.
    in_loop: VecDeque<usize>,
    /// Their sum.
    in_loop_bytes: usize,
    latest: Latest,
    /// When the loop was last told of traffic, and traffic since then.
    told: Millis,
    untold: Option<Millis>,
    out: Writer,
    events: Vec<Event>,
}

/// What a connection was about last, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The operation code asked for last, credentials left out; 0 before the first.
    pub op: i32,
    /// The client's last number that is not negative, as those of pings are; -1 before the first.
    pub xid: i32,
    /// The state that the last reply told of; `Zxid::NONE` before the first.
    pub zxid: Zxid,
}

#[derive(Debug)]
enum Phase {
    /// The first frame has not come.
    Handshake,
    /// The loop decides about the session; what came behind the connect request waits.
    Connecting(Vec<Bytes>),
    /// It has a session.
    Open(Granted),
    /// The last request was asked: what comes behind it is ignored, what is in the loop is answered.
    Leaving(Granted),
    /// It is to be closed.
    Closing(Closing),
}

impl Conn {
    /// A connection that was just accepted; its address is its first identity.
    pub fn new(now: Millis, id: ConnId, peer: IpAddr, service: Arc<Service>) -> Conn {
        let identities = Arc::new(vec![acl::ip_id(peer)]);
        let watcher = service.watches.open(id, Arc::clone(&identities));
        Conn {
            id,
            service,
            watcher,
            identities,
            address: peer,
            phase: Phase::Handshake,
            born: now,
            in_loop: VecDeque::new(),
            in_loop_bytes: 0,
            latest: Latest { op: 0, xid: -1, zxid: Zxid::NONE },
            told: now,
            untold: None,
            out: Writer::new(),
            events: Vec::new(),
        }
    }

    /// Its number.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The session that it was granted; `None` before that.
    pub fn granted(&self) -> Option<Granted> {
        match self.phase {
            Phase::Open(granted) | Phase::Leaving(granted) => Some(granted),
            Phase::Handshake | Phase::Connecting(_) | Phase::Closing(_) => None,
        }
    }

    /// What it was about last.
    pub fn latest(&self) -> Latest {
        self.latest
    }

    /// Takes whole frames, without their lengths, in the order received. It takes the first, and each further one only
    /// while [`Conn::wants_frames`].
    pub fn on_frames(&mut self, now: Millis, frames: &mut impl Iterator<Item = Bytes>) {
        let service = Arc::clone(&self.service);
        let mut next = frames.next();
        while let Some(frame) = next {
            if let Some((xid, local)) = self.take(now, frame) {
                service.tree.read(|tree| {
                    self.answer(tree, xid, &local);
                    for _ in 1..READS_PER_HOLD {
                        if !self.wants_frames() {
                            return;
                        }
                        let Some(frame) = frames.next() else { return };
                        if let Some((xid, local)) = self.take(now, frame) {
                            self.answer(tree, xid, &local);
                        }
                    }
                });
            }
            next = if self.wants_frames() { frames.next() } else { None };
        }
    }

    /// Takes one frame, without its length.
    pub fn on_frame(&mut self, now: Millis, frame: Bytes) {
        self.on_frames(now, &mut std::iter::once(frame));
    }

    /// Takes what the loop tells.
    pub fn on_effect(&mut self, now: Millis, effect: ToClient) {
        if let Phase::Closing(_) = self.phase {
            return;
        }
        match effect {
            ToClient::Connected(response) => self.on_connected(now, &response),
            ToClient::Reply(reply) => {
                for _ in 0..reply.count {
                    let bytes = self.in_loop.pop_front().expect("every reply has a request in the loop");
                    self.in_loop_bytes -= bytes;
                }
                self.drain(reply.state);
                self.latest.zxid = reply.state;
                self.out.raw(&reply.frames);
                self.go_on(reply.then);
            }
            ToClient::Notify(zxid) => self.drain(zxid),
            ToClient::Drop(closing) => self.phase = Phase::Closing(closing),
        }
    }

    /// Lets time pass; to be called once `deadline` is reached.
    pub fn on_tick(&mut self, now: Millis) {
        match self.phase {
            Phase::Handshake | Phase::Connecting(_) => {
                if now >= self.born + self.service.settings.session_wait {
                    self.phase = Phase::Closing(Closing::Abrupt);
                }
            }
            Phase::Open(_) | Phase::Leaving(_) => {
                if now >= self.told + self.service.settings.touch_every {
                    self.tell_touched(now);
                }
            }
            Phase::Closing(_) => {}
        }
    }

    /// When `on_tick` has something to do; `None` if time changes nothing.
    pub fn deadline(&self) -> Option<Millis> {
        match self.phase {
            Phase::Handshake | Phase::Connecting(_) => Some(self.born + self.service.settings.session_wait),
            Phase::Open(_) | Phase::Leaving(_) => {
                self.untold.map(|_| self.told + self.service.settings.touch_every)
            }
            Phase::Closing(_) => None,
        }
    }

    /// The connection is gone: its watches go, and the loop is told.
    pub fn on_gone(&mut self, now: Millis) {
        self.tell_touched(now);
        self.service.watches.close(&self.watcher);
        self.phase = Phase::Closing(Closing::Abrupt);
        self.events.push(Event::ClientDown(self.id));
    }

    /// Whether more may be read from its socket: not while it waits for a session, has too much in the loop, or has
    /// replies that fill a write.
    pub fn wants_frames(&self) -> bool {
        match self.phase {
            Phase::Handshake | Phase::Leaving(_) => true,
            Phase::Open(_) => {
                self.in_loop.len() < IN_LOOP_MAX
                    && self.in_loop_bytes < IN_LOOP_BYTES_ENOUGH
                    && self.out.bytes.len() < REPLY_BYTES_ENOUGH
            }
            Phase::Connecting(_) | Phase::Closing(_) => false,
        }
    }

    /// The bytes for the client that have come together.
    pub fn take_bytes(&mut self) -> BytesMut {
        std::mem::take(&mut self.out.bytes)
    }

    /// Gives back the memory that a connection without traffic does not need.
    pub fn rest(&mut self) {
        self.in_loop.shrink_to_fit();
    }

    /// The events for the loop that have come together, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether and how the connection ends: orderly means that the bytes taken so far are written first.
    pub fn closing(&self) -> Option<Closing> {
        match self.phase {
            Phase::Closing(closing) => Some(closing),
            Phase::Handshake | Phase::Connecting(_) | Phase::Open(_) | Phase::Leaving(_) => None,
        }
    }

    fn on_connect(&mut self, frame: Bytes) {
        match ConnectRequest::decode(frame) {
            Ok(request) => {
                self.phase = Phase::Connecting(Vec::new());
                self.events.push(Event::ClientUp(self.id, request));
            }
            Err(_) => self.phase = Phase::Closing(Closing::Abrupt),
        }
    }

    fn on_connected(&mut self, now: Millis, response: &ConnectResponse) {
        response.encode(&mut self.out);
        if response.is_refusal() {
            self.phase = Phase::Closing(Closing::Orderly);
            return;
        }
        let timeout = Millis(u64::try_from(response.timeout_ms).unwrap_or(0));
        let open = Phase::Open(Granted { session: response.session, timeout });
        let Phase::Connecting(early) = std::mem::replace(&mut self.phase, open) else {
            panic!("only a connection that asked for a session is granted one");
        };
        self.told = now;
        self.latest.op = Op::CreateSession.as_wire();
        self.latest.xid = 0;
        let mut early = early.into_iter();
        while early.len() > 0 {
            self.on_frames(now, &mut early);
        }
    }

    /// Takes a frame, and returns what is to be answered at once.
    fn take(&mut self, now: Millis, frame: Bytes) -> Option<(i32, Local)> {
        match &mut self.phase {
            Phase::Handshake => self.on_connect(frame),
            Phase::Connecting(early) => early.push(frame),
            Phase::Leaving(_) | Phase::Closing(_) => {}
            Phase::Open(_) => {
                let bytes = frame.len();
                let (xid, ask) = self.on_request(now, frame)?;
                match ask {
                    Ask::Local(local) if self.in_loop.is_empty() => return Some((xid, local)),
                    Ask::Local(_) | Ask::Write { .. } | Ask::Broken { .. } | Ask::Sync(_) => {
                        self.order(xid, ask, bytes)
                    }
                }
            }
        }
        None
    }

    /// Reads a request, and does at once what is of the connection alone.
    fn on_request(&mut self, now: Millis, mut frame: Bytes) -> Option<(i32, Ask)> {
        let Ok(header) = RequestHeader::decode(&mut frame) else {
            self.phase = Phase::Closing(Closing::Abrupt);
            return None;
        };
        let request = Request::decode(header.op, frame.clone());
        let is_of_connection = matches!(request, Ok(Request::Auth { .. } | Request::Sasl { .. }));
        if !is_of_connection {
            self.touch(now);
            self.latest.op = header.op;
            self.latest.xid = if header.xid < 0 { self.latest.xid } else { header.xid };
        }
        let ask = match request {
            Ok(request) => self.on_known(request, frame),
            Err(RequestError::Body { op: Op::Multi, source }) => broken_multi(&source, frame),
            Err(RequestError::Body { .. }) => Ask::Local(Local::Refused(ErrorCode::MarshallingError)),
            Err(RequestError::UnknownOp(_)) => {
                self.leave();
                let err = ErrorCode::Unimplemented.as_wire();
                Ask::Local(Local::Bare { zxid: Zxid::NONE, err, then: Then::Close })
            }
            Err(RequestError::Frame(_)) => {
                self.phase = Phase::Closing(Closing::Abrupt);
                return None;
            }
        };
        Some((header.xid, ask))
    }

    fn on_known(&mut self, request: Request, body: Bytes) -> Ask {
        match request {
            Request::Create(_)
            | Request::Create2(_)
            | Request::CreateContainer(_)
            | Request::CreateTtl(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Multi(_)
            | Request::Reconfig(_) => Ask::Write { op: request.op(), request, body },
            Request::CloseSession => {
                self.leave();
                Ask::Write { op: request.op(), request, body: Bytes::new() }
            }
            Request::Sync { path } => Ask::Sync(path),
            Request::Auth { scheme, auth } => Ask::Local(self.on_auth(scheme.as_deref(), auth.as_deref())),
            Request::Exists(_)
            | Request::GetData(_)
            | Request::GetAcl { .. }
            | Request::GetChildren(_)
            | Request::GetChildren2(_)
            | Request::Ping
            | Request::MultiRead(_)
            | Request::CheckWatches(_)
            | Request::RemoveWatches(_)
            | Request::SetWatches(_)
            | Request::SetWatches2(_)
            | Request::Sasl { .. }
            | Request::GetEphemerals { .. }
            | Request::GetAllChildrenNumber { .. }
            | Request::AddWatch { .. }
            | Request::WhoAmI => Ask::Local(Local::Read(request)),
        }
    }

    /// Takes a credential. It counts for every request read after it; its reply keeps its place among the others.
    fn on_auth(&mut self, scheme: Option<&str>, auth: Option<&[u8]>) -> Local {
        let granted = match self.service.settings.schemes.authenticate(scheme, auth, self.address) {
            Ok(granted) => granted,
            Err(code) => {
                self.service.meters.auth_failures.add(1);
                self.leave();
                return Local::Bare { zxid: Zxid::ZERO, err: code.as_wire(), then: Then::Close };
            }
        };
        let identities = Arc::make_mut(&mut self.identities);
        for id in granted {
            if !identities.contains(&id) {
                identities.push(id);
            }
        }
        acl::sort_identities(identities);
        self.watcher.set_identities(Arc::clone(&self.identities));
        Local::Bare { zxid: Zxid::ZERO, err: 0, then: Then::Stay }
    }

    fn order(&mut self, xid: i32, ask: Ask, bytes: usize) {
        self.in_loop.push_back(bytes);
        self.in_loop_bytes += bytes;
        let identities = Arc::clone(&self.identities);
        self.events.push(Event::Request(self.id, ClientRequest { xid, ask, identities }));
    }

    fn answer(&mut self, tree: &Tree, xid: i32, local: &Local) {
        let session = self.granted().map_or(SessionId::NONE, |granted| granted.session);
        let caller = Caller {
            session,
            identities: &self.identities,
            acl_check: self.service.settings.acl_check,
            watches: &self.service.watches,
            watcher: &self.watcher,
        };
        let Answer { header, response, then } = read::answer(tree, &caller, xid, local);
        let zxid = tree.last_processed();
        self.drain(zxid);
        self.latest.zxid = zxid;
        encode_reply(header, &response, &mut self.out);
        self.go_on(then);
    }

    fn drain(&mut self, zxid: Zxid) {
        if self.watcher.drain(zxid, &mut self.out.bytes).is_err() {
            self.phase = Phase::Closing(Closing::Abrupt);
        }
    }

    fn go_on(&mut self, then: Then) {
        // What came behind the last request was not read: there is nothing to go on with, whatever the answer.
        let is_last = matches!(self.phase, Phase::Leaving(_)) && self.in_loop.is_empty();
        if is_last || then == Then::Close {
            self.phase = Phase::Closing(Closing::Orderly);
        }
    }

    fn leave(&mut self) {
        if let Phase::Open(granted) = self.phase {
            self.phase = Phase::Leaving(granted);
        }
    }

    /// The first traffic after a quiet while is told at once, what follows within half a tick is told at its end.
    fn touch(&mut self, now: Millis) {
        self.untold = Some(now);
        if now >= self.told + self.service.settings.touch_every {
            self.tell_touched(now);
        }
    }

    fn tell_touched(&mut self, now: Millis) {
        if let Some(at) = self.untold.take() {
            self.told = now;
            self.events.push(Event::Touched(self.id, at));
        }
    }
}

/// ZooKeeper takes a zxid for a multi that it cannot read, unless it stumbles over a null.
fn broken_multi(error: &DecodeError, body: Bytes) -> Ask {
    match error {
        DecodeError::Null { .. } => Ask::Local(Local::Refused(ErrorCode::MarshallingError)),
        DecodeError::Unknown { field: "create flags", .. } => Ask::Broken { body: Some(body) },
        DecodeError::TooShort { .. }
        | DecodeError::Length { .. }
        | DecodeError::Unknown { .. }
        | DecodeError::Invalid { .. } => Ask::Broken { body: None },
    }
}
