//! Does the faults to the world, and takes them back.
//!
//! In: a kind of fault from the plan. Out: the world with that fault, and the mend in the queue.
//!
//! Always true:
//! * a fault counts only if it did something;
//! * after `heal` every way is open, every server runs, and every disk is well.
//!
//! Not here: which fault is next (`faults`).

use quorate::base::Zxid;
use quorate::replica::Event;
use quorate::storage::sim_disk::DiskFaults;

use crate::client::{Client, Wish};
use crate::facts::ServerFacts;
use crate::faults::{Kind, Plan};
use crate::files::RESERVE_BYTES;
use crate::network::{Side, Slot};
use crate::queue::Micros;
use crate::request::Request;
use crate::server::Server;
use crate::setup::Setup;
use crate::world::{Happening, Mend, World};

/// How long a reconfig that a client asks for may be on its way to a proposal.
const RECONFIG_UNDER_WAY: Micros = Micros::of_s(6);
/// How much longer a partition lasts now and then where servers without a leader serve readers: they wait 2 s for one.
const LEADERLESS_SPAN: Micros = Micros::of_s(4);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: the machine goes on, and what was written stays written.
    Kill,
    /// The machine loses power.
    Power,
    /// The machine loses power while its disk works.
    PowerInWrite,
}

impl World {
    /// The next fault of the plan is due.
    pub fn on_fault(&mut self) {
        if !self.is_faulty {
            return;
        }
        let Some(mut plan) = self.plan.take() else { return };
        let kind = plan.next();
        if self.inflict(kind, &mut plan) {
            self.counts.add(kind);
        }
        self.queue.after(plan.pause(), Happening::Fault);
        self.plan = Some(plan);
    }

    /// Does one fault. Answers whether it did something.
    pub fn inflict(&mut self, kind: Kind, plan: &mut Plan) -> bool {
        let now = self.queue.now();
        self.trace.line(|| format!("{now} FAULT {kind:?}"));
        let span = plan.span(self.setup.tick);
        match kind {
            Kind::Delay => self.delay(span),
            Kind::Reorder => self.reorder(span),
            Kind::Stall => self.stall(span),
            Kind::Break => self.break_some_link(),
            Kind::BreakInSync => {
                self.breaks_in_sync += 1;
                false // counted when it comes to that
            }
            Kind::OneWay => self.cut_one_way(span),
            Kind::Partition => self.partition(span),
            Kind::Kill => self.crash_some(Crash::Kill, span),
            Kind::PowerCut => self.crash_some(Crash::Power, span),
            Kind::PowerCutInWrite => self.crash_some(Crash::PowerInWrite, span),
            Kind::Restart => false,
            Kind::SlowDisk => {
                let slot = self.some_slot();
                self.servers[slot.0].sync_extra = Micros(self.rng.below(self.setup.tick.0 * 3));
                self.queue.after(span, Happening::Mend(Mend::Disk(slot)));
                true
            }
            Kind::DiskError => self.break_disk(span),
            Kind::BitFlip => self.flip_bit(span),
            Kind::ClockJump => {
                let by = self.rng.below(100_000) as i64 - 50_000;
                let slot = self.some_slot();
                self.servers[slot.0].clock.jump(by);
                true
            }
            Kind::ClockDrift => {
                let rate = 970_000 + self.rng.below(60_001);
                let slot = self.some_slot();
                self.servers[slot.0].clock.drift(now, rate);
                true
            }
            Kind::Reconfig => self.reconfigure(),
            Kind::HandOver => self.hand_over(),
            Kind::Expiry => self.silence_client(),
            Kind::ClientBreak => {
                let client = self.rng.below(self.clients.len() as u64) as usize;
                let stands = self.connections[client].served_by.is_some();
                self.break_client(client);
                stands
            }
            Kind::FullDisk => {
                let slot = self.some_slot();
                if self.process(slot).is_none() || self.servers[slot.0].full_at.is_some() {
                    return false;
                }
                let free_bytes = self.rng.below(RESERVE_BYTES);
                self.fill_disk(slot, free_bytes);
                self.queue.after(span, Happening::Mend(Mend::Room(slot)));
                true
            }
        }
    }

    /// A fault ends.
    pub fn on_mend(&mut self, mend: Mend) {
        match mend {
            Mend::Open(ways) => {
                for (from, to) in ways {
                    let way = self.network.way(from, to);
                    way.cuts = way.cuts.saturating_sub(1);
                }
                self.flush_links();
            }
            Mend::Fast(ways) => {
                for (from, to) in ways {
                    self.network.way(from, to).extra = Micros(0);
                }
            }
            Mend::Disk(slot) => self.servers[slot.0].sync_extra = Micros(0),
            Mend::Room(slot) => self.empty_disk(slot),
            Mend::Restart(slot) => {
                self.crash(slot, Crash::Power);
                self.on_mend(Mend::Start(slot));
            }
            Mend::Start(slot) => {
                if self.servers[slot.0].running.is_none() {
                    self.counts.add(Kind::Restart);
                    self.start(slot);
                }
            }
        }
    }

