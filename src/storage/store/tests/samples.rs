//! Directories written by Apache ZooKeeper 3.9.5, without their padding: what is in them is found.
//!
//! In: `tests/data/zookeeper-3.9.5`: a standalone server with `snapCount=100`; a member that led two epochs; a member
//! that was killed and joined again. Out: snapshot, txns and epochs.
//!
//! Always true:
//! * every txn of the directory is found, whichever snapshot is used.
//!
//! Not here: what the txns and nodes mean (`tree`).

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::*;
use crate::base::{Epoch, ServerId, Zxid};
use crate::storage::sim_disk::SimDisk;
use crate::storage::snapshot::{Head, write_file};

/// A copy of `tests/data/zookeeper-3.9.5/<name>`, with padding behind the logs.
fn sample(name: &str) -> SimDisk {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zookeeper-3.9.5").join(name);
    let disk = SimDisk::new(1);
    for entry in std::fs::read_dir(root.join("version-2")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        if name.starts_with("log.") {
            bytes.resize(bytes.len() + 5_000, 0);
        }
        disk.put(&Path::new("/d/version-2").join(name), &bytes);
    }
    disk
}

fn open(disk: &SimDisk) -> Recovered {
    let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
    Store::open(Arc::new(disk.clone()), layout, Options::default(), Bytes::new()).unwrap().1
}

fn file(disk: &SimDisk, name: &str) -> PathBuf {
    let path = Path::new("/d/version-2").join(name);
    assert!(disk.read(&path).is_ok(), "{name}");
    path
}

#[test]
fn a_standalone_server() {
    let disk = sample("standalone");
    let found = open(&disk);
    let snapshot = found.snapshot.as_ref().unwrap();
    assert_eq!(snapshot.zxid, Zxid(0x95));
    assert_eq!((found.txns[0].0, found.last_zxid()), (Zxid(0x96), Zxid(0xa4)));
    // It was written while txns went on, so that it may show effects of later ones.
    assert!(snapshot.digest.is_some_and(|(zxid, _)| (snapshot.zxid..=found.last_zxid()).contains(&zxid)));
    assert_eq!(found.epochs, Epochs::default());

    // Without its newest snapshot it goes on from an older one, with more txns.
    disk.remove(&file(&disk, "snapshot.95")).unwrap();
    let found = open(&disk);
    assert_eq!(found.snapshot.as_ref().map(|it| it.zxid), Some(Zxid(0x3c)));
    assert_eq!((found.txns[0].0, found.last_zxid()), (Zxid(0x3d), Zxid(0xa4)));
    disk.remove(&file(&disk, "snapshot.3c")).unwrap();
    let found = open(&disk);
    assert_eq!((found.txns[0].0, found.txns.len()), (Zxid(1), 0xa4));
}

#[test]
fn the_seals_of_an_empty_trees_snapshot_are_written_alike() {
    let disk = sample("member");
    let bytes = disk.read(&file(&disk, "snapshot.0")).unwrap();
    let path = Path::new("/d/ours");
    let body = &bytes[16..597];
    let head = Head { zxid: Zxid::ZERO, digest: 0, compression: Compression::None };
    write_file(&disk, path, head, |out| out.write_all(body)).unwrap();
    assert_eq!(disk.read(path).unwrap(), bytes);
}

#[test]
fn a_member_that_led() {
    let found = open(&sample("member"));
    assert_eq!(found.snapshot.as_ref().map(|it| it.zxid), Some(Zxid::new(Epoch(1), 0x4c)));
    assert_eq!(found.epochs, Epochs { accepted: Epoch(2), current: Epoch(2) });
    assert_eq!(found.txns[0].0, Zxid::new(Epoch(2), 1));
}

#[test]
fn a_member_that_was_killed_and_joined_again() {
    let found = open(&sample("rejoined"));
    assert_eq!(found.snapshot.as_ref().map(|it| it.zxid), Some(Zxid::ZERO));
    assert_eq!(found.epochs, Epochs { accepted: Epoch(2), current: Epoch(2) });
    assert_eq!(found.txns[0].0, Zxid::new(Epoch(1), 1));
    let of_first = found.txns.iter().filter(|(zxid, _)| zxid.epoch() == Epoch(1)).count();
    assert_eq!(of_first, 0x4c, "one for each, over two files");
}
