//! Lists the watches of the data table, for people.
//!
//! In: every watch of a server. Out: which connection watches which paths, and how many there are of each.
//!
//! Always true:
//! * looking changes nothing, and holds one connection's lock at a time.
//!
//! Not here: which sessions the connections have, and the texts (`net`).

use std::sync::Arc;

use super::meters::Meters;
use super::{Watcher, Watches, lock};
use crate::base::ConnId;

/// How many there are of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Connections that watch anything in the data table.
    pub connections: u64,
    /// Paths that anybody watches there.
    pub paths: u64,
    /// Pairs of both.
    pub watches: u64,
}

impl Watches {
    /// What watches there are in the data table.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for shard in &self.shards {
            for on_path in lock(shard).values() {
                let count = on_path.data.count() as u64;
                summary.paths += u64::from(count > 0);
                summary.watches += count;
            }
        }
        let watchers: Vec<Arc<Watcher>> = lock(&self.watchers).values().cloned().collect();
        summary.connections = watchers.iter().filter(|watcher| watcher.has_data_watch()).count() as u64;
        summary
    }

    /// What they fired.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The paths that a connection watches in the data table, in their order, `most` at the most.
    pub fn data_paths(&self, conn: ConnId, most: usize) -> Vec<Arc<str>> {
        let Some(watcher) = self.watcher(conn) else { return Vec::new() };
        let mut paths: Vec<Arc<str>> = {
            let state = watcher.lock();
            let registered = state.registered.iter().filter(|(_, places)| !places.data.is_empty());
            registered.map(|(path, _)| Arc::clone(path)).take(most).collect()
        };
        paths.sort_unstable();
        paths
    }
}

impl Watcher {
    fn has_data_watch(&self) -> bool {
        self.lock().registered.values().any(|places| !places.data.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, Table};
    use super::*;
    use crate::tree::AclCheck;

    #[test]
    fn the_data_table_is_counted_and_listed_without_the_children() {
        let watches = Watches::new(AclCheck::Skipped);
        let [one, two, idle] = [1, 2, 3].map(|id| watches.open(ConnId(id), Arc::new(Vec::new())));
        watches.register(&one, Table::Data, "/b", Mode::Standard);
        watches.register(&one, Table::Data, "/a", Mode::Recursive);
        watches.register(&two, Table::Data, "/a", Mode::Persistent);
        watches.register(&idle, Table::Child, "/c", Mode::Standard);
        assert_eq!(watches.summary(), Summary { connections: 2, paths: 2, watches: 3 });
        let listed = |most| watches.data_paths(ConnId(1), most).len();
        assert_eq!(watches.data_paths(ConnId(1), 9), [Arc::from("/a"), Arc::from("/b")]);
        assert_eq!((listed(1), watches.data_paths(ConnId(3), 9).len()), (1, 0));
    }
}
