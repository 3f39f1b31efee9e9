//! The disk thread: gathers writes while the disk is busy, and performs them with one sync.
//!
//! In: writes in order, from the server's loop. Out: reports, from the thread, of what is durable.
//!
//! Always true:
//! * an idle disk begins at once; whatever came in during one sync goes with the next;
//! * a failure is reported once, and nothing after it is performed or reported.
//!
//! Not here: ending the process after a failure (`server`).

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::Error;
use super::room::RoomReport;
use super::store::Store;
use crate::base::{Write, WriteSeq};

/// Orders that may wait. When it is full the disk has stalled for many times what a leader lets be in flight, and
/// whoever writes waits: a write can neither be dropped nor overtaken.
const ORDERS_MAX: usize = 16_384;
/// With so many writes a sync begins, so that the first of them is not kept waiting by all that follow. What was
/// ordered together is never parted.
const BATCH_WRITES_ENOUGH: usize = 1_000;
/// How often the disk is asked for its room, which others may take or give back.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The disk is asked for its room at the latest after so many bytes, or this part of its reserve if that is less.
const LOOK_EVERY_BYTES: u64 = 1 << 20;
const LOOK_EVERY_PART: u64 = 16;

/// What the disk thread says.
#[derive(Debug)]
pub enum Report {
    /// Every write up to `seq` is durable.
    Durable {
        /// The last of them.
        seq: WriteSeq,
        /// How long it took, sync and all.
        took: Duration,
    },
    /// How much room is left: every second, and before a small part of the reserve has been written.
    Room(RoomReport),
    /// The disk cannot be used any more: the process must end.
    Failed(Error),
}

/// The handle of the disk thread.
#[derive(Debug)]
pub struct Writer {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

#[derive(Debug)]
enum Order {
    Writes(Vec<(WriteSeq, Write)>),
    Roll,
}

impl Writer {
    /// Starts the thread; it calls `report`.
    pub fn start(store: Store, report: impl FnMut(Report) + Send + 'static) -> io::Result<Writer> {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let builder = std::thread::Builder::new().name("disk".to_owned());
        let thread = builder.spawn(move || run(store, &inbox, report))?;
        Ok(Writer { orders: Some(orders), thread: Some(thread) })
    }

    /// Orders writes, which go with one sync. After a failure it does nothing: the failure was reported.
    pub fn write(&self, writes: Vec<(WriteSeq, Write)>) {
        self.send(Order::Writes(writes));
    }

    /// Orders a new log file, as before a snapshot is taken.
    pub fn roll(&self) {
        self.send(Order::Roll);
    }

    /// Performs what was ordered, ends the thread and frees the directories.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread is gone only after it reported a failure.
            let _ = orders.send(order);
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.orders = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // The failure was reported by the thread.
            let _ = self.end();
        }
    }
}

fn run(mut store: Store, inbox: &Receiver<Order>, mut report: impl FnMut(Report)) -> Result<(), Error> {
    let mut batch = Vec::new();
    let mut look = Look::now();
    loop {
        if look.is_due() {
            look = Look::at(&mut store, &mut report);
        }
        let first = match inbox.recv_timeout(look.until.saturating_duration_since(Instant::now())) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let mut roll = take(first, &mut batch);
        while !roll && batch.len() < BATCH_WRITES_ENOUGH {
            let Ok(order) = inbox.try_recv() else { break };
            roll = take(order, &mut batch);
        }
        let begun = Instant::now();
        let mut done = store.perform(&batch);
        if roll {
            done = done.and_then(|seq| store.roll().map(|()| seq));
        }
        match done {
            Ok(seq) if !batch.is_empty() => report(Report::Durable { seq, took: begun.elapsed() }),
            Ok(_) => {}
            Err(err) => {
                report(Report::Failed(err.clone()));
                return Err(err);
            }
        }
        batch.iter().for_each(|(_, write)| look.count(write));
        batch.clear();
    }
}

/// When the disk is asked for its room again.
struct Look {
    until: Instant,
    /// Bytes that may be written before.
    bytes: u64,
}

impl Look {
    fn now() -> Look {
        Look { until: Instant::now(), bytes: 0 }
    }

    /// Asks, and answers when to ask again.
    fn at(store: &mut Store, report: &mut impl FnMut(Report)) -> Look {
        let mut bytes = LOOK_EVERY_BYTES;
        match store.room() {
            Ok(room) => {
                if room.reserve_bytes > 0 {
                    bytes = bytes.min(room.reserve_bytes / LOOK_EVERY_PART);
                }
                report(Report::Room(room));
            }
            // No reason to end: if there is none, the next write says so.
            Err(err) => tracing::debug!(%err, "the room on the disk is not known"),
        }
        Look { until: Instant::now() + LOOK_EVERY, bytes }
    }

    fn is_due(&self) -> bool {
        self.bytes == 0 || Instant::now() >= self.until
    }

