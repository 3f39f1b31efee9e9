//! Listening: at the start each port or a clear refusal; after a reconfig where the membership says.
//!
//! In: the configuration, and this server's line in the membership in force. Out: listeners.
//!
//! Always true:
//! * a port that moved is listened on at its new place before the old one is closed;
//! * a port that cannot move is tried again until it can: the server goes on meanwhile.
//!
//! Not here: what is done with a connection (`net`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::exit::{Failure, PortKind};
use crate::base::{Address, Ensemble, ServerId};
use crate::config::{Config, EnsembleMode, Listen, Mode, Problem};
use crate::net::clients::Clients;
use crate::net::dial::KeepAlive;
use crate::net::election::Election;
use crate::net::quorum::Quorum;

/// Connections that may wait to be accepted, unless configured: ZooKeeper's number.
const BACKLOG: u32 = 50;
/// Pause between tries to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// Where this server listens, and how it stops to.
pub struct Ports {
    config: Config,
    clients: Arc<Clients>,
    peers: Option<Peers>,
    client_at: Option<(Address, CancellationToken)>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The two ports between servers.
struct Peers {
    quorum: Arc<Quorum>,
    election: Arc<Election>,
    quorum_at: Option<(Address, CancellationToken)>,
    election_at: Option<Address>,
}

/// How a port is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Whether the system looks after those that were accepted and are silent.
    pub keep_alive: KeepAlive,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { backlog: BACKLOG, keep_alive: KeepAlive::Off }
    }
}

/// What a port belongs to.
#[derive(Clone)]
enum Owner {
    Clients(Arc<Clients>),
    Quorum(Arc<Quorum>),
    Election(Arc<Election>),
}

