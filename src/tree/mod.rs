//! The data tree and its transactions.
