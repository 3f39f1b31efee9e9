//! One server from its arguments to its end.
//!
//! In: the arguments. Out: nothing, or why it could not start.
//!
//! Always true:
//! * configuration, identity, data and ports are checked in this order, and the first that is wrong ends the start;
//! * tasks end before the runtime, and the disk thread last of all that writes.
//!
//! Not here: the loop (`run`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::edge::{Edge, EdgeSettings, Outside};
use super::exit::{Failure, PortKind, WRITE_FAILED};
use super::identity::{self, Identity, StartMode};
use super::load::{Loaded, load};
use super::ports::{self, Ports};
use super::reload::Reload;
use super::run::Loop;
use super::{ServerArgs, clock, logs, signals};
use crate::base::{Ensemble, Millis, Recovered, Room, ServerId, Ticks, WriteSeq};
use crate::config::{Config, EnsembleMode, Listen, Mode};
use crate::net::admin::{self, Desk, Disk, Port};
use crate::net::audit::{self, Outcome};
use crate::net::clients::{self, Clients};
use crate::net::dial::KeepAlive;
use crate::net::election::{Election, ElectionSettings};
use crate::net::facts::{Asker, QUESTIONS_MAX};
use crate::net::health::Health;
use crate::net::live::Live;
use crate::net::quorum::{Quorum, QuorumSettings, WaitingLimits};
use crate::net::stats::Stats;
use crate::net::throttle::Wanted;
use crate::net::words::Lexicon;
use crate::replica::event::Event;
use crate::replica::prepare::Switch;
use crate::replica::{ClientSettings, Reaping, Replica, Rhythm, Settings};
use crate::session::{LocalRule, TimeoutLimits};
use crate::storage::{EnsembleFiles, FileSystem, Layout, Options, Report, Store, Writer};
use crate::tree::acl::SchemeState;
use crate::tree::{AclCheck, Schemes, Tree};
use crate::zab::codec::Limits;
use crate::zab::{self, Reconfig};

/// Events that may wait for the loop; connections and links wait when it is full.
const INBOX_MAX: usize = 4096;
/// How long the tasks of connections may take to end.
const END_WAIT: Duration = Duration::from_millis(300);
/// How often it is looked whether they have.
const END_LOOK: Duration = Duration::from_millis(2);
/// What changes settings while the server runs.
const LIVE: Live = Live { set_level: logs::set_level };
/// Connections on the election port that may be without an initial message at one time.
const HANDSHAKES_MAX: usize = 64;
/// Pause after accepting went wrong on the election port.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs one server until it is told to stop.
pub fn serve(args: &ServerArgs) -> Result<(), Failure> {
    let loaded = load(args)?;
    logs::start(&loaded.config.log);
    logs::abort_on_panic();
    for note in &loaded.notes {
        info!("{note}");
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    // One core is left to the disk thread and to snapshots. Never fewer than two: while the loop takes a leader's whole
    // tree, probes are answered by the other one.
    let workers = std::thread::available_parallelism().map_or(2, |cores| (cores.get() - 1).max(2));
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unexpected(format!("start tokio: {error}")))?;
    let end = CancellationToken::new();
    let stop = signals::listen_for_stop(&runtime, args)?;
    let reread = signals::hangup(&runtime)?;
    let start = Start { loaded, stop, end: end.clone(), tasks: TaskTracker::new() };
    let outcome = runtime.block_on(start.run(args, reread));
    end.cancel();
    runtime.shutdown_timeout(END_WAIT);
    if let Err(failure) = &outcome {
        error!(%failure, "the server ends");
    }
    outcome
}

/// What a start has in hand.
struct Start {
    loaded: Loaded,
    /// Told to stop.
    stop: CancellationToken,
    /// Ends every task.
    end: CancellationToken,
    tasks: TaskTracker,
}

/// What was found on disk.
struct Opened {
    store: Store,
    recovered: Recovered,
    took: Duration,
}