impl Ports {
    /// Nothing is listened on.
    pub fn new(
        config: &Config,
        clients: &Arc<Clients>,
        peers: Option<(Arc<Quorum>, Arc<Election>)>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Ports {
        let peers =
            peers.map(|(quorum, election)| Peers { quorum, election, quorum_at: None, election_at: None });
        Ports {
            config: config.clone(),
            clients: Arc::clone(clients),
            peers,
            client_at: None,
            tasks: tasks.clone(),
            stop: stop.clone(),
        }
    }

    /// Listens on every port, by the membership in force.
    pub async fn open(&mut self, ensemble: &Ensemble) -> Result<(), Failure> {
        for (kind, at, owner) in self.wanted(ensemble) {
            let tries = match (&self.config.mode, kind) {
                (Mode::Ensemble(mode), PortKind::Quorum | PortKind::Election) => mode.election.bind_tries,
                (_, _) => 1,
            };
            let listener = listen_patiently(kind, &at, self.manner(kind), tries).await;
            let listener = listener.map_err(|source| Failure::Port { kind, at: at.clone(), source })?;
            info!(%kind, %at, "listening");
            let stop = self.note(kind, at);
            self.tasks.spawn(hand_over(owner, listener, stop, None));
        }
        Ok(())
    }

    /// Listens elsewhere where the membership in force says so.
    pub fn follow(&mut self, ensemble: &Ensemble) {
        for (kind, at, owner) in self.wanted(ensemble) {
            if self.current(kind).as_ref() == Some(&at) {
                continue;
            }
            info!(%kind, %at, "the port moves");
            let old = self.stop_of(kind);
            let manner = self.manner(kind);
            let new = self.note(kind, at.clone());
            self.tasks.spawn(async move {
                let listener = loop {
                    match listen(&at, manner).await {
                        Ok(listener) => break listener,
                        Err(error) => warn!(%kind, %at, %error, "the port cannot move yet"),
                    }
                    tokio::select! {
                        () = new.cancelled() => return,
                        () = sleep(PAUSE) => {}
                    }
                };
                hand_over(owner, listener, new, old).await;
            });
        }
    }

    /// Stops accepting clients.
    pub fn close_clients(&mut self) {
        if let Some((_, stop)) = self.client_at.take() {
            stop.cancel();
        }
    }

    /// Every port, where it should be.
    fn wanted(&self, ensemble: &Ensemble) -> Vec<(PortKind, Address, Owner)> {
        let mut wanted = Vec::new();
        let own = ensemble.members.get(&self.config.id());
        let of_line = own.and_then(|member| member.client.clone());
        let client = of_line.or_else(|| self.config.client.as_ref().map(address_of));
        if let Some(at) = client {
            wanted.push((PortKind::Client, any_if_v4_any(at), Owner::Clients(Arc::clone(&self.clients))));
        }
        let (Some(peers), Mode::Ensemble(mode)) = (&self.peers, &self.config.mode) else { return wanted };
        let Some(own) = own.or_else(|| mode.members.members.get(&mode.id)) else { return wanted };
        let host = host_of(mode, &own.host);
        let at = |port| Address { host: host.clone(), port };
        wanted.push((PortKind::Quorum, at(own.quorum_port), Owner::Quorum(Arc::clone(&peers.quorum))));
        wanted.push((
            PortKind::Election,
            at(own.election_port),
            Owner::Election(Arc::clone(&peers.election)),
        ));
        wanted
    }

    fn current(&self, kind: PortKind) -> Option<Address> {
        let peers = self.peers.as_ref();
        match kind {
            PortKind::Client => self.client_at.as_ref().map(|(at, _)| at.clone()),
            PortKind::Quorum => peers?.quorum_at.as_ref().map(|(at, _)| at.clone()),
            PortKind::Election => peers?.election_at.clone(),
            PortKind::Admin | PortKind::Metrics => None,
        }
    }

    fn stop_of(&self, kind: PortKind) -> Option<CancellationToken> {
        match kind {
            PortKind::Client => self.client_at.as_ref().map(|(_, stop)| stop.clone()),
            PortKind::Quorum => self.peers.as_ref()?.quorum_at.as_ref().map(|(_, stop)| stop.clone()),
            PortKind::Election | PortKind::Admin | PortKind::Metrics => None,
        }
    }

    /// Notes where a port is from here on, and makes what stops it.
    fn note(&mut self, kind: PortKind, at: Address) -> CancellationToken {
        let stop = self.stop.child_token();
        match (kind, &mut self.peers) {
            (PortKind::Client, _) => self.client_at = Some((at, stop.clone())),
            (PortKind::Quorum, Some(peers)) => peers.quorum_at = Some((at, stop.clone())),
            (PortKind::Election, Some(peers)) => peers.election_at = Some(at),
            (PortKind::Quorum | PortKind::Election | PortKind::Admin | PortKind::Metrics, _) => {}
        }
        stop
    }

    fn manner(&self, kind: PortKind) -> Manner {
        let connections = &self.config.connections;
        let (backlog, is_kept_alive) = match (kind, &self.config.mode) {
            (PortKind::Client, _) => {
                (u32::try_from(connections.backlog).unwrap_or(BACKLOG), connections.keep_alive)
            }
            (PortKind::Election, Mode::Ensemble(mode)) => (BACKLOG, mode.election.keep_alive),
            (PortKind::Quorum | PortKind::Election | PortKind::Admin | PortKind::Metrics, _) => {
                (BACKLOG, false)
            }
        };
        Manner { backlog, keep_alive: if is_kept_alive { KeepAlive::On } else { KeepAlive::Off } }
    }
}

/// Gives a listener to its owner, and stops the one before it.
async fn hand_over(
    owner: Owner,
    listener: TcpListener,
    stop: CancellationToken,
    old: Option<CancellationToken>,
) {
    match owner {
        Owner::Clients(clients) => clients.listen(listener, stop),
        Owner::Quorum(quorum) => quorum.listen(listener, stop),
        Owner::Election(election) => election.listen(listener).await,
    }
    if let Some(old) = old {
        old.cancel();
    }
}

async fn listen_patiently(
    kind: PortKind,
    at: &Address,
    manner: Manner,
    tries: u32,
) -> io::Result<TcpListener> {
    let mut left = tries;
    loop {
        let error = match listen(at, manner).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        left = left.saturating_sub(1);
        if left == 0 && tries != 0 {
            return Err(error);
        }
        warn!(%kind, %at, %error, "the port cannot be listened on yet");
        sleep(PAUSE).await;
    }
}

/// Listens on the first address of a name that can be bound.
pub async fn listen(at: &Address, manner: Manner) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", at.host));
    let mut hosts = vec![at.host.as_str()];
    if at.host == ANY {
        hosts.push("0.0.0.0"); // where there is no IPv6
    }
    for host in hosts {
        for address in lookup_host((host, at.port)).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let bound = socket.and_then(|socket| {
                socket.set_reuseaddr(true)?;
                // Linux hands it on to the sockets that are accepted.
                socket.set_keepalive(manner.keep_alive == KeepAlive::On)?;
                socket.bind(address)?;
                socket.listen(manner.backlog)
            });
            match bound {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// Every address of this machine, of both families.
const ANY: &str = "::";

/// Where a setting says to listen.
pub fn address_of(listen: &Listen) -> Address {
    Address { host: listen.host.clone().unwrap_or_else(|| ANY.to_owned()), port: listen.port }
}

/// Servers write `0.0.0.0` for every address when a line gives only a port: IPv6 is meant too.
fn any_if_v4_any(at: Address) -> Address {
    if at.host == "0.0.0.0" { Address { host: ANY.to_owned(), port: at.port } } else { at }
}

fn host_of(mode: &EnsembleMode, host: &str) -> String {
    if mode.listen_on_all { ANY.to_owned() } else { host.to_owned() }
}

/// Whether a membership, or the configuration, has a line for this server.
fn is_named(id: ServerId, ensemble: &Ensemble, mode: &EnsembleMode) -> bool {
    ensemble.members.contains_key(&id) || mode.members.members.contains_key(&id)
}

/// Refuses an id that no membership knows: the disk, or `myid`, is another server's.
pub fn check_named(config: &Config, ensemble: &Ensemble) -> Result<(), Failure> {
    match &config.mode {
        Mode::Ensemble(mode) if !is_named(mode.id, ensemble, mode) => {
            let place = config.data_dir.join("myid").display().to_string();
            let expected = "the id of a server that has a server.N line".to_owned();
            let (key, found) = ("myid".to_owned(), Some(mode.id.to_string()));
            Err(Failure::Config(vec![Problem { place, key, found, expected }]))
        }
        Mode::Ensemble(_) | Mode::Standalone => Ok(()),
    }
}
