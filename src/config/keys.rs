//! The keys that are known, and what becomes of each.
//!
//! In: a key. Out: its kind, or the known key that it resembles most.
//!
//! Always true:
//! * every key of Apache ZooKeeper 3.8 to 3.10 is here, so that only a mistake is reported as unknown.
//!
//! Not here: values (`check`).

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is honoured.
    Used,
    /// It belongs to TLS or SASL, which are not there: it is warned about, and opens nothing.
    Tls,
    /// It is accepted and changes nothing.
    NoEffect,
    /// It is refused where it demands what is not there, since neglecting it would be unsafe.
    Refused {
        /// The value that demands nothing; any other is refused. `None`: any value is refused.
        harmless: Option<&'static str>,
        /// What to write instead.
        expected: &'static str,
    },
}

const USED: &[&str] = &[
    "4lw.commands.whitelist",
    "DigestAuthenticationProvider.enabled",
    "DigestAuthenticationProvider.superDigest",
    "admin.commandURL",
    "admin.enableServer",
    "admin.idleTimeout",
    "admin.rateLimiterIntervalInMS",
    "admin.restore.enabled",
    "admin.serverAddress",
    "admin.serverPort",
    "admin.snapshot.enabled",
    "audit.enable",
    "autopurge.purgeInterval",
    "autopurge.snapRetainCount",
    "clientPort",
    "clientPortAddress",
    "clientPortListenBacklog",
    "clientTcpKeepAlive",
    "cnxTimeout",
    "commitLogCount",
    "connectToLearnerMasterLimit",
    "connectionDecreaseRatio",
    "connectionDropDecrease",
    "connectionDropIncrease",
    "connectionFreezeTime",
    "connectionMaxTokens",
    "connectionTokenFillCount",
    "connectionTokenFillTime",
    "connection_throttle_decrease_ratio",
    "connection_throttle_drop_decrease",
    "connection_throttle_drop_increase",
    "connection_throttle_fill_count",
    "connection_throttle_fill_time",
    "connection_throttle_freeze_time",
    "connection_throttle_global_session_weight",
    "connection_throttle_local_session_weight",
    "connection_throttle_renew_session_weight",
    "connection_throttle_tokens",
    "connection_throttle_weight_enabled",
    "dataDir",
    "dataLogDir",
    "datadir.autocreate",
    "db.autocreate",
    "dynamicConfigFile",
    "electionAlg",
    "electionPortBindRetry",
    "enforceQuota",
    "extendedTypesEnabled",
    "forceSync",
    "fsync.warningthresholdms",
    "globalOutstandingLimit",
    "initLimit",
    "jute.maxbuffer",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "leaderServes",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxClientCnxns",
    "maxCnxns",
    "maxSessionTimeout",
    "metricsProvider.className",
    "metricsProvider.httpHost",
    "metricsProvider.httpPort",
    "minSessionTimeout",
    "nio.sessionlessCnxnTimeout",
    "peerType",
    "preAllocSize",
    "quorate.adminTokenFile",
    "quorate.bootstrapTokenFile",
    "quorate.diskReserveInKb",
    "quorate.ensembleIdFile",
    "quorate.log.format",
    "quorate.log.level",
    "quorate.myid.offset",
    "quorate.retiredFile",
    "quorate.superPasswordFile",
    "quorumCnxnTimeoutMs",
    "quorumListenOnAllIPs",
    "readonlymode.enabled",
    "reconfigEnabled",
    "requestStaleConnectionCheck",
    "requestStaleLatencyCheck",
    "requestThrottleDropStale",
    "requestThrottleLimit",
    "requestThrottleStallTime",
    "request_stale_connection_check",
    "request_stale_latency_check",
    "request_throttle_drop_stale",
    "request_throttle_max_requests",
    "request_throttle_stall_time",
    "skipACL",
    "snapCount",
    "snapSizeLimitInKb",
    "snapshot.compression.method",
    "snapshot.trust.empty",
    "standaloneEnabled",
    "syncLimit",
    "tcpKeepAlive",
    "throttledOpWaitTime",
    "throttled_op_wait_time",
    "tickTime",
    "txnLogSizeLimitInKb",
    "version",
    "znode.container.checkIntervalMs",
    "znode.container.maxNeverUsedIntervalMs",
    "znode.container.maxPerMinute",
];

const TLS: &[&str] = &[
    "admin.portUnification",
    "allowSaslFailedClients",
    "client.certReload",
    "client.portUnification",
    "java.security.auth.login.config",
    "metricsProvider.httpsPort",
    "netty.server.earlyDropSecureConnectionHandshakes",
    "netty.server.outstandingHandshake.limit",
    "outstandingHandshake.limit",
    "portUnification",
    "quorum.auth.enableSasl",
    "quorum.auth.kerberos.servicePrincipal",
    "quorum.auth.learner.saslLoginContext",
    "quorum.auth.server.saslLoginContext",
    "quorum.cnxn.threads.size",
    "sasl.serverconfig",
    "secureClientPort",
    "secureClientPortAddress",
    "security.auth_to_local",
    "server.realm",
    "sslQuorumReloadCertFiles",
];

