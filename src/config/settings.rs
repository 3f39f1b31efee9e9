//! What the settings mean: checked values with their units.
//!
//! In: nothing. Out: the types that `check` fills and the server reads.
//!
//! Always true:
//! * defaults are those of Apache ZooKeeper 3.9, where it has the setting.
//!
//! Not here: how text becomes a value (`check`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::{Compression, Ensemble, Millis, ServerId};

/// Everything that a server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The static file as given; beside it stand the dynamic files.
    pub file: PathBuf,
    /// `dataDir`: `myid`, snapshots and epochs.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the txn log. Default `dataDir`.
    pub data_log_dir: PathBuf,
    /// `tickTime`: the unit of the limits. Default 3000 ms, at least 1.
    pub tick: Millis,
    /// `minSessionTimeout`. Default two ticks.
    pub session_timeout_min: Millis,
    /// `maxSessionTimeout`. Default twenty ticks; never below the minimum.
    pub session_timeout_max: Millis,
    /// Where clients are accepted; `None` for no client port.
    pub client: Option<Listen>,
    /// Limits of client connections.
    pub connections: Connections,
    /// Alone, or a member of an ensemble.
    pub mode: Mode,
    /// Files and snapshots.
    pub storage: StorageSettings,
    /// Who may do what beyond ACLs.
    pub access: Access,
    /// What clients may change, and what ends by itself.
    pub changes: Changes,
    /// How a member of an ensemble serves clients.
    pub serving: Serving,
    /// The four-letter words that are answered.
    pub words: Words,
    /// The admin port; `None` if it is switched off.
    pub admin: Option<Admin>,
    /// Where `/metrics` is served; `None` unless `metricsProvider.className` names the Prometheus provider.
    pub metrics: Option<Listen>,
    /// The identity of ensemble and disk; `None` behaves as ZooKeeper does.
    pub identity: Option<IdentityFiles>,
    /// How logs are written.
    pub log: LogSettings,
}

/// A port to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A name or an address; `None` for all addresses.
    pub host: Option<String>,
    /// The port; 0 lets the system choose one.
    pub port: u16,
}

/// Limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// `maxClientCnxns`: connections from one address. Default 60, 0 for no limit.
    pub per_address_max: u32,
    /// `maxCnxns`: connections in all. Default 0 for no limit.
    pub total_max: u32,
    /// `clientPortListenBacklog`. Default -1, which stands for 50.
    pub backlog: i32,
    /// `jute.maxbuffer`: the longest frame that a client may send. Default 1048575 bytes.
    pub frame_bytes_max: u32,
    /// `nio.sessionlessCnxnTimeout`: how long a connection may stay without a session. Default 10 s.
    pub sessionless_timeout: Millis,
    /// What all clients together may have in progress.
    pub requests: RequestLimits,
    /// How many sessions may be asked for in a time.
    pub throttle: ConnectionThrottle,
    /// `audit.enable`: whether what clients change is told in the log. Default false.
    pub audit: bool,
    /// `clientTcpKeepAlive`: whether the system looks after clients that are silent. Default false.
    pub keep_alive: bool,
    /// `leaderServes`: whether clients are accepted while this server leads. Default yes.
    pub leader_serves: bool,
}

/// How many sessions may be asked for in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionThrottle {
    /// `connection_throttle_tokens`: how many at once. Default 0 for no limit.
    pub tokens: u32,
    /// `connection_throttle_fill_time`: how often there are more. Default 1 ms.
    pub fill_time: Millis,
    /// `connection_throttle_fill_count`: how many more. Default 1.
    pub fill_count: u32,
    /// `connection_throttle_freeze_time`: how often the share of the requests that is refused by chance is adapted.
    /// `None` (-1, the default) for none.
    pub freeze_time: Option<Millis>,
    /// `connection_throttle_drop_increase`: by how much that share grows while there is no token. Default 0.02.
    pub drop_increase: Share,
    /// `connection_throttle_drop_decrease`: by how much it shrinks once there are enough. Default 0.002.
    pub drop_decrease: Share,
    /// `connection_throttle_decrease_ratio`: the share of the tokens that may be in use then. Default 0.
    pub decrease_ratio: Share,
    /// Tokens for each kind of session; `None` (`connection_throttle_weight_enabled=false`, the default) for one each.
    pub weights: Option<SessionWeights>,
}

/// How many tokens a session costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWeights {
    /// `connection_throttle_global_session_weight`: a new one that is replicated. Default 3.
    pub global: u32,
    /// `connection_throttle_renew_session_weight`: one that a client brings. Default 2.
    pub renewed: u32,
    /// `connection_throttle_local_session_weight`: a new one that is local. Default 1.
    pub local: u32,
}

