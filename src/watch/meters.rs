//! How many watches events fire.
//!
//! In: events that somebody watched. Out: numbers under ZooKeeper's meanings.
//!
//! Always true:
//! * an event that nobody watches costs nothing here.
//!
//! Not here: names of metrics (`net::metrics`).

use crate::base::meter::{Counter, Summary};
use crate::proto::EventKind;

/// Watches fired per event, and bytes of all events.
#[derive(Debug, Default)]
pub struct Meters {
    /// For the creation of a node.
    pub created: Summary,
    /// For its end.
    pub deleted: Summary,
    /// For a change of its data.
    pub changed: Summary,
    /// For a change of its children.
    pub children: Summary,
    /// Bytes of the events that were delivered.
    pub bytes: Counter,
}

impl Meters {
    /// Begins to count anew.
    pub fn reset(&self) {
        for summary in [&self.created, &self.deleted, &self.changed, &self.children] {
            summary.reset();
        }
        self.bytes.reset();
    }

    /// The number of a kind of event. What is told when a watch or a session ends is counted with the end of a node.
    pub(super) fn of(&self, kind: EventKind) -> &Summary {
        match kind {
            EventKind::Created => &self.created,
            EventKind::DataChanged => &self.changed,
            EventKind::ChildrenChanged => &self.children,
            _ => &self.deleted,
        }
    }
}
