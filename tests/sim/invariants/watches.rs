//! Watches: a watch fires once, for the first change after its registration, and before that change is read.
//!
//! In: registrations, events and replies of one connection, in the order in which the client gets them. Out: a panic when
//! an event comes twice, late, or for nothing.
//!
//! Always true:
//! * an event names the zxid of the first change after the read that registered it;
//! * no reply tells of a state that includes a change whose event has not come.
//!
//! Not here: which requests leave a watch (`client` knows what it asked for).

use std::collections::BTreeMap;

use quorate::base::Zxid;

use crate::model::{Kind, Model};

/// Event types on the wire.
mod event {
    pub(super) const CREATED: i32 = 1;
    pub(super) const DELETED: i32 = 2;
    pub(super) const DATA_CHANGED: i32 = 3;
    pub(super) const CHILDREN_CHANGED: i32 = 4;
}

/// The watches of one connection that have not fired.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    waiting: BTreeMap<(String, Kind), Zxid>,
    /// How many have fired.
    pub fired: u64,
}

impl Watches {
    /// A read at `zxid` left a watch.
    pub fn on_registered(&mut self, path: &str, kind: Kind, zxid: Zxid) {
        self.waiting.insert((path.to_owned(), kind), zxid);
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.waiting.len()
    }

    /// The connection is gone, and its watches with it.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// An event came.
    pub fn on_event(&mut self, model: &Model, zxid: Zxid, kind: i32, path: &str) {
        self.fired += 1;
        let fired = match kind {
            event::CREATED | event::DATA_CHANGED => self.fire(model, zxid, path, Kind::Data),
            event::CHILDREN_CHANGED => self.fire(model, zxid, path, Kind::Children),
            event::DELETED => {
                let data = self.fire(model, zxid, path, Kind::Data);
                self.fire(model, zxid, path, Kind::Children) || data
            }
            _ => panic!("watches: an event of type {kind} for {path}"),
        };
        assert!(fired, "watches: event {kind} of {zxid} for {path} came without a watch that waits for it");
        let is_right = match kind {
            event::CREATED => model.before(path, zxid).is_none() && model.at(path, zxid).is_some(),
            event::DELETED => model.before(path, zxid).is_some() && model.at(path, zxid).is_none(),
            _ => model.before(path, zxid).is_some() && model.at(path, zxid).is_some(),
        };
        assert!(is_right, "watches: event {kind} of {zxid} for {path} is not what happened there");
    }

    fn fire(&mut self, model: &Model, zxid: Zxid, path: &str, kind: Kind) -> bool {
        let key = (path.to_owned(), kind);
        let Some(since) = self.waiting.get(&key).copied() else { return false };
        let due = model.next_change(path, kind, since);
        if due != Some(zxid) {
            return false;
        }
        self.waiting.remove(&key);
        true
    }

    /// A reply tells of the state at `zxid`: every watch whose change lies at or before it must have fired.
    pub fn on_reply(&self, model: &Model, zxid: Zxid) {
        for ((path, kind), since) in &self.waiting {
            let due = model.next_change(path, *kind, *since);
            assert!(
                due.is_none_or(|due| due > zxid),
                "watches: a reply of {zxid} came before the event of {due:?} for {path} ({kind:?}, watched at {since})"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Change, Txn};
    use bytes::Bytes;
    use quorate::base::SessionId;

    fn model() -> Model {
        let mut model = Model::new();
        let mut apply =
            |zxid, change| model.apply(&Txn { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), change });
        apply(1, Change::Create { path: "/a".into(), data: Bytes::new(), is_ephemeral: false });
        apply(2, Change::SetData { path: "/a".into(), data: Bytes::new(), version: 1 });
        apply(3, Change::SetData { path: "/a".into(), data: Bytes::new(), version: 2 });
        model
    }

    fn watching() -> Watches {
        let mut watches = Watches::default();
        watches.on_registered("/a", Kind::Data, Zxid(1));
        watches
    }

    #[test]
    fn the_first_change_fires_it() {
        let mut watches = watching();
        watches.on_reply(&model(), Zxid(1));
        watches.on_event(&model(), Zxid(2), event::DATA_CHANGED, "/a");
        watches.on_reply(&model(), Zxid(3));
        assert_eq!((watches.count(), watches.fired), (0, 1));
    }

    #[test]
    #[should_panic(expected = "came before the event")]
    fn a_reply_that_overtakes_the_event_is_noticed() {
        watching().on_reply(&model(), Zxid(2));
    }

    #[test]
    #[should_panic(expected = "without a watch")]
    fn a_second_event_is_noticed() {
        let mut watches = watching();
        watches.on_event(&model(), Zxid(2), event::DATA_CHANGED, "/a");
        watches.on_event(&model(), Zxid(3), event::DATA_CHANGED, "/a");
    }
}