    fn count(&mut self, write: &Write) {
        let bytes = match write {
            Write::Append { txn, .. } => txn.len() as u64,
            // These write files of their own, or remove some.
            Write::Epochs(_) | Write::Ensemble { .. } | Write::Truncate(_) | Write::Replace { .. } => {
                u64::MAX
            }
        };
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Adds writes to the batch; answers whether the order ends the log file, and with it the batch.
fn take(order: Order, batch: &mut Vec<(WriteSeq, Write)>) -> bool {
    match order {
        Order::Writes(mut writes) => {
            batch.append(&mut writes);
            false
        }
        Order::Roll => true,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use bytes::Bytes;

    use super::*;
    use crate::base::{Room, ServerId, Zxid};
    use crate::storage::sim_disk::{DiskFaults, SimDisk};
    use crate::storage::{Disk, Layout, Options};

    fn open(disk: &SimDisk) -> Store {
        let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
        let options = Options { prealloc_bytes: 0, ..Options::default() };
        let body = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/']);
        Store::open(Arc::new(disk.clone()), layout, options, body).unwrap().0
    }

    fn append(zxid: i64) -> Write {
        let mut txn = vec![0; 32];
        txn[12..20].copy_from_slice(&zxid.to_be_bytes());
        Write::Append { zxid: Zxid(zxid), txn: txn.into() }
    }

    #[test]
    fn all_that_was_ordered_is_durable_after_a_stop() {
        let disk = SimDisk::new(1);
        let (reports, seen) = channel();
        let keep = move |report| {
            if !matches!(report, Report::Room(_)) {
                reports.send(report).unwrap();
            }
        };
        let writer = Writer::start(open(&disk), keep).unwrap();
        for seq in 1..=3_000 {
            writer.write(vec![(WriteSeq(seq), append(seq as i64))]);
            if seq == 2_000 {
                writer.roll();
            }
        }
        writer.stop().unwrap();
        disk.crash();
        let (mut last, mut syncs) = (WriteSeq(0), 0);
        for report in seen {
            let Report::Durable { seq, .. } = report else { panic!("{report:?}") };
            assert!(seq > last);
            (last, syncs) = (seq, syncs + 1);
        }
        assert_eq!(last, WriteSeq(3_000));
        assert!((3..=3_000).contains(&syncs), "a batch is bounded");
        let logs = disk.list(Path::new("/d/version-2")).unwrap();
        let logs: Vec<_> =
            logs.iter().filter(|it| it.name.starts_with("log.")).map(|it| &it.name[..]).collect();
        assert_eq!(logs, ["log.1", "log.7d1"]);
    }

    #[test]
    fn a_failure_is_reported_once_and_ends_the_thread() {
        let disk = SimDisk::new(1);
        let (reports, seen) = channel();
        let keep = move |report| {
            if !matches!(report, Report::Room(_)) {
                reports.send(report).unwrap();
            }
        };
        let writer = Writer::start(open(&disk), keep).unwrap();
        disk.set_faults(DiskFaults { sync_per_mille: 1_000, ..DiskFaults::default() });
        writer.write(vec![(WriteSeq(1), append(1))]);
        let Report::Failed(failure) = seen.recv().unwrap() else { panic!("the sync fails") };
        assert_eq!(failure.to_string(), "sync /d/version-2/log.1: injected sync error");
        disk.set_faults(DiskFaults::default());
        writer.write(vec![(WriteSeq(2), append(2))]);
        assert_eq!(writer.stop().unwrap_err().to_string(), failure.to_string());
        assert!(seen.recv().is_err(), "nothing is reported after a failure");
    }

    #[test]
    fn room_is_told_before_the_disk_is_full_and_when_there_is_some_again() {
        let disk = SimDisk::new(1);
        let (reports, seen) = channel();
        let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
        let options = Options { prealloc_bytes: 0, reserve_bytes: 2_000, ..Options::default() };
        let body = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/']);
        let store = Store::open(Arc::new(disk.clone()), layout, options, body).unwrap().0;
        disk.put(Path::new("/d/other"), &[1; 10_000]);
        disk.set_faults(DiskFaults { capacity_bytes: Some(20_000), ..DiskFaults::default() });
        let keep = move |report| {
            // Nobody listens any more once the test has seen enough.
            let _ = reports.send(report);
        };
        let writer = Writer::start(store, keep).unwrap();
        let until = |room| {
            let mut rooms = seen.iter().filter(|it| matches!(it, Report::Room(it) if it.room == room));
            rooms.next().unwrap()
        };
        until(Room::Enough);
        let mut seq = 0;
        let shrunk = 'low: loop {
            seq += 1;
            writer.write(vec![(WriteSeq(seq), append(seq as i64))]);
            loop {
                match seen.recv().unwrap() {
                    Report::Durable { .. } => break,
                    Report::Room(RoomReport { room: Room::Enough, .. }) => {}
                    Report::Room(it) => break 'low it,
                    Report::Failed(err) => panic!("{err}"),
                }
            }
        };
        assert_eq!(shrunk.room, Room::Low);
        assert!(shrunk.free_bytes > 1_700, "{shrunk:?} is told in time");
        assert!(seq > 100, "{seq} writes went before");
        disk.remove(Path::new("/d/other")).unwrap();
        until(Room::Enough);
        writer.stop().unwrap();
    }
}
