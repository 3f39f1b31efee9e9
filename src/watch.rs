//! Watches by path and by connection; which events a txn fires.
