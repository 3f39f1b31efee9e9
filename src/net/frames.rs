//! Whole frames out of what was read of a client.
//!
//! In: bytes, the longest frame, the budget for large requests. Out: frames, and why there are no more.
//!
//! Always true:
//! * a frame that is too long, or for which there is no room, ends the connection before it is taken.
//!
//! Not here: what a frame does (`replica::conn`).

use bytes::{Bytes, BytesMut};

use super::gate::{Gate, Part, TooLarge};
use super::stats::Stats;
use crate::base::wire::DecodeError;
use crate::proto::frame;

/// Frames that are taken before what they led to is written, at most.
const FRAMES_AT_ONCE: usize = 64;

/// Whole frames out of what was read, up to [`FRAMES_AT_ONCE`].
pub(super) struct Frames<'a> {
    bytes: &'a mut BytesMut,
    frame_bytes_max: u32,
    budget: Budget<'a>,
    /// How many were taken.
    pub(super) count: usize,
    /// Why there are no more; `None` if there may be.
    pub(super) end: Option<Result<(), Unfit>>,
}

/// The budget for large requests, as one connection's frames meet it.
pub(super) struct Budget<'a> {
    pub(super) gate: &'a Gate,
    pub(super) part: &'a mut Part,
    pub(super) stats: &'a Stats,
}

/// Why frames cost a client its connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Frame(#[from] DecodeError),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl<'a> Frames<'a> {
    /// The frames that these bytes begin with.
    pub(super) fn new(bytes: &'a mut BytesMut, frame_bytes_max: u32, budget: Budget<'a>) -> Frames<'a> {
        Frames { bytes, frame_bytes_max, budget, count: 0, end: None }
    }
}

impl Iterator for Frames<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.count == FRAMES_AT_ONCE || self.end.is_some() {
            return None;
        }
        match frame::split(self.bytes, self.frame_bytes_max) {
            Ok(Some(frame)) => match self.budget.take(frame.len()) {
                Ok(()) => {
                    self.count += 1;
                    return Some(frame);
                }
                Err(error) => self.end = Some(Err(error.into())),
            },
            Ok(None) => self.end = Some(self.budget.check(self.bytes).map_err(Unfit::from)),
            Err(error) => self.end = Some(Err(error.into())),
        }
        None
    }
}

impl Budget<'_> {
    /// A frame of this length has come.
    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.gate.take_large(self.part, bytes, self.stats)
    }

    /// So much of a frame has come.
    fn check(&self, begun: &[u8]) -> Result<(), TooLarge> {
        let Some(length) = begun.first_chunk().map(|length| i32::from_be_bytes(*length)) else {
            return Ok(());
        };
        self.gate.check_large(usize::try_from(length).unwrap_or(0), self.stats)
    }
}