impl Start {
    async fn run(self, args: &ServerArgs, reread: Signal) -> Result<(), Failure> {
        let health = Arc::new(Health::new(clock::mono));
        let reload = Reload {
            args: args.clone(),
            written: self.loaded.written.clone(),
            health: Arc::clone(&health),
            live: LIVE,
        };
        self.tasks.spawn(reload.run(reread, self.end.clone()));
        let prepared = self.prepare(&health).await;
        if self.loaded.config.connections.audit {
            let outcome = if prepared.is_ok() { Outcome::Success } else { Outcome::Failure };
            audit::tell_of_server("serverStart", outcome);
        }
        let looped = prepared?;
        health.on_started(Arc::clone(&looped.edge.clients));
        // A task like those of the connections: on a thread of its own, every batch would cost two wake-ups more.
        let (edge, inbox) =
            self.tasks.spawn(looped.run()).await.map_err(|error| Failure::Unexpected(error.to_string()))?;
        if edge.clients.is_audited() {
            audit::tell_of_server("serverStop", Outcome::Invoked);
        }
        self.finish(edge, inbox).await
    }

    /// Everything before it serves.
    async fn prepare(&self, health: &Arc<Health>) -> Result<Loop, Failure> {
        let identity = identity::establish(&self.loaded.config)?;
        self.open_admin(health, identity.as_ref()).await?;
        let opened = self.open(identity.as_ref()).await?;
        self.build(opened, identity, health).await
    }

    /// Opens the data beside the runtime's own threads.
    async fn open(&self, identity: Option<&Identity>) -> Result<Opened, Failure> {
        let (config, dynamic) = (self.loaded.config.clone(), self.loaded.dynamic_file.clone());
        let mode = identity.map(|identity| identity.mode);
        let opening = tokio::task::spawn_blocking(move || open(&config, dynamic, mode));
        opening.await.map_err(|error| Failure::Unexpected(error.to_string()))?
    }

    /// Puts the parts together, and listens.
    async fn build(
        &self,
        opened: Opened,
        identity: Option<Identity>,
        health: &Arc<Health>,
    ) -> Result<Loop, Failure> {
        let config = &self.loaded.config;
        let Opened { store, recovered, took } = opened;
        let stats = Arc::new(Stats::default());
        stats.load_time.observe(Millis::from(took).0);
        stats.load_txns.observe(recovered.txns.len() as u64);
        let settings = self.settings(identity.as_ref());
        let ensemble = in_force(&settings, &recovered)?;
        ports::check_named(config, &ensemble)?;
        let proposed = recovered.ensemble_proposed.as_deref().and_then(|text| Ensemble::parse(text).ok());
        let replica = Replica::new(clock::now(), settings, recovered, clock::seed());
        let replica = replica.map_err(|error| Failure::Data(error.to_string()))?;
        let (inbox, events) = mpsc::channel(INBOX_MAX);
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let snapshots = store.snapshots();
        let slow_sync = Arc::new(AtomicU64::new(config.storage.sync_warning.0));
        let (writer, durable, room) = self.start_writer(store, &stats, health, &slow_sync)?;
        let clients = Clients::new(clients::Shared {
            limits: config.connections.clone(),
            new_sessions: if config.serving.local_sessions { Wanted::Local } else { Wanted::Global },
            slow_sync,
            service: replica.service(),
            inbox: inbox.clone(),
            stats: Arc::clone(&stats),
            lexicon: Lexicon::new(config),
            asker: Asker::new(questions),
            clock: clock::mono,
            now: clock::now,
            tasks: self.tasks.clone(),
            stop: self.end.clone(),
        });
        let peers = match &config.mode {
            Mode::Standalone => None,
            Mode::Ensemble(mode) => {
                let configured = mode.members.clone();
                let memberships = [Some(ensemble.clone()), proposed, Some(configured)];
                Some(self.start_peers(mode, memberships.into_iter().flatten().collect(), &inbox))
            }
        };
        let mut ports = Ports::new(config, &clients, peers.clone(), &self.tasks, &self.end);
        ports.open(&ensemble).await?;
        let snapshots_kept = config.storage.snapshots_kept;
        let leader_serves = config.connections.leader_serves;
        let (health, tasks) = (Arc::clone(health), self.tasks.clone());
        let counted = Arc::clone(&stats);
        let outside = Outside { clients, peers, ports, health, stats, inbox, tasks };
        let edge =
            Edge::new(writer, snapshots, outside, identity, EdgeSettings { snapshots_kept, leader_serves });
        Ok(Loop {
            id: config.id(),
            replica,
            edge,
            inbox: events,
            durable,
            room,
            questions: asked,
            restoring: None,
            purge_every: config.storage.purge_interval,
            stats: counted,
            stop: self.stop.clone(),
        })
    }

