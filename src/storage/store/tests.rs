//! Starts on directories of every kind, and writes that contradict what is there.

mod crash;
mod samples;

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, ServerId, Zxid};
use crate::storage::sim_disk::{DiskFaults, SimDisk};
use crate::storage::snapshot::{Head, write_file};

const EMPTY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/'];
const OTHER: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, b'/'];

fn layout() -> Layout {
    let mut layout = Layout::in_dir(Path::new("/data"), ServerId(1));
    layout.log_dir = "/log".into();
    layout
}

fn options() -> Options {
    Options { prealloc_bytes: 4096, ..Options::default() }
}

fn open_with(disk: &SimDisk, options: Options) -> Result<(Store, Recovered), Error> {
    Store::open(Arc::new(disk.clone()), layout(), options, Bytes::from_static(EMPTY))
}

fn open(disk: &SimDisk) -> (Store, Recovered) {
    open_with(disk, options()).unwrap()
}

fn refusal(disk: &SimDisk) -> String {
    open_with(disk, options()).unwrap_err().to_string()
}

fn append(zxid: Zxid) -> Write {
    let mut txn = vec![0; 40];
    txn[12..20].copy_from_slice(&zxid.0.to_be_bytes());
    Write::Append { zxid, txn: txn.into() }
}

fn perform(store: &mut Store, writes: impl IntoIterator<Item = Write>) -> Result<WriteSeq, Error> {
    let numbered = (store.durable.0 + 1..).map(WriteSeq).zip(writes);
    store.perform(&numbered.collect::<Vec<_>>())
}

fn appends(range: std::ops::RangeInclusive<i64>) -> impl Iterator<Item = Write> {
    range.map(|zxid| append(Zxid(zxid)))
}

fn zxids(recovered: &Recovered) -> Vec<i64> {
    recovered.txns.iter().map(|(zxid, _)| zxid.0).collect()
}

fn names(disk: &SimDisk) -> Vec<String> {
    let files = disk.files();
    files
        .iter()
        .filter_map(|(path, _)| path.to_str())
        .filter(|path| !path.ends_with(".lock"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn an_empty_disk_gets_the_snapshot_of_the_empty_tree() {
    let disk = SimDisk::new(1);
    disk.put(Path::new("/log/initialize"), b"");
    let (_, recovered) = open(&disk);
    let snapshot = recovered.snapshot.clone().unwrap();
    assert_eq!((snapshot.zxid, &snapshot.body[..], snapshot.digest), (Zxid::ZERO, EMPTY, None));
    assert!(recovered.may_vote && recovered.txns.is_empty());
    disk.crash();
    let expected =
        ["/data/version-2/acceptedEpoch", "/data/version-2/currentEpoch", "/data/version-2/snapshot.0"];
    assert_eq!(names(&disk), expected);
    assert_eq!(open(&disk).1, recovered);
}

#[test]
fn an_empty_disk_votes_only_when_that_is_intended() {
    let careful = Options { db_autocreate: false, ..options() };
    let disk = SimDisk::new(1);
    let (mut store, recovered) = open_with(&disk, careful.clone()).unwrap();
    assert!(!recovered.may_vote && recovered.snapshot.is_none());
    assert_eq!(recovered.last_zxid(), Zxid::NONE);
    let error = perform(&mut store, appends(1..=1)).unwrap_err();
    assert!(error.to_string().contains("is empty and not trusted"), "{error}");
    drop(store);
    let (mut store, _) = open_with(&disk, careful.clone()).unwrap();
    let body = Bytes::from_static(OTHER);
    perform(&mut store, [Write::Replace { zxid: Zxid(5), body, digest: 3 }, append(Zxid(6))]).unwrap();
    drop(store);
    let (_, recovered) = open_with(&disk, careful.clone()).unwrap();
    assert!(recovered.may_vote);
    assert_eq!(recovered.last_zxid(), Zxid(6));

    let stated = SimDisk::new(1);
    stated.put(Path::new("/log/initialize"), b"");
    assert!(open_with(&stated, careful).unwrap().1.may_vote);
}

#[test]
fn directories_are_locked() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    assert_eq!(refusal(&disk), "/data/quorate.lock is locked: another process uses this directory");
    drop(store);
    open(&disk);
}

#[test]
fn directories_are_created_only_if_settings_allow() {
    let disk = SimDisk::new(1);
    let error = open_with(&disk, Options { dir_autocreate: false, ..options() }).unwrap_err();
    assert_eq!(error.to_string(), "/data/version-2 does not exist, and datadir.autocreate is false");
    disk.put(Path::new("/data/version-2/log.1"), b"");
    assert!(refusal(&disk).starts_with("/data/version-2/log.1 belongs into /log/version-2"));
}

#[test]
fn a_log_without_a_snapshot_needs_a_word() {
    let disk = SimDisk::new(1);
    perform(&mut open(&disk).0, appends(1..=3)).unwrap();
    disk.remove(Path::new("/data/version-2/snapshot.0")).unwrap();
    assert!(refusal(&disk).starts_with("no snapshot in /data/version-2 for the txns in /log/version-2"));
    let (_, recovered) = open_with(&disk, Options { trust_empty: true, ..options() }).unwrap();
    assert_eq!((recovered.snapshot.is_none(), zxids(&recovered)), (true, vec![1, 2, 3]));
}

#[test]
fn a_broken_snapshot_is_passed_over_if_the_log_allows() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    perform(&mut store, appends(1..=4)).unwrap();
    store.roll().unwrap();
    store.snapshots().write(Zxid(4), 8, |out| out.write_all(OTHER)).unwrap();
    perform(&mut store, appends(5..=6)).unwrap();
    drop(store);
    let (store, recovered) = open(&disk);
    assert_eq!(
        recovered.snapshot.as_ref().map(|it| (it.zxid, it.digest)),
        Some((Zxid(4), Some((Zxid(4), 8))))
    );
    assert_eq!(zxids(&recovered), [5, 6]);
    drop(store);

    disk.flip_bit(Path::new("/data/version-2/snapshot.4"), 20, 0);
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.snapshot.as_ref().map(|it| it.zxid), Some(Zxid::ZERO));
    assert_eq!(zxids(&recovered), [1, 2, 3, 4, 5, 6]);
    drop(store);

    disk.remove(Path::new("/log/version-2/log.1")).unwrap();
    assert!(refusal(&disk).contains("/log/version-2/log.5 goes on with 0x5"));
    disk.remove(Path::new("/data/version-2/snapshot.0")).unwrap();
    let error = refusal(&disk);
    assert!(
        error.starts_with("none of the 1 snapshots in /data/version-2 can be used; the newest, snapshot.4:")
    );
}

