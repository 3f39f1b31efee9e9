//! The disk thread: gathers writes while the disk is busy, and performs them with one sync.
//!
//! In: writes in order, from the server's loop. Out: reports of what is durable.
//!
//! Always true:
//! * an idle disk begins at once; whatever came in during one sync goes with the next;
//! * writes are performed in the order given, also those that the loop performs itself on an idle disk.
//!
//! Not here: how a write is performed (`hand`), ending the process after a failure (`server`).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::error::Error;
use super::hand::{Behind, Hand, Report};
use super::store::Store;
use crate::base::{Write, WriteSeq};

/// Orders that may wait. When it is full the disk has stalled for many times what a leader lets be in flight, and
/// whoever writes waits: a write can neither be dropped nor overtaken.
const ORDERS_MAX: usize = 16_384;
/// With so many writes a sync begins, so that the first of them is not kept waiting by all that follow, and that what
/// is durable is applied while the next are written. What was ordered together is never parted.
const BATCH_WRITES_ENOUGH: usize = 256;

/// The handle of the disk thread.
#[derive(Debug)]
pub struct Writer {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hand: Mutex<Hand>,
    /// Orders that the thread has not performed.
    waiting: AtomicUsize,
}

/// Writes that were not performed: the disk thread has something to do before them.
#[derive(Debug)]
pub struct Busy(pub Vec<(WriteSeq, Write)>);

#[derive(Debug)]
enum Order {
    Writes(Vec<(WriteSeq, Write)>),
    Roll,
}

impl Writer {
    /// Starts the thread; `report` is called by whoever performs writes.
    pub fn start(store: Store, report: impl FnMut(Report) + Send + 'static) -> io::Result<Writer> {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let hand = Mutex::new(Hand::new(store, report));
        let shared = Arc::new(Shared { hand, waiting: AtomicUsize::new(0) });
        let of_thread = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("disk".to_owned());
        let thread = builder.spawn(move || run(&of_thread, &inbox))?;
        Ok(Writer { orders: Some(orders), thread: Some(thread), shared })
    }

    /// Orders writes, which go with one sync. After a failure it does nothing: the failure was reported.
    pub fn write(&self, writes: Vec<(WriteSeq, Write)>) {
        self.send(Order::Writes(writes));
    }

    /// Performs writes on the caller's own thread, which waits for the disk: where it has nothing else to do, that is
    /// sooner than two hand-overs. After a failure it does nothing: the failure was reported.
    pub fn write_here(&self, writes: Vec<(WriteSeq, Write)>) -> Result<(), Busy> {
        if self.shared.waiting.load(Ordering::Acquire) > 0 {
            return Err(Busy(writes));
        }
        let mut hand = self.shared.hand();
        if hand.perform(&writes, Behind::GoOn, || {}).is_ok() {
            hand.look();
        }
        Ok(())
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
            self.shared.waiting.fetch_add(1, Ordering::AcqRel);
            // The thread is gone only after it reported a failure.
            let _ = orders.send(order);
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.orders = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done.and_then(|()| self.shared.hand().failure()),
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

impl Shared {
    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Shared, inbox: &Receiver<Order>) -> Result<(), Error> {
    let mut batch = Vec::new();
    loop {
        let pause = shared.hand().look();
        let first = match inbox.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let mut taken = 1;
        let mut behind = take(first, &mut batch);
        while behind == Behind::GoOn && batch.len() < BATCH_WRITES_ENOUGH {
            let Ok(order) = inbox.try_recv() else { break };
            behind = take(order, &mut batch);
            taken += 1;
        }
        let done = || {
            shared.waiting.fetch_sub(taken, Ordering::AcqRel);
        };
        shared.hand().perform(&batch, behind, done)?;
        batch.clear();
    }
}

/// Adds writes to the batch, or ends it and the log file with it.
fn take(order: Order, batch: &mut Vec<(WriteSeq, Write)>) -> Behind {
    match order {
        Order::Writes(mut writes) => {
            batch.append(&mut writes);
            Behind::GoOn
        }
        Order::Roll => Behind::Roll,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::mpsc::{self, channel};

    use bytes::Bytes;

    use super::*;
    use crate::base::{Recovered, Room, ServerId, Zxid};
    use crate::storage::sim_disk::{DiskFaults, SimDisk};
    use crate::storage::{Disk, Layout, Options, RoomReport};

    fn open(disk: &SimDisk) -> Store {
        reopen(disk).0
    }

    fn reopen(disk: &SimDisk) -> (Store, Recovered) {
        let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
        let options = Options { prealloc_bytes: 0, ..Options::default() };
        let body = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/']);
        Store::open(Arc::new(disk.clone()), layout, options, body).unwrap()
    }

    /// A writer, and what it reports, the room left out.
    fn start(disk: &SimDisk) -> (Writer, mpsc::Receiver<Report>) {
        let (reports, seen) = channel();
        let keep = move |report| {
            if !matches!(report, Report::Room(_)) {
                reports.send(report).unwrap();
            }
        };
        (Writer::start(open(disk), keep).unwrap(), seen)
    }

    fn append(zxid: i64) -> Write {
        let mut txn = vec![0; 32];
        txn[12..20].copy_from_slice(&zxid.to_be_bytes());
        Write::Append { zxid: Zxid(zxid), txn: txn.into() }
    }

    #[test]
    fn all_that_was_ordered_is_durable_after_a_stop() {
        let disk = SimDisk::new(1);
        let (writer, seen) = start(&disk);
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
    fn writes_of_the_caller_keep_their_place_among_those_of_the_thread() {
        let disk = SimDisk::new(1);
        let (reports, seen) = channel();
        let keep = move |report| {
            if let Report::Durable { seq, .. } = report {
                reports.send(seq).unwrap();
            }
        };
        let writer = Writer::start(open(&disk), keep).unwrap();
        for seq in 1..=2_000 {
            let write = vec![(WriteSeq(seq), append(seq as i64))];
            match seq % 3 {
                0 => writer.write(write),
                _ => match writer.write_here(write) {
                    Ok(()) => {}
                    Err(Busy(write)) => writer.write(write),
                },
            }
        }
        // Idle in the end: what comes now is the caller's.
        let mut last = vec![(WriteSeq(2_001), append(2_001))];
        while let Err(Busy(back)) = writer.write_here(last) {
            last = back;
            std::thread::yield_now();
        }
        assert_eq!(seen.try_iter().last(), Some(WriteSeq(2_001)), "it is durable when the call returns");
        writer.stop().unwrap();
        disk.crash();
        let (_, recovered) = reopen(&disk);
        assert_eq!(recovered.txns.len(), 2_001);
    }

    #[test]
    fn a_failure_of_the_callers_write_ends_the_thread_too() {
        let disk = SimDisk::new(1);
        let (writer, seen) = start(&disk);
        disk.set_faults(DiskFaults { sync_per_mille: 1_000, ..DiskFaults::default() });
        writer.write_here(vec![(WriteSeq(1), append(1))]).unwrap();
        assert!(matches!(seen.recv().unwrap(), Report::Failed(_)));
        disk.set_faults(DiskFaults::default());
        writer.write(vec![(WriteSeq(2), append(2))]);
        assert_eq!(writer.stop().unwrap_err().to_string(), "sync /d/version-2/log.1: injected sync error");
        assert!(seen.recv().is_err(), "nothing is reported after a failure");
    }

    #[test]
    fn a_failure_is_reported_once_and_ends_the_thread() {
        let disk = SimDisk::new(1);
        let (writer, seen) = start(&disk);
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
