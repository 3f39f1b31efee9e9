//! The admin port and the metrics port: HTTP for probes, for the operator and for Prometheus.
//!
//! In: requests. Out: states, reports, metrics; orders to hand over leadership or to send clients away.
//!
//! Always true:
//! * a probe has no side effect and needs no other server;
//! * a connection is for one request, and its time is limited; when there are too many, one that has not sent its
//!   request makes room for the newest, so that a probe is answered however many others are slow;
//! * what changes something needs the token, which is compared in constant time.
//!
//! Not here: ZooKeeper's own commands (`commands`).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::clients::Clients;
use super::commands::{Asked, Commands};
use super::facts::Facts;
use super::health::Health;
use super::live::Live;
use super::metrics;
use super::payload::{Answer, Payload};
use crate::base::{MemberRole, Room, ServerId};
use crate::zab::effects::Status;

/// Connections at one time; one more costs another one its place.
const CONNECTIONS_MAX: usize = 64;
/// The longest body of a request.
const BODY_BYTES_MAX: usize = 4096;
/// Pause after accepting went wrong.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sending a file may take.
const STREAM_WAIT: Duration = Duration::from_secs(3600);
/// Over how long clients are sent away, unless the request says so.
const DRAIN_SECONDS: u64 = 5;
const DRAIN_SECONDS_MAX: u64 = 600;

/// What a member says that serves reads only.
const NO_ROOM: &str =
    "ok for reads: the disk is nearly full, and writes are refused until there is room again\n";

/// What this port shows.
#[derive(Clone)]
pub struct Desk {
    /// Whether the server lives, has started, serves.
    pub health: Arc<Health>,
    /// What the disk says about itself; `None` without an identity.
    pub disk: Option<Disk>,
    /// What requests that change something must bear; `None` refuses them all.
    pub token: Option<String>,
    /// ZooKeeper's commands.
    pub commands: Arc<Commands>,
    /// What may change while the server runs.
    pub live: Live,
    /// How patient it is.
    pub waits: Waits,
    /// Ends everything.
    pub stop: CancellationToken,
    /// Every task is waited for at the end.
    pub tasks: TaskTracker,
}

/// How long the other side of a connection may keep this one waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For a request's head.
    pub head: Duration,
    /// For a request's body.
    pub body: Duration,
    /// For everything, the longest hand-over of leadership included.
    pub all: Duration,
}

impl Default for Waits {
    /// Ten seconds for each half of a request, a minute in all.
    fn default() -> Waits {
        let ten = Duration::from_secs(10);
        Waits { head: ten, body: ten, all: 6 * ten }
    }
}

/// What a disk with an identity says about itself.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The ensemble that it belongs to.
    pub ensemble_id: String,
    /// Made once for each disk.
    pub incarnation: String,
    /// `Bootstrap`, `Join` or `Resume`.
    pub start_mode: &'static str,
}

/// Which of the two ports a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// For people and the operator.
    Admin,
    /// For Prometheus.
    Metrics,
}

/// Answers on this listener until everything ends.
pub fn listen(desk: Desk, port: Port, listener: TcpListener) {
    let tasks = desk.tasks.clone();
    tasks.spawn(accept(desk, port, listener));
}

/// Whose turn it is on a connection.
#[derive(Debug, Default)]
struct Place {
    /// Ends the connection.
    stop: CancellationToken,
    /// Its request is being answered: nothing is waited for that the other side owes.
    is_answering: AtomicBool,
    /// A file is on its way to the other side.
    is_streaming: AtomicBool,
}

/// Makes room for one more: the oldest that waits for the other side goes, else the oldest.
fn make_room(places: &mut Vec<Arc<Place>>) {
    places.retain(|place| !place.stop.is_cancelled());
    if places.len() >= CONNECTIONS_MAX {
        let waits = |place: &Arc<Place>| !place.is_answering.load(Relaxed);
        places.remove(places.iter().position(waits).unwrap_or(0)).stop.cancel();
    }
}

