//! Three servers in memory, with their links, logs and clients.

use std::collections::BTreeSet;

use super::*;
use crate::base::{LinkId, Recovered};
use crate::proto::ConnectResponse;
use crate::zab::{Packet, Status};

const MEMBERS: &str = "server.1=a:2888:3888:participant;2181\n\
    server.2=b:2888:3888:participant;2181\n\
    server.3=c:2888:3888:participant;2181\n\
    version=0";

/// A link as one server sees it: the other server, and the link's number there.
type Links = BTreeMap<(i64, LinkId), (i64, LinkId)>;
/// A connection: the server, and its number.
pub(super) type At = (i64, ConnId);

pub(super) struct Together {
    pub(super) replicas: BTreeMap<i64, Replica>,
    pub(super) logs: BTreeMap<i64, Vec<(Zxid, Bytes)>>,
    pub(super) down: BTreeSet<i64>,
    pub(super) now: Now,
    links: Links,
    link_count: u64,
    pub(super) queue: VecDeque<(i64, Event)>,
    conns: BTreeMap<At, Conn>,
    received: BTreeMap<At, BytesMut>,
    pub(super) closed: BTreeMap<At, Closing>,
    conn_count: u64,
    pub(super) transferred: Option<Result<ServerId, String>>,
    change: fn(&mut Settings),
}

fn settings_of(id: i64) -> Settings {
    let mut settings = settings();
    settings.zab.id = ServerId(id);
    settings.zab.reconfig = zab::Reconfig::Enabled;
    settings.zab.commit_log_count = 50;
    settings.ensemble = Ensemble::parse(MEMBERS).expect("a membership");
    settings
}

impl Together {
    /// Three servers with a leader.
    pub(super) fn new() -> Together {
        Together::with(|_| {})
    }

    /// The same with settings that differ.
    pub(super) fn with(change: fn(&mut Settings)) -> Together {
        let mut together = Together {
            replicas: BTreeMap::new(),
            logs: BTreeMap::new(),
            down: BTreeSet::new(),
            now: Now { mono: Millis(10_000), wall_ms: 1_700_000_000_000 },
            links: Links::new(),
            link_count: 0,
            queue: VecDeque::new(),
            conns: BTreeMap::new(),
            received: BTreeMap::new(),
            closed: BTreeMap::new(),
            conn_count: 0,
            transferred: None,
            change,
        };
        (1..=3).for_each(|id| together.start(id, Recovered { may_vote: true, ..Recovered::default() }));
        together.wait_for_service();
        together
    }

    pub(super) fn start(&mut self, id: i64, recovered: Recovered) {
        let mut settings = settings_of(id);
        (self.change)(&mut settings);
        let replica = Replica::new(self.now, settings, recovered, id as u64).expect("it recovers");
        self.replicas.insert(id, replica);
        self.down.remove(&id);
    }

