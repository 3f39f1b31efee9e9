//! Agreement on the order of transactions: Zab; payloads are opaque bytes.

pub mod codec;
pub mod effects;
pub mod packet;
mod stream;
pub mod vote;
