//! The world of one run: servers, clients, network and disks on one queue, decided by one seed.
//!
//! In: a [`Setup`]. Out: a run, step by step, with every invariant checked after each.
//!
//! Always true:
//! * one thread, one queue ordered by time and number: two runs of a seed do the same;
//! * what a server asks for is begun in the order in which it asks.
//!
//! Not here: links and notifications (`links`), clients' connections (`traffic`), disks (`disks`), faults (`nemesis`),
//! how a run begins and ends (`run`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate::base::rng::Rng;
use quorate::base::{Millis, ServerId, Write};
use quorate::replica::{Effect, Event};
use quorate::zab::effects::Status;
use quorate::zab::packet::Packet;
use quorate::zab::vote::Notification;

use crate::client::Client;
use crate::facts::{Facts, Picture};
use crate::faults::{Counts, Plan};
use crate::invariants::sessions::Sign;
use crate::invariants::{Invariants, Seen, ephemerals, quotas};
use crate::network::{Link, Network, Process, Side, Slot};
use crate::oracle::{Decided, Oracle};
use crate::queue::{Micros, Queue};
use crate::server::Server;
use crate::setup::Setup;
use crate::trace::{Detail, Trace};
use crate::traffic::Connection;
use crate::wire::{self, op};

/// How often a process is told that time passes, at least.
const TICK_MAX: Micros = Micros::of_ms(50);

/// In how many steps quotas are counted again once, if the tree changed.
const QUOTAS_EVERY: u64 = 16;

/// What happens.
#[derive(Debug)]
pub enum Happening {
    /// A process is told that time has passed.
    Tick(Process),
    /// Something is told to a process.
    Tell(Process, Box<Event>),
    /// A process's attempt to reach another server comes to its end.
    Dialed(Process, Slot),
    /// Something may arrive at one end of a link.
    Arrive(usize, Side),
    /// A notification may leave for another server.
    VoteLeaves(Slot, Slot),
    /// A notification arrives, if both lives are still the ones.
    VoteArrives(Process, Process, Box<Notification>),
    /// A disk is done with a batch of writes.
    DiskDone(Process),
    /// A snapshot is written.
    SnapshotDone(Process),
    /// A client does what is due; the number tells a stale one.
    Wake(usize, u64),
    /// A client's attempt to connect comes to its end.
    Dials(usize, u64, Slot),
    /// Bytes of a client reach the server.
    ToServer(usize, u64, Bytes),
    /// Bytes of a server reach the client.
    ToClient(usize, u64, Bytes),
    /// The server sees the end of a client's connection.
    ServerEnd(usize, u64, Process),
    /// The client sees the end of its connection.
    ClientEnd(usize, u64),
    /// A link breaks, if it still stands.
    Break(usize),
    /// The next fault is due.
    Fault,
    /// A fault ends.
    Mend(Mend),
    /// The run looks at itself.
    Look,
}

/// How a fault ends.
#[derive(Clone, Debug)]
pub enum Mend {
    /// These ways pass packets again.
    Open(Vec<(Slot, Slot)>),
    /// This way has its usual delay again.
    Fast(Vec<(Slot, Slot)>),
    /// This disk is as fast as usual.
    Disk(Slot),
    /// This server starts.
    Start(Slot),
    /// This disk has room again.
    Room(Slot),
    /// This server's machine is looked after: its process ends, if it has not, and starts.
    Restart(Slot),
}

/// How learners were brought level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// DIFF.
    pub diffs: u64,
    /// TRUNC.
    pub cuts: u64,
    /// SNAP.
    pub snapshots: u64,
}

impl Syncs {
    /// Takes note of a packet.
    pub fn count(&mut self, packet: &Packet) {
        match packet {
            Packet::Diff(_) => self.diffs += 1,
            Packet::Trunc(_) => self.cuts += 1,
            Packet::Snap { .. } => self.snapshots += 1,
            _ => {}
        }
    }
}

