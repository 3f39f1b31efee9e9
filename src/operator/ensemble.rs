//! Changes the membership of an ensemble, as any client with the right to do so: over ZooKeeper's protocol.
//!
//! In: one step, and the version of the configuration that it starts from. Out: done, or why not.
//!
//! Always true:
//! * the servers compare the version: a step planned on an old configuration changes nothing.
//!
//! Not here: which step (`plan`).

use std::time::Duration;

use zookeeper_client::{Client, EnsembleUpdate};

use crate::base::{Member, ServerId, Zxid};

/// The whole step, with its connection.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The session needs to outlive one request only.
const SESSION: Duration = Duration::from_secs(10);

/// One step of membership.
pub async fn reconfigure(
    address: &str,
    password: &str,
    from: Zxid,
    join: &[Member],
    leave: &[ServerId],
) -> Result<(), String> {
    let joinings: Vec<String> = join.iter().map(|member| format!("server.{}={member}", member.id)).collect();
    let leavings: Vec<String> = leave.iter().map(ServerId::to_string).collect();
    let step = async {
        let connector = Client::connector()
            .with_session_timeout(SESSION)
            .with_fail_eagerly()
            .with_auth("digest", format!("super:{password}").as_bytes());
        let client =
            connector.connect(address).await.map_err(|error| format!("connect to {address}: {error}"))?;
        let update = EnsembleUpdate::Incremental {
            joinings: joinings.iter().map(String::as_str),
            leavings: leavings.iter().map(String::as_str),
        };
        let answer = client.update_ensemble(update, Some(from.0)).await;
        answer.map(drop).map_err(|error| format!("reconfig from version {:x}: {error}", from.0))
    };
    tokio::time::timeout(TIMEOUT, step)
        .await
        .map_err(|_| format!("reconfig at {address}: no answer in time"))?
}
