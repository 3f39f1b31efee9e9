//! The faults of a run: which kind happens when, to whom and for how long.
//!
//! In: a seed and how the run is set up. Out: the next fault and when it is due.
//!
//! Always true:
//! * one seed and one setup give one sequence of faults;
//! * every fault that lasts has an end, and none begins after the faulty phase.
//!
//! Not here: what a fault does to the world (`nemesis`).

use quorate::base::rng::Rng;

use crate::queue::Micros;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Every packet of one way takes long.
    Delay,
    /// Every packet takes a time of its own, so that peers hear things in different orders.
    Reorder,
    /// One link passes nothing on for a while.
    Stall,
    /// One link breaks.
    Break,
    /// The next link on which NEWLEADER arrives breaks at once, while the learner's disk is busy with it.
    BreakInSync,
    /// Packets of one way are lost.
    OneWay,
    /// Servers are split in two.
    Partition,
    /// A process is killed; its disk keeps what was written.
    Kill,
    /// A machine loses power: unsynced writes are lost, the last one is torn.
    PowerCut,
    /// Power fails in the middle of writing a batch.
    PowerCutInWrite,
    /// A server starts again.
    Restart,
    /// Syncs of one disk take long.
    SlowDisk,
    /// A disk answers errors: its process ends.
    DiskError,
    /// A machine loses power, and a bit of an old file of its disk is found turned over.
    BitFlip,
    /// A wall clock jumps.
    ClockJump,
    /// A clock runs fast or slow from here on.
    ClockDrift,
    /// The membership changes.
    Reconfig,
    /// Leadership is handed over on command.
    HandOver,
    /// A client goes silent for longer than its session lasts.
    Expiry,
    /// A client's connection breaks.
    ClientBreak,
    /// A disk fills up to its reserve, or into it, until there is room again.
    FullDisk,
}

/// Every kind.
pub const KINDS: [Kind; 21] = [
    Kind::Delay,
    Kind::Reorder,
    Kind::Stall,
    Kind::Break,
    Kind::BreakInSync,
    Kind::OneWay,
    Kind::Partition,
    Kind::Kill,
    Kind::PowerCut,
    Kind::PowerCutInWrite,
    Kind::Restart,
    Kind::SlowDisk,
    Kind::DiskError,
    Kind::BitFlip,
    Kind::ClockJump,
    Kind::ClockDrift,
    Kind::Reconfig,
    Kind::HandOver,
    Kind::Expiry,
    Kind::ClientBreak,
    Kind::FullDisk,
];

/// How often each kind happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; KINDS.len()]);

impl Counts {
    /// One more.
    pub fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// How often one kind happened.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

/// Whether a run begins with fewer members than servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The others join.
    Wanted,
    /// All are members.
    Done,
}

/// What decides about faults.
pub struct Plan {
    rng: Rng,
    /// Mean time between two faults.
    pause: Micros,
    /// Kinds that this run has, some more than once.
    kinds: Vec<Kind>,
}

impl Plan {
    /// The plan of a seed: most runs have all kinds, some only a few, and those often. An ensemble that has to grow
    /// changes its membership more often.
    pub fn new(seed: u64, tick: Micros, growth: Growth) -> Plan {
        let mut rng = Rng::new(seed);
        let all = KINDS.iter().copied().filter(|kind| *kind != Kind::Restart);
        // A flipped bit has many conditions, and is often not possible.
        let mut kinds: Vec<Kind> = all.chain([Kind::BitFlip]).collect();
        if rng.below(3) == 0 {
            let keep = 3 + rng.below(4) as usize;
            while kinds.len() > keep {
                kinds.remove(rng.below(kinds.len() as u64) as usize);
            }
        }
        if growth == Growth::Wanted {
            kinds.extend([Kind::Reconfig; 4]);
        }
        let pause = Micros(tick.0 + rng.below(tick.0 * 4)).min(Micros::of_ms(1_500));
        Plan { rng, pause, kinds }
    }

    /// How long until the next fault.
    pub fn pause(&mut self) -> Micros {
        Micros(1_000 + self.rng.below(self.pause.0 * 2))
    }

    /// The next fault.
    pub fn next(&mut self) -> Kind {
        self.kinds[self.rng.below(self.kinds.len() as u64) as usize]
    }

    /// How long a fault lasts: mostly short, now and then long enough that everybody notices.
    pub fn span(&mut self, tick: Micros) -> Micros {
        match self.rng.below(4) {
            0 => Micros(1_000 + self.rng.below(tick.0 / 2)),
            1 | 2 => Micros(tick.0 / 2 + self.rng.below(tick.0 * 3)),
            _ => Micros(tick.0 * 2 + self.rng.below(tick.0 * 8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_at_its_place() {
        for (place, kind) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, place);
        }
    }
}
