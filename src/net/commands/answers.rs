//! What the commands answer, field by field.
//!
//! In: facts, counts, a census. Out: JSON objects with ZooKeeper's names and types.
//!
//! Always true:
//! * session ids are decimal numbers here, unlike in the texts of the words.
//!
//! Not here: which command is asked, and its status (`commands`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::base::{Ensemble, Member, MemberRole, ServerId, SessionId};
use crate::net::census::{self, Connection};
use crate::net::clients::Clients;
use crate::net::facts::{Expiries, Facts};
use crate::net::metrics;
use crate::net::talk::ConnectionKind;
use crate::net::words::{self, Lexicon, VERSION};
use crate::watch::list::Summary;
use crate::zab::effects::Status;

/// The fields of an answer, or what is wrong.
pub(super) type Outcome = Result<Map<String, Value>, String>;

/// An answer of these fields.
pub(super) fn fields(object: Value) -> Outcome {
    match object {
        Value::Object(fields) => Ok(fields),
        other => unreachable!("{other} is no object"),
    }
}

/// An answer without fields.
pub(super) fn nothing() -> Outcome {
    Ok(Map::new())
}

pub(super) fn environment() -> Map<String, Value> {
    words::surroundings().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

/// What stands in the configuration, as the properties that ZooKeeper makes of it.
pub(super) fn properties(written: &[(String, String)]) -> Map<String, Value> {
    written.iter().map(|(key, value)| (format!("zookeeper.{key}"), json!(value))).collect()
}

pub(super) fn initial_configuration(facts: &Facts, written: &[(String, String)]) -> Outcome {
    let text: String = written.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    // ZooKeeper keeps it only where it is alone.
    let is_alone = facts.status == Status::Standalone;
    fields(json!({"initial_configuration": is_alone.then_some(text)}))
}

pub(super) fn set_trace_mask(clients: &Clients, query: Option<&str>) -> Outcome {
    let wanted = "setTraceMask requires long traceMask argument";
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, mask)) = pairs.into_iter().find(|(key, _)| *key == "traceMask") else {
        return Err(wanted.to_owned());
    };
    let Ok(number) = mask.parse() else { return Err(format!("{wanted}, got {mask}")) };
    clients.set_trace_mask(number);
    fields(json!({"tracemask": clients.trace_mask()}))
}

fn connection(connection: &Connection, is_full: Full) -> Value {
    let said = &connection.said;
    let mut fields = json!({
        "remote_socket_address": connection.from.to_string(),
        "interest_ops": connection.interest(),
        "outstanding_requests": connection.queued,
        "packets_received": connection.received,
        "packets_sent": connection.sent,
    });
    let (Full::Yes, ConnectionKind::Session(granted)) = (is_full, said.kind) else { return fields };
    let latest = said.latest;
    for (key, value) in [
        ("session_id", json!(granted.session.0)),
        ("last_operation", json!(said.operation())),
        ("established", json!(connection.since.wall_ms)),
        ("session_timeout", json!(granted.timeout.0)),
        ("last_cxid", json!(latest.map_or(-1, |latest| latest.xid))),
        ("last_zxid", json!(latest.map_or(-1, |latest| latest.zxid.0))),
        ("last_response_time", json!(said.at.0)),
        ("last_latency", json!(said.latency.last)),
        ("min_latency", json!(said.latency.min)),
        ("avg_latency", json!(said.latency.average())),
        ("max_latency", json!(said.latency.max)),
    ] {
        fields[key] = value;
    }
    fields
}

/// Whether a connection is told with what its session was about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Yes,
    No,
}

fn connection_lists(clients: &Clients, is_full: Full) -> Value {
    let list: Vec<Value> = census::connections(clients).iter().map(|one| connection(one, is_full)).collect();
    json!({"connections": list, "secure_connections": []})
}

pub(super) fn connections(clients: &Clients) -> Outcome {
    fields(connection_lists(clients, Full::Yes))
}

pub(super) fn dirs(lexicon: &Lexicon) -> Outcome {
    let [data, log] = lexicon.dir_sizes();
    fields(json!({"datadir_size": data, "logdir_size": log}))
}

