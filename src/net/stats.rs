//! What is counted while a server runs, for the words, the admin port and the metrics.
//!
//! In: events of the sockets, of the loop and of the disk. Out: counters and summaries under ZooKeeper's names.
//!
//! Always true:
//! * what has a name of ZooKeeper means what it means there.
//!
//! Not here: what the replica counts itself (`replica::meters`), the text forms (`metrics`).

use crate::base::meter::{Counter, Histogram, Level, Sizes, Summary};

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
    /// Sessions that clients brought from another connection.
    sessions_brought: Counter = "connection_revalidate_count",
    /// Sessions of which learners asked this leader whether they live.
    revalidations: Counter = "revalidate_count",
    /// Proposals that this learner got.
    proposals_received: Counter = "learner_proposal_received_count",
    /// Commits that this learner got.
    commits_received: Counter = "learner_commit_received_count",
    /// Requests that came into the loop.
    requests_queued: Counter = "prep_processor_request_queued",
    /// How many events wait for the loop when it takes requests.
    queue_size: Basic = "prep_processor_queue_size",
    /// How long the first of them waited.
    queue_time: Advanced = "prep_processor_queue_time_ms",
    /// How long the loop takes for what it takes at once.
    step_time: Basic = "prep_process_time",
    /// Writes given to the disk.
    writes_queued: Counter = "sync_processor_request_queued",
    /// Writes of one fsync.
    batch_size: Basic = "sync_processor_batch_size",
    /// Writes that wait when others became durable.
    writes_waiting: Basic = "sync_processor_queue_size",
    /// How long writing and the fsync of a batch take.
    write_time: Basic = "sync_process_time",
    /// The same, with its distribution.
    flush_time: Advanced = "sync_processor_queue_flush_time_ms",
    /// From giving a write to the disk until it is known to be durable.
    write_total: Advanced = "sync_processor_queue_and_flush_time_ms",
    /// From joining a leader to following it.
    follower_sync_time: Basic = "follower_sync_time",
    /// From joining a leader to observing it.
    observer_sync_time: Basic = "observer_sync_time",
    /// Time without serving, of a server that led afterwards.
    leader_unavailable_time: Basic = "leader_unavailable_time",
    /// How late ticks of the loop came: its stalls, where ZooKeeper tells of those of its JVM.
    pauses: Advanced = "jvm_pause_time_ms",
    /// Looks at whether a request that waits for others may go on.
    throttle_waits: Counter = "request_throttle_wait_count",
    /// How long such requests waited.
    throttle_time: Advanced = "request_throttle_queue_time_ms",
    /// Requests that waited so long that they are not done.
    throttled_ops: Counter = "throttled_ops",
    /// Requests that are done although they waited for longer than their session's timeout.
    stale: Counter = "stale_requests",
    /// Requests that were not done since their client is gone, or waited too long.
    stale_dropped: Counter = "stale_requests_dropped",
    /// Large requests for which there was no room.
    large_rejected: Counter = "large_requests_rejected",
    /// Tokens in use, seen at each connect request.
    token_deficit: Basic = "connection_token_deficit",
    /// Snapshots that were asked for and could not be written.
    snapshot_errors: Counter = "snapshot_error_count",
    /// Snapshots that were asked for too early.
    snapshots_limited: Counter = "snapshot_rate_limited_count",
    /// Time of a restore, from the request's head until the tree is durable.
    restore_time: Basic = "restore_time",
    /// Restores that failed.
    restore_errors: Counter = "restore_error_count",
    /// Restores that were asked for too early.
    restores_limited: Counter = "restore_rate_limited_count",
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
    /// How long requests wait for the loop.
    stage_queue: Histogram,
    /// How long writes are on their way to the disk.
    stage_log: Histogram,
    /// How long the loop takes for what it takes at once: deciding, applying, ordering.
    stage_apply: Histogram,
    /// How long replies take into a client's socket.
    stage_reply: Histogram,
    /// Bytes that may be written until the disk with the least room is full.
    disk_free: Level,
    /// Bytes of it that are kept for what was accepted already.
    disk_reserve: Level,
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
