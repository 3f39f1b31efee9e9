//! Which connection of the election port is kept, and when a server is called.
//!
//! In: notifications to send, memberships, calls of others. Out: tasks that write and read connections.
//!
//! Always true:
//! * the connection in use is the one that the larger id opened;
//! * a server is called only while there is no connection to it, and one call at a time;
//! * servers that no membership names are bounded in number.
//!
//! Not here: the bytes (`wire`), the tasks of one connection (`link`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::link::{self, Link, Socket};
use crate::base::{Address, Ensemble, ServerId};
use crate::net::dial::{self, KeepAlive};
use crate::replica::event::Event;
use crate::zab::vote::{Hello, Notification};

/// Notes that may wait for the board. When it is full, a notification is dropped: the election sends it again.
const NOTES_MAX: usize = 1024;
/// Servers that no membership names and that are remembered; more are turned away.
const STRANGERS_MAX: usize = 64;
/// How long a larger id has for calling back before it is called again.
const CALL_BACK_PATIENCE: Duration = Duration::from_millis(700);
/// A connection this young is kept when the smaller id calls: both called at once.
const CROSSING: Duration = Duration::from_millis(700);

/// What the election port is told.
#[derive(Clone, Debug)]
pub struct ElectionSettings {
    /// This server.
    pub id: ServerId,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// Whether the system looks after those that are silent.
    pub keep_alive: KeepAlive,
    /// How long an initial message may take.
    pub handshake_timeout: Duration,
    /// Connections that may be without an initial message at one time; more are closed.
    pub handshakes_max: usize,
    /// Pause after accepting went wrong, so that a lack of descriptors does not spin.
    pub accept_pause: Duration,
    /// Every task is waited for at the end.
    pub tasks: TaskTracker,
}

/// What the board is told.
pub(super) enum Note {
    /// Send this to a server; it replaces what waits.
    Send(ServerId, Bytes),
    /// The port is listened on by this listener from here on.
    Listen(TcpListener),
    /// A server called and introduced itself.
    Called {
        /// What it said.
        hello: Hello,
        /// Where it called from.
        from: IpAddr,
        /// The connection.
        socket: Socket,
    },
    /// A call has ended; `None` if nobody answered.
    Answered(ServerId, Option<Socket>),
    /// A connection with this number has ended.
    Ended(ServerId, u64),
}

/// The election port.
pub struct Election {
    notes: mpsc::Sender<Note>,
    members: watch::Sender<Vec<Ensemble>>,
}

impl Election {
    /// Starts the board; it ends when it is stopped.
    pub fn start(
        settings: ElectionSettings,
        inbox: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Election {
        let (notes, queue) = mpsc::channel(NOTES_MAX);
        let (members, newest_members) = watch::channel(Vec::new());
        let own = Address { host: "0.0.0.0".to_owned(), port: 0 };
        let tasks = settings.tasks.clone();
        let board = Board {
            settings,
            inbox,
            notes: notes.clone(),
            stop,
            own,
            accepting: None,
            peers: BTreeMap::new(),
            link_number: 0,
        };
        tasks.spawn(board.run(queue, newest_members));
        Election { notes, members }
    }

    /// Sends a notification to a server, or leaves it to the next one if too much is waiting.
    pub fn send(&self, to: ServerId, notification: &Notification) {
        let mut frame = BytesMut::new();
        notification.encode(&mut frame);
        if self.notes.try_send(Note::Send(to, frame.freeze())).is_err() {
            warn!(peer = %to, "a notification is dropped: too many wait");
        }
    }

    /// Tells which memberships there are, the one in force first: addresses may have changed.
    pub fn set_members(&self, members: Vec<Ensemble>) {
        self.members.send_replace(members);
    }

    /// Accepts on this listener from here on.
    pub async fn listen(&self, listener: TcpListener) {
        drop(self.notes.send(Note::Listen(listener)).await);
    }
}

/// One other server.
struct Peer {
    /// Where to call it; `None` until an address is known.
    address: Option<Address>,
    /// Whether a membership names it.
    is_member: bool,
    /// The last notification to it.
    newest: watch::Sender<Option<Bytes>>,
    /// The connection in use, and since when.
    link: Option<(u64, CancellationToken, Instant)>,
    /// Whether it is being called.
    is_calling: bool,
    /// Not to be called before.
    call_after: Instant,
}

struct Board {
    settings: ElectionSettings,
    inbox: mpsc::Sender<Event>,
    notes: mpsc::Sender<Note>,
    stop: CancellationToken,
    /// What this server announces.
    own: Address,
    /// Stops the task that accepts.
    accepting: Option<CancellationToken>,
    peers: BTreeMap<ServerId, Peer>,
    link_number: u64,
}

impl Board {
    async fn run(mut self, mut queue: mpsc::Receiver<Note>, mut members: watch::Receiver<Vec<Ensemble>>) {
        members.mark_changed();
        loop {
            let note = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Ok(()) = members.changed() => None,
                note = queue.recv() => note,
            };
            match note {
                None => {
                    let members = members.borrow_and_update().clone();
                    self.on_members(&members);
                }
                Some(Note::Send(to, payload)) => self.on_send(to, payload),
                Some(Note::Listen(listener)) => self.on_listen(listener),
                Some(Note::Called { hello, from, socket }) => self.on_called(hello, from, socket),
                Some(Note::Answered(from, socket)) => self.on_answered(from, socket),
                Some(Note::Ended(peer, number)) => self.on_ended(peer, number),
            }
        }
        for (_, stop, _) in self.peers.values().filter_map(|peer| peer.link.as_ref()) {
            stop.cancel();
        }
    }

