//! Snapshot files: the envelope around sessions, ACL table and nodes.
//!
//! In: a body that somebody writes, or a file. Out: a sealed file that appears whole or not at all, or its sections.
//! Seals are over what a compressed file holds, not over its bytes.
//!
//! Always true:
//! * a snapshot has its name only once its content is durable, and it is reported only once the name is;
//! * sections are told by the length of what follows the nodes, never by settings;
//! * a snapshot is not published once the history it was taken from was cut or replaced.
//!
//! Not here: sessions, ACL table and nodes (`tree`), which snapshot a start uses (`recover`).

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use adler2::Adler32;

use super::compress::{Decoder, Encoder, is_damage};
use super::disk::{Disk, DiskFile};
use super::error::Error;
use super::layout::{NamedFile, snapshot_path};
use super::room::Careful;
use crate::base::{Compression, Zxid};

/// "ZKSN", version 2, database -1.
const HEADER: [u8; 16] = [0x5a, 0x4b, 0x53, 0x4e, 0, 0, 0, 2, 255, 255, 255, 255, 255, 255, 255, 255];
/// The string "/", which ends the nodes and every seal.
const END_MARK: [u8; 5] = [0, 0, 0, 1, b'/'];
/// A checksum and the end mark.
const SEAL_BYTES: usize = 13;
/// The digest version that Apache ZooKeeper 3.8 and 3.9 write.
const DIGEST_VERSION: i32 = 2;
/// Zxid, digest version, digest, seal.
const DIGEST_BYTES: usize = 20 + SEAL_BYTES;
/// Zxid, seal.
const LAST_BYTES: usize = 8 + SEAL_BYTES;
/// The longest digest of version 1, which is hexadecimal text.
const TEXT_DIGEST_BYTES_MAX: usize = 16;
/// Everything behind the nodes, and the mark before it, lies within this many bytes from the end of a file.
const WINDOW_BYTES: usize = 128;
/// Empty sessions, empty ACL table, end mark: the smallest body.
const BODY_BYTES_MIN: usize = 13;
/// Bytes are handed to the system, and read from it, in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;
/// A file is synced whenever so many bytes were written. Otherwise the log waits for all of them: a file system that
/// keeps a journal writes what other files' new blocks hold before it calls a block of the log durable.
const SYNC_EVERY_BYTES: u64 = 4 << 20;
/// The name, in the directory of snapshots, of one that is being written by `Snapshots::write`.
pub(super) const TMP_PREFIX: &str = "quorate-snapshot.";

/// Writes and purges snapshots beside the log; clones may be used in any thread.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) log_dir: PathBuf,
    /// How snapshots are written; every kind is read.
    pub(super) compression: Compression,
    /// Bytes that a snapshot beside the log leaves free.
    reserve_bytes: u64,
    shared: Arc<Shared>,
}

/// What the clones agree on.
#[derive(Debug, Default)]
struct Shared {
    /// How often the history was cut or replaced. Held while names of snapshots change.
    history: Mutex<u64>,
}

/// What a snapshot file holds besides its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sections {
    /// Where the body (sessions to the end mark) ends; it begins after the header.
    pub body_end: u64,
    /// Zxid and digest of the tree when the nodes had been written; `None` if it is not known or of an old version.
    pub digest: Option<(Zxid, u64)>,
    /// The last txn of which the nodes may hold effects; `None` if the file does not say.
    pub last_processed: Option<Zxid>,
}

/// What a snapshot is written with, besides its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The last txn in it.
    pub zxid: Zxid,
    /// Digest of the tree there; 0 at zxid 0, where it stands for "unknown".
    pub digest: u64,
    /// How the file is compressed; its name has to say so.
    pub compression: Compression,
}

/// Where and why a file is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at offset {offset}")]
pub(super) struct Fault {
    /// Where in the file, or in what it holds if `what` says so.
    pub offset: u64,
    /// Why.
    pub what: String,
}