    /// Ends everything: replies and the last packets first, then the disk.
    async fn finish(&self, edge: Edge, inbox: mpsc::Receiver<Event>) -> Result<(), Failure> {
        let Edge { writer, clients, peers, .. } = edge;
        clients.dismiss();
        let quorum = peers.map(|(quorum, _)| quorum);
        if let Some(quorum) = &quorum {
            quorum.dismiss();
        }
        let all_said = async {
            while clients.count() > 0 || quorum.as_ref().is_some_and(|quorum| quorum.writing_count() > 0) {
                sleep(END_LOOK).await;
            }
        };
        if timeout(END_WAIT, all_said).await.is_err() {
            info!(connections = clients.count(), "connections are closed before their last bytes are taken");
        }
        drop(inbox);
        self.end.cancel();
        self.tasks.close();
        // A task that does not end in time is dropped with the runtime.
        let _ = timeout(END_WAIT, self.tasks.wait()).await;
        let written = tokio::task::spawn_blocking(move || writer.stop()).await;
        written.map_err(|error| Failure::Unexpected(error.to_string()))??;
        info!("stopped");
        Ok(())
    }

    async fn open_admin(&self, health: &Arc<Health>, identity: Option<&Identity>) -> Result<(), Failure> {
        let config = &self.loaded.config;
        let start_mode = |mode| match mode {
            StartMode::Bootstrap => "Bootstrap",
            StartMode::Join => "Join",
            StartMode::Resume => "Resume",
        };
        let desk = Desk {
            health: Arc::clone(health),
            disk: identity.map(|identity| Disk {
                ensemble_id: identity.ensemble_id.clone(),
                incarnation: identity.incarnation.clone(),
                start_mode: start_mode(identity.mode),
            }),
            token: self.loaded.admin_token.clone(),
            commands: Arc::new(self.loaded.commands()),
            live: LIVE,
            waits: self.loaded.waits(),
            stop: self.end.clone(),
            tasks: self.tasks.clone(),
        };
        let open = async |kind, port, listen: &Listen| {
            let at = ports::address_of(listen);
            let listener = ports::listen(&at, ports::Manner::default()).await;
            let listener = listener.map_err(|source| Failure::Port { kind, at: at.clone(), source })?;
            info!(%kind, %at, "listening");
            admin::listen(desk.clone(), port, listener);
            Ok::<(), Failure>(())
        };
        if let Some(at) = &config.admin {
            open(PortKind::Admin, Port::Admin, &at.listen).await?;
        }
        if let Some(listen) = &config.metrics {
            open(PortKind::Metrics, Port::Metrics, listen).await?;
        }
        Ok(())
    }

