//! Clients' connections in a run: bytes between a client and the server that it chose.
//!
//! In: what a client wishes, what a server's connection has to say. Out: the same bytes at the other end, in order.
//!
//! Always true:
//! * bytes of one connection arrive in order; what is under way when it ends may be lost;
//! * a server that does not serve takes no client, and lets go of those that it has.
//!
//! Not here: what a client wants (`client`), what a server answers (`quorate::replica::conn`).

use std::collections::VecDeque;

use bytes::Bytes;
use quorate::base::ConnId;
use quorate::replica::{Closing, Event, ToClient};

use crate::client::Wish;
use crate::invariants::local_sessions::Reign;
use crate::invariants::sessions::Sign;
use crate::network::{Process, Slot};
use crate::queue::Micros;
use crate::world::{Happening, World};

/// A client's connection, as the world keeps it.
#[derive(Debug, Default)]
pub struct Connection {
    /// Its number; a new one with every attempt.
    pub serial: u64,
    /// The server's end; `None` while none stands.
    pub served_by: Option<(Process, ConnId)>,
    /// The number of the wake-up that counts.
    wake: u64,
    last_up: Micros,
    last_down: Micros,
}

impl World {
    /// A client is woken.
    pub fn on_wake(&mut self, client: usize, number: u64) {
        if self.connections[client].wake == number {
            self.run_client(client);
        }
    }

    /// Lets a client do what is due.
    pub fn run_client(&mut self, client: usize) {
        let now = self.queue.now();
        let mut wishes = Vec::new();
        let next = self.clients[client].wake(now, &mut self.oracle, &mut wishes);
        self.connections[client].wake += 1;
        if let Some(next) = next
            && next.0 != u64::MAX
        {
            let at = next.max(now + Micros(1));
            self.queue.at(at, Happening::Wake(client, self.connections[client].wake));
        }
        self.grant(client, wishes);
    }

    /// Does what a client wishes.
    pub fn grant(&mut self, client: usize, wishes: Vec<Wish>) {
        let now = self.queue.now();
        for wish in wishes {
            match wish {
                Wish::Connect(server) => {
                    let connection = &mut self.connections[client];
                    connection.serial += 1;
                    connection.served_by = None;
                    let serial = connection.serial;
                    let delay = Micros(200 + self.rng.below(800));
                    self.queue.after(delay, Happening::Dials(client, serial, Slot(server)));
                }
                Wish::Send(bytes) => {
                    let connection = &mut self.connections[client];
                    let at = (now + Micros(100 + self.rng.below(400))).max(connection.last_up);
                    connection.last_up = at;
                    self.queue.at(at, Happening::ToServer(client, connection.serial, bytes));
                }
                Wish::HangUp => self.hang_up(client),
            }
        }
    }

    /// The client's end is gone; the server learns of it.
    fn hang_up(&mut self, client: usize) {
        let connection = &mut self.connections[client];
        let serial = connection.serial;
        connection.serial += 1;
        if let Some((process, _)) = connection.served_by.take() {
            let at = (self.queue.now() + Micros(100 + self.rng.below(400))).max(connection.last_up);
            self.queue.at(at, Happening::ServerEnd(client, serial, process));
        }
    }

    /// A client's attempt to connect comes to its end.
    pub fn on_client_dials(&mut self, client: usize, serial: u64, slot: Slot) {
        if self.connections[client].serial != serial {
            return;
        }
        let now = self.queue.now();
        let process = self.process(slot);
        let server = &mut self.servers[slot.0];
        let mono = server.clock.now(now).mono;
        let running = server.running.as_mut().filter(|running| running.serves);
        let (Some(process), Some(running)) = (process, running) else {
            self.on_client_end(client, serial);
            return;
        };
        let conn = running.accept(mono, (client, serial));
        self.clients[client].peer = Some(Reign { process, number: running.reign });
        self.connections[client].served_by = Some((process, conn));
        let mut wishes = Vec::new();
        self.clients[client].on_connected(&mut wishes);
        self.grant(client, wishes);
    }

