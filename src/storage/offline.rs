//! Work on the files of a server that does not run: cuts of a log, purges, a directory for a new server.
//!
//! In: what a person orders. Out: changed files, durable, or a refusal that says what stands in the way.
//!
//! Always true:
//! * a directory is locked while it is changed, so that none of a running server is touched;
//! * a copy never takes the place of a file that is there.
//!
//! Not here: what a running server does by itself (`purge`, `rewrite`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, exists, parent, replace_file};
use super::entry::{self, HEADER};
use super::error::Error;
use super::layout::{Layout, NamedFile, create_dirs, list_logs, list_snapshots};
use super::replay::cut;
use super::snapshot::Snapshots;
use super::store::{Options, lock};
use crate::base::{Compression, ServerId, Zxid};

/// Where a log is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// Behind this txn.
    After(Zxid),
    /// Before the first entry that is not whole.
    Damage,
}

/// Whether what is there may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the order is refused.
    Kept,
    /// It goes.
    Removed,
}

/// Where a log file would end if it were cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// Its length then.
    pub end: u64,
    /// The last txn that stays; `None` if none does.
    pub last: Option<Zxid>,
    /// How many txns go: those that could be told.
    pub gone: usize,
}

/// Tells where a log file would be cut. Damage before that place is an error.
pub fn plan_cut(disk: &dyn Disk, path: &Path, at: CutAt, txn_bytes_max: u32) -> Result<Cut, Error> {
    let bytes = disk.read(path).map_err(Error::io("read", path))?;
    let walked = entry::walk(&bytes, txn_bytes_max);
    if let (0, Some(broken)) = (walked.end, &walked.broken) {
        return Err(Error::damaged(path, 0, broken.clone()));
    }
    let is_kept = |zxid: Zxid, is_whole: bool| match at {
        CutAt::After(last) => zxid <= last,
        CutAt::Damage => is_whole,
    };
    let kept = walked.entries.iter().take_while(|(entry, flaw)| is_kept(entry.zxid, flaw.is_none()));
    let kept: Vec<_> = kept.collect();
    if let Some((entry, Some(flaw))) = kept.iter().find(|(_, flaw)| flaw.is_some()) {
        return Err(Error::damaged(path, entry.offset, flaw.clone()));
    }
    if let (CutAt::After(_), Some(broken), true) = (at, &walked.broken, kept.len() == walked.entries.len()) {
        return Err(Error::damaged(path, walked.end, broken.clone()));
    }
    let last = kept.last().map(|(entry, _)| entry);
    Ok(Cut {
        path: path.to_owned(),
        end: last.map_or(HEADER.len(), |entry| entry.payload.end + 1) as u64,
        last: last.map(|entry| entry.zxid),
        gone: walked.entries.len() - kept.len(),
    })
}

/// Writes what a cut would leave to another file, which must not exist.
pub fn copy_cut(disk: &dyn Disk, cut: &Cut, to: &Path) -> Result<(), Error> {
    if exists(disk, to).map_err(Error::io("read", to))? {
        return Err(Error::refused(to, "it exists already"));
    }
    let mut bytes = disk.read(&cut.path).map_err(Error::io("read", &cut.path))?;
    bytes.truncate(usize::try_from(cut.end).expect("a cut is inside of the file"));
    replace_file(disk, to, &bytes).map_err(Error::io("write", to))
}

/// Cuts a log file where it stands. It must be the last of its directory, and no snapshot may show what goes: else the
/// history would have a gap, or come back. The server must not run.
pub fn cut_in_place(disk: &dyn Disk, order: &Cut) -> Result<(), Error> {
    let dir = parent(&order.path);
    let layout = Layout::in_dir(parent(dir), ServerId(0));
    let _locks = lock(disk, &layout)?;
    let logs = list_logs(disk, dir)?;
    let own = logs.iter().find(|log| log.path == order.path);
    let end = order.last.or(own.map(|log| Zxid(log.zxid.0 - 1))).unwrap_or(Zxid::ZERO);
    let is_newer = |log: &&NamedFile| log.path != order.path && log.bytes > 0 && log.zxid > end;
    if let Some(newer) = logs.iter().rfind(is_newer) {
        let why = format!("{} goes on from it, and would be without what is before it", newer.path.display());
        return Err(Error::refused(&order.path, why));
    }
    if let Some(shows) = list_snapshots(disk, dir)?.iter().rfind(|file| file.zxid > end) {
        let why = format!("{} is of a later txn than is to be left", shows.path.display());
        return Err(Error::refused(&order.path, why));
    }
    cut(disk, &order.path, order.end)
}

