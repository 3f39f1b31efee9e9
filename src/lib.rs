//! Quorate: a coordination service that is ZooKeeper to every client and to every server.
//!
//! Everything here is `pub` for the tests only.
#![deny(unsafe_code)]

pub mod base;
pub mod cli;
pub mod config;
pub mod net;
#[cfg(feature = "operator")]
pub mod operator;
pub mod proto;
pub mod replica;
pub mod server;
pub mod session;
pub mod storage;
pub mod tree;
pub mod watch;
pub mod zab;
