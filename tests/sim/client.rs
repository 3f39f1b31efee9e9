//! One client: connects, keeps its session, sends requests and checks what comes back on its connection.
//!
//! In: time, frames of a server, the end of a connection. Out: frames, and wishes to connect, to hang up, to be woken.
//!
//! Always true:
//! * replies come in the order of the requests, and the zxids that it sees in one session never go back, over however
//!   many connections and servers;
//! * a request without a reply when its connection ends is of unknown fate, and is never sent again.
//!
//! Not here: which requests it makes (`workload`), whether a reply is true (`oracle`).

use std::collections::VecDeque;

use bytes::Bytes;
use quorate::base::rng::Rng;
use quorate::base::{SessionId, Zxid};

use crate::acl::Identities;
use crate::invariants::local_sessions::{self, Reign, Silence};
use crate::invariants::watches::{List, Watches};
use crate::oracle::{Asked, Oracle, code};
use crate::queue::Micros;
use crate::request::Request;
use crate::setup::Setup;
use crate::wire::{self, ConnectMode, Reply};
use crate::workload::Workload;

/// The xid of a ping, of an event and of an auth packet.
const PING_XID: i32 = -2;
const EVENT_XID: i32 = -1;
const AUTH_XID: i32 = -4;

/// What a client wants from the world.
#[derive(Debug)]
pub enum Wish {
    /// A connection to the server at this place.
    Connect(usize),
    /// A frame on its way.
    Send(Bytes),
    /// The connection closed.
    HangUp,
}

/// A session as the client knows it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    password: Bytes,
    /// Negotiated.
    pub timeout: Micros,
    /// The highest zxid that it has seen.
    last_zxid: Zxid,
    next_xid: i32,
    /// When a server last answered something that was sent then or later.
    pub heard: Micros,
    /// The server that answered then.
    home: Option<Reign>,
    /// Whether a server said that it was that of one that only reads.
    is_read_only: bool,
}

/// A request without a reply yet.
#[derive(Debug)]
struct Pending {
    xid: i32,
    request: Request,
    /// For a sync: what any client had seen when it was sent.
    seen: Zxid,
    at: Micros,
    identities: Identities,
}

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has no connection and makes one at this time.
    Away(Micros),
    /// It asked for a connection and a session, at this time.
    Connecting(Micros),
    /// It has a connection and a session.
    Live,
    /// It is finished.
    Done,
}

/// A client.
pub struct Client {
    phase: Phase,
    servers: usize,
    tick: Micros,
    asked_timeout: Micros,
    /// Its session; `None` before the first and after an expiry.
    pub session: Option<Session>,
    pending: VecDeque<Pending>,
    /// What it does.
    pub workload: Workload,
    /// Its watches that have not fired.
    pub watches: Watches,
    sent: Micros,
    /// When it sent its last frame before it asked for the connection that it has.
    sent_before: Micros,
    heard: Micros,
    /// What a sync on this connection promised.
    floor: Zxid,
    /// Who it proved to be on this connection.
    identities: Identities,
    mode: ConnectMode,
    /// The server that its connection is to.
    pub peer: Option<Reign>,
    /// The place of the server to which it went last.
    last_server: usize,
    rng: Rng,
    /// Sessions that it lost.
    pub expired: u64,
    /// Connections to servers that only read.
    pub read_only: u64,
    /// Sessions that it gave up.
    pub given_up: u64,
}

impl Client {
    /// A client that connects at `at`.
    pub fn new(index: usize, setup: &Setup, at: Micros, seed: u64) -> Client {
        let mut rng = Rng::new(seed);
        let workload = Workload::new(index, setup, rng.next_u64());
        let has_readers = setup.has_read_only();
        Client {
            phase: Phase::Away(at),
            servers: setup.servers,
            tick: setup.tick,
            asked_timeout: setup.session_timeout,
            session: None,
            pending: VecDeque::new(),
            workload,
            watches: Watches::default(),
            sent: at,
            sent_before: at,
            heard: at,
            floor: Zxid::ZERO,
            identities: Identities::default(),
            // The first client creates what all use, and the others may read.
            mode: if has_readers && index > 0 { ConnectMode::ReadOnlyWillDo } else { ConnectMode::ReadWrite },
            peer: None,
            last_server: 0,
            rng,
            expired: 0,
            read_only: 0,
            given_up: 0,
        }
    }

