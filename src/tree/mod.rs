//! The data tree and its transactions.
pub mod txn;
pub use txn::{Txn, TxnBody, TxnHeader};
