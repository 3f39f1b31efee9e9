//! A log file: if the first byte is odd, checksums and ends of entries are set right before it is read, so that what
//! stands behind them is reached.

use std::path::Path;
use std::sync::Arc;

use adler2::adler32_slice;
use bytes::Bytes;
use quorate::base::{Recovered, ServerId};
use quorate::storage::inspect::{check_log, examine, read_log};
use quorate::storage::{Error, Layout, Options, SimDisk, Store};

use super::EMPTY_BODY;

const HEADER_BYTES: usize = 16;
const TXN_BYTES_MAX: u32 = 1 << 20;

pub fn judge(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let mut content = rest.to_vec();
    if first & 1 == 1 {
        set_right(&mut content);
    }
    let path = Path::new("/d/version-2/log.1");
    let disk = SimDisk::new(1);
    disk.put(path, &content);
    let walked = read_log(&disk, path, TXN_BYTES_MAX).expect("a file that exists");
    match check_log(&disk, path, TXN_BYTES_MAX) {
        Ok(summary) => {
            let whole = walked.txns.iter().take_while(|txn| txn.mismatch.is_none()).count();
            assert_eq!(summary.txn_count, whole, "what a start takes is what is shown as whole");
        }
        Err(error) => names_the_place(&error),
    }
    let Some(recovered) = start(&disk) else { return };
    let shown: Vec<_> = walked.txns.into_iter().map(|txn| (txn.zxid, txn.txn)).collect();
    let mut zxids: Vec<_> = recovered.txns.iter().map(|(zxid, _)| *zxid).collect();
    for txn in &recovered.txns {
        assert!(shown.contains(txn), "{} is not in the file", txn.0);
    }
    zxids.dedup();
    assert!(zxids.is_sorted() && zxids.len() == recovered.txns.len(), "ascending");
}

/// Checksum and end of every entry whose length fits.
fn set_right(content: &mut [u8]) {
    let mut at = HEADER_BYTES;
    while let Some(length) = content.get(at + 8..at + 12) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        let start = at + 12;
        let Some(payload) = content.get(start..start + length) else { return };
        let checksum = u64::from(adler32_slice(payload));
        if length == 0 || start + length >= content.len() {
            return;
        }
        content[at..at + 8].copy_from_slice(&checksum.to_be_bytes());
        content[start + length] = b'B';
        at = start + length + 1;
    }
}

/// What a start makes of the disk. A second one makes the same of what the first left; what refuses one names the place.
pub fn start(disk: &SimDisk) -> Option<Recovered> {
    let open = || {
        let options = Options { trust_empty: true, prealloc_bytes: 0, ..Options::default() };
        let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
        let found = examine(disk, &layout, &options).map(|found| found.txns);
        let opened = Store::open(Arc::new(disk.clone()), layout, options, Bytes::from_static(EMPTY_BODY));
        (found, opened.map(|(_, recovered)| recovered))
    };
    match open() {
        (Ok(found), Ok(recovered)) => {
            assert_eq!(found, recovered.txns, "what the tools say is what a start does");
            let (_, again) = open();
            assert_eq!(again.expect("it was mended").txns, recovered.txns);
            Some(recovered)
        }
        (Err(found), Err(error)) => {
            assert_eq!(found.to_string(), error.to_string());
            names_the_place(&error);
            None
        }
        (found, opened) => panic!("examined: {found:?}, opened: {opened:?}"),
    }
}

fn names_the_place(error: &Error) {
    let text = error.to_string();
    let of_epochs = matches!(error, Error::Content { .. });
    assert!(text.contains("/d/version-2") && (of_epochs || text.contains("offset")), "{text}");
}
