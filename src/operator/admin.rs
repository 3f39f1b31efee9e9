//! Talks to the servers' admin ports.
//!
//! In: the address of a pod. Out: its report, or the answer to a command.
//!
//! Always true:
//! * every call ends within its limit of time, and reads no more than a limited answer.
//!
//! Not here: what is done with a report (`plan`).

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::report::Report;

/// A server that takes longer is as good as silent.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// A hand-over waits for the successor to be level.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);
/// A report holds a line for each of at most 255 members.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// It could not be reached.
    #[error("connection: {0}")]
    Connection(String),
    /// It answered no, with these words.
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
    /// It answered what is no report.
    #[error("report: {0}")]
    Report(String),
}

/// What the server at `address` (host and port) tells about itself.
pub async fn report(address: &str, token: &str) -> Result<Report, Error> {
    let answer = call(address, token, Method::GET, "/v1/member", Bytes::new(), REPORT_TIMEOUT).await?;
    Report::parse(&answer).map_err(Error::Report)
}

/// Gives a server a command.
pub async fn command(address: &str, token: &str, path: &str, body: Value) -> Result<(), Error> {
    let body = Bytes::from(body.to_string());
    call(address, token, Method::POST, path, body, COMMAND_TIMEOUT).await.map(drop)
}

async fn call(
    address: &str,
    token: &str,
    method: Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> Result<Bytes, Error> {
    let exchange = exchange(address, token, method, path, body);
    tokio::time::timeout(limit, exchange).await.map_err(|_| Error::Timeout)?
}

async fn exchange(
    address: &str,
    token: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, Error> {
    let lost = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(|error| lost(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| lost(&error))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(|error| lost(&error))?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| lost(&error))?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(Error::Refused(status, String::from_utf8_lossy(&body).trim().to_owned()))
        }
    };
    // The connection does the reading and writing; it is over when the talk is.
    let mut connection = std::pin::pin!(connection);
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => return answer,
        ended = &mut connection => ended.map_err(|error| lost(&error))?,
    }
    talk.await
}
