//! Agreement on the order of transactions: Zab; payloads are opaque bytes.

pub mod effects;
pub mod packet;
pub mod vote;
