//! What a replica counts while it runs, for the metrics.
//!
//! In: what connections and the loop meet. Out: numbers that anybody may look at.
//!
//! Always true:
//! * nothing that a replica does depends on them.
//!
//! Not here: names of metrics (`net::metrics`).

use crate::base::meter::{Counter, Summary};

/// Numbers of one replica.
#[derive(Debug, Default)]
pub struct Meters {
    /// Credentials of clients that were refused.
    pub auth_failures: Counter,
    /// Sessions that expired on this leader's clock.
    pub sessions_expired: Counter,
    /// Txns that were applied.
    pub applied: Counter,
    /// From the leader's time of a txn until it was applied here, in ms; both clocks are wall clocks.
    pub propagation: Summary,
}

impl Meters {
    /// Begins to count anew, but for what ZooKeeper never resets: refused credentials.
    pub fn reset(&self) {
        self.sessions_expired.reset();
        self.applied.reset();
        self.propagation.reset();
    }
}
