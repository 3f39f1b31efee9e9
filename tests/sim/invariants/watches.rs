//! Watches: what a connection registered fires for every change that it covers, once each, in the order of the changes,
//! and before anything tells of them; what changes while the client has no connection is told where ZooKeeper tells it
//! when the watches are registered again (setWatches), and is lost where ZooKeeper loses it, and nowhere else.
//!
//! In: registrations, events and replies of one client, in the order in which it gets them. Out: a panic when an event is
//! missing, comes twice, late, in another order, or for nothing.
//!
//! Always true:
//! * a watch that was left by a read fires once, for the first change after that read; one of addWatch fires for every
//!   change until it is removed or the connection ends, and again from the zxid at which it is registered again;
//! * a change is told once to a connection, however many of its watches cover it;
//! * no reply tells of a state that includes a change whose event has not come;
//! * before the reply to setWatches comes exactly what the state at its zxid calls for, list by list; what is not due goes
//!   on waiting from there.
//!
//! Not here: which events a change fires (`watch_events`), which requests leave a watch (`client`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate::base::Zxid;

use super::watch_events::{self, Told, event};
use crate::model::{Changed, Model, covers};
use crate::request::{AddMode, WatchKind};

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

/// The two tables of one-shot watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Creation, deletion and new data of the node itself.
    Data,
    /// Children that appear or go, and deletion of the node itself.
    Children,
}

impl List {
    fn table(self) -> Table {
        match self {
            List::Data | List::Exist => Table::Data,
            List::Children => Table::Children,
        }
    }
}

/// The watches of one client.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    /// What was left by reads and has not fired.
    waiting: BTreeMap<(String, Table), List>,
    /// What stays.
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
    /// Whether they are registered on the connection that there is.
    is_registered: bool,
    /// How many changes the connection has told of, or did not have to.
    told: usize,
    /// What it has to tell next, of changes that count as told.
    due: VecDeque<Told>,
    /// Events that came since the watches were registered again, until that is answered.
    made_up: Option<Vec<(i32, String)>>,
    /// How many have fired.
    pub fired: u64,
    /// How many of these were of watches that stay.
    pub persistent_fired: u64,
    /// How many went on waiting on another connection.
    pub rearmed: u64,
    /// How many were due when they were to go on waiting.
    pub found_due: u64,
}

impl Watches {
    /// A read at `zxid` left a watch.
    pub fn on_registered(&mut self, path: &str, list: List) {
        self.waiting.insert((path.to_owned(), list.table()), list);
    }

    /// A watch that stays was added.
    pub fn on_added(&mut self, path: &str, mode: AddMode) {
        match mode {
            AddMode::Persistent => self.persistent.insert(path.to_owned()),
            AddMode::Recursive => self.recursive.insert(path.to_owned()),
        };
    }

    /// Whether there is a watch of this kind on exactly this path.
    pub fn has(&self, path: &str, kind: WatchKind) -> bool {
        let waits = |table| self.waiting.contains_key(&(path.to_owned(), table));
        match kind {
            WatchKind::Children => waits(Table::Children),
            WatchKind::Data => waits(Table::Data),
            WatchKind::Persistent => self.persistent.contains(path),
            WatchKind::Recursive => self.recursive.contains(path),
            WatchKind::Any => {
                waits(Table::Children)
                    || waits(Table::Data)
                    || self.persistent.contains(path)
                    || self.recursive.contains(path)
            }
        }
    }

    /// Watches of this kind were removed.
    pub fn on_removed(&mut self, path: &str, kind: WatchKind) {
        let any = kind == WatchKind::Any;
        if any || kind == WatchKind::Children {
            self.waiting.remove(&(path.to_owned(), Table::Children));
        }
        if any || kind == WatchKind::Data {
            self.waiting.remove(&(path.to_owned(), Table::Data));
        }
        if any || kind == WatchKind::Persistent {
            self.persistent.remove(path);
        }
        if any || kind == WatchKind::Recursive {
            self.recursive.remove(path);
        }
    }

