//! A cluster of `Zab`s in memory: a network that delays, breaks and splits, disks that lose what was not synced, and
//! the protocol's invariants (specification 3, section 6.6) checked after every step.

mod checks;
mod dialogue;
mod disk;
mod drive;
mod random;
mod scenarios;
mod scripts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use self::disk::{Disk, body_of};
use super::codec::{Decoder, Limits, Side, encode};
use super::effects::{Effect, News, Status};
use super::machine::{Input, Settings, Zab};
use super::packet::{Packet, Proposal};
use super::quorum::Reconfig;
use super::vote::{Notification, PeerState, take_frame};
use crate::base::reconfig::Change;
use crate::base::rng::Rng;
use crate::base::wire::Writer;
use crate::base::{Ensemble, Epoch, LinkId, Millis, Now, ServerId, WriteSeq, Zxid};

/// Ticks of the machines under test, and how often the world ticks them.
const TICK: u64 = 200;
const STEP: u64 = 20;

/// What happens at a moment.
#[derive(Clone, Debug)]
enum Event {
    LinkUp { node: ServerId, link: LinkId, dialed: Option<ServerId> },
    DialFailed { node: ServerId, to: ServerId },
    LinkDown { node: ServerId, link: LinkId },
    Packet { node: ServerId, link: LinkId, packet: Packet },
    Vote { node: ServerId, from: ServerId, notification: Notification },
    Synced { node: ServerId, life: u64 },
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// Its peers see their links close.
    Kill,
    /// Its peers see nothing.
    PowerLoss,
}

/// One end of a link: the other end's number and owner.
#[derive(Clone, Copy, Debug)]
struct End {
    owner: ServerId,
    peer: LinkId,
    peer_owner: ServerId,
    /// When the last packet sent on it arrives: packets keep their order.
    busy_until: u64,
}

/// One server.
struct Node {
    zab: Option<Zab>,
    disk: Disk,
    writes: VecDeque<(WriteSeq, super::super::base::Write)>,
    /// Its tree: every txn delivered so far, from the first one on.
    tree: Vec<(Zxid, Bytes)>,
    status: Status,
    /// Counts restarts, so that a report of a past disk is not believed.
    life: u64,
    /// Syncs answered.
    synced: usize,
    observer: bool,
    /// Longest time of an fsync.
    sync_max: u64,
}

/// The world.
struct World {
    now: u64,
    rng: Rng,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    nodes: BTreeMap<ServerId, Node>,
    links: BTreeMap<LinkId, End>,
    next_link: u64,
    /// Pairs (from, to) between which nothing passes.
    cut: BTreeSet<(ServerId, ServerId)>,
    delay_max: u64,
    reconfig: Reconfig,
    keep: usize,
    initial: Ensemble,
    /// What is committed, as the first to deliver it saw it.
    canon: Vec<(Zxid, Bytes)>,
    leaders: BTreeMap<Epoch, ServerId>,
    trace: Vec<String>,
    proposed: u64,
    elections: usize,
    /// Payloads that a leader delivered: a client was answered.
    answered: BTreeSet<Bytes>,
    ensemble_id: Option<String>,
}

fn id(n: i64) -> ServerId {
    ServerId(n)
}

fn ensemble(voters: &[i64], observers: &[i64]) -> Ensemble {
    let voters = voters.iter().map(|n| format!("server.{n}=h{n}:2888:3888:participant;h{n}:2181\n"));
    let observers = observers.iter().map(|n| format!("server.{n}=h{n}:2888:3888:observer;h{n}:2181\n"));
    Ensemble::parse(&voters.chain(observers).collect::<String>()).expect("good text")
}

/// A txn as the log holds it: header of the given type, then the body.
fn txn(zxid: Zxid, kind: i32, body: &[u8]) -> Bytes {
    let mut out = Writer::new();
    out.i64(1).i32(1).i64(zxid.0).i64(0).i32(kind).raw(body);
    out.finish()
}

impl World {
    fn new(seed: u64, initial: &Ensemble) -> World {
        World {
            now: 1_000,
            rng: Rng::new(seed),
            events: BTreeMap::new(),
            next_event: 0,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            cut: BTreeSet::new(),
            delay_max: 3,
            reconfig: Reconfig::Enabled,
            keep: 20,
            initial: initial.clone(),
            canon: Vec::new(),
            leaders: BTreeMap::new(),
            trace: Vec::new(),
            proposed: 0,
            elections: 0,
            answered: BTreeSet::new(),
            ensemble_id: None,
        }
    }

