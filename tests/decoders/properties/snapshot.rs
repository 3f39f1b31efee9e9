//! A snapshot file: the first byte says how it is compressed, and what the rest is.
//!
//! Either the whole file, or only its body, which is sealed before it is read, so that what stands behind the
//! checksums is reached.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate::base::{Compression, ServerId, Zxid};
use quorate::storage::inspect::{SnapshotSummary, check_snapshot, read_snapshot};
use quorate::storage::{Disk, Layout, Options, SimDisk, Store};
use quorate::tree::Tree;

use super::txns::same_from_its_snapshot;

const ZXID: Zxid = Zxid(0x1_0000_0005);

pub fn judge(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let compression = [Compression::None, Compression::Gzip, Compression::Snappy][usize::from(first % 3)];
    if first & 0x80 == 0 { file(compression, rest) } else { body(compression, Bytes::copy_from_slice(rest)) }
}

fn file(compression: Compression, content: &[u8]) {
    let disk = SimDisk::new(1);
    let path = path(compression);
    disk.put(&path, content);
    if let Some((summary, body)) = read(&disk, &path)
        && let Ok(tree) = Tree::from_body(ZXID, body, summary.digest)
    {
        same_from_its_snapshot(&tree);
    }
}

fn body(compression: Compression, body: Bytes) {
    let Ok(tree) = Tree::from_body(ZXID, body.clone(), None) else { return };
    same_from_its_snapshot(&tree);
    let disk = written(compression, &body, tree.digest());
    let (summary, again) = read(&disk, &path(compression)).expect("it was written");
    assert_eq!(again, body);
    assert_eq!((summary.digest, summary.last_processed), (Some((ZXID, tree.digest())), Some(ZXID)));
}

/// A disk with this one snapshot.
pub fn written(compression: Compression, body: &Bytes, digest: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let options = Options { compression, prealloc_bytes: 0, ..Options::default() };
    let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
    let (store, _) =
        Store::open(Arc::new(disk.clone()), layout, options, body.clone()).expect("an empty disk");
    store.snapshots().write(ZXID, digest, |out| out.write_all(body)).expect("the disk takes it");
    disk
}

pub fn path(compression: Compression) -> std::path::PathBuf {
    let suffix = match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Snappy => ".snappy",
    };
    format!("/d/version-2/snapshot.{:x}{suffix}", ZXID.0).into()
}

/// What a file holds; both ways to read it agree, and an error names the file and the place.
pub fn read(disk: &dyn Disk, path: &Path) -> Option<(SnapshotSummary, Bytes)> {
    match (check_snapshot(disk, path), read_snapshot(disk, path)) {
        (Ok(checked), Ok((summary, body))) => {
            assert_eq!(checked, summary);
            assert_eq!(summary.body_bytes, body.len() as u64);
            Some((summary, body))
        }
        (Err(checked), Err(read)) => {
            for text in [checked.to_string(), read.to_string()] {
                let start = format!("{} is damaged at offset ", path.display());
                assert!(text.starts_with(&start), "{text}");
            }
            None
        }
        (checked, read) => panic!("checked: {checked:?}, read: {read:?}"),
    }
}
