//! How much room is left on a server's disks, and what has to stop for want of it.
//!
//! In: what the file systems say, and how much of them is kept in reserve. Out: a [`Room`].
//!
//! Always true:
//! * what was accepted before the room became low is written into the reserve, so that no write fails that a client
//!   could have been told about in time;
//! * between a room that shrinks and one that grows there is a distance: a level never flaps.
//!
//! Not here: what stops at which level (`replica`), a write that fails all the same (`writer`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, Space};
use super::error::Error;
use crate::base::Room;

/// The reserve never takes more than this part of a file system.
const RESERVED_PART_MAX: u64 = 8;
/// A snapshot asks for the room that is left whenever it has written so much.
const LOOK_EVERY_BYTES: u64 = 1 << 20;

/// What a look found, on the file system with the least room for its reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomReport {
    /// What may go on.
    pub room: Room,
    /// Bytes that may be written until the file system is full.
    pub free_bytes: u64,
    /// Bytes that are kept for what was accepted already; 0 for none.
    pub reserve_bytes: u64,
}

/// Looks at the file systems of a server's directories.
#[derive(Debug)]
pub(super) struct RoomWatch {
    disk: Arc<dyn Disk>,
    dirs: Vec<PathBuf>,
    /// As configured; a small file system keeps less.
    reserve_bytes: u64,
    room: Room,
}

impl RoomWatch {
    pub(super) fn new(disk: Arc<dyn Disk>, dirs: Vec<PathBuf>, reserve_bytes: u64) -> RoomWatch {
        RoomWatch { disk, dirs, reserve_bytes, room: Room::Enough }
    }

    pub(super) fn look(&mut self) -> Result<RoomReport, Error> {
        let mut worst: Option<RoomReport> = None;
        for dir in &self.dirs {
            let space = self.disk.space(dir).map_err(Error::io("ask for the room in", dir))?;
            let reserve_bytes = reserve_of(space, self.reserve_bytes);
            let room = level(self.room, space.free_bytes, reserve_bytes);
            let report = RoomReport { room, free_bytes: space.free_bytes, reserve_bytes };
            if worst.is_none_or(|worst| (report.room, worst.free_bytes) > (worst.room, report.free_bytes)) {
                worst = Some(report);
            }
        }
        let worst = worst.expect("a server has directories");
        self.room = worst.room;
        Ok(worst)
    }
}

/// What a file system keeps of what is configured.
fn reserve_of(space: Space, configured_bytes: u64) -> u64 {
    configured_bytes.min(space.total_bytes / RESERVED_PART_MAX)
}

/// The level for so much room. What is left is gone at a quarter of the reserve; each level ends a quarter of the
/// reserve above where it begins.
fn level(old: Room, free_bytes: u64, reserve_bytes: u64) -> Room {
    let quarter = reserve_bytes / 4;
    let margin = |is_already: bool| if is_already { quarter } else { 0 };
    if free_bytes < quarter + margin(old == Room::Scarce) {
        Room::Scarce
    } else if free_bytes < reserve_bytes + margin(old != Room::Enough) {
        Room::Low
    } else {
        Room::Enough
    }
}

/// Writes a snapshot only as long as it takes nothing of the reserve.
pub(super) struct Careful<'a> {
    out: &'a mut dyn io::Write,
    disk: &'a dyn Disk,
    dir: &'a std::path::Path,
    reserve_bytes: u64,
    /// Bytes since the last look.
    unseen_bytes: u64,
}

impl<'a> Careful<'a> {
    pub(super) fn new(
        out: &'a mut dyn io::Write,
        disk: &'a dyn Disk,
        dir: &'a std::path::Path,
        reserve_bytes: u64,
    ) -> Careful<'a> {
        Careful { out, disk, dir, reserve_bytes, unseen_bytes: LOOK_EVERY_BYTES }
    }
}

impl io::Write for Careful<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unseen_bytes >= LOOK_EVERY_BYTES {
            self.unseen_bytes = 0;
            let space = self.disk.space(self.dir)?;
            let reserve_bytes = reserve_of(space, self.reserve_bytes);
            if space.free_bytes < reserve_bytes {
                let free = space.free_bytes;
                let what = format!("{free} bytes are free, and {reserve_bytes} are kept for the log");
                return Err(io::Error::new(io::ErrorKind::StorageFull, what));
            }
        }
        let size = self.out.write(bytes)?;
        self.unseen_bytes += size as u64;
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::sim_disk::{DiskFaults, SimDisk};

    #[test]
    fn a_level_ends_above_where_it_begins() {
        let mut room = Room::Enough;
        let mut seen = Vec::new();
        for free in [200, 100, 99, 110, 124, 99, 25, 24, 49, 50, 124, 125, 99, 0] {
            room = level(room, free, 100);
            seen.push(room);
        }
        use Room::{Enough, Low, Scarce};
        let expected =
            [Enough, Enough, Low, Low, Low, Low, Low, Scarce, Scarce, Low, Low, Enough, Low, Scarce];
        assert_eq!(seen, expected);
        assert_eq!(level(Enough, 0, 0), Enough, "no reserve, no levels");
    }

    #[test]
    fn a_reserve_never_takes_most_of_a_small_disk() {
        assert_eq!(reserve_of(Space { free_bytes: 9, total_bytes: 8_000 }, 100), 100);
        assert_eq!(reserve_of(Space { free_bytes: 9, total_bytes: 400 }, 100), 50);
    }

    #[test]
    fn the_room_of_a_disk_is_seen_to_shrink_and_to_grow() {
        let disk = SimDisk::new(1);
        let set = |capacity| {
            disk.set_faults(DiskFaults { capacity_bytes: Some(capacity), ..DiskFaults::default() });
        };
        let mut watch = RoomWatch::new(Arc::new(disk.clone()), vec![PathBuf::from("/")], 100);
        assert_eq!(watch.look().unwrap().room, Room::Enough);
        set(1_000);
        disk.put(Path::new("/f"), &[7; 880]);
        let report = RoomReport { room: Room::Enough, free_bytes: 120, reserve_bytes: 100 };
        assert_eq!(watch.look().unwrap(), report);
        disk.put(Path::new("/g"), &[7; 30]);
        assert_eq!(watch.look().unwrap().room, Room::Low);
        disk.put(Path::new("/g"), &[7; 100]);
        assert_eq!(watch.look().unwrap().room, Room::Scarce);
        disk.remove(Path::new("/f")).unwrap();
        assert_eq!(watch.look().unwrap().room, Room::Enough);
    }
}
