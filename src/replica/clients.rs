//! The clients of this server, and the turns that their requests wait for.
//!
//! In: requests, and what became of them. Out: replies, for each client in the order of its requests.
//!
//! Always true:
//! * a request is answered only after every earlier one of its client;
//! * a read sees every write that its client asked for before it, and none that it asked for after it.
//!
//! Not here: ordering writes (`machine`), the connection itself (`conn`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::event::{Ask, ClientRequest, Replies, Then};
use super::read::{Answer, Local};
use super::replies::Gathered;
use crate::base::{ConnId, Millis, SessionId, Zxid};
use crate::proto::{Id, Request};

/// Every client of this server.
#[derive(Debug, Default)]
pub struct Clients {
    by_conn: FxHashMap<ConnId, Client>,
    by_session: BTreeMap<SessionId, ConnId>,
    /// Those that have got replies in this step, in the order of their first ones.
    replied: VecDeque<ConnId>,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its session; until it is granted, the one that it is to get.
    pub session: SessionId,
    /// Whether others know it.
    pub session_kind: SessionKind,
    /// The negotiated timeout.
    pub timeout: Millis,
    /// The read-only byte of its connect request, for the response.
    pub read_only: Option<bool>,
    turns: VecDeque<Turn>,
    /// How many of the turns hold back writes behind them.
    holding: usize,
    /// Replies that it was not told yet.
    gathered: Gathered,
}

/// Who knows a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Every server.
    Replicated,
    /// This one alone.
    Local,
}

/// One request in its place.
#[derive(Debug)]
struct Turn {
    xid: i32,
    identities: Arc<Vec<Id>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A write or sync behind a sync that is not done: what comes between must not see it.
    Held(Ask),
    /// A write on its way.
    Write,
    /// A sync on its way, with its path.
    Sync(Option<String>),
    /// To be answered here.
    Local(Local),
    /// Decided, with the state that the answer tells of.
    Done(Zxid, Box<Answer>),
}

/// What a client's oldest request needs.
#[derive(Debug)]
pub enum Next {
    /// Nothing: it was decided, and the reply is with the others.
    Replied,
    /// It has to be answered from the tree.
    Answer {
        /// The client's number for it.
        xid: i32,
        /// The identities by which it may read.
        identities: Arc<Vec<Id>>,
        /// What is asked for.
        local: Local,
    },
}

/// A write or sync that may start.
#[derive(Debug)]
pub struct Start {
    /// The client's number for it.
    pub xid: i32,
    /// The identities by which it may write.
    pub identities: Arc<Vec<Id>>,
    /// What is asked for.
    pub ask: Ask,
}

impl Clients {
    /// A client that is to get a session.
    pub fn insert(&mut self, conn: ConnId, client: Client) {
        self.by_conn.insert(conn, client);
    }

    /// The client's session is replicated from here on.
    pub fn on_upgraded(&mut self, conn: ConnId) {
        if let Some(client) = self.by_conn.get_mut(&conn) {
            client.session_kind = SessionKind::Replicated;
        }
    }

    /// The client's session is granted: no other connection of this server has it.
    pub fn grant(&mut self, conn: ConnId) -> Option<&Client> {
        let client = self.by_conn.get(&conn)?;
        self.by_session.insert(client.session, conn);
        Some(client)
    }

    /// A client.
    pub fn client(&self, conn: ConnId) -> Option<&Client> {
        self.by_conn.get(&conn)
    }

    /// The connection that has a session.
    pub fn conn_of(&self, session: SessionId) -> Option<ConnId> {
        self.by_session.get(&session).copied()
    }

    /// Forgets a client. What it asked for goes its way, and nobody waits for it.
    pub fn remove(&mut self, conn: ConnId) -> Option<Client> {
        let client = self.by_conn.remove(&conn)?;
        if self.conn_of(client.session) == Some(conn) {
            self.by_session.remove(&client.session);
        }
        Some(client)
    }

    /// Forgets every client and lists them.
    pub fn remove_all(&mut self) -> Vec<ConnId> {
        self.by_session.clear();
        let mut conns: Vec<ConnId> = self.by_conn.drain().map(|(conn, _)| conn).collect();
        conns.sort_unstable();
        conns
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_conn.len()
    }

    /// How many requests wait for their turn.
    pub fn turn_count(&self) -> usize {
        self.by_conn.values().map(|client| client.turns.len()).sum()
    }

    /// Puts a request behind the earlier ones of its client, and returns it if it may start at once.
    pub fn push(&mut self, conn: ConnId, request: ClientRequest) -> Option<Start> {
        let client = self.by_conn.get_mut(&conn)?;
        let ClientRequest { xid, ask, identities } = request;
        let is_held = client.holding > 0;
        let (state, start) = match ask {
            Ask::Local(local) => (State::Local(local), None),
            ask if is_held => (State::Held(ask), None),
            ask => client.begin(ask),
        };
        client.holding += usize::from(state.holds());
        client.turns.push_back(Turn { xid, identities: Arc::clone(&identities), state });
        start.map(|ask| Start { xid, identities, ask })
    }

