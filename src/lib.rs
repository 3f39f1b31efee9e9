//! Quorate: a coordination service that is ZooKeeper to every client and to every server.
//!
//! Everything here is `pub` for the tests only.
//!
//! The map, from what knows nothing of the others to what knows them all. `*` marks the pure core: no clock, entropy,
//! thread, file, socket or `async`; what happens comes in as an event, what is to be done goes out as an effect.
//!
//! | Module | What it is for | May use |
//! | --- | --- | --- |
//! | [`base`] * | words that every module shares: ids, paths, time, jute's primitive fields, memberships | – |
//! | [`proto`] * | the client protocol, bytes to values and back | `base` |
//! | [`tree`] * | the data tree, its transactions, ACLs, digest and images | `base`, `proto` |
//! | [`config`] * | server settings: as written, then checked | `base` |
//! | [`session`] *, [`watch`] * | who lives until when; who is told of what | `base`, `proto`, `tree` |
//! | [`zab`] * | agreement on the order of transactions, which are opaque bytes to it | `base` |
//! | [`replica`] * | one whole server without its edges: `step(now, event) -> effects` | all above but `config` |
//! | [`storage`] | the log, snapshots and epochs, over the `Disk` trait | `base` |
//! | [`net`] | the ports: clients, quorum, election, admin, metrics | `base` to `replica` |
//! | [`server`] | puts a replica between the edges | all above |
//! | `operator` | turns a `CoordinationEnsemble` into running servers (feature `operator`) | `base`, `config` |
//! | [`cli`] | arguments, `quorate local`, the shell, the load generator | all |
//!
//! Always true:
//! * an acknowledgement, a vote or an answer leaves only after the fsync that it rests on;
//! * the tree holds only what is committed, and what is on this server's own disk;
//! * one struct owns each piece of state; the one that is shared is `tree::Shared`: one writer, many readers.

pub mod base;
pub mod cli;
pub mod config;
pub mod net;
#[cfg(feature = "operator")]
pub mod operator;
pub mod proto;
pub mod replica;
pub mod server;
pub mod session;
pub mod storage;
pub mod tree;
pub mod watch;
pub mod zab;
