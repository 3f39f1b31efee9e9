//! A whole server in memory: a replica that is alone, its clients' connections, and a disk that syncs when told.

mod ensemble;
mod golden;
mod local;
mod order;
mod prepare;
mod quotas;
mod random;
mod read_only;
mod reads;
mod reap;
mod room;
mod sessions;
mod together;
mod traps;
mod watches;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, Bytes, BytesMut};

use super::event::{Replies, Run, Then};
use super::prepare::Switch;
use super::{ClientSettings, Closing, Conn, Effect, Event, Reaping, Replica, Rhythm, Settings, ToClient};
use crate::base::wire::{Reader, Writer};
use crate::base::{ConnId, Ensemble, Millis, Now, Recovered, ServerId, SessionId, Write, WriteSeq, Zxid};
use crate::proto::{Acl, Id, Op, Stat};
use crate::session::{self, LocalRule, TimeoutLimits};
use crate::tree::{AclCheck, Passed, Schemes, Tree, Txn};
use crate::zab;

/// When writes become durable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Instant,
    Held,
}

/// A server that is alone.
pub(super) struct Alone {
    pub replica: Replica,
    pub now: Now,
    pub disk: Disk,
    conns: BTreeMap<ConnId, Conn>,
    received: BTreeMap<ConnId, BytesMut>,
    closed: BTreeMap<ConnId, Closing>,
    unsynced: VecDeque<WriteSeq>,
    pub txns: Vec<(Zxid, Bytes)>,
    /// Limits of quotas that it told of.
    pub passed: Vec<Passed>,
    conn_count: u64,
}

pub(super) fn settings() -> Settings {
    Settings {
        zab: zab::Settings {
            id: ServerId(1),
            tick: Millis(2_000),
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            reconfig: zab::Reconfig::Disabled,
            standalone_enabled: true,
            observer: false,
            commit_log_count: 500,
            ensemble_id: None,
        },
        ensemble: Ensemble::default(),
        timeouts: TimeoutLimits { min: Millis(4_000), max: Millis(40_000) },
        local_sessions: LocalRule::Replicated,
        read_only: Switch::Off,
        clients: ClientSettings {
            touch_every: Millis(1_000),
            session_wait: Millis(10_000),
            schemes: Schemes {
                super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned()),
                ..Schemes::default()
            },
            acl_check: AclCheck::Enforced,
        },
        ttl_nodes: Switch::On,
        quotas: Switch::On,
        snapshots: Rhythm { txns: 100_000, bytes: None },
        reaping: Reaping { every: Millis(60_000), per_minute_max: 10_000, unused_after: None },
    }
}

/// When servers start, and the seed under which ids begin at the first of that millisecond: they give the session ids of
/// the observed exchange.
const WALL_MS: i64 = 0x22_edf3;
const SEED: u64 = 59_587;

impl Alone {
    pub fn new() -> Alone {
        Alone::with(settings(), Recovered { may_vote: true, ..Recovered::default() })
    }

    pub fn with(settings: Settings, recovered: Recovered) -> Alone {
        Alone::at(WALL_MS, settings, recovered)
    }

    /// A server that starts at this time, in ms since 1970.
    pub fn at(wall_ms: i64, settings: Settings, recovered: Recovered) -> Alone {
        let now = Now { mono: Millis(1_000), wall_ms };
        let replica = Replica::new(now, settings, recovered, SEED).expect("it recovers");
        let mut alone = Alone {
            replica,
            now,
            disk: Disk::Instant,
            conns: BTreeMap::new(),
            received: BTreeMap::new(),
            closed: BTreeMap::new(),
            unsynced: VecDeque::new(),
            txns: Vec::new(),
            passed: Vec::new(),
            conn_count: 0,
        };
        alone.step(Event::Tick);
        alone
    }

