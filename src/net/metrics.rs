//! Numbers under ZooKeeper's names: for `mntr`, and as Prometheus reads them.
//!
//! In: facts, statistics, connections. Out: a list of metrics, and its two texts.
//!
//! Always true:
//! * a name of Apache ZooKeeper 3.9 means here what it means there; there are more of those than of ours;
//! * every line of `mntr` is `zk_NAME`, a tab and a number (but for the three words at its head).
//!
//! Not here: counting (`stats`), serving it over HTTP (`admin`).

mod idle;

use std::fmt::Write as _;

use super::census;
use super::clients::Clients;
use super::facts::Facts;
use super::stats::{Counted, Stats};
use crate::base::meter::{Counter, Histogram, Summary};
use crate::tree::NamespaceQuotas;
use crate::zab::effects::Status;

/// One number, or one measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// ZooKeeper's name, without `zk_`.
    pub name: &'static str,
    /// What it shows.
    pub value: Value,
}

/// What a metric shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number that rises and falls.
    Gauge(i64),
    /// A number that rises and falls, with up to four decimals.
    Float(f64),
    /// A number that only grows.
    Counter(u64),
    /// One gauge for each key.
    GaugeSet(Vec<(String, i64)>),
    /// One counter for each key.
    CounterSet(Vec<(String, i64)>),
    /// Count, sum and extremes of a measured value.
    Basic(Measured),
    /// The same, and its distribution.
    Advanced(Measured),
    /// A set of summaries of which none is measured.
    SummarySet,
    /// Times at the stages of a request.
    Stages(Vec<Stage>),
}

/// Times at one stage of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    stage: &'static str,
    /// Bounds in microseconds, each with how many times were not above it.
    cumulated: Vec<(Option<u64>, u64)>,
    /// The sum in microseconds.
    micros: u64,
}

impl Value {
    fn of(counted: Counted<'_>) -> Value {
        match counted {
            Counted::Counter(counter) => Value::Counter(counter.count()),
            Counted::Basic(summary) => Value::Basic(measured(summary)),
            Counted::Advanced(summary) => Value::Advanced(measured(summary)),
        }
    }
}

/// What was measured so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    average: f64,
    /// The values that 500, 900, 950, 990 and 999 of 1,000 do not pass.
    quantiles: [u64; 5],
}

/// Per mille of `Measured::quantiles`.
const QUANTILES: [u64; 5] = [500, 900, 950, 990, 999];

/// Open and highest number of file descriptors of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Descriptors {
    /// How many are open.
    pub open: u64,
    /// How many may be.
    pub max: u64,
}

impl Descriptors {
    /// What the system says; 0 where it does not.
    pub fn read() -> Descriptors {
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let max = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        Descriptors { open, max }
    }
}

/// Everything that can be told of a server.
pub fn of_server(facts: &Facts, clients: &Clients) -> Vec<Metric> {
    let shared = &clients.shared;
    let mut metrics = collect(facts, &shared.stats, clients.count(), Descriptors::read());
    let (remote, local) = census::plain_counts(clients);
    let (meters, fired) = (&shared.service.meters, shared.service.watches.meters());
    let gauge = |name, value| Metric { name, value: Value::Gauge(signed(value)) };
    let counter = |name, counter: &Counter| Metric { name, value: Value::Counter(counter.count()) };
    let basic = |name, summary| Metric { name, value: Value::Basic(measured(summary)) };
    let stages = [
        ("queue", &shared.stats.stage_queue),
        ("log", &shared.stats.stage_log),
        ("apply", &shared.stats.stage_apply),
        ("reply", &shared.stats.stage_reply),
    ];
    metrics.extend([
        gauge("auth_failed_count", meters.auth_failures.count()),
        gauge("non_mtls_remote_conn_count", remote as u64),
        gauge("non_mtls_local_conn_count", local as u64),
        gauge("outstanding_tls_handshake", 0), // there is no TLS
        Metric { name: "connection_drop_probability", value: Value::Float(clients.drop_probability()) },
        counter("request_commit_queued", &meters.applied),
        counter("stale_sessions_expired", &meters.sessions_expired),
        counter("watch_bytes", &fired.bytes),
        basic("node_created_watch_count", &fired.created),
        basic("node_deleted_watch_count", &fired.deleted),
        basic("node_changed_watch_count", &fired.changed),
        basic("node_children_watch_count", &fired.children),
        Metric { name: "propagation_latency", value: Value::Advanced(measured(&meters.propagation)) },
        Metric { name: "quorate_stage_seconds", value: Value::Stages(stages.map(of_stage).to_vec()) },
    ]);
    let nothing = measured(&Summary::default());
    let idle = |names: &[&'static str], value: Value| {
        names.iter().map(|name| Metric { name, value: value.clone() }).collect::<Vec<Metric>>()
    };
    metrics.extend(idle(idle::COUNTERS, Value::Counter(0)));
    metrics.extend(idle(idle::BASIC, Value::Basic(nothing.clone())));
    metrics.extend(idle(idle::ADVANCED, Value::Advanced(nothing)));
    metrics.extend(idle(idle::SETS, Value::SummarySet));
    metrics
}