/// Everything of one run.
pub struct World {
    /// How it is set up.
    pub setup: Setup,
    /// What happens next.
    pub queue: Queue<Happening>,
    /// The ways between servers.
    pub network: Network,
    /// Every link that ever stood, by its number; `None` once both ends are gone.
    pub links: Vec<Option<Link>>,
    /// The servers by place.
    pub servers: Vec<Server>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Their connections.
    pub connections: Vec<Connection>,
    /// What was seen of the servers.
    pub facts: Facts,
    /// What must hold.
    pub invariants: Invariants,
    /// What clients may see.
    pub oracle: Oracle,
    /// What happened.
    pub trace: Trace,
    /// Faults by kind.
    pub counts: Counts,
    /// Decides everything that a plan leaves open.
    pub rng: Rng,
    /// Which faults come next; `None` in a run without a plan.
    pub plan: Option<Plan>,
    /// Whether the run is still in its faulty phase.
    pub is_faulty: bool,
    /// When a client was told last to ask for a reconfig.
    pub reconfig_asked: Micros,
    /// Links that are to break when NEWLEADER arrives on them.
    pub breaks_in_sync: u32,
    /// Disks that were refused for a damaged file and replaced.
    pub disks_replaced: u64,
    /// How many learners were brought level by a diff, a cut and a snapshot.
    pub syncs: Syncs,
    /// How many steps servers took.
    pub steps: u64,
    /// Effects of the step that is being done; kept to be used again.
    effects: Vec<Effect>,
}

impl World {
    /// A world in which every server starts, and clients come soon after.
    pub fn new(setup: Setup, detail: Detail) -> World {
        let mut rng = Rng::new(setup.seed);
        let ids: Vec<ServerId> = setup.ids().collect();
        let mut queue = Queue::new();
        let servers: Vec<Server> =
            ids.iter().map(|id| Server::new(*id, setup.is_founder(*id), &mut rng)).collect();
        let clients: Vec<Client> = (0..setup.clients)
            .map(|index| {
                let at = Micros::of_ms(rng.below(200));
                queue.at(at, Happening::Wake(index, 0));
                Client::new(index, &setup, at, rng.next_u64())
            })
            .collect();
        let mut world = World {
            network: Network::new(setup.servers, rng.next_u64()),
            links: Vec::new(),
            connections: (0..setup.clients).map(|_| Connection::default()).collect(),
            facts: Facts::new(&ids, setup.ensemble()),
            invariants: Invariants::default(),
            oracle: Oracle::new(setup.rules()),
            trace: Trace::new(detail),
            counts: Counts::default(),
            plan: None,
            is_faulty: false,
            reconfig_asked: Micros(0),
            breaks_in_sync: 0,
            disks_replaced: 0,
            syncs: Syncs::default(),
            steps: 0,
            effects: Vec::new(),
            queue,
            servers,
            clients,
            rng,
            setup,
        };
        for slot in 0..world.servers.len() {
            world.start(Slot(slot));
        }
        world
    }

    /// Lets the next thing happen; `None` at the end of all things.
    pub fn advance(&mut self) -> Option<()> {
        let happening = self.queue.next()?;
        self.trace.number(self.queue.now().0);
        let now = self.queue.now();
        self.trace.line(|| format!("{now} {happening:?}"));
        match happening {
            Happening::Tick(process) => {
                if self.is_current(process) {
                    self.queue.after(self.tick_every(), Happening::Tick(process));
                    self.tick_connections(process);
                    self.step(process, Event::Tick);
                    self.look_for_room(process);
                }
            }
            Happening::Tell(process, event) => self.step(process, *event),
            Happening::Dialed(process, to) => self.on_dialed(process, to),
            Happening::Arrive(link, side) => self.on_arrive(link, side),
            Happening::VoteLeaves(from, to) => self.on_vote_leaves(from, to),
            Happening::VoteArrives(from, to, notification) => self.on_vote_arrives(from, to, *notification),
            Happening::DiskDone(process) => self.on_disk_done(process),
            Happening::SnapshotDone(process) => self.on_snapshot_done(process),
            Happening::Wake(client, number) => self.on_wake(client, number),
            Happening::Dials(client, serial, slot) => self.on_client_dials(client, serial, slot),
            Happening::ToServer(client, serial, bytes) => self.on_bytes_to_server(client, serial, bytes),
            Happening::ToClient(client, serial, bytes) => self.on_bytes_to_client(client, serial, &bytes),
            Happening::ServerEnd(client, serial, process) => self.on_server_end(client, serial, process),
            Happening::ClientEnd(client, serial) => self.on_client_end(client, serial),
            Happening::Break(link) => self.break_link(link),
            Happening::Fault => self.on_fault(),
            Happening::Mend(mend) => self.on_mend(mend),
            Happening::Look => {}
        }
        Some(())
    }

