//! Tests over real sockets, scripts and the tidy rules.

mod tidy;