async fn accept(desk: Desk, port: Port, listener: TcpListener) {
    let mut places = Vec::new();
    loop {
        let accepted = tokio::select! {
            () = desk.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, ?port, "accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        make_room(&mut places);
        let place = Arc::new(Place { stop: desk.stop.child_token(), ..Place::default() });
        places.push(Arc::clone(&place));
        desk.tasks.spawn(serve(desk.clone(), port, stream, place));
    }
}

/// Answers the one request of a connection.
async fn serve(desk: Desk, port: Port, stream: TcpStream, place: Arc<Place>) {
    let Ok(from) = stream.peer_addr() else { return };
    let service = service_fn(|request| {
        let (desk, place) = (&desk, &place);
        async move {
            place.is_answering.store(true, Relaxed);
            let answer = answer(desk, port, request, from.ip().to_canonical()).await;
            place.is_answering.store(false, Relaxed);
            place.is_streaming.store(answer.body().is_streamed(), Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(desk.waits.head)
        .max_buf_size(16 << 10)
        .keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let limit = async {
        sleep(desk.waits.all).await;
        if place.is_streaming.load(Relaxed) {
            sleep(STREAM_WAIT).await;
        }
    };
    tokio::select! {
        () = place.stop.cancelled() => {}
        () = limit => {}
        served = connection => drop(served), // a broken request concerns only who sent it
    }
    place.stop.cancel();
}

async fn answer(desk: &Desk, port: Port, request: Request<Incoming>, from: IpAddr) -> Answer {
    let path = request.uri().path().to_owned();
    if let (Port::Admin, Some(name)) = (port, desk.commands.name_in(&path)) {
        return desk.commands.answer(Asked { name, request, from }, desk.health.clients()).await;
    }
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match (port, path.as_str()) {
        (Port::Metrics, "/metrics") if is_reading => metrics(desk).await,
        (Port::Admin, "/livez") if is_reading => probe(desk.health.is_alive()),
        (Port::Admin, "/startupz") if is_reading => probe(desk.health.has_started()),
        (Port::Admin, "/readyz") if is_reading => match is_ready(desk).await {
            Ok(Room::Enough) => probe(Ok(())),
            // Ready all the same: a member that is taken out of its service answers no reads either.
            Ok(Room::Low | Room::Scarce) => text(StatusCode::OK, NO_ROOM.to_owned()),
            Err(reason) => probe(Err(reason)),
        },
        (Port::Admin, "/v1/member") if is_reading => member(desk).await,
        (Port::Admin, "/v1/transfer" | "/v1/drain" | "/v1/config") if request.method() == Method::POST => {
            if let Some(refusal) = refuse(desk, &request) {
                return refusal;
            }
            let body =
                timeout(desk.waits.body, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await;
            let Ok(body) = body else {
                return refusal(StatusCode::REQUEST_TIMEOUT, "the body does not come");
            };
            let Ok(body) = body else { return refusal(StatusCode::BAD_REQUEST, "the body cannot be read") };
            let order = match body.to_bytes() {
                bytes if bytes.is_empty() => Ok(json!({})),
                bytes => serde_json::from_slice::<Value>(&bytes),
            };
            let Ok(order) = order else { return refusal(StatusCode::BAD_REQUEST, "the body is no JSON") };
            match path.as_str() {
                "/v1/drain" => drain(desk, &order),
                "/v1/config" => configure(desk, &order).await,
                _ => transfer(desk, &order).await,
            }
        }
        (Port::Metrics, "/metrics")
        | (
            Port::Admin,
            "/livez" | "/startupz" | "/readyz" | "/v1/member" | "/v1/transfer" | "/v1/drain" | "/v1/config",
        ) => refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path"),
        (_, _) => refusal(StatusCode::NOT_FOUND, "there is nothing at this path"),
    }
}

/// Whether this member serves its role.
async fn is_ready(desk: &Desk) -> Result<Room, String> {
    let Some(clients) = desk.health.clients() else { return Err("it is starting".to_owned()) };
    if clients.is_draining() {
        return Err("it is draining".to_owned());
    }
    match clients.shared.asker.ask().await {
        None => Err("its loop does not answer".to_owned()),
        Some(facts) if facts.serves() => Ok(facts.room),
        Some(facts) => Err(format!("it does not serve: {:?}", facts.status)),
    }
}

fn probe(outcome: Result<(), String>) -> Answer {
    match outcome {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(desk: &Desk) -> Answer {
    let Some(clients) = desk.health.clients() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "it is starting\n".to_owned());
    };
    let Some(facts) = clients.shared.asker.ask().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "its loop does not answer\n".to_owned());
    };
    let metrics = metrics::of_server(&facts, &clients);
    let mut answer = text(StatusCode::OK, metrics::to_prometheus(&metrics));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    answer.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("a header value"));
    answer
}

async fn member(desk: &Desk) -> Answer {
    let Some(clients) = desk.health.clients() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "it is starting");
    };
    match clients.shared.asker.ask().await {
        Some(facts) => json_answer(StatusCode::OK, &report(desk, &facts, &clients)),
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, "its loop does not answer"),
    }
}