#[test]
fn a_snapshot_that_shows_more_than_the_log_holds_is_not_used() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    perform(&mut store, appends(1..=4)).unwrap();
    drop(store);
    // As Apache ZooKeeper writes it while txns go on: the name says 2, the sections say 9.
    let path = Path::new("/data/version-2/snapshot.2");
    let head = Head { zxid: Zxid(9), digest: 7, compression: Compression::None };
    write_file(&disk, path, head, |out| out.write_all(OTHER)).unwrap();
    let (mut store, recovered) = open(&disk);
    assert_eq!(recovered.snapshot.map(|it| it.zxid), Some(Zxid::ZERO));
    perform(&mut store, appends(5..=9)).unwrap();
    drop(store);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.snapshot.map(|it| (it.zxid, it.digest)), Some((Zxid(2), Some((Zxid(9), 7)))));
}

#[test]
fn a_cut_removes_txns_and_snapshots() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    perform(&mut store, appends(1..=4)).unwrap();
    store.roll().unwrap();
    perform(&mut store, appends(5..=8)).unwrap();
    store.snapshots().write(Zxid(4), 1, |out| out.write_all(OTHER)).unwrap();
    store.snapshots().write(Zxid(7), 1, |out| out.write_all(OTHER)).unwrap();
    perform(&mut store, [Write::Truncate(Zxid(6))]).unwrap();
    let next = Zxid::new(Epoch(1), 1);
    perform(&mut store, [append(next)]).unwrap();
    drop(store);
    let (mut store, recovered) = open(&disk);
    assert_eq!(recovered.snapshot.as_ref().map(|it| it.zxid), Some(Zxid(4)));
    assert_eq!(zxids(&recovered), [5, 6, next.0]);
    perform(&mut store, [Write::Truncate(next)]).unwrap();
    perform(&mut store, [Write::Truncate(Zxid::ZERO), append(Zxid(1))]).unwrap();
    drop(store);
    assert_eq!(zxids(&open(&disk).1), [1]);
}

#[test]
fn a_cut_to_what_is_not_there_changes_nothing() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    perform(&mut store, appends(1..=4)).unwrap();
    let error = perform(&mut store, [Write::Truncate(Zxid(9))]).unwrap_err();
    let expected =
        "a cut to 0x9 contradicts the history on disk, which holds neither such a txn nor such a snapshot";
    assert_eq!(error.to_string(), expected);
    let again = perform(&mut store, appends(5..=5)).unwrap_err();
    assert_eq!(again.to_string(), expected, "an error is final");
    drop(store);
    assert_eq!(zxids(&open(&disk).1), [1, 2, 3, 4]);
}

