//! Names of ZooKeeper's metrics that count what this server does not have, so that they stay at zero.
//!
//! In: nothing. Out: names, for agents and dashboards that miss a metric when it is not there.
//!
//! Always true:
//! * a name that stands here is measured nowhere.
//!
//! Not here: what is measured (`stats`, `replica::meters`).

/// Counters: of ZooKeeper's cache of replies, its cleaner of dead watchers, TLS, the scheme `ensemble`, replies
/// that come too late, lists between its threads, and errors after which this server ends.
pub(super) const COUNTERS: &[&str] = &[
    "add_dead_watcher_stall_time",
    "dead_watchers_cleared",
    "dead_watchers_queued",
    "ensemble_auth_fail",
    "ensemble_auth_skip",
    "ensemble_auth_success",
    "insecure_admin_count",
    "outstanding_changes_queued",
    "outstanding_changes_removed",
    "quit_leading_due_to_disloyal_voter",
    "requests_not_forwarded_to_commit_processor",
    "response_packet_cache_hits",
    "response_packet_cache_misses",
    "response_packet_get_children_cache_hits",
    "response_packet_get_children_cache_misses",
    "skip_learner_request_to_next_processor_count",
    "stale_replies",
    "tls_handshake_exceeded",
    "unrecoverable_error_count",
    "unsuccessful_handshake",
];

/// Summaries without a distribution: of the queues between ZooKeeper's threads, which are one loop here.
pub(super) const BASIC: &[&str] = &[
    "commit_commit_proc_req_queued",
    "commit_process_time",
    "concurrent_request_processing_in_commit_processor",
    "inflight_diff_count",
    "inflight_snap_count",
    "learner_request_processor_queue_size",
    "netty_queued_buffer_capacity",
    "pending_session_queue_size",
    "proposal_process_time",
    "read_commit_proc_issued",
    "read_commit_proc_req_queued",
    "reads_after_write_in_session_queue",
    "reads_issued_from_session_queue",
    "requests_in_session_queue",
    "session_queues_drained",
    "socket_closing_time",
    "startup_snap_load_time",
    "startup_txns_load_time",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "write_batch_time_in_commit_processor",
    "write_commit_proc_issued",
    "write_commit_proc_req_queued",
];

/// Summaries with a distribution: likewise, of the port for observers on a follower, and of single proposals, which are
/// not timed here.
pub(super) const ADVANCED: &[&str] = &[
    "close_session_prep_time",
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "local_write_committed_time_ms",
    "om_commit_process_time_ms",
    "om_proposal_process_time_ms",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "quorum_ack_latency",
    "read_commitproc_time_ms",
    "read_final_proc_time_ms",
    "server_write_committed_time_ms",
    "sync_processor_queue_time_ms",
    "write_commitproc_time_ms",
    "write_final_proc_time_ms",
];

/// Sets whose keys would be namespaces or learners: counting by them would cost each operation a search, and a learner's
/// queue is not seen from here.
pub(super) const SETS: &[&str] = &[
    "ack_latency",
    "learner_handler_qp_size",
    "learner_handler_qp_time_ms",
    "read_per_namespace",
    "write_per_namespace",
];
