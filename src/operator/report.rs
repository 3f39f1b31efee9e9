//! What a server tells about itself: the document of `GET /v1/member`.
//!
//! In: JSON of the admin port. Out: a [`Report`].
//!
//! Always true:
//! * members of the document that are not known here are passed over, so that servers may be newer.
//!
//! Not here: asking for it (`observe`), what follows from it (`plan`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::{Ensemble, ServerId, Zxid};

/// What a server tells about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The ensemble's id on its disk; `None` while it has none.
    pub ensemble_id: Option<String>,
    /// Identity of its disk; `None` while it has none.
    pub incarnation: Option<String>,
    /// Its id.
    pub id: ServerId,
    /// What it is doing.
    pub role: Role,
    /// How it started.
    pub start: StartMode,
    /// Whether it serves clients.
    pub service: Service,
    /// The leader that it knows.
    pub leader: Option<ServerId>,
    /// The epoch that it is in.
    pub epoch: u32,
    /// For how long it has known that leader, in seconds.
    pub leader_since_seconds: Option<u64>,
    /// The last transaction in its log.
    pub last_zxid: Zxid,
    /// The committed configuration.
    pub members: Ensemble,
    /// Whether a configuration is proposed and not committed yet.
    pub pending: Option<Zxid>,
    /// At the leader: who is level, and by how many transactions each lags.
    pub synced: BTreeMap<ServerId, u64>,
    /// Clients.
    pub connections: u64,
    /// Its program's version.
    pub version: String,
}

/// What a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows with a vote.
    Follower,
    /// It follows without a vote.
    Observer,
    /// It looks for a leader.
    Looking,
}

/// How a server started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// On an empty disk, with the token: it may take part in the first election.
    Bootstrap,
    /// On an empty disk: it has no vote before a leader brought it level.
    Join,
    /// On its own disk.
    Resume,
    /// Without an identity.
    Plain,
}

/// Whether a server serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It does.
    Serving,
    /// It sends its clients away.
    Draining,
    /// It does not.
    Closed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    ensemble_id: Option<String>,
    incarnation: Option<String>,
    #[serde(default)]
    start_mode: String,
    id: i64,
    role: String,
    #[serde(default)]
    serving: bool,
    #[serde(default)]
    draining: bool,
    leader_id: Option<i64>,
    #[serde(default)]
    epoch: i64,
    leader_since_seconds: Option<u64>,
    last_zxid: String,
    config: Configuration,
    pending_config_version: Option<String>,
    #[serde(default)]
    synced: Vec<Level>,
    #[serde(default)]
    connections: u64,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Configuration {
    version: String,
    content: String,
}

#[derive(Deserialize)]
struct Level {
    id: i64,
    lag: u64,
}

impl Report {
    /// Reads the document; the error says what it is about.
    pub fn parse(json: &[u8]) -> Result<Report, String> {
        let document: Document = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let mut members =
            Ensemble::parse(&document.config.content).map_err(|error| format!("config.content: {error}"))?;
        members.version = zxid("config.version", &document.config.version)?;
        let pending = document.pending_config_version.as_deref();
        Ok(Report {
            ensemble_id: document.ensemble_id,
            incarnation: document.incarnation,
            id: ServerId(document.id),
            role: match document.role.as_str() {
                "Leader" => Role::Leader,
                "Follower" => Role::Follower,
                "Observer" => Role::Observer,
                "Looking" => Role::Looking,
                other => return Err(format!("role: {other:?} is not known")),
            },
            start: match document.start_mode.as_str() {
                "Bootstrap" => StartMode::Bootstrap,
                "Join" => StartMode::Join,
                "Resume" => StartMode::Resume,
                "Plain" | "" => StartMode::Plain,
                other => return Err(format!("startMode: {other:?} is not known")),
            },
            service: match (document.draining, document.serving) {
                (true, _) => Service::Draining,
                (false, true) => Service::Serving,
                (false, false) => Service::Closed,
            },
            leader: document.leader_id.map(ServerId),
            epoch: u32::try_from(document.epoch).unwrap_or(0),
            leader_since_seconds: document.leader_since_seconds,
            last_zxid: zxid("lastZxid", &document.last_zxid)?,
            members,
            pending: pending.map(|text| zxid("pendingConfigVersion", text)).transpose()?,
            synced: document.synced.iter().map(|level| (ServerId(level.id), level.lag)).collect(),
            connections: document.connections,
            version: document.version,
        })
    }
}

fn zxid(field: &str, text: &str) -> Result<Zxid, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // A zxid before the first transaction is -1, which Display writes as all ones.
    let number =
        u64::from_str_radix(digits, 16).map_err(|_| format!("{field}: {text:?} is no hexadecimal number"))?;
    Ok(Zxid(number.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"apiVersion": 1, "ensembleId": "e", "incarnation": "9c1d", "startMode": "Resume",
        "id": 1, "role": "Leader", "serving": true, "draining": false, "leaderId": 1, "epoch": 14,
        "leaderSinceSeconds": 12, "lastZxid": "0xe00000a21",
        "config": {"version": "0x100000003", "content": "server.1=a:2888:3888:participant;2181"},
        "pendingConfigVersion": null, "synced": [{"id": 1, "role": "Leader", "lag": 0}], "pendingSyncs": 0,
        "connections": 118, "dataUsedPercent": 31, "version": "0.1.0", "uptimeSeconds": 77}"#;

    #[test]
    fn a_document_is_read() {
        let report = Report::parse(SAMPLE.as_bytes()).expect("well formed");
        assert_eq!((report.id, report.role, report.leader), (ServerId(1), Role::Leader, Some(ServerId(1))));
        assert_eq!((report.epoch, report.last_zxid), (14, Zxid(0xe_0000_0a21)));
        assert_eq!(report.members.version, Zxid(0x1_0000_0003));
        assert_eq!(report.synced, BTreeMap::from([(ServerId(1), 0)]));
        assert_eq!(report.service, Service::Serving);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let wrong = SAMPLE.replace("0xe00000a21", "main");
        assert_eq!(
            Report::parse(wrong.as_bytes()),
            Err("lastZxid: \"main\" is no hexadecimal number".to_owned())
        );
        assert!(Report::parse(b"[]").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(Report::parse(&bytes));
        }
    }
}