impl Snapshots {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        log_dir: PathBuf,
        compression: Compression,
    ) -> Snapshots {
        Snapshots { disk, dir, log_dir, compression, reserve_bytes: 0, shared: Arc::default() }
    }

    /// The same, which leaves so many bytes free for the log.
    pub(super) fn with_reserve(self, reserve_bytes: u64) -> Snapshots {
        Snapshots { reserve_bytes, ..self }
    }

    /// Writes the snapshot at `zxid` with the tree's digest there; `body` writes sessions, ACL table, nodes and end
    /// mark. Everything up to `zxid` must be durable in the log, and nothing above it in the body.
    pub fn write(
        &self,
        zxid: Zxid,
        digest: u64,
        body: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let history = *self.history();
        let tmp = self.dir.join(format!("{TMP_PREFIX}{:x}.tmp", zxid.0));
        let head = Head { zxid, digest, compression: self.compression };
        let careful = |out: &mut dyn io::Write| {
            body(&mut Careful::new(out, &*self.disk, &self.dir, self.reserve_bytes))
        };
        let written = write_file(&*self.disk, &tmp, head, careful).and_then(|()| {
            let guard = self.history();
            if *guard != history {
                return Err(Error::Outdated { zxid });
            }
            self.publish(&tmp, zxid)
        });
        if written.is_err() {
            // A leftover only takes space; the next start removes it too.
            let _ = self.disk.remove(&tmp);
        }
        written
    }

    /// Where the snapshot at `zxid` is, if it was written as this server writes them.
    pub fn path(&self, zxid: Zxid) -> PathBuf {
        snapshot_path(&self.dir, zxid, self.compression)
    }

    /// Gives a file that is durable the name of the snapshot at `zxid`, durably.
    pub(super) fn publish(&self, tmp: &Path, zxid: Zxid) -> Result<(), Error> {
        let path = snapshot_path(&self.dir, zxid, self.compression);
        self.disk.rename(tmp, &path).map_err(Error::io("create", &path))?;
        self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))
    }

    /// Holds names of snapshots still; the number is that of the history.
    pub(super) fn history(&self) -> MutexGuard<'_, u64> {
        self.shared.history.lock().expect("no thread panics while it holds the names of snapshots")
    }
}

/// Writes a whole snapshot file, durable but for its name.
pub(super) fn write_file(
    disk: &dyn Disk,
    path: &Path,
    head: Head,
    body: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), Error> {
    let file = disk.create(path).map_err(Error::io("create", path))?;
    let pieces = Pieces { file, offset: 0, synced: 0, gathered: Vec::new() };
    let mut out = Sealer { out: Encoder::new(head.compression, pieces), adler: Adler32::new() };
    let write = || {
        out.write_all(&HEADER)?;
        body(&mut out)?;
        out.seal()?;
        out.write_all(&head.zxid.0.to_be_bytes())?;
        out.write_all(&DIGEST_VERSION.to_be_bytes())?;
        out.write_all(&head.digest.to_be_bytes())?;
        out.seal()?;
        out.write_all(&head.zxid.0.to_be_bytes())?;
        out.seal()?;
        let mut pieces = out.out.finish()?;
        pieces.flush()?;
        pieces.file.sync()
    };
    write().map_err(Error::io("write", path))
}

/// Compresses what is written, and knows the checksum of it.
struct Sealer {
    out: Encoder<Pieces>,
    adler: Adler32,
}

impl Sealer {
    fn seal(&mut self) -> io::Result<()> {
        let checksum = u64::from(self.adler.checksum());
        self.write_all(&checksum.to_be_bytes())?;
        self.write_all(&END_MARK)
    }
}

impl io::Write for Sealer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.out.write(bytes)?;
        self.adler.write_slice(&bytes[..size]);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Hands bytes to a file, in pieces, and syncs it now and then.
#[derive(Debug)]
struct Pieces {
    file: Box<dyn DiskFile>,
    offset: u64,
    /// How many bytes are durable.
    synced: u64,
    gathered: Vec<u8>,
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.offset, &self.gathered)?;
        self.offset += self.gathered.len() as u64;
        self.gathered.clear();
        if self.offset - self.synced >= SYNC_EVERY_BYTES {
            self.file.sync()?;
            self.synced = self.offset;
        }
        Ok(())
    }
}

