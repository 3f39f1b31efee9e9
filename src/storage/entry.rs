//! One log file as bytes: its header, its entries, and where it ends.
//!
//! In: txns, or the bytes of a file. Out: bytes, or every entry that is whole, and what follows the last one.
//!
//! Always true:
//! * a file whose damage is followed by a whole entry is an error; damage that nothing follows is a torn tail;
//! * no bytes make it panic, and nothing is allocated by a length that the file cannot hold.
//!
//! Why damage before a whole entry is refused even in the last batch of the newest file: a power cut may lose earlier
//! pages of a batch that was never synced and keep later ones, and then nothing acknowledged is missing. But a batch that
//! was synced, acknowledged and damaged afterwards leaves the same bytes. Nothing that is written along with the batch
//! tells the two apart, since it may arrive before the rest; only what is synced between the batch and its
//! acknowledgement could, a second sync for each batch. So the bytes prove nothing, and a member that dropped what it had
//! acknowledged would vote as if it had never had it. It gets level from its peers once its data is taken away: an empty
//! disk does not vote before that.
//!
//! Not here: which files belong together (`replay`), appending (`log`).

use std::ops::Range;
use std::path::Path;

use adler2::adler32_slice;

use super::error::Error;
use crate::base::Zxid;

/// "ZKLG", version 2, database 0.
pub(super) const HEADER: [u8; 16] = [0x5a, 0x4b, 0x4c, 0x47, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
/// Checksum and length before the payload.
const PREFIX_BYTES: usize = 12;
/// Ends an entry.
const END: u8 = b'B';
/// Session, client's number, zxid, time and type.
const TXN_HEADER_BYTES: usize = 32;
/// The type of a txn that only says an error.
const TYPE_ERROR: i32 = -1;

/// A whole entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The txn's place.
    pub zxid: Zxid,
    /// The txn only says an error.
    pub is_error: bool,
    /// The entry's place in the file.
    pub offset: usize,
    /// The txn's place in the file.
    pub payload: Range<usize>,
}

/// A file that was looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Every entry, in the file's order.
    pub entries: Vec<Entry>,
    /// Where the last entry ends; 0 if not even the header is whole.
    pub end: usize,
    /// What is wrong at `end`; `None` if nothing but padding follows.
    pub torn: Option<String>,
}

/// A file that was walked through, whatever is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// Every entry with a frame, and what is wrong with its checksum.
    pub entries: Vec<(Entry, Option<String>)>,
    /// Where the last of them ends; 0 if not even the header is whole.
    pub end: usize,
    /// What is wrong at `end`; `None` if nothing but padding follows.
    pub broken: Option<String>,
}

/// How many bytes the entry of a txn takes.
pub(super) fn bytes_of(txn: &[u8]) -> usize {
    PREFIX_BYTES + txn.len() + 1
}

/// Appends an entry, of [`bytes_of`] bytes.
pub(super) fn encode(txn: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&u64::from(adler32_slice(txn)).to_be_bytes());
    let len = u32::try_from(txn.len()).expect("a txn's length was checked against the limit");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(txn);
    out.push(END);
}

/// The zxid in a txn's header; `None` if the txn is shorter than a header.
pub(super) fn zxid_of(txn: &[u8]) -> Option<Zxid> {
    let header = txn.get(..TXN_HEADER_BYTES)?;
    Some(Zxid(i64::from_be_bytes(header[12..20].try_into().expect("eight bytes"))))
}

/// Looks a file through. An entry may hold up to `txn_bytes_max` bytes.
pub(super) fn scan(path: &Path, bytes: &[u8], txn_bytes_max: u32) -> Result<Scan, Error> {
    let mut scan = Scan { entries: Vec::new(), end: 0, torn: None };
    if bytes.len() < HEADER.len() || bytes[..4] != HEADER[..4] {
        if follows(bytes, 0, Zxid(i64::MIN), txn_bytes_max) {
            return Err(Error::damaged(path, 0, "the header is not that of a log, but txns follow"));
        }
        scan.torn = Some("the header is not whole".to_owned());
        return Ok(scan);
    }
    scan.end = HEADER.len();
    loop {
        let at = scan.end;
        match entry_at(bytes, at, txn_bytes_max) {
            Found::Entry(entry) => {
                scan.end = entry.payload.end + 1;
                scan.entries.push(entry);
            }
            Found::Padding => return Ok(scan),
            Found::Short(what) => return Err(Error::damaged(path, at, what)),
            Found::Mismatch(_, what) | Found::Broken(what) => {
                let last = scan.entries.last().map_or(Zxid(i64::MIN), |entry| entry.zxid);
                if follows(bytes, at + 1, last, txn_bytes_max) {
                    return Err(Error::damaged(path, at, format!("{what}, and whole txns follow")));
                }
                scan.torn = Some(what);
                return Ok(scan);
            }
        }
    }
}

