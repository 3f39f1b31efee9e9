//! One whole server without its edges.
//!
//! In: [`Event`]s and the clocks. Out: [`Effect`]s. Beside it, for each client, a [`Conn`]: frames in, bytes out.
//!
//! Always true:
//! * no clock, file, socket or task: one seed and one list of events give one run;
//! * replies and watch events of one client tell of one history that only goes forward.
//!
//! Not here: sockets (`net`), files (`storage`), performing effects (`server`).

mod clients;
pub mod conn;
pub mod event;
mod inflight;
pub mod inspect;
mod lead;
mod learn;
mod local;
mod machine;
pub mod meters;
pub mod prepare;
pub mod read;
mod reap;
mod replies;
mod restore;
mod serve;
pub mod settings;
mod snapshots;

pub use conn::{ClientSettings, Conn, Service};
pub use event::{Closing, Effect, Event, ToClient};
pub use inspect::{Glance, Inspect};
pub use machine::Replica;
pub use restore::RestoreError;
pub use settings::{LiveSetting, Reaping, RecoverError, Settings};
pub use snapshots::Rhythm;

#[cfg(test)]
mod tests;
