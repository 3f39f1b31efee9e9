//! Connecting to another server: every address that its name has, side by side, within one deadline.
//!
//! In: a host, a port, a deadline. Out: the first connection that stands, or why there is none.
//!
//! Always true:
//! * the name is looked up at each call, so that a pod that moved is found again.
//!
//! Not here: how often it is tried (`quorum`, `election`).

use std::io;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::base::Address;

/// Whether the system looks after a connection that is silent (`SO_KEEPALIVE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// Connects to the first address of a name that accepts.
pub async fn connect(to: &Address, deadline: Duration, keep_alive: KeepAlive) -> io::Result<TcpStream> {
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("{to} does not accept within {deadline:?}"));
    timeout(deadline, connect_any(to, keep_alive)).await.unwrap_or_else(|_| Err(late()))
}

async fn connect_any(to: &Address, keep_alive: KeepAlive) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((to.host.as_str(), to.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(keep_alive == KeepAlive::On)?;
        attempts.spawn(socket.connect(address));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", to.host));
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).and_then(|attempt| attempt) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether a host stands for every address of a machine, so that nobody can connect to it.
pub fn is_wildcard(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
}
