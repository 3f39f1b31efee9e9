//! Sessions: a session never expires before its timeout, nor much later; its ephemeral nodes go with it (`model`).
//!
//! In: what tells a leader that a session lives, and each end of a session that it proposes by itself. Out: a panic when
//! that comes too early or too late.
//!
//! Always true:
//! * time is the leader's own: a clock that runs fast or slow is a fault of the machine, not of the server;
//! * a new leader owes every session its whole timeout from the moment at which it leads.
//!
//! Not here: what a client hears of it (`client`), which nodes go (`model`, `ephemerals`).

use std::collections::BTreeMap;

use quorate::base::{Epoch, Millis, SessionId};
use quorate::zab::packet::Packet;

use crate::network::Slot;

/// How long a leader may be unable to propose anything: it hands over, and then again, to somebody who never comes.
const HAND_OVERS: Millis = Millis(2_000);

/// How long a session lives without a sign.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// What the client negotiated.
    pub timeout: Millis,
    /// `tickTime`: ends are rounded up to a multiple of it.
    pub tick: Millis,
    /// How often a server is told that time has passed.
    pub look: Millis,
}

/// How sure it is that the leader knows that a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was told.
    Told,
    /// It may have been told.
    Perhaps,
}

/// When a session showed last that it lives.
#[derive(Clone, Copy, Debug)]
struct Heard {
    told: Millis,
    perhaps: Millis,
}

/// A leadership.
#[derive(Debug)]
struct Led {
    epoch: Epoch,
    since: Millis,
    heard: BTreeMap<SessionId, Heard>,
}

/// What every leader heard of sessions.
#[derive(Default)]
pub struct Sessions {
    leaders: BTreeMap<Slot, Led>,
    /// Ends of sessions that leaders proposed by themselves.
    pub expiries: u64,
}

impl Sessions {
    /// A server leads this epoch, or none.
    pub fn on_status(&mut self, slot: Slot, now: Millis, leads: Option<Epoch>) {
        match leads {
            None => drop(self.leaders.remove(&slot)),
            Some(epoch) if self.leaders.get(&slot).is_some_and(|led| led.epoch == epoch) => {}
            Some(epoch) => {
                drop(self.leaders.insert(slot, Led { epoch, since: now, heard: BTreeMap::new() }));
            }
        }
    }

    /// A packet of a learner reaches a server.
    pub fn on_packet(&mut self, slot: Slot, now: Millis, packet: &Packet) {
        match packet {
            Packet::Pong { touched, .. } => {
                touched.iter().for_each(|(session, _)| self.on_sign(slot, now, *session, Sign::Told));
            }
            Packet::Revalidate { session, .. } => self.on_sign(slot, now, *session, Sign::Told),
            _ => {}
        }
    }

    /// A server gets a sign of life of a session.
    pub fn on_sign(&mut self, slot: Slot, now: Millis, session: SessionId, sign: Sign) {
        let Some(led) = self.leaders.get_mut(&slot) else { return };
        let begun = Heard { told: led.since, perhaps: led.since };
        let heard = led.heard.entry(session).or_insert(begun);
        heard.perhaps = now;
        if sign == Sign::Told {
            heard.told = now;
        }
    }

    /// A leader proposes the end of a session that nobody asked for.
    pub fn on_expiry(&mut self, slot: Slot, now: Millis, session: SessionId, span: Span) {
        let Some(led) = self.leaders.get(&slot) else { return };
        self.expiries += 1;
        let heard = led.heard.get(&session).copied();
        let heard = heard.unwrap_or(Heard { told: led.since, perhaps: led.since });
        let silent = now.since(heard.told);
        assert!(
            silent >= span.timeout,
            "sessions: {slot:?} ends {session} {} ms after it was heard from, and its timeout is {}",
            silent.0,
            span.timeout.0
        );
        let silent = now.since(heard.perhaps);
        let latest = span.timeout + span.tick + span.look + HAND_OVERS;
        assert!(
            silent <= latest,
            "sessions: {slot:?} ends {session} only {} ms after it was heard from, and its timeout is {}",
            silent.0,
            span.timeout.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(7);
    const SPAN: Span = Span { timeout: Millis(1_000), tick: Millis(200), look: Millis(50) };

    fn expires_at(now: u64) {
        let (mut sessions, slot) = (Sessions::default(), Slot(0));
        sessions.on_status(slot, Millis(100), Some(Epoch(1)));
        let touched = vec![(SESSION, 1_000)];
        sessions.on_packet(slot, Millis(300), &Packet::Pong { zxid: quorate::base::Zxid::ZERO, touched });
        sessions.on_status(slot, Millis(400), Some(Epoch(1)));
        sessions.on_expiry(slot, Millis(now), SESSION, SPAN);
    }

    #[test]
    fn an_end_in_time_is_right() {
        expires_at(1_300);
        expires_at(1_550);
    }

    #[test]
    #[should_panic(expected = "sessions: Slot(0) ends")]
    fn an_end_before_the_timeout_is_noticed() {
        expires_at(1_299);
    }

    #[test]
    #[should_panic(expected = "only")]
    fn an_end_that_comes_late_is_noticed() {
        expires_at(4_000);
    }
}
