//! A history that was written, then damaged in one place: a start refuses it, or goes on with a prefix of it.
//!
//! The first four bytes are the damage: its kind, which file, and where; each further byte is a txn, and says how long its
//! body is, and whether a file begins with it. Or they are the body of a snapshot.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate::base::{Compression, Epoch, Epochs, ServerId, Write, WriteSeq, Zxid};
use quorate::storage::{Disk, Layout, Options, SimDisk, Store};
use quorate::tree::Tree;

use super::{EMPTY_BODY, log, snapshot};

/// A byte from here on begins a new log file before its txn.
const NEW_FILE: u8 = 0xe0;
/// More txns show nothing more.
const TXNS_MAX: usize = 40;

pub fn judge(input: &[u8]) {
    let Some(([kind, file, high, low], txns)) = input.split_first_chunk() else { return };
    let place = usize::from(u16::from_be_bytes([*high, *low]));
    if kind & 0x80 != 0 {
        return of_snapshot(*kind, place, txns);
    }
    let (disk, written) = history(txns);
    let files = disk.files();
    let (path, _) = &files[usize::from(*file) % files.len()];
    damage(&disk, path, *kind, place);
    if let Some(recovered) = log::start(&disk) {
        let count = recovered.txns.len();
        assert!(written.get(..count) == Some(&recovered.txns[..]), "no prefix: {count} of {}", written.len());
    }
}

/// A disk with these txns, and the txns.
fn history(bodies: &[u8]) -> (SimDisk, Vec<(Zxid, Bytes)>) {
    let disk = SimDisk::new(1);
    let options = Options { prealloc_bytes: 64, ..Options::default() };
    let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
    let empty = Bytes::from_static(EMPTY_BODY);
    let (mut store, _) = Store::open(Arc::new(disk.clone()), layout, options, empty).expect("an empty disk");
    let epochs = Epochs { accepted: Epoch(0), current: Epoch(0) };
    let (mut written, mut batch) = (Vec::new(), vec![(WriteSeq(0), Write::Epochs(epochs))]);
    for (number, body) in (1u64..).zip(bodies.iter().take(TXNS_MAX)) {
        if *body >= NEW_FILE {
            store.perform(&batch).and_then(|_| store.roll()).expect("the disk takes it");
            batch.clear();
        }
        let zxid = Zxid(number as i64);
        let mut txn = vec![*body; 32 + usize::from(*body % NEW_FILE)];
        txn[12..20].copy_from_slice(&zxid.0.to_be_bytes());
        let txn = Bytes::from(txn);
        written.push((zxid, txn.clone()));
        batch.push((WriteSeq(number), Write::Append { zxid, txn }));
    }
    store.perform(&batch).expect("the disk takes it");
    (disk, written)
}

/// A bit flipped, the file cut, or bytes behind its end.
fn damage(disk: &SimDisk, path: &Path, kind: u8, place: usize) {
    let mut content = disk.read(path).expect("the file exists");
    let at = place % content.len().max(1);
    match kind % 3 {
        0 => content.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (kind / 3 % 8)),
        1 => content.truncate(at),
        _ => content.extend(std::iter::repeat_n(kind, place % 64)),
    }
    disk.put(path, &content);
}

fn of_snapshot(kind: u8, place: usize, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let Ok(tree) = Tree::from_body(Zxid(1), body.clone(), None) else { return };
    let compression = [Compression::None, Compression::Gzip, Compression::Snappy][usize::from(kind >> 4) % 3];
    let disk = snapshot::written(compression, &body, tree.digest());
    let path = snapshot::path(compression);
    damage(&disk, &path, kind, place);
    // What the damage does not touch, as a time in gzip's header, or a section of newer releases, may be read.
    if let Some((_, again)) = snapshot::read(&disk, &path) {
        assert_eq!(again, body);
    }
}