    /// Accepts a connection.
    pub fn accept(&mut self) -> ConnId {
        self.conn_count += 1;
        let id = ConnId(self.conn_count);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let conn = Conn::new(self.now.mono, id, peer, self.replica.service());
        self.conns.insert(id, conn);
        self.received.insert(id, BytesMut::new());
        id
    }

    /// Accepts a connection and opens a session.
    pub fn client(&mut self) -> ConnId {
        let id = self.accept();
        self.frames(id, [connect(10_000, SessionId::NONE, &[0; 16])]);
        let response = self.take(id);
        assert_eq!(response.len(), 41, "the session is granted");
        id
    }

    /// The session of a connection.
    pub fn session(&self, id: ConnId) -> SessionId {
        self.conns[&id].granted().expect("it has a session").session
    }

    /// Sends frames in one segment.
    pub fn frames(&mut self, id: ConnId, frames: impl IntoIterator<Item = Bytes>) {
        let now = self.now.mono;
        let mut frames = frames.into_iter().peekable();
        while frames.peek().is_some() {
            self.conn(id).on_frames(now, &mut frames);
        }
        self.pump(id);
    }

    /// Sends one request and takes what came back.
    pub fn ask(&mut self, id: ConnId, request: Bytes) -> Vec<Frame> {
        self.frames(id, [request]);
        self.replies(id)
    }

    /// Sends one request and takes the only frame that came back.
    pub fn one(&mut self, id: ConnId, request: Bytes) -> Frame {
        let mut frames = self.ask(id, request);
        assert_eq!(frames.len(), 1, "one reply: {frames:?}");
        frames.remove(0)
    }

    /// Sends one request and takes the error of its reply.
    pub fn err(&mut self, id: ConnId, request: Bytes) -> i32 {
        let frames = self.ask(id, request);
        frames.last().expect("a reply").err
    }

    /// Takes the bytes that came for a client.
    pub fn take(&mut self, id: ConnId) -> Bytes {
        self.received.get_mut(&id).expect("a connection").split().freeze()
    }

    /// Takes the frames that came for a client.
    pub fn replies(&mut self, id: ConnId) -> Vec<Frame> {
        let mut bytes = Reader::new(self.take(id));
        let mut frames = Vec::new();
        while bytes.remaining() > 0 {
            let body = bytes.buffer("frame").expect("whole frames").expect("no null");
            frames.push(Frame::decode(body));
        }
        frames
    }

    /// How the server closed a connection.
    pub fn closed(&self, id: ConnId) -> Option<Closing> {
        self.closed.get(&id).copied()
    }

    /// The client goes away.
    pub fn hang_up(&mut self, id: ConnId) {
        let now = self.now.mono;
        self.conn(id).on_gone(now);
        self.pump(id);
        self.conns.remove(&id);
    }

