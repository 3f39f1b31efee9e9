//! What a client does all day: registers that it sets and reads, ephemeral nodes, a queue, multis, watches, syncs.
//!
//! In: the replies that it got. Out: its next requests, and when they are due.
//!
//! Always true:
//! * every value that is written is written once, by one client;
//! * a path that may hold the client's own ephemeral node is not taken for gone when a reply is missing.
//!
//! Not here: sessions and connections (`client`), whether a reply is true (`oracle`).

use bytes::Bytes;
use quorate::base::rng::Rng;

use crate::model::Model;
use crate::oracle::Request;
use crate::queue::Micros;
use crate::wire::Reply;

/// How many registers there are.
const REGISTERS: u64 = 6;
/// Where ephemeral nodes and queue items live.
const EPHEMERALS: &str = "/e";
const QUEUE: &str = "/q";
/// How many names for ephemeral nodes a client has.
const OWN_NAMES: u64 = 3;
/// How many watches of one connection wait at most.
const WATCHES_MAX: usize = 6;

/// One client's work.
pub struct Workload {
    index: usize,
    rng: Rng,
    /// The last number that was put into a value.
    value: u64,
    due: Micros,
    /// Mean pause between two requests.
    pause: Micros,
    window: usize,
    /// The version of each register when it was read last.
    versions: [i32; REGISTERS as usize],
    /// Items of the queue that it created and has not taken.
    items: Vec<String>,
    /// Base nodes that it still has to create.
    base: Vec<String>,
    /// Requests from outside, to be sent next.
    extra: Vec<Request>,
    is_authenticated: bool,
    is_stopped: bool,
}

impl Workload {
    /// The work of the client at this place. The first one creates the nodes that all use.
    pub fn new(index: usize, seed: u64) -> Workload {
        let mut rng = Rng::new(seed);
        let mut base = Vec::new();
        if index == 0 {
            base = (0..REGISTERS).map(register).collect();
            base.extend([QUEUE.to_owned(), EPHEMERALS.to_owned()]);
        }
        Workload {
            index,
            value: 0,
            due: Micros(0),
            pause: Micros::of_ms(4 + rng.below(40)),
            window: 1 + rng.below(4) as usize,
            versions: [0; REGISTERS as usize],
            items: Vec::new(),
            base,
            extra: Vec::new(),
            is_authenticated: false,
            is_stopped: false,
            rng,
        }
    }

    /// When the next request is due.
    pub fn due(&self) -> Micros {
        if self.is_stopped && self.extra.is_empty() { Micros(u64::MAX) } else { self.due }
    }

    /// How many requests may be under way.
    pub fn window(&self) -> usize {
        self.window
    }

    /// No further requests of its own.
    pub fn stop(&mut self) {
        self.is_stopped = true;
        self.extra.clear();
    }

    /// Another request, to be sent as soon as possible.
    pub fn ask(&mut self, request: Request) {
        self.extra.push(request);
        self.due = Micros(0);
    }

    /// Whether a request from outside that is like this waits.
    pub fn wants(&self, is_like: impl Fn(&Request) -> bool) -> bool {
        self.extra.iter().any(is_like)
    }

