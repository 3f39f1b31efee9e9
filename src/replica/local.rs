//! Sessions that live on this server alone: their upgrade and their end.
//!
//! In: writes that need more than such a session, the clock. Out: the session in the replicated table, or its end here.
//!
//! Always true:
//! * a session is local or replicated, never both: its local life ends before its replication is asked for, so that its
//!   local clock cannot end a session that others know;
//! * the leader orders the replication before the write that needed it.
//!
//! Not here: opening and presenting a session (`serve`), what a local session may write (`prepare`).

use super::clients::SessionKind;
use super::event::Closing;
use super::lead::Work;
use super::machine::{Origin, Replica, Role};
use crate::base::{ConnId, Millis, Now, SessionId};
use crate::proto::Request;
use crate::proto::multi::MultiOp;
use crate::proto::request::{CreateMode, CreateRequest};
use crate::session::LocalRule;

impl Replica {
    /// Has a session put into the replicated table.
    pub(super) fn replicate_session(
        &mut self,
        now: Now,
        origin: Origin,
        session: SessionId,
        timeout: Millis,
    ) {
        match self.role {
            Role::Learning(_) => self.forward_session(origin, session, timeout),
            Role::Leading(_) | Role::Idle | Role::ReadOnly => {
                self.decide(now, Work::Session { origin, session, timeout });
            }
        }
    }

    /// Replicates a client's session before a write that needs it, where that is allowed. Returns who waits for the write.
    pub(super) fn upgrade_for(
        &mut self,
        now: Now,
        conn: ConnId,
        session: SessionId,
        request: &Request,
    ) -> Origin {
        if !self.locals.has(session) || !creates_ephemerals(request) {
            return Origin::Request(conn);
        }
        if self.locals.rule() != LocalRule::Upgraded {
            // In a multi the client is told what the leader says, as by Apache ZooKeeper.
            return match request {
                Request::Multi(_) => Origin::Request(conn),
                _ => Origin::LocalEphemeral(conn),
            };
        }
        let timeout = self.locals.remove(session).expect("it was there above");
        self.clients.on_upgraded(conn);
        self.replicate_session(now, Origin::Elsewhere, session, timeout);
        Origin::Request(conn)
    }

    /// A client ends its session, if that is a local one.
    pub(super) fn end_local(&mut self, conn: ConnId) {
        let local = self.clients.client(conn).filter(|client| client.session_kind == SessionKind::Local);
        if let Some(session) = local.map(|client| client.session) {
            self.locals.remove(session);
        }
    }

    /// Ends local sessions that were silent for too long.
    pub(super) fn expire_locals(&mut self, now: Now) {
        for session in self.locals.expire(now.mono) {
            if let Some(conn) = self.clients.conn_of(session) {
                self.drop_client(conn, Closing::Abrupt);
            }
        }
    }
}

fn creates_ephemerals(request: &Request) -> bool {
    let is_ephemeral =
        |create: &CreateRequest| CreateMode::from_flags(create.flags).is_some_and(CreateMode::is_ephemeral);
    match request {
        Request::Create(create) | Request::Create2(create) => is_ephemeral(create),
        Request::Multi(ops) => ops.iter().any(|op| match op {
            MultiOp::Create(create) | MultiOp::Create2(create) => is_ephemeral(create),
            MultiOp::CreateContainer(_)
            | MultiOp::CreateTtl(_)
            | MultiOp::Delete { .. }
            | MultiOp::SetData { .. }
            | MultiOp::Check { .. } => false,
        }),
        _ => false,
    }
}