    /// How many one-shot ones wait.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.waiting.len() + self.persistent.len() + self.recursive.len()
    }

    /// The session is gone, and the watches with it.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.persistent.clear();
        self.recursive.clear();
        self.made_up = None;
        self.on_disconnected();
    }

    /// The connection is gone. Watches whose event came are used up, the others are to be registered again.
    pub fn on_disconnected(&mut self) {
        self.is_registered = false;
        self.due.clear();
        for (kind, path) in self.made_up.take().unwrap_or_default() {
            let is_used = |of: Table| match kind {
                event::CREATED | event::DATA_CHANGED => of == Table::Data,
                event::CHILDREN_CHANGED => of == Table::Children,
                _ => true,
            };
            self.waiting.retain(|(at, of), _| *at != path || !is_used(*of));
        }
    }

    /// The watches are registered again: the paths of each list.
    pub fn on_registering(&mut self) -> [Vec<String>; 5] {
        self.made_up = Some(Vec::new());
        let [data, exist, children] = LISTS.map(|list| {
            let of_list = self.waiting.iter().filter(|(_, of)| **of == list);
            of_list.map(|((path, _), _)| path.clone()).collect()
        });
        let whole = |paths: &BTreeSet<String>| paths.iter().cloned().collect();
        [data, exist, children, whole(&self.persistent), whole(&self.recursive)]
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
            let of_list = self.waiting.iter().filter(|(_, of)| **of == list);
            expected.extend(of_list.filter_map(|((path, _), _)| Some((due(path, list)?, path.clone()))));
        }
        assert!(
            came == expected,
            "watches: a client that had seen {seen} registers them again at {zxid} and gets {came:?}, due are {expected:?}"
        );
        self.found_due += expected.len() as u64;
        self.waiting.retain(|(path, _), list| due(path, *list).is_none());
        self.rearmed += self.count() as u64;
        self.go_on_from(model, zxid);
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
        assert!(
            self.is_registered,
            "watches: event {kind} of {zxid} for {path} came to a connection without any"
        );
        while self.due.is_empty() {
            let next = model.changes.get(self.told);
            let next = next.unwrap_or_else(|| {
                panic!("watches: event {kind} of {zxid} for {path} came without a watch that waits for it")
            });
            self.fire(next);
        }
        let due = self.due.pop_front().expect("it was filled");
        assert!(
            (due.zxid, due.kind, due.path.as_str()) == (zxid, kind, path),
            "watches: event {kind} of {zxid} for {path} came, and due was {due:?}"
        );
    }

    /// A reply tells of the state at `zxid`: everything that a watch covers and that lies at or before it must have come.
    pub fn on_reply(&mut self, model: &Model, zxid: Zxid) {
        if !self.is_registered || (self.count() == 0 && self.due.is_empty()) {
            return self.go_on_from(model, zxid);
        }
        while let Some(next) = model.changes.get(self.told).filter(|next| next.zxid <= zxid) {
            self.fire(next);
        }
        if let Some(due) = self.due.front() {
            panic!("watches: a reply of {zxid} came before the event {due:?}");
        }
    }

    fn go_on_from(&mut self, model: &Model, zxid: Zxid) {
        self.is_registered = true;
        self.told = model.changes.partition_point(|change| change.zxid <= zxid);
    }

    /// Puts what a change fires behind what is due, and uses one-shot watches up.
    fn fire(&mut self, change: &Changed) {
        self.told += 1;
        let before = self.due.len();
        let (persistent, recursive) = (&self.persistent, &self.recursive);
        let waiting = &mut self.waiting;
        let mut stays = 0;
        let covered = |path: &str, table: Table| {
            let is_left = waiting.remove(&(path.to_owned(), table)).is_some();
            let is_below = || recursive.iter().any(|above| covers(above, path));
            let is_kept = persistent.contains(path) || (table == Table::Data && is_below());
            stays += u64::from(is_kept);
            is_left || is_kept
        };
        watch_events::fire(change, covered, &mut self.due);
        self.persistent_fired += stays.min((self.due.len() - before) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Change, NodeKind, Txn};
    use bytes::Bytes;
    use quorate::base::SessionId;

    fn model() -> Model {
        let mut model = Model::new();
        let mut apply = |zxid, change| {
            model.apply(&Txn { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: 1, change });
        };
        let acl = crate::acl::List::Open.entries();
        apply(1, Change::Create { path: "/a".into(), data: Bytes::new(), acl, kind: NodeKind::Persistent });
        apply(2, Change::SetData { path: "/a".into(), data: Bytes::new(), version: 1 });
        apply(3, Change::SetData { path: "/a".into(), data: Bytes::new(), version: 2 });
        model
    }

    fn watching() -> Watches {
        let mut watches = Watches::default();
        watches.on_reply(&model(), Zxid(1));
        watches.on_registered("/a", List::Data);
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

    fn watching_for_ever(mode: AddMode, path: &str) -> Watches {
        let mut watches = Watches::default();
        watches.on_reply(&model(), Zxid::ZERO);
        watches.on_added(path, mode);
        watches
    }

    #[test]
    fn a_watch_that_stays_tells_of_every_change_once() {
        for (mode, path) in [(AddMode::Persistent, "/a"), (AddMode::Recursive, "/")] {
            let mut watches = watching_for_ever(mode, path);
            watches.on_registered("/a", List::Exist);
            watches.on_event(&model(), Zxid(1), event::CREATED, "/a");
            watches.on_event(&model(), Zxid(2), event::DATA_CHANGED, "/a");
            watches.on_event(&model(), Zxid(3), event::DATA_CHANGED, "/a");
            watches.on_reply(&model(), Zxid(3));
            assert_eq!((watches.count(), watches.persistent_fired), (1, 3));
        }
    }

    #[test]
    #[should_panic(expected = "and due was Told { zxid: 0x2")]
    fn an_event_that_is_left_out_is_noticed() {
        let mut watches = watching_for_ever(AddMode::Persistent, "/a");
        watches.on_event(&model(), Zxid(1), event::CREATED, "/a");
        watches.on_event(&model(), Zxid(3), event::DATA_CHANGED, "/a");
    }

    #[test]
    fn what_happens_without_a_connection_is_not_told_to_a_watch_that_stays() {
        let mut watches = watching_for_ever(AddMode::Recursive, "/a");
        watches.on_disconnected();
        assert_eq!(watches.on_registering()[4], ["/a".to_owned()]);
        watches.on_registered_again(&model(), Zxid::ZERO, Zxid(2));
        watches.on_event(&model(), Zxid(3), event::DATA_CHANGED, "/a");
        watches.on_reply(&model(), Zxid(3));
    }

    /// Watches of every list at 1, registered again at 3; these events come before the answer.
    fn registered_again(events: &[(i32, &str)]) -> Watches {
        let mut watches = watching();
        watches.on_registered("/", List::Children);
        watches.on_registered("/b", List::Exist);
        watches.on_disconnected();
        assert_eq!(
            watches.on_registering()[..3],
            [vec!["/a".to_owned()], vec!["/b".into()], vec!["/".into()]]
        );
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
