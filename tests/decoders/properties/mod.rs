//! What holds for every decoder, whatever bytes it is given.
//!
//! The fuzzer (`tests/decoders`) looks for inputs that break it; `it` holds every input of the corpus against it.

mod config;
mod frames;
mod log;
mod notifications;
mod packets;
mod recovery;
mod requests;
mod snapshot;
mod txns;

/// A decoder, and what holds for it.
pub struct Decoder {
    /// The directory of its corpus.
    pub name: &'static str,
    /// Panics if a property does not hold for the input.
    pub judge: fn(&[u8]),
}

/// No session, no ACL, and the end mark: what stands in the snapshot of an empty disk.
const EMPTY_BODY: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\x01/";

/// Every decoder.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "frames", judge: frames::judge },
    Decoder { name: "requests", judge: requests::judge },
    Decoder { name: "packets", judge: packets::judge },
    Decoder { name: "notifications", judge: notifications::judge },
    Decoder { name: "txns", judge: txns::judge },
    Decoder { name: "log", judge: log::judge },
    Decoder { name: "snapshot", judge: snapshot::judge },
    Decoder { name: "recovery", judge: recovery::judge },
    Decoder { name: "config", judge: config::judge },
];
