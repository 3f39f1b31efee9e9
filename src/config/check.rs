//! From what was written to what it means, with every contradiction found.
//!
//! In: a [`RawConfig`] and what was found beside it. Out: a [`Config`] and warnings, or all problems at once.
//!
//! Always true:
//! * a problem names place, key, what was found and what was expected.
//!
//! Not here: which keys there are (`keys`), reading files (`server`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use super::keys::{self, Kind};
use super::raw::{Problem, RawConfig, one_line};
use super::settings::{
    Access, Admin, Changes, Config, Connections, IdentityFiles, Listen, LogFormat, LogSettings, Mode,
    Serving, StorageSettings, Words,
};
use crate::base::{Compression, Millis};

const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

/// What was found beside the static file.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Name and text of the file that `dynamicConfigFile` names; `None` if it names none.
    pub dynamic: Option<(String, String)>,
    /// Name and text of `myid` in `dataDir`; `None` if there is none.
    pub my_id: Option<(String, String)>,
    /// This machine's host name, for `quorate.myid.offset`.
    pub host_name: Option<String>,
}

/// Makes a configuration of settings.
pub fn check(raw: &RawConfig, found: &Found) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let mut checker = Checker { raw, problems: raw.problems().to_vec(), warnings: raw.warnings().to_vec() };
    checker.check_kinds();
    let tick = Millis(checker.number("tickTime", 3000, 1..=86_400_000));
    let (session_timeout_min, session_timeout_max) = checker.session_timeouts(tick);
    let members = checker.members(found);
    let id = checker.my_id(found);
    let mut client = checker.listen("clientPortAddress", "clientPort", None);
    if let (Some(members), Some(id)) = (&members, id) {
        checker.join_client_address(members, id, &mut client);
    }
    let mode = checker.mode(members, id, tick);
    let data_dir = checker.directory("dataDir").unwrap_or_default();
    let identity = checker.identity();
    let config = Config {
        file: PathBuf::from(raw.file()),
        data_log_dir: raw.value("dataLogDir").map_or_else(|| data_dir.clone(), PathBuf::from),
        data_dir,
        tick,
        session_timeout_min,
        session_timeout_max,
        client,
        connections: checker.connections(),
        mode: mode.unwrap_or(Mode::Standalone),
        storage: checker.storage(identity.as_ref()),
        access: checker.access(),
        changes: checker.changes(),
        serving: checker.serving(),
        words: words(raw),
        admin: checker.admin(),
        metrics: checker.metrics(),
        identity,
        log: checker.log(),
    };
    let warnings = checker.warnings.iter().map(|warning| one_line(warning)).collect();
    if checker.problems.is_empty() { Ok((config, warnings)) } else { Err(checker.problems) }
}

/// What a configuration is in which nothing but this key is written, for what it says of that key; the error says why
/// the value is refused.
pub fn alone(key: &str, value: Option<&str>) -> Result<Config, String> {
    let mut raw = RawConfig::default();
    raw.set_default("dataDir", "none");
    if let Some(value) = value {
        raw.set(&format!("{key}={value}")).map_err(|problem| problem.to_string())?;
    }
    match check(&raw, &Found::default()) {
        Ok((config, _)) => Ok(config),
        Err(problems) => {
            let of_key = |problem: &Problem| {
                format!("{key}={}: expected {}", value.unwrap_or_default(), problem.expected)
            };
            Err(problems.iter().map(of_key).collect::<Vec<_>>().join("; "))
        }
    }
}

/// What is checked, and what was found so far.
pub(super) struct Checker<'a> {
    /// What was written.
    pub(super) raw: &'a RawConfig,
    /// Why it is refused.
    pub(super) problems: Vec<Problem>,
    /// What is odd about it.
    pub(super) warnings: Vec<String>,
}

