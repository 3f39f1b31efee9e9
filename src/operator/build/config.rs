//! The `zoo.cfg` of the servers, and the config map that holds it.
//!
//! In: what the servers are to be, and the membership to start from. Out: text.
//!
//! Always true:
//! * every text stands under the hash of its settings, so that a pod keeps the settings of its template;
//! * the membership is in no hash: servers keep the committed one on their disks, these lines only show newcomers the way.
//!
//! Not here: what a setting means (`config`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};

use super::names;
use crate::base::Ensemble;
use crate::operator::crd::{LogFormat, LogLevel};
use crate::operator::desired::Desired;
use crate::operator::object::{self, Object};

/// Where the data volume is mounted.
pub(super) const DATA_PATH: &str = "/var/lib/quorate/data";
/// Where the log volume is mounted.
pub(super) const LOG_PATH: &str = "/var/lib/quorate/log";
/// Where the config map is mounted.
pub(super) const CONFIG_PATH: &str = "/etc/quorate/config";
/// Where the identity is mounted.
pub(super) const IDENTITY_PATH: &str = "/etc/quorate/identity";
/// Parts the settings from the membership.
const MEMBERS_LINE: &str = "# The members to start from; what a server has on its disk wins.";

/// The settings, without the membership.
pub fn settings_text(desired: &Desired) -> String {
    let spec = &desired.spec.config;
    let ports = &desired.spec.network.ports;
    let words =
        spec.four_letter_words.clone().unwrap_or_else(|| ["srvr", "mntr", "ruok"].map(str::to_owned).into());
    let log = if desired.data_log.is_some() { LOG_PATH } else { DATA_PATH };
    let level = match desired.spec.logging.level {
        None | Some(LogLevel::Info) => "info",
        Some(LogLevel::Trace) => "trace",
        Some(LogLevel::Debug) => "debug",
        Some(LogLevel::Warn) => "warn",
        Some(LogLevel::Error) => "error",
    };
    let format = match desired.spec.logging.format {
        None | Some(LogFormat::Json) => "json",
        Some(LogFormat::Text) => "text",
    };
    let hours = spec.purge_interval.as_deref().unwrap_or("1h").trim_end_matches('h');
    let mut lines: Vec<(&str, String)> = vec![
        ("tickTime", spec.tick_time.to_string()),
        ("initLimit", spec.init_limit.to_string()),
        ("syncLimit", spec.sync_limit.to_string()),
        ("minSessionTimeout", spec.min_session_timeout.unwrap_or(spec.tick_time * 2).to_string()),
        ("maxSessionTimeout", spec.max_session_timeout.unwrap_or(spec.tick_time * 20).to_string()),
        ("maxClientCnxns", spec.max_client_connections.unwrap_or(60).to_string()),
        ("maxCnxns", spec.max_total_connections.unwrap_or(0).to_string()),
        ("snapCount", spec.snapshot_every_transactions.unwrap_or(100_000).to_string()),
        ("autopurge.snapRetainCount", spec.snapshot_retain_count.unwrap_or(3).to_string()),
        ("autopurge.purgeInterval", hours.to_owned()),
        ("4lw.commands.whitelist", words.join(",")),
        ("dataDir", DATA_PATH.to_owned()),
        ("dataLogDir", log.to_owned()),
        ("clientPort", ports.client.to_string()),
        ("quorumListenOnAllIPs", "true".to_owned()),
        ("reconfigEnabled", "true".to_owned()),
        ("standaloneEnabled", "false".to_owned()),
        ("admin.enableServer", "true".to_owned()),
        ("admin.serverPort", ports.admin.to_string()),
        (
            "metricsProvider.className",
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider".to_owned(),
        ),
        ("metricsProvider.httpPort", ports.metrics.to_string()),
        ("quorate.ensembleIdFile", format!("{IDENTITY_PATH}/ensembleId")),
        ("quorate.bootstrapTokenFile", format!("{IDENTITY_PATH}/bootstrapToken")),
        ("quorate.retiredFile", format!("{IDENTITY_PATH}/retired")),
        ("quorate.adminTokenFile", format!("{IDENTITY_PATH}/adminToken")),
        ("quorate.superPasswordFile", format!("{IDENTITY_PATH}/superPassword")),
        ("quorate.log.level", level.to_owned()),
        ("quorate.log.format", format.to_owned()),
    ];
    lines.extend(spec.additional.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let mut text = String::new();
    for (key, value) in lines {
        writeln!(text, "{key}={value}").expect("a text takes any line");
    }
    text
}

/// The hash under which a text of settings stands.
pub(super) fn settings_hash(text: &str) -> String {
    object::hash(&serde_json::Value::String(text.to_owned()))
}

/// The key of a text of settings in the config map; also its file's name.
pub(super) fn settings_key(text: &str) -> String {
    format!("zoo-{}.cfg", settings_hash(text))
}

/// The file of settings that the pods of a template read; empty if it names none.
pub fn settings_of(template: &PodTemplateSpec) -> String {
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    let args = containers.flat_map(|container| container.args.iter().flatten());
    let paths = args.filter_map(|arg| arg.strip_prefix(CONFIG_PATH)?.strip_prefix('/'));
    paths.map(str::to_owned).next().unwrap_or_default()
}

/// The config map: the settings asked for, and those of `existing` that a template in use names.
pub fn config_map(
    desired: &Desired,
    members: &Ensemble,
    existing: &BTreeMap<String, String>,
    in_use: impl Fn(&str) -> bool,
) -> Object {
    let settings = settings_text(desired);
    let mut data = BTreeMap::new();
    for (key, text) in existing.iter().filter(|(key, _)| in_use(key)) {
        let old = text.split(MEMBERS_LINE).next().unwrap_or_default();
        data.insert(key.clone(), with_members(old, members));
    }
    data.insert(settings_key(&settings), with_members(&settings, members));
    Object::ConfigMap(ConfigMap {
        metadata: names::owned(desired, names::config_name(desired)),
        data: Some(data),
        ..ConfigMap::default()
    })
    .stamped()
}

fn with_members(settings: &str, members: &Ensemble) -> String {
    let mut text = format!("{settings}{MEMBERS_LINE}\n");
    for line in members.lines() {
        writeln!(text, "{line}").expect("a text takes any line");
    }
    text
}
