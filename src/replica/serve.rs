//! Serves the clients of this server: sessions, turns and replies.
//!
//! In: connect requests, requests, and what became of writes and syncs. Out: what the connections are told.
//!
//! Always true:
//! * one session has one connection on this server;
//! * a client whose session ended, or moved to another server, loses its connection.
//!
//! Not here: whether this server decides (`lead`) or learns (`learn`), the order of turns (`clients`).

use super::clients::{Client, Next, SessionKind, Start};
use super::event::{Ask, ClientRequest, Closing, Effect, Then, ToClient};
use super::lead::Work;
use super::learn::Write;
use super::machine::{Origin, Replica, Role, in_ms};
use super::read::{self, Answer, Caller, Local};
use crate::base::{ConnId, Millis, Now, Room, SessionId};
use crate::proto::{
    ConnectRequest, ConnectResponse, ErrorCode, MultiResult, Op, ReplyHeader, Request, Response,
};
use crate::session::{self, LocalRule};
use crate::tree::{Applied, Outcome, Tree, Txn, TxnBody};

impl Replica {
    pub(super) fn on_client_up(&mut self, now: Now, conn: ConnId, request: &ConnectRequest) {
        let is_ahead = request.last_zxid_seen > self.service.tree.read(Tree::last_processed);
        if is_ahead || !self.may_serve(request) {
            return self.tell(conn, ToClient::Drop(Closing::Abrupt));
        }
        let timeout = self.settings.timeouts.negotiate(request.timeout_ms);
        if request.session == SessionId::NONE && self.room == Room::Scarce {
            return self.tell(conn, ToClient::Drop(Closing::Abrupt));
        }
        if request.session == SessionId::NONE {
            return self.open_session(now, conn, timeout, request.read_only);
        }
        let session = request.session;
        if !session::is_password(session, Some(&request.password)) {
            let refusal = ConnectResponse::refused(request.read_only.map(|_| self.is_read_only()));
            return self.tell(conn, ToClient::Connected(refusal));
        }
        if let Some(older) = self.clients.conn_of(session) {
            self.drop_client(older, Closing::Abrupt);
        }
        let is_local = self.locals.touch(now.mono, session, timeout);
        let kind = if is_local { SessionKind::Local } else { SessionKind::Replicated };
        self.clients.insert(conn, Client::new(session, kind, timeout, request.read_only));
        match &mut self.role {
            _ if is_local => self.grant(conn),
            Role::Learning(_) => self.ask_for_session(conn, session, timeout),
            Role::Leading(leading) => {
                match leading.tracker.reopen(now.mono, session, timeout, self.settings.zab.id) {
                    true => self.grant(conn),
                    false => self.refuse(conn),
                }
            }
            Role::Idle | Role::ReadOnly => self.refuse(conn),
        }
    }

    /// Whether this server has something for a client, going by what it says first.
    fn may_serve(&self, request: &ConnectRequest) -> bool {
        match self.role {
            Role::Idle => false,
            Role::Leading(_) | Role::Learning(_) => true,
            Role::ReadOnly => {
                let is_replicated =
                    || self.service.tree.read(|tree| tree.sessions().contains_key(&request.session));
                let has_local = self.locals.rule() != LocalRule::Replicated;
                request.read_only == Some(true) && has_local && !is_replicated()
            }
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.role, Role::ReadOnly)
    }

    fn open_session(&mut self, now: Now, conn: ConnId, timeout: Millis, read_only: Option<bool>) {
        let session = self.ids.next_id();
        if self.locals.rule() != LocalRule::Replicated {
            self.locals.open(now.mono, session, timeout);
            self.clients.insert(conn, Client::new(session, SessionKind::Local, timeout, read_only));
            return self.grant(conn);
        }
        self.clients.insert(conn, Client::new(session, SessionKind::Replicated, timeout, read_only));
        self.replicate_session(now, Origin::Connect(conn), session, timeout);
    }

