//! One server's disk, and a crash after every single operation of it, with every kind of loss.
//!
//! In: what a server writes in its life: txns in batches, snapshots, logs that end, purges, cuts, whole histories of a
//! leader, epochs, memberships, restarts. Out: what a start finds on a copy of the disk as a crash there leaves it.
//!
//! Always true:
//! * what was acknowledged is found, of what was under way a prefix, and nothing else: the tree is, node by node and by
//!   digest, the one that the server had at that zxid;
//! * a start never refuses what a crash left, and what is written after it is found by the next.
//!
//! Not here: crashes by chance in whole ensembles (`nemesis`), bits that turn over (`storage`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate::base::rng::Rng;
use quorate::base::{Compression, Epoch, Epochs, Recovered, ServerId, SessionId, Write, WriteSeq, Zxid};
use quorate::proto::Acl;
use quorate::storage::sim_disk::Loss;
use quorate::storage::{Error, Layout, Options, SimDisk, Store};
use quorate::tree::{
    CreateKind, CreateTxn, DeleteReason, SetDataReason, SetDataTxn, Tree, Txn, TxnBody, TxnHeader,
};

use crate::trace::hash_bytes;

/// Steps of one life.
const STEPS: usize = 160;
/// What a crash may take. What the seed decides is decided more than once.
const LOSSES: [Loss; 7] =
    [Loss::All, Loss::Nothing, Loss::LastTorn, Loss::Any, Loss::Any, Loss::Any, Loss::Tail];
/// How many snapshots are kept.
const SNAPSHOTS_KEPT: usize = 3;
/// Every how many operations power fails, unless CI asks for each.
const STRIDE: usize = 9;

/// How a server writes its files.
#[derive(Clone, Copy, Debug)]
struct Manner {
    log_dir: &'static str,
    prealloc_bytes: u64,
    log_bytes_max: Option<u64>,
    compression: Compression,
}

const MANNERS: [Manner; 3] = [
    Manner { log_dir: "/data", prealloc_bytes: 0, log_bytes_max: None, compression: Compression::None },
    Manner {
        log_dir: "/log",
        prealloc_bytes: 1 << 12,
        log_bytes_max: Some(1_500),
        compression: Compression::None,
    },
    Manner { log_dir: "/log", prealloc_bytes: 300, log_bytes_max: None, compression: Compression::Gzip },
];

/// One step of a server's life.
#[derive(Clone, Debug)]
enum Step {
    /// Writes that share a sync.
    Batch(Vec<Write>),
    /// The log ends, and a snapshot is written, of this zxid, with this body and digest.
    Snapshot(Zxid, Bytes, u64),
    /// What is old goes.
    Purge,
    /// The process ends and starts.
    Restart,
}

/// What a disk has to hold: the last txn, which says what the tree is, the epochs and the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    last: Zxid,
    epochs: Epochs,
    ensemble: (Option<String>, Option<String>),
}

impl Held {
    fn nothing() -> Held {
        Held { last: Zxid::ZERO, epochs: Epochs::default(), ensemble: (None, None) }
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Append { zxid, .. } | Write::Truncate(zxid) | Write::Replace { zxid, .. } => {
                self.last = *zxid
            }
            Write::Epochs(epochs) => self.epochs = *epochs,
            Write::Ensemble { current, proposed } => {
                self.ensemble = (Some(current.clone()), proposed.clone())
            }
        }
    }

    /// Every state that a crash may leave: before these writes, between them, behind them.
    fn states(&self, writes: &[Write]) -> Vec<Held> {
        let mut states = vec![self.clone()];
        for write in writes {
            let before = states.last().expect("it begins with one").clone();
            let mut after = before.clone();
            after.apply(write);
            // Two files are replaced one after the other.
            let current = before.epochs.current;
            let half = Epochs { accepted: after.epochs.accepted, current };
            states.push(Held { epochs: half, ..before.clone() });
            for proposed in [before.ensemble.1.clone(), None] {
                let ensemble = (after.ensemble.0.clone(), proposed);
                states.push(Held { ensemble, ..before.clone() });
            }
            states.push(after);
        }
        states
    }

    fn is_found(&self, found: &Recovered) -> bool {
        // A log that holds a txn of an epoch holds the epoch's initial history: a start mends an epoch file that is behind.
        let current = self.epochs.current.max(self.last.epoch());
        let epochs = Epochs { current, accepted: self.epochs.accepted.max(current) };
        let in_force = self.ensemble.0.as_deref().map(version_of);
        let proposed = self.ensemble.1.clone().filter(|text| Some(version_of(text)) > in_force);
        found.last_zxid() == self.last
            && found.epochs == epochs
            && (&found.ensemble_current, &found.ensemble_proposed) == (&self.ensemble.0, &proposed)
    }
}