    /// Starts the disk thread; a failure of the disk ends the process at once.
    fn start_writer(
        &self,
        store: Store,
        stats: &Arc<Stats>,
        health: &Arc<Health>,
        slow_sync: &Arc<AtomicU64>,
    ) -> Result<(Writer, watch::Receiver<WriteSeq>, watch::Receiver<Room>), Failure> {
        let (durable, receiver) = watch::channel(WriteSeq(0));
        let (room, room_receiver) = watch::channel(Room::Enough);
        let (stats, health) = (Arc::clone(stats), Arc::clone(health));
        let slow_sync = Arc::clone(slow_sync);
        let mut synced = WriteSeq(0);
        let writer = Writer::start(store, move |report| match report {
            Report::Durable { seq, took } => {
                let millis = Millis::from(took).0;
                stats.sync_time.observe(millis);
                stats.write_time.observe(millis);
                stats.flush_time.observe(millis);
                stats.batch_size.observe(seq.0 - synced.0);
                synced = seq;
                if millis >= slow_sync.load(Relaxed) {
                    stats.syncs_slow.add(1);
                    warn!(?took, "writing to the log takes long");
                }
                health.on_durable(seq);
                durable.send_replace(seq);
            }
            Report::Room(report) => {
                stats.disk_free.set(report.free_bytes);
                stats.disk_reserve.set(report.reserve_bytes);
                room.send_if_modified(|room| std::mem::replace(room, report.room) != report.room);
            }
            Report::Failed(failure) => {
                error!(%failure, "the disk cannot be used; the server ends");
                eprintln!("quorate server: {failure}");
                std::process::exit(i32::from(WRITE_FAILED));
            }
        });
        let writer =
            writer.map_err(|error| Failure::Unexpected(format!("start the disk thread: {error}")))?;
        Ok((writer, receiver, room_receiver))
    }

    fn start_peers(
        &self,
        mode: &EnsembleMode,
        memberships: Vec<Ensemble>,
        inbox: &mpsc::Sender<Event>,
    ) -> (Arc<Quorum>, Arc<Election>) {
        let config = &self.loaded.config;
        let ticks = |count: u32| Ticks(u64::from(count)).of(config.tick).as_duration();
        let buffer_bytes_max = 2 * config.connections.frame_bytes_max as usize;
        let quorum = Quorum::new(
            QuorumSettings {
                init_silence: ticks(mode.init_limit_ticks),
                sync_silence: ticks(mode.sync_limit_ticks),
                connect_limit: ticks(mode.connect_limit_ticks),
                limits: Limits { buffer_bytes_max, ..Limits::default() },
                waiting: WaitingLimits::default(),
                tasks: self.tasks.clone(),
            },
            inbox.clone(),
            self.end.clone(),
        );
        let settings = ElectionSettings {
            id: mode.id,
            connect_timeout: mode.election.connect_timeout.as_duration(),
            handshake_timeout: mode.election.handshake_timeout.as_duration(),
            keep_alive: if mode.election.keep_alive { KeepAlive::On } else { KeepAlive::Off },
            handshakes_max: HANDSHAKES_MAX,
            accept_pause: ACCEPT_PAUSE,
            tasks: self.tasks.clone(),
        };
        let election = Election::start(settings, inbox.clone(), self.end.clone());
        quorum.set_members(memberships.clone());
        election.set_members(memberships);
        (Arc::new(quorum), Arc::new(election))
    }