    /// The client has its session.
    pub(super) fn grant(&mut self, conn: ConnId) {
        let Some(client) = self.clients.client(conn) else { return };
        if let Some(older) = self.clients.conn_of(client.session).filter(|older| *older != conn) {
            self.drop_client(older, Closing::Abrupt);
        }
        let is_read_only = self.is_read_only();
        let client = self.clients.grant(conn).expect("it was found above");
        let response = ConnectResponse {
            timeout_ms: in_ms(client.timeout),
            session: client.session,
            password: session::password(client.session),
            read_only: client.read_only.map(|_| is_read_only),
        };
        self.tell(conn, ToClient::Connected(response));
    }

    /// The client does not get the session that it asked for.
    pub(super) fn refuse(&mut self, conn: ConnId) {
        let Some(client) = self.clients.remove(conn) else { return };
        let refusal = ConnectResponse::refused(client.read_only.map(|_| self.is_read_only()));
        self.tell(conn, ToClient::Connected(refusal));
    }

    pub(super) fn on_requests(&mut self, now: Now, conn: ConnId, requests: Vec<ClientRequest>) {
        for request in requests {
            self.on_request(now, conn, request);
        }
        self.flush(conn);
    }

    fn on_request(&mut self, now: Now, conn: ConnId, mut request: ClientRequest) {
        if request.ask == (Ask::Broken { body: None }) && matches!(self.role, Role::Learning(_)) {
            request.ask = Ask::Local(Local::Refused(ErrorCode::MarshallingError));
        }
        if self.is_read_only() && !matches!(request.ask, Ask::Local(_)) && !ends_session(&request.ask) {
            request.ask = Ask::Local(Local::Refused(ErrorCode::NotReadOnly));
        }
        if self.has_no_room_for(&request.ask) {
            request.ask = Ask::Local(Local::Refused(ErrorCode::ThrottledOp));
        }
        if let Some(start) = self.clients.push(conn, request) {
            self.start(now, conn, start);
        }
    }

    /// Whether a request is refused for want of room: what was not begun takes none, and what the disk still has is
    /// kept for what was. A client is told by the code for "not executed at all, try again later".
    fn has_no_room_for(&self, ask: &Ask) -> bool {
        match ask {
            Ask::Write { op: Op::CloseSession, .. } => self.room == Room::Scarce,
            Ask::Write { .. } | Ask::Broken { .. } => self.room != Room::Enough,
            Ask::Sync(_) | Ask::Local(_) => false,
        }
    }

    fn start(&mut self, now: Now, conn: ConnId, start: Start) {
        let Some(client) = self.clients.client(conn) else { return };
        let session = client.session;
        let Start { xid, identities, ask } = start;
        match ask {
            Ask::Sync(path) => {
                self.syncs.push_back(conn);
                self.zab.sync(session, xid, path.as_deref().unwrap_or_default());
            }
            Ask::Write { op, request, body } => {
                let origin = self.upgrade_for(now, conn, session, &request);
                match self.role {
                    Role::Learning(_) => {
                        let write = Write { xid, identities: &identities, op, body };
                        self.forward_write(origin, session, write);
                    }
                    Role::Leading(_) | Role::Idle | Role::ReadOnly => {
                        self.decide(now, Work::Write { conn, session, xid, identities, request });
                    }
                }
            }
            Ask::Broken { body } => match (&self.role, body) {
                (Role::Learning(_), Some(body)) => {
                    let write = Write { xid, identities: &identities, op: Op::Multi, body };
                    self.forward_write(Origin::Request(conn), session, write);
                }
                (_, _) => self.decide(now, Work::Broken { conn, session, xid }),
            },
            Ask::Local(_) => unreachable!("what is answered here does not start"),
        }
    }

    pub(super) fn on_synced(&mut self, now: Now) {
        let conn = self.syncs.pop_front().expect("every sync that is done was asked for");
        self.clients.sync_done(conn);
        self.flush(conn);
        while let Some(start) = self.clients.release(conn) {
            self.start(now, conn, start);
        }
        self.flush(conn);
    }

