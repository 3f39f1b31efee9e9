//! Sessions: their ids and passwords, how long they live, who owns them; and those that live on one server alone.
//!
//! In: what clients ask for, touches, moves and the clock. Out: what a session gets, and which ones are due.
//!
//! Always true:
//! * a session never expires before its timeout has passed since the last touch, and at most one tick after that;
//! * an id is never given twice, and never one that the replicated table holds;
//! * a session that is closing is never revived.
//!
//! Not here: the replicated table of sessions (`tree`), proposing their creation and end (`replica`).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::rng::Rng;
use crate::base::{Millis, ServerId, SessionId};

/// Every session id of a server stands in its top byte.
const SERVER_SHIFT: u32 = 56;
/// The bits below the server's byte: 40 bits of milliseconds, then 16 bits that start by chance and count.
const COUNTER_MASK: i64 = (1 << SERVER_SHIFT) - 1;
/// How far ids go ahead when the clock was found behind them: as many sessions as one process hardly opens.
const CLOCK_BACK_GAP: i64 = 1 << 24;
/// What chance adds to that: at most some four hours of the clock in an id.
const CLOCK_BACK_SPREAD: u64 = 0xff_ffff_0000;
/// Stored as an owner, this id marks a container, so that no session may have it.
const CONTAINER_OWNER: i64 = i64::MIN;
/// What ZooKeeper mixes into the seed of a password.
const PASSWORD_SALT: i64 = 0xB341_5C00;

/// The password of a session: a function of its id that every server computes alike (specification 1, section 4.6).
pub fn password(session: SessionId) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session.0 ^ PASSWORD_SALT) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether a client that knows this password may take the session over.
pub fn is_password(session: SessionId, given: Option<&[u8]>) -> bool {
    session != SessionId::NONE && given == Some(password(session).as_slice())
}

/// Between which timeouts a server negotiates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutLimits {
    /// `minSessionTimeout`; at most `max`.
    pub min: Millis,
    /// `maxSessionTimeout`.
    pub max: Millis,
}

impl TimeoutLimits {
    /// The timeout that a client gets which asks for `requested_ms`.
    pub fn negotiate(self, requested_ms: i32) -> Millis {
        let requested = Millis(u64::try_from(requested_ms).unwrap_or(0));
        requested.max(self.min).min(self.max)
    }
}

/// Gives out the ids of the sessions that clients of this server open.
#[derive(Clone, Debug)]
pub struct SessionIds {
    server_byte: i64,
    counter: i64,
    rng: Rng,
}

impl SessionIds {
    /// Starts at the wall clock, and at a place of chance within its millisecond: two starts may find the same time, and
    /// sessions of the first that no table holds, as local ones, are not to come back as others'. The seed decides that
    /// place, and by how much ids go ahead of a clock that went back.
    pub fn new(server: ServerId, wall_ms: i64, seed: u64) -> SessionIds {
        let server_byte = server.0 << SERVER_SHIFT;
        let mut rng = Rng::new(seed);
        let place = (rng.next_u64() & 0xffff) as i64;
        SessionIds { server_byte, counter: (wall_ms << 16 | place) & COUNTER_MASK, rng }
    }

    /// Goes on beyond sessions of this server that are known, if the clock has gone back behind them: well beyond, and
    /// by another distance each time, since what followed them may be closed and forgotten, and a closed session must
    /// not come back as another's.
    pub fn go_beyond(&mut self, taken: impl Iterator<Item = SessionId>) {
        let own = taken.filter(|id| id.0 & !COUNTER_MASK == self.server_byte);
        let highest = own.map(|id| id.0 & COUNTER_MASK).max();
        if let Some(highest) = highest.filter(|highest| *highest >= self.counter) {
            let distance = CLOCK_BACK_GAP + (self.rng.next_u64() & CLOCK_BACK_SPREAD) as i64;
            self.counter = highest.wrapping_add(distance) & COUNTER_MASK;
        }
    }

