//! One simulated server: its machine (clock, disk) and, while it runs, its process (replica, storage, connections).
//!
//! In: events and spans of the world's time. Out: effects of the replica, writes to the disk when their time has come.
//!
//! Always true:
//! * the edge's promises and nothing more: effects begin in order, a write is reported once it is durable, in order;
//! * one sync of the disk serves every write that waits.
//!
//! Not here: the way of packets (`network`), what happens when (`world`).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use quorate::base::rng::Rng;
use quorate::base::{ConnId, LinkId, Millis, Now, Recovered, ServerId, Write, WriteSeq};
use quorate::replica::Conn;
use quorate::replica::{Effect, Event, Replica};
use quorate::storage::sim_disk::DiskFaults;
use quorate::storage::{Error, SimDisk};
use quorate::tree::Image;
use quorate::zab::effects::Status;

use crate::facts::Picture;
use crate::files::{EmptyDisk, Files};
use crate::network::Side;
use crate::queue::Micros;
use crate::setup::Setup;

/// A machine's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Millionths by which it runs fast (above 1,000,000) or slow.
    rate: u64,
    /// The world's time at which the rate was set, and what the clock showed then, in microseconds.
    set_at: Micros,
    shown: u64,
    /// Milliseconds between 1970 and the world's start, by this machine.
    wall_ms: i64,
}

impl Clock {
    /// A clock of its own: up to a minute apart, up to 2 % fast or slow.
    pub fn new(rng: &mut Rng) -> Clock {
        Clock {
            rate: 980_000 + rng.below(40_001),
            set_at: Micros(0),
            shown: rng.below(100_000_000),
            wall_ms: 1_700_000_000_000 + rng.below(120_000) as i64,
        }
    }

    /// What it shows.
    pub fn now(&self, at: Micros) -> Now {
        let mono_us = self.shown + (at.0 - self.set_at.0) * self.rate / 1_000_000;
        let mono = Millis(mono_us / 1_000);
        Now { mono, wall_ms: self.wall_ms + mono.0 as i64 }
    }

    /// Another rate from here on.
    pub fn drift(&mut self, at: Micros, rate: u64) {
        self.shown += (at.0 - self.set_at.0) * self.rate / 1_000_000;
        self.set_at = at;
        self.rate = rate;
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_ms += by_ms;
    }
}

/// A client's connection, seen from the server.
pub struct Served {
    /// Its state machine.
    pub conn: Conn,
    /// Which client, and the number of its connection.
    pub client: (usize, u64),
}

/// A running process.
pub struct Running {
    /// The server itself.
    pub replica: Replica,
    /// Its files.
    pub files: Files,
    /// Writes that wait for the disk.
    pub waiting: VecDeque<(WriteSeq, Write)>,
    /// Writes that the disk is busy with.
    pub batch: Vec<(WriteSeq, Write)>,
    /// A snapshot that is being written.
    pub snapshot: Option<Image>,
    /// Its links with the quorum port, by the world's number of the link.
    pub links: BTreeMap<LinkId, (usize, Side)>,
    /// Its clients.
    pub clients: BTreeMap<ConnId, Served>,
    /// Whether it takes clients.
    pub serves: bool,
    /// Whether it has no leader and serves those who only read.
    pub is_read_only: bool,
    /// What it is.
    status: Status,
    /// How often it became something else.
    pub reign: u64,
    next_link: u64,
    next_conn: u64,
}

impl Running {
    /// A number for a new link.
    pub fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    /// It is something from here on. Answers whether it has a leader and takes clients.
    pub fn become_status(&mut self, status: Status) -> bool {
        let serves = match status {
            Status::Leading(_) | Status::Following(..) | Status::Observing(..) | Status::Standalone => true,
            Status::Looking | Status::Discovering | Status::Joining(_) => false,
        };
        self.is_read_only &= status.is_leaderless();
        if !self.is_read_only {
            self.reign += u64::from(self.status != status);
            self.serves = serves;
        }
        self.status = status;
        serves
    }

    /// It serves those who only read.
    pub fn become_read_only(&mut self) {
        self.is_read_only = true;
        self.serves = true;
        self.reign += 1;
    }