/// What a purge would remove, or removes: everything that none of the newest `keep` whole snapshots needs.
pub fn purge(
    disk: Arc<dyn Disk>,
    layout: &Layout,
    keep: usize,
    old: Existing,
) -> Result<Vec<PathBuf>, Error> {
    for dir in [layout.snapshots(), layout.logs()] {
        if !disk.dir_exists(&dir) {
            return Err(Error::refused(&dir, "there is no such directory"));
        }
    }
    let _locks = lock(&*disk, layout)?;
    let snapshots = Snapshots::new(disk, layout.snapshots(), layout.logs(), Compression::None);
    match old {
        Existing::Kept => snapshots.purgeable(keep),
        Existing::Removed => snapshots.purge(keep),
    }
}

/// Makes the directories of a new server: an empty `version-2`, `myid`, and the file that states that the disk is meant
/// to be empty. What stands there already is refused, or removed if that is ordered.
pub fn initialize(disk: &dyn Disk, layout: &Layout, id: ServerId, existing: Existing) -> Result<(), Error> {
    let dirs = [layout.snapshots(), layout.logs()];
    for dir in &dirs {
        create_dirs(disk, parent(dir))?;
    }
    let _locks = lock(disk, layout)?;
    let taken = dirs.iter().find(|dir| disk.dir_exists(dir));
    if let (Some(taken), Existing::Kept) = (taken, existing) {
        return Err(Error::refused(taken, "it exists already: this disk is, or was, a server's"));
    }
    for dir in &dirs {
        create_dirs(disk, dir)?;
        for entry in disk.list(dir).map_err(Error::io("list", dir))?.iter().rev() {
            let path = dir.join(&entry.name);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    let my_id = layout.data_dir.join("myid");
    replace_file(disk, &my_id, format!("{id}\n").as_bytes()).map_err(Error::io("write", &my_id))?;
    let marker = layout.initialize();
    replace_file(disk, &marker, b"").map_err(Error::io("write", &marker))
}

/// The longest txn that is believed when `jute.maxbuffer` is this.
pub fn txn_bytes_max(jute_max_buffer: u32) -> u32 {
    jute_max_buffer.saturating_mul(2).max(Options::default().txn_bytes_max)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::{Write, WriteSeq};
    use crate::storage::sim_disk::SimDisk;
    use crate::storage::store::Store;

    const EMPTY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/'];
    const LIMIT: u32 = 1 << 20;

    fn layout() -> Layout {
        Layout { log_dir: "/log".into(), ..Layout::in_dir(Path::new("/data"), ServerId(1)) }
    }

    fn open(disk: &SimDisk, layout: Layout, options: Options) -> (Store, crate::base::Recovered) {
        Store::open(Arc::new(disk.clone()), layout, options, Bytes::from_static(EMPTY)).unwrap()
    }

    /// A server that wrote txns 1 to 6, three a file, and a snapshot before each of them.
    fn written(layout: Layout) -> SimDisk {
        let disk = SimDisk::new(1);
        let options = Options { prealloc_bytes: 512, ..Options::default() };
        let (mut store, _) = open(&disk, layout, options);
        for zxid in 1..=6 {
            let mut txn = vec![0; 40];
            txn[12..20].copy_from_slice(&i64::to_be_bytes(zxid));
            let append = Write::Append { zxid: Zxid(zxid), txn: txn.into() };
            store.perform(&[(WriteSeq(zxid as u64), append)]).unwrap();
            if zxid == 3 {
                store.roll().unwrap();
            }
            if zxid < 4 {
                store.snapshots().write(Zxid(zxid), 7, |out| out.write_all(EMPTY)).unwrap();
            }
        }
        disk
    }

    #[test]
    fn a_new_servers_directories_are_made_once() {
        let disk = SimDisk::new(1);
        initialize(&disk, &layout(), ServerId(7), Existing::Kept).unwrap();
        disk.crash();
        assert_eq!(disk.read(Path::new("/data/myid")).unwrap(), b"7\n");
        let careful = Options { db_autocreate: false, ..Options::default() };
        let (store, found) = open(&disk, layout(), careful);
        assert!(found.may_vote, "the server looks where the mark was made");
        let again = initialize(&disk, &layout(), ServerId(8), Existing::Removed).unwrap_err();
        assert!(matches!(again, Error::Locked { .. }), "{again}");
        drop(store);
        let again = initialize(&disk, &layout(), ServerId(8), Existing::Kept).unwrap_err();
        assert!(again.to_string().starts_with("/data/version-2: it exists already"), "{again}");
        assert_eq!(disk.read(Path::new("/data/myid")).unwrap(), b"7\n");

        let disk = written(layout());
        initialize(&disk, &layout(), ServerId(8), Existing::Removed).unwrap();
        let (_, found) = open(&disk, layout(), Options::default());
        assert_eq!((found.last_zxid(), found.txns.len()), (Zxid::ZERO, 0));
    }

    #[test]
    fn a_purge_is_shown_before_it_is_done() {
        let disk = written(layout());
        let order = |old| purge(Arc::new(disk.clone()), &layout(), 3, old);
        let files = disk.files();
        let shown = order(Existing::Kept).unwrap();
        assert_eq!(shown, [PathBuf::from("/data/version-2/snapshot.0")]);
        assert_eq!(disk.files(), files);
        assert_eq!(order(Existing::Removed).unwrap(), shown);
        assert_eq!(disk.files().len(), files.len() - 1);
        let running = open(&disk, layout(), Options::default());
        assert!(matches!(order(Existing::Removed).unwrap_err(), Error::Locked { .. }));
        drop(running);
    }

    #[test]
    fn a_log_is_cut_where_it_is_told() {
        let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
        let disk = written(layout.clone());
        let log = Path::new("/d/version-2/log.4");
        let cut = |at| plan_cut(&disk, log, at, LIMIT);
        let whole = cut(CutAt::Damage).unwrap();
        assert_eq!((whole.end, whole.last, whole.gone), (16 + 3 * 53, Some(Zxid(6)), 0));
        let one = cut(CutAt::After(Zxid(5))).unwrap();
        assert_eq!((one.end, one.last, one.gone), (16 + 2 * 53, Some(Zxid(5)), 1));
        let copy = Path::new("/d/version-2/log.4.chopped5");
        copy_cut(&disk, &one, copy).unwrap();
        assert_eq!(disk.read(copy).unwrap(), disk.read(log).unwrap()[..122]);
        assert!(copy_cut(&disk, &one, copy).unwrap_err().to_string().contains("it exists already"));

        disk.flip_bit(log, 16 + 53 + 12 + 38, 0);
        assert!(cut(CutAt::After(Zxid(5))).unwrap_err().to_string().contains("is damaged at offset 69"));
        let damaged = cut(CutAt::Damage).unwrap();
        assert_eq!((damaged.end, damaged.last, damaged.gone), (69, Some(Zxid(4)), 2));
        let running = open(&self::written(layout.clone()), layout.clone(), Options::default());
        cut_in_place(&disk, &damaged).unwrap();
        drop(running);
        assert_eq!(open(&disk, layout, Options::default()).1.last_zxid(), Zxid(4));
    }

    #[test]
    fn a_cut_in_place_never_leaves_a_gap_or_a_snapshot_of_what_went() {
        let layout = Layout::in_dir(Path::new("/d"), ServerId(1));
        let disk = written(layout.clone());
        let first = plan_cut(&disk, Path::new("/d/version-2/log.1"), CutAt::After(Zxid(3)), LIMIT).unwrap();
        let refused = cut_in_place(&disk, &first).unwrap_err().to_string();
        assert!(refused.contains("log.4 goes on from it"), "{refused}");
        disk.remove(Path::new("/d/version-2/log.4")).unwrap();
        cut_in_place(&disk, &first).unwrap();
        let first = plan_cut(&disk, Path::new("/d/version-2/log.1"), CutAt::After(Zxid(2)), LIMIT).unwrap();
        let refused = cut_in_place(&disk, &first).unwrap_err().to_string();
        assert!(refused.contains("snapshot.3 is of a later txn"), "{refused}");
        let running = open(&disk, layout, Options::default());
        assert!(matches!(cut_in_place(&disk, &first).unwrap_err(), Error::Locked { .. }));
        drop(running);
    }
}