fn version_of(text: &str) -> u64 {
    let (_, version) = text.rsplit_once("version=").expect("a membership has a version");
    u64::from_str_radix(version, 16).expect("a version is hexadecimal")
}

/// A tree that the server had.
#[derive(Clone, Debug)]
struct Had {
    /// As a snapshot holds it.
    body: Bytes,
    digest: u64,
    content: u64,
}

/// A server's life, decided by a seed, and every tree that it had.
struct Life {
    rng: Rng,
    tree: Tree,
    /// The tree after each txn that there ever was.
    trees: BTreeMap<Zxid, Had>,
    /// Where the history can be cut: at what was not cut or replaced before.
    history: BTreeSet<Zxid>,
    epoch: Epoch,
    version: u64,
    session: SessionId,
    /// A cut never goes below the newest snapshot.
    lowest_cut: Zxid,
    steps: Vec<Step>,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut life = Life {
            rng: Rng::new(seed),
            tree: Tree::new(),
            trees: BTreeMap::new(),
            history: BTreeSet::new(),
            epoch: Epoch(1),
            version: 0,
            session: SessionId(0x100),
            lowest_cut: Zxid::ZERO,
            steps: Vec::new(),
        };
        life.note();
        life.steps.push(Step::Batch(vec![life.epochs()]));
        for _ in 0..STEPS {
            life.live();
        }
        life
    }

    fn live(&mut self) {
        match self.rng.below(40) {
            0 => {
                let zxid = self.tree.zxid();
                let Had { body, digest, .. } = self.trees[&zxid].clone();
                self.lowest_cut = zxid;
                self.steps.push(Step::Snapshot(zxid, body, digest));
                self.steps.push(Step::Purge);
            }
            1 => self.steps.push(Step::Restart),
            2 => {
                let held: Vec<Zxid> = self.history.range(self.lowest_cut..).copied().collect();
                let to = held[self.rng.below(held.len() as u64) as usize];
                self.steps.push(Step::Batch(vec![Write::Truncate(to)]));
                self.go_back_to(to);
                self.next_epoch();
            }
            3 if self.rng.below(2) == 0 => {
                // A leader's tree: this one, and what this server never logged.
                self.next_epoch();
                (0..5).for_each(|_| drop(self.txn()));
                let zxid = self.tree.zxid();
                let Had { body, digest, .. } = self.trees[&zxid].clone();
                self.lowest_cut = zxid;
                self.history = BTreeSet::from([zxid]);
                self.steps.push(Step::Batch(vec![Write::Replace { zxid, body, digest }]));
            }
            4 => {
                self.version += 1;
                let current = format!("server.1=a:1:2:participant\nversion={:x}", self.version);
                let proposed = format!("server.1=a:1:2:observer\nversion={:x}", self.version + 1);
                let proposed = (self.rng.below(2) == 0).then_some(proposed);
                let membership = Write::Ensemble { current, proposed };
                let batch = vec![self.txn(), membership, self.txn()];
                self.steps.push(Step::Batch(batch));
            }
            5 => self.next_epoch(),
            _ => {
                let batch = (0..=self.rng.below(4)).map(|_| self.txn()).collect();
                self.steps.push(Step::Batch(batch));
            }
        }
    }

    fn next_epoch(&mut self) {
        self.epoch = self.epoch.next();
        let epochs = self.epochs();
        self.steps.push(Step::Batch(vec![epochs]));
    }

    fn epochs(&self) -> Write {
        Write::Epochs(Epochs { accepted: self.epoch, current: self.epoch })
    }

    /// The next txn, applied. Whatever a leader may have agreed.
    fn txn(&mut self) -> Write {
        let last = self.tree.zxid();
        let zxid = if last.epoch() == self.epoch { last.next() } else { Zxid::new(self.epoch, 1) };
        let body = self.body();
        let header = TxnHeader { session: self.session, cxid: 1, zxid, time: zxid.0 };
        let applied = self.tree.apply(&Txn { header, body: body.clone(), digest: None });
        assert!(applied.mismatch.is_none());
        self.note();
        let digest = body.has_digest().then_some(self.tree.digest());
        Write::Append { zxid, txn: Txn { header, body, digest }.to_bytes() }
    }

    fn body(&mut self) -> TxnBody {
        let path = format!("/n{}", self.rng.below(30));
        let data = Bytes::from("x".repeat(self.rng.below(90) as usize));
        if !self.tree.sessions().contains_key(&self.session) {
            return TxnBody::CreateSession { timeout_ms: 4_000 };
        }
        let Some(version) = self.tree.node(&path).map(|node| node.stat().version) else {
            let kind = match self.rng.below(4) {
                0 => CreateKind::Create { ephemeral: true },
                1 => CreateKind::Container,
                2 => CreateKind::Ttl { ttl_ms: 5_000 },
                _ => CreateKind::Create2 { ephemeral: false },
            };
            let acl = Acl::open();
            let created = self.tree.node("/").expect("there is a root").stat_persisted().cversion;
            return TxnBody::Create(CreateTxn {
                path,
                data: Some(data),
                acl,
                kind,
                parent_cversion: created + 1,
            });
        };
        match self.rng.below(8) {
            0 => TxnBody::Error { err: -101 },
            1 => {
                let paths = self.tree.ephemerals(self.session);
                TxnBody::CloseSession { paths }
            }
            2 | 3 => TxnBody::Delete { path, reason: DeleteReason::Client },
            _ => {
                let (data, version) = (Some(data), version + 1);
                TxnBody::SetData(SetDataTxn { path, data, version, reason: SetDataReason::Client })
            }
        }
    }

    fn go_back_to(&mut self, zxid: Zxid) {
        let body = self.trees[&zxid].body.clone();
        self.tree = Tree::from_body(zxid, body, None).expect("it was written by this program");
        self.history.retain(|at| *at <= zxid);
    }

    fn note(&mut self) {
        let image = self.tree.image();
        self.history.insert(image.zxid());
        let (body, digest, content) = (image.to_body(), image.digest(), content_of(&self.tree));
        self.trees.insert(image.zxid(), Had { body, digest, content });
    }
}

