//! What is on a simulated disk, what only seems to be, and what a crash makes of it.
//!
//! In: changes of names and contents, syncs, a crash. Out: what a running process sees.
//!
//! Always true:
//! * what is durable changes only by a sync or at a crash;
//! * a crash keeps of the unsynced changes of each file and each directory what its [`Loss`] says.
//!
//! Not here: the operations of `Disk` (`sim_disk`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::{DiskFaults, Loss};
use crate::base::rng::Rng;
use crate::storage::disk::parent;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// What every handle of one disk reaches.
#[derive(Debug)]
pub(super) struct Medium(pub(super) Mutex<State>);

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    /// Names and directories as a running process sees them, and as a crash would leave them.
    pub(super) seen: Names,
    pub(super) durable: Names,
    /// Changes of names that are not durable, by directory, in order.
    pub(super) unsynced: BTreeMap<PathBuf, Vec<NameOp>>,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) next_node: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) read_only: BTreeSet<PathBuf>,
    /// Counts crashes: a handle of an earlier boot is dead.
    pub(super) boot: u64,
    pub(super) ops: u64,
    pub(super) power_off_at: Option<u64>,
    pub(super) faults: DiskFaults,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, u64>,
    pub(super) dirs: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Put(PathBuf, u64),
    Drop(PathBuf),
    Rename(PathBuf, PathBuf, u64),
    Dir(PathBuf),
}

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Change>,
    /// Length with the unsynced changes.
    pub(super) len: u64,
    /// End of the furthest write: what the file takes of the capacity.
    pub(super) used: u64,
    /// End of the furthest write that is durable.
    pub(super) synced: u64,
    /// A sync went wrong: the system believes the rest to be clean.
    pub(super) lying: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

impl Medium {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no operation of the simulated disk panics half way")
    }
}

pub(super) fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    /// Counts a changing operation; an error once power is off.
    pub(super) fn change(&mut self) -> io::Result<()> {
        self.ops += 1;
        match self.power_off_at {
            Some(at) if self.ops > at => Err(io::Error::other("power is off")),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the operation that was just refused is the first one without power, and the seed lets it through.
    pub(super) fn slips_through(&mut self) -> bool {
        self.power_off_at == Some(self.ops - 1) && self.rng.below(2) == 0
    }

    pub(super) fn add_node(&mut self, node: Node) -> u64 {
        self.next_node += 1;
        self.nodes.insert(self.next_node, node);
        self.next_node
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        self.seen.files.get(path).copied().ok_or_else(not_found)
    }

    pub(super) fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let node = &self.nodes[&self.file(path)?];
        let mut bytes = node.durable.clone();
        for change in &node.unsynced {
            change.apply(&mut bytes);
        }
        Ok(bytes)
    }

    pub(super) fn rename_names(&mut self, path: &Path, op: NameOp) -> io::Result<()> {
        let dir = parent(path).to_owned();
        if !self.seen.dirs.contains(&dir) {
            return Err(not_found());
        }
        if self.read_only.contains(&dir) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.seen.apply(&op);
        self.unsynced.entry(dir).or_default().push(op);
        Ok(())
    }

    /// Bytes that the files take of the capacity.
    pub(super) fn used(&self) -> u64 {
        self.seen.files.values().map(|node| self.nodes[node].used).sum()
    }

    pub(super) fn write(&mut self, node: u64, change: Change) -> io::Result<()> {
        let room = self.faults.capacity_bytes.map(|capacity| capacity.saturating_sub(self.used()));
        let node = self.nodes.get_mut(&node).ok_or_else(not_found)?;
        let mut change = change;
        let mut outcome = Ok(());
        if let Change::Write(offset, bytes) = &mut change {
            let grown = (*offset + bytes.len() as u64).saturating_sub(node.used);
            if room.is_some_and(|room| grown > room) {
                bytes.truncate(self.rng.below(bytes.len() as u64 + 1) as usize);
                outcome = Err(io::ErrorKind::StorageFull.into());
            } else if self.rng.per_mille(self.faults.write_per_mille) {
                bytes.truncate(self.rng.below(bytes.len() as u64 + 1) as usize);
                outcome = Err(io::Error::other("injected write error"));
            }
        }
        node.push(change);
        outcome
    }

    pub(super) fn sync(&mut self, node: u64) -> io::Result<()> {
        let fails = self.rng.per_mille(self.faults.sync_per_mille);
        let node = self.nodes.get_mut(&node).ok_or_else(not_found)?;
        if fails {
            node.lying = true;
            return Err(io::Error::other("injected sync error"));
        }
        if !node.lying {
            node.apply_all();
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        for op in self.unsynced.remove(dir).unwrap_or_default() {
            self.durable.apply(&op);
        }
    }

    pub(super) fn crash(&mut self, loss: Loss) {
        for (_, ops) in std::mem::take(&mut self.unsynced) {
            for op in loss.kept(&ops, &mut self.rng) {
                self.durable.apply(op);
            }
        }
        let dirs = &mut self.durable.dirs;
        let whole = dirs.iter().filter(|dir| dir.ancestors().all(|above| dirs.contains(above)));
        *dirs = whole.cloned().collect();
        let dirs = &self.durable.dirs;
        self.durable.files.retain(|path, _| dirs.contains(parent(path)));
        self.seen = self.durable.clone();
        let linked: BTreeSet<u64> = self.seen.files.values().copied().collect();
        self.nodes.retain(|node, _| linked.contains(node));
        for node in self.nodes.values_mut() {
            node.crash(loss, &mut self.rng);
        }
        self.locks.clear();
        self.boot += 1;
        self.power_off_at = None;
    }
}

impl Names {
    pub(super) fn apply(&mut self, op: &NameOp) {
        match op {
            NameOp::Put(path, node) => drop(self.files.insert(path.clone(), *node)),
            NameOp::Drop(path) => drop(self.files.remove(path)),
            NameOp::Rename(from, to, node) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *node);
            }
            NameOp::Dir(path) => drop(self.dirs.insert(path.clone())),
        }
    }
}

