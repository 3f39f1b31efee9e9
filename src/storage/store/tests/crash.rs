//! Power fails after every single operation of the disk, while a server writes and while it starts.
//!
//! In: scripts of writes, decided by seeds, performed until power fails. Out: what a start finds after the crash.
//!
//! Always true:
//! * it finds what was reported as durable, then possibly a prefix of what was under way, and nothing else;
//! * it never refuses to start, unless a bit of an old file was turned over.
//!
//! Not here: single cases (`tests`).

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::super::*;
use crate::base::rng::Rng;
use crate::base::{Compression, Epoch, ServerId, Zxid};
use crate::storage::sim_disk::{DiskFaults, SimDisk};

/// Batches of one script.
const BATCHES: usize = 14;

/// What must be found: the same values that a start hands on.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    /// Everything below and at it is in some snapshot.
    base: Zxid,
    /// Every txn above it.
    txns: BTreeMap<Zxid, Bytes>,
    epochs: Epochs,
    ensemble: (Option<String>, Option<String>),
}

/// One step of a script.
#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Write>),
    Roll,
    Snapshot(Zxid),
    Purge,
}

impl Model {
    fn new() -> Model {
        let (base, txns) = (Zxid::ZERO, BTreeMap::new());
        Model { base, txns, epochs: Epochs::default(), ensemble: (None, None) }
    }

    fn last(&self) -> Zxid {
        self.txns.last_key_value().map_or(self.base, |(zxid, _)| *zxid)
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Append { zxid, txn } => drop(self.txns.insert(*zxid, txn.clone())),
            Write::Epochs(epochs) => self.epochs = *epochs,
            Write::Truncate(zxid) => self.txns.retain(|it, _| it <= zxid),
            Write::Replace { zxid, .. } => {
                self.base = *zxid;
                self.txns.clear();
            }
            Write::Ensemble { current, proposed } => {
                self.ensemble = (Some(current.clone()), proposed.clone())
            }
        }
    }

    /// The states that a crash may leave: before `writes`, within them, behind them.
    fn prefixes(&self, writes: &[Write]) -> Vec<Model> {
        let mut states = vec![self.clone()];
        for write in writes {
            let mut next = states.last().expect("it begins with one").clone();
            let before = next.clone();
            next.apply(write);
            // Two files, replaced one after the other.
            states.push(Model {
                epochs: Epochs { current: before.epochs.current, ..next.epochs },
                ..before.clone()
            });
            let current = next.ensemble.0.clone();
            states.push(Model { ensemble: (current.clone(), before.ensemble.1.clone()), ..before.clone() });
            states.push(Model { ensemble: (current, None), ..before });
            states.push(next);
        }
        states
    }

    fn agrees(&self, found: &Recovered) -> bool {
        let snapshot = found.snapshot.as_ref().expect("there always is one");
        let after: Vec<_> =
            self.txns.range(snapshot.zxid.next()..).map(|(zxid, txn)| (*zxid, txn.clone())).collect();
        let raised = self.epochs.current.max(self.last().epoch());
        let epochs = Epochs { current: raised, accepted: self.epochs.accepted.max(raised) };
        let is_known = snapshot.zxid == self.base || self.txns.contains_key(&snapshot.zxid);
        let body = body_at(snapshot.zxid);
        let is_body = snapshot.body == body || (snapshot.zxid == Zxid::ZERO && snapshot.body == empty());
        let in_force = self.ensemble.0.as_deref().map(version);
        let proposed = self.ensemble.1.clone().filter(|text| Some(version(text)) > in_force);
        is_known
            && is_body
            && found.txns == after
            && found.epochs == epochs
            && (&found.ensemble_current, &found.ensemble_proposed) == (&self.ensemble.0, &proposed)
    }
}

fn version(text: &str) -> u64 {
    u64::from_str_radix(text.rsplit_once("version=").expect("texts have one").1, 16).expect("hex")
}

fn empty() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/'])
}

fn body_at(zxid: Zxid) -> Bytes {
    [&[0; 8][..], &zxid.0.to_be_bytes(), &[0, 0, 0, 1, b'/']].concat().into()
}

fn append(zxid: Zxid, rng: &mut Rng) -> Write {
    let mut txn = vec![0; 32 + rng.below(90) as usize];
    txn[12..20].copy_from_slice(&zxid.0.to_be_bytes());
    txn[32..].iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
    Write::Append { zxid, txn: txn.into() }
}

