//! The second implementation of `Disk`: in memory, decided by a seed, and as mean as a real disk may be.
//! The crash tests of this folder and the simulator run on it.
//!
//! In: the operations of `Disk`; crashes and faults, as the test orders them. Out: what a real disk could answer.
//!
//! Always true:
//! * what was synced (content by its file, names by their directory) survives a crash, and nothing else must;
//! * of unsynced writes to one file a prefix survives, of which the last one may be torn: cut short, followed by
//!   zeros or by garbage; of unsynced names in one directory a prefix survives; or else, as a test orders with [`Loss`];
//! * where durable content is written again, a sector is whole afterwards, as it was or as it was to become;
//! * one seed and one sequence of calls give one outcome.
//!
//! Not here: how long an operation takes (the simulator delays the report).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{BLOCK_BYTES, DirEntry, Disk, DiskFile, DiskLock, Space, parent};
use crate::base::rng::Rng;

mod medium;

use medium::{Change, Medium, NameOp, Names, Node, State, not_found};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Medium>,
}

/// Which operations go wrong by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DiskFaults {
    /// How many of 1,000 writes answer an error, after a part of the bytes was written.
    pub write_per_mille: u64,
    /// How many of 1,000 syncs answer an error; what they should have synced is lost at the next crash, and a later
    /// sync of the file lies.
    pub sync_per_mille: u64,
    /// A write that would fill the disk beyond this many bytes answers `StorageFull`; `None` for no limit.
    pub capacity_bytes: Option<u64>,
}

/// What a crash takes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything behind a prefix that the seed chooses, in each file and each directory; the change behind it is torn.
    Tail,
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// What the seed chooses, wherever it stands, as a disk does that reorders.
    Any,
    /// The last change of each file, of which a part is left.
    LastTorn,
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Medium>,
    node: u64,
    boot: u64,
    /// Offset and length of a write are multiples of it.
    unit_bytes: u64,
}

#[derive(Debug)]
struct SimLock {
    state: Arc<Medium>,
    path: PathBuf,
    boot: u64,
}

impl SimDisk {
    /// An empty disk with a root directory.
    pub fn new(seed: u64) -> SimDisk {
        let names = Names { dirs: BTreeSet::from([PathBuf::from("/")]), ..Names::default() };
        let state = State {
            rng: Rng::new(seed),
            seen: names.clone(),
            durable: names,
            unsynced: BTreeMap::new(),
            nodes: BTreeMap::new(),
            next_node: 0,
            locks: BTreeSet::new(),
            read_only: BTreeSet::new(),
            boot: 0,
            ops: 0,
            power_off_at: None,
            faults: DiskFaults::default(),
        };
        SimDisk { state: Arc::new(Medium(Mutex::new(state))) }
    }

    /// Loses what is not durable, as the seed decides, frees every lock and kills every handle. Power is on again.
    pub fn crash(&self) {
        self.crash_with(Loss::Tail);
    }

    /// The same, with this loss.
    pub fn crash_with(&self, loss: Loss) {
        self.state().crash(loss);
    }

    /// Another disk that holds what this one holds, durable or not, and goes on with a seed of its own.
    pub fn copy(&self, seed: u64) -> SimDisk {
        let mut state = self.state().clone();
        state.rng = Rng::new(seed);
        SimDisk { state: Arc::new(Medium(Mutex::new(state))) }
    }

    /// Lets `ops` more changing operations through; the next one, and all after it, answer an error until `crash`.
    /// If the one at the border is a sync, the seed decides whether it took effect.
    pub fn power_off_after(&self, ops: u64) {
        let mut state = self.state();
        state.power_off_at = Some(state.ops + ops);
    }

    /// How many changing operations there were.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Sets what goes wrong by itself from here on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// Refuses every change of names in this directory from here on, as a mount that is read-only does.
    pub fn set_read_only(&self, dir: &Path) {
        self.state().read_only.insert(dir.to_owned());
    }

