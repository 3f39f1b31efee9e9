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
/// How often an idle disk is asked for its room, which others may take or give back.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// How much room is left: after every batch, and every second while there is none.
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
    loop {
        match store.room() {
            Ok(room) => report(Report::Room(room)),
            // No reason to end: if there is none, the next write says so.
            Err(err) => tracing::debug!(%err, "the room on the disk is not known"),
        }
        let first = match inbox.recv_timeout(LOOK_EVERY) {
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
        batch.clear();
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
            if let Report::Room(it) = report {
                // Nobody listens any more once the test has seen enough.
                let _ = reports.send(it.room);
            }
        };
        let writer = Writer::start(store, keep).unwrap();
        let until = |room| seen.iter().find(|it| *it == room).unwrap();
        until(Room::Enough);
        let mut seq = 0;
        let shrunk = loop {
            seq += 1;
            writer.write(vec![(WriteSeq(seq), append(seq as i64))]);
            match seen.recv().unwrap() {
                Room::Enough => {}
                room => break room,
            }
        };
        assert_eq!(shrunk, Room::Low);
        assert!(seq > 100, "{seq} writes went before");
        disk.remove(Path::new("/d/other")).unwrap();
        until(Room::Enough);
        writer.stop().unwrap();
    }
}
