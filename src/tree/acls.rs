//! `Acls`: each ACL list once, by number.
//!
//! In: lists of new nodes, ids of a snapshot's table. Out: a number for each, and the list of a number.
//!
//! Always true:
//! * equal lists have one number, and a list that no node uses is forgotten;
//! * an id that stands in snapshots is never given to another list.
//!
//! Not here: who may do what (`acl`).

use std::sync::{Arc, LazyLock};

use rustc_hash::FxHashMap;

use super::slots::{Frozen, Slots};
use crate::proto::{Acl, Id};

/// The number of "open": it has the id -1 in snapshots, and stands in no table.
pub(super) const OPEN: u32 = 0;
/// Its id in snapshots.
pub(super) const OPEN_ID: i64 = -1;

static OPEN_LIST: LazyLock<Arc<[Acl]>> = LazyLock::new(|| Acl::open().into());
/// Stands for a list that a snapshot of Apache ZooKeeper does not tell: nobody may do anything.
static CLOSED_LIST: LazyLock<Arc<[Acl]>> =
    LazyLock::new(|| Arc::new([Acl { perms: 0, id: Id::new("world", "anyone") }]));

/// ACL lists by number.
#[derive(Debug)]
pub(super) struct Acls {
    entries: Slots<Entry>,
    /// How many nodes use each number.
    uses: Vec<u32>,
    by_list: FxHashMap<Arc<[Acl]>, u32>,
    by_pending_id: FxHashMap<i64, u32>,
    /// The highest id ever used.
    last_id: i64,
}

/// One list.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its id in snapshots.
    pub id: i64,
    /// `None`: a node of a fuzzy snapshot has this id, and the table does not. A txn that is replayed will give the
    /// node its list.
    pub list: Option<Arc<[Acl]>>,
}

impl Acls {
    /// Only "open".
    pub fn new() -> Acls {
        let mut entries = Slots::new();
        entries.insert(Entry { id: OPEN_ID, list: Some(OPEN_LIST.clone()) });
        // "Open" is used by the table itself and so never forgotten.
        Acls {
            entries,
            uses: vec![1],
            by_list: FxHashMap::default(),
            by_pending_id: FxHashMap::default(),
            last_id: 0,
        }
    }

    /// The number of a list, for one more node. An empty list is "open", as both allow everything.
    pub fn acquire(&mut self, list: &[Acl]) -> u32 {
        if list.is_empty() {
            self.uses[OPEN as usize] += 1;
            return OPEN;
        }
        if let Some(number) = self.by_list.get(list) {
            self.uses[*number as usize] += 1;
            return *number;
        }
        self.last_id += 1;
        let number = self.insert(self.last_id, Some(list.into()));
        self.uses[number as usize] = 1;
        number
    }

    /// The list itself, shared with the nodes that have it already.
    pub fn share(&self, list: &[Acl]) -> Arc<[Acl]> {
        self.by_list.get_key_value(list).map_or_else(|| list.into(), |(shared, _)| Arc::clone(shared))
    }

    /// One node less uses this number.
    pub fn release(&mut self, number: u32) {
        let uses = &mut self.uses[number as usize];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        let Some(entry) = self.entries.remove(number) else {
            return;
        };
        match entry.list {
            // Two ids of a snapshot may have had equal lists; only one of them is found by it.
            Some(list) => {
                if self.by_list.get(&list) == Some(&number) {
                    self.by_list.remove(&list);
                }
            }
            None => {
                self.by_pending_id.remove(&entry.id);
            }
        }
    }

    /// Takes an entry of a snapshot's table. No node uses it yet.
    pub fn load(&mut self, id: i64, list: &[Acl]) -> u32 {
        self.last_id = self.last_id.max(id);
        self.insert(id, Some(list.into()))
    }

    /// The number of an id that a snapshot's table does not have, for one more node.
    pub fn acquire_pending(&mut self, id: i64) -> u32 {
        let number = match self.by_pending_id.get(&id) {
            Some(number) => *number,
            None => {
                self.last_id = self.last_id.max(id);
                let number = self.insert(id, None);
                self.by_pending_id.insert(id, number);
                number
            }
        };
        self.uses[number as usize] += 1;
        number
    }

    /// One more node uses a number.
    pub fn acquire_number(&mut self, number: u32) {
        self.uses[number as usize] += 1;
    }

    /// Forgets every list that no node uses, after a snapshot was read.
    pub fn forget_unused(&mut self, numbers: impl Iterator<Item = u32>) {
        for number in numbers {
            if self.uses[number as usize] == 0 {
                self.uses[number as usize] = 1;
                self.release(number);
            }
        }
    }

    /// The list of a number in use.
    pub fn list(&self, number: u32) -> &Arc<[Acl]> {
        let entry = self.entries.at(number).expect("a node uses this number");
        entry.list.as_ref().unwrap_or(&CLOSED_LIST)
    }

    /// How many lists are still unknown.
    pub fn pending_count(&self) -> usize {
        self.by_pending_id.len()
    }

    /// A view of all lists as they are.
    pub fn freeze(&self) -> Frozen<Entry> {
        self.entries.freeze()
    }

    fn insert(&mut self, id: i64, list: Option<Arc<[Acl]>>) -> u32 {
        let number = self.entries.insert(Entry { id, list: list.clone() });
        if self.uses.len() <= number as usize {
            self.uses.resize(number as usize + 1, 0);
        }
        self.uses[number as usize] = 0;
        if let Some(list) = list {
            self.by_list.entry(list).or_insert(number);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(perms: i32) -> Vec<Acl> {
        vec![Acl { perms, id: Id::new("world", "anyone") }]
    }

    fn ids(acls: &Acls) -> Vec<i64> {
        acls.freeze().iter().map(|(_, entry)| entry.id).collect()
    }

    #[test]
    fn equal_lists_share_a_number_until_nobody_uses_it() {
        let mut acls = Acls::new();
        let read = acls.acquire(&list(1));
        assert_eq!((acls.acquire(&list(1)), acls.acquire(&[])), (read, OPEN));
        let write = acls.acquire(&list(2));
        assert_eq!(ids(&acls), [OPEN_ID, 1, 2]);
        acls.release(read);
        acls.release(read);
        assert_eq!(ids(&acls), [OPEN_ID, 2]);
        // The slot is used again, the id is not.
        assert_eq!((acls.acquire(&list(4)), acls.list(write).to_vec()), (read, list(2)));
        assert_eq!(ids(&acls), [OPEN_ID, 3, 2]);
    }

    #[test]
    fn an_unknown_id_is_closed_until_its_last_node_has_a_list() {
        let mut acls = Acls::new();
        let number = acls.acquire_pending(8);
        assert_eq!((acls.acquire_pending(8), acls.pending_count()), (number, 1));
        assert_eq!(acls.list(number)[0].perms, 0);
        acls.release(number);
        acls.release(number);
        assert_eq!(acls.pending_count(), 0);
        acls.acquire(&list(1));
        assert_eq!(ids(&acls), [OPEN_ID, 9]);
    }
}
