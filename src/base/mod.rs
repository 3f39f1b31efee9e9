//! Words that every module shares: identifiers, time, checked paths, wire primitives, membership.
//!
//! In: plain values and bytes. Out: types that cannot be mixed up.
//!
//! Always true:
//! * nothing here touches a clock, a file, a socket or entropy.
//!
//! Not here: anything that knows a request, a znode or a message.

pub mod durable;
pub mod ensemble;
pub mod id;
pub mod meter;
pub mod path;
pub mod properties;
pub mod reconfig;
pub mod rng;
pub mod time;
pub mod wire;

pub use durable::{Compression, Epochs, Recovered, RecoveredSnapshot, Room, Write, WriteSeq};
pub use ensemble::{Address, Ensemble, EnsembleError, Member, MemberRole};
pub use id::{ConnId, Epoch, LinkId, ServerId, SessionId, Zxid};
pub use path::ZPath;
pub use time::{Millis, Now, Ticks};