/// Prefixes of keys that belong to TLS or SASL.
const TLS_PREFIXES: &[&str] = &[
    "SASLAuthenticationProvider.",
    "X509AuthenticationProvider.",
    "authProvider.",
    "kerberos.",
    "metricsProvider.ssl.",
    "ssl.",
    "superUser.",
];

const NO_EFFECT: &[&str] = &[
    "IPAuthenticationProvider.usexforwardedfor",
    "admin.httpVersion",
    "advancedFlowControlEnabled",
    "audit.impl.class",
    "bitHashCacheSize",
    "closeSessionTxn.enabled",
    "digest.enabled",
    "emulate353TTLNodes",
    "enableEagerACLCheck",
    "ensembleAuthName",
    "fastleader.maxNotificationInterval",
    "fastleader.minNotificationInterval",
    "flushDelay",
    "follower.nodelay",
    "follower.skipLearnerRequestToNextProcessor",
    "forceSnapshotSync",
    "forward_learner_requests_to_commit_processor_disabled",
    "fips-mode",
    "intBufferStartingSizeBytes",
    "jute.maxbuffer.extrasize",
    "jvm.pause.info-threshold.ms",
    "jvm.pause.monitor",
    "jvm.pause.sleep.time.ms",
    "jvm.pause.warn-threshold.ms",
    "leader.ackLoggingFrequency",
    "leader.closeSocketAsync",
    "leader.maxConcurrentDiffSyncs",
    "leader.maxConcurrentSnapSyncs",
    "leader.maxTimeToWaitForEpoch",
    "leader.nodelay",
    "leaderConnectDelayDuringRetryMs",
    "learner.asyncSending",
    "learner.closeSocketAsync",
    "maxBatchSize",
    "maxConcurrentDiffSyncs",
    "maxConcurrentSnapSyncs",
    "maxGetChildrenResponseCacheSize",
    "maxInProcessingDeadWatchers",
    "maxResponseCacheSize",
    "maxTimeToWaitForEpoch",
    "maxWriteQueuePollTime",
    "metricsProvider.exportJvmInfo",
    "metricsProvider.maxQueueSize",
    "metricsProvider.numWorkerThreads",
    "metricsProvider.prometheusMetricsSummaryRotateIntervalSeconds",
    "metricsProvider.workerShutdownTimeoutMs",
    "multiAddress.reachabilityCheckEnabled",
    "multiAddress.reachabilityCheckTimeoutMs",
    "observer.election.DelayMs",
    "observer.reconnectDelayMs",
    "observer.syncEnabled",
    "observerMaster.sizeLimit",
    "observerMasterPort",
    "request_throttler.shutdownTimeout",
    "serializeLastProcessedZxid.enabled",
    "serverCnxnFactory",
    "skip_learner_request_to_next_processor",
    "snapshotSizeFactor",
    "syncEnabled",
    "watchManagerName",
    "watcherCleanIntervalInSeconds",
    "watcherCleanThreadsNum",
    "watcherCleanThreshold",
];

/// Why keys change nothing, by how they begin; the first that fits counts.
const REASONS: &[(&str, &[&str])] = &[
    (
        "replies are not kept for the next who asks",
        &["maxResponseCacheSize", "maxGetChildrenResponseCacheSize"],
    ),
    (
        "there are no such threads, queues or buffers here",
        &[
            "commitProcessor.",
            "flushDelay",
            "follower.skip",
            "forward_learner",
            "intBuffer",
            "jute.maxbuffer.extrasize",
            "leader.closeSocketAsync",
            "learner.",
            "maxBatchSize",
            "maxWriteQueuePollTime",
            "metricsProvider.",
            "netty.",
            "nio.",
            "request_throttler",
            "serverCnxnFactory",
            "skip_learner",
            "advancedFlowControlEnabled",
        ],
    ),
    (
        "this is always on",
        &[
            "closeSessionTxn",
            "digest.enabled",
            "follower.nodelay",
            "leader.nodelay",
            "serializeLastProcessedZxid",
        ],
    ),
    ("watches are always removed at once", &["bitHashCacheSize", "maxInProcessing", "watch"]),
    (
        "observers get level with the leader, and keep what they got",
        &["observerMaster", "observer.sync", "syncEnabled"],
    ),
    (
        "election and synchronisation have their own pace here",
        &[
            "fastleader.",
            "forceSnapshotSync",
            "leader.",
            "leaderConnect",
            "maxConcurrent",
            "maxTimeToWait",
            "multiAddress.",
            "observer.",
            "snapshotSizeFactor",
        ],
    ),
    ("this belongs to Java", &["admin.httpVersion", "audit.impl", "fips", "jmx.", "jvm."]),
];