    fn settings(&self, identity: Option<&Identity>) -> Settings {
        let config = &self.loaded.config;
        let changes = &config.changes;
        let reconfig = if changes.reconfig_enabled { Reconfig::Enabled } else { Reconfig::Disabled };
        let (zab, ensemble) = match &config.mode {
            Mode::Standalone => (alone(config, reconfig), Ensemble::default()),
            Mode::Ensemble(mode) => {
                let ensemble_id = identity.map(|identity| identity.ensemble_id.clone());
                let zab = zab::Settings {
                    id: mode.id,
                    tick: config.tick,
                    init_limit_ticks: u64::from(mode.init_limit_ticks),
                    sync_limit_ticks: u64::from(mode.sync_limit_ticks),
                    reconfig,
                    standalone_enabled: mode.standalone_enabled,
                    observer: mode.observer,
                    commit_log_count: mode.commit_log_count as usize,
                    ensemble_id,
                };
                (zab, mode.members.clone())
            }
        };
        let super_digest = self.loaded.super_digest.as_deref();
        Settings {
            zab,
            ensemble,
            timeouts: TimeoutLimits { min: config.session_timeout_min, max: config.session_timeout_max },
            local_sessions: match (config.serving.local_sessions, config.serving.upgrade_local_sessions) {
                (false, _) => LocalRule::Replicated,
                (true, false) => LocalRule::Local,
                (true, true) => LocalRule::Upgraded,
            },
            read_only: if config.serving.read_only { Switch::On } else { Switch::Off },
            clients: ClientSettings {
                touch_every: Millis(config.tick.0 / 2),
                session_wait: config.connections.sessionless_timeout,
                schemes: Schemes {
                    digest: match config.access.digest_enabled {
                        true => SchemeState::Enabled,
                        false => SchemeState::Disabled,
                    },
                    super_digest: super_digest.map(str::to_owned),
                },
                acl_check: if config.access.skip_acl { AclCheck::Skipped } else { AclCheck::Enforced },
            },
            ttl_nodes: if changes.ttl_nodes { Switch::On } else { Switch::Off },
            quotas: if changes.enforce_quota { Switch::On } else { Switch::Off },
            snapshots: Rhythm {
                txns: u64::from(config.storage.snapshot_every_txns),
                bytes: config.storage.snapshot_every_bytes,
            },
            reaping: Reaping {
                every: changes.reap_every,
                per_minute_max: changes.reap_per_minute_max,
                unused_after: changes.reap_unused_after,
            },
        }
    }
}

/// What the agreement is told of a server that is alone.
fn alone(config: &Config, reconfig: Reconfig) -> zab::Settings {
    zab::Settings {
        id: ServerId(1), // what ZooKeeper puts into the session ids of such a server
        tick: config.tick,
        init_limit_ticks: 1,
        sync_limit_ticks: 1,
        reconfig,
        standalone_enabled: true,
        observer: false,
        commit_log_count: 500,
        ensemble_id: None,
    }
}

/// The membership in force: the stored one, or else the configuration's.
fn in_force(settings: &Settings, recovered: &Recovered) -> Result<Ensemble, Failure> {
    match &recovered.ensemble_current {
        None => Ok(settings.ensemble.clone()),
        Some(text) => Ensemble::parse(text)
            .map_err(|error| Failure::Data(format!("the stored membership cannot be read: {error}"))),
    }
}

/// Opens the data directories and reads what they hold.
fn open(
    config: &Config,
    dynamic_file: Option<PathBuf>,
    start_mode: Option<StartMode>,
) -> Result<Opened, Failure> {
    let begun = Instant::now();
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let has_file = !config.file.as_os_str().is_empty();
    let is_ensemble = matches!(config.mode, Mode::Ensemble(_));
    let layout = Layout {
        data_dir: config.data_dir.clone(),
        log_dir: config.data_log_dir.clone(),
        ensemble: EnsembleFiles {
            me: config.id(),
            static_file: (has_file && is_ensemble).then(|| absolute(config.file.clone())),
            dynamic_file: dynamic_file.map(absolute),
        },
    };
    let storage = &config.storage;
    let options = Options {
        prealloc_bytes: storage.preallocate_bytes,
        force_sync: storage.force_sync,
        log_bytes_max: storage.log_bytes_max,
        txn_bytes_max: config.connections.frame_bytes_max.saturating_mul(2),
        trust_empty: storage.trust_empty,
        db_autocreate: storage.empty_may_vote || start_mode == Some(StartMode::Bootstrap),
        dir_autocreate: storage.create_directories,
        compression: storage.snapshot_compression,
        reserve_bytes: storage.reserve_bytes,
    };
    let empty_body: Bytes = Tree::new().image().to_body();
    let (store, mut recovered) = Store::open(Arc::new(FileSystem), layout, options, empty_body)?;
    if start_mode == Some(StartMode::Join) {
        recovered.may_vote = false;
    }
    let (last, txns, took) = (recovered.last_zxid(), recovered.txns.len(), begun.elapsed());
    info!(%last, txns, ?took, epochs = ?recovered.epochs, may_vote = recovered.may_vote, "the data is loaded");
    Ok(Opened { store, recovered, took })
}