    /// How often a process is told that time passes: at least four times in a tick.
    fn tick_every(&self) -> Micros {
        TICK_MAX.min(Micros(self.setup.tick.0 / 4))
    }

    /// The process that runs at this place.
    pub fn process(&self, slot: Slot) -> Option<Process> {
        let server = &self.servers[slot.0];
        server.running.as_ref().map(|_| Process { slot, life: server.life })
    }

    /// Whether this process still runs.
    pub fn is_current(&self, process: Process) -> bool {
        self.process(process.slot) == Some(process)
    }

    /// The place of a server.
    pub fn slot_of(&self, id: ServerId) -> Option<Slot> {
        self.servers.iter().position(|server| server.id == id).map(Slot)
    }

    /// Starts a server that does not run.
    pub fn start(&mut self, slot: Slot) {
        if self.servers[slot.0].running.is_some() {
            return;
        }
        let seed = self.rng.next_u64();
        let now = self.queue.now();
        let opened = self.servers[slot.0].open();
        if opened.as_ref().is_err_and(|err| err.is_full()) && self.servers[slot.0].full_at.is_some() {
            return; // it stays down until there is room
        }
        let (files, recovered) = opened.unwrap_or_else(|err| self.replace_disk(slot, &err));
        self.trace
            .line(|| format!("{now} {slot:?} starts: {:?} last {}", recovered.epochs, recovered.last_zxid()));
        self.invariants.on_started(&mut self.facts, slot, &recovered);
        self.servers[slot.0].start(&self.setup, now, seed, files, recovered);
        let process = self.process(slot).expect("it was started");
        self.reconnect_votes(slot);
        let offset = Micros(self.rng.below(self.tick_every().0));
        self.queue.after(offset, Happening::Tick(process));
    }

