//! Who watches one path, and what one connection watches.
//!
//! In: registrations. Out: the connections that a change concerns.
//!
//! Always true:
//! * a path or connection without a mode left takes no room.
//!
//! Not here: locks, and which paths a change concerns (`watch`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::{Mode, Table, Watcher};
use crate::base::ConnId;

/// Everybody whom one firing concerns.
pub(super) type Fired = BTreeMap<ConnId, Arc<Watcher>>;

/// The modes in which one connection watches one path in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Modes(u8);

/// The same for both tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Places {
    pub(super) data: Modes,
    pub(super) child: Modes,
}

/// The connections that watch one path.
#[derive(Debug, Default)]
pub(super) struct OnPath {
    pub(super) data: Watchers,
    pub(super) child: Watchers,
}

/// Most paths have one watcher, some have very many.
#[derive(Debug, Default)]
pub(super) enum Watchers {
    #[default]
    None,
    One(Arc<Watcher>, Modes),
    Many(BTreeMap<ConnId, (Arc<Watcher>, Modes)>),
}

impl Modes {
    pub(super) fn has(self, mode: Mode) -> bool {
        self.0 & mode.bit() != 0
    }

    pub(super) fn add(&mut self, mode: Mode) {
        self.0 |= mode.bit();
    }

    pub(super) fn remove(&mut self, mode: Mode) -> bool {
        let had = self.has(mode);
        self.0 &= !mode.bit();
        had
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Mode {
    pub(super) fn bit(self) -> u8 {
        match self {
            Mode::Standard => 1,
            Mode::Persistent => 2,
            Mode::Recursive => 4,
        }
    }
}

impl Places {
    pub(super) fn table(&self, table: Table) -> Modes {
        match table {
            Table::Data => self.data,
            Table::Child => self.child,
        }
    }

    pub(super) fn table_mut(&mut self, table: Table) -> &mut Modes {
        match table {
            Table::Data => &mut self.data,
            Table::Child => &mut self.child,
        }
    }
}

impl OnPath {
    pub(super) fn table(&mut self, table: Table) -> &mut Watchers {
        match table {
            Table::Data => &mut self.data,
            Table::Child => &mut self.child,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!((&self.data, &self.child), (Watchers::None, Watchers::None))
    }
}

impl Watchers {
    pub(super) fn insert(&mut self, watcher: &Arc<Watcher>, mode: Mode) {
        match self {
            Watchers::None => {
                let mut modes = Modes::default();
                modes.add(mode);
                *self = Watchers::One(Arc::clone(watcher), modes);
            }
            Watchers::One(one, modes) if one.conn == watcher.conn => modes.add(mode),
            Watchers::One(one, modes) => {
                let first = (one.conn, (Arc::clone(one), *modes));
                *self = Watchers::Many(BTreeMap::from([first]));
                self.insert(watcher, mode);
            }
            Watchers::Many(many) => {
                let new = || (Arc::clone(watcher), Modes::default());
                many.entry(watcher.conn).or_insert_with(new).1.add(mode);
            }
        }
    }

    pub(super) fn remove(&mut self, conn: ConnId, mode: Mode) {
        match self {
            Watchers::One(one, modes) if one.conn == conn => {
                modes.remove(mode);
                if modes.is_empty() {
                    *self = Watchers::None;
                }
            }
            Watchers::None | Watchers::One(..) => {}
            Watchers::Many(many) => {
                if let Entry::Occupied(mut entry) = many.entry(conn) {
                    entry.get_mut().1.remove(mode);
                    if entry.get().1.is_empty() {
                        entry.remove();
                    }
                }
                if many.is_empty() {
                    *self = Watchers::None;
                }
            }
        }
    }

    /// Lists all and takes the standard mode from each.
    pub(super) fn take_fired(&mut self, fired: &mut Fired) {
        match self {
            Watchers::None => {}
            Watchers::One(one, modes) => {
                fired.insert(one.conn, Arc::clone(one));
                modes.remove(Mode::Standard);
                if modes.is_empty() {
                    *self = Watchers::None;
                }
            }
            Watchers::Many(many) => {
                fired.extend(many.iter().map(|(conn, (watcher, _))| (*conn, Arc::clone(watcher))));
                many.retain(|_, (_, modes)| {
                    modes.remove(Mode::Standard);
                    !modes.is_empty()
                });
                if many.is_empty() {
                    *self = Watchers::None;
                }
            }
        }
    }

    pub(super) fn list_recursive(&self, fired: &mut Fired) {
        let mut list = |watcher: &Arc<Watcher>, modes: &Modes| {
            if modes.has(Mode::Recursive) {
                fired.insert(watcher.conn, Arc::clone(watcher));
            }
        };
        match self {
            Watchers::None => {}
            Watchers::One(one, modes) => list(one, modes),
            Watchers::Many(many) => many.values().for_each(|(watcher, modes)| list(watcher, modes)),
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Watchers::None => 0,
            Watchers::One(..) => 1,
            Watchers::Many(many) => many.len(),
        }
    }
}
