//! The commands that need a credential: who may ask them, how often, and what they do.
//!
//! In: requests with `Authorization: SCHEME CREDENTIAL`. Out: 401, 403, 429, 503, or what was asked for.
//!
//! Always true:
//! * who asks must hold every permission on `/`, or be super;
//! * a command that is switched off says so before it costs a permit.
//!
//! Not here: the copy of the tree (`copy`).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Answer, Commands, NOT_SERVING, in_json};
use crate::base::Millis;
use crate::net::clients::Clients;
use crate::proto::perms;
use crate::tree::acl;

/// The longest body of `shed_connections`.
const ORDER_BYTES_MAX: usize = 4096;
/// How long such a body may take.
const ORDER_WAIT: Duration = Duration::from_secs(10);

/// What may be asked, and how often.
#[derive(Debug)]
pub struct Limits {
    /// `admin.snapshot.enabled`. Default true.
    pub snapshot: May,
    /// `admin.restore.enabled`. Default true.
    pub restore: May,
    /// `admin.rateLimiterIntervalInMS`: snapshot and restore are each done once in this time. Default 5 min.
    pub interval: Millis,
    /// When each was last done; `None` before that.
    last: Mutex<Last>,
}

/// Whether a command may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// It may.
    Yes,
    /// It is switched off.
    No,
}

#[derive(Debug, Default)]
struct Last {
    snapshot: Option<Millis>,
    restore: Option<Millis>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(May::Yes, May::Yes, Millis(300_000))
    }
}

/// Why a credential does not do: status and text.
type Refusal = (StatusCode, &'static str);

impl Limits {
    /// Nothing was done so far.
    pub fn new(snapshot: May, restore: May, interval: Millis) -> Limits {
        Limits { snapshot, restore, interval, last: Mutex::default() }
    }

    /// Takes a permit; `false` if the last one is too young.
    fn permit(&self, now: Millis, of: impl FnOnce(&mut Last) -> &mut Option<Millis>) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = of(&mut last);
        let is_free = last.is_none_or(|last| now >= last + self.interval);
        if is_free {
            *last = Some(now);
        }
        is_free
    }
}

impl Commands {
    /// The commands that need a credential.
    pub(super) async fn guarded(
        &self,
        name: &str,
        request: Request<Incoming>,
        from: IpAddr,
        clients: Option<Arc<Clients>>,
    ) -> Answer {
        let Some(clients) = clients else {
            return in_json(StatusCode::OK, name, Map::new(), Some(NOT_SERVING));
        };
        if let Err((status, error)) = judge(&request, from, &clients) {
            warn!(%from, name, error, "an admin command is refused");
            return in_json(status, name, Map::new(), Some(error));
        }
        if !clients.is_serving() {
            return in_json(StatusCode::OK, name, Map::new(), Some(NOT_SERVING));
        }
        match name {
            "snapshot" => self.snapshot(request.uri().query(), &clients).await,
            "restore" => self.restore(request.into_body(), &clients).await,
            _ => shed(request, &clients).await,
        }
    }

    async fn snapshot(&self, query: Option<&str>, clients: &Clients) -> Answer {
        let stats = &clients.shared.stats;
        if self.limits.snapshot == May::No {
            return in_json(StatusCode::SERVICE_UNAVAILABLE, "snapshot", Map::new(), None);
        }
        if !self.limits.permit((clients.shared.clock)(), |last| &mut last.snapshot) {
            stats.snapshots_limited.add(1);
            return in_json(StatusCode::TOO_MANY_REQUESTS, "snapshot", Map::new(), None);
        }
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let is_streamed = pairs.into_iter().find(|(key, _)| *key == "streaming").map(|(_, value)| value);
        let streaming = match is_streamed {
            Some(value) if !value.eq_ignore_ascii_case("true") => super::copy::Streaming::No,
            Some(_) | None => super::copy::Streaming::Yes,
        };
        match super::copy::snapshot(clients, streaming).await {
            Ok(answer) => answer,
            Err(error) => {
                warn!(error, "a snapshot that was asked for is not written");
                stats.snapshot_errors.add(1);
                in_json(StatusCode::INTERNAL_SERVER_ERROR, "snapshot", Map::new(), Some(&error))
            }
        }
    }