    /// Lets time pass, with a tick every 50 ms.
    pub fn wait(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now.mono = self.now.mono + Millis(50);
            self.now.wall_ms += 50;
            let now = self.now.mono;
            let ids: Vec<ConnId> = self.conns.keys().copied().collect();
            for id in ids {
                if self.conn(id).deadline().is_some_and(|deadline| deadline <= now) {
                    self.conn(id).on_tick(now);
                    self.pump(id);
                }
            }
            self.step(Event::Tick);
        }
    }

    /// Everything that was written is durable at once.
    pub fn sync_all(&mut self) {
        let last = self.unsynced.drain(..).next_back().expect("something was written");
        self.step(Event::Synced(last));
    }

    /// Makes the oldest held write durable.
    pub fn sync(&mut self) {
        let seq = self.unsynced.pop_front().expect("a write is held");
        self.step(Event::Synced(seq));
    }

    /// The same if there is one.
    pub fn sync_if_held(&mut self) -> bool {
        let is_held = !self.unsynced.is_empty();
        if is_held {
            self.sync();
        }
        is_held
    }

    pub fn zxid(&self) -> Zxid {
        self.replica.inspect().zxid
    }

    pub fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects: Vec<Effect> = self.replica.step(self.now, event).collect();
            for effect in effects {
                match effect {
                    Effect::Write(seq, write) => {
                        if let Write::Append { zxid, txn } = write {
                            self.txns.push((zxid, txn));
                        }
                        match self.disk {
                            Disk::Instant => events.push_back(Event::Synced(seq)),
                            Disk::Held => self.unsynced.push_back(seq),
                        }
                    }
                    Effect::Client(id, what) => events.extend(self.tell(id, what)),
                    Effect::Notify(zxid, ids) => {
                        for id in ids {
                            events.extend(self.tell(id, ToClient::Notify(zxid)));
                        }
                    }
                    Effect::TakeSnapshot(image) => {
                        events.push_back(Event::SnapshotTaken(image.zxid(), Ok(())))
                    }
                    Effect::LimitPassed(limit) => self.passed.push(limit),
                    Effect::Status(_) | Effect::Ensemble(_) | Effect::Transferred(_) => {}
                    other => panic!("a server that is alone asks for {other:?}"),
                }
            }
        }
        assert_eq!(self.replica.inspect().digest_mismatch_count, 0, "digests are predicted exactly");
    }

    fn tell(&mut self, id: ConnId, what: ToClient) -> Vec<Event> {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(&id) else { return Vec::new() };
        conn.on_effect(now, what);
        self.collect(id)
    }

    fn pump(&mut self, id: ConnId) {
        for event in self.collect(id) {
            self.step(event);
        }
    }

    fn collect(&mut self, id: ConnId) -> Vec<Event> {
        let conn = self.conns.get_mut(&id).expect("a connection");
        self.received.get_mut(&id).expect("a connection").put(conn.take_bytes());
        let mut events = conn.take_events();
        if let Some(closing) = conn.closing()
            && !self.closed.contains_key(&id)
        {
            self.closed.insert(id, closing);
            conn.on_gone(self.now.mono);
            events.extend(conn.take_events());
        }
        events
    }

    fn conn(&mut self, id: ConnId) -> &mut Conn {
        self.conns.get_mut(&id).expect("a connection")
    }
}

/// A frame that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Bytes,
}

impl Frame {
    fn decode(frame: Bytes) -> Frame {
        let mut reader = Reader::new(frame);
        let xid = reader.i32("xid").expect("a header");
        let zxid = reader.i64("zxid").expect("a header");
        let err = reader.i32("err").expect("a header");
        Frame { xid, zxid, err, body: reader.rest() }
    }

    /// Type and path, if it is a watch event.
    pub fn event(&self) -> Option<(i32, String)> {
        if self.xid != -1 {
            return None;
        }
        let mut reader = Reader::new(self.body.clone());
        let kind = reader.i32("type").expect("an event");
        assert_eq!(reader.i32("state"), Ok(3));
        Some((kind, reader.string("path").expect("an event").expect("a path")))
    }

    /// The path that its body starts with.
    pub fn path(&self) -> String {
        Reader::new(self.body.clone()).string("path").expect("a path").expect("a path")
    }

    /// The stat that its body ends with.
    pub fn stat(&self) -> Stat {
        let start = self.body.len() - 68;
        Stat::decode(&mut Reader::new(self.body.slice(start..))).expect("a stat")
    }
}

/// The events among frames.
pub(super) fn events(frames: &[Frame]) -> Vec<(i32, String)> {
    frames.iter().filter_map(Frame::event).collect()
}

