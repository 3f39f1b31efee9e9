//! Snappy as Apache ZooKeeper frames it: the stream of xerial's `SnappyOutputStream`.
//!
//! In: bytes of any amount. Out: a header, then blocks of at most 32 KiB of content, each with its compressed length;
//! and back.
//!
//! Always true:
//! * one block is in memory at a time, whatever a length claims;
//! * what is not such a stream is an error of the kind `InvalidData`, what ends too early `UnexpectedEof`.
//!
//! Not here: what stands in the stream (`snapshot`).

use std::io::{self, Read, Write};

use snap::raw::{self, Decoder, Encoder};

/// What every stream begins with.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The version of the stream, and the oldest reader's that understands it; both are 1 in every release of xerial's.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Content of one block: xerial's default.
const BLOCK_BYTES: usize = 32 * 1024;
/// The largest block that is believed, compressed or not.
const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Bytes that one compressed byte stands for, at most: three are a copy of 64.
const EXPANSION_MAX: usize = 22;

/// Compresses what is written.
#[derive(Debug)]
pub(super) struct SnappyWriter<W> {
    out: W,
    encoder: Encoder,
    /// Content of the block that is being gathered.
    block: Vec<u8>,
    packed: Vec<u8>,
    begun: bool,
}

impl<W: Write> SnappyWriter<W> {
    /// A stream that begins at the place where `out` is.
    pub(super) fn new(out: W) -> SnappyWriter<W> {
        SnappyWriter {
            out,
            encoder: Encoder::new(),
            block: Vec::with_capacity(BLOCK_BYTES),
            packed: vec![0; raw::max_compress_len(BLOCK_BYTES)],
            begun: false,
        }
    }

    /// Writes the last block, and hands back what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if !self.begun {
            self.out.write_all(&MAGIC)?;
            self.out.write_all(&VERSIONS)?;
            self.begun = true;
        }
        if self.block.is_empty() {
            return Ok(());
        }
        let size = self.encoder.compress(&self.block, &mut self.packed).map_err(io::Error::other)?;
        let length = u32::try_from(size).expect("a block is small");
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.packed[..size])?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for SnappyWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_block()?;
        self.out.flush()
    }
}

/// Uncompresses what is read.
#[derive(Debug)]
pub(super) struct SnappyReader<R> {
    input: R,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// How much of the block was handed out.
    taken: usize,
    begun: bool,
}

impl<R: Read> SnappyReader<R> {
    /// A stream that begins at the place where `input` is.
    pub(super) fn new(input: R) -> SnappyReader<R> {
        SnappyReader { input, packed: Vec::new(), block: Vec::new(), taken: 0, begun: false }
    }

    /// What is read from.
    pub(super) fn input(&self) -> &R {
        &self.input
    }

    /// Reads the next block; `false` at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.begun {
            let mut magic = [0; MAGIC.len()];
            self.input.read_exact(&mut magic)?;
            self.check_header(magic)?;
            self.begun = true;
        }
        let Some(mut prefix) = self.prefix()? else { return Ok(false) };
        if prefix == MAGIC[..4] {
            // Streams may follow each other in one file.
            let mut magic = MAGIC;
            self.input.read_exact(&mut magic[4..])?;
            self.check_header(magic)?;
            prefix = self.prefix()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        let length = u32::from_be_bytes(prefix) as usize;
        if length == 0 || length > BLOCK_BYTES_MAX {
            return Err(invalid(format!("a snappy block has the length {length}")));
        }
        self.packed.clear();
        let limit = length as u64;
        if io::copy(&mut (&mut self.input).take(limit), &mut self.packed)? < limit {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = raw::decompress_len(&self.packed).map_err(invalid)?;
        if size > BLOCK_BYTES_MAX || size > EXPANSION_MAX * length {
            return Err(invalid(format!("a snappy block says that it holds {size} bytes")));
        }
        self.block.resize(size, 0);
        Decoder::new().decompress(&self.packed, &mut self.block).map_err(invalid)?;
        self.taken = 0;
        Ok(true)
    }

    fn check_header(&mut self, magic: [u8; MAGIC.len()]) -> io::Result<()> {
        let mut versions = [0; VERSIONS.len()];
        self.input.read_exact(&mut versions)?;
        if magic != MAGIC || versions != VERSIONS {
            return Err(invalid("the header is not that of a snappy stream of version 1"));
        }
        Ok(())
    }

    /// Four bytes, or `None` at the end of the file.
    fn prefix(&mut self) -> io::Result<Option<[u8; 4]>> {
        let mut prefix = [0; 4];
        let mut size = 0;
        while size < prefix.len() {
            match self.input.read(&mut prefix[size..]) {
                Ok(0) if size == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => size += more,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(Some(prefix))
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let size = out.len().min(self.block.len() - self.taken);
        out[..size].copy_from_slice(&self.block[self.taken..self.taken + size]);
        self.taken += size;
        Ok(size)
    }
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"quorate quorate quorate";

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut writer = SnappyWriter::new(Vec::new());
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        SnappyReader::new(bytes).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn the_stream_is_xerials() {
        // What `SnappyOutputStream` of snappy-java 1.1.10.5 writes for this text.
        let theirs = [&MAGIC[..], &VERSIONS, &[0, 0, 0, 0x19, 0x17, 0x58], TEXT].concat();
        assert_eq!(unpacked(&theirs).unwrap(), TEXT);
        assert_eq!(unpacked(&theirs.repeat(2)).unwrap(), TEXT.repeat(2));
        let ours = packed(TEXT);
        assert_eq!(ours[..16], theirs[..16]);
        assert_eq!(unpacked(&ours).unwrap(), TEXT);
    }

    #[test]
    fn what_is_no_such_stream_is_told() {
        let kind = |bytes: &[u8]| unpacked(bytes).unwrap_err().kind();
        let whole = packed(&[7; 70_000]);
        assert_eq!(kind(b""), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&whole[..15]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&whole[..whole.len() - 1]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"\x82SNAPPY\0\0\0\0\x02\0\0\0\x02"), io::ErrorKind::InvalidData);
        assert_eq!(kind(b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"), io::ErrorKind::InvalidData);
        let huge = [&whole[..16], &[0x7f, 255, 255, 255], &whole[20..]].concat();
        assert_eq!(kind(&huge), io::ErrorKind::InvalidData);
        let claims = [&whole[..16], &[0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        assert_eq!(kind(&claims), io::ErrorKind::InvalidData);
        // 16 MiB in three bytes, for which no room is made.
        let swollen = [&whole[..16], &[0, 0, 0, 7, 0x80, 0x80, 0x80, 0x08, 0xfe, 1, 0]].concat();
        let error = unpacked(&swollen).unwrap_err().to_string();
        assert_eq!(error, "a snappy block says that it holds 16777216 bytes");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpacked(&bytes);
            let _ = unpacked(&[&MAGIC[..], &VERSIONS, &bytes].concat());
        }

        #[test]
        fn content_round_trips(
            pieces in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..40_000), 0..5)
        ) {
            let mut writer = SnappyWriter::new(Vec::new());
            for piece in &pieces {
                writer.write_all(piece).unwrap();
            }
            prop_assert_eq!(unpacked(&writer.finish().unwrap()).unwrap(), pieces.concat());
        }
    }
}