    /// Ends the faulty phase: takes everything back.
    pub fn heal(&mut self) {
        self.is_faulty = false;
        self.breaks_in_sync = 0;
        self.network.heal();
        for slot in (0..self.servers.len()).map(Slot) {
            self.servers[slot.0].sync_extra = Micros(0);
            self.servers[slot.0].full_at = None;
            if self.servers[slot.0].is_failing {
                self.crash(slot, Crash::Power);
            }
            self.empty_disk(slot);
        }
        self.flush_links();
    }

    /// Ends a process.
    pub fn crash(&mut self, slot: Slot, how: Crash) {
        if how == Crash::PowerInWrite {
            self.fail_in_write(slot);
        }
        let server = &mut self.servers[slot.0];
        let Some(running) = server.running.take() else { return };
        let links: Vec<(usize, Side)> = running.links.values().copied().collect();
        let clients: Vec<(usize, u64)> = running.clients.values().map(|served| served.client).collect();
        drop(running);
        if how != Crash::Kill {
            server.disk.crash();
            server.is_dark = true;
        }
        let now = self.queue.now();
        self.trace.line(|| format!("{now} {slot:?} ends: {how:?}"));
        self.invariants.on_stopped(&mut self.facts, slot);
        self.leave_links(links, how == Crash::Kill);
        self.leave_clients(clients);
    }

    fn crash_some(&mut self, how: Crash, span: Micros) -> bool {
        // Mostly the leader, since most can go wrong there.
        let slot = match self.leader() {
            Some(leader) if self.rng.below(2) == 0 => leader,
            _ => self.some_slot(),
        };
        if self.process(slot).is_none() {
            return false;
        }
        self.crash(slot, how);
        self.queue.after(span, Happening::Mend(Mend::Start(slot)));
        true
    }

    /// A disk answers some errors, and is replaced by one that does not once its process has ended.
    fn break_disk(&mut self, span: Micros) -> bool {
        let slot = self.some_slot();
        if self.process(slot).is_none() {
            return false;
        }
        let faults = match self.rng.below(3) {
            0 => DiskFaults { write_per_mille: 300, ..DiskFaults::default() },
            1 => DiskFaults { sync_per_mille: 300, ..DiskFaults::default() },
            _ => DiskFaults { capacity_bytes: Some(1 + self.rng.below(1 << 16)), ..DiskFaults::default() },
        };
        self.servers[slot.0].is_failing = true;
        self.servers[slot.0].disk.set_faults(faults);
        self.queue.after(span, Happening::Mend(Mend::Restart(slot)));
        true
    }

    /// A bit of an old file turns over, and the machine loses power: a start will read the file.
    fn flip_bit(&mut self, span: Micros) -> bool {
        // Damage that no start has read yet may cost its disk later: until then no other disk is damaged.
        let damaged = self.servers.iter().position(|server| !server.flipped.is_empty()).map(Slot);
        let slot = damaged.unwrap_or_else(|| self.some_slot());
        if self.process(slot).is_none() || !self.may_lose_disk(slot) {
            return false;
        }
        let Some(path) = self.servers[slot.0].flip_bit() else { return false };
        self.trace.line(|| format!("   a bit of {} of {slot:?} turns over", path.display()));
        self.facts.servers[slot.0].is_damaged = true;
        self.crash(slot, Crash::Power);
        self.queue.after(span, Happening::Mend(Mend::Start(slot)));
        true
    }

    /// Whether a quorum of any membership that may be in force holds everything without this server's disk. One that is
    /// proposed may need the server, and it would never vote again: none may be on its way either.
    fn may_lose_disk(&self, slot: Slot) -> bool {
        let ensemble = self.facts.ensemble();
        let last = self.facts.last_committed();
        let proposes = |server: &ServerFacts| {
            let open = server.written.between(last, Zxid(i64::MAX));
            open.iter().any(|logged| logged.ensemble().is_some())
        };
        let is_calm = self.queue.now() >= self.reconfig_asked + RECONFIG_UNDER_WAY
            && !self.clients.iter().any(Client::wants_reconfig);
        is_calm
            && self.setup.ids().all(|id| ensemble.is_voter(id))
            && !self.facts.servers.iter().any(proposes)
            && (0..self.servers.len()).all(|other| other == slot.0 || !self.servers[other].is_blank)
    }

    fn some_slot(&mut self) -> Slot {
        Slot(self.rng.below(self.servers.len() as u64) as usize)
    }

    fn some_pair(&mut self) -> (Slot, Slot) {
        let one = self.some_slot();
        let other =
            Slot((one.0 + 1 + self.rng.below(self.servers.len() as u64 - 1) as usize) % self.servers.len());
        (one, other)
    }

    fn delay(&mut self, span: Micros) -> bool {
        let (from, to) = self.some_pair();
        self.network.way(from, to).extra = Micros(self.rng.below(self.setup.tick.0));
        self.queue.after(span, Happening::Mend(Mend::Fast(vec![(from, to)])));
        true
    }

