//! The server decides: it leads an ensemble, or is alone.
//!
//! In: writes of its own clients and of its learners' clients, and the clock. Out: one proposal for each.
//!
//! Always true:
//! * every write gets its own zxid and exactly one proposal, also one that fails or cannot be read;
//! * a session ends by a proposal, never by itself.
//!
//! Not here: what a write does (`prepare`), getting the proposal agreed (`zab`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Effect;
use super::inflight::InFlight;
use super::machine::{Origin, Replica, Role, decode, in_ms};
use super::prepare::{Asked, Asker, Ground, prepare};
use super::reap::Reaper;
use crate::base::reconfig::Change;
use crate::base::wire::Reader;
use crate::base::{ConnId, LinkId, Millis, Now, Room, ServerId, SessionId, Zxid};
use crate::proto::request::ReconfigRequest;
use crate::proto::{ErrorCode, Id, Op, Request};
use crate::session::Tracker;
use crate::tree::{Applied, LimitKind, Outcome, Txn, TxnBody, TxnHeader};
use crate::zab::effects::Status;
use crate::zab::packet::{Forwarded, Proposal};
use crate::zab::{ReconfigError, Zab};

/// The largest txn, in bytes: ZooKeeper reads none above twice the default `jute.maxbuffer`, and a longer one would
/// stand in every log for ever.
const TXN_BYTES_MAX: usize = 2 * 0xf_ffff;

/// What a server that decides keeps besides the tree.
#[derive(Debug)]
pub(super) struct Leading {
    /// Every session, and when it expires.
    pub tracker: Tracker,
    in_flight: InFlight,
    proposed: VecDeque<Proposed>,
    /// What waits while leadership is being given away: if that fails, leading goes on.
    waiting: VecDeque<Work>,
    /// What ends by itself.
    pub reaper: Reaper,
}

/// A proposal that is not applied.
#[derive(Debug)]
struct Proposed {
    txn: Txn,
    origin: Origin,
}

/// Something that needs a proposal.
#[derive(Debug)]
pub(super) enum Work {
    /// A client of this server gets a new session, or a local one is replicated.
    Session { origin: Origin, session: SessionId, timeout: Millis },
    /// A client of this server writes.
    Write { conn: ConnId, session: SessionId, xid: i32, identities: Arc<Vec<Id>>, request: Request },
    /// A client of this server sent a write that cannot be read.
    Broken { conn: ConnId, session: SessionId, xid: i32 },
    /// A client of a learner writes, opens a session or ends it.
    Forwarded(ServerId, Forwarded),
    /// A session ends though nobody asked for it.
    End(SessionId),
    /// A container or TTL node ends.
    Reap(String),
}

/// What to decide, and for whom.
struct Question<'a> {
    asker: Asker<'a>,
    cxid: i32,
    asked: Asked<'a>,
    origin: Origin,
}

impl Leading {
    /// Takes the txn that was proposed with this zxid.
    pub fn delivered(&mut self, proposal: &Proposal) -> (Txn, Origin) {
        match self.proposed.pop_front_if(|proposed| proposed.txn.header.zxid == proposal.zxid) {
            Some(Proposed { txn, origin }) => (txn, origin),
            None => (decode(proposal), Origin::Elsewhere),
        }
    }

    /// A txn is in the tree.
    pub fn on_applied(&mut self, applied: &Applied) {
        self.in_flight.applied(applied.zxid);
        for outcome in &applied.outcomes {
            if let Outcome::SessionClosed(session) = outcome {
                self.tracker.remove(*session);
            }
        }
    }

    /// How many proposals are outstanding.
    pub fn outstanding_count(&self) -> usize {
        self.proposed.len()
    }
}

impl Replica {
    /// The server decides from here on. Every session gets its full timeout; nodes whose session is gone are ended
    /// by txns, as everything that changes the tree.
    pub(super) fn lead(&mut self, now: Now) {
        let tick = self.settings.zab.tick;
        let reaper = Reaper::new(now.mono + self.settings.reaping.every);
        let (leading, orphans) = self.service.tree.read(|tree| {
            let sessions = tree
                .sessions()
                .iter()
                .map(|(session, timeout_ms)| (*session, Millis(u64::try_from(*timeout_ms).unwrap_or(0))));
            let tracker = Tracker::new(tick, now.mono, sessions);
            let owners = tree.ephemeral_owners().map(|(session, _)| session);
            let orphans: Vec<SessionId> =
                owners.filter(|session| !tree.sessions().contains_key(session)).collect();
            let in_flight = InFlight::new(tree);
            let (proposed, waiting) = (VecDeque::new(), VecDeque::new());
            (Leading { tracker, in_flight, proposed, waiting, reaper }, orphans)
        });
        self.role = Role::Leading(leading);
        if let Status::Leading(epoch) = self.status {
            self.service.tree.write(|tree| tree.begin_epoch(epoch));
        }
        for session in orphans {
            self.decide(now, Work::End(session));
        }
    }

