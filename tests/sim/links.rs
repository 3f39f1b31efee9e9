//! The ways between servers in a run: dialing, packets, broken links, notifications.
//!
//! In: what a process sends or drops. Out: what arrives at the other end, in order, or the end of the link.
//!
//! Always true:
//! * a packet that was sent before a link ended may arrive or not, one sent later never does;
//! * behind a cut there is silence, until the cut ends or somebody gives up.
//!
//! Not here: delays and cuts (`network`), which of them happen (`nemesis`).

use quorate::base::{LinkId, ServerId};
use quorate::replica::Event;
use quorate::tree::Image;
use quorate::zab::packet::Packet;
use quorate::zab::vote::Notification;

use crate::faults::Kind;
use crate::invariants::Seen;
use crate::network::{End, Item, Link, Process, Side, Slot};
use crate::queue::Micros;
use crate::world::{Happening, World};

/// How long an attempt to connect waits for an answer.
const DIAL_TIMEOUT: Micros = Micros::of_ms(400);
/// How long until a lost election connection is made again.
const VOTE_RETRY: Micros = Micros::of_ms(40);

impl World {
    /// A process dials a server's quorum port.
    pub fn dial(&mut self, process: Process, to: ServerId) {
        let Some(slot) = self.slot_of(to) else {
            self.queue.after(Micros(500), Happening::Tell(process, Box::new(Event::DialFailed(to))));
            return;
        };
        let now = self.queue.now();
        let there = self.network.arrival(now, process.slot, slot);
        let is_reachable = self.is_both_ways_open(process.slot, slot) && !self.servers[slot.0].is_dark;
        let at = if is_reachable { there } else { now + DIAL_TIMEOUT };
        self.queue.at(at, Happening::Dialed(process, slot));
    }

    /// An attempt to connect comes to its end: a link stands, or the dialer is told that it failed.
    pub fn on_dialed(&mut self, process: Process, to: Slot) {
        if !self.is_current(process) {
            return;
        }
        let id = self.servers[to.0].id;
        let acceptor = self.process(to).filter(|_| self.is_both_ways_open(process.slot, to));
        let (Some(acceptor), true) = (acceptor, process.slot != to) else {
            self.step(process, Event::DialFailed(id));
            return;
        };
        let number = self.links.len();
        let mut end = |at: Process, side: Side| {
            let running = self.servers[at.slot.0].running.as_mut().expect("both processes run");
            let link = running.new_link();
            running.links.insert(link, (number, side));
            End { process: at, link, open: true }
        };
        let (dialing, accepting) = (end(process, Side::Dialer), end(acceptor, Side::Acceptor));
        self.links.push(Some(Link::new(dialing, accepting)));
        self.step(acceptor, Event::LinkUp(accepting.link, None));
        self.step(process, Event::LinkUp(dialing.link, Some(id)));
    }

    /// A process sends a packet.
    pub fn send(&mut self, process: Process, link: LinkId, packet: Packet) {
        self.put(process, link, Item::Packet(packet));
    }

    /// A process sends its tree.
    pub fn send_snapshot(&mut self, process: Process, link: LinkId, image: &Image) {
        let packet = Packet::Snap { zxid: image.zxid(), body: image.to_body() };
        self.syncs.count(&packet);
        self.invariants.check(&self.facts, process.slot, &Seen::Sent(link, &packet));
        self.put(process, link, Item::Packet(packet));
    }

    /// A process closes a link: the other end learns of it behind all that was sent.
    pub fn drop_link(&mut self, process: Process, link: LinkId) {
        self.put(process, link, Item::End);
        let running = self.servers[process.slot.0].running.as_mut().expect("it is stepping");
        if let Some((number, side)) = running.links.remove(&link) {
            self.close_end(number, side);
        }
    }

    fn put(&mut self, process: Process, link: LinkId, item: Item) {
        let running = self.servers[process.slot.0].running.as_ref().expect("it is stepping");
        let Some((number, side)) = running.links.get(&link).copied() else { return };
        self.put_on(number, side, item);
    }

    /// Puts an item on its way from one end of a link to the other.
    pub fn put_on(&mut self, number: usize, from: Side, item: Item) {
        let now = self.queue.now();
        let Some(link) = self.links[number].as_mut() else { return };
        let (sender, receiver) = (link.end(from).process.slot, link.end(from.other()).process.slot);
        let due = self.network.arrival(now, sender, receiver);
        let at = link.pipe_to(from.other()).send(due, item);
        self.queue.at(at, Happening::Arrive(number, from.other()));
    }

    /// Lets arrive at one end what is due and not held back.
    pub fn on_arrive(&mut self, number: usize, side: Side) {
        let now = self.queue.now();
        let Some(link) = self.links[number].as_mut() else { return };
        let (sender, receiver) = (link.end(side.other()).process.slot, link.end(side).process.slot);
        if !self.network.is_open(sender, receiver) {
            return; // what waits arrives when the way is open again
        }
        let end = *link.end(side);
        let pipe = link.pipe_to(side);
        if pipe.stalled_until > now {
            let until = pipe.stalled_until;
            self.queue.at(until, Happening::Arrive(number, side));
            return;
        }
        let Some((_, item)) = pipe.items.pop_front_if(|(at, _)| *at <= now) else { return };
        if !end.open || !self.is_current(end.process) {
            if !self.servers[receiver.0].is_dark && matches!(item, Item::Packet(_)) {
                self.put_on(number, side, Item::End); // the machine knows nothing of this link
            }
            return;
        }
        match item {
            Item::Packet(packet) => {
                self.invariants.check(&self.facts, receiver, &Seen::Got(end.link, &packet));
                if matches!(packet, Packet::NewLeader { .. }) && self.breaks_in_sync > 0 {
                    self.breaks_in_sync -= 1;
                    self.counts.add(Kind::BreakInSync);
                    let span = Micros(self.rng.below(self.setup.sync_max.0));
                    self.queue.after(span, Happening::Break(number));
                }
                self.step(end.process, Event::Packet(end.link, packet));
            }
            Item::End => self.end_link(number, side),
        }
    }