/// Why a key changes nothing.
pub(super) fn reason(key: &str) -> &'static str {
    let fits = |starts: &&[&str]| starts.iter().any(|start| key.starts_with(start));
    REASONS.iter().find(|(_, starts)| fits(starts)).map_or("nothing here corresponds to it", |(why, _)| why)
}

/// Prefixes of keys that change nothing.
const NO_EFFECT_PREFIXES: &[&str] =
    &["commitProcessor.", "jmx.", "messageTracker.", "netty.", "nio.", "pathStats."];

const NOT_THERE: &str = "no such demand, since TLS and SASL are not supported yet";

/// Keys that are refused, the value of each that demands nothing, and what to write instead.
const REFUSED: &[(&str, Option<&str>, &str)] = &[
    ("DigestAuthenticationProvider.digestAlg", Some("SHA1"), "SHA1"),
    (
        "DigestAuthenticationProvider.enabled",
        Some("true"),
        "true, since the scheme cannot be switched off yet",
    ),
    ("admin.forceHttps", Some("false"), NOT_THERE),
    ("admin.needClientAuth", Some("false"), NOT_THERE),
    ("enforce.auth.enabled", Some("false"), NOT_THERE),
    ("enforce.auth.schemes", None, NOT_THERE),
    ("letAnySaslUserDoX", None, "nothing: this bypass does not exist here"),
    ("multiAddress.enabled", Some("false"), "one address for each server"),
    ("oraclePath", None, "no oracle: its safety would depend on a file outside the ensemble"),
    ("quorum.auth.learnerRequireSasl", Some("false"), NOT_THERE),
    ("quorum.auth.serverRequireSasl", Some("false"), NOT_THERE),
    ("sessionRequireClientSASLAuth", Some("false"), NOT_THERE),
    ("sslQuorum", Some("false"), NOT_THERE),
    ("superUser", None, NOT_THERE),
];

/// The names that ZooKeeper's guide gives to keys, and those that its files take.
const GUIDE_NAMES: &[[&str; 2]] = &[
    ["connectionDecreaseRatio", "connection_throttle_decrease_ratio"],
    ["connectionDropDecrease", "connection_throttle_drop_decrease"],
    ["connectionDropIncrease", "connection_throttle_drop_increase"],
    ["connectionFreezeTime", "connection_throttle_freeze_time"],
    ["connectionMaxTokens", "connection_throttle_tokens"],
    ["connectionTokenFillCount", "connection_throttle_fill_count"],
    ["connectionTokenFillTime", "connection_throttle_fill_time"],
    ["requestStaleConnectionCheck", "request_stale_connection_check"],
    ["requestStaleLatencyCheck", "request_stale_latency_check"],
    ["requestThrottleDropStale", "request_throttle_drop_stale"],
    ["requestThrottleLimit", "request_throttle_max_requests"],
    ["requestThrottleStallTime", "request_throttle_stall_time"],
    ["throttledOpWaitTime", "throttled_op_wait_time"],
];

/// The name that files take, of a key under the name that ZooKeeper's guide gives it; any other key as it is.
pub fn plain_name(key: &str) -> &str {
    GUIDE_NAMES.iter().find(|[guide, _]| *guide == key).map_or(key, |[_, plain]| plain)
}

/// The name that ZooKeeper's guide gives to a key that files take under another; any other key as it is.
pub(super) fn guide_name(key: &str) -> &str {
    GUIDE_NAMES.iter().find(|[_, plain]| *plain == key).map_or(key, |[guide, _]| guide)
}

/// What becomes of a key; `None` if it is unknown.
pub(super) fn find(key: &str) -> Option<Kind> {
    if let Some((_, harmless, expected)) = REFUSED.iter().find(|(name, _, _)| *name == key) {
        return Some(Kind::Refused { harmless: *harmless, expected });
    }
    let is_member = ["server.", "group.", "weight."].iter().any(|prefix| key.starts_with(prefix));
    if is_member || USED.contains(&key) {
        return Some(Kind::Used);
    }
    if TLS.contains(&key) || TLS_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return Some(Kind::Tls);
    }
    if NO_EFFECT.contains(&key) || NO_EFFECT_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return Some(Kind::NoEffect);
    }
    None
}

/// The known key that an unknown one resembles most; `None` if it resembles none.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let refused = REFUSED.iter().map(|(name, _, _)| *name);
    let known = USED.iter().chain(TLS).chain(NO_EFFECT).copied().chain(refused);
    let limit = (key.len() / 4).clamp(1, 4);
    // So much shorter or longer is too far already, and a long key is compared with few.
    let length = key.chars().count();
    let known = known.filter(|name| name.len().abs_diff(length) <= limit);
    let near = known.map(|name| (distance(key, name), name)).filter(|(distance, _)| *distance <= limit);
    near.min().map(|(_, name)| name)
}

/// How many letters have to be changed, added or removed; case does not count.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