/// What a server does, and how it writes snapshots.
#[derive(Debug)]
struct Script {
    steps: Vec<Step>,
    compression: Compression,
}

/// Writes as a server may ask for them.
fn script(seed: u64) -> Script {
    let compressions = [Compression::None, Compression::Gzip, Compression::Snappy];
    Script { steps: steps(&mut Rng::new(seed)), compression: compressions[seed as usize % 3] }
}

fn steps(rng: &mut Rng) -> Vec<Step> {
    let mut model = Model::new();
    let mut steps = Vec::new();
    let mut version = 0;
    // After the end of the history changed, no zxid is given a second time.
    let mut epoch = Epoch(1);
    // A cut never goes below the newest snapshot, and after a purge could not.
    let mut lowest_cut = Zxid::ZERO;
    for _ in 0..BATCHES {
        let mut writes = Vec::new();
        for _ in 0..=rng.below(3) {
            let last = model.last();
            let mut held: Vec<Zxid> = model.txns.keys().copied().collect();
            held.push(model.base);
            let any_held = held[rng.below(held.len() as u64) as usize];
            let write = match rng.below(12) {
                0 => {
                    epoch = epoch.next();
                    Write::Truncate(any_held.max(lowest_cut))
                }
                1 => {
                    let ahead = Zxid::new(epoch, 40);
                    epoch = epoch.next();
                    let zxid = if rng.below(2) == 0 { any_held } else { ahead };
                    lowest_cut = zxid;
                    Write::Replace { zxid, body: body_at(zxid), digest: 7 }
                }
                2 => {
                    epoch = epoch.next();
                    let current = model.epochs.current.max(last.epoch());
                    Write::Epochs(Epochs { accepted: epoch, current })
                }
                3 => {
                    version += 1;
                    let current = format!("server.1=a:1:2:participant\nversion={version:x}");
                    let proposed = format!("server.1=a:1:2:observer\nversion={:x}", version + 1);
                    Write::Ensemble { current, proposed: (rng.below(2) == 0).then_some(proposed) }
                }
                _ if last.epoch() == epoch => append(last.next(), rng),
                _ => append(Zxid::new(epoch, 1), rng),
            };
            model.apply(&write);
            writes.push(write);
        }
        steps.push(Step::Batch(writes));
        match rng.below(6) {
            0 => {
                lowest_cut = model.last();
                steps.extend([Step::Roll, Step::Snapshot(model.last())]);
            }
            1 => steps.push(Step::Purge),
            _ => {}
        }
    }
    steps
}

fn open(disk: &SimDisk, compression: Compression) -> Result<(Store, Recovered), Error> {
    // Two directories: no sync of one makes names in the other durable.
    let layout = Layout { log_dir: "/log".into(), ..Layout::in_dir(Path::new("/data"), ServerId(1)) };
    let options =
        Options { prealloc_bytes: 512, log_bytes_max: Some(700), compression, ..Options::default() };
    Store::open(Arc::new(disk.clone()), layout, options, empty())
}

/// Performs a script until something fails; answers what is reported as durable, and what was under way.
fn run(disk: &SimDisk, script: &Script) -> (Model, Vec<Write>) {
    let mut model = Model::new();
    let Ok((mut store, _)) = open(disk, script.compression) else { return (model, Vec::new()) };
    for step in &script.steps {
        let done = match step {
            Step::Batch(writes) => {
                let numbered: Vec<_> = (1..).map(WriteSeq).zip(writes.iter().cloned()).collect();
                match store.perform(&numbered) {
                    Ok(seq) => assert_eq!(seq, numbered.last().expect("no batch is empty").0),
                    Err(Error::Contradiction { write, history }) => panic!("{write} {history}"),
                    Err(_) => return (model, writes.clone()),
                }
                writes.iter().for_each(|write| model.apply(write));
                Ok(())
            }
            Step::Roll => store.roll(),
            Step::Snapshot(zxid) => store.snapshots().write(*zxid, 7, |out| out.write_all(&body_at(*zxid))),
            Step::Purge => store.snapshots().purge(3).map(drop),
        };
        if done.is_err() {
            return (model, Vec::new());
        }
    }
    (model, Vec::new())
}