    /// One end of a link learns that the link is gone.
    pub fn end_link(&mut self, number: usize, side: Side) {
        let Some(link) = self.links[number].as_mut() else { return };
        let end = *link.end(side);
        self.close_end(number, side);
        if !end.open || !self.is_current(end.process) {
            return;
        }
        let running = self.servers[end.process.slot.0].running.as_mut().expect("a current process runs");
        running.links.remove(&end.link);
        self.step(end.process, Event::LinkDown(end.link));
    }

    fn close_end(&mut self, number: usize, side: Side) {
        let Some(link) = self.links[number].as_mut() else { return };
        link.end(side).open = false;
        if link.is_dead() {
            self.links[number] = None;
        }
    }

    /// Breaks a link in its middle: what is under way is lost, and both ends learn of it, each in its time.
    pub fn break_link(&mut self, number: usize) {
        for side in [Side::Dialer, Side::Acceptor] {
            let Some(link) = self.links[number].as_mut() else { return };
            let pipe = link.pipe_to(side);
            let kept = self.rng.below(pipe.items.len() as u64 + 1) as usize;
            pipe.items.truncate(kept);
            self.put_on(number, side.other(), Item::End);
        }
    }

    /// A process ends: its links do, at once where the machine goes on, and silently where it lost power.
    pub fn leave_links(&mut self, links: Vec<(usize, Side)>, told: bool) {
        for (number, side) in links {
            if told {
                self.put_on(number, side, Item::End);
            }
            if let Some(link) = self.links[number].as_mut() {
                link.end(side).open = false;
            }
        }
    }

    /// Lets everything that waited behind a cut or a stall arrive.
    pub fn flush_links(&mut self) {
        for number in 0..self.links.len() {
            for side in [Side::Dialer, Side::Acceptor] {
                let Some(link) = self.links[number].as_mut() else { continue };
                for _ in 0..link.pipe_to(side).items.len() {
                    self.queue.after(Micros(100), Happening::Arrive(number, side));
                }
            }
        }
    }

    /// A process sends a notification: the newest replaces one that waits.
    pub fn vote(&mut self, process: Process, to: ServerId, notification: Notification) {
        let Some(slot) = self.slot_of(to) else { return };
        if slot == process.slot {
            let event = Event::Vote(to, notification);
            self.queue.after(Micros(1), Happening::Tell(process, Box::new(event)));
            return;
        }
        let ballots = self.network.ballots(process.slot, slot);
        ballots.waiting = Some(notification);
        if !ballots.leaving {
            ballots.leaving = true;
            self.queue.after(Micros(50), Happening::VoteLeaves(process.slot, slot));
        }
    }

    /// A notification leaves, if the connection stands or can be made.
    pub fn on_vote_leaves(&mut self, from: Slot, to: Slot) {
        let now = self.queue.now();
        let (Some(sender), open) = (self.process(from), self.is_both_ways_open(from, to)) else {
            *self.network.ballots(from, to) = Default::default();
            return;
        };
        let Some(receiver) = self.process(to).filter(|_| open) else {
            self.queue.after(VOTE_RETRY, Happening::VoteLeaves(from, to));
            return;
        };
        let due = self.network.arrival(now, from, to);
        let ballots = self.network.ballots(from, to);
        ballots.leaving = false;
        let Some(notification) = ballots.waiting.take() else { return };
        ballots.last = Some(notification.clone());
        let at = due.max(ballots.last_arrival);
        ballots.last_arrival = at;
        self.queue.at(at, Happening::VoteArrives(sender, receiver, Box::new(notification)));
    }

    /// A notification arrives, or its connection broke: then the last one is sent again.
    pub fn on_vote_arrives(&mut self, from: Process, to: Process, notification: Notification) {
        if !self.is_current(from) {
            return;
        }
        if self.is_current(to) && self.network.is_open(from.slot, to.slot) {
            let id = self.servers[from.slot.0].id;
            self.step(to, Event::Vote(id, notification));
            return;
        }
        self.resend_vote(from.slot, to.slot);
    }

    /// A server has started: whoever had sent it something sends its last notification again.
    pub fn reconnect_votes(&mut self, slot: Slot) {
        for other in (0..self.servers.len()).map(Slot).filter(|other| *other != slot) {
            *self.network.ballots(slot, other) = Default::default();
            self.resend_vote(other, slot);
        }
    }

    fn resend_vote(&mut self, from: Slot, to: Slot) {
        let ballots = self.network.ballots(from, to);
        if ballots.waiting.is_none() {
            ballots.waiting = ballots.last.clone();
        }
        if ballots.waiting.is_some() && !ballots.leaving {
            ballots.leaving = true;
            self.queue.after(VOTE_RETRY, Happening::VoteLeaves(from, to));
        }
    }

    /// Whether packets get through in both directions, as a connection needs it.
    pub fn is_both_ways_open(&self, one: Slot, other: Slot) -> bool {
        self.network.is_open(one, other) && self.network.is_open(other, one)
    }
}
