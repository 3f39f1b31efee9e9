//! The operator's own health port: `/livez`, `/readyz` and `/metrics`.
//!
//! In: what passes did. Out: answers over HTTP.
//!
//! Always true:
//! * an operator that waits for the lease is as healthy as the one that acts.
//!
//! Not here: the health of ensembles (`status`).

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A probe sends its head at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at once; probes and one scraper need three.
const CONNECTIONS_MAX: usize = 16;

/// What passes did.
#[derive(Clone)]
pub struct Health {
    registry: Registry,
    passes: Histogram,
    failures: IntCounter,
    actions: IntCounter,
    acting: IntGauge,
}

impl Health {
    /// Nothing yet.
    pub fn new() -> Health {
        let registry = Registry::new();
        let expect = "names are given once";
        let passes =
            HistogramOpts::new("quorate_operator_pass_seconds", "Duration of a pass over one resource.");
        let health = Health {
            passes: Histogram::with_opts(passes).expect(expect),
            failures: IntCounter::new("quorate_operator_pass_failures_total", "Passes that failed.")
                .expect(expect),
            actions: IntCounter::new("quorate_operator_actions_total", "Actions performed.").expect(expect),
            acting: IntGauge::new("quorate_operator_acting", "1 while this operator holds the lease.")
                .expect(expect),
            registry,
        };
        let metrics: [Box<dyn prometheus::core::Collector>; 4] = [
            Box::new(health.passes.clone()),
            Box::new(health.failures.clone()),
            Box::new(health.actions.clone()),
            Box::new(health.acting.clone()),
        ];
        for metric in metrics {
            health.registry.register(metric).expect(expect);
        }
        health
    }

    /// A pass took this long.
    pub fn passed(&self, time: Duration) {
        self.passes.observe(time.as_secs_f64());
    }

    /// A pass failed.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// An action was performed.
    pub fn acted(&self) {
        self.actions.inc();
    }

    /// The lease is held.
    pub fn acts(&self) {
        self.acting.set(1);
    }

    /// Answers until it is stopped.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            let health = self.clone();
            connections.spawn(async move {
                let answer = service_fn(|request: Request<Incoming>| {
                    let response = health.answer(request.uri().path());
                    async move { Ok::<_, Infallible>(response) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
                served.unwrap_or_else(|error| tracing::debug!(%error, "health connection"));
            });
        }
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, body) = match path {
            "/livez" | "/readyz" => (StatusCode::OK, "ok\n".to_owned()),
            "/metrics" => match TextEncoder::new().encode_to_string(&self.registry.gather()) {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}
