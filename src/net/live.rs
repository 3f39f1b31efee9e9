//! Settings that change while the server runs.
//!
//! In: a key and a value, from `POST /v1/config` or from the configuration that is read again. Out: the change, or why
//! not.
//!
//! Always true:
//! * a value is judged as at a start, and one that is refused changes nothing;
//! * a key without a value means its default.
//!
//! Not here: reading the configuration again (`server::reload`), what a value means (`config`).

use std::sync::atomic::Ordering::Relaxed;

use super::clients::Clients;
use super::facts::Change;
use crate::base::Millis;
use crate::config::{self, Config, ConnectionThrottle, RequestLimits};
use crate::replica::LiveSetting;

/// Sets the level of logs.
pub type SetLevel = fn(&str) -> Result<(), String>;

/// Changes settings.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Sets the level of logs.
    pub set_level: SetLevel,
}

/// Who takes the new value of a key.
#[derive(Clone, Copy)]
enum Taker {
    /// The log.
    Log,
    /// The client port.
    Clients(fn(&Clients, &Config)),
    /// What all clients together may have in progress.
    Requests(fn(&mut RequestLimits, RequestLimits)),
    /// How many sessions may be asked for.
    Throttle(fn(&mut ConnectionThrottle, ConnectionThrottle)),
    /// The loop.
    Loop(fn(&Config) -> Change),
    /// The loop, which knows what belongs together.
    SessionTimeout(fn(Option<Millis>) -> LiveSetting),
}

/// What changes while the server runs.
const KEYS: &[(&str, Taker)] = &[
    (
        "maxClientCnxns",
        Taker::Clients(|clients, new| clients.set_per_address_max(new.connections.per_address_max)),
    ),
    ("maxCnxns", Taker::Clients(|clients, new| clients.set_total_max(new.connections.total_max))),
    ("quorate.log.level", Taker::Log),
    (
        "4lw.commands.whitelist",
        Taker::Clients(|clients, new| clients.shared.lexicon.allow(new.words.clone())),
    ),
    ("audit.enable", Taker::Clients(|clients, new| clients.audit_as(&new.connections))),
    ("autopurge.purgeInterval", Taker::Loop(|new| Change::PurgeEvery(new.storage.purge_interval))),
    ("autopurge.snapRetainCount", Taker::Loop(|new| Change::SnapshotsKept(new.storage.snapshots_kept))),
    ("connection_throttle_decrease_ratio", Taker::Throttle(|to, new| to.decrease_ratio = new.decrease_ratio)),
    ("connection_throttle_drop_decrease", Taker::Throttle(|to, new| to.drop_decrease = new.drop_decrease)),
    ("connection_throttle_drop_increase", Taker::Throttle(|to, new| to.drop_increase = new.drop_increase)),
    ("connection_throttle_fill_count", Taker::Throttle(|to, new| to.fill_count = new.fill_count)),
    ("connection_throttle_fill_time", Taker::Throttle(|to, new| to.fill_time = new.fill_time)),
    ("connection_throttle_freeze_time", Taker::Throttle(|to, new| to.freeze_time = new.freeze_time)),
    ("connection_throttle_tokens", Taker::Throttle(|to, new| to.tokens = new.tokens)),
    (
        "fsync.warningthresholdms",
        Taker::Clients(|clients, new| clients.shared.slow_sync.store(new.storage.sync_warning.0, Relaxed)),
    ),
    ("globalOutstandingLimit", Taker::Requests(|to, new| to.outstanding_max = new.outstanding_max)),
    ("largeRequestMaxBytes", Taker::Requests(|to, new| to.large_bytes_max = new.large_bytes_max)),
    ("largeRequestThreshold", Taker::Requests(|to, new| to.large_threshold = new.large_threshold)),
    ("maxSessionTimeout", Taker::SessionTimeout(LiveSetting::SessionTimeoutMax)),
    ("minSessionTimeout", Taker::SessionTimeout(LiveSetting::SessionTimeoutMin)),
    (
        "request_stale_connection_check",
        Taker::Requests(|to, new| to.stale_by_connection = new.stale_by_connection),
    ),
    ("request_stale_latency_check", Taker::Requests(|to, new| to.stale_by_latency = new.stale_by_latency)),
    ("request_throttle_drop_stale", Taker::Requests(|to, new| to.drop_stale = new.drop_stale)),
    ("request_throttle_max_requests", Taker::Requests(|to, new| to.throttle_max = new.throttle_max)),
    ("request_throttle_stall_time", Taker::Requests(|to, new| to.stall = new.stall)),
    (
        "snapCount",
        Taker::Loop(|new| {
            Change::Replica(LiveSetting::SnapshotTxns(u64::from(new.storage.snapshot_every_txns)))
        }),
    ),
    (
        "snapSizeLimitInKb",
        Taker::Loop(|new| Change::Replica(LiveSetting::SnapshotBytes(new.storage.snapshot_every_bytes))),
    ),
    ("throttled_op_wait_time", Taker::Requests(|to, new| to.throttled_after = new.throttled_after)),
];

/// The keys whose values may change, by their names in a configuration.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Whether a key may change, under either of its names.
pub fn is_live(key: &str) -> bool {
    find(key).is_some()
}

fn find(key: &str) -> Option<Taker> {
    let key = config::plain_name(key);
    KEYS.iter().find(|(name, _)| *name == key).map(|(_, taker)| *taker)
}

impl Live {
    /// Sets a key, or its default where there is no value; the error says why not.
    pub async fn set(&self, clients: &Clients, key: &str, value: Option<&str>) -> Result<(), String> {
        let Some(taker) = find(key) else {
            let keys: Vec<&str> = keys().collect();
            return Err(format!("{key} cannot change while the server runs; {} can", keys.join(", ")));
        };
        let change = match taker {
            Taker::Log => return (self.set_level)(value.unwrap_or("info")),
            Taker::SessionTimeout(setting) => Change::Replica(setting(session_timeout(key, value)?)),
            Taker::Clients(set) => {
                set(clients, &config::alone(key, value)?);
                return Ok(());
            }
            Taker::Requests(set) => {
                let mut limits = clients.gate().limits();
                set(&mut limits, config::alone(key, value)?.connections.requests);
                clients.gate().set(limits);
                return Ok(());
            }
            Taker::Throttle(set) => {
                let mut throttle = clients.throttle();
                set(&mut throttle, config::alone(key, value)?.connections.throttle);
                clients.set_throttle(throttle);
                return Ok(());
            }
            Taker::Loop(change) => change(&config::alone(key, value)?),
        };
        let changed = clients.shared.asker.change(change).await;
        changed.unwrap_or_else(|| Err("the loop does not answer".to_owned()))
    }
}

/// A session timeout in ms; -1 and no value stand for a number of ticks.
fn session_timeout(key: &str, value: Option<&str>) -> Result<Option<Millis>, String> {
    let expected =
        || format!("{key}={}: expected a number from -1 to {}", value.unwrap_or_default(), i32::MAX);
    let timeout = value.unwrap_or("-1").parse::<i32>().ok().filter(|timeout| *timeout >= -1);
    Ok(u64::try_from(timeout.ok_or_else(expected)?).ok().map(Millis))
}
