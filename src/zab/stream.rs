//! Finds the end of a snapshot stream: the quorum port sends one without saying how long it is.
//!
//! In: what has arrived of a stream, again and again. Out: where it ends, once it has arrived whole.
//!
//! Always true:
//! * every byte is looked at once, however the stream is cut into pieces;
//! * a length is checked before it is waited for.
//!
//! Not here: what the fields mean (`tree::image`).

use super::codec::{Limits, SIGNATURE, checked_len, int_at};
use crate::base::wire::DecodeError;

/// A stored node after its data: ACL number and stat.
const NODE_REST_BYTES: usize = 8 + 60;

/// How far a stream was scanned.
#[derive(Debug)]
pub(super) struct Scan {
    limits: Limits,
    at: usize,
    next: Step,
}

/// The field that stands at `Scan::at`.
#[derive(Clone, Copy, Debug)]
enum Step {
    Sessions,
    AclLists,
    AclList { lists_left: usize },
    Acl { lists_left: usize, acls_left: usize },
    AclId { lists_left: usize, acls_left: usize },
    Path,
    Data,
    Signature,
}

impl Scan {
    pub(super) fn new(limits: Limits) -> Scan {
        Scan { limits, at: 0, next: Step::Sessions }
    }

    /// The length of the stream without its signature, once that has arrived too.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        loop {
            if self.at > self.limits.snapshot_bytes_max {
                let (len, max) = (self.at as i64, self.limits.snapshot_bytes_max);
                return Err(DecodeError::Length { field: "snapshot", len, max });
            }
            // `at` may lie beyond what has arrived: the field before it is still on its way.
            if bytes.len() < self.at {
                return Ok(None);
            }
            if let Step::Signature = self.next {
                return self.signature(bytes);
            }
            if !self.step(bytes)? {
                return Ok(None);
            }
        }
    }

    /// Passes one field; `false` if its length has not arrived.
    fn step(&mut self, bytes: &[u8]) -> Result<bool, DecodeError> {
        let max = self.limits.buffer_bytes_max;
        let at = match self.next {
            Step::AclList { .. } => self.at + 8,
            Step::Acl { .. } => self.at + 4,
            _ => self.at,
        };
        let Some(len) = int_at(bytes, at) else { return Ok(false) };
        match self.next {
            Step::Sessions => {
                self.at += 4 + 12 * self.count(len, 12, "sessions")?;
                self.next = Step::AclLists;
            }
            Step::AclLists => {
                let lists = self.count(len, 12, "acl lists")?;
                self.at += 4;
                self.next = after_lists(lists);
            }
            Step::AclList { lists_left } => {
                let acls = self.count(len, 12, "acl list")?;
                self.at += 12;
                self.next = after_acls(lists_left, acls);
            }
            Step::Acl { lists_left, acls_left } => {
                self.at += 8 + checked_len(len, max, "acl scheme")?;
                self.next = Step::AclId { lists_left, acls_left };
            }
            Step::AclId { lists_left, acls_left } => {
                self.at += 4 + checked_len(len, max, "acl id")?;
                self.next = after_acls(lists_left, acls_left - 1);
            }
            Step::Path => {
                let len = checked_len(len, max, "path")?;
                let Some(path) = bytes.get(self.at + 4..self.at + 4 + len) else { return Ok(false) };
                self.next = if path == b"/" { Step::Signature } else { Step::Data };
                self.at += 4 + len;
            }
            Step::Data => {
                self.at += 4 + checked_len(len, max, "node data")? + NODE_REST_BYTES;
                self.next = Step::Path;
            }
            Step::Signature => unreachable!("the caller handles the signature"),
        }
        Ok(true)
    }

    fn signature(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(len) = int_at(bytes, self.at) else { return Ok(None) };
        let expected = SIGNATURE.len();
        if usize::try_from(len) != Ok(expected) {
            return Err(DecodeError::Length { field: "signature", len: i64::from(len), max: expected });
        }
        let Some(found) = bytes.get(self.at + 4..self.at + 4 + expected) else { return Ok(None) };
        if found == SIGNATURE.as_bytes() {
            Ok(Some(self.at))
        } else {
            Err(DecodeError::Unknown { field: "signature", value: i64::from(found[0]) })
        }
    }

    /// A count of elements that take at least `bytes_min` each.
    fn count(&self, count: i32, bytes_min: usize, field: &'static str) -> Result<usize, DecodeError> {
        let max = self.limits.snapshot_bytes_max / bytes_min;
        let len = i64::from(count);
        usize::try_from(count).ok().filter(|count| *count <= max).ok_or(DecodeError::Length {
            field,
            len,
            max,
        })
    }
}

fn after_lists(lists_left: usize) -> Step {
    if lists_left == 0 { Step::Path } else { Step::AclList { lists_left } }
}

fn after_acls(lists_left: usize, acls_left: usize) -> Step {
    if acls_left == 0 { after_lists(lists_left - 1) } else { Step::Acl { lists_left, acls_left } }
}
