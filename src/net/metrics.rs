//! Numbers under ZooKeeper's names: for `mntr`, and as Prometheus reads them.
//!
//! In: facts, statistics, connections. Out: a list of metrics, and its two texts.
//!
//! Always true:
//! * a name of Apache ZooKeeper 3.9 means here what it means there; there are more of those than of ours;
//! * every line of `mntr` is `zk_NAME`, a tab and a number (but for the three words at its head).
//!
//! Not here: counting (`stats`), serving it over HTTP (`admin`).

use std::fmt::Write as _;

use super::facts::Facts;
use super::stats::{Counted, Stats};
use crate::base::meter::Summary;
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

/// Everything that can be told.
pub fn collect(facts: &Facts, stats: &Stats, connections: usize, descriptors: Descriptors) -> Vec<Metric> {
    let mut metrics = gauges(facts, stats, connections, descriptors);
    metrics.extend(of_leader(facts, stats));
    metrics.extend(of_quotas(facts));
    let commits = stats.proposals.count().saturating_sub(facts.proposals_open);
    metrics.push(Metric { name: "commit_count", value: Value::Counter(commits) });
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
        gauge("open_file_descriptor_count", descriptors.open),
        gauge("max_file_descriptor_count", descriptors.max),
        Metric { name: "connection_drop_probability", value: Value::Float(0.0) },
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
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(out, "zk_{name}\t{value}").expect("a string takes whatever is written");
    };
    for Metric { name, value } in metrics {
        let (measured, with_quantiles) = match value {
            Value::Gauge(value) => {
                line(name, value);
                continue;
            }
            Value::Float(value) => {
                line(name, &decimal(*value));
                continue;
            }
            Value::Counter(value) => {
                line(name, value);
                continue;
            }
            Value::GaugeSet(values) | Value::CounterSet(values) => {
                for (key, value) in values {
                    line(&format!("{key}_{name}"), value);
                }
                continue;
            }
            Value::Basic(measured) => (measured, false),
            Value::Advanced(measured) => (measured, true),
        };
        line(&format!("avg_{name}"), &decimal(measured.average));
        line(&format!("min_{name}"), &measured.min);
        line(&format!("max_{name}"), &measured.max);
        line(&format!("cnt_{name}"), &measured.count);
        line(&format!("sum_{name}"), &measured.sum);
        if with_quantiles {
            let [p50, _, p95, p99, p999] = measured.quantiles;
            for (quantile, value) in [("p50", p50), ("p95", p95), ("p99", p99), ("p999", p999)] {
                line(&format!("{quantile}_{name}"), &value);
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
            Value::Basic(measured) => ("summary", summary(name, measured, &[("0.5", 0)])),
            Value::Advanced(measured) => {
                ("summary", summary(name, measured, &[("0.5", 0), ("0.9", 1), ("0.99", 3)]))
            }
        };
        write!(out, "# HELP {name} {name}\n# TYPE {name} {kind}\n{text}").expect("a string takes it");
    }
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
