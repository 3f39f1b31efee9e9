//! The server learns: its leader decides, and it answers its own clients once it has applied what was decided.
//!
//! In: writes of its own clients, and what its leader committed. Out: forwarded writes, each matched with its txn.
//!
//! Always true:
//! * the oldest forwarded write is committed first, so that a txn answers it or none;
//! * a session lives if the leader says so.
//!
//! Not here: what a write does (`prepare`, on the leader).

use std::collections::VecDeque;

use bytes::Bytes;

use super::machine::{Origin, Replica, Role, decode, in_ms};
use crate::base::wire::Writer;
use crate::base::{ConnId, Epoch, Millis, ServerId, SessionId};
use crate::proto::{Id, Op};
use crate::tree::Txn;
use crate::zab::packet::{Forwarded, Identity, Proposal};

/// What a server that learns keeps besides the tree.
#[derive(Debug)]
pub(super) struct Learning {
    leader: ServerId,
    epoch: Epoch,
    /// Writes on their way, oldest first: of every client of this server.
    forwarded: VecDeque<Forwarding>,
    /// Clients whose sessions the leader is asked about, oldest first.
    asked: VecDeque<(SessionId, ConnId)>,
}

/// A write on its way.
#[derive(Debug)]
struct Forwarding {
    session: SessionId,
    cxid: i32,
    origin: Origin,
}

impl Learning {
    /// Nothing is on its way to this leader.
    pub fn new(leader: ServerId, epoch: Epoch) -> Learning {
        Learning { leader, epoch, forwarded: VecDeque::new(), asked: VecDeque::new() }
    }

    /// Whether it learns from this leader in this epoch.
    pub fn is_of(&self, leader: ServerId, epoch: Epoch) -> bool {
        (self.leader, self.epoch) == (leader, epoch)
    }

    /// Reads a txn and finds whom it answers: its session and cxid are those of the oldest forwarded write.
    pub fn delivered(&mut self, proposal: &Proposal) -> (Txn, Origin) {
        let txn = decode(proposal);
        let (session, cxid) = (txn.header.session, txn.header.cxid);
        let own = self.forwarded.pop_front_if(|oldest| (oldest.session, oldest.cxid) == (session, cxid));
        (txn, own.map_or(Origin::Elsewhere, |own| own.origin))
    }

    /// How many writes are on their way.
    pub fn outstanding_count(&self) -> usize {
        self.forwarded.len()
    }
}

impl Replica {
    /// A client gets a new session, or a local one is replicated.
    pub(super) fn forward_session(&mut self, origin: Origin, session: SessionId, timeout: Millis) {
        let mut body = Writer::new();
        body.i32(in_ms(timeout));
        let op = Op::CreateSession.as_wire();
        let request = Forwarded { session, cxid: 0, op, body: body.finish(), identities: Vec::new() };
        self.forward(request, origin);
    }

    /// A client writes.
    pub(super) fn forward_write(&mut self, origin: Origin, session: SessionId, write: Write<'_>) {
        let Write { xid, identities, op, body } = write;
        let identity = |id: &Id| Identity { scheme: id.scheme.clone(), id: id.id.clone() };
        let identities = identities.iter().map(identity).collect();
        let request = Forwarded { session, cxid: xid, op: op.as_wire(), body, identities };
        self.forward(request, origin);
    }

    /// A client presents a session that it has already.
    pub(super) fn ask_for_session(&mut self, conn: ConnId, session: SessionId, timeout: Millis) {
        let Role::Learning(learning) = &mut self.role else { return };
        learning.asked.push_back((session, conn));
        self.zab.revalidate(session, in_ms(timeout));
    }

    /// The leader says whether a session lives.
    pub(super) fn on_revalidated(&mut self, session: SessionId, valid: Validity) {
        let Role::Learning(learning) = &mut self.role else { return };
        let Some((_, conn)) = learning.asked.pop_front_if(|(asked, _)| *asked == session) else { return };
        match valid {
            Validity::Alive => self.grant(conn),
            Validity::Gone => self.refuse(conn),
        }
    }

    fn forward(&mut self, request: Forwarded, origin: Origin) {
        let Role::Learning(learning) = &mut self.role else { return };
        let (session, cxid) = (request.session, request.cxid);
        learning.forwarded.push_back(Forwarding { session, cxid, origin });
        self.zab.forward(request);
    }
}

/// A write of a client of this server, as it is forwarded.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub xid: i32,
    pub identities: &'a [Id],
    pub op: Op,
    pub body: Bytes,
}

/// What a leader says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// It lives, and belongs to the server that asked.
    Alive,
    /// It is unknown or closing.
    Gone,
}