    /// A client's bytes, one frame, reach the server.
    pub fn on_bytes_to_server(&mut self, client: usize, serial: u64, bytes: Bytes) {
        let connection = &self.connections[client];
        let Some((process, conn)) = connection.served_by.filter(|_| connection.serial == serial) else {
            return;
        };
        if !self.is_current(process) {
            return;
        }
        let server = &mut self.servers[process.slot.0];
        let mono = server.clock.now(self.queue.now()).mono;
        let running = server.running.as_mut().expect("a current process runs");
        let Some(served) = running.clients.get_mut(&conn) else { return };
        served.conn.on_frame(mono, bytes.slice(4..));
        let session = self.clients[client].session.as_ref().map(|session| session.id);
        if let Some(session) = session {
            // A session that is presented again may be refused.
            let sign = if self.clients[client].is_live() { Sign::Told } else { Sign::Perhaps };
            self.invariants.sessions.on_sign(process.slot, mono, session, sign);
        }
        let mut events = VecDeque::new();
        self.pump(process, conn, &mut events);
        self.give(process, events);
    }

    /// A server's bytes, whole frames, reach the client.
    pub fn on_bytes_to_client(&mut self, client: usize, serial: u64, bytes: &Bytes) {
        let now = self.queue.now();
        let mut at = 0;
        let mut wishes = Vec::new();
        while at < bytes.len() && self.connections[client].serial == serial {
            let len =
                i32::from_be_bytes(bytes[at..at + 4].try_into().expect("a length has four bytes")) as usize;
            let frame = bytes.slice(at + 4..at + 4 + len);
            at += 4 + len;
            self.clients[client].on_frame(now, frame, &mut self.oracle, &mut wishes);
            if wishes.iter().any(|wish| matches!(wish, Wish::HangUp)) {
                break;
            }
        }
        if self.connections[client].serial == serial || !wishes.is_empty() {
            self.grant(client, wishes);
            self.run_client(client);
        }
    }

    /// The server sees that the client is gone.
    pub fn on_server_end(&mut self, client: usize, serial: u64, process: Process) {
        if !self.is_current(process) {
            return;
        }
        let running = self.servers[process.slot.0].running.as_mut().expect("a current process runs");
        let found = running.clients.iter().find(|(_, served)| served.client == (client, serial));
        let Some(conn) = found.map(|(conn, _)| *conn) else { return };
        let mut events = VecDeque::new();
        self.close_client(process, conn, &mut events);
        self.give(process, events);
    }

    /// The client sees the end of its connection.
    pub fn on_client_end(&mut self, client: usize, serial: u64) {
        let connection = &mut self.connections[client];
        if connection.serial != serial {
            return;
        }
        connection.serial += 1;
        connection.served_by = None;
        self.clients[client].on_closed(self.queue.now());
        self.run_client(client);
    }

    /// The loop tells a connection something.
    pub fn tell_client(
        &mut self,
        process: Process,
        conn: ConnId,
        tell: ToClient,
        events: &mut VecDeque<Event>,
    ) {
        let server = &mut self.servers[process.slot.0];
        let mono = server.clock.now(self.queue.now()).mono;
        let running = server.running.as_mut().expect("it is stepping");
        let Some(served) = running.clients.get_mut(&conn) else { return };
        served.conn.on_effect(mono, tell);
        self.pump(process, conn, events);
    }

    /// Watch events wait for these connections.
    pub fn notify(
        &mut self,
        process: Process,
        zxid: quorate::base::Zxid,
        conns: &[ConnId],
        events: &mut VecDeque<Event>,
    ) {
        for conn in conns {
            self.tell_client(process, *conn, ToClient::Notify(zxid), events);
        }
    }