impl Checker<'_> {
    /// Reports settings that are not honoured, and refuses those that must not be neglected.
    fn check_kinds(&mut self) {
        for setting in self.raw.settings() {
            match keys::find(&setting.key) {
                None | Some(Kind::Used) => {}
                Some(Kind::NoEffect) => {
                    let (place, key) = (setting.place(), &setting.key);
                    let why = keys::reason(key);
                    self.warnings.push(format!("{place}: {key} is accepted and has no effect: {why}"));
                }
                Some(Kind::Tls) => {
                    let (place, key) = (setting.place(), &setting.key);
                    let text = "TLS and SASL are not supported yet, so it opens nothing";
                    self.warnings.push(format!("{place}: {key} has no effect: {text}"));
                }
                Some(Kind::Refused { harmless, expected }) => {
                    let is_harmless =
                        harmless.is_some_and(|value| value.eq_ignore_ascii_case(&setting.value));
                    if !is_harmless && !setting.value.is_empty() {
                        self.problems.push(setting.problem(expected));
                    }
                }
            }
        }
    }

    pub(super) fn number<T>(&mut self, key: &str, default: T, range: std::ops::RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        let Some(setting) = self.raw.setting(key) else { return default };
        match setting.value.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.problems.push(setting.problem(&format!("a number from {low} to {high}")));
                default
            }
        }
    }

    pub(super) fn millis(&mut self, key: &str, default: u64) -> Millis {
        Millis(self.number(key, default, 0..=86_400_000))
    }

    /// A boolean whose spelling is checked, as ZooKeeper's parser does for the keys that it knows; `None` if it is not
    /// set, or wrong.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let setting = self.raw.setting(key)?;
        match setting.value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.problems.push(setting.problem("true or false"));
                None
            }
        }
    }

    pub(super) fn missing(&mut self, key: &str, expected: &str) {
        let place = self.raw.file().to_owned();
        let (key, expected) = (key.to_owned(), expected.to_owned());
        self.problems.push(Problem { place, key, found: None, expected });
    }

    fn directory(&mut self, key: &str) -> Option<PathBuf> {
        let directory = self.raw.value(key).map(PathBuf::from);
        if directory.is_none() {
            self.missing(key, "a directory");
        }
        directory
    }

    fn session_timeouts(&mut self, tick: Millis) -> (Millis, Millis) {
        let read = |this: &mut Self, key, ticks| match this.number(key, -1, -1..=i64::from(i32::MAX)) {
            -1 => Millis(tick.0 * ticks),
            timeout => Millis(timeout.unsigned_abs()),
        };
        let min = read(self, "minSessionTimeout", 2);
        let max = read(self, "maxSessionTimeout", 20);
        if min > max
            && let Some(setting) =
                self.raw.setting("minSessionTimeout").or(self.raw.setting("maxSessionTimeout"))
        {
            let expected = format!("a minimum that is not above the maximum, but they are {min} and {max}");
            self.problems.push(setting.problem(&expected));
        }
        (min, max)
    }

    fn listen(&mut self, host_key: &str, port_key: &str, default: Option<u16>) -> Option<Listen> {
        let host = self.raw.value(host_key).map(str::to_owned);
        let port = match self.raw.setting(port_key) {
            Some(_) => Some(self.number(port_key, 0, 0..=u16::MAX)),
            None => default,
        };
        if let (Some(_), None, Some(setting)) = (&host, port, self.raw.setting(host_key)) {
            self.problems.push(setting.problem(&format!("{port_key} to be set too")));
        }
        Some(Listen { host, port: port? })
    }

    fn connections(&mut self) -> Connections {
        Connections {
            per_address_max: self.number("maxClientCnxns", 60, 0..=u32::MAX),
            total_max: self.number("maxCnxns", 0, 0..=u32::MAX),
            backlog: self.number("clientPortListenBacklog", -1, -1..=i32::MAX),
            frame_bytes_max: self.number("jute.maxbuffer", 0xf_ffff, 1..=i32::MAX.unsigned_abs()),
            sessionless_timeout: self.millis("nio.sessionlessCnxnTimeout", 10_000),
            requests: self.request_limits(),
            throttle: self.connection_throttle(),
            audit: self.flag("audit.enable").unwrap_or(false),
            keep_alive: self.flag("clientTcpKeepAlive").unwrap_or(false),
            leader_serves: self.raw.value("leaderServes") != Some("no"),
        }
    }

    fn storage(&mut self, identity: Option<&IdentityFiles>) -> StorageSettings {
        let preallocate_kib = self.number("preAllocSize", 65_536, 0..=4_194_304u64);
        let kept = self.number("autopurge.snapRetainCount", 3, 0..=u32::MAX);
        if kept < 3 {
            self.warnings.push(format!("autopurge.snapRetainCount={kept} is raised to 3"));
        }
        let force_sync = self.raw.value("forceSync") != Some("no");
        if !force_sync {
            self.warnings.push("forceSync=no: a crash of the machine loses acknowledged writes".to_owned());
        }
        StorageSettings {
            create_directories: self.flag("datadir.autocreate").unwrap_or(true),
            empty_may_vote: self.flag("db.autocreate").unwrap_or(true) && identity.is_none(),
            trust_empty: self.flag("snapshot.trust.empty").unwrap_or(false),
            snapshot_compression: self.compression(),
            snapshot_every_txns: self.number("snapCount", 100_000, 0..=u32::MAX).max(2),
            snapshot_every_bytes: self.kib("snapSizeLimitInKb", 4_194_304),
            preallocate_bytes: preallocate_kib * 1024,
            log_bytes_max: self.kib("txnLogSizeLimitInKb", -1),
            reserve_bytes: self.number("quorate.diskReserveInKb", 65_536, 0..=u64::MAX / 1024) * 1024,
            force_sync,
            sync_warning: self.millis("fsync.warningthresholdms", 1000),
            purge_interval: self.purge_interval(),
            snapshots_kept: kept.max(3),
        }
    }

    fn compression(&mut self) -> Compression {
        let Some(setting) = self.raw.setting("snapshot.compression.method") else { return Compression::None };
        match setting.value.as_str() {
            "" => Compression::None,
            "gz" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            _ => {
                self.problems.push(setting.problem("gz, snappy or nothing"));
                Compression::None
            }
        }
    }

    /// A size in KiB, in bytes; `None` for 0 and less.
    fn kib(&mut self, key: &str, default: i64) -> Option<u64> {
        let kib = self.number(key, default, i64::MIN..=i64::MAX / 1024);
        u64::try_from(kib).ok().filter(|kib| *kib > 0).map(|kib| kib * 1024)
    }

    /// Whole hours, or a number with `ms`, `s`, `m`, `h` or `d`.
    fn purge_interval(&mut self) -> Option<Millis> {
        let setting = self.raw.setting("autopurge.purgeInterval")?;
        let value = setting.value.as_str();
        let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &value[digits.len()..] {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "" | "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        let number = digits.trim().parse::<u64>().ok().filter(|number| *number <= 1_000_000_000);
        match (number, unit) {
            (Some(0), Some(_)) => None,
            (Some(number), Some(unit)) => Some(Millis(number * unit)),
            _ => {
                self.problems.push(setting.problem("hours, or a number with ms, s, m, h or d"));
                None
            }
        }
    }

    fn access(&mut self) -> Access {
        let skip_acl = self.raw.value("skipACL") == Some("yes");
        if skip_acl {
            self.warnings.push("skipACL=yes: no ACL is checked, everybody may do everything".to_owned());
        }
        let super_digest = self.raw.setting("DigestAuthenticationProvider.superDigest");
        let super_digest = super_digest.filter(|setting| !setting.value.is_empty());
        Access {
            skip_acl,
            digest_enabled: self.flag("DigestAuthenticationProvider.enabled").unwrap_or(true),
            super_digest: super_digest.map(|setting| setting.value.clone()),
            super_password_file: self.raw.value("quorate.superPasswordFile").map(PathBuf::from),
        }
    }

    fn changes(&mut self) -> Changes {
        Changes {
            reconfig_enabled: self.flag("reconfigEnabled").unwrap_or(false),
            ttl_nodes: self.flag("extendedTypesEnabled").unwrap_or(false),
            enforce_quota: self.flag("enforceQuota").unwrap_or(false),
            reap_every: self.millis("znode.container.checkIntervalMs", 60_000),
            reap_per_minute_max: self.number("znode.container.maxPerMinute", 10_000, 1..=u32::MAX),
            reap_unused_after: Some(self.millis("znode.container.maxNeverUsedIntervalMs", 0))
                .filter(|after| *after > Millis(0)),
        }
    }

    fn serving(&mut self) -> Serving {
        let read_only = self.flag("readonlymode.enabled").unwrap_or(false);
        let local_sessions = self.flag("localSessionsEnabled").unwrap_or(false);
        if read_only && !local_sessions {
            let text = "readonlymode.enabled: without localSessionsEnabled=true nobody can open a session while there is no leader";
            self.warnings.push(text.to_owned());
        }
        Serving {
            read_only,
            local_sessions,
            upgrade_local_sessions: self.flag("localSessionsUpgradingEnabled").unwrap_or(false),
        }
    }

    fn admin(&mut self) -> Option<Admin> {
        let listen = self.listen("admin.serverAddress", "admin.serverPort", Some(8080));
        if self.raw.value("admin.enableServer").is_some_and(|value| value.eq_ignore_ascii_case("false")) {
            return None;
        }
        let token_file = self.raw.value("quorate.adminTokenFile").map(PathBuf::from);
        Some(Admin {
            listen: listen?,
            token_file,
            command_url: self.command_url(),
            idle_timeout: self.millis("admin.idleTimeout", 10_000),
            snapshot_enabled: self.raw.value("admin.snapshot.enabled") != Some("false"),
            restore_enabled: self.raw.value("admin.restore.enabled") != Some("false"),
            copy_interval: self.millis("admin.rateLimiterIntervalInMS", 300_000),
        })
    }

    /// A path of its own, since ours are beside it.
    fn command_url(&mut self) -> String {
        let Some(setting) = self.raw.setting("admin.commandURL") else { return "/commands".to_owned() };
        let url = setting.value.trim_end_matches('/');
        if !url.starts_with('/') || url.starts_with("/v1") {
            self.problems.push(setting.problem("a path such as /commands, which does not begin with /v1"));
        }
        url.to_owned()
    }

    fn metrics(&mut self) -> Option<Listen> {
        let listen = self.listen("metricsProvider.httpHost", "metricsProvider.httpPort", Some(7000));
        let setting = self.raw.setting("metricsProvider.className")?;
        match setting.value.as_str() {
            PROMETHEUS => listen,
            "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
            | "org.apache.zookeeper.metrics.impl.NullMetricsProvider"
            | "" => None,
            _ => {
                self.problems.push(setting.problem(&format!("{PROMETHEUS}, or none")));
                None
            }
        }
    }

    fn identity(&mut self) -> Option<IdentityFiles> {
        let Some(file) = self.raw.value("quorate.ensembleIdFile") else {
            for key in ["quorate.bootstrapTokenFile", "quorate.retiredFile"] {
                if let Some(setting) = self.raw.setting(key) {
                    self.problems.push(setting.problem("quorate.ensembleIdFile to be set too"));
                }
            }
            return None;
        };
        let file_of = |key| self.raw.value(key).map(PathBuf::from);
        Some(IdentityFiles {
            ensemble_id: PathBuf::from(file),
            bootstrap_token: file_of("quorate.bootstrapTokenFile"),
            retired: file_of("quorate.retiredFile"),
        })
    }

    fn log(&mut self) -> LogSettings {
        let format = match self.raw.setting("quorate.log.format") {
            None => LogFormat::Text,
            Some(setting) => match setting.value.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => {
                    self.problems.push(setting.problem("text or json"));
                    LogFormat::Text
                }
            },
        };
        let levels = ["error", "warn", "info", "debug", "trace"];
        let level = self.raw.setting("quorate.log.level").and_then(|setting| {
            let level = levels.iter().find(|level| **level == setting.value);
            if level.is_none() {
                self.problems.push(setting.problem("error, warn, info, debug or trace"));
            }
            level.copied()
        });
        LogSettings { format, level: level.unwrap_or("info") }
    }
}

fn words(raw: &RawConfig) -> Words {
    let written = raw.value("4lw.commands.whitelist").unwrap_or_default();
    let mut words: BTreeSet<String> = written.split(',').map(|word| word.trim().to_owned()).collect();
    if words.contains("*") {
        return Words::All;
    }
    if raw.value("readonlymode.enabled").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        words.insert("isro".to_owned());
    }
    Words::Only(words)
}
