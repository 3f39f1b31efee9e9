//! `Names`: which child of a node has a name.
//!
//! In: a parent's number and a name. Out: the child's number.
//!
//! Always true:
//! * finding, adding and removing cost the same however many nodes there are, and no single call moves more than
//!   one shard's entries;
//! * nothing depends on the order in which entries lie.
//!
//! Not here: the names themselves, which stand in the nodes: an entry is a number of 4 bytes.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// Tables that grow one by one, so that no create waits for a whole table of millions of entries to be moved.
const SHARDS: usize = 1_024;

/// Children by parent and name.
#[derive(Debug)]
pub(super) struct Names {
    shards: Vec<HashTable<u32>>,
}

/// A parent and a name, and their hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    /// The parent's number.
    pub parent: u32,
    /// The child's name.
    pub name: &'a str,
}

impl Key<'_> {
    fn hash(self) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write_u32(self.parent);
        hasher.write(self.name.as_bytes());
        hasher.finish()
    }
}

impl Names {
    /// No entries.
    pub fn new() -> Names {
        Names::with_room(0)
    }

    /// No entries, and room for about so many: growing by and by would look at each node again and again.
    pub fn with_room(count: usize) -> Names {
        Names { shards: (0..SHARDS).map(|_| HashTable::with_capacity(count / SHARDS)).collect() }
    }

    /// The number for which `key_of` gives this key.
    pub fn find<'a>(&self, key: Key<'_>, key_of: impl Fn(u32) -> Key<'a>) -> Option<u32> {
        let hash = key.hash();
        self.shards[shard(hash)].find(hash, |number| is_same(key_of(*number), key)).copied()
    }

    /// Adds an entry. There must be none for this key.
    pub fn insert<'a>(&mut self, number: u32, key_of: impl Fn(u32) -> Key<'a>) {
        let hash = key_of(number).hash();
        self.shards[shard(hash)].insert_unique(hash, number, |number| key_of(*number).hash());
    }

    /// Removes the entry of a number.
    pub fn remove(&mut self, number: u32, key: Key<'_>) {
        let hash = key.hash();
        if let Ok(entry) = self.shards[shard(hash)].find_entry(hash, |entry| *entry == number) {
            entry.remove();
        }
    }
}

fn is_same(a: Key<'_>, b: Key<'_>) -> bool {
    a.parent == b.parent && a.name == b.name
}

/// The table takes its place from the low bits and its tags from the high ones: the shard comes from between.
fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
