//! The election port: one connection for each pair of servers, opened by the larger id.
//!
//! In: notifications that the loop wants sent; connections of other servers. Out: notifications as events.
//!
//! Always true:
//! * a newer notification to a server replaces one that waits; the last one is sent again on a new connection;
//! * connecting never delays anything else, and a silent connection is closed at a deadline;
//! * a server whose address is configured is called back there, whatever address it sent.
//!
//! Not here: what a notification does (`zab::election`), its layout (`zab::vote`).

mod board;
mod link;
#[cfg(test)]
mod tests;

pub use board::{Election, ElectionSettings};