impl Node {
    pub(super) fn push(&mut self, change: Change) {
        match &change {
            Change::Write(offset, bytes) => {
                let end = offset + bytes.len() as u64;
                self.len = self.len.max(end);
                self.used = self.used.max(end);
            }
            Change::Len(len) => {
                self.len = *len;
                self.used = self.used.min(*len);
            }
        }
        self.unsynced.push(change);
    }

    pub(super) fn apply_all(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.apply(&change);
        }
    }

    /// Makes a change durable.
    fn apply(&mut self, change: &Change) {
        change.apply(&mut self.durable);
        self.synced = match change {
            Change::Write(offset, bytes) => self.synced.max(offset + bytes.len() as u64),
            Change::Len(len) => self.synced.min(*len),
        };
    }

    /// Keeps of what was not synced what the loss leaves.
    fn crash(&mut self, loss: Loss, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        let kept = loss.kept(&changes, rng);
        let torn = loss.tears().then(|| changes.get(kept.len()).cloned()).flatten();
        for change in kept {
            self.apply(change);
        }
        if let Some(Change::Write(offset, bytes)) = torn {
            self.tear(offset, bytes, rng);
        }
        self.len = self.durable.len() as u64;
        self.used = self.used.min(self.len);
        self.lying = false;
    }

    /// Makes a part of a write durable. Sectors that hold durable content are old or new, whole; behind them anything
    /// may stand.
    fn tear(&mut self, offset: u64, mut bytes: Vec<u8>, rng: &mut Rng) {
        let mut cut = rng.below(bytes.len() as u64 + 1);
        let fresh = match self.synced.next_multiple_of(SECTOR_BYTES).checked_sub(offset) {
            Some(rewritten) if offset < self.synced => rewritten,
            Some(_) | None => 0,
        };
        if cut < fresh {
            cut = ((offset + cut) / SECTOR_BYTES * SECTOR_BYTES).saturating_sub(offset);
        }
        let garbage_from = cut.max(fresh).min(bytes.len() as u64) as usize;
        let garbage_bytes = bytes.len() - garbage_from;
        bytes.truncate(cut as usize);
        self.apply(&Change::Write(offset, bytes));
        let garbage = match rng.below(3) {
            0 => return,
            1 => vec![0; garbage_bytes],
            _ => (0..garbage_bytes).map(|_| rng.next_u64() as u8).collect(),
        };
        self.apply(&Change::Write(offset + garbage_from as u64, garbage));
    }
}

impl Loss {
    /// The changes of one file, or of one directory, that are whole afterwards, in order.
    fn kept<'a, T>(self, changes: &'a [T], rng: &mut Rng) -> Vec<&'a T> {
        let prefix = match self {
            Loss::Tail => rng.below(changes.len() as u64 + 1) as usize,
            Loss::All => 0,
            Loss::Nothing => changes.len(),
            Loss::LastTorn => changes.len().saturating_sub(1),
            Loss::Any => return changes.iter().filter(|_| rng.below(2) == 0).collect(),
        };
        changes[..prefix].iter().collect()
    }

    /// Whether a part is left of the change behind those that are whole.
    fn tears(self) -> bool {
        match self {
            Loss::Tail | Loss::LastTorn => true,
            Loss::All | Loss::Nothing | Loss::Any => false,
        }
    }
}

impl Change {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, bytes) => {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
            Change::Len(len) => content.resize(*len as usize, 0),
        }
    }
}