    /// Gives events to a process, and does what it asks for, until both come to rest.
    pub fn step(&mut self, process: Process, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if !self.is_current(process) {
                return;
            }
            self.step_once(process, event, &mut events);
        }
    }

    fn step_once(&mut self, process: Process, event: Event, events: &mut VecDeque<Event>) {
        let slot = process.slot;
        self.steps += 1;
        let server = &mut self.servers[slot.0];
        let now = server.clock.now(self.queue.now());
        let running = server.running.as_mut().expect("a current process runs");
        if let Event::Synced(seq) = &event {
            self.invariants.on_synced(&mut self.facts, slot, *seq);
        }
        if let Event::Packet(_, packet) = &event {
            self.invariants.sessions.on_packet(slot, now.mono, packet);
        }
        let mut effects = std::mem::take(&mut self.effects);
        running.step(now, event, &mut effects);
        let picture = running.picture();
        self.trace.number(picture.delivered.0 as u64 ^ picture.digest);
        self.trace.number(effects.len() as u64);
        self.invariants.sessions.on_status(slot, now.mono, picture.leads());
        for effect in effects.drain(..) {
            match &effect {
                Effect::Write(seq, write) => {
                    self.invariants.on_write(&mut self.facts, slot, &picture, *seq, write);
                    self.on_session_written(slot, now.mono, &picture, write);
                }
                Effect::Send(link, packet) => {
                    self.syncs.count(packet);
                    self.invariants.check(&self.facts, slot, &Seen::Sent(*link, packet));
                }
                Effect::Vote(_, notification) => {
                    self.invariants.check(&self.facts, slot, &Seen::Voted(notification));
                }
                Effect::SendSnapshot(..)
                | Effect::Dial(_)
                | Effect::DropLink(_)
                | Effect::TakeSnapshot(_)
                | Effect::Client(..)
                | Effect::Notify(..)
                | Effect::Status(_)
                | Effect::ReadOnly
                | Effect::Ensemble(_)
                | Effect::LimitPassed(_)
                | Effect::Transferred(_) => {}
            }
            let at = self.queue.now();
            self.trace.line(|| format!("{at}   {slot:?} {}", brief(&effect)));
            self.perform(process, effect, events);
        }
        self.effects = effects;
        let known = self.facts.committed.len();
        if let Some(running) = &self.servers[slot.0].running
            && self.facts.server(slot).delivered() != picture.delivered
        {
            running.replica.service().tree.read(|tree| {
                ephemerals::check(slot, tree);
                if self.steps.is_multiple_of(QUOTAS_EVERY) {
                    quotas::check(slot, tree);
                }
            });
        }
        self.invariants.on_stepped(&mut self.facts, slot, &picture);
        for place in known..self.facts.committed.len() {
            let logged = &self.facts.committed[place].logged;
            let proposed = self.facts.proposed.get(&logged.zxid).expect("what is committed was proposed");
            let decided = Decided { applied: proposed.applied, lacks_room: !proposed.had_room };
            self.oracle.on_committed(logged.txn.clone(), decided);
        }
    }

    /// A leader proposes the beginning of a session, or, with no client's number, its end.
    fn on_session_written(&mut self, slot: Slot, now: Millis, picture: &Picture, write: &Write) {
        let Write::Append { txn, .. } = write else { return };
        let Some((session, cxid, kind)) = wire::txn_head(txn).filter(|_| picture.leads().is_some()) else {
            return;
        };
        match kind {
            op::CREATE_SESSION => self.invariants.sessions.on_sign(slot, now, session, Sign::Told),
            op::CLOSE_SESSION if cxid == 0 => {
                self.invariants.sessions.on_expiry(slot, now, session, self.setup.session_span(TICK_MAX));
            }
            _ => {}
        }
    }

    fn perform(&mut self, process: Process, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Write(seq, write) => self.write(process, seq, write),
            Effect::Send(link, packet) => self.send(process, link, packet),
            Effect::SendSnapshot(link, image) => self.send_snapshot(process, link, &image),
            Effect::Vote(to, notification) => self.vote(process, to, notification),
            Effect::Dial(to) => self.dial(process, to),
            Effect::DropLink(link) => self.drop_link(process, link),
            Effect::TakeSnapshot(image) => self.take_snapshot(process, image),
            Effect::Client(conn, tell) => self.tell_client(process, conn, tell, events),
            Effect::Notify(zxid, conns) => self.notify(process, zxid, &conns, events),
            Effect::Status(status) => self.on_status(process, status, events),
            Effect::ReadOnly => {
                let running = self.servers[process.slot.0].running.as_mut().expect("it is stepping");
                running.become_read_only();
            }
            Effect::Ensemble(_) | Effect::LimitPassed(_) | Effect::Transferred(_) => {}
        }
    }

    fn on_status(&mut self, process: Process, status: Status, events: &mut VecDeque<Event>) {
        let running = self.servers[process.slot.0].running.as_mut().expect("it is stepping");
        let (was_read_only, serves) = (running.is_read_only, running.become_status(status));
        if was_read_only && running.is_read_only {
            return; // it goes on reading, whatever the election does
        }
        if was_read_only || !serves {
            self.close_clients(process, events);
        }
        if serves {
            // It holds all that its leader held: all that was committed.
            self.servers[process.slot.0].is_blank = false;
        }
    }

    /// The server that leads the latest epoch, if one leads.
    pub fn leader(&self) -> Option<Slot> {
        let leads = |slot: &Slot| {
            let server = self.facts.server(*slot);
            server.is_running.then(|| server.leads()).flatten().map(|epoch| (epoch, *slot))
        };
        let leaders: BTreeMap<_, _> =
            (0..self.servers.len()).map(Slot).filter_map(|slot| leads(&slot)).collect();
        leaders.last_key_value().map(|(_, slot)| *slot)
    }
}

/// An effect in a line, without what it carries.
fn brief(effect: &Effect) -> String {
    let mut text = match effect {
        Effect::TakeSnapshot(_) => "TakeSnapshot".to_owned(),
        Effect::SendSnapshot(link, _) => format!("SendSnapshot({link})"),
        effect => format!("{effect:?}"),
    };
    if text.len() > 600 {
        let end = (0..=600).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