/// A share of a whole, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// What all clients together may have in progress: requests that this server cannot answer at once by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// `globalOutstandingLimit`: with more in progress, nothing is read from a client that has one itself. Default 0 for
    /// no limit (ZooKeeper: 1000): what one client may have in progress is limited in any case.
    pub outstanding_max: u32,
    /// `request_throttle_max_requests`: with as many in progress, further ones wait. Default 0 for no limit.
    pub throttle_max: u32,
    /// `request_throttle_stall_time`: how often it is looked whether they may go on. Default 100 ms.
    pub stall: Millis,
    /// `request_throttle_drop_stale`: whether the connection of one that got stale meanwhile is closed. Default true.
    pub drop_stale: bool,
    /// `request_stale_latency_check`: whether it is stale once it waited for a session timeout. Default false.
    pub stale_by_latency: bool,
    /// `request_stale_connection_check`: whether it is stale once its client is gone. Default true.
    pub stale_by_connection: bool,
    /// `throttled_op_wait_time`: one that waited longer is answered by THROTTLEDOP. `None` (0, the default) for never.
    pub throttled_after: Option<Millis>,
    /// `largeRequestThreshold`: a request of more bytes is large. `None` (-1, the default): none is.
    pub large_threshold: Option<u32>,
    /// `largeRequestMaxBytes`: the bytes of all large requests in progress; with more, the connection that brings another
    /// is closed. Default 100 MiB.
    pub large_bytes_max: u64,
}

/// Alone, or a member of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No quorum and election ports.
    Standalone,
    /// A member.
    Ensemble(Box<EnsembleMode>),
}

/// What a member of an ensemble is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleMode {
    /// This server; it has a line in `members` unless a stored membership replaces them.
    pub id: ServerId,
    /// The membership as written; a stored one that is newer wins.
    pub members: Ensemble,
    /// Whether this server has no vote by its own `peerType` or its own line.
    pub observer: bool,
    /// `initLimit`: ticks that a learner has to connect and get level. At least 1.
    pub init_limit_ticks: u32,
    /// `syncLimit`: ticks that a learner may lag or be silent. At least 1.
    pub sync_limit_ticks: u32,
    /// `connectToLearnerMasterLimit`: ticks for connecting to the leader. Default `initLimit`.
    pub connect_limit_ticks: u32,
    /// `standaloneEnabled`: whether a reconfig may leave fewer than two voters is the negation. Default true.
    pub standalone_enabled: bool,
    /// `quorumListenOnAllIPs`: bind quorum and election port on every address. Default false.
    pub listen_on_all: bool,
    /// The election port's own limits.
    pub election: ElectionPort,
    /// `commitLogCount`: committed txns kept in memory for a DIFF. Default and least 500.
    pub commit_log_count: u32,
}

/// The election port's own limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionPort {
    /// `electionPortBindRetry`: tries to bind, 1 s apart. Default 3, 0 for ever.
    pub bind_tries: u32,
    /// `cnxTimeout`: how long a connection may take to stand. Default 5 s.
    pub connect_timeout: Millis,
    /// `quorumCnxnTimeoutMs`: how long an initial message may take. Default `syncLimit` ticks.
    pub handshake_timeout: Millis,
    /// `tcpKeepAlive`. Default false.
    pub keep_alive: bool,
}

/// Files and snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// `datadir.autocreate`: create missing directories. Default true.
    pub create_directories: bool,
    /// `db.autocreate`: an empty disk may vote. Default true, but false with an identity.
    pub empty_may_vote: bool,
    /// `snapshot.trust.empty`: accept a log without a snapshot. Default false.
    pub trust_empty: bool,
    /// `snapshot.compression.method`: how snapshots are written; every kind is read. Default none.
    pub snapshot_compression: Compression,
    /// `snapCount`: least number of txns between snapshots. Default 100,000, at least 2.
    pub snapshot_every_txns: u32,
    /// `snapSizeLimitInKb`: a snapshot is due after so many bytes of txns, too. Default 4 GiB, `None` (0 or less) for no
    /// such limit.
    pub snapshot_every_bytes: Option<u64>,
    /// `preAllocSize`: by how much a log file grows ahead of what is written. Default 64 MiB.
    pub preallocate_bytes: u64,
    /// `txnLogSizeLimitInKb`: a log file longer than this is followed by another. `None` (0 or less, the default) for no
    /// limit.
    pub log_bytes_max: Option<u64>,
    /// `quorate.diskReserveInKb`: bytes of the disk that are kept for what was accepted already, but at most an eighth
    /// of it. Default 64 MiB, 0 for none.
    pub reserve_bytes: u64,
    /// `forceSync`: fsync before anything is acknowledged. Default true.
    pub force_sync: bool,
    /// `fsync.warningthresholdms`: an fsync that takes longer is logged. Default 1 s.
    pub sync_warning: Millis,
    /// `autopurge.purgeInterval`: how often old files are removed. `None` (0, the default) for never.
    pub purge_interval: Option<Millis>,
    /// `autopurge.snapRetainCount`: snapshots that are kept. Default and least 3.
    pub snapshots_kept: u32,
}