    fn reorder(&mut self, span: Micros) -> bool {
        let ways = self.ways(|_, _| true);
        for (from, to) in &ways {
            self.network.way(*from, *to).extra = Micros(self.rng.below(30_000));
        }
        self.queue.after(span, Happening::Mend(Mend::Fast(ways)));
        true
    }

    fn stall(&mut self, span: Micros) -> bool {
        let Some(number) = self.some_link() else { return false };
        let until = self.queue.now() + span;
        let side = if self.rng.below(2) == 0 { Side::Dialer } else { Side::Acceptor };
        let link = self.links[number].as_mut().expect("it stands");
        link.pipe_to(side).stalled_until = until;
        true
    }

    fn break_some_link(&mut self) -> bool {
        let Some(number) = self.some_link() else { return false };
        self.break_link(number);
        true
    }

    fn some_link(&mut self) -> Option<usize> {
        let standing: Vec<usize> =
            (0..self.links.len()).rev().take(40).filter(|number| self.links[*number].is_some()).collect();
        let choice = self.rng.below(standing.len() as u64) as usize;
        standing.get(choice).copied()
    }

    fn cut_one_way(&mut self, span: Micros) -> bool {
        let (from, to) = self.some_pair();
        let ways = match self.rng.below(3) {
            0 => self.ways(|one, _| one == from),
            1 => self.ways(|_, other| other == to),
            _ => vec![(from, to)],
        };
        self.cut(ways, span);
        true
    }

    fn partition(&mut self, span: Micros) -> bool {
        let group = 1 + self.rng.below((1 << self.servers.len()) - 2);
        let is_in = |slot: Slot| group >> slot.0 & 1 == 1;
        let ways = self.ways(|one, other| is_in(one) != is_in(other));
        // Long enough that those without a leader begin to serve readers, and go on for a while.
        let waits = self.setup.has_read_only() && self.rng.below(3) == 0;
        self.cut(ways, if waits { span + LEADERLESS_SPAN } else { span });
        true
    }

    /// Cuts ways for a while.
    pub fn cut(&mut self, ways: Vec<(Slot, Slot)>, span: Micros) {
        for (from, to) in &ways {
            self.network.way(*from, *to).cuts += 1;
        }
        self.queue.after(span, Happening::Mend(Mend::Open(ways)));
    }

    /// Every way that fits.
    pub fn ways(&self, fits: impl Fn(Slot, Slot) -> bool) -> Vec<(Slot, Slot)> {
        let slots = (0..self.servers.len()).map(Slot);
        let pairs = slots.clone().flat_map(|one| slots.clone().map(move |other| (one, other)));
        pairs.filter(|(one, other)| one != other && fits(*one, *other)).collect()
    }

    /// Asks a client to take a server out, or to take it in again. Not while a disk may turn out to be lost.
    fn reconfigure(&mut self) -> bool {
        let is_in_doubt =
            |server: &Server| server.is_blank || (server.running.is_none() && !server.flipped.is_empty());
        if self.servers.iter().any(is_in_doubt) {
            return false;
        }
        self.reconfig_asked = self.queue.now();
        let ensemble = self.facts.ensemble().clone();
        let live: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.clients[*client].is_live()).collect();
        if live.is_empty() {
            return false;
        }
        let client = live[self.rng.below(live.len() as u64) as usize];
        let ids: Vec<_> = self.setup.ids().collect();
        let missing: Vec<_> = ids.iter().filter(|id| !ensemble.is_voter(**id)).collect();
        let (joining, leaving) = if !missing.is_empty() && (missing.len() > 1 || self.rng.below(3) > 0) {
            // One of them, or all in one step.
            let count = if self.rng.below(2) == 0 { 1 } else { missing.len() };
            let lines: Vec<String> = missing.iter().take(count).map(|id| Setup::line(**id)).collect();
            (lines.join(","), String::new())
        } else {
            let id = ids[self.rng.below(ids.len() as u64) as usize];
            match self.rng.below(2) {
                0 => (String::new(), id.to_string()),
                _ => (Setup::line(id).replace("participant", "observer"), String::new()),
            }
        };
        self.clients[client].workload.ask(Request::Reconfig { joining, leaving });
        true
    }

    fn hand_over(&mut self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let process = self.process(leader).expect("a leader runs");
        let to = match self.rng.below(2) {
            0 => None,
            _ => {
                let slot = self.some_slot();
                Some(self.servers[slot.0].id)
            }
        };
        self.step(process, Event::Transfer(to));
        true
    }

    fn silence_client(&mut self) -> bool {
        let client = self.rng.below(self.clients.len() as u64) as usize;
        let is_live = self.clients[client].is_live();
        let long = self.setup.session_timeout + Micros(self.setup.tick.0 * (1 + self.rng.below(4)));
        let until = self.queue.now() + long;
        let mut wishes: Vec<Wish> = Vec::new();
        self.clients[client].freeze(until, &mut wishes);
        self.grant(client, wishes);
        self.run_client(client);
        is_live
    }
}
