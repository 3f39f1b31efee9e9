//! What one connection was about, for `cons` and its like.
//!
//! In: what each wake-up of a connection's task brought. Out: a picture of it.
//!
//! Always true:
//! * a wake-up costs one lock that nobody else holds but who looks.
//!
//! Not here: counting packets (`clients`), the texts (`words`, `commands`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::{Millis, Now, SessionId};
use crate::proto::Op;
use crate::replica::conn::Latest;
use crate::replica::event::Granted;

/// What was said on a connection.
#[derive(Debug)]
pub struct Talk {
    since: Now,
    said: Mutex<Said>,
}

/// What was said on a connection so far, or since it was told to count anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it is: most have a session.
    pub kind: ConnectionKind,
    /// What it was about last; `None` before the first reply.
    pub latest: Option<Latest>,
    /// When the last reply was given, on the monotonic clock; 0 before the first.
    pub at: Millis,
    /// Times from a request to its reply, in ms.
    pub latency: Latency,
}

/// What a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// It has said nothing that is understood.
    New,
    /// It asks by a four-letter word, and nothing more is read from it.
    Word,
    /// It has a session.
    Session(Granted),
}

/// Times from a request to its reply, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The last; 0 before the first.
    pub last: u64,
    /// The least; 0 before the first.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// All together.
    pub sum: u64,
}

impl Talk {
    /// A connection that just came.
    pub fn new(since: Now) -> Talk {
        Talk { since, said: Mutex::new(Said::nothing(ConnectionKind::New)) }
    }

    /// When it came.
    pub fn since(&self) -> Now {
        self.since
    }

    /// What was said so far.
    pub fn said(&self) -> Said {
        *self.lock()
    }

    /// It turned out to ask by a word.
    pub fn on_word(&self) {
        self.lock().kind = ConnectionKind::Word;
    }

    /// Replies were given.
    pub fn on_replies(&self, now: Millis, session: Option<Granted>, latest: Latest, latency: Latency) {
        let mut said = self.lock();
        if let Some(granted) = session {
            said.kind = ConnectionKind::Session(granted);
        }
        said.latest = Some(latest);
        said.at = now;
        said.latency.add(latency);
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        let mut said = self.lock();
        *said = Said::nothing(said.kind);
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn nothing(kind: ConnectionKind) -> Said {
        Said { kind, latest: None, at: Millis(0), latency: Latency::default() }
    }

    /// Its session; `None` without one.
    pub fn session(&self) -> Option<SessionId> {
        match self.kind {
            ConnectionKind::Session(granted) => Some(granted.session),
            ConnectionKind::New | ConnectionKind::Word => None,
        }
    }

    /// ZooKeeper's short name of the last operation.
    pub fn operation(&self) -> &'static str {
        self.latest.and_then(|latest| Op::from_wire(latest.op)).map_or("NA", short_name)
    }
}

impl Latency {
    /// This many replies that took so long.
    pub fn of(count: u64, took: u64) -> Latency {
        Latency { count, last: took, min: took, max: took, sum: took.saturating_mul(count) }
    }

    /// The average in whole ms; 0 before the first.
    pub fn average(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// Takes later ones in.
    pub fn add(&mut self, later: Latency) {
        if later.count == 0 {
            return;
        }
        self.min = if self.count == 0 { later.min } else { self.min.min(later.min) };
        self.max = self.max.max(later.max);
        self.last = later.last;
        self.count += later.count;
        self.sum += later.sum;
    }
}

/// ZooKeeper's short names; those of credentials never stand here.
fn short_name(op: Op) -> &'static str {
    match op {
        Op::Ping => "PING",
        Op::CreateSession => "SESS",
        Op::CloseSession => "CLOS",
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => "CREA",
        Op::Delete | Op::DeleteContainer => "DELE",
        Op::SetData => "SETD",
        Op::GetData => "GETD",
        Op::Exists => "EXIS",
        Op::SetAcl => "SETA",
        Op::GetAcl => "GETA",
        Op::GetChildren | Op::GetChildren2 => "GETC",
        Op::SetWatches => "SETW",
        Op::SetWatches2 => "STW2",
        Op::AddWatch => "ADDW",
        Op::CheckWatches => "CHKW",
        Op::RemoveWatches => "REMW",
        Op::Sync => "SYNC",
        Op::Multi => "MULT",
        Op::MultiRead => "MLTR",
        Op::Check => "CHEC",
        Op::Reconfig => "RECO",
        Op::GetEphemerals => "GETE",
        Op::GetAllChildrenNumber => "GETACN",
        Op::WhoAmI => "HOMI",
        Op::Auth | Op::Sasl | Op::Error => "NA",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Zxid;

    #[test]
    fn replies_are_taken_together_until_it_counts_anew() {
        let talk = Talk::new(Now::default());
        let granted = Granted { session: SessionId(7), timeout: Millis(4000) };
        let latest = Latest { op: Op::Sync.as_wire(), xid: 3, zxid: Zxid(9) };
        talk.on_replies(Millis(10), Some(granted), latest, Latency::of(2, 5));
        talk.on_replies(Millis(11), Some(granted), latest, Latency::of(1, 2));
        let said = talk.said();
        assert_eq!(said.latency, Latency { count: 3, last: 2, min: 2, max: 5, sum: 12 });
        assert_eq!(
            (said.operation(), said.session(), said.latency.average()),
            ("SYNC", Some(SessionId(7)), 4)
        );
        talk.reset();
        let said = talk.said();
        assert_eq!((said.operation(), said.session()), ("NA", Some(SessionId(7))), "the session stays");
        assert_eq!((said.latest, said.latency.average()), (None, 0));
    }
}
