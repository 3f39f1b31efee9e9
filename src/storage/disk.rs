//! The few file operations that storage uses, and the real file system.
//!
//! In: absolute paths and bytes. Out: bytes, or the system's error.
//!
//! Always true:
//! * bytes written are durable only after [`DiskFile::sync`], a name (created, renamed, removed) only after
//!   [`Disk::sync_dir`] of its directory;
//! * no operation retries: an error goes to the caller once.
//!
//! Not here: what the files mean; files past the page cache (`direct`); the simulated disk (`sim_disk`).

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is written past the page cache is written in blocks of this size. Disks and file systems have blocks of 512 or
/// of 4,096 bytes.
pub const BLOCK_BYTES: usize = 4_096;

/// A file that is being written.
pub trait DiskFile: Debug + Send {
    /// Writes all of `bytes` at `offset`; a hole before it reads as zeros.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros that take no space.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes content and length durable, not the name. After an error the file must not be used any more.
    fn sync(&mut self) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub trait DiskLock: Debug + Send {}

/// One file of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name without the directory.
    pub name: String,
    /// The length of the file.
    pub bytes: u64,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes that there are in all.
    pub total_bytes: u64,
}

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// A new file, or an existing one emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The same for a file that is only written in blocks: offset and length of every write are multiples of
    /// [`BLOCK_BYTES`]. It is written past the page cache where the system can, which is best with bytes that are
    /// aligned to a block in memory, too.
    fn create_in_blocks(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// An existing file, for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The file from its start, piece by piece.
    fn reader(&self, path: &Path) -> io::Result<Box<dyn io::Read>>;

    /// Gives a file another name, in place of a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The files of a directory, by name; directories are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether this directory exists.
    fn dir_exists(&self, dir: &Path) -> bool;

    /// Creates one directory in an existing one.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes durable which names stand in this directory.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room on the file system that holds this directory.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// Locks a file, which is created if need be, against every other process; `WouldBlock` if one holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

#[cfg(target_os = "linux")]
mod direct;

#[derive(Debug)]
struct OpenFile(File);

#[derive(Debug)]
struct LockedFile(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl DiskLock for LockedFile {}

impl DiskFile for OpenFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenFile(File::create(path)?)))
    }

    #[cfg(target_os = "linux")]
    fn create_in_blocks(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        direct::create(path)
    }

    #[cfg(not(target_os = "linux"))]
    fn create_in_blocks(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenFile(OpenOptions::new().write(true).open(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn io::Read>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A file may be removed by the purge between its name and its length.
            let meta = match fs::metadata(entry.path()) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                entries.push(DirEntry { name, bytes: meta.len() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn dir_exists(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = nix::sys::statvfs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
        Ok(Space { free_bytes: bytes(stat.blocks_available()), total_bytes: bytes(stat.blocks()) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(LockedFile(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(err)) => Err(err),
        }
    }
}

/// Puts `bytes` in place of the file: after a crash there is the old content or the new one, nothing between.
/// What stood in `<path>.tmp` is lost.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = tmp_name(path);
    let mut file = disk.create(&tmp)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    disk.rename(&tmp, path)?;
    disk.sync_dir(parent(path))
}

/// Removes a file durably; one that does not exist is no error.
pub fn remove_file(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
        Ok(()) => disk.sync_dir(parent(path)),
    }
}

/// The file's content, or `None` if there is no such file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match disk.read(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
        Ok(bytes) => Ok(Some(bytes)),
    }
}

/// Whether there is such a file.
pub(super) fn exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.reader(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
        Ok(_) => Ok(true),
    }
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn tmp_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_file_system_keeps_the_contract() {
        let dir = std::env::temp_dir().join(format!("quorate-disk-{}", std::process::id()));
        let disk = FileSystem;
        disk.create_dir(&dir).unwrap();
        assert!(disk.dir_exists(&dir));
        let path = dir.join("a");
        assert_eq!(read_file(&disk, &path).unwrap(), None);

        replace_file(&disk, &path, b"one").unwrap();
        replace_file(&disk, &path, b"two").unwrap();
        assert_eq!(disk.list(&dir).unwrap(), [DirEntry { name: "a".into(), bytes: 3 }]);

        let mut file = disk.open(&path).unwrap();
        file.write_at(5, b"x").unwrap();
        file.set_len(7).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"two\0\0x\0");

        let space = disk.space(&dir).unwrap();
        assert!(0 < space.free_bytes && space.free_bytes <= space.total_bytes, "{space:?}");
        assert!(disk.space(&dir.join("no")).is_err());

        let lock = disk.lock(&dir.join("lock")).unwrap();
        assert_eq!(disk.lock(&dir.join("lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        drop(disk.lock(&dir.join("lock")).unwrap());

        remove_file(&disk, &path).unwrap();
        remove_file(&disk, &path).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