    /// Lets time pass for sessions and for nodes that end by themselves.
    pub(super) fn lead_on(&mut self, now: Now) {
        let Role::Leading(leading) = &mut self.role else { return };
        if self.zab.next_zxid().is_none() {
            return;
        }
        if self.room == Room::Scarce {
            return; // sessions end when there is room again
        }
        let expired = leading.tracker.expire(now.mono);
        self.service.meters.sessions_expired.add(expired.len() as u64);
        for session in expired {
            self.decide(now, Work::End(session));
        }
        if self.room == Room::Enough {
            self.reap(now);
        }
    }

    /// Decides about something, or puts it behind what waits already.
    pub(super) fn decide(&mut self, now: Now, work: Work) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.waiting.push_back(work);
        self.resume(now);
    }

    /// Decides about everything that waits, if this server may propose.
    pub(super) fn resume(&mut self, now: Now) {
        loop {
            let Role::Leading(leading) = &mut self.role else { return };
            if self.zab.next_zxid().is_none() {
                return;
            }
            let Some(work) = leading.waiting.pop_front() else { return };
            self.propose_work(now, work);
        }
    }

    fn propose_work(&mut self, now: Now, work: Work) {
        let server = self.settings.zab.id;
        match work {
            Work::Session { origin, session, timeout } => {
                let asker = Asker { session, server, identities: &[] };
                let asked = Asked::CreateSession(in_ms(timeout));
                self.propose(now, Question { asker, cxid: 0, asked, origin });
            }
            Work::Write { conn, session, xid, identities, request } => {
                let asker = Asker { session, server, identities: &identities };
                let (asked, origin) = (Asked::Write(&request), Origin::Request(conn));
                self.propose(now, Question { asker, cxid: xid, asked, origin });
            }
            Work::Broken { conn, session, xid } => {
                let asker = Asker { session, server, identities: &[] };
                let (asked, origin) = (Asked::Unreadable, Origin::Request(conn));
                self.propose(now, Question { asker, cxid: xid, asked, origin });
            }
            Work::Forwarded(server, forwarded) => self.propose_forwarded(now, server, forwarded),
            Work::End(session) => {
                let asker = Asker { session, server, identities: &[] };
                let (asked, origin) = (Asked::Expire, Origin::Elsewhere);
                self.propose(now, Question { asker, cxid: 0, asked, origin });
            }
            Work::Reap(path) => {
                let asker = Asker { session: SessionId::NONE, server, identities: &[] };
                let (asked, origin) = (Asked::Reap(&path), Origin::Elsewhere);
                self.propose(now, Question { asker, cxid: 0, asked, origin });
            }
        }
    }

    fn propose_forwarded(&mut self, now: Now, server: ServerId, forwarded: Forwarded) {
        let Forwarded { session, cxid, op, body, identities } = forwarded;
        let identities: Vec<Id> =
            identities.into_iter().map(|identity| Id::new(identity.scheme, identity.id)).collect();
        let request;
        let is_of_session = [Op::CreateSession.as_wire(), Op::CloseSession.as_wire()].contains(&op);
        let asked = if self.room != Room::Enough && !is_of_session {
            // The learner waits for a proposal; one that fails is the smallest.
            Asked::Refused(ErrorCode::ThrottledOp)
        } else if op == Op::CreateSession.as_wire() {
            match Reader::new(body).i32("timeOut") {
                Ok(timeout_ms) => Asked::CreateSession(timeout_ms),
                Err(_) => Asked::Unreadable,
            }
        } else {
            request = Request::decode(op, body);
            match &request {
                Ok(request) => Asked::Write(request),
                Err(_) => Asked::Unreadable,
            }
        };
        let asker = Asker { session, server, identities: &identities };
        self.propose(now, Question { asker, cxid, asked, origin: Origin::Elsewhere });
    }

    /// Sessions that a learner heard from.
    pub(super) fn on_learner_touched(&mut self, now: Now, sessions: &[(SessionId, i32)]) {
        let Role::Leading(leading) = &mut self.role else { return };
        for (session, timeout_ms) in sessions {
            let timeout = Millis(u64::try_from(*timeout_ms).unwrap_or(0));
            leading.tracker.touch(now.mono, *session, timeout);
        }
    }

    /// A client presents its session to a learner.
    pub(super) fn on_revalidate(
        &mut self,
        now: Now,
        link: LinkId,
        server: ServerId,
        asked: (SessionId, i32),
    ) {
        let Role::Leading(leading) = &mut self.role else { return };
        let (session, timeout_ms) = asked;
        let timeout = Millis(u64::try_from(timeout_ms).unwrap_or(0));
        let is_valid = leading.tracker.reopen(now.mono, session, timeout, server);
        self.zab.revalidated(link, session, is_valid);
    }

    fn propose(&mut self, now: Now, question: Question<'_>) {
        let Role::Leading(leading) = &mut self.role else { return };
        let zxid = self.zab.next_zxid().expect("it is asked for before work is taken up");
        let Question { asker, cxid, asked, origin } = question;
        let zab = &self.zab;
        let check_reconfig =
            |request: &ReconfigRequest| -> Result<String, ErrorCode> { check_reconfig(zab, request) };
        let decided = self.service.tree.read(|tree| {
            let ground = Ground {
                rules: &self.rules,
                tracker: &mut leading.tracker,
                locals: &self.locals,
                tree,
                in_flight: &leading.in_flight,
                check_reconfig: &check_reconfig,
                zxid,
                time: now.wall_ms,
            };
            prepare(ground, asker, asked)
        });
        let header = TxnHeader { session: asker.session, cxid, zxid, time: now.wall_ms };
        let mut txn = decided.to_txn(header);
        let mut bytes = txn.to_bytes();
        let mut changed = decided.changed;
        for passed in decided.passed {
            if passed.limit_kind == LimitKind::Hard {
                *self.quota_refusals.entry(passed.namespace().to_owned()).or_default() += 1;
            }
            self.fx.push(Effect::LimitPassed(passed));
        }
        if bytes.len() > TXN_BYTES_MAX {
            let err = ErrorCode::MarshallingError.as_wire();
            txn = Txn { header, body: TxnBody::Error { err }, digest: None };
            bytes = txn.to_bytes();
            changed = leading.in_flight.unchanged();
        }
        leading.in_flight.propose(zxid, changed);
        match &txn.body {
            TxnBody::CreateSession { timeout_ms } => {
                let timeout = Millis(u64::try_from(*timeout_ms).unwrap_or(0));
                leading.tracker.open(now.mono, asker.session, timeout, asker.server);
            }
            TxnBody::CloseSession { .. } => leading.tracker.close(asker.session),
            TxnBody::Error { .. }
            | TxnBody::Create(_)
            | TxnBody::Delete { .. }
            | TxnBody::SetData(_)
            | TxnBody::SetAcl { .. }
            | TxnBody::Check { .. }
            | TxnBody::Multi(_) => {}
        }
        leading.proposed.push_back(Proposed { txn, origin });
        self.zab.propose(now, Proposal { zxid, txn: bytes });
    }
}

/// The text of the membership that a reconfig leads to with this zxid.
fn check_reconfig(zab: &Zab, request: &ReconfigRequest) -> Result<String, ErrorCode> {
    let change = Change {
        joining: request.joining.clone(),
        leaving: request.leaving.clone(),
        members: request.members.clone(),
    };
    match zab.check_reconfig(&change, Zxid(request.config_id)) {
        Ok(ensemble) => Ok(ensemble.to_string()),
        Err(error) => Err(reconfig_code(&error)),
    }
}

fn reconfig_code(error: &ReconfigError) -> ErrorCode {
    match error {
        ReconfigError::Disabled => ErrorCode::ReconfigDisabled,
        ReconfigError::NotLeading => ErrorCode::Unimplemented,
        ReconfigError::InProgress => ErrorCode::ReconfigInProgress,
        ReconfigError::BadVersion(_) => ErrorCode::BadVersion,
        ReconfigError::NotAnId(_) => ErrorCode::MarshallingError,
        ReconfigError::BadArguments(_) => ErrorCode::BadArguments,
        ReconfigError::NoQuorum => ErrorCode::NewConfigNoQuorum,
    }
}