    /// Whether it has a session and a connection.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether it has nothing under way.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it asks for a reconfig, or is about to.
    pub fn wants_reconfig(&self) -> bool {
        let is_reconfig = |request: &Request| matches!(request, Request::Reconfig { .. });
        self.pending.iter().any(|pending| is_reconfig(&pending.request)) || self.workload.wants(is_reconfig)
    }

    /// Goes silent for a while, as a client does whose machine stops.
    pub fn freeze(&mut self, until: Micros, wishes: &mut Vec<Wish>) {
        if self.phase != Phase::Done {
            self.hang_up(until, wishes);
        }
    }

    /// Does what is due. Answers when it is to be woken next; `None` for never.
    pub fn wake(&mut self, now: Micros, oracle: &mut Oracle, wishes: &mut Vec<Wish>) -> Option<Micros> {
        match self.phase {
            Phase::Away(at) if at <= now => {
                self.phase = Phase::Connecting(now);
                self.give_up_session(now);
                // Often back to where it was: a session may live there alone.
                if self.rng.below(3) > 0 {
                    self.last_server = self.rng.below(self.servers as u64) as usize;
                }
                wishes.push(Wish::Connect(self.last_server));
                self.sent_before = std::mem::replace(&mut self.sent, now);
                Some(now + self.patience())
            }
            Phase::Away(at) => Some(at),
            Phase::Connecting(at) if at + self.patience() <= now => {
                let pause = Micros::of_ms(5 + self.rng.below(40));
                self.hang_up(now + pause, wishes);
                self.wake(now, oracle, wishes)
            }
            Phase::Connecting(at) => Some(at + self.patience()),
            Phase::Live => self.work(now, oracle, wishes),
            Phase::Done => None,
        }
    }

    /// The connection stands: asks for the session.
    pub fn on_connected(&mut self, wishes: &mut Vec<Wish>) {
        let (zxid, session) = match &self.session {
            Some(session) => (session.last_zxid, (session.id, &session.password[..])),
            None => (Zxid::ZERO, (SessionId::NONE, &[0; 16][..])),
        };
        let frame = wire::connect(zxid, self.timeout_ms(), session, self.mode);
        wishes.push(Wish::Send(frame));
    }

    /// The connection is gone, or could not be made.
    pub fn on_closed(&mut self, now: Micros) {
        if self.phase == Phase::Done {
            return;
        }
        self.forget_connection();
        self.phase = Phase::Away(now + Micros::of_ms(5 + self.rng.below(60)));
    }

    /// A frame of the server.
    pub fn on_frame(&mut self, now: Micros, frame: Bytes, oracle: &mut Oracle, wishes: &mut Vec<Wish>) {
        self.heard = now;
        match self.phase {
            Phase::Connecting(_) => self.on_session(now, frame, oracle, wishes),
            Phase::Live => {
                let reply = wire::reply(frame).unwrap_or_else(|err| panic!("a reply cannot be read: {err}"));
                self.on_reply(now, reply, oracle);
            }
            Phase::Away(_) | Phase::Done => {}
        }
    }

    /// No further requests; the session stays.
    pub fn finish(&mut self) {
        self.workload.stop();
    }

