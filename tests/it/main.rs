//! Tests over real sockets, scripts and the tidy rules.
#![allow(clippy::unwrap_used)] // a test says what went wrong by where it panics

mod decoders;
mod full_disk;
mod local;
#[cfg(feature = "operator")]
mod manifests;
#[cfg(feature = "operator")]
mod objects;
mod operations;
mod server;
mod settings;
mod shell;
mod tidy;
mod tools;
mod traps;