    fn on_send(&mut self, to: ServerId, payload: Bytes) {
        let Some(peer) = self.peer(to) else { return };
        peer.newest.send_replace(Some(payload));
        if peer.link.is_none() {
            self.call(to);
        }
    }

    fn on_members(&mut self, members: &[Ensemble]) {
        for peer in self.peers.values_mut() {
            peer.is_member = false;
        }
        self.peers.retain(|_, peer| peer.link.is_some() || peer.is_calling || peer.address.is_some());
        // The membership in force comes last, so that its addresses win.
        for member in members.iter().rev().flat_map(|ensemble| ensemble.members.values()) {
            let address = Address { host: member.host.clone(), port: member.election_port };
            if member.id == self.settings.id {
                self.own = address;
                continue;
            }
            let peer = self.peers.entry(member.id).or_insert_with(Peer::new);
            peer.is_member = true;
            if peer.address.as_ref() != Some(&address) {
                if let Some((_, stop, _)) = peer.link.take_if(|_| peer.address.is_some()) {
                    info!(peer = %member.id, %address, "the election port has moved");
                    stop.cancel();
                }
                peer.address = Some(address);
                peer.call_after = Instant::now();
            }
        }
    }

    fn on_listen(&mut self, listener: TcpListener) {
        let stop = self.stop.child_token();
        if let Some(old) = self.accepting.replace(stop.clone()) {
            old.cancel();
        }
        let (settings, notes) = (self.settings.clone(), self.notes.clone());
        self.settings.tasks.spawn(link::accept(listener, settings, notes, stop));
    }

    /// Specification 3, section 2.3, as the one who accepts.
    fn on_called(&mut self, hello: Hello, from: IpAddr, socket: Socket) {
        let Hello { id, addresses } = hello;
        let own = self.settings.id;
        if id == own {
            debug!(%from, "this server called itself");
            return;
        }
        let Some(peer) = self.peer(id) else {
            warn!(peer = %id, %from, "too many unknown servers call the election port");
            return;
        };
        if !peer.is_member {
            // Without a membership there is only the caller's word; an address that leads back here is none.
            let is_useful = |address: &Address| {
                let ip = address.host.parse::<IpAddr>().ok();
                !dial::is_wildcard(&address.host)
                    && (from.is_loopback() || !ip.is_some_and(|ip| ip.is_loopback()))
            };
            peer.address = addresses.into_iter().find(is_useful).or_else(|| peer.address.take());
        }
        if id > own {
            self.keep(id, socket);
            return;
        }
        if peer.link.as_ref().is_some_and(|(_, _, since)| since.elapsed() < CROSSING) {
            return; // this server's own call stands already and crossed this one
        }
        if let Some((_, stop, _)) = peer.link.take() {
            stop.cancel();
        }
        peer.call_after = Instant::now();
        self.call(id);
    }

    /// Specification 3, section 2.3, as the one who called.
    fn on_answered(&mut self, from: ServerId, socket: Option<Socket>) {
        let own = self.settings.id;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.is_calling = false;
        match socket {
            Some(socket) if from < own => self.keep(from, socket),
            Some(_) => peer.call_after = Instant::now() + CALL_BACK_PATIENCE,
            None if peer.is_member || peer.link.is_some() => {}
            None => drop(self.peers.remove(&from)),
        }
    }

    fn on_ended(&mut self, id: ServerId, number: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.link.as_ref().is_some_and(|(current, _, _)| *current == number) {
            peer.link = None;
            debug!(peer = %id, "the connection of the election port has ended");
            if !peer.is_member {
                self.peers.remove(&id);
            }
        }
    }

    fn call(&mut self, id: ServerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(address) = peer.address.clone() else { return };
        if peer.is_calling || Instant::now() < peer.call_after {
            return;
        }
        peer.is_calling = true;
        let (own, notes, settings) = (self.own.clone(), self.notes.clone(), self.settings.clone());
        let stop = self.stop.clone();
        self.settings.tasks.spawn(async move {
            let note = tokio::select! {
                () = stop.cancelled() => return,
                note = link::call(id, address, own, settings) => note,
            };
            drop(notes.send(note).await);
        });
    }

    /// Uses this connection from here on, instead of another.
    fn keep(&mut self, id: ServerId, socket: Socket) {
        self.link_number += 1;
        let (number, stop) = (self.link_number, self.stop.child_token());
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let newest = peer.newest.subscribe();
        if let Some((_, old, _)) = peer.link.replace((number, stop.clone(), Instant::now())) {
            old.cancel();
        }
        debug!(peer = %id, "a connection of the election port stands");
        let Socket { stream, bytes } = socket;
        let (read, write) = stream.into_split();
        let link = |stop| Link { peer: id, number, stop };
        let (notes, inbox) = (self.notes.clone(), self.inbox.clone());
        self.settings.tasks.spawn(link::write(write, link(stop.clone()), newest, notes));
        self.settings.tasks.spawn(link::read(read, bytes, link(stop), inbox));
    }

    /// The server with this id; `None` if it is a stranger and there are too many.
    fn peer(&mut self, id: ServerId) -> Option<&mut Peer> {
        let strangers = self.peers.values().filter(|peer| !peer.is_member).count();
        if !self.peers.contains_key(&id) && strangers >= STRANGERS_MAX {
            return None;
        }
        Some(self.peers.entry(id).or_insert_with(Peer::new))
    }
}

impl Peer {
    fn new() -> Peer {
        Peer {
            address: None,
            is_member: false,
            newest: watch::Sender::new(None),
            link: None,
            is_calling: false,
            call_after: Instant::now(),
        }
    }
}