/// Who may do what beyond ACLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `skipACL=yes`: no ACL is checked. Default false.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled`: whether the scheme `digest` is there. Default true.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`: `super:` and the digest; `None` for no super user.
    pub super_digest: Option<String>,
    /// `quorate.superPasswordFile`: a file whose first line is the password of the user `super`; `None` for none.
    pub super_password_file: Option<PathBuf>,
}

/// What clients may change, and what ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// `reconfigEnabled`: clients may change the membership. Default false.
    pub reconfig_enabled: bool,
    /// `extendedTypesEnabled`: nodes may have a time to live. Default false.
    pub ttl_nodes: bool,
    /// `enforceQuota`: writes beyond the hard limit of a quota are refused. Default false.
    pub enforce_quota: bool,
    /// `znode.container.checkIntervalMs`: how often containers and nodes with a time to live are looked at.
    /// Default 60 s.
    pub reap_every: Millis,
    /// `znode.container.maxPerMinute`: how many of them end in a minute. Default 10,000, at least 1.
    pub reap_per_minute_max: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: when a container ends that never had a child. `None` (0, the default)
    /// for never.
    pub reap_unused_after: Option<Millis>,
}

/// How a member of an ensemble serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// `localSessionsEnabled`: new sessions live on the server that opened them alone. Default false.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: such a session is replicated once it needs to be. Default false.
    pub upgrade_local_sessions: bool,
    /// `readonlymode.enabled`: without a leader, clients that only read are served. Default false.
    pub read_only: bool,
}

/// The four-letter words that are answered; `srvr` always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// `*`.
    All,
    /// These, and `srvr`.
    Only(BTreeSet<String>),
}

/// The admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `admin.serverAddress` and `admin.serverPort`. Default all addresses, 8080.
    pub listen: Listen,
    /// `quorate.adminTokenFile`: its first line is what `POST` requests must bear; `None` refuses them all.
    pub token_file: Option<PathBuf>,
    /// `admin.commandURL`: where ZooKeeper's commands are, with a slash at its start and none at its end. Default
    /// `/commands`.
    pub command_url: String,
    /// `admin.idleTimeout`: how long a request's head, and its body, may take. Default 10 s.
    pub idle_timeout: Millis,
    /// `admin.snapshot.enabled`: whether a copy of the tree may be asked for. Default true.
    pub snapshot_enabled: bool,
    /// `admin.restore.enabled`: whether a restore may be asked for. Default true.
    pub restore_enabled: bool,
    /// `admin.rateLimiterIntervalInMS`: each of the two is done once in this time. Default 5 min.
    pub copy_interval: Millis,
}

/// The files that say which ensemble this disk belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// `quorate.ensembleIdFile`: its first line is the ensemble's id.
    pub ensemble_id: PathBuf,
    /// `quorate.bootstrapTokenFile`: a token, then the ids of the servers that may vote with an empty disk, separated
    /// by commas. `None`, or a file that does not exist, lets nobody.
    pub bootstrap_token: Option<PathBuf>,
    /// `quorate.retiredFile`: disks that must not be resumed, one a line: an incarnation, or `id=N` for any disk of
    /// that server. `None`, or a file that does not exist, retires none.
    pub retired: Option<PathBuf>,
}

/// How logs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `quorate.log.format`: `text` or `json`. Default text.
    pub format: LogFormat,
    /// `quorate.log.level`: `error`, `warn`, `info`, `debug` or `trace`. Default info.
    pub level: &'static str,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// This server's id; `ServerId(0)` alone.
    pub fn id(&self) -> ServerId {
        match &self.mode {
            Mode::Standalone => ServerId(0),
            Mode::Ensemble(mode) => mode.id,
        }
    }
}

impl Words {
    /// Whether this word is answered.
    pub fn allow(&self, word: &str) -> bool {
        match self {
            Words::All => true,
            Words::Only(words) => word == "srvr" || words.contains(word),
        }
    }
}