    pub(super) fn stop(&mut self, id: i64) {
        self.down.insert(id);
        self.queue.retain(|(at, _)| *at != id);
        self.replicas.remove(&id);
        self.conns.retain(|(at, _), _| *at != id);
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|((a, _), (b, _))| *a == id || *b == id)
            .map(|(a, b)| (*a, *b))
            .collect();
        for (near, far) in gone {
            self.links.remove(&near);
            if far.0 == id {
                self.queue.push_back((near.0, Event::LinkDown(near.1)));
            }
        }
        self.run();
    }

    pub(super) fn status(&self, id: i64) -> Status {
        self.replicas[&id].inspect().zab.status
    }

    pub(super) fn leader(&self) -> i64 {
        let leads = |id: &&i64| matches!(self.status(**id), Status::Leading(_));
        *self.replicas.keys().find(leads).expect("a leader")
    }

    /// The servers that learn.
    pub(super) fn learners(&self) -> Vec<i64> {
        let leader = self.leader();
        self.replicas.keys().copied().filter(|id| *id != leader).collect()
    }

    pub(super) fn wait_for_service(&mut self) {
        for _ in 0..1_000 {
            self.wait(50);
            let serves = |id: &i64| {
                matches!(self.status(*id), Status::Leading(_) | Status::Following(..) | Status::Observing(..))
            };
            if self.replicas.keys().all(serves) {
                return;
            }
        }
        panic!("nobody serves: {:?}", self.replicas.keys().map(|id| self.status(*id)).collect::<Vec<_>>());
    }

    pub(super) fn wait(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now.mono = self.now.mono + Millis(50);
            self.now.wall_ms += 50;
            let now = self.now.mono;
            let due = |conn: &Conn| conn.deadline().is_some_and(|deadline| deadline <= now);
            let ids: Vec<At> = self.conns.iter().filter(|(_, conn)| due(conn)).map(|(at, _)| *at).collect();
            for at in ids {
                self.conn(at).on_tick(now);
                self.collect(at);
            }
            let ids: Vec<i64> = self.replicas.keys().copied().collect();
            ids.into_iter().for_each(|id| self.queue.push_back((id, Event::Tick)));
            self.run();
        }
    }

    pub(super) fn run(&mut self) {
        while self.run_one() {}
    }

    /// Lets the next event happen; `false` if there is none.
    pub(super) fn run_one(&mut self) -> bool {
        let Some((id, event)) = self.queue.pop_front() else { return false };
        let Some(replica) = self.replicas.get_mut(&id) else { return true };
        let effects: Vec<Effect> = replica.step(self.now, event).collect();
        effects.into_iter().for_each(|effect| self.perform(id, effect));
        true
    }

    pub(super) fn perform(&mut self, id: i64, effect: Effect) {
        match effect {
            Effect::Write(seq, write) => {
                let log = self.logs.entry(id).or_default();
                match write {
                    Write::Append { zxid, txn } => log.push((zxid, txn)),
                    Write::Truncate(to) => log.retain(|(zxid, _)| *zxid <= to),
                    Write::Epochs(_) | Write::Replace { .. } | Write::Ensemble { .. } => {}
                }
                self.queue.push_back((id, Event::Synced(seq)));
            }
            Effect::Send(link, packet) => self.send((id, link), packet),
            Effect::SendSnapshot(link, image) => {
                self.send((id, link), Packet::Snap { zxid: image.zxid(), body: image.to_body() });
            }
            Effect::Vote(to, vote) => self.queue.push_back((to.0, Event::Vote(ServerId(id), vote))),
            Effect::Dial(to) => self.dial(id, to),
            Effect::DropLink(link) => {
                if let Some(far) = self.links.remove(&(id, link)) {
                    self.links.remove(&far);
                    self.queue.push_back((far.0, Event::LinkDown(far.1)));
                }
            }
            Effect::Client(conn, what) => self.tell((id, conn), what),
            Effect::Notify(zxid, conns) => {
                conns.into_iter().for_each(|conn| self.tell((id, conn), ToClient::Notify(zxid)));
            }
            Effect::TakeSnapshot(image) => {
                self.queue.push_back((id, Event::SnapshotTaken(image.zxid(), Ok(()))));
            }
            Effect::Transferred(done) => self.transferred = Some(done),
            Effect::Status(_) | Effect::ReadOnly | Effect::Ensemble(_) | Effect::LimitPassed(_) => {}
        }
    }

    pub(super) fn dial(&mut self, from: i64, to: ServerId) {
        if self.down.contains(&to.0) {
            return self.queue.push_back((from, Event::DialFailed(to)));
        }
        self.link_count += 2;
        let near = (from, LinkId(self.link_count));
        let far = (to.0, LinkId(self.link_count + 1));
        self.links.insert(near, far);
        self.links.insert(far, near);
        self.queue.push_back((near.0, Event::LinkUp(near.1, Some(to))));
        self.queue.push_back((far.0, Event::LinkUp(far.1, None)));
    }

    pub(super) fn send(&mut self, near: (i64, LinkId), packet: Packet) {
        if let Some((id, link)) = self.links.get(&near) {
            self.queue.push_back((*id, Event::Packet(*link, packet)));
        }
    }

    pub(super) fn tell(&mut self, at: At, what: ToClient) {
        let now = self.now.mono;
        if let Some(conn) = self.conns.get_mut(&at) {
            conn.on_effect(now, what);
            self.collect(at);
        }
    }

    pub(super) fn collect(&mut self, at: At) {
        let now = self.now.mono;
        let conn = self.conns.get_mut(&at).expect("a connection");
        self.received.entry(at).or_default().put(conn.take_bytes());
        if let Some(closing) = conn.closing()
            && !self.closed.contains_key(&at)
        {
            self.closed.insert(at, closing);
            conn.on_gone(now);
        }
        self.queue.extend(conn.take_events().into_iter().map(|event| (at.0, event)));
    }

    pub(super) fn conn(&mut self, at: At) -> &mut Conn {
        self.conns.get_mut(&at).expect("a connection")
    }

    /// Opens a connection to a server and says this first.
    pub(super) fn connect(&mut self, server: i64, first: Bytes) -> At {
        self.conn_count += 1;
        let at = (server, ConnId(self.conn_count));
        let service = self.replicas[&server].service();
        let conn = Conn::new(self.now.mono, at.1, IpAddr::V4(Ipv4Addr::LOCALHOST), service);
        self.conns.insert(at, conn);
        self.frames(at, [first]);
        at
    }

    /// A new session on a server.
    pub(super) fn client(&mut self, server: i64) -> At {
        let at = self.connect(server, connect(10_000, SessionId::NONE, &[]));
        assert_eq!(self.take(at).len(), 41, "the session is granted");
        at
    }

    /// Presents a session to another server; whether it was granted.
    pub(super) fn attach(&mut self, server: i64, session: SessionId) -> (At, bool) {
        let at = self.connect(server, reconnect(session));
        let mut refusal = Writer::new();
        ConnectResponse::refused(Some(false)).encode(&mut refusal);
        let response = self.take(at);
        assert_eq!(response.len(), 41);
        (at, response != refusal.finish())
    }

    pub(super) fn session(&self, at: At) -> SessionId {
        self.conns[&at].granted().expect("a session").session
    }

    pub(super) fn frames(&mut self, at: At, frames: impl IntoIterator<Item = Bytes>) {
        let now = self.now.mono;
        let mut frames = frames.into_iter().peekable();
        while frames.peek().is_some() {
            self.conn(at).on_frames(now, &mut frames);
        }
        self.collect(at);
        self.run();
    }

    pub(super) fn take(&mut self, at: At) -> Bytes {
        self.received.entry(at).or_default().split().freeze()
    }

    pub(super) fn replies(&mut self, at: At) -> Vec<Frame> {
        let mut bytes = Reader::new(self.take(at));
        let mut frames = Vec::new();
        while bytes.remaining() > 0 {
            frames.push(Frame::decode(bytes.buffer("frame").expect("whole").expect("a frame")));
        }
        frames
    }

    pub(super) fn ask(&mut self, at: At, request: Bytes) -> Vec<Frame> {
        self.frames(at, [request]);
        self.replies(at)
    }

    pub(super) fn err(&mut self, at: At, request: Bytes) -> i32 {
        self.ask(at, request).last().expect("a reply").err
    }

    /// Every server holds the same tree.
    #[track_caller]
    pub(super) fn assert_level(&self) {
        let states: BTreeSet<_> = self
            .replicas
            .values()
            .map(|replica| {
                let inspect = replica.inspect();
                assert_eq!(inspect.digest_mismatch_count, 0);
                (inspect.zxid, inspect.digest, inspect.session_count)
            })
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
    }
}

pub(super) fn sync(xid: i32) -> Bytes {
    request(xid, Op::Sync, |writer| {
        writer.string("/");
    })
}