enum Found {
    Entry(Entry),
    /// Nothing but zeros up to the end.
    Padding,
    /// The checksum is right, but the bytes are fewer than a txn has.
    Short(String),
    /// Whole but for the checksum.
    Mismatch(Entry, String),
    Broken(String),
}

fn entry_at(bytes: &[u8], offset: usize, txn_bytes_max: u32) -> Found {
    let rest = &bytes[offset..];
    let Some((prefix, payload)) = rest.split_at_checked(PREFIX_BYTES) else {
        let zeros = rest.iter().all(|byte| *byte == 0);
        return if zeros {
            Found::Padding
        } else {
            Found::Broken("the file ends inside an entry".to_owned())
        };
    };
    let checksum = u64::from_be_bytes(prefix[..8].try_into().expect("eight bytes"));
    let length = i32::from_be_bytes(prefix[8..].try_into().expect("four bytes"));
    if checksum == 0 && length == 0 {
        return match rest.iter().position(|byte| *byte != 0) {
            None => Found::Padding,
            Some(at) => Found::Broken(format!("the padding is not zero at offset {}", offset + at)),
        };
    }
    let Some(len) = usize::try_from(length).ok().filter(|len| *len <= txn_bytes_max as usize) else {
        return Found::Broken(format!("an entry has the length {length}, the limit is {txn_bytes_max}"));
    };
    let Some(end) = payload.get(len) else {
        return Found::Broken(format!("the file ends inside an entry of {len} bytes"));
    };
    if *end != END {
        return Found::Broken(format!("an entry of {len} bytes ends with {end:#04x} instead of 0x42"));
    }
    let payload = &payload[..len];
    let actual = u64::from(adler32_slice(payload));
    let mismatch = format!("an entry has the checksum {actual:#x}, expected {checksum:#x}");
    let Some(zxid) = zxid_of(payload) else {
        return match actual == checksum {
            true => Found::Short(format!(
                "an entry with a right checksum has {len} bytes, fewer than a txn's header"
            )),
            false => Found::Broken(mismatch),
        };
    };
    let is_error = payload[28..32] == TYPE_ERROR.to_be_bytes();
    let start = offset + PREFIX_BYTES;
    let entry = Entry { zxid, is_error, offset, payload: start..start + len };
    if actual == checksum { Found::Entry(entry) } else { Found::Mismatch(entry, mismatch) }
}

/// Every entry of a file that has a frame, also those whose checksum is wrong: for people who look at a damaged file.
pub(super) fn walk(bytes: &[u8], txn_bytes_max: u32) -> Walked {
    let mut walked = Walked { entries: Vec::new(), end: 0, broken: None };
    if bytes.len() < HEADER.len() || bytes[..4] != HEADER[..4] {
        walked.broken = Some("the header is not that of a log".to_owned());
        return walked;
    }
    walked.end = HEADER.len();
    loop {
        let (entry, mismatch) = match entry_at(bytes, walked.end, txn_bytes_max) {
            Found::Entry(entry) => (entry, None),
            Found::Mismatch(entry, what) => (entry, Some(what)),
            Found::Padding => return walked,
            Found::Short(what) | Found::Broken(what) => {
                walked.broken = Some(what);
                return walked;
            }
        };
        walked.end = entry.payload.end + 1;
        walked.entries.push((entry, mismatch));
    }
}