    /// A cluster whose members have all started.
    fn started(seed: u64, voters: &[i64], observers: &[i64]) -> World {
        let mut world = World::new(seed, &ensemble(voters, observers));
        for n in voters.iter().chain(observers) {
            world.add(id(*n), Disk::default());
            world.start(id(*n));
        }
        world
    }

    fn add(&mut self, node: ServerId, disk: Disk) {
        let fresh = Node {
            zab: None,
            disk,
            writes: VecDeque::new(),
            tree: Vec::new(),
            status: Status::Looking,
            life: 0,
            synced: 0,
            observer: false,
            sync_max: 4,
        };
        self.nodes.insert(node, fresh);
    }

    fn clock(&self) -> Now {
        Now { mono: Millis(self.now), wall_ms: 0 }
    }

    fn start(&mut self, node: ServerId) {
        self.trace.push(format!("s{node} starts"));
        let (now, keep, reconfig, seed) = (self.clock(), self.keep, self.reconfig, self.rng.next_u64());
        let initial = self.initial.clone();
        let n = self.nodes.get_mut(&node).expect("a node");
        let (current, proposed) = n.disk.ensemble(&initial);
        let settings = Settings {
            id: node,
            tick: Millis(TICK),
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            reconfig,
            standalone_enabled: false,
            observer: n.observer,
            commit_log_count: keep,
            ensemble_id: self.ensemble_id.clone(),
        };
        n.tree = n.disk.snapshot.clone();
        n.status = Status::Looking;
        n.life += 1;
        n.writes.clear();
        n.zab = Some(Zab::new(now, settings, current, proposed, n.disk.recovered(), seed));
        // A machine of its own clock: the first tick sets an election going.
        self.step(node, Input::Tick);
    }

    /// Ends a server at once; what was not synced is lost but for a prefix that happened to reach the disk.
    fn crash(&mut self, node: ServerId, end: Crash) {
        self.trace
            .push(format!("s{node} {}", if end == Crash::PowerLoss { "loses power" } else { "crashes" }));
        let n = self.nodes.get_mut(&node).expect("a node");
        if n.zab.take().is_none() {
            return;
        }
        let lucky = self.rng.below(n.writes.len() as u64 + 1);
        for _ in 0..lucky {
            let (_, write) = n.writes.pop_front().expect("counted");
            n.disk.perform(write);
        }
        n.writes.clear();
        let ends: Vec<(LinkId, End)> =
            self.links.iter().filter(|(_, end)| end.owner == node).map(|(link, end)| (*link, *end)).collect();
        for (link, other) in ends {
            self.links.remove(&link);
            if end == Crash::Kill {
                self.at(self.now + 1, Event::LinkDown { node: other.peer_owner, link: other.peer });
            }
        }
    }

    fn is_cut(&self, from: ServerId, to: ServerId) -> bool {
        self.cut.contains(&(from, to))
    }

    fn split(&mut self, side: &[ServerId]) {
        let all: Vec<ServerId> = self.nodes.keys().copied().collect();
        for a in &all {
            for b in &all {
                if side.contains(a) != side.contains(b) {
                    self.cut.insert((*a, *b));
                }
            }
        }
    }

    fn heal(&mut self) {
        self.cut.clear();
    }

    fn at(&mut self, when: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((when, self.next_event), event);
    }

    fn delay(&mut self) -> u64 {
        1 + self.rng.below(self.delay_max)
    }

    /// Lets time pass.
    fn run(&mut self, span: u64) {
        let end = self.now + span;
        while self.now < end {
            let tick_at = (self.now / STEP + 1) * STEP;
            while let Some((&(when, number), _)) = self.events.first_key_value() {
                if when > tick_at {
                    break;
                }
                self.now = self.now.max(when);
                let event = self.events.remove(&(when, number)).expect("it was looked at");
                self.happen(event);
            }
            self.now = tick_at;
            let nodes: Vec<ServerId> = self.nodes.keys().copied().collect();
            for node in nodes {
                self.step(node, Input::Tick);
            }
        }
    }