/// The document of `GET /v1/member`.
fn report(desk: &Desk, facts: &Facts, clients: &Clients) -> Value {
    let role = match facts.status {
        Status::Leading(_) | Status::Standalone => "Leader",
        Status::Following(..) => "Follower",
        Status::Observing(..) => "Observer",
        Status::Looking | Status::Discovering | Status::Joining(_) => "Looking",
    };
    let epoch = match facts.status {
        Status::Leading(epoch) | Status::Following(_, epoch) | Status::Observing(_, epoch) => epoch,
        Status::Looking | Status::Discovering | Status::Joining(_) | Status::Standalone => {
            facts.epochs.current
        }
    };
    let role_of = |id: ServerId| match facts.ensemble.members.get(&id).map(|member| member.role) {
        Some(MemberRole::Participant) => "Follower",
        Some(MemberRole::Observer) | None => "Observer",
    };
    let mut synced = Vec::new();
    if let Status::Leading(_) | Status::Standalone = facts.status {
        synced.push(json!({"id": facts.id.0, "role": "Leader", "lag": 0}));
        for learner in facts.learners.iter().filter(|learner| learner.is_synced) {
            synced.push(json!({"id": learner.id.0, "role": role_of(learner.id), "lag": learner.lag}));
        }
    }
    let disk = desk.disk.as_ref();
    let has_leader = facts.serves();
    json!({
        "apiVersion": 1,
        "ensembleId": disk.map(|disk| &disk.ensemble_id),
        "incarnation": disk.map(|disk| &disk.incarnation),
        "startMode": disk.map_or("Plain", |disk| disk.start_mode),
        "id": facts.id.0,
        "role": role,
        "serving": facts.serves(),
        "draining": clients.is_draining(),
        "leaderId": facts.leader().filter(|_| has_leader).map(|leader| leader.0),
        "epoch": epoch.0,
        "acceptedEpoch": facts.epochs.accepted.0,
        "leaderSinceSeconds": has_leader.then_some(facts.status_age.0 / 1000),
        "lastZxid": facts.last_logged.to_string(),
        "appliedZxid": facts.last_applied.to_string(),
        "config": {
            "version": facts.ensemble.version.to_string(),
            "content": facts.ensemble.lines().join("\n"),
        },
        "pendingConfigVersion": facts.ensemble_proposed.as_ref().map(|ensemble| ensemble.version.to_string()),
        "synced": synced,
        "disk": {
            "room": format!("{:?}", facts.room),
            "freeBytes": clients.shared.stats.disk_free.value(),
            "reserveBytes": clients.shared.stats.disk_reserve.value(),
        },
        "pendingSyncs": facts.syncs_pending,
        "connections": clients.count(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": desk.health.uptime().0 / 1000,
    })
}

async fn transfer(desk: &Desk, order: &Value) -> Answer {
    let Some(clients) = desk.health.clients() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "it is starting");
    };
    let to = match order.get("to") {
        None | Some(Value::Null) => None,
        Some(to) => match to.as_i64() {
            Some(id) => Some(ServerId(id)),
            None => return refusal(StatusCode::BAD_REQUEST, "\"to\" is no server's id"),
        },
    };
    info!(?to, "asked to hand over leadership");
    match clients.shared.asker.transfer(to).await {
        Some(Ok(leader)) => json_answer(StatusCode::OK, &json!({"leaderId": leader.0})),
        Some(Err(reason)) => refusal(StatusCode::CONFLICT, &reason),
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, "its loop does not answer"),
    }
}

/// Changes settings, one after the other, up to the first that is refused.
async fn configure(desk: &Desk, order: &Value) -> Answer {
    let Some(clients) = desk.health.clients() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "it is starting");
    };
    let Some(settings) = order.as_object() else {
        return refusal(StatusCode::BAD_REQUEST, "the body is no object of keys and values");
    };
    for (key, value) in settings {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let Err(reason) = desk.live.set(&clients, key, Some(&value)).await {
            return refusal(StatusCode::BAD_REQUEST, &reason);
        }
        info!(key, value, "a setting changes");
    }
    json_answer(StatusCode::OK, order)
}