    /// The next requests.
    pub fn next(&mut self, now: Micros, model: &Model, watches: usize) -> Vec<Request> {
        self.due = now + Micros(self.rng.below(2 * self.pause.0));
        if let Some(request) = self.extra.pop() {
            if matches!(request, Request::Reconfig { .. }) && !self.is_authenticated {
                self.is_authenticated = true;
                return vec![Request::Auth, request];
            }
            return vec![request];
        }
        if let Some(path) = self.base.pop() {
            return vec![Request::Create { path, data: Bytes::new(), flags: 0 }];
        }
        let watch = watches < WATCHES_MAX && self.rng.per_mille(200);
        match self.rng.below(100) {
            0..28 => vec![self.set()],
            28..36 => vec![self.multi()],
            36..66 => vec![Request::Get { path: register(self.rng.below(REGISTERS)), watch }],
            66..72 => vec![self.queue()],
            72..84 => vec![self.ephemeral(model)],
            84..90 => vec![Request::Exists { path: self.some_ephemeral(), watch }],
            90..94 => {
                let path = if self.rng.below(2) == 0 { EPHEMERALS } else { QUEUE };
                vec![Request::Children { path: path.to_owned(), watch }]
            }
            94..99 => {
                let path = register(self.rng.below(REGISTERS));
                vec![Request::Sync, Request::Get { path, watch: false }]
            }
            _ if self.rng.per_mille(60) => vec![Request::Close],
            _ => vec![Request::Exists { path: self.some_ephemeral(), watch: false }],
        }
    }

    /// A reply came.
    pub fn on_reply(&mut self, model: &Model, request: &Request, reply: &Reply) {
        match request {
            Request::Get { path, .. } | Request::Set { path, .. } if reply.err == 0 => {
                if let (Some(number), Some(node)) = (number_of(path), model.at(path, reply.zxid)) {
                    self.versions[number] = node.stat.version;
                }
            }
            Request::Create { path, flags, .. } if *flags == 2 && reply.err == 0 => {
                let before = model.before(QUEUE, reply.zxid).map_or(0, |node| node.created);
                self.items.push(format!("{path}{before:010}"));
            }
            _ => {}
        }
    }

    /// A request's reply is missing: a base node is asked for again, since that does no harm.
    pub fn on_unknown(&mut self, request: &Request) {
        if let Request::Create { path, flags: 0, .. } = request {
            self.base.push(path.clone());
        }
    }

    /// The connection is gone, and with it what was authenticated.
    pub fn on_disconnected(&mut self) {
        self.is_authenticated = false;
    }

    fn set(&mut self) -> Request {
        let number = self.rng.below(REGISTERS);
        let expected = if self.rng.per_mille(400) { self.versions[number as usize] } else { -1 };
        Request::Set { path: register(number), data: self.fresh_value(), expected }
    }

    fn multi(&mut self) -> Request {
        let number = self.rng.below(REGISTERS);
        let mut set = || (register(self.rng.below(REGISTERS)), Bytes::new());
        let (mut first, mut second) = (set(), set());
        if first.0 == second.0 {
            second.0 = register((number_of(&first.0).expect("it is a register") as u64 + 1) % REGISTERS);
        }
        first.1 = self.fresh_value();
        second.1 = self.fresh_value();
        Request::Multi { check: (register(number), self.versions[number as usize]), set: [first, second] }
    }

    fn queue(&mut self) -> Request {
        if self.items.len() > 3 || (!self.items.is_empty() && self.rng.below(2) == 0) {
            return Request::Delete { path: self.items.remove(0), expected: -1 };
        }
        Request::Create { path: format!("{QUEUE}/i-"), data: self.fresh_value(), flags: 2 }
    }

    fn ephemeral(&mut self, model: &Model) -> Request {
        let path = format!("{EPHEMERALS}/c{}-{}", self.index, self.rng.below(OWN_NAMES));
        if model.at(&path, model.last).is_some() && self.rng.per_mille(800) {
            return Request::Delete { path, expected: -1 };
        }
        Request::Create { path, data: self.fresh_value(), flags: 1 }
    }

    fn some_ephemeral(&mut self) -> String {
        format!("{EPHEMERALS}/c{}-{}", self.rng.below(4), self.rng.below(OWN_NAMES))
    }

    fn fresh_value(&mut self) -> Bytes {
        self.value += 1;
        Bytes::from(format!("c{}-{}-{}", self.index, self.value, "x".repeat(self.rng.below(40) as usize)))
    }
}

fn register(number: u64) -> String {
    format!("/k{number}")
}

fn number_of(path: &str) -> Option<usize> {
    path.strip_prefix("/k")?.parse().ok()
}
