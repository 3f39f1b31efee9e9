//! Compressed files, by the suffix of their name.
//!
//! In: how a file is compressed. Out: a writer and a reader of its content.
//!
//! Always true:
//! * memory is bounded, whatever the file holds;
//! * damage of the compressed stream is told from an error of the disk, with the offset in the file.
//!
//! Not here: what the content is (`snapshot`).

use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::snappy::{SnappyReader, SnappyWriter};
use crate::base::Compression;

/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

/// What a name ends with.
pub(super) fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Snappy => ".snappy",
    }
}

/// A name without what says how the file is compressed.
pub(super) fn split_suffix(name: &str) -> (&str, Compression) {
    for compression in [Compression::Gzip, Compression::Snappy] {
        if let Some(name) = name.strip_suffix(suffix(compression)) {
            return (name, compression);
        }
    }
    (name, Compression::None)
}

/// Compresses what is written.
#[derive(Debug)]
pub(super) enum Encoder<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Snappy(Box<SnappyWriter<W>>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(compression: Compression, out: W) -> Encoder<W> {
        match compression {
            Compression::None => Encoder::None(out),
            // The level of Java's GZIPOutputStream.
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Compression::Snappy => Encoder::Snappy(Box::new(SnappyWriter::new(out))),
        }
    }

    /// Ends the stream, and hands back what was written to.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(out) => out.finish(),
            Encoder::Snappy(out) => out.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::None(out) => out.write(bytes),
            Encoder::Gzip(out) => out.write(bytes),
            Encoder::Snappy(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::None(out) => out.flush(),
            Encoder::Gzip(out) => out.flush(),
            Encoder::Snappy(out) => out.flush(),
        }
    }
}

/// Uncompresses what is read.
pub(super) enum Decoder {
    None(Pieces),
    Gzip(Box<MultiGzDecoder<Pieces>>),
    Snappy(SnappyReader<Pieces>),
}

/// A file that is read piece by piece, and how far.
pub(super) struct Pieces {
    file: BufReader<Box<dyn Read>>,
    /// Bytes that were asked for.
    offset: u64,
}

impl Decoder {
    pub(super) fn new(compression: Compression, file: Box<dyn Read>) -> Decoder {
        let pieces = Pieces { file: BufReader::with_capacity(PIECE_BYTES, file), offset: 0 };
        match compression {
            Compression::None => Decoder::None(pieces),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(pieces))),
            Compression::Snappy => Decoder::Snappy(SnappyReader::new(pieces)),
        }
    }

    /// How far the file was read.
    pub(super) fn file_offset(&self) -> u64 {
        match self {
            Decoder::None(pieces) => pieces.offset,
            Decoder::Gzip(stream) => stream.get_ref().offset,
            Decoder::Snappy(stream) => stream.input().offset,
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::None(pieces) => pieces.read(out),
            Decoder::Gzip(stream) => stream.read(out),
            Decoder::Snappy(stream) => stream.read(out),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.file.read(out)?;
        self.offset += size as u64;
        Ok(size)
    }
}

impl io::BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        io::BufRead::fill_buf(&mut self.file)
    }

    fn consume(&mut self, size: usize) {
        self.offset += size as u64;
        io::BufRead::consume(&mut self.file, size);
    }
}

/// Whether an error of a [`Decoder`] says that the file is damaged, not that the disk refused to read it.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    error.raw_os_error().is_none() && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Snappy];

    fn packed(compression: Compression, content: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(compression, Vec::new());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, (io::Error, u64)> {
        let mut decoder = Decoder::new(compression, Box::new(io::Cursor::new(bytes.to_vec())));
        let mut content = Vec::new();
        match decoder.read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(err) => Err((err, decoder.file_offset())),
        }
    }

    #[test]
    fn suffixes_tell_the_compression() {
        for compression in ALL {
            let name = format!("snapshot.5{}", suffix(compression));
            assert_eq!(split_suffix(&name), ("snapshot.5", compression));
        }
        assert_eq!(split_suffix("snapshot.5.bz2"), ("snapshot.5.bz2", Compression::None));
    }

    #[test]
    fn a_cut_stream_is_damage_with_an_offset() {
        let noise: Vec<u8> = (0..40_000u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for compression in [Compression::Gzip, Compression::Snappy] {
            let whole = packed(compression, &noise);
            for cut in [1, 3, 9, 20, whole.len() / 2, whole.len() - 17] {
                let (err, offset) = unpacked(compression, &whole[..whole.len() - cut]).unwrap_err();
                assert!(is_damage(&err), "{compression:?} {cut} {err}");
                assert_eq!(offset as usize, whole.len() - cut, "{compression:?}");
            }
        }
        assert!(!is_damage(&io::Error::from_raw_os_error(5)));
        assert!(!is_damage(&io::Error::other("whatever")));
    }

    proptest! {
        #[test]
        fn content_round_trips(content in proptest::collection::vec(0u8..8, 0..100_000), which in 0usize..3) {
            let bytes = packed(ALL[which], &content);
            prop_assert_eq!(unpacked(ALL[which], &bytes).unwrap(), content);
        }

        #[test]
        fn arbitrary_bytes_are_damage(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..40) {
            for compression in [Compression::Gzip, Compression::Snappy] {
                let whole = packed(compression, b"what is in it");
                let file = [&whole[..cut.min(whole.len())], &bytes].concat();
                if let Err((err, _)) = unpacked(compression, &file) {
                    prop_assert!(is_damage(&err), "{err}");
                }
            }
        }
    }
}