/// Starts after a crash, goes on writing, and starts again; in between the setting for snapshots is another.
fn check(disk: &SimDisk, durable: &Model, under_way: &[Write], context: &str) {
    let (mut store, found) = open(disk, Compression::Snappy).unwrap_or_else(|err| panic!("{context}: {err}"));
    let fits = durable.prefixes(under_way).iter().any(|state| state.agrees(&found));
    assert!(fits, "{context}: found {found:#?}\ndurable {durable:#?}\nunder way {under_way:#?}");

    let next = Zxid::new(found.last_zxid().epoch().next(), 1);
    let write = append(next, &mut Rng::new(1));
    store.perform(&[(WriteSeq(1), write)]).unwrap_or_else(|err| panic!("{context}: {err}"));
    drop(store);
    disk.crash();
    let (_, again) = open(disk, Compression::None).unwrap_or_else(|err| panic!("{context}: {err}"));
    assert_eq!(again.last_zxid(), next, "{context}");
    assert_eq!(again.txns.len(), found.txns.len() + 1, "{context}");
}

fn seeds() -> std::ops::Range<u64> {
    0..60
}

#[test]
fn power_fails_after_every_operation() {
    for seed in seeds() {
        let script = script(seed);
        let whole = SimDisk::new(seed);
        let (model, under_way) = run(&whole, &script);
        assert!(under_way.is_empty() && model != Model::new(), "the script runs to its end");
        for ops in 0..whole.ops() {
            let disk = SimDisk::new(seed ^ ops << 32);
            disk.power_off_after(ops);
            let (durable, under_way) = run(&disk, &script);
            disk.crash();
            check(&disk, &durable, &under_way, &format!("seed {seed}, power off after {ops}"));
        }
    }
}

#[test]
fn power_fails_again_during_the_start() {
    for seed in seeds() {
        let script = script(seed);
        let whole = SimDisk::new(seed);
        run(&whole, &script);
        let mut rng = Rng::new(seed);
        for _ in 0..40 {
            let ops = rng.below(whole.ops());
            let disk = SimDisk::new(rng.next_u64());
            disk.power_off_after(ops);
            let (durable, under_way) = run(&disk, &script);
            disk.crash();
            for again in 0..rng.below(8) {
                disk.power_off_after(again);
                drop(open(&disk, script.compression));
                disk.crash();
            }
            check(&disk, &durable, &under_way, &format!("seed {seed}, power off after {ops}"));
        }
    }
}

#[test]
fn writes_and_syncs_fail() {
    for seed in seeds() {
        let script = script(seed);
        for round in 0..20 {
            let disk = SimDisk::new(seed ^ round << 32);
            drop(open(&disk, script.compression));
            disk.set_faults(DiskFaults {
                write_per_mille: 20,
                sync_per_mille: 20,
                capacity_bytes: Some(14_000),
            });
            let (durable, under_way) = run(&disk, &script);
            disk.set_faults(DiskFaults::default());
            disk.crash();
            check(&disk, &durable, &under_way, &format!("seed {seed}, round {round}"));
        }
    }
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    let (mut used, mut refused) = (0, 0);
    for seed in seeds() {
        let script = script(seed);
        for round in 0..40 {
            let disk = SimDisk::new(seed ^ round << 32);
            let (model, _) = run(&disk, &script);
            let is_history = |path: &Path| {
                path.to_str().is_some_and(|path| path.contains("/log.") || path.contains("/snapshot."))
            };
            let Some(flipped) = disk.flip_any_bit(is_history) else { continue };
            match open(&disk, script.compression) {
                Err(_) => refused += 1,
                Ok((_, found)) => {
                    used += 1;
                    let mut model = model;
                    // The last file may end early: a flipped bit in its end looks like a torn write.
                    model.txns.retain(|zxid, _| *zxid <= found.last_zxid());
                    let found = Recovered { epochs: model.epochs, ..found };
                    let raised = model.epochs.current.max(model.last().epoch());
                    model.epochs = Epochs { current: raised, accepted: model.epochs.accepted.max(raised) };
                    let found = Recovered { epochs: model.epochs, ..found };
                    assert!(model.agrees(&found), "seed {seed} {flipped:?}: {found:#?} {model:#?}");
                }
            }
        }
    }
    assert!(used > 100 && refused > 100, "{used} starts, {refused} refusals");
}
