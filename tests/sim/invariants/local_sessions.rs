//! Local sessions: one that is local is known to its own server alone until it needs more, and lives there as long as any.
//!
//! In: each session that is replicated, what its client asked for, and what becomes of sessions that are presented again.
//! Out: a panic when a session is known that had to be local, ended that had to live, or lives that had to end.
//!
//! Always true:
//! * where sessions are local none is replicated; where they may be upgraded, only one that asked for an ephemeral node;
//! * its own server takes a local session again, within its timeout, as long as that server's role lasts; and not once it
//!   was silent for much longer.
//!
//! Not here: replicated sessions (`sessions`), nodes of sessions that do not live (`ephemerals`).

use quorate::base::{SessionId, Zxid};
use quorate::session::LocalRule;

use crate::network::Process;
use crate::queue::Micros;

/// Clocks run fast or slow by at most 3 %.
const CLOCK_PERCENT: u64 = 104;
/// How much later than its timeout a session ends at most, in ticks: it is rounded up to one, told of within half of one,
/// and looked for several times in one.
const LATE_TICKS: u64 = 2;

/// A server as long as it is one thing: its process, and how often it became something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// The process.
    pub process: Process,
    /// Counted with each change of its role.
    pub number: u64,
}

/// A session is replicated. It may be if its client needs that.
pub fn may_be_replicated(rule: LocalRule, zxid: Zxid, session: SessionId, asked: Asked) {
    let is_right = match rule {
        LocalRule::Replicated => true,
        LocalRule::Local => false,
        LocalRule::Upgraded => asked == Asked::Ephemeral,
    };
    assert!(is_right, "local sessions: {zxid} replicates {session}, which asked for {asked:?}");
}

/// What a session's client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An ephemeral node.
    Ephemeral,
    /// Nothing that a local session cannot have.
    NothingMuch,
}

/// How long a session was silent, and how long it may be.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// Since its server heard from it, as far as the client can know.
    pub lasted: Micros,
    /// Negotiated.
    pub timeout: Micros,
    /// `tickTime` of its server.
    pub tick: Micros,
}

/// A local session is refused by its own server, after a silence that lasted so long at least.
pub fn on_refused(session: SessionId, silence: Silence) {
    let Silence { lasted, timeout, .. } = silence;
    assert!(
        lasted.0 * CLOCK_PERCENT / 100 >= timeout.0,
        "local sessions: {session} is refused by its own server {lasted} s after it was heard from, and its timeout is {timeout}"
    );
}

/// A local session is taken again by its own server, after a silence that lasted so long at most.
pub fn on_taken(session: SessionId, silence: Silence) {
    let Silence { lasted, timeout, tick } = silence;
    let limit = timeout.0 + LATE_TICKS * tick.0;
    assert!(
        lasted.0 <= limit * CLOCK_PERCENT / 100,
        "local sessions: {session} is taken again after {lasted} s of silence, and its timeout is {timeout}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(7);

    fn silent_for(ms: u64) -> Silence {
        Silence { lasted: Micros::of_ms(ms), timeout: Micros::of_ms(1_000), tick: Micros::of_ms(100) }
    }

    #[test]
    fn a_session_ends_after_its_timeout() {
        on_refused(SESSION, silent_for(1_000));
        may_be_replicated(LocalRule::Upgraded, Zxid(1), SESSION, Asked::Ephemeral);
    }

    #[test]
    #[should_panic(expected = "refused by its own server")]
    fn a_session_that_ends_too_early_is_noticed() {
        on_refused(SESSION, silent_for(900));
    }

    #[test]
    fn a_session_that_comes_back_soon_is_taken() {
        on_taken(SESSION, silent_for(1_200));
    }

    #[test]
    #[should_panic(expected = "is taken again after")]
    fn a_session_that_ends_too_late_is_noticed() {
        on_taken(SESSION, silent_for(1_300));
    }

    #[test]
    #[should_panic(expected = "replicates")]
    fn a_session_that_is_replicated_without_need_is_noticed() {
        may_be_replicated(LocalRule::Upgraded, Zxid(1), SESSION, Asked::NothingMuch);
    }
}
