//! Which events a change fires for one connection, and in which order.
//!
//! In: a change, and what the connection watches. Out: its events.
//!
//! Always true:
//! * the order is that of the protocol's specification: the node itself, then its list of children, then its parent's;
//! * one firing tells a connection once; a deletion that was told to a node's watches is not told to those of its children.
//!
//! Not here: what is registered (`watches`).

use std::collections::VecDeque;

use quorate::base::Zxid;

use super::watches::Table;
use crate::model::{Changed, What, parent_of};

/// Event types on the wire.
pub mod event {
    /// A node was created.
    pub const CREATED: i32 = 1;
    /// A node was deleted.
    pub const DELETED: i32 = 2;
    /// A node's data was replaced.
    pub const DATA_CHANGED: i32 = 3;
    /// A child appeared or went.
    pub const CHILDREN_CHANGED: i32 = 4;
}

/// An event as a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The txn.
    pub zxid: Zxid,
    /// The type.
    pub kind: i32,
    /// The node.
    pub path: String,
}

/// Puts the events of a change behind `due`. `covered` says whether a watch on a path, or above it, waits in this table,
/// and uses it up if it is of those that fire once.
pub fn fire(change: &Changed, mut covered: impl FnMut(&str, Table) -> bool, due: &mut VecDeque<Told>) {
    let (path, parent) = (change.path.as_str(), parent_of(&change.path));
    let mut tell = |kind: i32, path: &str| {
        due.push_back(Told { zxid: change.zxid, kind, path: path.to_owned() });
    };
    let is_told = covered(path, Table::Data);
    let kind = match change.what {
        What::Created => event::CREATED,
        What::Deleted => event::DELETED,
        What::Set => event::DATA_CHANGED,
    };
    if is_told {
        tell(kind, path);
    }
    if change.what == What::Set {
        return;
    }
    let of_children = change.what == What::Deleted && covered(path, Table::Children);
    if of_children && !is_told {
        tell(event::DELETED, path);
    }
    if covered(parent, Table::Children) {
        tell(event::CHILDREN_CHANGED, parent);
    }
}
