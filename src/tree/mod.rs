//! The data tree and its transactions.
//!
//! In: txns in order. Out: nodes, sessions, digests, and unchanging images of all that.
//!
//! Always true:
//! * two trees that applied the same txns are equal, byte for byte of their nodes and digests, but for what each counts
//!   for quotas;
//! * no call costs more because the tree is large, but those that list or count what they return.
//!
//! Not here: deciding what may happen (`replica::prepare`), who waits for it (`watch`), files (`storage`).

pub mod acl;
pub mod applied;
pub mod digest;
pub mod image;
pub mod node;
pub mod quota;
pub mod shared;
pub mod store;
pub mod txn;

mod acls;
mod apply;
mod links;
mod names;
mod slots;

pub use acl::{AclCheck, Schemes};
pub use applied::{Applied, Change, DigestMismatch, Outcome};
pub use image::Image;
pub use node::NodeKind;
pub use quota::{Growth, LimitKind, Measure, NamespaceQuotas, Passed};
pub use shared::Shared;
pub use store::{NodeRef, Tree};
pub use txn::{CreateKind, CreateTxn, DeleteReason, SetDataReason, SetDataTxn, Txn, TxnBody, TxnHeader};

#[cfg(test)]
mod tests;
