//! What is counted while a server runs, for the words, the admin port and the metrics.
//!
//! In: events of the sockets, of the loop and of the disk. Out: counters and summaries under ZooKeeper's names.
//!
//! Always true:
//! * what has a name of ZooKeeper means what it means there.
//!
//! Not here: what the replica counts itself (`replica::meters`), the text forms (`metrics`).

use crate::base::meter::{Counter, Sizes, Summary};

/// A summary that is told without a distribution in `mntr`.
pub type Basic = Summary;
/// A summary that is told with its distribution.
pub type Advanced = Summary;

/// One of the numbers, with what it is.
#[derive(Clone, Copy, Debug)]
pub enum Counted<'a> {
    /// It only grows.
    Counter(&'a Counter),
    /// Measured, told without its distribution in `mntr`.
    Basic(&'a Summary),
    /// Measured, told with its distribution.
    Advanced(&'a Summary),
}

macro_rules! stats {
    (named { $($(#[$doc:meta])* $field:ident: $kind:ident = $name:literal,)* }
     others { $($(#[$other_doc:meta])* $other:ident: $type:ident,)* }) => {
        /// Everything that is counted outside of the replica. Times are in ms unless their name says otherwise.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $field: $kind,)*
            $($(#[$other_doc])* pub $other: $type,)*
        }

        impl Stats {
            /// Every number that is told under one name.
            pub fn named(&self) -> Vec<(&'static str, Counted<'_>)> {
                vec![$(($name, Counted::$kind(&self.$field)),)*]
            }

            /// Begins to count anew.
            pub fn reset(&self) {
                $(self.$field.reset();)*
                $(self.$other.reset();)*
            }
        }
    };
}

stats! {
named {
    /// Bytes from clients.
    bytes_received: Counter = "bytes_received_count",
    /// Bytes to clients.
    response_bytes: Counter = "response_bytes",
    /// The time of requests that change nothing, from arrival to reply.
    read_latency: Advanced = "readlatency",
    /// The same, of requests that change something.
    update_latency: Advanced = "updatelatency",
    /// Connect requests.
    connection_requests: Counter = "connection_request_count",
    /// Connections turned away by a limit.
    connections_rejected: Counter = "connection_rejected",
    /// Connections that this server closed.
    connections_dropped: Counter = "connection_drop_count",
    /// Connections closed because no session came.
    sessionless_expired: Counter = "sessionless_connections_expired",
    /// Connections closed since this server does not serve.
    closed_not_serving: Counter = "cnxn_closed_without_zk_server_running",
    /// Time of an fsync of the log.
    sync_time: Basic = "fsynctime",
    /// Fsyncs that took longer than the limit for a warning.
    syncs_slow: Counter = "fsync_threshold_exceed_count",
    /// Time of writing a snapshot.
    snapshot_time: Basic = "snapshottime",
    /// Time of loading the data at the start.
    load_time: Basic = "dbinittime",
    /// Txns replayed at the start.
    load_txns: Basic = "startup_txns_loaded",
    /// Times that this server began to look for a leader.
    looking: Counter = "looking_count",
    /// Time from looking for a leader to having one.
    election_time: Basic = "election_time",
    /// Time without serving.
    unavailable_time: Basic = "unavailable_time",
    /// Learners brought level by a snapshot.
    snapshots_sent: Counter = "snap_count",
    /// Learners brought level by a diff.
    diffs_sent: Counter = "diff_count",
    /// Proposals made while leading.
    proposals: Counter = "proposal_count",
}
others {
    /// Requests and words from clients.
    packets_received: Counter,
    /// Replies and watch events to clients.
    packets_sent: Counter,
    /// Sizes of what was written to clients at once.
    response_sizes: Sizes,
    /// Time from a request's arrival to its reply.
    latency: Summary,
    /// Sizes of proposals made while leading.
    proposal_sizes: Sizes,
}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_and_a_reset_reaches_every_number() {
        let stats = Stats::default();
        stats.looking.add(1);
        stats.sync_time.observe(7);
        stats.proposal_sizes.observe(7);
        stats.reset();
        let is_empty = |counted| match counted {
            Counted::Counter(counter) => counter.count() == 0,
            Counted::Basic(summary) | Counted::Advanced(summary) => summary.count() == 0,
        };
        assert!(stats.named().into_iter().all(|(_, counted)| is_empty(counted)));
        assert_eq!(stats.proposal_sizes.all(), [-1, -1, -1]);
        let mut names: Vec<&str> = stats.named().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