    async fn restore(&self, body: Incoming, clients: &Clients) -> Answer {
        let stats = &clients.shared.stats;
        if self.limits.restore == May::No {
            return in_json(StatusCode::SERVICE_UNAVAILABLE, "restore", Map::new(), None);
        }
        if body.is_end_stream() {
            let error = "the body is to be a snapshot file"; // the client's fault, but a 500 in ZooKeeper
            return in_json(StatusCode::INTERNAL_SERVER_ERROR, "restore", Map::new(), Some(error));
        }
        if !self.limits.permit((clients.shared.clock)(), |last| &mut last.restore) {
            stats.restores_limited.add(1);
            return in_json(StatusCode::TOO_MANY_REQUESTS, "restore", Map::new(), None);
        }
        let began = Instant::now();
        match super::copy::restore(body, clients, self.read_snapshot).await {
            Ok(last) => {
                stats.restore_time.observe(Millis::from(began.elapsed()).0);
                let fields = Map::from_iter([("last_zxid".to_owned(), json!(last.0))]);
                in_json(StatusCode::OK, "restore", fields, None)
            }
            Err(error) => {
                warn!(error, "a snapshot that was sent is not restored");
                stats.restore_errors.add(1);
                in_json(StatusCode::INTERNAL_SERVER_ERROR, "restore", Map::new(), Some(&error))
            }
        }
    }
}

/// Whether who asks may do everything.
fn judge(request: &Request<Incoming>, from: IpAddr, clients: &Clients) -> Result<(), Refusal> {
    let service = &clients.shared.service;
    let Some(header) = request.headers().get(AUTHORIZATION) else {
        return Err((StatusCode::UNAUTHORIZED, "Auth info is missing for the command"));
    };
    let not_authenticated = (StatusCode::UNAUTHORIZED, "Not authenticated");
    let header = header.to_str().map_err(|_| not_authenticated)?;
    let (scheme, credential) = header.split_once(' ').unwrap_or((header, ""));
    let schemes = &service.settings.schemes;
    let granted = schemes.authenticate(Some(scheme), Some(credential.as_bytes()), from);
    let identities = granted.map_err(|_| not_authenticated)?;
    let check = service.settings.acl_check;
    let holds_all = service.tree.read(|tree| {
        let root = tree.node("/").expect("the root is always there");
        let each = [perms::READ, perms::WRITE, perms::CREATE, perms::DELETE, perms::ADMIN];
        each.into_iter().all(|wanted| acl::allows(check, root.acl(), wanted, &identities))
    });
    if holds_all { Ok(()) } else { Err((StatusCode::FORBIDDEN, "Not authorized")) }
}

/// Closes a share of the connections; their clients come back, here or elsewhere.
async fn shed(request: Request<Incoming>, clients: &Clients) -> Answer {
    let name = "shed_connections";
    let refuse = |error: &str| in_json(StatusCode::BAD_REQUEST, name, Map::new(), Some(error));
    let body = timeout(ORDER_WAIT, Limited::new(request.into_body(), ORDER_BYTES_MAX).collect()).await;
    let Ok(Ok(body)) = body else {
        return refuse("Invalid JSON or failed to read request body: it does not come");
    };
    let bytes = body.to_bytes();
    if bytes.is_empty() {
        return refuse("Request body is required");
    }
    let order: Value = match serde_json::from_slice(&bytes) {
        Ok(order) => order,
        Err(error) => return refuse(&format!("Invalid JSON or failed to read request body: {error}")),
    };
    let Some(percentage) = order.get("percentage") else {
        return refuse("Missing required field: percentage");
    };
    let Some(percentage) = percentage.as_u64().filter(|percentage| *percentage <= 100) else {
        return refuse("Percentage must be between 0 and 100");
    };
    let shed = clients.shed(percentage);
    info!(percentage, shed, "connections are sent away");
    let Value::Object(fields) = json!({"percentage_requested": percentage, "connections_shed": shed}) else {
        unreachable!("it is an object")
    };
    in_json(StatusCode::OK, name, fields, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_own_permit_once_in_an_interval() {
        let limits = Limits::new(May::Yes, May::Yes, Millis(100));
        assert!(limits.permit(Millis(10), |last| &mut last.snapshot));
        assert!(!limits.permit(Millis(109), |last| &mut last.snapshot));
        assert!(limits.permit(Millis(109), |last| &mut last.restore));
        assert!(limits.permit(Millis(110), |last| &mut last.snapshot));
    }
}
