//! Files, as Apache ZooKeeper 3.8 and 3.9 write and read them; blocking and synchronous, over the `Disk` trait.
//!
//! In: writes in order ([`Write`](crate::base::Write)), snapshots, a start. Out: the number of the last durable
//! write, and after a start [`Recovered`](crate::base::Recovered) or a clear refusal.
//!
//! Always true:
//! * what is reported as durable survives a crash at any moment, with content, length and name;
//! * all on disk is one history: a snapshot, and every txn after it without a gap inside an epoch;
//! * after an error nothing more is written or reported.
//!
//! Not here: the meaning of txns and snapshots (`tree`), what is written when (`zab`, `replica`).

pub mod disk;
pub mod sim_disk;

pub use disk::{Disk, FileSystem};
pub use sim_disk::SimDisk;
