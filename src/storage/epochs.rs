//! The two epoch files: read, mended and replaced.
//!
//! In: the last zxid on disk, or new epochs. Out: both epochs, durable.
//!
//! Always true:
//! * each file holds its old number or its new one after a crash, and `acceptedEpoch` is written first;
//! * a file that is no number is a fault of the disk, never a guess.
//!
//! Not here: when an epoch is promised or adopted (`zab`).

use std::path::{Path, PathBuf};

use super::disk::{Disk, read_file, replace_file};
use super::error::Error;
use crate::base::{Epoch, Epochs, Zxid};

/// How much of a wrong file an error shows.
const SHOWN_CHARS: usize = 64;

/// Reads both files, and mends what an interrupted start or a partial restore left. `last` is the end of a history
/// that was found without a gap, so that it holds the whole initial history of its epoch.
pub(super) fn load(disk: &dyn Disk, dir: &Path, last: Zxid) -> Result<Epochs, Error> {
    let (stored_current, stored_accepted) = stored(disk, dir)?;
    let of_history = last.epoch();
    let mut current = stored_current.unwrap_or(of_history);
    if current < of_history {
        tracing::warn!(%current, last = %last, "current epoch is raised to that of the last txn");
        current = of_history;
    }
    let mut accepted = stored_accepted.unwrap_or(current);
    if accepted < current {
        tracing::warn!(%accepted, %current, "accepted epoch is raised to the current one");
        accepted = current;
    }
    write(disk, &accepted_path(dir), stored_accepted, accepted)?;
    write(disk, &current_path(dir), stored_current, current)?;
    Ok(Epochs { accepted, current })
}

/// The current and the accepted epoch as they stand on disk; `None` for one that does not.
pub(super) fn stored(disk: &dyn Disk, dir: &Path) -> Result<(Option<Epoch>, Option<Epoch>), Error> {
    Ok((read(disk, &current_path(dir))?, read(disk, &accepted_path(dir))?))
}

/// Replaces what changes between `old` and `new`.
pub(super) fn store(disk: &dyn Disk, dir: &Path, old: Epochs, new: Epochs) -> Result<(), Error> {
    if new.accepted < old.accepted || new.current < old.current || new.current > new.accepted {
        let write = format!("epochs {}/{}", new.accepted, new.current);
        let history =
            format!("has the accepted epoch {} and the current epoch {}", old.accepted, old.current);
        return Err(Error::Contradiction { write, history });
    }
    write(disk, &accepted_path(dir), Some(old.accepted), new.accepted)?;
    write(disk, &current_path(dir), Some(old.current), new.current)
}

/// Leftovers of an interrupted replacement.
pub(super) fn leftovers(dir: &Path) -> [PathBuf; 2] {
    [dir.join("acceptedEpoch.tmp"), dir.join("currentEpoch.tmp")]
}

/// The start of a file that is not what it must be, for an error.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(SHOWN_CHARS).collect()
}

fn accepted_path(dir: &Path) -> PathBuf {
    dir.join("acceptedEpoch")
}

fn current_path(dir: &Path) -> PathBuf {
    dir.join("currentEpoch")
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Epoch>, Error> {
    let Some(bytes) = read_file(disk, path).map_err(Error::io("read", path))? else { return Ok(None) };
    let line = std::str::from_utf8(&bytes).ok().and_then(|text| text.lines().next());
    let epoch =
        line.and_then(|line| line.trim().parse().ok()).map(Epoch).filter(|epoch| *epoch <= Epoch::MAX);
    let expected = "a decimal epoch of 0 to 2147483646";
    let found = || Error::Content { path: path.to_owned(), found: shown(&bytes), expected };
    epoch.map(Some).ok_or_else(found)
}

fn write(disk: &dyn Disk, path: &Path, old: Option<Epoch>, new: Epoch) -> Result<(), Error> {
    if old == Some(new) {
        return Ok(());
    }
    replace_file(disk, path, new.to_string().as_bytes()).map_err(Error::io("replace", path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::sim_disk::SimDisk;

    fn epochs(accepted: u32, current: u32) -> Epochs {
        Epochs { accepted: Epoch(accepted), current: Epoch(current) }
    }

    fn disk(accepted: Option<&str>, current: Option<&str>) -> SimDisk {
        let disk = SimDisk::new(1);
        accepted.iter().for_each(|text| disk.put(Path::new("/acceptedEpoch"), text.as_bytes()));
        current.iter().for_each(|text| disk.put(Path::new("/currentEpoch"), text.as_bytes()));
        disk
    }

    fn loaded(accepted: Option<&str>, current: Option<&str>, last_epoch: u32) -> Result<Epochs, Error> {
        let disk = disk(accepted, current);
        let found = load(&disk, Path::new("/"), Zxid::new(Epoch(last_epoch), 1))?;
        disk.crash();
        let text = |path: &str| String::from_utf8(disk.read(Path::new(path)).unwrap()).unwrap();
        assert_eq!(text("/acceptedEpoch").trim(), found.accepted.to_string());
        assert_eq!(text("/currentEpoch").trim(), found.current.to_string());
        Ok(found)
    }

    #[test]
    fn both_files_are_read_or_made() {
        assert_eq!(loaded(Some("5"), Some("4\n"), 4).unwrap(), epochs(5, 4));
        assert_eq!(loaded(None, None, 0).unwrap(), epochs(0, 0));
        assert_eq!(loaded(None, None, 3).unwrap(), epochs(3, 3));
        assert_eq!(loaded(None, Some("4"), 3).unwrap(), epochs(4, 4));
    }

    #[test]
    fn epochs_that_lag_behind_are_raised() {
        assert_eq!(loaded(Some("5"), Some("3"), 4).unwrap(), epochs(5, 4));
        assert_eq!(loaded(Some("2"), Some("4"), 4).unwrap(), epochs(4, 4));
        assert_eq!(loaded(Some("2"), Some("1"), 6).unwrap(), epochs(6, 6));
    }

    #[test]
    fn what_is_no_epoch_is_refused() {
        for text in ["", "\n", "x", "-1", "1 2", "2147483647", "99999999999999999999"] {
            let error = loaded(Some(text), None, 0).unwrap_err().to_string();
            assert!(error.starts_with("/acceptedEpoch holds"), "{error}");
        }
    }

    #[test]
    fn epochs_never_fall() {
        let disk = disk(None, None);
        store(&disk, Path::new("/"), epochs(3, 2), epochs(4, 4)).unwrap();
        for new in [epochs(2, 2), epochs(3, 1), epochs(3, 4)] {
            assert!(store(&disk, Path::new("/"), epochs(3, 2), new).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let disk = SimDisk::new(1);
            disk.put(Path::new("/currentEpoch"), &bytes);
            let _ = load(&disk, Path::new("/"), Zxid::ZERO);
        }
    }
}
