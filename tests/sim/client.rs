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
use quorate::base::wire::Writer;
use quorate::base::{SessionId, Zxid};

use crate::invariants::watches::{List, Watches};
use crate::oracle::{Asked, Oracle, Request};
use crate::queue::Micros;
use crate::wire::{self, Reply, op};
use crate::workload::Workload;

/// Password of the identity that may do everything.
pub const SUPER: &str = "super:simulated";
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
}

/// A request without a reply yet.
#[derive(Debug)]
struct Pending {
    xid: i32,
    request: Request,
    /// For a sync: what any client had seen when it was sent.
    seen: Zxid,
    at: Micros,
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
    asked_timeout: Micros,
    /// Its session; `None` before the first and after an expiry.
    pub session: Option<Session>,
    pending: VecDeque<Pending>,
    /// What it does.
    pub workload: Workload,
    /// Its watches that have not fired.
    pub watches: Watches,
    sent: Micros,
    heard: Micros,
    /// What a sync on this connection promised.
    floor: Zxid,
    rng: Rng,
    /// Sessions that it lost.
    pub expired: u64,
}

impl Client {
    /// A client that connects at `at`.
    pub fn new(index: usize, servers: usize, timeout: Micros, at: Micros, seed: u64) -> Client {
        let mut rng = Rng::new(seed);
        let workload = Workload::new(index, rng.next_u64());
        Client {
            phase: Phase::Away(at),
            servers,
            asked_timeout: timeout,
            session: None,
            pending: VecDeque::new(),
            workload,
            watches: Watches::default(),
            sent: at,
            heard: at,
            floor: Zxid::ZERO,
            rng,
            expired: 0,
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
                wishes.push(Wish::Connect(self.rng.below(self.servers as u64) as usize));
                self.sent = now;
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
        let frame = match &self.session {
            Some(session) => {
                wire::connect(session.last_zxid, self.timeout_ms(), session.id, &session.password)
            }
            None => wire::connect(Zxid::ZERO, self.timeout_ms(), SessionId::NONE, &[0; 16]),
        };
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
        if connected.timeout_ms == 0 {
            let session = self.session.take();
            assert!(session.is_some(), "only a session that is asked for again is refused");
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
                session.heard = now;
            }
            None => {
                let (id, password) = (connected.session, connected.password);
                self.session =
                    Some(Session { id, password, timeout, last_zxid: Zxid::ZERO, next_xid: 1, heard: now });
            }
        }
        self.phase = Phase::Live;
        if self.watches.count() > 0 {
            let seen = self.session.as_ref().map_or(Zxid::ZERO, |session| session.last_zxid);
            let lists = self.watches.on_registering();
            self.send(now, Request::SetWatches { seen, lists }, oracle, wishes);
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
        if matches!(pending.request, Request::Ping | Request::Auth) {
            return;
        }
        assert!(
            reply.zxid >= session.last_zxid,
            "{} saw {} and then {}: {:?}",
            session.id,
            session.last_zxid,
            reply.zxid,
            pending.request
        );
        session.last_zxid = reply.zxid;
        match &pending.request {
            Request::SetWatches { seen, .. } => {
                self.watches.on_registered_again(&oracle.model, *seen, reply.zxid);
            }
            _ => self.watches.on_reply(&oracle.model, reply.zxid),
        }
        let asked = Asked { request: &pending.request, at: pending.at, floor: self.floor };
        oracle.on_reply(session.id, &asked, &mut reply);
        self.register(&pending.request, &reply);
        self.workload.on_reply(&oracle.model, &pending.request, &reply);
        match pending.request {
            Request::Sync => self.floor = self.floor.max(pending.seen),
            Request::Close => {
                self.session = None;
                self.forget_connection();
                self.watches.clear();
                self.phase = Phase::Away(now + Micros::of_ms(1 + self.rng.below(20)));
            }
            _ => {}
        }
    }

    fn register(&mut self, request: &Request, reply: &Reply) {
        match request {
            Request::Get { path, watch: true } if reply.err == 0 => {
                self.watches.on_registered(path, List::Data, reply.zxid);
            }
            Request::Exists { path, watch: true } => {
                let list = if reply.err == 0 { List::Data } else { List::Exist };
                self.watches.on_registered(path, list, reply.zxid);
            }
            Request::Children { path, watch: true } if reply.err == 0 => {
                self.watches.on_registered(path, List::Children, reply.zxid);
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
            let watches = self.watches.count();
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
            Request::Auth => AUTH_XID,
            _ => {
                session.next_xid += 1;
                session.next_xid - 1
            }
        };
        let seen = oracle.on_sent(session.id, xid, &request);
        wishes.push(Wish::Send(encode(xid, &request)));
        self.pending.push_back(Pending { xid, request, seen, at: now });
        self.sent = now;
    }

    fn hang_up(&mut self, again: Micros, wishes: &mut Vec<Wish>) {
        wishes.push(Wish::HangUp);
        self.forget_connection();
        self.phase = Phase::Away(again);
    }

    fn forget_connection(&mut self) {
        for pending in self.pending.drain(..) {
            self.workload.on_unknown(&pending.request);
        }
        self.watches.on_disconnected();
        self.floor = Zxid::ZERO;
        self.workload.on_disconnected();
    }

    fn patience(&self) -> Micros {
        Micros(self.asked_timeout.0 / 3)
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.asked_timeout.0 / 1_000).expect("a timeout is short")
    }
}

/// The frame of a request.
fn encode(xid: i32, request: &Request) -> Bytes {
    let put = |op: i32, fields: &dyn Fn(&mut Writer)| {
        let mut body = wire::header(xid, op);
        fields(&mut body);
        wire::frame(body)
    };
    let path_watch = |op: i32, path: &str, watch: bool| {
        put(op, &|body| {
            body.string(path).bool(watch);
        })
    };
    match request {
        Request::Set { path, data, expected } => put(op::SET_DATA, &|body| {
            body.string(path).buffer(Some(data)).i32(*expected);
        }),
        Request::Get { path, watch } => path_watch(op::GET_DATA, path, *watch),
        Request::Exists { path, watch } => path_watch(op::EXISTS, path, *watch),
        Request::Children { path, watch } => path_watch(op::GET_CHILDREN, path, *watch),
        Request::Create { path, data, flags } => put(op::CREATE, &|body| {
            body.string(path).buffer(Some(data));
            wire::open_acl(body);
            body.i32(*flags);
        }),
        Request::Delete { path, expected } => put(op::DELETE, &|body| {
            body.string(path).i32(*expected);
        }),
        Request::Multi { check, set } => put(op::MULTI, &|body| {
            body.i32(op::CHECK).bool(false).i32(-1).string(&check.0).i32(check.1);
            for (path, data) in set {
                body.i32(op::SET_DATA).bool(false).i32(-1).string(path).buffer(Some(data)).i32(-1);
            }
            body.i32(-1).bool(true).i32(-1);
        }),
        Request::SetWatches { seen, lists } => put(op::SET_WATCHES, &|body| {
            body.i64(seen.0);
            for list in lists {
                body.count(list.len());
                for path in list {
                    body.string(path);
                }
            }
        }),
        Request::Sync => put(op::SYNC, &|body| {
            body.string("/");
        }),
        Request::Auth => put(op::AUTH, &|body| {
            body.i32(0).string("digest").buffer(Some(SUPER.as_bytes()));
        }),
        Request::Reconfig { joining, leaving } => put(op::RECONFIG, &|body| {
            body.string(joining).string(leaving).i32(-1).i64(-1);
        }),
        Request::Ping => put(op::PING, &|_| {}),
        Request::Close => put(op::CLOSE_SESSION, &|_| {}),
    }
}