    fn on_session(&mut self, now: Micros, frame: Bytes, oracle: &mut Oracle, wishes: &mut Vec<Wish>) {
        let connected = wire::connected(frame).unwrap_or_else(|err| panic!("no connect response: {err}"));
        self.check_local(now, &connected, oracle);
        if connected.timeout_ms == 0 {
            let session = self.session.take();
            session.expect("only a session that is asked for again is refused");
            self.expired += 1;
            self.watches.clear();
            self.hang_up(now + Micros::of_ms(5), wishes);
            return;
        }
        let timeout = Micros::of_ms(u64::try_from(connected.timeout_ms).expect("a timeout is positive"));
        match &mut self.session {
            Some(session) => {
                assert!(
                    session.id == connected.session,
                    "asked for {}, got {}",
                    session.id,
                    connected.session
                );
                session.timeout = timeout;
                session.home = self.peer;
            }
            None => {
                let (id, password) = (connected.session, connected.password);
                let (last_zxid, heard, home) = (Zxid::ZERO, self.sent, self.peer);
                let is_read_only = connected.is_read_only;
                self.session = Some(Session {
                    id,
                    password,
                    timeout,
                    last_zxid,
                    next_xid: 1,
                    heard,
                    home,
                    is_read_only,
                });
            }
        }
        let session = self.session.as_mut().expect("it was set above");
        // The request to connect was under way all the time since it was sent.
        session.heard = session.heard.max(self.sent);
        session.is_read_only = connected.is_read_only;
        assert!(
            !connected.is_read_only || self.mode == ConnectMode::ReadOnlyWillDo,
            "a server that only reads takes a client that writes"
        );
        self.read_only += u64::from(connected.is_read_only);
        self.phase = Phase::Live;
        if self.watches.count() > 0 {
            let seen = self.session.as_ref().map_or(Zxid::ZERO, |session| session.last_zxid);
            let lists = self.watches.on_registering();
            self.send(now, Request::SetWatches { seen, lists }, oracle, wishes);
        }
    }

    /// Its session, if that is local, is as old as it may be where the server that has it says what becomes of it.
    fn check_local(&self, now: Micros, connected: &wire::Connected, oracle: &Oracle) {
        let Some(session) = &self.session else { return };
        let is_at_home = session.home.is_some() && session.home == self.peer;
        if !is_at_home || !oracle.may_be_local(session.id) {
            return;
        }
        let (timeout, tick) = (session.timeout, self.tick);
        if connected.timeout_ms != 0 {
            let lasted = Micros(self.sent.0 - self.sent_before.0);
            local_sessions::on_taken(session.id, Silence { lasted, timeout, tick });
        } else if !oracle.wanted_ephemeral(session.id) {
            let lasted = Micros(now.0 - session.heard.0);
            local_sessions::on_refused(session.id, Silence { lasted, timeout, tick });
        }
    }

    fn on_reply(&mut self, now: Micros, mut reply: Reply, oracle: &mut Oracle) {
        if reply.xid == EVENT_XID {
            let mut body = reply.body.clone();
            let read = |body: &mut quorate::base::wire::Reader| -> Result<(i32, String), wire::Unreadable> {
                let kind = body.i32("type")?;
                body.i32("state")?;
                Ok((kind, wire::string(body)?))
            };
            let (kind, path) = read(&mut body).unwrap_or_else(|err| panic!("an event cannot be read: {err}"));
            self.watches.on_event(&oracle.model, reply.zxid, kind, &path);
            return;
        }
        let pending = self.pending.pop_front();
        let pending = pending.unwrap_or_else(|| panic!("a reply to nothing: {reply:?}"));
        assert!(pending.xid == reply.xid, "a reply to {} came where {} was due", reply.xid, pending.xid);
        let session = self.session.as_mut().expect("a live client has a session");
        session.heard = session.heard.max(pending.at);
        if pending.request.tells_of_state() && pending.request != Request::Ping {
            assert!(
                reply.zxid >= session.last_zxid,
                "{} saw {} and then {}: {:?}",
                session.id,
                session.last_zxid,
                reply.zxid,
                pending.request
            );
            session.last_zxid = reply.zxid;
        }
        let (id, is_read_only) = (session.id, session.is_read_only);
        match &pending.request {
            Request::SetWatches { seen, .. } => {
                self.watches.on_registered_again(&oracle.model, *seen, reply.zxid);
            }
            request if request.tells_of_state() => self.watches.on_reply(&oracle.model, reply.zxid),
            _ => {}
        }
        if pending.request == Request::Ping {
            return;
        }
        let Pending { request, at, identities, .. } = &pending;
        let asked = Asked { request, at: *at, floor: self.floor, identities: *identities, is_read_only };
        oracle.on_reply(id, &asked, &mut reply);
        self.register(&pending.request, &reply);
        self.workload.on_reply(&oracle.model, &pending.request, &reply);
        match pending.request {
            Request::Sync if reply.err == 0 => self.floor = self.floor.max(pending.seen),
            Request::Close if reply.err == 0 => {
                self.session = None;
                self.forget_connection();
                self.watches.clear();
                self.phase = Phase::Away(now + Micros::of_ms(1 + self.rng.below(20)));
            }
            _ => {}
        }
    }

