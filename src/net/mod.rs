//! Sockets: the client port, the quorum port, the election port, the admin port.
//!
//! In: bytes, and what the loop wants sent. Out: events into the loop's inbox, and bytes.
//!
//! Always true:
//! * any bytes on any port close that connection only, with one log line and bounded memory;
//! * nothing here makes the loop wait: a queue that is full costs its connection.
//!
//! Not here: what an event does (`replica`), which effects there are to perform (`server`).

pub mod admin;
pub mod audit;
pub mod census;
mod client;
pub mod clients;
pub mod commands;
pub mod dial;
pub mod election;
pub mod facts;
mod frames;
pub mod gate;
pub mod health;
mod held;
pub mod live;
mod mailbox;
pub mod metrics;
pub mod payload;
pub mod quorum;
pub mod stats;
pub mod talk;
pub mod throttle;
pub mod words;