pub(super) fn hex(text: &str) -> Bytes {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

/// A connect request without its length.
pub(super) fn connect(timeout_ms: i32, session: SessionId, password: &[u8]) -> Bytes {
    connect_after(Zxid::ZERO, timeout_ms, session, password)
}

pub(super) fn connect_after(seen: Zxid, timeout_ms: i32, session: SessionId, password: &[u8]) -> Bytes {
    let mut writer = Writer::new();
    writer.i32(0).i64(seen.0).i32(timeout_ms).i64(session.0).buffer(Some(password)).bool(false);
    writer.finish()
}

pub(super) fn reconnect(session: SessionId) -> Bytes {
    connect(10_000, session, &session::password(session))
}

/// A request without its length.
pub(super) fn request(xid: i32, op: Op, fill: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::new();
    writer.i32(xid).i32(op.as_wire());
    fill(&mut writer);
    writer.finish()
}

pub(super) fn open_acl() -> Vec<Acl> {
    Acl::open()
}

pub(super) fn acl(perms: i32, scheme: &str, id: &str) -> Vec<Acl> {
    vec![Acl { perms, id: Id::new(scheme, id) }]
}

pub(super) fn create(xid: i32, path: &str, flags: i32) -> Bytes {
    create_with(xid, Op::Create, path, flags, &open_acl())
}

pub(super) fn create_with(xid: i32, op: Op, path: &str, flags: i32, acl: &[Acl]) -> Bytes {
    request(xid, op, |writer| write_create(writer, path, flags, acl))
}

pub(super) fn write_create(writer: &mut Writer, path: &str, flags: i32, acl: &[Acl]) {
    writer.string(path).buffer(Some(b"d"));
    Acl::encode_list(acl, writer);
    writer.i32(flags);
}

pub(super) fn delete(xid: i32, path: &str, version: i32) -> Bytes {
    request(xid, Op::Delete, |writer| {
        writer.string(path).i32(version);
    })
}

pub(super) fn set_data(xid: i32, path: &str, data: &[u8], version: i32) -> Bytes {
    request(xid, Op::SetData, |writer| {
        writer.string(path).buffer(Some(data)).i32(version);
    })
}

pub(super) fn set_acl(xid: i32, path: &str, acl: &[Acl], version: i32) -> Bytes {
    request(xid, Op::SetAcl, |writer| {
        writer.string(path);
        Acl::encode_list(acl, writer);
        writer.i32(version);
    })
}

/// Whether a read leaves a watch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    No,
    Yes,
}

pub(super) fn read(xid: i32, op: Op, path: &str, watch: Watch) -> Bytes {
    request(xid, op, |writer| {
        writer.string(path).bool(watch == Watch::Yes);
    })
}

pub(super) fn auth(credential: &str) -> Bytes {
    request(-4, Op::Auth, |writer| {
        writer.i32(0).string("digest").buffer(Some(credential.as_bytes()));
    })
}

pub(super) fn bare(xid: i32, op: Op) -> Bytes {
    request(xid, op, |_| {})
}

/// A multi of these elements.
pub(super) fn multi(xid: i32, ops: &[(Op, Bytes)]) -> Bytes {
    request(xid, Op::Multi, |writer| {
        for (op, body) in ops {
            writer.i32(op.as_wire()).bool(false).i32(-1).raw(body);
        }
        writer.i32(-1).bool(true).i32(-1);
    })
}

/// The body of a request, for a multi.
pub(super) fn body(request: &Bytes) -> Bytes {
    request.slice(8..)
}

/// The results of a failed multi.
pub(super) fn failures(frame: &Frame) -> Vec<i32> {
    let mut reader = Reader::new(frame.body.clone());
    let mut errs = Vec::new();
    loop {
        assert_eq!(reader.i32("type"), Ok(-1));
        let is_done = reader.bool("done").expect("a header");
        let err = reader.i32("err").expect("a header");
        if is_done {
            return errs;
        }
        assert_eq!(reader.i32("err"), Ok(err));
        errs.push(err);
    }
}

/// The last txn that went into the log.
pub(super) fn last_txn(alone: &Alone) -> Txn {
    let (_, bytes) = alone.txns.last().expect("a txn");
    Txn::decode(bytes.clone()).expect("a txn")
}