    fn register(&mut self, request: &Request, reply: &Reply) {
        let watches = &mut self.watches;
        match request {
            Request::Get { path, watch: true } if reply.err == 0 => watches.on_registered(path, List::Data),
            Request::Exists { path, watch: true } => match reply.err {
                0 => watches.on_registered(path, List::Data),
                code::NO_NODE => watches.on_registered(path, List::Exist),
                _ => {}
            },
            Request::Children { path, watch: true, .. } if reply.err == 0 => {
                watches.on_registered(path, List::Children);
            }
            Request::AddWatch { path, mode } => watches.on_added(path, *mode),
            Request::CheckWatches { path, kind } | Request::RemoveWatches { path, kind } => {
                let (has, found) = (watches.has(path, *kind), reply.err == 0);
                assert!(
                    has == found,
                    "watches: {request:?} is answered with {}, and there are {watches:?}",
                    reply.err
                );
                if matches!(request, Request::RemoveWatches { .. }) {
                    watches.on_removed(path, *kind);
                }
            }
            _ => {}
        }
    }

    /// Sends what is due, pings, or gives the connection up.
    fn work(&mut self, now: Micros, oracle: &mut Oracle, wishes: &mut Vec<Wish>) -> Option<Micros> {
        let timeout = self.session.as_ref().expect("a live client has a session").timeout;
        let silent_from = self.pending.front().map_or(now, |pending| pending.at.max(self.heard));
        if silent_from + Micros(timeout.0 * 2 / 3) <= now {
            let pause = Micros::of_ms(1 + self.rng.below(20));
            self.hang_up(now + pause, wishes);
            return self.wake(now, oracle, wishes);
        }
        let due = self.workload.due();
        if due <= now && self.pending.len() < self.workload.window() {
            let watches = self.watches.waiting_count();
            for request in self.workload.next(now, &oracle.model, watches) {
                self.send(now, request, oracle, wishes);
            }
        }
        let ping_at = self.sent + Micros(timeout.0 / 3);
        if ping_at <= now {
            self.send(now, Request::Ping, oracle, wishes);
        }
        let patience_ends = silent_from + Micros(timeout.0 * 2 / 3);
        let next = (self.sent + Micros(timeout.0 / 3)).min(patience_ends);
        Some(if self.pending.len() < self.workload.window() { next.min(self.workload.due()) } else { next })
    }

    fn send(&mut self, now: Micros, request: Request, oracle: &mut Oracle, wishes: &mut Vec<Wish>) {
        let session = self.session.as_mut().expect("a live client has a session");
        let xid = match request {
            Request::Ping => PING_XID,
            Request::Auth(_) => AUTH_XID,
            _ => {
                session.next_xid += 1;
                session.next_xid - 1
            }
        };
        if let Request::Auth(user) = request {
            self.identities.add(user);
        }
        let identities = self.identities;
        let seen = oracle.on_sent(session.id, xid, &request, identities);
        wishes.push(Wish::Send(request.encode(xid)));
        self.pending.push_back(Pending { xid, request, seen, at: now, identities });
        self.sent = now;
    }

    fn hang_up(&mut self, again: Micros, wishes: &mut Vec<Wish>) {
        wishes.push(Wish::HangUp);
        self.forget_connection();
        self.phase = Phase::Away(again);
    }

    fn forget_connection(&mut self) {
        // The last one first, so that the first is asked for again first.
        for pending in self.pending.drain(..).rev() {
            self.workload.on_unknown(&pending.request);
        }
        self.watches.on_disconnected();
        self.floor = Zxid::ZERO;
        self.identities = Identities::default();
        self.peer = None;
        self.workload.on_disconnected();
    }

    /// A client that can do with reading takes a new session, where any server gives it one, once its own has ended by
    /// all that it can know.
    fn give_up_session(&mut self, now: Micros) {
        let is_over = |session: &mut Session| session.heard + Micros(session.timeout.0 * 2) < now;
        if self.mode == ConnectMode::ReadOnlyWillDo && self.session.take_if(is_over).is_some() {
            self.watches.clear();
            self.given_up += 1;
        }
    }

    fn patience(&self) -> Micros {
        Micros(self.asked_timeout.0 / 3)
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.asked_timeout.0 / 1_000).expect("a timeout is short")
    }
}
