//! The tree between one writer and many readers.
//!
//! In: closures. Out: what they return.
//!
//! Always true:
//! * a read sees every txn whole or not at all;
//! * what a read's closure does besides, such as registering a watch, is one step against the writer.
//!
//! Not here: which of a server's tasks writes (`server::run`: only its loop).

use std::sync::{Arc, PoisonError, RwLock};

use super::store::Tree;

/// A handle to the tree; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Shared {
    tree: Arc<RwLock<Tree>>,
}

impl Shared {
    /// Shares a tree.
    pub fn new(tree: Tree) -> Shared {
        Shared { tree: Arc::new(RwLock::new(tree)) }
    }

    /// Reads, beside other readers. The closure must be short: it holds the writer up.
    pub fn read<R>(&self, look: impl FnOnce(&Tree) -> R) -> R {
        // A panic of the writer ends the process; a panic of a reader has changed nothing.
        look(&self.tree.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it, alone.
    pub fn write<R>(&self, change: impl FnOnce(&mut Tree) -> R) -> R {
        change(&mut self.tree.write().unwrap_or_else(PoisonError::into_inner))
    }
}
