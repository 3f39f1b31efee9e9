//! Disks in a run: batches of writes that take their time, snapshots, and power that fails in the middle.
//!
//! In: what a process writes. Out: reports of what is durable, or the end of the process.
//!
//! Always true:
//! * a write is reported once the real storage code has synced it on the simulated disk;
//! * one batch at a time; what comes while the disk is busy makes the next one.
//!
//! Not here: what survives a crash (`quorate::storage::SimDisk`).

use std::path::{Path, PathBuf};

use quorate::base::{Recovered, Room, Write, WriteSeq};
use quorate::replica::Event;
use quorate::storage::{Disk, Error};
use quorate::tree::Image;

use crate::files::{Files, RESERVE_BYTES};
use crate::nemesis::Crash;
use crate::network::{Process, Slot};
use crate::queue::Micros;
use crate::world::{Happening, Mend, World};

/// How long a process stays away that ended for a damaged file.
const RESTART_AFTER: Micros = Micros::of_ms(100);
/// How long a snapshot takes at most.
const SNAPSHOT_MAX: Micros = Micros::of_ms(80);

/// What others keep on a full disk: enough that the whole reserve is kept free.
const BALLAST: &str = "/others";
const BALLAST_BYTES: usize = 8 * RESERVE_BYTES as usize;

impl World {
    /// A process writes.
    pub fn write(&mut self, process: Process, seq: WriteSeq, write: Write) {
        let running = self.servers[process.slot.0].running.as_mut().expect("it is stepping");
        running.waiting.push_back((seq, write));
        if running.batch.is_empty() {
            self.begin_batch(process);
        }
    }

    /// The disk takes all that waits.
    fn begin_batch(&mut self, process: Process) {
        let server = &mut self.servers[process.slot.0];
        let running = server.running.as_mut().expect("it runs");
        running.batch = running.waiting.drain(..).collect();
        let span = Micros(50 + self.rng.below(self.setup.sync_max.0)) + server.sync_extra;
        self.queue.after(span, Happening::DiskDone(process));
    }

    /// The disk is done with a batch.
    pub fn on_disk_done(&mut self, process: Process) {
        if !self.is_current(process) {
            return;
        }
        let running = self.servers[process.slot.0].running.as_mut().expect("a current process runs");
        let batch = std::mem::take(&mut running.batch);
        let Some((last, _)) = batch.last() else { return };
        let last = *last;
        if let Err(err) = running.files.write(&batch) {
            return self.on_disk_error(process.slot, &err);
        }
        if !running.waiting.is_empty() {
            self.begin_batch(process);
        }
        self.step(process, Event::Synced(last));
        self.look_for_room(process);
    }

    /// A process looks how much room its disk has, and tells it if that is another level. What is old goes then.
    pub fn look_for_room(&mut self, process: Process) {
        let slot = process.slot;
        let server = &mut self.servers[slot.0];
        let is_concerned = server.full_at.is_some() || self.facts.server(slot).room != Room::Enough;
        let Some(running) = server.running.as_mut().filter(|_| is_concerned && server.life == process.life)
        else {
            return;
        };
        let room = running.files.room().unwrap_or_else(|err| panic!("{slot:?} cannot tell its room: {err}"));
        if room == self.facts.server(slot).room {
            return;
        }
        if room != Room::Enough {
            drop(running.files.purge()); // if that is not possible, there is as little room as before
        }
        self.trace.line(|| format!("   {slot:?} has room: {room:?}"));
        self.facts.servers[slot.0].room = room;
        self.oracle.had_no_room = true;
        self.step(process, Event::Room(room));
    }

    /// A process takes a snapshot.
    pub fn take_snapshot(&mut self, process: Process, image: Image) {
        let running = self.servers[process.slot.0].running.as_mut().expect("it is stepping");
        assert!(running.snapshot.is_none(), "one snapshot at a time");
        running.snapshot = Some(image);
        let span = Micros(1_000 + self.rng.below(SNAPSHOT_MAX.0));
        self.queue.after(span, Happening::SnapshotDone(process));
    }

