//! Tests over real sockets, scripts and the tidy rules.

#[cfg(feature = "operator")]
mod manifests;
mod server;
mod tidy;
