//! A server that is alone takes the tree of a snapshot that it is given, as ZooKeeper's command `restore` does.
//!
//! In: a snapshot's body, and the last txn that it holds. Out: the new history, made durable, and clients that come back.
//!
//! Always true:
//! * a snapshot that cannot be read changes nothing;
//! * nobody is served from the new tree before it is durable, and zxids go on above everything that clients have seen;
//! * a member of an ensemble takes no tree but its leader's.
//!
//! Not here: reading a snapshot file (`storage`), who may ask for it (`net::commands`).

use bytes::Bytes;

use super::event::{Closing, Effect, ToClient};
use super::machine::{Replica, Role};
use crate::base::{Now, Zxid};
use crate::tree::Tree;
use crate::zab::effects::Status;

/// Why a snapshot is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Other servers agree on another history.
    #[error("a member of an ensemble keeps the history that its ensemble agreed on")]
    Member,
    /// There is no zxid left for it.
    #[error("every zxid is used up")]
    UsedUp,
    /// The snapshot before this one is not durable.
    #[error("another snapshot is being restored")]
    Busy,
    /// It cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Unreadable(#[from] crate::base::wire::DecodeError),
}

impl Replica {
    /// Replaces tree and history by a snapshot whose last txn is `last`; sessions are those of the snapshot, with their
    /// whole timeouts. Clients are sent away, and are served again once it is durable: the effects' last write.
    pub fn restore(&mut self, now: Now, last: Zxid, body: Bytes) -> Result<Vec<Effect>, RestoreError> {
        if self.status != Status::Standalone {
            return Err(RestoreError::Member);
        }
        if !matches!(self.role, Role::Leading(_)) {
            return Err(RestoreError::Busy);
        }
        // A zxid of its own: what clients have seen must not be told again with other contents.
        let next = self.zab.next_zxid().ok_or(RestoreError::UsedUp)?;
        let zxid = next.max(last);
        let tree = Tree::from_body(zxid, body.clone(), None)?;
        for conn in self.clients.remove_all() {
            self.tell(conn, ToClient::Drop(Closing::Abrupt));
        }
        self.syncs.clear();
        self.role = Role::Idle;
        self.ids.go_beyond(tree.sessions().keys().copied());
        let digest = tree.digest();
        self.service.tree.write(|old| *old = tree);
        self.snapshots.on_replaced();
        self.zab.restore(now, zxid, body, digest);
        self.pump(now);
        self.tell_gathered();
        Ok(self.fx.drain(..).collect())
    }

    /// Serves clients again once a snapshot that was restored is durable.
    pub(super) fn end_restore(&mut self, now: Now) {
        let is_restoring = self.status == Status::Standalone && matches!(self.role, Role::Idle);
        if is_restoring && self.zab.is_durable() {
            self.lead(now);
        }
    }
}