#[test]
fn a_replaced_history_leaves_nothing_of_the_old() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    perform(&mut store, appends(1..=9)).unwrap();
    store.snapshots().write(Zxid(8), 1, |out| out.write_all(EMPTY)).unwrap();
    let body = Bytes::from_static(OTHER);
    // The leader never had 6 to 9.
    perform(&mut store, [Write::Replace { zxid: Zxid(5), body: body.clone(), digest: 3 }]).unwrap();
    let next = Zxid::new(Epoch(1), 1);
    perform(&mut store, [append(next)]).unwrap();
    drop(store);
    disk.crash();
    let (_, recovered) = open(&disk);
    let snapshot = recovered.snapshot.clone().unwrap();
    assert_eq!((snapshot.zxid, snapshot.body, snapshot.digest), (Zxid(5), body, Some((Zxid(5), 3))));
    assert_eq!(zxids(&recovered), [next.0]);
}

#[test]
fn epochs_and_membership_come_back() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    let epochs = Epochs { accepted: Epoch(3), current: Epoch(2) };
    let current = "server.1=a:1:2:participant\nversion=200000001".to_owned();
    let proposed = Some("server.1=a:1:2:observer\nversion=200000005".to_owned());
    let ensemble = Write::Ensemble { current: current.clone(), proposed: proposed.clone() };
    perform(&mut store, [Write::Epochs(epochs), ensemble]).unwrap();
    drop(store);
    disk.crash();
    let (mut store, recovered) = open(&disk);
    assert_eq!(recovered.epochs, epochs);
    assert_eq!((recovered.ensemble_current, recovered.ensemble_proposed), (Some(current), proposed));
    let lower = Epochs { accepted: Epoch(2), current: Epoch(2) };
    assert!(perform(&mut store, [Write::Epochs(lower)]).is_err());
}

#[test]
fn an_error_is_final() {
    let disk = SimDisk::new(1);
    let (mut store, _) = open(&disk);
    perform(&mut store, appends(1..=2)).unwrap();
    disk.set_faults(DiskFaults { capacity_bytes: Some(0), ..DiskFaults::default() });
    perform(&mut store, appends(3..=3)).unwrap();
    let full = perform(&mut store, appends(4..=200)).unwrap_err().to_string();
    assert!(full.starts_with("write to /log/version-2/log.1:"), "{full}");
    disk.set_faults(DiskFaults::default());
    assert_eq!(perform(&mut store, appends(201..=201)).unwrap_err().to_string(), full);
    assert_eq!(store.roll().unwrap_err().to_string(), full);
    drop(store);
    let (_, recovered) = open(&disk);
    assert!(zxids(&recovered).starts_with(&[1, 2, 3]));
}

#[test]
fn a_marker_that_makes_no_sense_is_refused() {
    let disk = SimDisk::new(1);
    drop(open(&disk));
    disk.put(Path::new("/log/version-2/quorate-marker"), b"rewind 5");
    assert!(refusal(&disk).starts_with("/log/version-2/quorate-marker holds \"rewind 5\""));
}

#[test]
fn leftovers_go_and_look_alikes_stay() {
    let disk = SimDisk::new(1);
    drop(open(&disk));
    for name in ["acceptedEpoch.tmp", "currentEpoch.tmp", "quorate-snapshot.5.tmp", "quorate-replacement.tmp"]
    {
        disk.put(&Path::new("/data/version-2").join(name), b"9");
    }
    disk.put(Path::new("/data/version-2/snapshot.5.tmp"), b"Apache's");
    drop(open(&disk));
    assert!(names(&disk).iter().filter(|name| name.ends_with(".tmp")).eq(["/data/version-2/snapshot.5.tmp"]));
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(
        files in proptest::collection::vec((0usize..8, proptest::collection::vec(any::<u8>(), 0..120), any::<bool>()), 1..5)
    ) {
        let disk = SimDisk::new(1);
        drop(open(&disk));
        for (which, bytes, headed) in files {
            let (path, header): (_, &[u8]) = match which {
                0 => ("/log/version-2/log.1", b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0"),
                1 => ("/log/version-2/log.5", b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0"),
                2 => ("/data/version-2/snapshot.3", b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0"),
                3 => ("/data/version-2/acceptedEpoch", b"1"),
                4 => ("/data/version-2/currentEpoch", b"1"),
                5 => ("/log/version-2/quorate-marker", b"truncate "),
                6 => ("/data/zoo.cfg.dynamic.5", b"server.1=a:1:2\n"),
                _ => ("/data/zoo.cfg.dynamic.next", b"version=6\n"),
            };
            disk.put(Path::new(path), &if headed { [header, &bytes].concat() } else { bytes });
        }
        let _ = open_with(&disk, options());
    }
}
