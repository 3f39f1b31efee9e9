//! The world's queue: what happens next, ordered by time and then by number.
//!
//! In: happenings with the time at which they are due. Out: the earliest; of two at one time the one put in first.
//!
//! Always true:
//! * time never goes back;
//! * two runs that put the same things in get the same things out.
//!
//! Not here: what a happening does (`world`).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A point or a span of the world's own time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// This many milliseconds.
    pub const fn of_ms(ms: u64) -> Micros {
        Micros(ms * 1_000)
    }

    /// This many seconds.
    pub const fn of_s(s: u64) -> Micros {
        Micros(s * 1_000_000)
    }
}

impl std::ops::Add for Micros {
    type Output = Micros;

    fn add(self, span: Micros) -> Micros {
        Micros(self.0 + span.0)
    }
}

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What waits in the queue.
struct Waiting<T> {
    at: Micros,
    number: u64,
    what: T,
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    /// The heap gives its largest, so the earliest is the largest here.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// A queue of happenings.
pub struct Queue<T> {
    heap: BinaryHeap<Waiting<T>>,
    now: Micros,
    number: u64,
}

impl<T> Queue<T> {
    /// An empty queue at time 0.
    pub fn new() -> Queue<T> {
        Queue { heap: BinaryHeap::new(), now: Micros(0), number: 0 }
    }

    /// The time of what was taken out last.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Puts something in for a time; a time that is past means "next".
    pub fn at(&mut self, at: Micros, what: T) {
        self.number += 1;
        self.heap.push(Waiting { at: at.max(self.now), number: self.number, what });
    }

    /// Puts something in for after a span.
    pub fn after(&mut self, span: Micros, what: T) {
        self.at(self.now + span, what);
    }

    /// Takes the next out and moves the time to it.
    pub fn next(&mut self) -> Option<T> {
        let next = self.heap.pop()?;
        self.now = next.at;
        Some(next.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_ties_come_in_the_order_of_putting() {
        let mut queue = Queue::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            queue.at(Micros(at), what);
        }
        let order: String = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!((order.as_str(), queue.now()), ("abcd", Micros(5)));
        queue.at(Micros(2), 'e');
        assert_eq!((queue.next(), queue.now()), (Some('e'), Micros(5)));
    }
}