fn of_stage((stage, histogram): (&'static str, &Histogram)) -> Stage {
    Stage { stage, cumulated: histogram.cumulated(), micros: histogram.sum() }
}

/// Everything that can be told without the connections.
fn collect(facts: &Facts, stats: &Stats, connections: usize, descriptors: Descriptors) -> Vec<Metric> {
    let mut metrics = gauges(facts, stats, connections, descriptors);
    metrics.extend(of_leader(facts, stats));
    metrics.extend(of_quotas(facts));
    let commits = stats.proposals.count().saturating_sub(facts.proposals_open);
    metrics.push(Metric { name: "commit_count", value: Value::Counter(commits) });
    metrics.push(Metric { name: "digest_mismatches_count", value: Value::Counter(facts.digest_mismatches) });
    metrics
        .extend(stats.named().into_iter().map(|(name, counted)| Metric { name, value: Value::of(counted) }));
    metrics
}

fn gauges(facts: &Facts, stats: &Stats, connections: usize, descriptors: Descriptors) -> Vec<Metric> {
    let gauge = |name, value| Metric { name, value: Value::Gauge(signed(value)) };
    let [last_size, min_size, max_size] = stats.response_sizes.all();
    let size = |name, value| Metric { name, value: Value::Gauge(value) };
    vec![
        Metric { name: "avg_latency", value: Value::Float(stats.latency.average()) },
        gauge("min_latency", stats.latency.min()),
        gauge("max_latency", stats.latency.max()),
        gauge("packets_received", stats.packets_received.count()),
        gauge("packets_sent", stats.packets_sent.count()),
        gauge("num_alive_connections", connections as u64),
        gauge("outstanding_requests", facts.outstanding),
        gauge("uptime", if facts.serves() { facts.status_age.0 } else { 0 }),
        gauge("znode_count", facts.tree.nodes),
        gauge("watch_count", facts.tree.watches),
        gauge("ephemerals_count", facts.tree.ephemerals),
        gauge("approximate_data_size", facts.tree.bytes),
        gauge("global_sessions", facts.sessions),
        gauge("local_sessions", facts.local_sessions),
        gauge("disk_free_bytes", stats.disk_free.value()),
        gauge("disk_reserve_bytes", stats.disk_reserve.value()),
        gauge("disk_room", facts.room as u64), // 0 for everything, 1 not for clients' writes, 2 not for sessions
        gauge("open_file_descriptor_count", descriptors.open),
        gauge("max_file_descriptor_count", descriptors.max),
        size("last_client_response_size", last_size),
        size("min_client_response_size", min_size),
        size("max_client_response_size", max_size),
    ]
}

/// What there is of an ensemble, and on its leader alone.
fn of_leader(facts: &Facts, stats: &Stats) -> Vec<Metric> {
    let gauge = |name, value| Metric { name, value: Value::Gauge(signed(value)) };
    if facts.status == Status::Standalone {
        return Vec::new();
    }
    let mut metrics = vec![gauge("quorum_size", facts.ensemble.voters().count() as u64)];
    let Status::Leading(_) = facts.status else { return metrics };
    let count = |is_wanted: &dyn Fn(bool, bool) -> bool| {
        let wanted = facts.learners.iter().filter(|learner| is_wanted(learner.votes, learner.is_synced));
        wanted.count() as u64
    };
    let [last_size, min_size, max_size] = stats.proposal_sizes.all();
    let size = |name, value| Metric { name, value: Value::Gauge(value) };
    metrics.extend([
        gauge("learners", count(&|_, _| true)),
        gauge("followers", count(&|votes, _| votes)), // an older name, still read by agents
        gauge("synced_followers", count(&|votes, is_synced| votes && is_synced)),
        gauge("synced_non_voting_followers", 0),
        gauge("synced_observers", count(&|votes, is_synced| !votes && is_synced)),
        gauge("pending_syncs", facts.syncs_pending),
        gauge("leader_uptime", facts.status_age.0),
        size("last_proposal_size", last_size),
        size("min_proposal_size", min_size),
        size("max_proposal_size", max_size),
    ]);
    metrics
}

/// Sets without a member are left out, as in ZooKeeper.
fn of_quotas(facts: &Facts) -> Vec<Metric> {
    let set = |name, of: &dyn Fn(&NamespaceQuotas) -> Option<i64>| {
        let quotas = facts.tree.quotas.iter();
        let values = quotas.filter_map(|(namespace, quotas)| Some((namespace.clone(), of(quotas)?)));
        Metric { name, value: Value::GaugeSet(values.collect()) }
    };
    let refused = facts.quota_refusals.iter().map(|(namespace, count)| (namespace.clone(), signed(*count)));
    vec![
        set("quota_bytes_limit_per_namespace", &|quotas| Some(quotas.limits?.bytes)),
        set("quota_bytes_usage_per_namespace", &|quotas| Some(quotas.used?.bytes)),
        set("quota_count_limit_per_namespace", &|quotas| Some(quotas.limits?.count)),
        set("quota_count_usage_per_namespace", &|quotas| Some(quotas.used?.count)),
        Metric { name: "quota_exceeded_error_per_namespace", value: Value::CounterSet(refused.collect()) },
    ]
}

fn measured(summary: &Summary) -> Measured {
    Measured {
        count: summary.count(),
        sum: summary.sum(),
        min: summary.min(),
        max: summary.max(),
        average: summary.average(),
        quantiles: QUANTILES.map(|per_mille| summary.quantile(per_mille)),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number as ZooKeeper prints it: up to four decimals, at least one.
pub fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// The lines of `mntr` for these metrics.
pub fn to_mntr(metrics: &[Metric]) -> String {
    let mut out = String::new();
    for (name, number) in numbers(metrics) {
        match number {
            Number::Whole(value) => writeln!(out, "zk_{name}\t{value}"),
            Number::Decimal(value) => writeln!(out, "zk_{name}\t{}", decimal(value)),
        }
        .expect("a string takes whatever is written");
    }
    out
}

/// The same names and numbers as an object.
pub fn to_object(metrics: &[Metric]) -> serde_json::Map<String, serde_json::Value> {
    let json = |number| match number {
        Number::Whole(value) => serde_json::Value::from(value),
        Number::Decimal(value) => serde_json::Value::from((value * 10_000.0).round() / 10_000.0),
    };
    numbers(metrics).into_iter().map(|(name, number)| (name, json(number))).collect()
}

/// A number as ZooKeeper prints it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i64),
    Decimal(f64),
}

/// Every number by its name in `mntr`.
fn numbers(metrics: &[Metric]) -> Vec<(String, Number)> {
    let mut out = Vec::new();
    for Metric { name, value } in metrics {
        let whole = |name: String, value| (name, Number::Whole(value));
        let (measured, with_quantiles) = match value {
            Value::Gauge(value) => {
                out.push(whole((*name).to_owned(), *value));
                continue;
            }
            Value::Float(value) => {
                out.push(((*name).to_owned(), Number::Decimal(*value)));
                continue;
            }
            Value::Counter(value) => {
                out.push(whole((*name).to_owned(), signed(*value)));
                continue;
            }
            Value::GaugeSet(values) | Value::CounterSet(values) => {
                out.extend(values.iter().map(|(key, value)| whole(format!("{key}_{name}"), *value)));
                continue;
            }
            Value::Stages(stages) => {
                for Stage { stage, cumulated, micros } in stages {
                    let count = cumulated.last().map_or(0, |(_, count)| *count);
                    out.push(whole(format!("cnt_quorate_stage_{stage}_us"), signed(count)));
                    out.push(whole(format!("sum_quorate_stage_{stage}_us"), signed(*micros)));
                }
                continue;
            }
            Value::SummarySet => continue,
            Value::Basic(measured) => (measured, false),
            Value::Advanced(measured) => (measured, true),
        };
        out.push((format!("avg_{name}"), Number::Decimal(measured.average)));
        let Measured { min, max, count, sum, quantiles: [p50, _, p95, p99, p999], .. } = *measured;
        for (part, value) in [("min", min), ("max", max), ("cnt", count), ("sum", sum)] {
            out.push(whole(format!("{part}_{name}"), signed(value)));
        }
        if with_quantiles {
            for (part, value) in [("p50", p50), ("p95", p95), ("p99", p99), ("p999", p999)] {
                out.push(whole(format!("{part}_{name}"), signed(value)));
            }
        }
    }
    out
}

/// The text that Prometheus reads, version 0.0.4.
pub fn to_prometheus(metrics: &[Metric]) -> String {
    let mut out = String::new();
    for Metric { name, value } in metrics {
        let (kind, text) = match value {
            Value::Gauge(value) => ("gauge", format!("{name} {value}.0\n")),
            Value::Float(value) => ("gauge", format!("{name} {}\n", decimal(*value))),
            Value::Counter(value) => ("counter", format!("{name} {value}.0\n")),
            Value::GaugeSet(values) => ("gauge", keyed(name, values)),
            Value::CounterSet(values) => ("counter", keyed(name, values)),
            Value::SummarySet => ("summary", String::new()),
            Value::Stages(stages) => {
                ("histogram", stages.iter().map(|stage| histogram(name, stage)).collect())
            }
            Value::Basic(measured) => ("summary", summary(name, measured, &[("0.5", 0)])),
            Value::Advanced(measured) => {
                ("summary", summary(name, measured, &[("0.5", 0), ("0.9", 1), ("0.99", 3)]))
            }
        };
        write!(out, "# HELP {name} {name}\n# TYPE {name} {kind}\n{text}").expect("a string takes it");
    }
    out
}

/// The lines of one stage, in seconds.
fn histogram(name: &str, stage: &Stage) -> String {
    let Stage { stage, cumulated, micros } = stage;
    let mut out = String::new();
    for (bound, count) in cumulated {
        let bound = bound.map_or("+Inf".to_owned(), |micros| (micros as f64 / 1e6).to_string());
        writeln!(out, "{name}_bucket{{stage=\"{stage}\",le=\"{bound}\",}} {count}.0")
            .expect("a string takes it");
    }
    let count = cumulated.last().map_or(0, |(_, count)| *count);
    let seconds = *micros as f64 / 1e6;
    writeln!(out, "{name}_sum{{stage=\"{stage}\",}} {seconds}\n{name}_count{{stage=\"{stage}\",}} {count}.0")
        .expect("a string takes it");
    out
}

fn keyed(name: &str, values: &[(String, i64)]) -> String {
    let line = |(key, value): &(String, i64)| {
        let key = key.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}{{key=\"{key}\",}} {value}.0\n")
    };
    values.iter().map(line).collect()
}

fn summary(name: &str, measured: &Measured, quantiles: &[(&str, usize)]) -> String {
    let mut out = String::new();
    for (quantile, at) in quantiles {
        let value = measured.quantiles[*at];
        writeln!(out, "{name}{{quantile=\"{quantile}\",}} {value}.0").expect("a string takes it");
    }
    writeln!(out, "{name}_count {}.0\n{name}_sum {}.0", measured.count, measured.sum)
        .expect("a string takes it");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_zookeeper_prints_them() {
        for (value, want) in [(0.0, "0.0"), (3.505, "3.505"), (0.45714, "0.4571"), (12.0, "12.0")] {
            assert_eq!(decimal(value), want);
        }
    }

    #[test]
    fn a_set_has_one_line_for_each_key_in_both_texts() {
        let values = vec![("a".to_owned(), -1), ("b\"\\c".to_owned(), 7)];
        let metrics = [Metric { name: "quota_x", value: Value::GaugeSet(values) }];
        assert_eq!(to_mntr(&metrics), "zk_a_quota_x\t-1\nzk_b\"\\c_quota_x\t7\n");
        let want = "# HELP quota_x quota_x\n# TYPE quota_x gauge\nquota_x{key=\"a\",} -1.0\n\
                    quota_x{key=\"b\\\"\\\\c\",} 7.0\n";
        assert_eq!(to_prometheus(&metrics), want);
    }

    #[test]
    fn a_summary_has_its_parts_in_both_texts() {
        let summary = Summary::default();
        summary.observe(4);
        let metrics = [
            Metric { name: "readlatency", value: Value::Advanced(measured(&summary)) },
            Metric { name: "fsynctime", value: Value::Basic(measured(&summary)) },
            Metric { name: "uptime", value: Value::Gauge(-1) },
        ];
        let text = to_mntr(&metrics);
        for line in [
            "zk_avg_readlatency\t4.0\n",
            "zk_p999_readlatency\t4\n",
            "zk_sum_fsynctime\t4\n",
            "zk_uptime\t-1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("p50_fsynctime"), "{text}");
        let text = to_prometheus(&metrics);
        let want = "# HELP fsynctime fsynctime\n# TYPE fsynctime summary\nfsynctime{quantile=\"0.5\",} 4.0\n\
                    fsynctime_count 1.0\nfsynctime_sum 4.0\n";
        assert!(text.contains(want), "{text}");
    }
}