/// Whether a whole entry above `last` begins anywhere from `from` on.
fn follows(bytes: &[u8], from: usize, last: Zxid, txn_bytes_max: u32) -> bool {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let smallest = PREFIX_BYTES + TXN_HEADER_BYTES + 1;
    (from..(used + 1).saturating_sub(smallest)).any(|at| {
        let length = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes"));
        // The high half of a checksum is zero, and a txn has a header; that spares most places a closer look, and a
        // long padding, which is looked through to its end, one from each of its places.
        bytes[at..at + 4] == [0; 4]
            && usize::try_from(length).is_ok_and(|len| len >= TXN_HEADER_BYTES)
            && matches!(entry_at(bytes, at, txn_bytes_max), Found::Entry(entry) if entry.zxid > last)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u32 = 1 << 20;

    /// A txn's header and a body.
    fn txn(zxid: i64, body: &[u8]) -> Vec<u8> {
        let mut txn = vec![0; 12];
        txn.extend_from_slice(&zxid.to_be_bytes());
        txn.extend_from_slice(&[0; 8]);
        txn.extend_from_slice(&1i32.to_be_bytes());
        txn.extend_from_slice(body);
        txn
    }

    fn file(zxids: Range<i64>) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        zxids.for_each(|zxid| encode(&txn(zxid, b"body"), &mut bytes));
        bytes
    }

    fn scan_all(bytes: &[u8]) -> Result<Scan, Error> {
        scan(Path::new("log.1"), bytes, LIMIT)
    }

    fn from_hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn the_beginning_of_a_log_of_apache_zookeeper_is_read_and_written_alike() {
        let bytes = from_hex(
            "5a4b4c47 00000002 0000000000000000
             00000000a6220984 00000030 0100001e19a90000 00000000 0000000100000001 000001a204d13601 fffffff6
             00000fa0 00000002 0000000051c6d660 42",
        );
        let found = scan_all(&bytes).unwrap();
        let entry = Entry { zxid: Zxid(0x1_0000_0001), is_error: false, offset: 16, payload: 28..76 };
        assert_eq!(found, Scan { entries: vec![entry], end: 77, torn: None });
        let mut again = HEADER.to_vec();
        encode(&bytes[28..76], &mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn padding_ends_a_file() {
        let mut bytes = file(1..4);
        let end = bytes.len();
        for len in [0, 1, 11, 12, 5_000] {
            bytes.resize(end + len, 0);
            let found = scan_all(&bytes).unwrap();
            assert_eq!((found.entries.len(), found.end, found.torn), (3, end, None), "{len}");
        }
    }

    #[test]
    fn a_byte_behind_a_long_padding_is_found_at_once() {
        let mut bytes = file(1..4);
        let end = bytes.len();
        // From each place to the end these would be 2^45 steps.
        bytes.resize(8 << 20, 0);
        bytes.push(1);
        let found = scan_all(&bytes).unwrap();
        assert_eq!((found.entries.len(), found.end), (3, end));
        assert_eq!(found.torn, Some(format!("the padding is not zero at offset {}", 8 << 20)));
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_entries() {
        let bytes = file(1..4);
        let entry = (bytes.len() - 16) / 3;
        for len in 0..bytes.len() {
            let found = scan_all(&bytes[..len]).unwrap();
            let whole = len.saturating_sub(16) / entry;
            assert_eq!(found.entries.len(), whole, "{len}");
            // Zeros at the end of what is left may be padding.
            if len >= 16 && found.torn.is_none() {
                assert!(bytes[found.end..len].iter().all(|byte| *byte == 0), "{len}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_in_the_middle_and_a_torn_tail_at_the_end() {
        let whole = file(1..4);
        let entry = (whole.len() - 16) / 3;
        for at in 16..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                bytes.resize(whole.len() + 100, 0);
                let is_last = at >= 16 + 2 * entry;
                match scan_all(&bytes) {
                    Err(Error::Damaged { offset, .. }) => {
                        assert!(!is_last && (at as u64 - offset) < entry as u64, "{at} {bit} {offset}");
                    }
                    Ok(found) => assert!(is_last && found.torn.is_some(), "{at} {bit}"),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn a_walk_goes_on_behind_a_wrong_checksum() {
        let mut bytes = file(1..4);
        let second = 16 + (bytes.len() - 16) / 3;
        bytes[second + PREFIX_BYTES + 33] ^= 1;
        let walked = walk(&bytes, LIMIT);
        let flawed: Vec<_> =
            walked.entries.iter().map(|(entry, flaw)| (entry.zxid.0, flaw.is_some())).collect();
        assert_eq!(flawed, [(1, false), (2, true), (3, false)]);
        assert_eq!((walked.end, walked.broken), (bytes.len(), None));
        bytes.truncate(bytes.len() - 1);
        let walked = walk(&bytes, LIMIT);
        assert_eq!(
            (walked.entries.len(), walked.broken.as_deref()),
            (2, Some("the file ends inside an entry of 36 bytes"))
        );
        assert_eq!(walk(b"ZKSN", LIMIT).broken.as_deref(), Some("the header is not that of a log"));
    }

    #[test]
    fn a_right_checksum_over_too_few_bytes_is_damage() {
        let mut bytes = file(1..2);
        encode(b"short", &mut bytes);
        let error = scan_all(&bytes).unwrap_err();
        assert!(
            error.to_string().contains("log.1 is damaged at offset 65: an entry with a right checksum has 5")
        );
    }

    #[test]
    fn a_foreign_header_is_damage_only_before_txns() {
        let mut bytes = file(1..3);
        bytes[0] = 0;
        assert!(scan_all(&bytes).is_err());
        assert_eq!(scan_all(&[0; 500]).unwrap().end, 0);
        assert_eq!(scan_all(b"").unwrap().torn.as_deref(), Some("the header is not whole"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), header in any::<bool>()) {
            let mut file = if header { HEADER.to_vec() } else { Vec::new() };
            file.extend(bytes);
            let _ = scan_all(&file);
        }

        #[test]
        fn what_was_written_is_read(bodies in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..80), 0..20)
        ) {
            let mut bytes = HEADER.to_vec();
            for (zxid, body) in (1..).zip(&bodies) {
                encode(&txn(zxid, body), &mut bytes);
            }
            let found = scan_all(&bytes).unwrap();
            prop_assert_eq!(found.torn, None);
            prop_assert_eq!(found.entries.len(), bodies.len());
            for (entry, body) in found.entries.iter().zip(&bodies) {
                prop_assert_eq!(&bytes[entry.payload.clone()][32..], &body[..]);
            }
        }
    }
}