    /// A client's connection is accepted.
    pub fn accept(&mut self, now: Millis, client: (usize, u64)) -> ConnId {
        self.next_conn += 1;
        let id = ConnId(self.next_conn);
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, client.0 as u8 + 1));
        let conn = Conn::new(now, id, address, self.replica.service());
        self.clients.insert(id, Served { conn, client });
        id
    }

    /// Takes one event in and puts the effects behind `effects`.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        effects.extend(self.replica.step(now, event));
    }

    /// What it shows of itself.
    pub fn picture(&self) -> Picture {
        let glance = self.replica.glance();
        Picture {
            status: glance.status,
            epochs: glance.epochs,
            delivered: glance.zxid,
            digest: glance.digest,
        }
    }
}

/// One server, running or not.
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Counted from 1 with each start.
    pub life: u32,
    /// What its disk holds.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: Clock,
    /// While it runs.
    pub running: Option<Running>,
    /// How much longer than usual its syncs take.
    pub sync_extra: Micros,
    /// Whether the disk was made to fail: an error of it ends the process, and is no fault of the code.
    pub is_failing: bool,
    /// How many bytes fit on its disk, while it is full.
    pub full_at: Option<u64>,
    /// Whether power was cut: nobody hears of it until the machine is on again.
    pub is_dark: bool,
    /// Files of its disk in which a bit was turned over.
    pub flipped: Vec<PathBuf>,
    /// Whether its disk was replaced by an empty one, and no leader has filled it yet.
    pub is_blank: bool,
    /// Whether its empty disk votes.
    is_founder: bool,
}

impl Server {
    /// A server that has never run.
    pub fn new(id: ServerId, is_founder: bool, rng: &mut Rng) -> Server {
        Server {
            id,
            life: 0,
            disk: SimDisk::new(rng.next_u64()),
            clock: Clock::new(rng),
            running: None,
            sync_extra: Micros(0),
            is_failing: false,
            full_at: None,
            is_dark: false,
            flipped: Vec::new(),
            is_blank: false,
            is_founder,
        }
    }

    /// Reads what its disk holds, as a start does.
    pub fn open(&mut self) -> Result<(Files, Recovered), Error> {
        self.set_faults();
        let empty = if self.is_founder { EmptyDisk::Votes } else { EmptyDisk::IsFilledFirst };
        Files::open(&self.disk, self.id, empty)
    }

    /// Lets its disk answer no errors, but that it is full.
    pub fn set_faults(&mut self) {
        self.disk.set_faults(DiskFaults { capacity_bytes: self.full_at, ..DiskFaults::default() });
    }

    /// Turns a bit of an old file over: of any snapshot, or of a log that another follows. Says of which.
    pub fn flip_bit(&mut self) -> Option<PathBuf> {
        let number = |path: &Path, prefix: &str| {
            let name = path.file_name()?.to_str()?;
            u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok()
        };
        let newest = self.disk.files().iter().filter_map(|(path, _)| number(path, "log.")).max();
        let is_old = |path: &Path| {
            number(path, "snapshot.").is_some() || number(path, "log.").is_some_and(|log| Some(log) < newest)
        };
        let (path, _) = self.disk.flip_any_bit(is_old)?;
        self.flipped.push(path.clone());
        Some(path)
    }

    /// Replaces its disk by an empty one, whose server may not vote until a leader has filled it.
    pub fn replace_disk(&mut self, seed: u64) {
        self.disk = SimDisk::new(seed);
        self.flipped.clear();
        self.full_at = None;
        (self.is_founder, self.is_blank) = (false, true);
    }

    /// Starts the process from what its disk held.
    pub fn start(&mut self, setup: &Setup, at: Micros, seed: u64, files: Files, recovered: Recovered) {
        assert!(self.running.is_none(), "a server runs once");
        self.life += 1;
        (self.is_dark, self.is_failing) = (false, false);
        let now = self.clock.now(at);
        let replica = Replica::new(now, setup.settings(self.id), recovered, seed);
        let replica = replica.unwrap_or_else(|err| panic!("server {} cannot start: {err}", self.id));
        self.running = Some(Running {
            replica,
            files,
            waiting: VecDeque::new(),
            batch: Vec::new(),
            snapshot: None,
            links: BTreeMap::new(),
            clients: BTreeMap::new(),
            serves: false,
            is_read_only: false,
            status: Status::Looking,
            reign: 0,
            next_link: 0,
            next_conn: 0,
        });
    }
}