/// Reads a file through, in bounded memory, and tells its sections or what is wrong with it.
pub(super) fn check_file(disk: &dyn Disk, file: &NamedFile) -> Result<Result<Sections, Fault>, Error> {
    let mut decoder = open(disk, file)?;
    let checked = check(&mut decoder);
    judge(file, &decoder, checked)
}

/// Everything that a file holds, uncompressed, and its sections; or what is wrong with it.
pub(super) fn read_file(
    disk: &dyn Disk,
    file: &NamedFile,
) -> Result<Result<(Vec<u8>, Sections), Fault>, Error> {
    let mut decoder = open(disk, file)?;
    let mut content = Vec::new();
    if file.compression == Compression::None {
        content.reserve_exact(usize::try_from(file.bytes).unwrap_or(0));
    }
    let read = decoder.read_to_end(&mut content).map(|_| Ok(()));
    if let Err(fault) = judge(file, &decoder, read)? {
        return Ok(Err(fault));
    }
    let checked = check(&mut &content[..]);
    Ok(judge(file, &decoder, checked)?.map(|sections| (content, sections)))
}

fn open(disk: &dyn Disk, file: &NamedFile) -> Result<Decoder, Error> {
    let reader = disk.reader(&file.path).map_err(Error::io("read", &file.path))?;
    Ok(Decoder::new(file.compression, reader))
}

/// Tells damage of a compressed file from an error of the disk.
fn judge<T>(
    file: &NamedFile,
    decoder: &Decoder,
    outcome: io::Result<Result<T, Fault>>,
) -> Result<Result<T, Fault>, Error> {
    let is_compressed = file.compression != Compression::None;
    match outcome {
        Ok(Err(fault)) if is_compressed => {
            let what = format!("{} in what is compressed,", fault.what);
            Ok(Err(Fault { what, ..fault }))
        }
        Ok(checked) => Ok(checked),
        Err(err) if is_compressed && is_damage(&err) => {
            let what = format!("the compressed stream cannot be read ({err})");
            Ok(Err(Fault { offset: decoder.file_offset(), what }))
        }
        Err(err) => Err(Error::io("read", &file.path)(err)),
    }
}

/// Checks every seal of a stream, and tells its sections.
pub(super) fn check(reader: &mut dyn Read) -> io::Result<Result<Sections, Fault>> {
    let mut held = vec![0; WINDOW_BYTES + PIECE_BYTES];
    let (mut size, mut start, mut adler) = (0, 0, Adler32::new());
    loop {
        match reader.read(&mut held[size..]) {
            Ok(0) => break,
            Ok(more) => size += more,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        }
        let Some(passed) = size.checked_sub(WINDOW_BYTES) else { continue };
        if start == 0 && held[..8] != HEADER[..8] {
            break;
        }
        adler.write_slice(&held[..passed]);
        held.copy_within(passed..size, 0);
        start += passed as u64;
        size = WINDOW_BYTES;
    }
    let window = &held[..size];
    if start == 0 && (size < 8 || window[..8] != HEADER[..8]) {
        let what = "the header is not that of a snapshot".to_owned();
        return Ok(Err(Fault { offset: 0, what }));
    }
    if start == 0 && size < HEADER.len() + BODY_BYTES_MIN + SEAL_BYTES {
        return Ok(Err(Fault { offset: size as u64, what: "the file ends too early".to_owned() }));
    }
    Ok(tell(&Window { bytes: window, start, adler }))
}

/// The end of a file, and the checksum of what is before it.
struct Window<'a> {
    bytes: &'a [u8],
    /// Offset of the window in the file.
    start: u64,
    adler: Adler32,
}

/// What may stand behind the first seal.
#[derive(Clone, Copy)]
struct Shape {
    /// Length of the digest section with its seal; 0 if there is none.
    digest_bytes: usize,
    /// Whether the lastProcessedZxid section follows.
    has_last: bool,
}

