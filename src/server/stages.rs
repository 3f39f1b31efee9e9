//! How long requests are at each stage of the loop: in its queue, in its step, in the log.
//!
//! In: batches of events and reports of the disk. Out: times and sizes in the statistics.
//!
//! Always true:
//! * a batch costs a few numbers, however many events it has.
//!
//! Not here: replies, which each connection times by itself (`net::client`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::{Millis, WriteSeq};
use crate::net::clients::Clients;
use crate::net::stats::Stats;
use crate::replica::event::Event;
use crate::zab::packet::Packet;

/// Batches whose writes are not durable yet that are timed; further ones are not.
const TIMED_MAX: usize = 1024;

/// Times the stages.
pub struct Stages {
    clients: Arc<Clients>,
    stats: Arc<Stats>,
    /// The last write of each batch that gave any, and when.
    given: VecDeque<(WriteSeq, Instant)>,
    last_given: WriteSeq,
    durable: WriteSeq,
}

impl Stages {
    /// Nothing is under way.
    pub fn new(clients: Arc<Clients>, stats: Arc<Stats>) -> Stages {
        let (last_given, durable) = (WriteSeq(0), WriteSeq(0));
        Stages { clients, stats, given: VecDeque::new(), last_given, durable }
    }

    /// These events were taken, and this many more wait.
    pub fn on_taken(&mut self, events: &[Event], waiting: usize) {
        let count =
            |is_counted: &dyn Fn(&Event) -> bool| events.iter().filter(|e| is_counted(e)).count() as u64;
        let requests: u64 = events
            .iter()
            .map(|event| match event {
                Event::Requests(_, requests) => requests.len() as u64,
                Event::ClientUp(..) => 1,
                _ => 0,
            })
            .sum();
        if requests > 0 {
            self.stats.requests_queued.add(requests);
            self.stats.queue_size.observe((events.len() + waiting) as u64);
        }
        let packets = count(&|event| matches!(event, Event::Packet(..)));
        if packets > 0 {
            let of = |is_it: &dyn Fn(&Packet) -> bool| {
                count(&|event| matches!(event, Event::Packet(_, packet) if is_it(packet)))
            };
            self.stats.proposals_received.add(of(&|packet| matches!(packet, Packet::Proposal(_))));
            self.stats.commits_received.add(of(&|packet| matches!(packet, Packet::Commit(_))));
        }
        if let Some(waited) = self.clients.take_queue_mark() {
            self.stats.queue_time.observe(Millis::from(waited).0);
            self.stats.stage_queue.observe(waited);
        }
    }

    /// They were stepped through since `began`, and this was the last write that was given to the disk, which the loop
    /// has waited for so long.
    pub fn on_stepped(&mut self, began: Instant, waited: Duration, last: WriteSeq) {
        let took = began.elapsed().saturating_sub(waited);
        let now = began + took;
        self.stats.step_time.observe(Millis::from(took).0);
        self.stats.stage_apply.observe(took);
        if last > self.last_given {
            self.stats.writes_queued.add(last.0 - self.last_given.0);
            self.last_given = last;
            if self.given.len() < TIMED_MAX {
                self.given.push_back((last, now));
            }
        }
    }

    /// Every write up to this one is durable.
    pub fn on_durable(&mut self, seq: WriteSeq) {
        if seq <= self.durable {
            return;
        }
        self.stats.writes_waiting.observe(self.last_given.0.saturating_sub(seq.0));
        self.durable = seq;
        while let Some((_, given)) = self.given.pop_front_if(|(last, _)| *last <= seq) {
            let took = given.elapsed();
            self.stats.write_total.observe(Millis::from(took).0);
            self.stats.stage_log.observe(took);
        }
    }
}
