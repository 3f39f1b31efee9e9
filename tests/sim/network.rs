//! The network between servers: links of the quorum port and notifications of the election port.
//!
//! In: what a server sends, and what faults do to the way between two servers. Out: when it arrives, if it does.
//!
//! Always true:
//! * what arrives on one link arrives in order and without a gap; a link that loses anything is reported down;
//! * of notifications to one server the newest replaces one that still waits;
//! * nothing is told to the sender at once about a way that is cut: as with TCP, silence is all it hears.
//!
//! Not here: when faults happen (`faults`), what servers do with packets (`world`).

use std::collections::VecDeque;

use quorate::base::LinkId;
use quorate::base::rng::Rng;
use quorate::zab::packet::Packet;
use quorate::zab::vote::Notification;

use crate::queue::Micros;

/// A place in the list of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// One process: a server's place and the number of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Which server.
    pub slot: Slot,
    /// Counted from 1 with each start.
    pub life: u32,
}

/// Which of a link's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that dialed.
    Dialer,
    /// The end that accepted.
    Acceptor,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Side {
        match self {
            Side::Dialer => Side::Acceptor,
            Side::Acceptor => Side::Dialer,
        }
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The process that holds it.
    pub process: Process,
    /// Its number there.
    pub link: LinkId,
    /// Whether the process still holds it open.
    pub open: bool,
}

/// What travels on a link.
#[derive(Debug)]
pub enum Item {
    /// A packet.
    Packet(Packet),
    /// The end of the stream, or a reset.
    End,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub struct Pipe {
    /// What is under way, with its time of arrival.
    pub items: VecDeque<(Micros, Item)>,
    /// The latest time of arrival given out: nothing overtakes.
    last: Micros,
    /// Until then nothing arrives (a stall).
    pub stalled_until: Micros,
}

/// A TCP connection on the quorum port.
#[derive(Debug)]
pub struct Link {
    dialer: End,
    acceptor: End,
    to_dialer: Pipe,
    to_acceptor: Pipe,
}

impl Link {
    /// A link that stands.
    pub fn new(dialer: End, acceptor: End) -> Link {
        Link { dialer, acceptor, to_dialer: Pipe::default(), to_acceptor: Pipe::default() }
    }

    /// An end.
    pub fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialer => &mut self.dialer,
            Side::Acceptor => &mut self.acceptor,
        }
    }

    /// Where the packets to an end travel.
    pub fn pipe_to(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Dialer => &mut self.to_dialer,
            Side::Acceptor => &mut self.to_acceptor,
        }
    }

    /// Whether both processes have let go of it.
    pub fn is_dead(&self) -> bool {
        !self.dialer.open && !self.acceptor.open
    }
}

impl Pipe {
    /// Puts an item on its way and says when it arrives.
    pub fn send(&mut self, due: Micros, item: Item) -> Micros {
        let at = due.max(self.last).max(self.stalled_until);
        self.last = at;
        self.items.push_back((at, item));
        at
    }
}

/// Notifications from one server to another.
#[derive(Clone, Debug, Default)]
pub struct Ballots {
    /// The one that waits for the connection.
    pub waiting: Option<Notification>,
    /// The one that was put on its way last: sent again when a connection is made again.
    pub last: Option<Notification>,
    /// Whether a departure stands in the queue.
    pub leaving: bool,
    /// The latest time of arrival given out.
    pub last_arrival: Micros,
}

/// What is wrong with the way from one server to another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Nothing gets through while this is above 0 (partitions overlap).
    pub cuts: u32,
    /// At most this is added to each packet's delay.
    pub extra: Micros,
}

/// All ways between servers.
pub struct Network {
    count: usize,
    ways: Vec<Way>,
    /// Notifications under way, by sender and receiver.
    ballots: Vec<Ballots>,
    rng: Rng,
    /// Packets that arrived after one that was sent later by the same server to another peer.
    pub overtaken: u64,
    last_sent: Vec<Micros>,
}

impl Network {
    /// A network without faults between `count` servers.
    pub fn new(count: usize, seed: u64) -> Network {
        Network {
            count,
            ways: vec![Way::default(); count * count],
            ballots: vec![Ballots::default(); count * count],
            rng: Rng::new(seed),
            overtaken: 0,
            last_sent: vec![Micros(0); count],
        }
    }

    /// The way from one server to another.
    pub fn way(&mut self, from: Slot, to: Slot) -> &mut Way {
        &mut self.ways[from.0 * self.count + to.0]
    }

    /// Whether packets get through in this direction.
    pub fn is_open(&self, from: Slot, to: Slot) -> bool {
        self.ways[from.0 * self.count + to.0].cuts == 0
    }

    /// The notifications from one server to another.
    pub fn ballots(&mut self, from: Slot, to: Slot) -> &mut Ballots {
        &mut self.ballots[from.0 * self.count + to.0]
    }

    /// When something that leaves now would arrive: 0.1 to 0.6 ms, and what a fault adds.
    pub fn arrival(&mut self, now: Micros, from: Slot, to: Slot) -> Micros {
        let extra = self.way(from, to).extra;
        let at = now + Micros(100 + self.rng.below(500)) + Micros(self.rng.below(extra.0 + 1));
        if at < self.last_sent[from.0] {
            self.overtaken += 1;
        }
        self.last_sent[from.0] = at;
        at
    }

    /// Takes every fault away.
    pub fn heal(&mut self) {
        self.ways.fill(Way::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overtakes_on_one_pipe_and_a_stall_holds_all_back() {
        let mut pipe = Pipe::default();
        assert_eq!(pipe.send(Micros(10), Item::End), Micros(10));
        assert_eq!(pipe.send(Micros(5), Item::End), Micros(10));
        pipe.stalled_until = Micros(50);
        assert_eq!(pipe.send(Micros(20), Item::End), Micros(50));
        assert_eq!(pipe.send(Micros(60), Item::End), Micros(60));
    }
}
