//! Tests over real sockets, scripts and the tidy rules.

mod local;
#[cfg(feature = "operator")]
mod manifests;
mod server;
mod tidy;