    /// Lets time pass on the connections of a process.
    pub fn tick_connections(&mut self, process: Process) {
        let server = &mut self.servers[process.slot.0];
        let mono = server.clock.now(self.queue.now()).mono;
        let running = server.running.as_mut().expect("a current process runs");
        let due =
            |served: &crate::server::Served| served.conn.deadline().is_some_and(|deadline| deadline <= mono);
        let conns: Vec<ConnId> =
            running.clients.iter().filter(|(_, served)| due(served)).map(|(conn, _)| *conn).collect();
        let mut events = VecDeque::new();
        for conn in conns {
            let running = self.servers[process.slot.0].running.as_mut().expect("it runs");
            if let Some(served) = running.clients.get_mut(&conn) {
                served.conn.on_tick(mono);
            }
            self.pump(process, conn, &mut events);
        }
        self.give(process, events);
    }

    /// Lets go of every client.
    pub fn close_clients(&mut self, process: Process, events: &mut VecDeque<Event>) {
        let running = self.servers[process.slot.0].running.as_ref().expect("it is stepping");
        let conns: Vec<ConnId> = running.clients.keys().copied().collect();
        for conn in conns {
            self.close_client(process, conn, events);
        }
    }

    /// A process has ended: its clients see the end of their connections after a while.
    pub fn leave_clients(&mut self, clients: Vec<(usize, u64)>) {
        for (client, serial) in clients {
            let at = Micros(500 + self.rng.below(5_000));
            self.queue.after(at, Happening::ClientEnd(client, serial));
        }
    }

    /// Breaks a client's connection: both ends learn of it.
    pub fn break_client(&mut self, client: usize) {
        let serial = self.connections[client].serial;
        if let Some((process, _)) = self.connections[client].served_by {
            self.queue.after(Micros(200), Happening::ServerEnd(client, serial, process));
        }
        self.queue.after(Micros(300), Happening::ClientEnd(client, serial));
    }

    /// Takes from a connection what came together: bytes for the client, events for the loop, and its end.
    fn pump(&mut self, process: Process, conn: ConnId, events: &mut VecDeque<Event>) {
        let now = self.queue.now();
        let running = self.servers[process.slot.0].running.as_mut().expect("it runs");
        let Some(served) = running.clients.get_mut(&conn) else { return };
        events.extend(served.conn.take_events());
        let mut bytes = served.conn.take_bytes();
        while served.conn.has_answers() {
            bytes.unsplit(served.conn.take_bytes());
        }
        let (client, serial) = served.client;
        let closing = served.conn.closing();
        if !bytes.is_empty() && self.connections[client].serial == serial && closing != Some(Closing::Abrupt)
        {
            self.trace.bytes(&bytes);
            let connection = &mut self.connections[client];
            let at = (now + Micros(100 + self.rng.below(400))).max(connection.last_down);
            connection.last_down = at;
            self.queue.at(at, Happening::ToClient(client, serial, bytes.freeze()));
        }
        if closing.is_some() {
            self.close_client(process, conn, events);
        }
    }

    /// The server's end of a connection is closed.
    fn close_client(&mut self, process: Process, conn: ConnId, events: &mut VecDeque<Event>) {
        let server = &mut self.servers[process.slot.0];
        let mono = server.clock.now(self.queue.now()).mono;
        let running = server.running.as_mut().expect("it runs");
        let Some(mut served) = running.clients.remove(&conn) else { return };
        served.conn.on_gone(mono);
        events.extend(served.conn.take_events());
        let (client, serial) = served.client;
        let connection = &mut self.connections[client];
        if connection.serial == serial {
            let at = (self.queue.now() + Micros(100 + self.rng.below(400))).max(connection.last_down);
            connection.last_down = at;
            self.queue.at(at, Happening::ClientEnd(client, serial));
        }
    }

    fn give(&mut self, process: Process, events: VecDeque<Event>) {
        for event in events {
            self.step(process, event);
        }
    }
}
