//! Watches: a watch fires once, for the first change after its registration, and before that change is read; and what
//! changes while the client has no connection is told when it registers its watches again (setWatches).
//!
//! In: registrations, events and replies of one client, in the order in which it gets them. Out: a panic when an event
//! comes twice, late, or for nothing.
//!
//! Always true:
//! * an event names the zxid of the first change after the read that registered it;
//! * no reply tells of a state that includes a change whose event has not come;
//! * before the reply to setWatches comes exactly what the state at its zxid calls for, list by list; what is not due goes
//!   on waiting from there.
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

/// The lists of setWatches, in their order: they say what a watch was left by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// A read of a node that is there.
    Data,
    /// A look for a node that is not there.
    Exist,
    /// A list of children.
    Children,
}

/// Every list.
const LISTS: [List; 3] = [List::Data, List::Exist, List::Children];

impl List {
    /// Which changes a watch of it waits for.
    fn kind(self) -> Kind {
        match self {
            List::Data | List::Exist => Kind::Data,
            List::Children => Kind::Children,
        }
    }
}

/// A watch that has not fired.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The state that was read when it was registered.
    since: Zxid,
    list: List,
}

/// The watches of one client that have not fired.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    waiting: BTreeMap<(String, Kind), Waiting>,
    /// Events that came since the watches were registered again, until that is answered.
    made_up: Option<Vec<(i32, String)>>,
    /// How many have fired.
    pub fired: u64,
    /// How many went on waiting on another connection.
    pub rearmed: u64,
    /// How many were due when they were to go on waiting.
    pub found_due: u64,
}

impl Watches {
    /// A read at `zxid` left a watch.
    pub fn on_registered(&mut self, path: &str, list: List, zxid: Zxid) {
        self.waiting.insert((path.to_owned(), list.kind()), Waiting { since: zxid, list });
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.waiting.len()
    }

    /// The session is gone, and the watches with it.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.made_up = None;
    }

    /// The connection is gone. Watches whose event came are used up, the others are to be registered again.
    pub fn on_disconnected(&mut self) {
        for (kind, path) in self.made_up.take().unwrap_or_default() {
            let is_used = |of: Kind| match kind {
                event::CREATED | event::DATA_CHANGED => of == Kind::Data,
                event::CHILDREN_CHANGED => of == Kind::Children,
                _ => true,
            };
            self.waiting.retain(|(at, of), _| *at != path || !is_used(*of));
        }
    }

    /// The watches are registered again: the paths of each list.
    pub fn on_registering(&mut self) -> [Vec<String>; 3] {
        self.made_up = Some(Vec::new());
        LISTS.map(|list| {
            let of_list = self.waiting.iter().filter(|(_, waiting)| waiting.list == list);
            of_list.map(|((path, _), _)| path.clone()).collect()
        })
    }

    /// The watches are registered again, for a client that had seen `seen`, in the state at `zxid`.
    pub fn on_registered_again(&mut self, model: &Model, seen: Zxid, zxid: Zxid) {
        let came = self.made_up.take().expect("they were registered");
        let due = |path: &str, list: List| match (list, model.at(path, zxid)) {
            (List::Data | List::Children, None) => Some(event::DELETED),
            (List::Data, Some(node)) => (node.stat.mzxid > seen.0).then_some(event::DATA_CHANGED),
            (List::Children, Some(node)) => (node.stat.pzxid > seen.0).then_some(event::CHILDREN_CHANGED),
            (List::Exist, node) => node.map(|_| event::CREATED),
        };
        let mut expected = Vec::new();
        for list in LISTS {
            let of_list = self.waiting.iter().filter(|(_, waiting)| waiting.list == list);
            expected.extend(of_list.filter_map(|((path, _), _)| Some((due(path, list)?, path.clone()))));
        }
        assert!(
            came == expected,
            "watches: a client that had seen {seen} registers them again at {zxid} and gets {came:?}, due are {expected:?}"
        );
        self.found_due += expected.len() as u64;
        self.waiting.retain(|(path, _), waiting| due(path, waiting.list).is_none());
        self.waiting.values_mut().for_each(|waiting| waiting.since = zxid);
        self.rearmed += self.waiting.len() as u64;
    }

    /// An event came.
    pub fn on_event(&mut self, model: &Model, zxid: Zxid, kind: i32, path: &str) {
        self.fired += 1;
        if zxid == Zxid::NONE {
            let made_up = self.made_up.as_mut();
            made_up
                .expect("watches: an event of no txn, and none are being registered")
                .push((kind, path.to_owned()));
            return;
        }
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
        let Some(waiting) = self.waiting.get(&key) else { return false };
        let due = model.next_change(path, kind, waiting.since);
        if due != Some(zxid) {
            return false;
        }
        self.waiting.remove(&key);
        true
    }

    /// A reply tells of the state at `zxid`: every watch whose change lies at or before it must have fired.
    pub fn on_reply(&self, model: &Model, zxid: Zxid) {
        for ((path, kind), Waiting { since, .. }) in &self.waiting {
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
        watches.on_registered("/a", List::Data, Zxid(1));
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

    /// Watches of every list at 1, registered again at 3; these events come before the answer.
    fn registered_again(events: &[(i32, &str)]) -> Watches {
        let mut watches = watching();
        watches.on_registered("/", List::Children, Zxid(1));
        watches.on_registered("/b", List::Exist, Zxid(1));
        watches.on_disconnected();
        assert_eq!(watches.on_registering(), [vec!["/a".to_owned()], vec!["/b".into()], vec!["/".into()]]);
        events.iter().for_each(|(kind, path)| watches.on_event(&model(), Zxid::NONE, *kind, path));
        watches
    }

    #[test]
    fn what_changed_meanwhile_fires_and_the_rest_goes_on_waiting() {
        let mut watches = registered_again(&[(event::DATA_CHANGED, "/a")]);
        watches.on_registered_again(&model(), Zxid(1), Zxid(3));
        assert_eq!((watches.count(), watches.found_due, watches.rearmed), (2, 1, 2));
    }

    #[test]
    fn an_event_that_came_before_the_connection_broke_again_uses_its_watch_up() {
        let mut watches = registered_again(&[(event::DATA_CHANGED, "/a")]);
        watches.on_disconnected();
        assert_eq!(watches.count(), 2);
    }

    #[test]
    #[should_panic(expected = "due are [(3, \"/a\")]")]
    fn a_change_that_is_not_told_is_noticed() {
        registered_again(&[]).on_registered_again(&model(), Zxid(1), Zxid(3));
    }

    #[test]
    #[should_panic(expected = "due are []")]
    fn a_change_that_was_seen_and_is_told_again_is_noticed() {
        registered_again(&[(event::DATA_CHANGED, "/a")]).on_registered_again(&model(), Zxid(3), Zxid(3));
    }
}