    /// Lets time pass until something holds; how long it took.
    fn run_until(&mut self, limit: u64, holds: impl Fn(&World) -> bool) -> u64 {
        let start = self.now;
        while !holds(self) {
            assert!(self.now < start + limit, "not within {limit} ms:\n{}", self.trace.join("\n"));
            self.run(STEP);
        }
        self.now - start
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::LinkUp { node, link, dialed } => {
                if self.links.contains_key(&link) {
                    self.step(node, Input::LinkUp { link, dialed });
                }
            }
            Event::DialFailed { node, to } => self.step(node, Input::DialFailed(to)),
            Event::LinkDown { node, link } => {
                if self.links.remove(&link).is_some() {
                    self.step(node, Input::LinkDown(link));
                }
            }
            Event::Packet { node, link, packet } => {
                let Some(end) = self.links.get(&link) else { return };
                if self.is_cut(end.peer_owner, node) {
                    // Lost on the way: nothing may follow it.
                    self.break_link(link);
                } else {
                    self.step(node, Input::Packet(link, packet));
                }
            }
            Event::Vote { node, from, notification } => {
                if !self.is_cut(from, node) {
                    self.step(node, Input::Vote(from, notification));
                }
            }
            Event::Synced { node, life } => {
                let n = self.nodes.get_mut(&node).expect("a node");
                if n.life != life || n.zab.is_none() {
                    return;
                }
                let count = 1 + self.rng.below(n.writes.len().max(1) as u64);
                let mut last = None;
                for _ in 0..count {
                    let Some((seq, write)) = n.writes.pop_front() else { break };
                    n.disk.perform(write);
                    last = Some(seq);
                }
                if !n.writes.is_empty() {
                    let when = self.now + 1 + self.rng.below(n.sync_max);
                    self.at(when, Event::Synced { node, life });
                }
                if let Some(seq) = last {
                    self.step(node, Input::Synced(seq));
                }
            }
        }
    }

    /// Both ends learn it, though perhaps late.
    fn break_link(&mut self, link: LinkId) {
        let Some(end) = self.links.get(&link).copied() else { return };
        let (here, there) = (self.now + self.rng.below(3_000), self.now + self.rng.below(3_000));
        // Until then nothing passes: the numbers stay, the pairing goes.
        for (number, owner, when) in [(link, end.owner, here), (end.peer, end.peer_owner, there)] {
            if let Some(end) = self.links.get_mut(&number) {
                end.peer = LinkId(0);
                self.at(when, Event::LinkDown { node: owner, link: number });
            }
        }
    }

    fn step(&mut self, node: ServerId, input: Input) {
        let now = self.clock();
        let n = self.nodes.get_mut(&node).expect("a node");
        if let Some(zab) = &mut n.zab {
            zab.step(now, input);
            self.perform(node);
        }
    }

    /// Performs every effect of a server, and checks what it promises.
    fn perform(&mut self, node: ServerId) {
        while let Some(effect) =
            self.nodes.get_mut(&node).and_then(|n| n.zab.as_mut()).and_then(Zab::pop_effect)
        {
            match effect {
                Effect::Write(seq, write) => {
                    let n = self.nodes.get_mut(&node).expect("a node");
                    if n.writes.is_empty() {
                        let (life, when) = (n.life, self.now + 1 + self.rng.below(n.sync_max));
                        self.at(when, Event::Synced { node, life });
                    }
                    self.nodes.get_mut(&node).expect("a node").writes.push_back((seq, write));
                }
                Effect::Send(link, packet) => self.send(node, link, packet),
                Effect::Vote(to, notification) => self.vote(node, to, notification),
                Effect::Dial(to) => self.dial(node, to),
                Effect::DropLink(link) => {
                    if let Some(end) = self.links.remove(&link) {
                        let when = end.busy_until.max(self.now) + self.delay();
                        self.at(when, Event::LinkDown { node: end.peer_owner, link: end.peer });
                    }
                }
                Effect::News(news) => self.news(node, news),
            }
        }
    }

    fn dial(&mut self, node: ServerId, to: ServerId) {
        let when = self.now + self.delay();
        let is_up = self.nodes.get(&to).is_some_and(|n| n.zab.is_some());
        if !is_up || self.is_cut(node, to) || self.is_cut(to, node) {
            self.at(when, Event::DialFailed { node, to });
            return;
        }
        let (ours, theirs) = (LinkId(self.next_link + 1), LinkId(self.next_link + 2));
        self.next_link += 2;
        let end = |owner, peer, peer_owner| End { owner, peer, peer_owner, busy_until: when };
        self.links.insert(ours, end(node, theirs, to));
        self.links.insert(theirs, end(to, ours, node));
        self.at(when, Event::LinkUp { node: to, link: theirs, dialed: None });
        self.at(when, Event::LinkUp { node, link: ours, dialed: Some(to) });
    }

    fn send(&mut self, node: ServerId, link: LinkId, packet: Packet) {
        self.check_promise(node, &packet);
        let side = self.side(link);
        let packet = through_codec(packet, side);
        let delay = self.delay();
        let Some(end) = self.links.get_mut(&link) else { return };
        let when = (self.now + delay).max(end.busy_until);
        end.busy_until = when;
        let (node, link) = (end.peer_owner, end.peer);
        self.at(when, Event::Packet { node, link, packet });
    }

    /// The side of the receiver: odd numbers belong to those who dialed.
    fn side(&self, sender: LinkId) -> Side {
        if sender.0 % 2 == 1 { Side::Leader } else { Side::Learner }
    }

    fn vote(&mut self, node: ServerId, to: ServerId, notification: Notification) {
        let disk = &self.nodes[&node].disk;
        let vote = notification.vote;
        if notification.state == PeerState::Looking && vote.leader == node {
            assert_eq!(vote.zxid, disk.last(), "s{node} votes with what is on its disk");
            assert_eq!(vote.epoch, i64::from(disk.epochs.current.0), "s{node} votes with its epoch");
        }
        let mut bytes = BytesMut::new();
        notification.encode(&mut bytes);
        let frame = take_frame(&mut bytes).expect("a frame").expect("whole");
        let notification = Notification::decode(frame).expect("what was written is read");
        let when = self.now + self.delay();
        self.at(when, Event::Vote { node: to, from: node, notification });
    }

    fn news(&mut self, node: ServerId, news: News) {
        match news {
            News::Status(status) => self.on_status(node, status),
            News::Ensemble(ensemble) => {
                self.trace.push(format!("s{node} membership {}", short(&ensemble)));
            }
            News::Deliver(proposal) => self.deliver(node, proposal),
            News::Install { zxid, body } => {
                let n = self.nodes.get_mut(&node).expect("a node");
                n.tree = disk::tree_of(&body);
                assert_eq!(n.tree.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid), zxid);
                self.trace.push(format!("s{node} installs {zxid}"));
                self.check_prefix(node);
                let now = self.clock();
                self.zab(node).on_installed(now, 0);
            }
            News::SnapshotWanted(link) => {
                let tree = &self.nodes[&node].tree;
                let zxid = tree.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                let body = body_of(tree);
                self.send(node, link, Packet::Snap { zxid, body });
                self.zab(node).on_snapshot_sent(link, zxid);
            }
            News::Request(_, request) => {
                let body = request.body.clone();
                self.propose_at(node, 5, &body);
            }
            News::Synced => self.nodes.get_mut(&node).expect("a node").synced += 1,
            News::Revalidate(link, _, session, _) => self.zab(node).revalidated(link, session, true),
            News::Touched(_) | News::Revalidated(..) => {}
        }
    }
}

