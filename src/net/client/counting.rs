//! Counts what a connection asks and is answered.
//!
//! In: requests on their way to the loop, and what comes back. Out: latencies, and what `cons` and the audit log tell.
//!
//! Always true:
//! * each request is counted once, whoever answers it.
//!
//! Not here: the connection's work (`client`).

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Session;
use crate::base::Millis;
use crate::net::audit::Record;
use crate::net::clients::Clients;
use crate::net::talk::Latency;
use crate::replica::event::{Ask, ClientRequest, ToClient};

/// What stands before a request's record: xid and operation code.
const HEADER_BYTES: usize = 8;

/// A request that is in the loop.
pub(super) struct Asked {
    at: Instant,
    kind: Kind,
    /// Its length if it is large, else 0.
    large_bytes: u64,
    /// What the audit log is to say of it; `None` if nothing.
    audit: Option<Box<Record>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Update,
}

impl Session {
    /// Takes what the loop told.
    pub(super) fn take_told(&mut self, batch: &mut Vec<ToClient>, clients: &Clients) {
        if batch.is_empty() {
            return;
        }
        let (now, at) = ((clients.shared.clock)(), Instant::now());
        let stats = &clients.shared.stats;
        let mut latency = Latency::default();
        let mut replies = 0;
        // How many replies of one kind took the same time: they are counted together.
        let mut alike: Option<(Kind, u64, u64)> = None;
        let count = |(kind, took, times): (Kind, u64, u64)| {
            stats.latency.observe_many(took, times);
            match kind {
                Kind::Read => stats.read_latency.observe_many(took, times),
                Kind::Update => stats.update_latency.observe_many(took, times),
            }
            Latency::of(times, took)
        };
        for told in batch.drain(..) {
            let ToClient::Replies(told_replies) = &told else {
                self.conn.on_effect(now, told);
                continue;
            };
            replies += told_replies.count() as u64;
            for frame in told_replies.each() {
                if let Some(asked) = self.asked.pop_front() {
                    self.large_bytes -= asked.large_bytes;
                    if let Some(record) = asked.audit {
                        record.tell(frame);
                    }
                    let took = Millis::from(at.saturating_duration_since(asked.at)).0;
                    match &mut alike {
                        Some((kind, same, times)) if *kind == asked.kind && *same == took => *times += 1,
                        other => {
                            let before = other.replace((asked.kind, took, 1));
                            latency.add(before.map(count).unwrap_or_default());
                        }
                    }
                }
            }
            self.conn.on_effect(now, told);
        }
        latency.add(alike.map(count).unwrap_or_default());
        stats.packets_sent.add(replies);
        self.admitted.entry.sent.fetch_add(replies, Relaxed);
        self.note(now, latency);
        clients.gate.count(&mut self.part, self.asked.len());
        clients.gate.give_back(&mut self.part, self.large_bytes);
        self.show_queued();
    }

    pub(super) fn show_queued(&self) {
        let count = self.asked.len() + self.conn.behind_count();
        self.admitted.entry.queued.store(u32::try_from(count).unwrap_or(u32::MAX), Relaxed);
    }

    /// Counts the reads that were answered without the loop.
    pub(super) fn count_answered(&mut self, now: Millis, clients: &Clients) {
        let stats = &clients.shared.stats;
        let (mut count, mut latency) = (0, Latency::default());
        for (came, answered) in self.conn.take_answered() {
            let took = now.since(came).0;
            stats.latency.observe_many(took, answered);
            stats.read_latency.observe_many(took, answered);
            count += answered;
            latency.add(Latency::of(answered, took));
        }
        if count > 0 {
            stats.packets_sent.add(count);
            self.admitted.entry.sent.fetch_add(count, Relaxed);
            self.note(now, latency);
        }
    }

    /// Lets others see what the connection was about.
    pub(super) fn note(&self, now: Millis, latency: Latency) {
        self.admitted.entry.talk.on_replies(now, self.conn.granted(), self.conn.latest(), latency);
    }

    /// Takes note of requests that go to the loop now.
    pub(super) fn note_asked(&mut self, at: Instant, requests: &[ClientRequest], clients: &Clients) {
        for request in requests {
            let kind = match &request.ask {
                Ask::Write { .. } | Ask::Broken { .. } => Kind::Update,
                Ask::Sync(_) | Ask::Local(_) => Kind::Read,
            };
            let large_bytes = match &request.ask {
                Ask::Write { body, .. } => clients.gate.large_part(HEADER_BYTES + body.len()),
                Ask::Broken { .. } | Ask::Sync(_) | Ask::Local(_) => 0,
            };
            self.large_bytes += large_bytes;
            let audit = match (clients.is_audited(), self.conn.granted()) {
                (true, Some(granted)) => {
                    Record::of(granted.session, self.admitted.entry.from.ip(), request).map(Box::new)
                }
                (_, _) => None,
            };
            self.asked.push_back(Asked { at, kind, large_bytes, audit });
        }
    }
}