    /// The client's oldest write that is on its way is decided: this is the answer, which tells of this state.
    pub fn write_done(&mut self, conn: ConnId, state: Zxid, answer: impl FnOnce(i32) -> Answer) {
        let Some(client) = self.by_conn.get_mut(&conn) else { return };
        if let Some(turn) = client.turns.pop_front_if(|turn| matches!(turn.state, State::Write)) {
            return self.say(conn, state, &answer(turn.xid));
        }
        let turn = client.turns.iter_mut().find(|turn| matches!(turn.state, State::Write));
        let turn = turn.expect("a write that is decided was asked for, and is not answered");
        turn.state = State::Done(state, Box::new(answer(turn.xid)));
    }

    /// Gathers a reply to the client's oldest request.
    pub fn say(&mut self, conn: ConnId, state: Zxid, answer: &Answer) {
        let Some(client) = self.by_conn.get_mut(&conn) else { return };
        if client.gathered.is_empty() {
            self.replied.push_back(conn);
        }
        client.gathered.add(state, answer, client.turns.len());
    }

    /// Whether the last reply of the client ends its connection.
    pub fn is_leaving(&self, conn: ConnId) -> bool {
        self.by_conn.get(&conn).is_some_and(|client| client.gathered.then() == Then::Close)
    }

    /// The replies that the client was not told yet; `None` without any.
    pub fn take_replies(&mut self, conn: ConnId) -> Option<Replies> {
        self.by_conn.get_mut(&conn)?.gathered.take()
    }

    /// The replies of the next client that has any.
    pub fn next_replies(&mut self) -> Option<(ConnId, Replies)> {
        loop {
            let conn = self.replied.pop_front()?;
            if let Some(replies) = self.take_replies(conn) {
                return Some((conn, replies));
            }
        }
    }

    /// The client's oldest sync is done. It is answered in its turn, which may come later, with the zxid of then:
    /// a reply never tells of less than the one before it.
    pub fn sync_done(&mut self, conn: ConnId) {
        let Some(client) = self.by_conn.get_mut(&conn) else { return };
        let turns = &mut client.turns;
        let turn = turns.iter_mut().find(|turn| matches!(turn.state, State::Sync(_)));
        let turn = turn.expect("a sync that is done was asked for, and is not answered");
        if let State::Sync(path) = &mut turn.state {
            turn.state = State::Local(Local::Read(Request::Sync { path: path.take() }));
            client.holding -= 1;
        }
    }

    /// Takes the client's oldest request if it can be answered.
    pub fn next(&mut self, conn: ConnId) -> Option<Next> {
        let client = self.by_conn.get_mut(&conn)?;
        let turn = client.turns.pop_front_if(|turn| match turn.state {
            State::Local(_) | State::Done(..) => true,
            State::Held(_) | State::Write | State::Sync(_) => false,
        })?;
        let Turn { xid, identities, state } = turn;
        match state {
            State::Done(state, answer) => {
                self.say(conn, state, &answer);
                Some(Next::Replied)
            }
            State::Local(local) => Some(Next::Answer { xid, identities, local }),
            State::Held(_) | State::Write | State::Sync(_) => None,
        }
    }

    /// Takes the client's oldest held request that no sync stands before any more.
    pub fn release(&mut self, conn: ConnId) -> Option<Start> {
        let client = self.by_conn.get_mut(&conn)?;
        let place = client.turns.iter().position(|turn| turn.state.holds())?;
        let State::Held(ask) = &client.turns[place].state else { return None };
        let (state, start) = client.begin(ask.clone());
        client.holding -= usize::from(!state.holds());
        let turn = &mut client.turns[place];
        turn.state = state;
        start.map(|ask| Start { xid: turn.xid, identities: Arc::clone(&turn.identities), ask })
    }
}

impl Client {
    /// A client that has asked for nothing yet.
    pub fn new(
        session: SessionId,
        session_kind: SessionKind,
        timeout: Millis,
        read_only: Option<bool>,
    ) -> Client {
        Client {
            session,
            session_kind,
            timeout,
            read_only,
            turns: VecDeque::new(),
            holding: 0,
            gathered: Gathered::default(),
        }
    }

    /// What a request waits for, and the request if somebody has to be asked. The end of a session that lives here needs
    /// nobody.
    fn begin(&self, ask: Ask) -> (State, Option<Ask>) {
        match (self.session_kind, &ask) {
            (SessionKind::Local, Ask::Write { request: Request::CloseSession, .. }) => {
                (State::Local(Local::Close), None)
            }
            (_, _) => (State::of_started(&ask), Some(ask)),
        }
    }
}

impl State {
    /// Whether writes behind it have to wait.
    fn holds(&self) -> bool {
        match self {
            State::Held(_) | State::Sync(_) => true,
            State::Write | State::Local(_) | State::Done(..) => false,
        }
    }

    fn of_started(ask: &Ask) -> State {
        match ask {
            Ask::Write { .. } | Ask::Broken { .. } => State::Write,
            Ask::Sync(path) => State::Sync(path.clone()),
            Ask::Local(local) => State::Local(local.clone()),
        }
    }
}
