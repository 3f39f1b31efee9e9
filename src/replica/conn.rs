//! One client's connection as a state machine: frames in, replies and watch events out.
//!
//! In: frames of the client, and what the loop tells. Out: bytes for the client, events for the loop, and when and
//! how the connection ends.
//!
//! Always true:
//! * replies leave in the order of the requests, one each;
//! * while something of this client is in the loop, nothing that it asks behind it is answered: a read waits here
//!   (`behind`), or in the loop if a write follows it, so that it sees exactly the writes asked before it;
//! * a watch event leaves before any reply that tells of its change, and after every reply of an earlier state.
//!
//! Not here: sockets, frames and words (`net`), what an answer says (`read`), the order of writes (`machine`).

mod behind;
mod requests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use self::behind::Behind;
use super::event::{Ask, Closing, Event, Granted, Then, ToClient};
use super::meters::Meters;
use super::read::{self, Answer, Caller, Local};
use crate::base::wire::Writer;
use crate::base::{ConnId, Millis, SessionId, Zxid};
use crate::proto::response::encode_reply;
use crate::proto::{ConnectRequest, ConnectResponse, Id, Op};
use crate::tree::{AclCheck, Schemes, Shared, Tree, acl};
use crate::watch::{Watcher, Watches};

/// How many requests of one connection may wait for their answers before nothing more is read from its socket.
const PENDING_MAX: usize = 1_000;
/// Bytes of one connection's requests that are enough: nothing more is read before some are answered. With the last of
/// them they may be more, by as much as one frame has.
const PENDING_BYTES_ENOUGH: usize = 8 << 20;
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
    /// Reads that wait behind them.
    behind: VecDeque<Behind>,
    /// How many bytes all of them have.
    pending_bytes: usize,
    /// Reads that were answered here and not counted: how many of those that came at one time.
    answered: Vec<(Millis, u64)>,
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
            behind: VecDeque::new(),
            pending_bytes: 0,
            answered: Vec::new(),
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
                    self.answer(tree, now, xid, &local, None);
                    for _ in 1..READS_PER_HOLD {
                        if !self.wants_frames() {
                            return;
                        }
                        let Some(frame) = frames.next() else { return };
                        if let Some((xid, local)) = self.take(now, frame) {
                            self.answer(tree, now, xid, &local, None);
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
            ToClient::Replies(replies) => {
                let mut rest = &replies.frames[..];
                for run in &replies.runs {
                    for _ in 0..run.count {
                        let bytes = self.in_loop.pop_front().expect("every reply has a request in the loop");
                        self.pending_bytes -= bytes;
                    }
                    self.drain(run.state);
                    self.latest.zxid = run.state;
                    let (frames, behind) = rest.split_at(run.bytes);
                    self.out.raw(frames);
                    rest = behind;
                }
                self.go_on(replies.then);
                self.answer_behind();
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
                self.in_loop.len() + self.behind.len() < PENDING_MAX
                    && self.pending_bytes < PENDING_BYTES_ENOUGH
                    && self.out.bytes.len() < REPLY_BYTES_ENOUGH
            }
            Phase::Connecting(_) | Phase::Closing(_) => false,
        }
    }

    /// The bytes for the client that have come together. While it [`has answers`](Conn::has_answers) there are more.
    pub fn take_bytes(&mut self) -> BytesMut {
        self.answer_behind();
        std::mem::take(&mut self.out.bytes)
    }

    /// How many reads were answered here since the last call, each time with when they came.
    pub fn take_answered(&mut self) -> impl Iterator<Item = (Millis, u64)> + '_ {
        self.answered.drain(..)
    }

    /// How many reads wait here behind what is in the loop.
    pub fn behind_count(&self) -> usize {
        self.behind.len()
    }

    /// Gives back the memory that a connection without traffic does not need.
    pub fn rest(&mut self) {
        self.in_loop.shrink_to_fit();
        self.behind.shrink_to_fit();
        self.answered.shrink_to_fit();
    }

    /// The events for the loop that have come together, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Moves them behind others.
    pub fn move_events(&mut self, to: &mut Vec<Event>) {
        to.append(&mut self.events);
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
                let is_first = self.in_loop.is_empty() && self.behind.is_empty();
                match ask {
                    Ask::Local(local) if is_first => return Some((xid, local)),
                    Ask::Local(_) | Ask::Write { .. } | Ask::Broken { .. } | Ask::Sync(_) => {
                        self.order(now, xid, ask, bytes)
                    }
                }
            }
        }
        None
    }

    /// Answers what came at this time, by these identities or by those of now.
    fn answer(&mut self, tree: &Tree, came: Millis, xid: i32, local: &Local, identities: Option<&[Id]>) {
        let session = self.granted().map_or(SessionId::NONE, |granted| granted.session);
        let caller = Caller {
            session,
            identities: identities.unwrap_or(&self.identities),
            acl_check: self.service.settings.acl_check,
            watches: &self.service.watches,
            watcher: &self.watcher,
        };
        let Answer { header, response, then } = read::answer(tree, &caller, xid, local);
        let zxid = tree.last_processed();
        self.drain(zxid);
        self.latest.zxid = zxid;
        encode_reply(header, &response, &mut self.out);
        match self.answered.last_mut() {
            Some((same, count)) if *same == came => *count += 1,
            Some(_) | None => self.answered.push((came, 1)),
        }
        self.go_on(then);
    }

    fn drain(&mut self, zxid: Zxid) {
        if self.watcher.drain(zxid, &mut self.out.bytes).is_err() {
            self.phase = Phase::Closing(Closing::Abrupt);
        }
    }

    fn go_on(&mut self, then: Then) {
        // What came behind the last request was not read: there is nothing to go on with, whatever the answer.
        let is_last =
            matches!(self.phase, Phase::Leaving(_)) && self.in_loop.is_empty() && self.behind.is_empty();
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
