//! One whole server without its edges.
//!
//! In: [`Event`]s and the clocks. Out: [`Effect`]s. Beside it, for each client, a [`Conn`]: frames in, bytes out.
//!
//! Always true:
//! * no clock, file, socket or task: one seed and one list of events give one run;
//! * replies and watch events of one client tell of one history that only goes forward.
//!
//! Not here: sockets (`net`), files (`storage`), performing effects (`server`).

pub mod clients;
pub mod conn;
pub mod event;
pub mod inflight;
pub mod prepare;
pub mod read;

pub use conn::{ClientSettings, Conn, Service};
pub use event::{Closing, Effect, Event, ToClient};
