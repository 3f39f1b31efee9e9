//! The servers' settings and logs that a spec asks for.
//!
//! In: the resource's JSON. Out: typed fields and their schema.
//!
//! Always true:
//! * a setting of ZooKeeper has the unit of its documentation.
//!
//! Not here: the text of the `zoo.cfg` (`build::config`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the servers, by the names of ZooKeeper's documentation where it has one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// Length of a tick in milliseconds.
    #[serde(default = "default_tick_time")]
    #[schemars(range(min = 100, max = 60_000))]
    pub tick_time: i32,
    /// Ticks that a member has to connect to the leader and get level.
    #[serde(default = "default_init_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub init_limit: i32,
    /// Ticks that a member may be silent.
    #[serde(default = "default_sync_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub sync_limit: i32,
    /// Shortest session timeout granted, in milliseconds. Default: two ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_session_timeout: Option<i32>,
    /// Longest session timeout granted, in milliseconds. Default: twenty ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_session_timeout: Option<i32>,
    /// Connections from one client address; 0 is no limit. Default: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_client_connections: Option<i32>,
    /// Connections to one member; 0 is no limit. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_total_connections: Option<i32>,
    /// Transactions between two snapshots. Default: 100000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub snapshot_every_transactions: Option<i32>,
    /// Snapshots that are kept. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 1000))]
    pub snapshot_retain_count: Option<i32>,
    /// How often old snapshots and logs are removed, in whole hours; 0h is never. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9]{1,4}h$"))]
    pub purge_interval: Option<String>,
    /// Four letter words that are answered. Default: srvr, mntr, ruok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^([a-z]{4}|\*)$")))]
    pub four_letter_words: Option<Vec<String>>,
    /// Further lines of the zoo.cfg; keys that the operator manages are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 64),
        extend("additionalProperties" = {"type": "string", "maxLength": 1024, "pattern": "^[^\\r\\n]*$"})
    )]
    pub additional: BTreeMap<String, String>,
}

/// Logs of the servers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoggingSpec {
    /// Default: info.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// Default: json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
}

/// The least important line that is written.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Each message.
    Trace,
    /// Each decision.
    Debug,
    /// Role, membership, lifecycle.
    Info,
    /// Odd, and service goes on.
    Warn,
    /// Someone must act.
    Error,
}

/// How a log line looks.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for ConfigSpec {
    fn default() -> Self {
        ConfigSpec {
            tick_time: default_tick_time(),
            init_limit: default_init_limit(),
            sync_limit: default_sync_limit(),
            min_session_timeout: None,
            max_session_timeout: None,
            max_client_connections: None,
            max_total_connections: None,
            snapshot_every_transactions: None,
            snapshot_retain_count: None,
            purge_interval: None,
            four_letter_words: None,
            additional: BTreeMap::new(),
        }
    }
}

fn default_tick_time() -> i32 {
    2000
}

fn default_init_limit() -> i32 {
    10
}

fn default_sync_limit() -> i32 {
    5
}