    /// An id that was not given out before.
    pub fn next_id(&mut self) -> SessionId {
        loop {
            let id = self.server_byte | self.counter;
            self.counter = self.counter.wrapping_add(1) & COUNTER_MASK;
            if id != SessionId::NONE.0 && id != CONTAINER_OWNER {
                return SessionId(id);
            }
        }
    }
}

/// Why a session may not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// It is not tracked: it expired, or is not a replicated one.
    Unknown,
    /// It is closing.
    Expired,
    /// It was taken over by a client of another server.
    Moved,
}

/// A session of the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tracked {
    expires: Millis,
    phase: Phase,
    owner: Option<ServerId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Alive,
    Closing,
}

/// The expiry clock of every session; runs on the leader, and on a server that is alone.
#[derive(Clone, Debug)]
pub struct Tracker {
    tick: Millis,
    sessions: BTreeMap<SessionId, Tracked>,
    /// Live sessions by the moment at which they expire: always a multiple of the tick.
    due: BTreeMap<Millis, BTreeSet<SessionId>>,
}

impl Tracker {
    /// Starts every session of the replicated table with its full timeout; nobody owns one yet.
    pub fn new(tick: Millis, now: Millis, sessions: impl Iterator<Item = (SessionId, Millis)>) -> Tracker {
        let tick = tick.max(Millis(1));
        let mut tracker = Tracker { tick, sessions: BTreeMap::new(), due: BTreeMap::new() };
        for (session, timeout) in sessions {
            tracker.insert(now, session, timeout, None);
        }
        tracker
    }

    /// A session is proposed: its clock starts, and it belongs to the server whose client asked.
    pub fn open(&mut self, now: Millis, session: SessionId, timeout: Millis, owner: ServerId) {
        self.remove(session);
        self.insert(now, session, timeout, Some(owner));
    }

    /// The session was heard from, with the timeout that its connection negotiated last.
    /// `false` if it is unknown or closing.
    pub fn touch(&mut self, at: Millis, session: SessionId, timeout: Millis) -> bool {
        let expires = self.expiry(at, timeout);
        let Some(tracked) = self.sessions.get_mut(&session) else { return false };
        if tracked.phase == Phase::Closing {
            return false;
        }
        // A report of an earlier moment than the last one never shortens a life.
        if expires > tracked.expires {
            let before = std::mem::replace(&mut tracked.expires, expires);
            self.undue(before, session);
            self.due.entry(expires).or_default().insert(session);
        }
        true
    }

    /// A client of `owner` presents a session again: it belongs to that server from here on, if it lives.
    pub fn reopen(&mut self, at: Millis, session: SessionId, timeout: Millis, owner: ServerId) -> bool {
        let is_alive = self.touch(at, session, timeout);
        if let Some(tracked) = self.sessions.get_mut(&session).filter(|_| is_alive) {
            tracked.owner = Some(owner);
        }
        is_alive
    }

    /// Whether a client of `asking` may write in this session; the first that does becomes its owner.
    pub fn check(&mut self, session: SessionId, asking: ServerId) -> Result<(), SessionFault> {
        let tracked = self.sessions.get_mut(&session).ok_or(SessionFault::Unknown)?;
        if tracked.phase == Phase::Closing {
            return Err(SessionFault::Expired);
        }
        match tracked.owner {
            None => tracked.owner = Some(asking),
            Some(owner) if owner == asking => {}
            Some(_) => return Err(SessionFault::Moved),
        }
        Ok(())
    }

