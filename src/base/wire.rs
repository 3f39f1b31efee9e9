//! Reader and Writer of jute's primitive fields, with limits: every port and file is written in them.
//!
//! In: bytes, or values. Out: values, or bytes; big-endian, -1 for null.
//!
//! Always true:
//! * a length or count is checked against what remains before anything is allocated;
//! * null and empty stay different.
//!
//! Not here: frames (`proto::frame`), records (`proto`, `tree`, `zab`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{field} needs {needed} bytes, {left} are left")]
    TooShort {
        /// What was being read.
        field: &'static str,
        /// How many bytes it takes.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A length or count is negative, or larger than what can follow.
    #[error("{field} has the length {len}, which is outside 0 to {max}")]
    Length {
        /// What was being read.
        field: &'static str,
        /// The length as written.
        len: i64,
        /// The largest possible.
        max: usize,
    },
    /// A value that the format does not know.
    #[error("{field} has the value {value}, which is unknown")]
    Unknown {
        /// What was being read.
        field: &'static str,
        /// The value as written.
        value: i64,
    },
    /// A value that the format knows but not here.
    #[error("{field} is invalid: {reason}")]
    Invalid {
        /// What was being read.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A field that must be there is null.
    #[error("{field} is null")]
    Null {
        /// What was being read.
        field: &'static str,
    },
}

/// Reads fields one after the other from shared bytes; buffers are slices of them, not copies.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    /// How many bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// What has not been read, as shared bytes.
    pub fn rest(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Reads one boolean: any byte but 0 is true.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        self.need(field, 1)?;
        Ok(self.bytes.get_u8() != 0)
    }

    /// Reads one byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.need(field, 1)?;
        Ok(self.bytes.get_u8())
    }

    /// Reads a 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.need(field, 4)?;
        Ok(self.bytes.get_i32())
    }

    /// Reads a 64-bit integer.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.need(field, 8)?;
        Ok(self.bytes.get_i64())
    }

    /// Reads a buffer; `None` is null.
    pub fn buffer(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let len = self.i32(field)?;
        if len == -1 {
            return Ok(None);
        }
        let max = self.bytes.len();
        let size = usize::try_from(len).ok().filter(|size| *size <= max);
        let size = size.ok_or(DecodeError::Length { field, len: i64::from(len), max })?;
        Ok(Some(self.bytes.split_to(size)))
    }

    /// Reads a string; `None` is null, malformed UTF-8 becomes U+FFFD.
    pub fn string(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        let bytes = self.buffer(field)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Reads the count of a vector whose elements take at least `element_bytes_min` bytes each.
    /// `None` is null; another negative count is an empty vector.
    pub fn count(
        &mut self,
        field: &'static str,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let count = self.i32(field)?;
        if count == -1 {
            return Ok(None);
        }
        let max = self.bytes.len() / element_bytes_min.max(1);
        match usize::try_from(count) {
            Err(_) => Ok(Some(0)),
            Ok(count) if count <= max => Ok(Some(count)),
            Ok(_) => Err(DecodeError::Length { field, len: i64::from(count), max }),
        }
    }

    /// Reads `size` raw bytes.
    pub fn raw(&mut self, field: &'static str, size: usize) -> Result<Bytes, DecodeError> {
        self.need(field, size)?;
        Ok(self.bytes.split_to(size))
    }

    fn need(&self, field: &'static str, needed: usize) -> Result<(), DecodeError> {
        let left = self.bytes.len();
        if left < needed { Err(DecodeError::TooShort { field, needed, left }) } else { Ok(()) }
    }
}

/// Appends fields to a growing buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: BytesMut,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty buffer with room for so many bytes, which grows if need be.
    pub fn with_room(bytes: usize) -> Writer {
        Writer { bytes: BytesMut::with_capacity(bytes) }
    }

    /// Writes a boolean as 0 or 1.
    pub fn bool(&mut self, value: bool) -> &mut Writer {
        self.bytes.put_u8(u8::from(value));
        self
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) -> &mut Writer {
        self.bytes.put_u8(value);
        self
    }

    /// Writes a 32-bit integer.
    pub fn i32(&mut self, value: i32) -> &mut Writer {
        self.bytes.put_i32(value);
        self
    }

    /// Writes a 64-bit integer.
    pub fn i64(&mut self, value: i64) -> &mut Writer {
        self.bytes.put_i64(value);
        self
    }

    /// Writes a buffer; `None` is null.
    pub fn buffer(&mut self, value: Option<&[u8]>) -> &mut Writer {
        match value {
            None => self.i32(-1),
            Some(value) => {
                self.count(value.len());
                self.bytes.put_slice(value);
                self
            }
        }
    }

    /// Writes a string.
    pub fn string(&mut self, value: &str) -> &mut Writer {
        self.buffer(Some(value.as_bytes()))
    }

    /// Writes the count of a vector, or a length.
    pub fn count(&mut self, count: usize) -> &mut Writer {
        self.i32(i32::try_from(count).expect("whatever is written came in by a 32-bit length"))
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, value: &[u8]) -> &mut Writer {
        self.bytes.put_slice(value);
        self
    }

    /// The bytes written, as shared bytes.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}