fn tell(window: &Window<'_>) -> Result<Sections, Fault> {
    let of_text = (1..=TEXT_DIGEST_BYTES_MAX).map(|text| 12 + 4 + text + SEAL_BYTES);
    let digests = [DIGEST_BYTES].into_iter().chain(of_text.filter(|bytes| *bytes != DIGEST_BYTES)).chain([0]);
    // The last bytes of a section may look like the end of the nodes, as those of lastProcessedZxid 0x12f do, and the
    // seal behind them fits: what has more sections is tried first.
    let shapes =
        digests.flat_map(|digest_bytes| [true, false].map(|has_last| Shape { digest_bytes, has_last }));
    let mut fault = None;
    for shape in shapes {
        let behind = shape.digest_bytes + if shape.has_last { LAST_BYTES } else { 0 };
        let Some(body_end) = window.bytes.len().checked_sub(SEAL_BYTES + behind) else { continue };
        let marked = body_end >= END_MARK.len() && window.bytes[..body_end].ends_with(&END_MARK);
        if marked && window.check_seal(body_end).is_ok() {
            match sections(window, shape, body_end) {
                Ok(sections) => return Ok(sections),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
    }
    let offset = window.start + window.bytes.len() as u64;
    let none = Fault { offset, what: "no end of nodes with a fitting checksum was found".to_owned() };
    Err(fault.unwrap_or(none))
}

fn sections(window: &Window<'_>, shape: Shape, body_end: usize) -> Result<Sections, Fault> {
    let i64_at = |at: usize| i64::from_be_bytes(window.bytes[at..at + 8].try_into().expect("eight bytes"));
    let mut at = body_end + SEAL_BYTES;
    let mut digest = None;
    if shape.digest_bytes > 0 {
        let version = &window.bytes[at + 8..at + 12];
        if shape.digest_bytes == DIGEST_BYTES && version == DIGEST_VERSION.to_be_bytes() {
            digest =
                Some((Zxid(i64_at(at)), i64_at(at + 12) as u64)).filter(|known| *known != (Zxid::ZERO, 0));
        }
        window.check_seal(at + shape.digest_bytes - SEAL_BYTES)?;
        at += shape.digest_bytes;
    }
    let mut last_processed = None;
    if shape.has_last {
        last_processed = Some(Zxid(i64_at(at)));
        window.check_seal(at + 8)?;
    }
    Ok(Sections { body_end: window.start + body_end as u64, digest, last_processed })
}

impl Window<'_> {
    /// Checks the seal at `at` over all that is before it.
    fn check_seal(&self, at: usize) -> Result<(), Fault> {
        let mut adler = self.adler;
        adler.write_slice(&self.bytes[..at]);
        let mut seal = [0; SEAL_BYTES];
        seal[..8].copy_from_slice(&u64::from(adler.checksum()).to_be_bytes());
        seal[8..].copy_from_slice(&END_MARK);
        let offset = self.start + at as u64;
        let what = "a checksum does not fit what is before it".to_owned();
        if self.bytes[at..at + SEAL_BYTES] == seal { Ok(()) } else { Err(Fault { offset, what }) }
    }
}

/// Where the body of a snapshot file begins.
pub(super) const BODY_START: usize = HEADER.len();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::layout::list_snapshots;
    use crate::storage::sim_disk::{DiskFaults, Loss, SimDisk};

    const EMPTY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/'];

    fn check_bytes(bytes: &[u8]) -> Result<Sections, Fault> {
        check(&mut &bytes[..]).unwrap()
    }

    fn file(body: &[u8], zxid: i64, digest: u64) -> Vec<u8> {
        let disk = SimDisk::new(1);
        let head = Head { zxid: Zxid(zxid), digest, compression: Compression::None };
        write_file(&disk, Path::new("/s"), head, |out| out.write_all(body)).unwrap();
        disk.read(Path::new("/s")).unwrap()
    }

    fn snapshots(disk: &SimDisk, compression: Compression) -> Snapshots {
        Snapshots::new(Arc::new(disk.clone()), PathBuf::from("/"), PathBuf::from("/"), compression)
    }

    fn seal(bytes: &mut Vec<u8>) {
        let mut adler = Adler32::new();
        adler.write_slice(bytes);
        bytes.extend(u64::from(adler.checksum()).to_be_bytes());
        bytes.extend(END_MARK);
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = file(EMPTY, 9, 77);
        let sections = check_bytes(&bytes).unwrap();
        let digest = Some((Zxid(9), 77));
        assert_eq!(sections, Sections { body_end: 29, digest, last_processed: Some(Zxid(9)) });
        assert_eq!(bytes.len(), 29 + SEAL_BYTES + DIGEST_BYTES + LAST_BYTES);
    }

    #[test]
    fn a_zxid_that_looks_like_the_end_of_the_nodes_is_none() {
        let zxid = Zxid(0x12f);
        assert_eq!(zxid.0.to_be_bytes()[3..], END_MARK);
        let sections = check_bytes(&file(EMPTY, zxid.0, 77)).unwrap();
        let digest = Some((zxid, 77));
        assert_eq!(sections, Sections { body_end: 29, digest, last_processed: Some(zxid) });
    }

    #[test]
    fn sections_are_told_by_length() {
        let mut bytes = HEADER.to_vec();
        bytes.extend(EMPTY);
        let with = |body_end, digest, last_processed| Sections { body_end, digest, last_processed };
        seal(&mut bytes);
        assert_eq!(check_bytes(&bytes), Ok(with(29, None, None)), "3.5");

        let mut only_last = bytes.clone();
        only_last.extend(5i64.to_be_bytes());
        seal(&mut only_last);
        assert_eq!(check_bytes(&only_last), Ok(with(29, None, Some(Zxid(5)))), "digests off");

        let mut text = bytes.clone();
        text.extend(5i64.to_be_bytes());
        text.extend([0, 0, 0, 1, 0, 0, 0, 3]);
        text.extend(b"abc");
        seal(&mut text);
        assert_eq!(check_bytes(&text), Ok(with(29, None, None)), "an old digest");

        bytes.extend(5i64.to_be_bytes());
        bytes.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 8]);
        seal(&mut bytes);
        assert_eq!(check_bytes(&bytes), Ok(with(29, Some((Zxid(5), 8)), None)), "3.8");
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let whole = file(&[&[0; 300], EMPTY].concat(), 9, 77);
        for at in (0..whole.len()).filter(|at| !(8..16).contains(at)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(check_bytes(&bytes).is_err(), "{at}");
        }
        for len in 0..whole.len() {
            // Cut behind a seal it is a whole file of an older version.
            let is_older = [LAST_BYTES, LAST_BYTES + DIGEST_BYTES].contains(&(whole.len() - len));
            assert_eq!(check_bytes(&whole[..len]).is_ok(), is_older, "{len}");
        }
    }

    #[test]
    fn a_body_that_fails_leaves_nothing() {
        let disk = SimDisk::new(1);
        let snapshots = snapshots(&disk, Compression::None);
        let error = snapshots.write(Zxid(1), 0, |_| Err(io::Error::other("no body"))).unwrap_err();
        assert_eq!(error.to_string(), "write /quorate-snapshot.1.tmp: no body");
        assert_eq!(disk.files(), []);
        snapshots.write(Zxid(1), 0, |out| out.write_all(EMPTY)).unwrap();
        disk.crash();
        assert_eq!(disk.files().len(), 1);
    }

    #[test]
    fn a_snapshot_is_durable_piece_by_piece_while_it_is_written() {
        let disk = SimDisk::new(1);
        let mut left = Vec::new();
        let body = |out: &mut dyn io::Write| {
            disk.sync_dir(Path::new("/"))?;
            for _ in 0..40 {
                out.write_all(&[1; 256 * 1024])?;
                let copy = disk.copy(1);
                copy.crash_with(Loss::All);
                left.push(copy.files()[0].1);
            }
            out.write_all(EMPTY)
        };
        snapshots(&disk, Compression::None).write(Zxid(1), 0, body).unwrap();
        for (at, left) in (1..).zip(left) {
            let written = at * 256 * 1024;
            assert!(written <= left + SYNC_EVERY_BYTES, "{left} bytes are durable of {written}");
        }
    }

    #[test]
    fn a_snapshot_takes_nothing_of_the_reserve() {
        let disk = SimDisk::new(1);
        let snapshots = snapshots(&disk, Compression::None).with_reserve(1 << 20);
        let capacity_bytes = Some(12 << 20);
        disk.set_faults(DiskFaults { capacity_bytes, ..DiskFaults::default() });
        let fill = |out: &mut dyn io::Write, pieces: usize| {
            (0..pieces).try_for_each(|_| out.write_all(&[1; 256 * 1024]))
        };
        let full = snapshots.write(Zxid(1), 0, |out| fill(out, 64)).unwrap_err();
        assert!(full.is_full(), "{full}");
        let kept = "1048576 are kept for the log";
        assert!(full.to_string().contains(kept), "it ends before the disk is full: {full}");
        assert_eq!(disk.files(), [], "and leaves nothing");
        snapshots.write(Zxid(1), 0, |out| fill(out, 36).and_then(|()| out.write_all(EMPTY))).unwrap();
    }

    #[test]
    fn a_snapshot_of_a_replaced_history_is_dropped() {
        let disk = SimDisk::new(1);
        let snapshots = snapshots(&disk, Compression::None);
        let late = snapshots.write(Zxid(1), 0, |out| {
            *snapshots.history() += 1;
            out.write_all(EMPTY)
        });
        assert!(matches!(late, Err(Error::Outdated { zxid: Zxid(1) })));
        assert_eq!(disk.files(), []);
    }

    #[test]
    fn compressed_files_hold_the_same_and_damage_is_found() {
        let body = [&[5; 90_000], EMPTY].concat();
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let disk = SimDisk::new(1);
            snapshots(&disk, compression).write(Zxid(9), 77, |out| out.write_all(&body)).unwrap();
            let files = list_snapshots(&disk, Path::new("/")).unwrap();
            let [file] = &files[..] else { panic!("{files:?}") };
            assert_eq!((file.zxid, file.compression), (Zxid(9), compression));
            let (content, sections) = read_file(&disk, file).unwrap().unwrap();
            assert_eq!(check_file(&disk, file).unwrap().unwrap(), sections);
            assert_eq!(&content[BODY_START..sections.body_end as usize], &body[..]);

            let whole = disk.read(&file.path).unwrap();
            for at in (0..whole.len()).step_by(whole.len() / 300 + 1) {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x10;
                disk.put(&file.path, &bytes);
                // Some bits say nothing: times and padding of gzip, the database id of a plain file.
                let is_plain_id = compression == Compression::None && (8..16).contains(&at);
                let is_harmless = |read: &(Vec<u8>, Sections)| *read == (content.clone(), sections.clone());
                let read = read_file(&disk, file).unwrap();
                let is_told = read.as_ref().map_or(true, is_harmless) || is_plain_id;
                assert!(is_told, "{compression:?} {at}");
                assert_eq!(check_file(&disk, file).unwrap().is_ok(), read.is_ok(), "{compression:?} {at}");
                disk.put(&file.path, &whole[..at]);
                let fault = check_file(&disk, file).unwrap().unwrap_err();
                assert!(fault.offset <= body.len() as u64 + 200, "{compression:?} {at} {fault}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), (header, marks) in any::<(bool, bool)>(),
        ) {
            let mut file = if header { HEADER.to_vec() } else { Vec::new() };
            file.extend(bytes);
            if marks {
                file.extend(END_MARK);
                file.extend(EMPTY);
            }
            let _ = check_bytes(&file);
        }

        #[test]
        fn bodies_round_trip(body in proptest::collection::vec(any::<u8>(), 0..600), zxid: i64, digest in 1u64..) {
            let body = [&body[..], EMPTY].concat();
            let bytes = file(&body, zxid, digest);
            let sections = check_bytes(&bytes).unwrap();
            prop_assert_eq!(&bytes[BODY_START..sections.body_end as usize], &body[..]);
            prop_assert_eq!(sections.digest, Some((Zxid(zxid), digest)));
        }
    }
}