    /// The end of the session is proposed: it is refused from here on, and its clock stands.
    pub fn close(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.phase = Phase::Closing;
            let expires = tracked.expires;
            self.undue(expires, session);
        }
    }

    /// The end of the session is applied.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session) {
            self.undue(tracked.expires, session);
        }
    }

    /// Takes out the sessions that are due, in the order of their expiry; each is closing from here on.
    pub fn expire(&mut self, now: Millis) -> Vec<SessionId> {
        let later = self.due.split_off(&Millis(now.0.saturating_add(1)));
        let due = std::mem::replace(&mut self.due, later);
        let expired: Vec<SessionId> = due.into_values().flatten().collect();
        for session in &expired {
            let tracked = self.sessions.get_mut(session).expect("what is due is tracked");
            tracked.phase = Phase::Closing;
        }
        expired
    }

    /// Whether the session is known and not closing.
    pub fn is_alive(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|tracked| tracked.phase == Phase::Alive)
    }

    /// The server that the session belongs to; `None` until somebody used it.
    pub fn owner(&self, session: SessionId) -> Option<ServerId> {
        self.sessions.get(&session).and_then(|tracked| tracked.owner)
    }

    /// Live sessions by the moment at which they expire.
    pub fn expiries(&self) -> impl Iterator<Item = (Millis, &BTreeSet<SessionId>)> {
        self.due.iter().map(|(at, sessions)| (*at, sessions))
    }

    /// How many sessions are known, closing ones included.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    fn insert(&mut self, now: Millis, session: SessionId, timeout: Millis, owner: Option<ServerId>) {
        let expires = self.expiry(now, timeout);
        self.sessions.insert(session, Tracked { expires, phase: Phase::Alive, owner });
        self.due.entry(expires).or_default().insert(session);
    }

    /// The smallest multiple of a tick strictly after `at + timeout`.
    fn expiry(&self, at: Millis, timeout: Millis) -> Millis {
        let end = at + timeout;
        Millis((end.0 / self.tick.0 + 1).saturating_mul(self.tick.0))
    }

    fn undue(&mut self, expires: Millis, session: SessionId) {
        if let Some(sessions) = self.due.get_mut(&expires) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.due.remove(&expires);
            }
        }
    }
}

/// What becomes of new sessions in an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LocalRule {
    /// They are replicated.
    #[default]
    Replicated,
    /// They live on the server that opened them, and have no ephemeral nodes.
    Local,
    /// The same, until one creates an ephemeral node: it is replicated first.
    Upgraded,
}

/// The sessions that live on this server alone: nobody else knows them, and they end with what the server is at the
/// time, as in Apache ZooKeeper.
#[derive(Clone, Debug)]
pub struct LocalSessions {
    server: ServerId,
    rule: LocalRule,
    tracker: Tracker,
    /// What each was opened with, for its upgrade.
    timeouts: BTreeMap<SessionId, Millis>,
}

impl LocalSessions {
    /// None yet.
    pub fn new(server: ServerId, tick: Millis, rule: LocalRule) -> LocalSessions {
        let tracker = Tracker::new(tick, Millis(0), std::iter::empty());
        LocalSessions { server, rule, tracker, timeouts: BTreeMap::new() }
    }

    /// What becomes of new sessions.
    pub fn rule(&self) -> LocalRule {
        self.rule
    }

    /// A session opens.
    pub fn open(&mut self, now: Millis, session: SessionId, timeout: Millis) {
        self.tracker.open(now, session, timeout, self.server);
        self.timeouts.insert(session, timeout);
    }

    /// The session was heard from; `false` if it is not one of these.
    pub fn touch(&mut self, at: Millis, session: SessionId, timeout: Millis) -> bool {
        self.tracker.touch(at, session, timeout)
    }

    /// Whether the session is one of these.
    pub fn has(&self, session: SessionId) -> bool {
        self.timeouts.contains_key(&session)
    }

    /// The session ends, or is replicated from here on. Returns what it was opened with.
    pub fn remove(&mut self, session: SessionId) -> Option<Millis> {
        self.tracker.remove(session);
        self.timeouts.remove(&session)
    }

    /// Takes out the sessions that are due.
    pub fn expire(&mut self, now: Millis) -> Vec<SessionId> {
        let expired = self.tracker.expire(now);
        for session in &expired {
            self.remove(*session);
        }
        expired
    }

    /// All of them end.
    pub fn clear(&mut self) {
        *self = LocalSessions::new(self.server, self.tracker.tick, self.rule);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.timeouts.len()
    }