    /// A snapshot is written.
    pub fn on_snapshot_done(&mut self, process: Process) {
        if !self.is_current(process) {
            return;
        }
        let running = self.servers[process.slot.0].running.as_mut().expect("a current process runs");
        let image = running.snapshot.take().expect("a snapshot is being written");
        let zxid = image.zxid();
        let written = running.files.snapshot(&image);
        let is_full = self.servers[process.slot.0].full_at.is_some();
        match written {
            Err(err) if !(err.is_full() && is_full) => self.on_disk_error(process.slot, &err),
            // The log goes on without it.
            written => {
                let written = written.map_err(|err| err.to_string());
                self.step(process, Event::SnapshotTaken(zxid, written));
            }
        }
    }

    /// A write failed, or needed a damaged file: the process ends, as a real one does, and the machine is looked after.
    fn on_disk_error(&mut self, slot: Slot, err: &Error) {
        let server = &self.servers[slot.0];
        let is_full = server.full_at.is_some() && err.is_full();
        assert!(server.is_failing || is_full || !server.flipped.is_empty(), "{slot:?} cannot write: {err}");
        if !server.is_failing && !is_full {
            self.queue.after(RESTART_AFTER, Happening::Mend(Mend::Start(slot)));
        }
        self.crash(slot, Crash::Power);
    }

    /// A start refuses a disk: it must name the damaged file. The disk is replaced by an empty one, which peers fill.
    pub fn replace_disk(&mut self, slot: Slot, err: &Error) -> (Files, Recovered) {
        let server = &mut self.servers[slot.0];
        let message = err.to_string();
        let is_named =
            |path: &PathBuf| message.contains(&*path.file_name().unwrap_or_default().to_string_lossy());
        assert!(server.flipped.iter().any(is_named), "{slot:?} cannot start: {err}");
        server.replace_disk(self.rng.next_u64());
        self.disks_replaced += 1;
        self.trace.line(|| format!("   {slot:?} gets an empty disk: {message}"));
        self.invariants.on_disk_replaced(&mut self.facts, slot);
        let opened = self.servers[slot.0].open();
        opened.unwrap_or_else(|err| panic!("{slot:?} cannot start on an empty disk: {err}"))
    }

    /// Leaves so many bytes free on a disk, for which others than the server are to blame.
    pub fn fill_disk(&mut self, slot: Slot, free_bytes: u64) {
        let server = &mut self.servers[slot.0];
        server.disk.put(Path::new(BALLAST), &[0; BALLAST_BYTES]);
        let free = server.disk.space(Path::new("/")).expect("there is a root").free_bytes;
        let total = server.full_at.unwrap_or(u64::MAX);
        server.full_at = Some(total - free + free_bytes);
        server.set_faults();
    }

    /// There is room again on a disk. A process that ended for want of it starts.
    pub fn empty_disk(&mut self, slot: Slot) {
        let server = &mut self.servers[slot.0];
        server.full_at = None;
        server.set_faults();
        self.on_mend(Mend::Start(slot));
    }

    /// Lets a disk's power fail after some more operations.
    pub fn fail_after(&mut self, slot: Slot, ops: u64) {
        let server = &mut self.servers[slot.0];
        server.is_failing = true;
        server.disk.power_off_after(ops);
    }

    /// A machine loses power while its disk works on a batch: some operations got through, and the rest did not.
    pub fn fail_in_write(&mut self, slot: Slot) {
        let ops = self.rng.below(12);
        let server = &mut self.servers[slot.0];
        let Some(running) = server.running.as_mut() else { return };
        let mut batch = std::mem::take(&mut running.batch);
        batch.extend(running.waiting.drain(..));
        server.disk.power_off_after(ops);
        let written = running.files.write(&batch);
        let written = written.and_then(|()| match running.snapshot.take() {
            Some(image) => running.files.snapshot(&image),
            None => Ok(()),
        });
        drop(written); // the process that would have heard of it is gone
    }
}
