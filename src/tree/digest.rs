//! Running checksum of the tree, equal on every server at the same zxid.
//!
//! In: a node's path, data and stored stat. Out: its part of the tree's digest, which is the sum of all parts.
//!
//! Always true:
//! * it is bit for bit Apache ZooKeeper's digest of version 2;
//! * nodes below `/zookeeper` count nothing: their contents differ between servers.
//!
//! A leader puts into a txn the digest of the tree after it, while earlier txns are not applied yet. Its view of
//! what is in flight keeps [`prefix`] and stat of each node that it changed, and adds up: digest of the last txn
//! in flight (or of the tree), minus [`node_digest`] of every node before, plus that of every node after.
//!
//! Not here: keeping the sum (`store`).

use std::collections::VecDeque;

use crc32fast::Hasher;

use crate::base::Zxid;
use crate::proto::StatPersisted;

/// Every 128th txn's digest is kept, as Apache ZooKeeper does, so that servers can be compared.
const HISTORY_STEP: i64 = 128;
/// How many are kept.
const HISTORY_COUNT_MAX: usize = 1_024;

/// Checksum of path and data: what does not change when only a stat does.
pub fn prefix(path: &str, data: Option<&[u8]>) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(if path == "/" { b"" } else { path.as_bytes() });
    hasher.update(data.unwrap_or_default());
    hasher.finalize()
}

/// A node's part of the tree's digest. `prefix` is [`prefix`] of the same path and its data.
pub fn node_digest(path: &str, prefix: u32, stat: &StatPersisted) -> u64 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let mut bytes = [0_u8; 60];
    let longs = [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime, stat.mtime];
    for (place, value) in bytes[..40].chunks_exact_mut(8).zip(longs) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    for (place, value) in bytes[40..52].chunks_exact_mut(4).zip([stat.version, stat.cversion, stat.aversion])
    {
        place.copy_from_slice(&value.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    let mut hasher = Hasher::new_with_initial(prefix);
    hasher.update(&bytes);
    u64::from(hasher.finalize())
}

/// Digests of the past, for the word `hash` and the admin command of that name.
#[derive(Debug, Default)]
pub(super) struct History {
    digests: VecDeque<(Zxid, u64)>,
}

impl History {
    /// Notes the digest after a txn.
    pub fn note(&mut self, zxid: Zxid, digest: u64) {
        if zxid.0 % HISTORY_STEP != 0 {
            return;
        }
        if self.digests.len() == HISTORY_COUNT_MAX {
            self.digests.pop_front();
        }
        self.digests.push_back((zxid, digest));
    }

    /// What is kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.digests.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_observed_digests_are_computed() {
        let fresh = StatPersisted::default();
        let of =
            |path: &str, data: &[u8], stat: &StatPersisted| node_digest(path, prefix(path, Some(data)), stat);
        assert_eq!(of("/", b"", &fresh), 68_323_592);
        assert_eq!(of("", b"", &fresh), 68_323_592);
        assert_eq!(of("/zookeeper", b"", &fresh), 1_303_661_912);
        assert_eq!(of("/zookeeper/quota", b"", &fresh), 0);
        let zxid = Zxid(0x1_0000_0002);
        let root = StatPersisted { cversion: 1, pzxid: zxid, ..fresh };
        assert_eq!(of("", b"", &root), 3_942_836_307);
        let a = StatPersisted::created(zxid, 0x1a2_04d1_361c, 0);
        assert_eq!(of("/a", b"d", &a), 501_349_349);
    }

    #[test]
    fn history_keeps_the_last_1024_of_every_128th_txn() {
        let mut history = History::default();
        for zxid in 1..=128 * 1_030 {
            history.note(Zxid(zxid), 5);
        }
        let kept: Vec<_> = history.iter().collect();
        assert_eq!(kept.len(), 1_024);
        assert_eq!(kept.first(), Some(&(Zxid(128 * 7), 5)));
        assert_eq!(kept.last(), Some(&(Zxid(128 * 1_030), 5)));
    }
}