    /// Whether a leader that does not know the session lets it write: it is local here, or was opened by another server and
    /// may be local there. One of this server's that is not local any more has ended.
    pub fn may_write(&self, session: SessionId) -> bool {
        let is_own = session.0 & !COUNTER_MASK == self.server.0 << SERVER_SHIFT;
        self.rule != LocalRule::Replicated && (self.has(session) || !is_own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Millis = Millis(2_000);
    const HERE: ServerId = ServerId(1);
    const THERE: ServerId = ServerId(2);
    const SESSION: SessionId = SessionId(7);

    fn tracker() -> Tracker {
        Tracker::new(TICK, Millis(0), [(SESSION, Millis(4_000))].into_iter())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn passwords_are_those_of_zookeeper() {
        for (id, expected) in [
            (0x0100_0022_edf3_0000, "4f2646af307bb246455fec4cf9d67a5d"),
            (0x0100_0015_b140_0000, "32099fa4d707a79c604c5e18780de756"),
            (0x0000_0000_0000_0001, "054cc74a37327db215e702e20c73f005"),
            (0x0100_0000_0000_0000, "f22acd4a97e69d6d20a49bb638eadb38"),
            (0x0100_00a5_e055_0000, "e14c01bb5a13a19427e5f08a33e4083e"),
            (0x0100_001e_19a9_0000, "fd07146846e685dfa3bb6e1dff9ea0ee"),
            (0x0200_00ab_cdef_0001, "76b39f6d54c3bc4f6ebe2fdff1198ecf"),
        ] {
            assert_eq!(hex(&password(SessionId(id))), expected, "{id:x}");
            assert!(is_password(SessionId(id), Some(&password(SessionId(id)))));
        }
        assert!(!is_password(SessionId::NONE, Some(&password(SessionId::NONE))));
        assert!(!is_password(SESSION, None));
        assert!(!is_password(SESSION, Some(b"")));
    }

    #[test]
    fn a_timeout_is_kept_within_the_limits() {
        let limits = TimeoutLimits { min: Millis(4_000), max: Millis(40_000) };
        let asked = [-1, 0, 3_999, 4_000, 10_000, 40_001, i32::MAX];
        let got = asked.map(|ms| limits.negotiate(ms).0);
        assert_eq!(got, [4_000, 4_000, 4_000, 4_000, 10_000, 40_000, 40_000]);
    }

    #[test]
    fn an_id_is_server_clock_and_counter() {
        let mut ids = SessionIds::new(ServerId(3), 0x12_3456_789a, 1);
        let first = ids.next_id();
        assert_eq!(first.0 >> 16, 0x0312_3456_789a);
        assert_eq!(ids.next_id(), SessionId(first.0 + 1));
    }

    #[test]
    fn two_starts_within_a_millisecond_give_different_ids() {
        let first = |seed| SessionIds::new(ServerId(3), 0x12_3456_789a, seed).next_id();
        let ids: BTreeSet<SessionId> = (0..100).map(first).collect();
        assert!(ids.len() > 90, "{} different ids of 100", ids.len());
    }

    #[test]
    fn an_id_of_the_replicated_table_is_not_given_again() {
        let taken = [SessionId(0x0300_0000_0005_0009), SessionId(0x0400_0000_0009_0000)];
        let mut ids = SessionIds::new(ServerId(3), 4, 1);
        ids.go_beyond(taken.into_iter());
        let id = ids.next_id();
        assert!(id.0 >= taken[0].0 + (1 << 24), "those just behind it may be closed and forgotten: {id}");
        ids.go_beyond(taken.into_iter().chain([id]));
        assert_eq!(ids.next_id(), SessionId(id.0 + 1));
        let mut again = SessionIds::new(ServerId(3), 4, 2);
        again.go_beyond(taken.into_iter());
        assert_ne!(again.next_id(), id);
    }

    #[test]
    fn neither_nothing_nor_the_mark_of_containers_is_an_id() {
        let at_its_zero = |server: i64| {
            let server_byte = server << SERVER_SHIFT;
            SessionIds { server_byte, counter: 0, rng: Rng::new(1) }.next_id()
        };
        assert_eq!(at_its_zero(0), SessionId(1));
        assert_eq!(at_its_zero(128), SessionId(i64::MIN + 1));
    }

    #[test]
    fn a_silent_session_expires_after_its_timeout_and_within_a_tick() {
        let mut tracker = tracker();
        assert!(tracker.touch(Millis(700), SESSION, Millis(4_000)));
        assert_eq!(tracker.expire(Millis(5_999)), []);
        assert_eq!(tracker.expire(Millis(6_000)), [SESSION]);
        assert_eq!(tracker.expire(Millis(60_000)), [], "once only");
        assert!(!tracker.touch(Millis(6_001), SESSION, Millis(4_000)), "never revived");
    }

    #[test]
    fn a_session_due_exactly_at_a_tick_gets_the_whole_next_one() {
        let mut tracker = tracker();
        assert_eq!(tracker.expire(Millis(4_000)), []);
        assert_eq!(tracker.expire(Millis(6_000)), [SESSION]);
    }

    #[test]
    fn a_late_report_of_an_early_touch_does_not_shorten_a_life() {
        let mut tracker = tracker();
        assert!(tracker.touch(Millis(5_000), SESSION, Millis(4_000)));
        assert!(tracker.touch(Millis(1_000), SESSION, Millis(4_000)));
        assert_eq!(tracker.expire(Millis(9_999)), []);
        assert_eq!(tracker.expire(Millis(10_000)), [SESSION]);
    }

    #[test]
    fn the_first_writer_owns_a_session_until_it_is_presented_elsewhere() {
        let mut tracker = tracker();
        assert_eq!(tracker.check(SESSION, HERE), Ok(()));
        assert_eq!(tracker.check(SESSION, THERE), Err(SessionFault::Moved));
        assert!(tracker.reopen(Millis(1), SESSION, Millis(4_000), THERE));
        assert_eq!(tracker.check(SESSION, HERE), Err(SessionFault::Moved));
        assert_eq!(tracker.check(SESSION, THERE), Ok(()));
    }

    #[test]
    fn a_closing_session_is_refused_and_never_expires() {
        let mut tracker = tracker();
        tracker.close(SESSION);
        assert_eq!(tracker.check(SESSION, HERE), Err(SessionFault::Expired));
        assert!(!tracker.reopen(Millis(1), SESSION, Millis(4_000), THERE));
        assert_eq!(tracker.expire(Millis(60_000)), []);
        tracker.remove(SESSION);
        assert_eq!((tracker.count(), tracker.is_alive(SESSION)), (0, false));
    }

    #[test]
    fn a_leader_lets_local_sessions_write_that_may_be_alive() {
        let (own, other) = (SessionId(1 << 56 | 7), SessionId(2 << 56 | 7));
        for (rule, allowed) in [(LocalRule::Replicated, false), (LocalRule::Local, true)] {
            let mut locals = LocalSessions::new(HERE, TICK, rule);
            assert_eq!([own, other].map(|session| locals.may_write(session)), [false, allowed]);
            locals.open(Millis(0), own, Millis(4_000));
            assert_eq!(locals.may_write(own), allowed);
            assert_eq!(
                (locals.expire(Millis(6_000)), locals.has(own), locals.count()),
                (vec![own], false, 0)
            );
            assert!(!locals.may_write(own), "it has ended");
        }
    }

    #[test]
    fn a_local_session_that_is_upgraded_or_cleared_never_expires_here() {
        let mut locals = LocalSessions::new(HERE, TICK, LocalRule::Upgraded);
        locals.open(Millis(0), SESSION, Millis(4_000));
        assert!(locals.touch(Millis(1), SESSION, Millis(9_000)));
        assert_eq!((locals.remove(SESSION), locals.remove(SESSION)), (Some(Millis(4_000)), None));
        assert!(!locals.touch(Millis(2), SESSION, Millis(9_000)));
        locals.open(Millis(0), SESSION, Millis(4_000));
        locals.clear();
        assert_eq!((locals.expire(Millis(60_000)), locals.has(SESSION)), (vec![], false));
    }
}