fn drain(desk: &Desk, order: &Value) -> Answer {
    let Some(clients) = desk.health.clients() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "it is starting");
    };
    let seconds = match order.get("seconds") {
        None | Some(Value::Null) => DRAIN_SECONDS,
        Some(seconds) => match seconds.as_u64().filter(|seconds| *seconds <= DRAIN_SECONDS_MAX) {
            Some(seconds) => seconds,
            None => return refusal(StatusCode::BAD_REQUEST, "\"seconds\" is no number from 0 to 600"),
        },
    };
    info!(seconds, "asked to send clients away");
    clients.drain(Duration::from_secs(seconds));
    json_answer(StatusCode::ACCEPTED, &json!({"connections": clients.count(), "seconds": seconds}))
}

/// Why a request that changes something is refused; `None` if it bears the token.
fn refuse(desk: &Desk, request: &Request<Incoming>) -> Option<Answer> {
    let Some(token) = &desk.token else {
        return Some(refusal(
            StatusCode::FORBIDDEN,
            "quorate.adminTokenFile is not set, so nobody may do this",
        ));
    };
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    match given {
        Some(given) if is_equal(given, token.as_bytes()) => None,
        Some(_) => Some(refusal(StatusCode::UNAUTHORIZED, "this is not the token")),
        None => Some(refusal(StatusCode::UNAUTHORIZED, "Authorization: Bearer TOKEN is missing")),
    }
}

/// Compares without telling by its time where the first difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn refusal(status: StatusCode, reason: &str) -> Answer {
    json_answer(status, &json!({ "error": reason }))
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = text(status, format!("{value}\n"));
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a header value"));
    answer
}

fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Payload::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, "text/plain; charset=utf-8".parse().expect("a header value"));
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::base::Millis;

    /// Long enough for no test to see it pass.
    const LONG: Duration = Duration::from_secs(3600);

    async fn open(waits: Waits) -> (Desk, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let desk = Desk {
            health: Arc::new(Health::new(|| Millis(0))),
            disk: None,
            token: Some("secret".to_owned()),
            commands: Arc::new(Commands {
                url: "/commands".to_owned(),
                written: Vec::new(),
                limits: crate::net::commands::guard::Limits::default(),
                read_snapshot: |_| Err("no snapshot is read here".to_owned()),
            }),
            live: Live { set_level: |level| Err(format!("{level} is not asked for here")) },
            waits,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        listen(desk.clone(), Port::Admin, listener);
        (desk, address)
    }

    async fn send(address: std::net::SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        stream
    }

    /// All that comes before the end, which may be a reset.
    async fn read(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
        String::from_utf8(bytes).expect("text")
    }

    #[tokio::test]
    async fn a_probe_is_answered_at_once_however_many_others_are_slow() {
        let (desk, address) = open(Waits { head: LONG, body: LONG, all: LONG }).await;
        let mut slow = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            slow.push(send(address, "POST /v1/drain HTTP/1.1\r\nHost: x\r\n").await);
        }
        let answer = read(send(address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(read(slow.remove(0)).await, "", "the oldest went for it");
        desk.stop.cancel();
    }

    #[tokio::test]
    async fn a_connection_is_for_one_request_whose_head_and_body_must_come_in_time() {
        let short = Duration::from_millis(20);
        let head = "POST /v1/drain HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n";
        let body = format!("{head}Content-Length: 9\r\n\r\n{{");
        let (_desk, address) = open(Waits { head: short, body: LONG, all: LONG }).await;
        read(send(address, head).await).await;
        let (_desk, address) = open(Waits { head: LONG, body: short, all: LONG }).await;
        let answer = read(send(address, &body).await).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let (_desk, address) = open(Waits { head: LONG, body: LONG, all: short }).await;
        assert_eq!(read(send(address, &body).await).await, "");

        let (_desk, address) = open(Waits { head: LONG, body: LONG, all: LONG }).await;
        let twice = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
        let answer = read(send(address, &twice).await).await;
        assert_eq!(answer.matches("200 OK").count(), 1, "{answer}");
    }

    #[test]
    fn a_token_is_equal_only_to_itself() {
        assert!(is_equal(b"abc", b"abc"));
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(!is_equal(other, b"abc"));
        }
    }
}