    /// Every file with its length, by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        state.seen.files.iter().map(|(path, node)| (path.clone(), state.nodes[node].len)).collect()
    }

    /// Turns one bit of a file over, on the medium. Panics if there is no such bit.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.state();
        let node = *state.seen.files.get(path).expect("a bit is flipped in a file that exists");
        let node = state.nodes.get_mut(&node).expect("every name has a node");
        node.apply_all();
        node.durable[offset as usize] ^= 1 << bit;
    }

    /// Turns a bit over that the seed chooses, in one of the files for which `old` answers yes; answers which.
    pub fn flip_any_bit(&self, old: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        let (path, offset, bit) = {
            let mut state = self.state();
            let sized = state.seen.files.iter().map(|(path, node)| (path.clone(), state.nodes[node].used));
            let files: Vec<_> = sized.filter(|(path, used)| *used > 0 && old(path)).collect();
            let choice = state.rng.below(files.len() as u64);
            let (path, used) = files.get(choice as usize)?.clone();
            (path, state.rng.below(used), state.rng.below(8) as u8)
        };
        self.flip_bit(&path, offset, bit);
        Some((path, offset))
    }

    /// Writes a file durably, as somebody beside the server would.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        for dir in path.ancestors().skip(1) {
            state.seen.dirs.insert(dir.to_owned());
            state.durable.dirs.insert(dir.to_owned());
        }
        let len = bytes.len() as u64;
        let node =
            state.add_node(Node { durable: bytes.to_vec(), len, used: len, synced: len, ..Node::default() });
        state.seen.files.insert(path.to_owned(), node);
        state.durable.files.insert(path.to_owned(), node);
    }

    fn new_file(&self, path: &Path, unit_bytes: u64) -> io::Result<SimFile> {
        let mut state = self.state();
        state.change()?;
        let node = match state.file(path) {
            Ok(node) => {
                if state.read_only.contains(parent(path)) {
                    return Err(io::ErrorKind::ReadOnlyFilesystem.into());
                }
                state.write(node, Change::Len(0))?;
                node
            }
            Err(_) => {
                let node = state.add_node(Node::default());
                state.rename_names(path, NameOp::Put(path.to_owned(), node))?;
                node
            }
        };
        Ok(SimFile { state: self.state.clone(), node, boot: state.boot, unit_bytes })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl SimFile {
    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if state.boot != self.boot {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        match state.change() {
            Ok(()) => Ok(state),
            Err(err) => Err(err),
        }
    }
}

impl DiskFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (len, unit) = (bytes.len() as u64, self.unit_bytes);
        assert!(
            offset.is_multiple_of(unit) && len.is_multiple_of(unit),
            "{len} bytes at {offset} are not whole blocks"
        );
        self.live()?.write(self.node, Change::Write(offset, bytes.to_vec()))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.live()?.write(self.node, Change::Len(len))
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.live() {
            Ok(mut state) => state.sync(self.node),
            Err(err) => {
                let mut state = self.state.lock();
                if state.boot == self.boot && state.slips_through() {
                    state.sync(self.node)?;
                }
                Err(err)
            }
        }
    }
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.new_file(path, 1)?))
    }

    fn create_in_blocks(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.new_file(path, BLOCK_BYTES as u64)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let node = state.file(path)?;
        Ok(Box::new(SimFile { state: self.state.clone(), node, boot: state.boot, unit_bytes: 1 }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.state().content(path)
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn io::Read>> {
        Ok(Box::new(io::Cursor::new(self.read(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if parent(from) != parent(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let mut state = self.state();
        state.change()?;
        let node = state.file(from)?;
        state.rename_names(to, NameOp::Rename(from.to_owned(), to.to_owned(), node))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.file(path)?;
        state.rename_names(path, NameOp::Drop(path.to_owned()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        if !state.seen.dirs.contains(dir) {
            return Err(not_found());
        }
        let inside = state.seen.files.iter().filter(|(path, _)| parent(path) == dir);
        let entry = |(path, node): (&PathBuf, &u64)| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(DirEntry { name, bytes: state.nodes[node].len })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn dir_exists(&self, dir: &Path) -> bool {
        self.state().seen.dirs.contains(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        if state.seen.dirs.contains(dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.rename_names(dir, NameOp::Dir(dir.to_owned()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.change() {
            Ok(()) => {
                state.sync_dir(dir);
                Ok(())
            }
            Err(err) => {
                if state.slips_through() {
                    state.sync_dir(dir);
                }
                Err(err)
            }
        }
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.state();
        let total_bytes = state.faults.capacity_bytes.unwrap_or(u64::MAX);
        Ok(Space { free_bytes: total_bytes.saturating_sub(state.used()), total_bytes })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state();
        state.change()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if state.file(path).is_err() {
            let node = state.add_node(Node::default());
            state.rename_names(path, NameOp::Put(path.to_owned(), node))?;
        }
        Ok(Box::new(SimLock { state: self.state.clone(), path: path.to_owned(), boot: state.boot }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::replace_file;

    const FILE: &str = "/f";

    fn content_after_crash(seed: u64) -> Option<Vec<u8>> {
        let disk = SimDisk::new(seed);
        let mut file = disk.create(Path::new(FILE)).unwrap();
        file.write_at(0, b"synced ").unwrap();
        file.sync().unwrap();
        file.write_at(7, b"unsynced").unwrap();
        disk.crash();
        assert!(file.sync().is_err(), "a handle does not survive");
        disk.read(Path::new(FILE)).ok()
    }

    #[test]
    fn a_crash_loses_what_was_not_synced() {
        let outcomes: BTreeSet<_> = (0..100).map(content_after_crash).collect();
        assert!(outcomes.contains(&None), "the name was not synced");
        assert!(outcomes.contains(&Some(b"synced ".to_vec())));
        assert!(outcomes.contains(&Some(b"synced unsynced".to_vec())));
        assert!(outcomes.iter().flatten().all(|bytes| bytes.starts_with(b"synced ")));
        assert!(outcomes.len() > 6, "it is torn in many ways: {outcomes:?}");
        assert_eq!(content_after_crash(7), content_after_crash(7));
    }

    /// What a crash leaves of two and a half durable sectors that are written again, with more behind them.
    fn rewritten_after_crash(seed: u64) -> Vec<u8> {
        let disk = SimDisk::new(seed);
        let mut file = disk.create_in_blocks(Path::new(FILE)).unwrap();
        let mut block = vec![0; BLOCK_BYTES];
        block[..1_280].fill(b'a');
        file.set_len(3 * BLOCK_BYTES as u64).unwrap();
        file.write_at(0, &block).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        block[1_280..].fill(b'b');
        block.resize(2 * BLOCK_BYTES, b'b');
        file.write_at(0, &block).unwrap();
        disk.crash_with(Loss::LastTorn);
        disk.read(Path::new(FILE)).unwrap()
    }

    #[test]
    fn a_block_that_is_written_again_is_torn_between_sectors_and_keeps_what_stays_the_same() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..300 {
            let found = rewritten_after_crash(seed);
            assert_eq!(found.len(), 3 * BLOCK_BYTES);
            assert!(found[..1_280].iter().all(|byte| *byte == b'a'), "seed {seed}");
            for sector in found[1_280..BLOCK_BYTES].chunk_by(|a, b| a == b) {
                assert!(sector[0] == b'b' || sector[0] == 0, "seed {seed}");
            }
            let cut = found[1_280..].iter().position(|byte| *byte != b'b').unwrap_or(found.len()) + 1_280;
            assert!(cut >= BLOCK_BYTES || cut == 1_280 || cut.is_multiple_of(512), "seed {seed}: {cut}");
            outcomes.insert((cut, found[2 * BLOCK_BYTES - 1]));
        }
        assert!(outcomes.contains(&(1_280, 0)), "the old content");
        assert!(outcomes.contains(&(2_048, 0)), "a part of the new content");
        assert!(outcomes.iter().any(|(_, last)| ![0, b'b'].contains(last)), "garbage behind the old blocks");
    }

    #[test]
    fn a_crash_loses_what_the_test_orders() {
        let disk = SimDisk::new(1);
        let mut file = disk.create(Path::new(FILE)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        for (offset, bytes) in [(0, b"aa"), (2, b"bb"), (4, b"cc")] {
            file.write_at(offset, bytes).unwrap();
        }
        let left = |loss, seed| {
            let copy = disk.copy(seed);
            copy.crash_with(loss);
            copy.read(Path::new(FILE)).unwrap()
        };
        assert_eq!(left(Loss::All, 1), b"");
        assert_eq!(left(Loss::Nothing, 1), b"aabbcc");
        let any: BTreeSet<_> = (0..100).map(|seed| left(Loss::Any, seed)).collect();
        assert!(any.contains(&b"\0\0bb"[..]) && any.contains(&b"aa\0\0cc"[..]), "{any:?}");
        assert_eq!(any.len(), 8);
        assert!((0..100).all(|seed| left(Loss::LastTorn, seed).starts_with(b"aabb")));
        assert_eq!(disk.read(Path::new(FILE)).unwrap(), b"aabbcc", "a copy's crash is its own");
    }

    #[test]
    fn a_replaced_file_is_old_or_new_wherever_power_fails() {
        for ops in 0..6 {
            for seed in 0..20 {
                let disk = SimDisk::new(seed);
                replace_file(&disk, Path::new(FILE), b"old").unwrap();
                disk.power_off_after(ops);
                let done = replace_file(&disk, Path::new(FILE), b"new").is_ok();
                disk.crash();
                let found = disk.read(Path::new(FILE)).unwrap();
                assert!(found == b"new" || (found == b"old" && !done), "{ops} {seed} {found:?}");
            }
        }
    }

    #[test]
    fn faults_are_injected() {
        let disk = SimDisk::new(1);
        let mut file = disk.create(Path::new(FILE)).unwrap();
        disk.set_faults(DiskFaults { capacity_bytes: Some(4), ..DiskFaults::default() });
        file.write_at(0, b"1234").unwrap();
        assert_eq!(file.write_at(4, b"5").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_faults(DiskFaults { sync_per_mille: 1_000, ..DiskFaults::default() });
        assert!(file.sync().is_err());
        disk.set_faults(DiskFaults { write_per_mille: 1_000, ..DiskFaults::default() });
        assert!(file.write_at(0, b"x").is_err());
        disk.set_faults(DiskFaults::default());
        file.sync().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.flip_bit(Path::new(FILE), 0, 0);
        assert_ne!(disk.read(Path::new(FILE)).unwrap()[0], b'1');
    }

    #[test]
    fn a_lock_is_exclusive_and_freed_by_a_crash() {
        let disk = SimDisk::new(1);
        let lock = disk.lock(Path::new(FILE)).unwrap();
        assert_eq!(disk.lock(Path::new(FILE)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        disk.crash();
        let again = disk.lock(Path::new(FILE)).unwrap();
        drop(lock);
        assert!(disk.lock(Path::new(FILE)).is_err(), "a lock of before the crash frees nothing");
        drop(again);
        disk.lock(Path::new(FILE)).unwrap();
    }
}