/// Every packet goes through its bytes; a snapshot's stream is the simulation's own.
fn through_codec(packet: Packet, side: Side) -> Packet {
    if matches!(packet, Packet::Snap { .. }) {
        return packet;
    }
    let mut bytes = BytesMut::new();
    encode(&packet, &mut bytes);
    let read = Decoder::new(side, Limits::default()).feed(&mut bytes).expect("good bytes").expect("whole");
    assert_eq!(read, packet);
    read
}

fn shown(status: Status) -> String {
    match status {
        Status::Looking => "looks".to_owned(),
        Status::Discovering => "discovers".to_owned(),
        Status::Leading(epoch) => format!("leads epoch {epoch}"),
        Status::Joining(leader) => format!("joins s{leader}"),
        Status::Following(leader, epoch) => format!("follows s{leader} in epoch {epoch}"),
        Status::Observing(leader, epoch) => format!("observes s{leader} in epoch {epoch}"),
        Status::Standalone => "stands alone".to_owned(),
    }
}

fn short(ensemble: &Ensemble) -> String {
    let members = ensemble.members.values().map(|member| {
        let mark = if ensemble.is_voter(member.id) { "" } else { "o" };
        format!("{}{mark}", member.id)
    });
    format!("{} version {}", members.collect::<Vec<_>>().join(","), ensemble.version)
}
