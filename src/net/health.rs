//! Whether the server lives, has started, and makes progress.
//!
//! In: signs of life of the loop and of the disk. Out: answers for probes.
//!
//! Always true:
//! * nothing here depends on another server, on a quorum or on clients;
//! * looking never waits.
//!
//! Not here: whether it serves (`facts`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::clients::Clients;
use crate::base::{Millis, WriteSeq};

/// How long the loop may not have looked around.
const LOOP_WAIT: Millis = Millis(10_000);
/// How long a write may take to become durable.
const DISK_WAIT: Millis = Millis(60_000);
/// How long loading the data may show no progress.
const LOAD_WAIT: Millis = Millis(30_000);

/// Signs of life.
#[derive(Debug)]
pub struct Health {
    clock: fn() -> Millis,
    begun: Millis,
    clients: OnceLock<ClientsRef>,
    /// When the loop last looked around.
    looked: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    /// When the oldest write that is not durable was given, or the last one became durable.
    progress: AtomicU64,
    /// What this process has read and computed while loading, and when that last changed.
    load: Mutex<(u64, Millis)>,
}

struct ClientsRef(Arc<Clients>);

impl std::fmt::Debug for ClientsRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl Health {
    /// A server that begins to load its data.
    pub fn new(clock: fn() -> Millis) -> Health {
        let begun = clock();
        Health {
            clock,
            begun,
            clients: OnceLock::new(),
            looked: AtomicU64::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            load: Mutex::new((0, begun)),
        }
    }

    /// The data is loaded, and the loop runs.
    pub fn on_started(&self, clients: Arc<Clients>) {
        self.on_look();
        drop(self.clients.set(ClientsRef(clients)));
    }

    /// The loop looks around.
    pub fn on_look(&self) {
        self.looked.store((self.clock)().0, Relaxed);
    }

    /// A write was given to the disk.
    pub fn on_write(&self, seq: WriteSeq) {
        if self.durable.load(Relaxed) >= self.written.swap(seq.0, Relaxed) {
            self.progress.store((self.clock)().0, Relaxed);
        }
    }

    /// Every write up to this one is durable.
    pub fn on_durable(&self, seq: WriteSeq) {
        self.durable.store(seq.0, Relaxed);
        self.progress.store((self.clock)().0, Relaxed);
    }

    /// The client port of a server that has started.
    pub fn clients(&self) -> Option<Arc<Clients>> {
        self.clients.get().map(|clients| Arc::clone(&clients.0))
    }

    /// How long the process has been running.
    pub fn uptime(&self) -> Millis {
        (self.clock)().since(self.begun)
    }

    /// Whether loop and disk live; while the data is loaded, as `has_started`.
    pub fn is_alive(&self) -> Result<(), String> {
        if self.clients.get().is_none() {
            return self.has_started();
        }
        self.moves()
    }

    fn moves(&self) -> Result<(), String> {
        let now = (self.clock)();
        let is_written = self.durable.load(Relaxed) >= self.written.load(Relaxed);
        let stall = now.since(Millis(self.progress.load(Relaxed)));
        if !is_written && stall > DISK_WAIT {
            return Err(format!("its disk has not finished a write for {stall}"));
        }
        // While the disk is busy, the loop may be waiting for it.
        let silence = now.since(Millis(self.looked.load(Relaxed)));
        if is_written && silence > LOOP_WAIT {
            return Err(format!("its loop has not looked around for {silence}"));
        }
        Ok(())
    }

    /// Whether the data is loaded, or its loading goes on.
    pub fn has_started(&self) -> Result<(), String> {
        if self.clients.get().is_some() {
            return Ok(());
        }
        let (now, work) = ((self.clock)(), work_done());
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        if load.0 != work {
            *load = (work, now);
        }
        let silence = now.since(load.1);
        if silence > LOAD_WAIT {
            Err(format!("loading its data has stood still for {silence}"))
        } else {
            Ok(())
        }
    }
}

/// Bytes read and time computed by this process: it changes while data is loaded.
fn work_done() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let read = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.trim().parse::<u64>().ok());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let computed = fields.split(' ').nth(11).and_then(|ticks| ticks.parse::<u64>().ok());
    read.unwrap_or(0).wrapping_add(computed.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOW: AtomicU64 = AtomicU64::new(1_000);

    fn clock() -> Millis {
        Millis(NOW.load(Relaxed))
    }

    #[test]
    fn a_loop_that_waits_for_the_disk_is_silent_as_long_as_the_disk_may_be() {
        let health = Health::new(clock);
        let after = |ms| {
            NOW.fetch_add(ms, Relaxed);
            health.moves().err()
        };
        health.on_look();
        health.on_write(WriteSeq(1));
        assert_eq!(after(11_000), None);
        assert_eq!(after(49_001).as_deref(), Some("its disk has not finished a write for 60001ms"));
        health.on_durable(WriteSeq(1));
        assert_eq!(after(0).as_deref(), Some("its loop has not looked around for 60001ms"));
        health.on_look();
        assert_eq!(after(10_000), None);
        assert!(after(1).is_some_and(|reason| reason.starts_with("its loop ")));
    }
}