/// A hash of every session and node, with data, ACL and all numbers.
fn content_of(tree: &Tree) -> u64 {
    let mut nodes = BTreeMap::new();
    let mut waiting = vec!["/".to_owned()];
    while let Some(path) = waiting.pop() {
        let node = tree.node(&path).expect("it was found as a child");
        let above = if path == "/" { "" } else { &path };
        waiting.extend(node.children().map(|name| format!("{above}/{name}")));
        let shown = format!("{:?} {:?} {:?}", node.data(), node.acl(), node.stat_persisted());
        nodes.insert(path, shown);
    }
    hash_bytes(0, format!("{nodes:?} {:?}", tree.sessions()).as_bytes())
}

/// A disk on which a life took place until power failed.
struct Ended {
    disk: SimDisk,
    /// What was reported as durable.
    held: Held,
    /// What was being written.
    under_way: Vec<Write>,
    is_complete: bool,
}

fn open(disk: &SimDisk, manner: Manner) -> Result<(Store, Recovered), Error> {
    let layout = Layout { log_dir: manner.log_dir.into(), ..Layout::in_dir(Path::new("/data"), ServerId(1)) };
    let Manner { prealloc_bytes, log_bytes_max, compression, .. } = manner;
    let options = Options { prealloc_bytes, log_bytes_max, compression, ..Options::default() };
    Store::open(Arc::new(disk.clone()), layout, options, Tree::new().image().to_body())
}

/// Lives until power fails, after so many operations of the disk.
fn live(steps: &[Step], manner: Manner, ops: u64) -> Ended {
    let disk = SimDisk::new(ops);
    disk.power_off_after(ops);
    let mut ended = Ended { disk, held: Held::nothing(), under_way: Vec::new(), is_complete: false };
    let Ok((mut store, _)) = open(&ended.disk, manner) else { return ended };
    for step in steps {
        let done = match step {
            Step::Batch(writes) => {
                let numbered: Vec<_> = (1..).map(WriteSeq).zip(writes.iter().cloned()).collect();
                let done = store.perform(&numbered).map(drop);
                match &done {
                    Ok(()) => writes.iter().for_each(|write| ended.held.apply(write)),
                    Err(Error::Contradiction { write, history }) => panic!("{write} {history}"),
                    Err(_) => ended.under_way.clone_from(writes),
                }
                done
            }
            Step::Snapshot(zxid, body, digest) => {
                store.roll().and_then(|()| store.snapshots().write(*zxid, *digest, |out| out.write_all(body)))
            }
            Step::Purge => store.snapshots().purge(SNAPSHOTS_KEPT).map(drop),
            Step::Restart => {
                drop(store);
                let Ok((again, _)) = open(&ended.disk, manner) else { return ended };
                store = again;
                Ok(())
            }
        };
        if done.is_err() {
            return ended;
        }
    }
    ended.is_complete = true;
    ended
}