    /// Puts every reply whose turn has come to those that the client is told at the end of the step.
    fn flush(&mut self, conn: ConnId) {
        let mut watcher = None;
        while let Some(next) = self.clients.next(conn) {
            let Next::Answer { xid, identities, local } = next else { continue };
            if local == Local::Close {
                self.end_local(conn);
            }
            let watches = &self.service.watches;
            let Some(watcher) = watcher.get_or_insert_with(|| watches.watcher(conn)) else { break };
            let Some(client) = self.clients.client(conn) else { break };
            let (session, acl_check) = (client.session, self.settings.clients.acl_check);
            let caller = Caller { session, identities: &identities, acl_check, watches, watcher };
            let clients = &mut self.clients;
            self.service.tree.read(|tree| {
                let answer = read::answer(tree, &caller, xid, &local);
                clients.say(conn, tree.last_processed(), &answer);
            });
        }
        if self.clients.is_leaving(conn) {
            self.tell_replies(conn);
            self.clients.remove(conn);
        }
    }

    /// Tells whoever waited for a txn.
    pub(super) fn complete(&mut self, origin: Origin, txn: &Txn, applied: &Applied) {
        let conn = match origin {
            Origin::Request(conn) | Origin::LocalEphemeral(conn) => conn,
            Origin::Connect(conn) => return self.grant(conn),
            Origin::Elsewhere => return,
        };
        let (err, response) = match applied.to_response(txn) {
            Ok(response) => (0, response),
            Err(_) if origin == Origin::LocalEphemeral(conn) => {
                (ErrorCode::EphemeralOnLocalSession.as_wire(), Response::Empty)
            }
            Err(err) => (err, Response::Empty),
        };
        if is_moved(err, &response) {
            return self.drop_client(conn, Closing::Orderly);
        }
        let then = match txn.body {
            TxnBody::CloseSession { .. } => Then::Close,
            TxnBody::CreateSession { .. }
            | TxnBody::Error { .. }
            | TxnBody::Create(_)
            | TxnBody::Delete { .. }
            | TxnBody::SetData(_)
            | TxnBody::SetAcl { .. }
            | TxnBody::Check { .. }
            | TxnBody::Multi(_) => Then::Stay,
        };
        let zxid = applied.zxid;
        self.clients.write_done(conn, zxid, |xid| {
            let header = ReplyHeader { xid, zxid, err };
            Answer { header, response, then }
        });
        self.flush(conn);
    }

    /// A session that ended takes the connection along that has it, unless that one asked for it and gets its reply.
    pub(super) fn end_closed(&mut self, origin: Origin, applied: &Applied) {
        for outcome in &applied.outcomes {
            if let Outcome::SessionClosed(session) = outcome
                && let Some(conn) = self.clients.conn_of(*session)
                && origin != Origin::Request(conn)
            {
                self.drop_client(conn, Closing::Abrupt);
            }
        }
    }

    pub(super) fn drop_client(&mut self, conn: ConnId, closing: Closing) {
        self.tell(conn, ToClient::Drop(closing));
        self.clients.remove(conn);
    }

    /// Tells a client something, behind the replies that it has got so far.
    pub(super) fn tell(&mut self, conn: ConnId, what: ToClient) {
        self.tell_replies(conn);
        self.fx.push(Effect::Client(conn, what));
    }

    fn tell_replies(&mut self, conn: ConnId) {
        if let Some(replies) = self.clients.take_replies(conn) {
            self.fx.push(Effect::Client(conn, ToClient::Replies(replies)));
        }
    }

    /// Tells clients at the end of a step what it has for them: first the replies, which take the events of their own
    /// states along, then that there are events.
    pub(super) fn tell_gathered(&mut self) {
        while let Some((conn, replies)) = self.clients.next_replies() {
            self.fx.push(Effect::Client(conn, ToClient::Replies(replies)));
        }
        if !self.noticed.is_empty() {
            let zxid = self.service.tree.read(Tree::zxid);
            let conns = std::mem::take(&mut self.noticed).into_iter().collect();
            self.fx.push(Effect::Notify(zxid, conns));
        }
    }
}

fn ends_session(ask: &Ask) -> bool {
    matches!(ask, Ask::Write { request: Request::CloseSession, .. })
}

/// Whether a write failed because its session is on another server.
fn is_moved(err: i32, response: &Response) -> bool {
    let moved = ErrorCode::SessionMoved.as_wire();
    match response {
        Response::Multi(results) => results.contains(&MultiResult::Failed(moved)),
        _ => err == moved,
    }
}