pub(super) fn dump(clients: &Clients, expiries: Option<Expiries>) -> Outcome {
    let ids = |sessions: Vec<SessionId>| sessions.into_iter().map(|session| session.0).collect::<Vec<i64>>();
    let expiries = expiries.unwrap_or_default().into_iter();
    let expiries: Map<String, Value> =
        expiries.map(|(at, sessions)| (at.0.to_string(), json!(ids(sessions)))).collect();
    let ephemerals = census::ephemerals(clients).map_err(|error| error.to_string())?;
    let ephemerals: Map<String, Value> =
        ephemerals.into_iter().map(|(session, paths)| (session.0.to_string(), json!(paths))).collect();
    fields(json!({
        "expiry_time_to_session_ids": expiries,
        "session_id_to_ephemeral_paths": ephemerals,
    }))
}

pub(super) fn hash(facts: &Facts) -> Outcome {
    let digests = facts.tree.digests.iter();
    let digests: Vec<Value> = digests
        .map(|(zxid, digest)| json!({"zxid": zxid.0, "digest": *digest as i64, "digest_version": 2}))
        .collect();
    fields(json!({ "digests": digests }))
}

pub(super) fn last_snapshot(lexicon: &Lexicon) -> Outcome {
    let (zxid, seconds) = census::last_snapshot(lexicon.snapshot_dir()).unwrap_or((-1, 0));
    fields(json!({"zxid": format!("{zxid:x}"), "timestamp": seconds}))
}

pub(super) fn leader(facts: &Facts) -> Outcome {
    if facts.status == Status::Standalone {
        return Err("server is not initialized".to_owned());
    }
    let Some(leader) = facts.leader() else { return Err("there is no leader".to_owned()) };
    let host = facts.ensemble.members.get(&leader).map(|member| member.host.clone());
    fields(json!({
        "is_leader": leader == facts.id,
        "leader_id": leader.0,
        "leader_ip": host.unwrap_or_default(),
    }))
}

pub(super) fn monitor(facts: &Facts, clients: &Clients) -> Outcome {
    let mut object: Map<String, Value> = metrics::to_object(&metrics::of_server(facts, clients));
    object.insert("version".to_owned(), json!(VERSION));
    object.insert("server_state".to_owned(), json!(facts.mode()));
    if let Some(phase) = facts.phase() {
        object.insert("peer_state".to_owned(), json!(phase));
    }
    Ok(object)
}

pub(super) fn observers(facts: &Facts) -> Outcome {
    let observers: Vec<_> = facts.learners.iter().filter(|learner| !learner.votes).collect();
    let synced = observers.iter().filter(|learner| learner.is_synced).count();
    let about = |id: ServerId| facts.ensemble.members.get(&id).map(|member| member.host.clone());
    let list: Vec<Value> = observers
        .iter()
        .map(|learner| {
            json!({
                "sid": learner.id.0,
                "remote_socket_address": about(learner.id),
                "queued_packets": learner.lag,
            })
        })
        .collect();
    fields(json!({"synced_observers": synced, "observers": list}))
}

fn sizes([last, min, max]: [i64; 3]) -> Value {
    json!({"last_buffer_size": last, "min_buffer_size": min, "max_buffer_size": max})
}

fn about_server(facts: &Facts, clients: &Clients) -> Value {
    let shared = &clients.shared;
    let stats = &shared.stats;
    let [data, log] = shared.lexicon.dir_sizes();
    let (remote, local) = census::plain_counts(clients);
    let responses = sizes(stats.response_sizes.all());
    let mut about = json!({
        "version": VERSION,
        "read_only": facts.is_read_only,
        "server_stats": {
            "packets_sent": stats.packets_sent.count(),
            "packets_received": stats.packets_received.count(),
            "fsync_threshold_exceed_count": stats.syncs_slow.count(),
            "client_response_stats": responses,
            "provider_null": false,
            "server_state": facts.mode(),
            "outstanding_requests": facts.outstanding,
            "min_latency": stats.latency.min(),
            "avg_latency": (stats.latency.average() * 10_000.0).round() / 10_000.0,
            "max_latency": stats.latency.max(),
            "data_dir_size": data,
            "log_dir_size": log,
            "last_processed_zxid": facts.last_processed.0,
            "num_alive_client_connections": clients.count(),
            "uptime": facts.status_age.0,
            "auth_failed_count": shared.service.meters.auth_failures.count(),
            "non_mtlsremote_conn_count": remote,
            "non_mtlslocal_conn_count": local,
        },
        "client_response": sizes(stats.response_sizes.all()),
        "node_count": facts.tree.nodes,
    });
    if let Status::Leading(_) = facts.status {
        about["proposal_stats"] = sizes(stats.proposal_sizes.all());
    }
    about
}

