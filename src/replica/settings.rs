//! What a server is told once, and why it may not start.
//!
//! In: checked settings. Out: the same, in the shape that the core needs.
//!
//! Not here: the text of a `zoo.cfg` and its defaults (`config`).
//!
//! Always true:
//! * nothing here changes while a server runs, but for what [`LiveSetting`] names.

use super::conn::ClientSettings;
use super::machine::Replica;
use super::prepare::{Rules, Switch};
use super::snapshots::Rhythm;
use crate::base::ensemble::EnsembleError;
use crate::base::wire::DecodeError;
use crate::base::{Ensemble, Millis, Zxid};
use crate::session::{LocalRule, TimeoutLimits};
use crate::zab;

/// What a server is told once.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the agreement is told.
    pub zab: zab::Settings,
    /// The membership of the configuration files; one on disk goes before it. Empty for a server that is alone.
    pub ensemble: Ensemble,
    /// Between which session timeouts it negotiates.
    pub timeouts: TimeoutLimits,
    /// `localSessionsEnabled` and `localSessionsUpgradingEnabled`; without meaning for a server that is alone.
    pub local_sessions: LocalRule,
    /// `readonlymode.enabled`: whether it serves clients that only read while it has no leader. Their sessions are local, so
    /// that it takes `local_sessions`, too.
    pub read_only: Switch,
    /// What its connections are told.
    pub clients: ClientSettings,
    /// `extendedTypesEnabled`: whether nodes may have a time to live.
    pub ttl_nodes: Switch,
    /// `enforceQuota`: whether writes beyond the hard limit of a quota are refused, and those beyond a soft one told.
    pub quotas: Switch,
    /// How much goes into the log between two snapshots.
    pub snapshots: Rhythm,
    /// How containers and nodes with a time to live end.
    pub reaping: Reaping,
}

/// How containers and nodes with a time to live end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaping {
    /// `znode.container.checkIntervalMs`: how often they are looked at. ZooKeeper: 60 s.
    pub every: Millis,
    /// `znode.container.maxPerMinute`: how many end in a minute, evenly. ZooKeeper: 10,000.
    pub per_minute_max: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: when a container ends that never had a child; `None` for never, as in
    /// ZooKeeper 3.9.
    pub unused_after: Option<Millis>,
}

/// A setting that changes while a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveSetting {
    /// `snapCount`.
    SnapshotTxns(u64),
    /// `snapSizeLimitInKb`; `None` for no limit.
    SnapshotBytes(Option<u64>),
    /// `minSessionTimeout`; `None` for two ticks. Sessions keep what was agreed with their clients.
    SessionTimeoutMin(Option<Millis>),
    /// `maxSessionTimeout`; `None` for twenty ticks.
    SessionTimeoutMax(Option<Millis>),
}

impl Settings {
    /// The switches that decide what is allowed.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            schemes: self.clients.schemes.clone(),
            acl_check: self.clients.acl_check,
            ttl_nodes: self.ttl_nodes,
            quotas: self.quotas,
        }
    }
}

impl Replica {
    /// Changes a setting; the error says why not.
    pub fn set(&mut self, setting: LiveSetting) -> Result<(), String> {
        let rhythm = self.snapshots.rhythm();
        let (tick, timeouts) = (self.settings.zab.tick, self.settings.timeouts);
        let ticks = |timeout: Option<Millis>, ticks| timeout.unwrap_or(Millis(tick.0 * ticks));
        let timeouts = match setting {
            LiveSetting::SnapshotTxns(txns) => {
                self.snapshots.set_rhythm(Rhythm { txns, ..rhythm });
                timeouts
            }
            LiveSetting::SnapshotBytes(bytes) => {
                self.snapshots.set_rhythm(Rhythm { bytes, ..rhythm });
                timeouts
            }
            LiveSetting::SessionTimeoutMin(min) => TimeoutLimits { min: ticks(min, 2), ..timeouts },
            LiveSetting::SessionTimeoutMax(max) => TimeoutLimits { max: ticks(max, 20), ..timeouts },
        };
        if timeouts.min > timeouts.max {
            return Err(format!(
                "the least session timeout, {}, would be above the longest, {}",
                timeouts.min, timeouts.max
            ));
        }
        self.settings.timeouts = timeouts;
        Ok(())
    }
}

/// Why a server cannot start from what is on its disk.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The snapshot cannot be read.
    #[error("snapshot {zxid} cannot be read: {source}")]
    Snapshot {
        /// The zxid of its name.
        zxid: Zxid,
        /// What is wrong.
        source: DecodeError,
    },
    /// A txn of the log is not one that this server can apply.
    #[error("txn {zxid} of the log cannot be applied: {flaw}")]
    Txn {
        /// Its place.
        zxid: Zxid,
        /// What is wrong.
        flaw: String,
    },
    /// The snapshot holds more than the log: txns are missing.
    #[error("the snapshot reaches to {reaches}, but the log ends at {last}")]
    LogTooShort {
        /// The last txn that stands in the snapshot in part.
        reaches: Zxid,
        /// The last txn of the log.
        last: Zxid,
    },
    /// A stored membership cannot be read.
    #[error("stored membership: {0}")]
    Ensemble(#[from] EnsembleError),
}
