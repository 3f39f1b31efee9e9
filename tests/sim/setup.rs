//! How a run is set up: everything that its seed decides before time begins.
//!
//! In: a seed. Out: sizes, limits and spans; the settings of each server.
//!
//! Always true:
//! * no run is longer than two simulated minutes;
//! * all servers of a run have the same limits.
//!
//! Not here: what happens (`faults`, `workload`).

use quorate::base::rng::Rng;
use quorate::base::{Ensemble, Millis, ServerId};
use quorate::replica::prepare::Switch;
use quorate::replica::{ClientSettings, Reaping, Rhythm, Settings};
use quorate::session::{LocalRule, TimeoutLimits};
use quorate::tree::{AclCheck, Schemes};
use quorate::zab;

use crate::acl::User;
use crate::faults::Growth;
use crate::invariants::sessions::Span;
use crate::queue::Micros;

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// How many servers: 3 or 5.
    pub servers: usize,
    /// How many of them are members from the start: all, or one that the others have yet to join.
    pub founders: usize,
    /// How many clients.
    pub clients: usize,
    /// `tickTime`.
    pub tick: Micros,
    /// `initLimit`.
    pub init_limit_ticks: u64,
    /// `syncLimit`.
    pub sync_limit_ticks: u64,
    /// How long faults go on.
    pub faulty: Micros,
    /// What clients ask for.
    pub session_timeout: Micros,
    /// Txns between two snapshots.
    pub snapshot_every: u64,
    /// How many txns a leader keeps for learners that lag.
    pub commit_log_count: usize,
    /// How long a sync of a disk takes at most, when the disk is well.
    pub sync_max: Micros,
    /// What becomes of new sessions.
    pub local_sessions: LocalRule,
    /// Whether servers without a leader serve those who only read.
    pub read_only: Switch,
    /// Whether nodes may have a time to live.
    pub ttl_nodes: Switch,
    /// Whether limits of quotas are enforced.
    pub quotas: Switch,
    /// How containers and nodes with a time to live end.
    pub reaping: Reaping,
}

/// What the oracle must know of a run's settings.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What becomes of new sessions.
    pub local_sessions: LocalRule,
    /// Whether nodes may have a time to live.
    pub has_ttl_nodes: bool,
    /// Whether limits of quotas are enforced.
    pub enforces_quotas: bool,
    /// How containers and nodes with a time to live end.
    pub reaping: Reaping,
}

impl Setup {
    /// The setup of a seed.
    pub fn new(seed: u64) -> Setup {
        let mut rng = Rng::new(seed ^ 0x5e7_0b5e);
        let tick_ms = [100, 150, 200, 200, 300, 500][rng.below(6) as usize];
        let tick = Micros::of_ms(tick_ms);
        let servers = if rng.below(3) == 0 { 5 } else { 3 };
        Setup {
            seed,
            servers,
            founders: if seed % 8 == 5 { 1 } else { servers },
            clients: 3 + rng.below(3) as usize,
            tick,
            init_limit_ticks: 8 + rng.below(6),
            sync_limit_ticks: 3 + rng.below(3),
            faulty: Micros::of_s(30 + rng.below(40)),
            session_timeout: Micros(tick.0 * (6 + rng.below(12))),
            snapshot_every: 50 + rng.below(500),
            commit_log_count: 20 + rng.below(200) as usize,
            sync_max: Micros(200 + rng.below(4_000)),
            local_sessions: match seed % 8 {
                3 | 6 => LocalRule::Upgraded,
                1 if seed % 16 == 1 => LocalRule::Local,
                _ => LocalRule::Replicated,
            },
            read_only: if !seed.is_multiple_of(3) { Switch::On } else { Switch::Off },
            ttl_nodes: if rng.below(6) > 0 { Switch::On } else { Switch::Off },
            quotas: if rng.below(4) > 0 { Switch::On } else { Switch::Off },
            reaping: Reaping {
                every: Millis(tick_ms * (3 + rng.below(5))),
                per_minute_max: 10_000,
                unused_after: (rng.below(2) == 0).then_some(Millis(2_000)),
            },
        }
    }

    /// Whether there are servers that only read at times: their sessions are local.
    pub fn has_read_only(&self) -> bool {
        self.read_only == Switch::On && self.local_sessions != LocalRule::Replicated
    }

    /// What the oracle must know.
    pub fn rules(&self) -> Rules {
        Rules {
            local_sessions: self.local_sessions,
            has_ttl_nodes: self.ttl_nodes == Switch::On,
            enforces_quotas: self.quotas == Switch::On,
            reaping: self.reaping,
        }
    }

    /// Within this much time after the last fault the ensemble must serve and be level.
    pub fn recovery_limit(&self) -> Micros {
        Micros(3 * self.init_limit_ticks * self.tick.0)
    }

    /// The ids of the servers.
    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (1..=self.servers as i64).map(ServerId)
    }

    /// The settings of one server.
    pub fn settings(&self, id: ServerId) -> Settings {
        let tick = self.tick_ms();
        let zab = zab::Settings {
            id,
            tick,
            init_limit_ticks: self.init_limit_ticks,
            sync_limit_ticks: self.sync_limit_ticks,
            reconfig: zab::Reconfig::Enabled,
            standalone_enabled: false,
            observer: false,
            commit_log_count: self.commit_log_count,
            ensemble_id: None,
        };
        let clients = ClientSettings {
            touch_every: Millis(tick.0 / 2),
            session_wait: Millis(10_000),
            schemes: Schemes { super_digest: Some(User::Super.id().to_owned()), ..Schemes::default() },
            acl_check: AclCheck::Enforced,
        };
        Settings {
            zab,
            ensemble: if self.is_founder(id) { self.ensemble() } else { self.ensemble_of(self.servers) },
            timeouts: TimeoutLimits { min: Millis(tick.0 * 2), max: Millis(tick.0 * 20) },
            local_sessions: self.local_sessions,
            read_only: self.read_only,
            clients,
            ttl_nodes: self.ttl_nodes,
            quotas: self.quotas,
            snapshots: Rhythm { txns: self.snapshot_every, bytes: None },
            reaping: self.reaping,
        }
    }

    /// How long a session lives without a sign, on a server that looks at the time that often.
    pub fn session_span(&self, look: Micros) -> Span {
        let timeout = Millis(self.session_timeout.0 / 1_000);
        Span { timeout, tick: self.tick_ms(), look: Millis(look.0 / 1_000) }
    }

    /// The line of one server, as a participant.
    pub fn line(id: ServerId) -> String {
        format!("server.{id}=s{id}:2888:3888:participant;s{id}:2181")
    }

    /// Whether a server is a member from the start, so that its empty disk votes.
    pub fn is_founder(&self, id: ServerId) -> bool {
        id.0 <= self.founders as i64
    }

    /// Whether the others have to join.
    pub fn growth(&self) -> Growth {
        if self.founders < self.servers { Growth::Wanted } else { Growth::Done }
    }

    /// The membership that the founders start with. Who joins later was given the membership that shall be.
    pub fn ensemble(&self) -> Ensemble {
        self.ensemble_of(self.founders)
    }

    fn ensemble_of(&self, count: usize) -> Ensemble {
        let lines: Vec<String> = self.ids().take(count).map(Setup::line).collect();
        Ensemble::parse(&lines.join("\n")).expect("the lines are right")
    }

    /// `tickTime` as servers count it.
    pub fn tick_ms(&self) -> Millis {
        Millis(self.tick.0 / 1_000)
    }
}