pub(super) fn server_stats(facts: &Facts, clients: &Clients) -> Outcome {
    fields(about_server(facts, clients))
}

pub(super) fn stats(facts: &Facts, clients: &Clients) -> Outcome {
    let mut about = fields(about_server(facts, clients))?;
    about.append(&mut fields(connection_lists(clients, Full::No))?);
    Ok(about)
}

fn client_address(member: &Member) -> String {
    let address = member.client.as_ref();
    address.map_or(String::new(), |address| format!("{}:{}", address.host, address.port))
}

pub(super) fn voting_view(facts: &Facts) -> Outcome {
    let voters = facts.ensemble.members.iter().filter(|(_, member)| member.role == MemberRole::Participant);
    let voters: Map<String, Value> = voters
        .map(|(id, member)| {
            let about = json!({
                "server_addresses": [format!("{}:{}", member.host, member.quorum_port)],
                "election_addresses": [format!("{}:{}", member.host, member.election_port)],
                "client_address": client_address(member),
                "learner_type": "participant",
            });
            (id.0.to_string(), about)
        })
        .collect();
    fields(json!({ "current_config": voters }))
}

pub(super) fn watch_summary(clients: &Clients) -> Outcome {
    let Summary { connections, paths, watches } = clients.shared.service.watches.summary();
    fields(json!({"num_connections": connections, "num_paths": paths, "num_total_watches": watches}))
}

pub(super) fn watches(clients: &Clients) -> Outcome {
    let listed = census::watched_by_session(clients).map_err(|error| error.to_string())?;
    let texts = |paths: Vec<Arc<str>>| paths.iter().map(ToString::to_string).collect::<Vec<String>>();
    let listed: Map<String, Value> =
        listed.into_iter().map(|(session, paths)| (session.0.to_string(), json!(texts(paths)))).collect();
    fields(json!({ "session_id_to_watched_paths": listed }))
}

pub(super) fn watches_by_path(clients: &Clients) -> Outcome {
    let listed = census::watched_by_path(clients).map_err(|error| error.to_string())?;
    let ids = |sessions: Vec<SessionId>| sessions.into_iter().map(|session| session.0).collect::<Vec<i64>>();
    let listed: Map<String, Value> =
        listed.into_iter().map(|(path, sessions)| (path.to_string(), json!(ids(sessions)))).collect();
    fields(json!({ "path_to_session_ids": listed }))
}

/// The addresses of one port of a server, as ZooKeeper's set of addresses is written: here a server has one.
fn addresses(member: &Member, port: u16) -> Value {
    let address = format!("{}:{port}", member.host);
    let is_wildcard = ["0.0.0.0", "::"].contains(&member.host.as_str());
    let host_any = if member.host.contains(':') { "[::]" } else { "0.0.0.0" };
    json!({
        "empty": false,
        "one": address,
        "all_addresses": [address],
        "all_reachable_addresses": [address],
        "all_reachable_addresses_or_all": [address],
        "reachable_address": address,
        "reachable_or_one": address,
        "wildcard_addresses": [if is_wildcard { address.clone() } else { format!("{host_any}:{port}") }],
        "all_ports": [port],
        "all_host_strings": [member.host],
    })
}

pub(super) fn zabstate(facts: &Facts) -> Outcome {
    let phase = match facts.status {
        Status::Standalone => return fields(json!({"voting": false, "zabstate": ""})),
        Status::Looking => "election",
        Status::Discovering => "discovery",
        Status::Joining(_) => "synchronization",
        Status::Leading(_) | Status::Following(..) | Status::Observing(..) => "broadcast",
    };
    let Ensemble { members, .. } = &facts.ensemble;
    let Some(own) = members.get(&facts.id) else {
        return fields(json!({"voting": false, "zabstate": phase}));
    };
    let zxid = facts.last_logged;
    fields(json!({
        "myid": facts.id.0,
        "is_leader": matches!(facts.status, Status::Leading(_)),
        "quorum_address": addresses(own, own.quorum_port),
        "election_address": addresses(own, own.election_port),
        "client_address": client_address(own),
        "voting": own.role == MemberRole::Participant,
        "last_zxid": zxid.to_string(),
        "zab_epoch": zxid.0 >> 32,
        "zab_counter": zxid.0 & 0xffff_ffff,
        "zabstate": phase,
    }))
}