/// The tree that a start makes of what it finds.
fn tree_of(found: &Recovered, context: &str) -> Tree {
    let snapshot = found.snapshot.as_ref().unwrap_or_else(|| panic!("{context}: no snapshot is found"));
    let tree = Tree::from_body(snapshot.zxid, snapshot.body.clone(), snapshot.digest);
    let mut tree = tree.unwrap_or_else(|err| panic!("{context}: {}: {err}", snapshot.zxid));
    for (zxid, txn) in &found.txns {
        let txn = Txn::decode(txn.clone()).unwrap_or_else(|err| panic!("{context}: {zxid}: {err}"));
        let mismatch = tree.apply(&txn).mismatch;
        assert!(mismatch.is_none(), "{context}: {zxid} leads to another tree: {mismatch:?}");
    }
    tree
}

/// Starts on what a crash left, compares, goes on writing, crashes, and starts again.
fn check(life: &Life, manner: Manner, ended: &Ended, disk: &SimDisk, context: &str) {
    let (mut store, found) = open(disk, manner).unwrap_or_else(|err| panic!("{context}: no start: {err}"));
    let is_found = ended.held.states(&ended.under_way).iter().any(|held| held.is_found(&found));
    let shown = || format!("{} {:?} {:?}", found.last_zxid(), found.epochs, found.ensemble_current);
    assert!(
        is_found,
        "{context}: found {}, durable {:?}, under way {:?}",
        shown(),
        ended.held,
        ended.under_way
    );
    let tree = tree_of(&found, context);
    let expected = life.trees.get(&tree.zxid());
    let had = expected.unwrap_or_else(|| panic!("{context}: nobody ever had {}", tree.zxid()));
    assert!(tree.digest() == had.digest, "{context}: the digest at {} is another", tree.zxid());
    assert!(content_of(&tree) == had.content, "{context}: the tree at {} is another", tree.zxid());

    let next = Zxid::new(found.last_zxid().epoch().next(), 1);
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: next, time: 0 };
    let txn = Txn { header, body: TxnBody::Error { err: -101 }, digest: None }.to_bytes();
    let written = store.perform(&[(WriteSeq(1), Write::Append { zxid: next, txn })]);
    written.unwrap_or_else(|err| panic!("{context}: nothing can be written any more: {err}"));
    drop(store);
    disk.crash_with(Loss::Nothing);
    let (_, again) = open(disk, manner).unwrap_or_else(|err| panic!("{context}: no second start: {err}"));
    assert!(
        again.last_zxid() == next && again.txns.len() == found.txns.len() + 1,
        "{context}: found {} and then {}",
        shown(),
        again.last_zxid()
    );
}

/// Lives as often as there are operations of the disk, each time until one more is done, and crashes in every way.
fn crash_everywhere(seed: u64, manner: Manner, stride: usize) -> u64 {
    let life = Life::new(seed);
    let whole = live(&life.steps, manner, u64::MAX / 2);
    assert!(whole.is_complete, "a life without a crash comes to its end");
    for ops in (0..whole.disk.ops()).step_by(stride) {
        let ended = live(&life.steps, manner, ops);
        assert!(!ended.is_complete, "power fails before the end");
        for (turn, loss) in LOSSES.into_iter().enumerate() {
            let disk = ended.disk.copy(ops << 8 | turn as u64);
            disk.crash_with(loss);
            let context = format!("seed {seed}, {manner:?}, power off after {ops}, loss {loss:?} ({turn})");
            check(&life, manner, &ended, &disk, &context);
        }
    }
    whole.disk.ops()
}

#[test]
fn after_a_crash_at_any_operation_the_disk_holds_what_was_acknowledged() {
    let is_ci = std::env::var("QUORATE_SIM").is_ok_and(|amount| amount == "ci");
    let stride = if is_ci { 1 } else { STRIDE };
    for (seed, manner) in (1..).zip(MANNERS) {
        let ops = crash_everywhere(seed, manner, stride);
        println!("simulator: {ops} operations of {manner:?}, each {stride}. with {} losses", LOSSES.len());
        assert!(ops > 300, "only {ops} operations");
    }
}
