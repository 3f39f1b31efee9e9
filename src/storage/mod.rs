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
//!
//! | File | Format | Written by |
//! | --- | --- | --- |
//! | `version-2/log.<zxid>` | `entry` | `log` |
//! | `version-2/snapshot.<zxid>[.gz\|.snappy]` | `snapshot`, `compress`, `snappy` | `snapshot`, `rewrite`, `recover` |
//! | `version-2/acceptedEpoch`, `currentEpoch` | decimal text | `epochs` |
//! | `<zoo.cfg>.dynamic.<version>`, `.next`, `.bak` | properties | `ensemble` |
//! | `version-2/quorate-marker` | one line of text | `rewrite` |
//! | `quorate.lock` | empty | `store` |

mod aligned;
mod compress;
pub mod disk;
mod ensemble;
mod entry;
mod epochs;
mod error;
mod hand;
pub mod inspect;
mod layout;
mod log;
pub mod offline;
mod purge;
mod recover;
mod replay;
mod rewrite;
mod room;
pub mod sim_disk;
mod snappy;
mod snapshot;
mod store;
mod writer;

pub use disk::{Disk, FileSystem};
pub use error::Error;
pub use hand::Report;
pub use layout::{EnsembleFiles, Layout};
pub use room::RoomReport;
pub use sim_disk::SimDisk;
pub use snapshot::Snapshots;
pub use store::{Options, Store};
pub use writer::{Busy, Writer};
