//! A file that is written past the page cache, by `O_DIRECT`.
//!
//! In: whole blocks. Out: the same file as through the page cache, at a fraction of the CPU time.
//!
//! Always true:
//! * a file system that knows no such files gets the same writes through the page cache, without an error.
//!
//! Not here: which blocks are written (`log`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{BLOCK_BYTES, Disk, DiskFile, FileSystem};
use crate::storage::aligned::Aligned;

#[derive(Debug)]
struct DirectFile {
    file: File,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    PastTheCache,
    ThroughTheCache,
}

/// A new file, or an existing one emptied.
pub(super) fn create(path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(OFlag::O_DIRECT.bits());
    match options.open(path) {
        Err(err) if is_refusal(&err) => {
            tracing::debug!(file = %path.display(), "goes through the page cache: the file system opens no other file");
            FileSystem.create(path)
        }
        Err(err) => Err(err),
        Ok(file) => Ok(Box::new(DirectFile { file, way: Way::PastTheCache })),
    }
}

/// Whether the file system cannot write past the page cache, or not in blocks of this size.
fn is_refusal(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

impl DiskFile for DirectFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.way == Way::ThroughTheCache {
            return self.file.write_all_at(bytes, offset);
        }
        let written = if bytes.as_ptr().align_offset(BLOCK_BYTES) == 0 {
            self.file.write_all_at(bytes, offset)
        } else {
            let mut aligned = Aligned::with_capacity(bytes.len());
            aligned.append_with(bytes.len(), |out| out.extend_from_slice(bytes));
            self.file.write_all_at(&aligned, offset)
        };
        match written {
            Err(err) if is_refusal(&err) => {
                tracing::debug!(%err, "the log goes through the page cache: the file system takes no other write");
                let flags = OFlag::from_bits_retain(fcntl(&self.file, FcntlArg::F_GETFL)?);
                fcntl(&self.file, FcntlArg::F_SETFL(flags - OFlag::O_DIRECT))?;
                self.way = Way::ThroughTheCache;
                self.file.write_all_at(bytes, offset)
            }
            written => written,
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_cannot_go_past_the_cache_goes_through_it() {
        let path = std::env::temp_dir().join(format!("quorate-direct-{}", std::process::id()));
        let mut file = create(&path).unwrap();
        let mut blocks = Aligned::with_capacity(0);
        blocks.append_with(2 * BLOCK_BYTES, |out| out.resize(out.len() + 2 * BLOCK_BYTES, b'a'));
        file.write_at(0, &blocks).unwrap();
        file.write_at(BLOCK_BYTES as u64, &vec![b'b'; 2 * BLOCK_BYTES]).unwrap();
        file.set_len(4 * BLOCK_BYTES as u64 + 16).unwrap();
        // No block: a file system that tells the difference refuses it past the cache.
        file.write_at(3 * BLOCK_BYTES as u64 + 1, b"c").unwrap();
        file.write_at(0, &blocks[..BLOCK_BYTES]).unwrap();
        file.sync().unwrap();
        let mut expected = vec![0; 4 * BLOCK_BYTES + 16];
        expected[..BLOCK_BYTES].fill(b'a');
        expected[BLOCK_BYTES..3 * BLOCK_BYTES].fill(b'b');
        expected[3 * BLOCK_BYTES + 1] = b'c';
        assert!(std::fs::read(&path).unwrap() == expected);
        std::fs::remove_file(&path).unwrap();
    }
}
