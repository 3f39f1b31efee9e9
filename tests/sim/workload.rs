//! What a client does all day: every operation, on registers, ephemeral nodes, a queue, containers, nodes with a time to
//! live, nodes under a quota and nodes with ACLs, alone and in multis.
//!
//! In: the replies that it got. Out: its next requests, and when they are due.
//!
//! Always true:
//! * every value that is written is written once, by one client;
//! * a path that may hold the client's own ephemeral node is not taken for gone when a reply is missing.
//!
//! Not here: sessions and connections (`client`), whether a reply is true (`oracle`).

mod others;

use bytes::Bytes;
use quorate::base::rng::Rng;

use crate::acl::User;
use crate::invariants::quotas::{self, Amount};
use crate::model::{Model, QUOTA};
use crate::oracle::code;
use crate::queue::Micros;
use crate::request::{ANY, Create, Request, flags};
use crate::setup::Setup;
use crate::wire::{Reply, op};

/// How many registers there are.
const REGISTERS: u64 = 6;
/// Where ephemeral nodes and queue items live.
const EPHEMERALS: &str = "/e";
const QUEUE: &str = "/q";
/// Where containers live, nodes with a time to live, and nodes with ACLs.
const CONTAINERS: &str = "/c";
const TTLS: &str = "/t";
const GUARDED: &str = "/a";
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
    /// Nodes for all that it still has to create, the first one last.
    base: Vec<Request>,
    /// Requests from outside, to be sent next.
    extra: Vec<Request>,
    is_super: bool,
    is_stopped: bool,
}

impl Workload {
    /// The work of the client at this place. The first one creates the nodes that all use.
    pub fn new(index: usize, setup: &Setup, seed: u64) -> Workload {
        let mut rng = Rng::new(seed);
        let mut base = if index == 0 { base_nodes(setup) } else { Vec::new() };
        base.reverse();
        Workload {
            index,
            value: 0,
            due: Micros(0),
            pause: Micros::of_ms(6 + rng.below(50)),
            window: 1 + rng.below(4) as usize,
            versions: [0; REGISTERS as usize],
            items: Vec::new(),
            base,
            extra: Vec::new(),
            is_super: false,
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
            if matches!(request, Request::Reconfig { .. }) && !self.is_super {
                self.is_super = true;
                return vec![Request::Auth(User::Super), request];
            }
            return vec![request];
        }
        if let Some(create) = self.base.pop() {
            return vec![create];
        }
        let watch = watches < WATCHES_MAX && self.rng.per_mille(200);
        match self.rng.below(120) {
            0..28 => vec![self.set()],
            28..36 => vec![self.multi()],
            36..60 => vec![Request::Get { path: register(self.rng.below(REGISTERS)), watch }],
            60..66 => vec![self.queue()],
            66..78 => vec![self.ephemeral(model)],
            78..84 => vec![Request::Exists { path: self.some_ephemeral(), watch }],
            84..89 => {
                let path = [EPHEMERALS, QUEUE, CONTAINERS, TTLS][self.rng.below(4) as usize].to_owned();
                let op = if self.rng.below(2) == 0 { op::GET_CHILDREN } else { op::GET_CHILDREN2 };
                vec![Request::Children { op, path, watch }]
            }
            89..93 => {
                let path = register(self.rng.below(REGISTERS));
                vec![Request::Sync, Request::Get { path, watch: false }]
            }
            93 if self.rng.per_mille(60) => vec![Request::Close],
            93 => vec![Request::Exists { path: self.some_ephemeral(), watch: false }],
            _ => self.other(model, watch),
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
            Request::Create(create) if create.path == item_prefix() && reply.err == 0 => {
                let before = model.before(QUEUE, reply.zxid).map_or(0, |node| node.created);
                self.items.push(format!("{}{before:010}", create.path));
            }
            _ if reply.err != 0 && reply.err != code::NODE_EXISTS => self.on_unknown(request),
            _ => {}
        }
    }

    /// A request's reply is missing: a node for all is asked for again, since that does no harm.
    pub fn on_unknown(&mut self, request: &Request) {
        if is_base(request) {
            self.base.push(request.clone());
        }
    }

    /// The connection is gone, and with it what was authenticated.
    pub fn on_disconnected(&mut self) {
        self.is_super = false;
    }

    fn set(&mut self) -> Request {
        let number = self.rng.below(REGISTERS);
        let expected = if self.rng.per_mille(400) { self.versions[number as usize] } else { ANY };
        Request::Set { path: register(number), data: self.fresh_value(), expected }
    }

    /// A check and two sets, of different registers.
    fn multi(&mut self) -> Request {
        let number = self.rng.below(REGISTERS);
        let first = self.rng.below(REGISTERS);
        let second = (first + 1 + self.rng.below(REGISTERS - 1)) % REGISTERS;
        let set = |this: &mut Workload, number| {
            let data = this.fresh_value();
            Request::Set { path: register(number), data, expected: ANY }
        };
        let check = Request::Check { path: register(number), expected: self.versions[number as usize] };
        Request::Multi(vec![check, set(self, first), set(self, second)])
    }

    fn queue(&mut self) -> Request {
        if self.items.len() > 3 || (!self.items.is_empty() && self.rng.below(2) == 0) {
            return Request::Delete { path: self.items.remove(0), expected: ANY };
        }
        Request::Create(Create::open(item_prefix(), self.fresh_value(), flags::SEQUENTIAL))
    }

    fn ephemeral(&mut self, model: &Model) -> Request {
        let path = format!("{EPHEMERALS}/c{}-{}", self.index, self.rng.below(OWN_NAMES));
        if model.at(&path, model.last).is_some() && self.rng.per_mille(800) {
            return Request::Delete { path, expected: ANY };
        }
        Request::Create(Create::open(path, self.fresh_value(), flags::EPHEMERAL))
    }

    fn some_ephemeral(&mut self) -> String {
        format!("{EPHEMERALS}/c{}-{}", self.rng.below(4), self.rng.below(OWN_NAMES))
    }

    fn fresh_value(&mut self) -> Bytes {
        self.value += 1;
        Bytes::from(format!("c{}-{}-{}", self.index, self.value, "x".repeat(self.rng.below(40) as usize)))
    }
}

/// What creates the nodes that all use, in order. What a quota needs comes at once.
fn base_nodes(setup: &Setup) -> Vec<Request> {
    let node = |path: String, data: String| Request::Create(Create::open(path, Bytes::from(data), 0));
    let mut paths: Vec<String> = (0..REGISTERS).map(register).collect();
    paths.extend([EPHEMERALS, QUEUE, CONTAINERS, TTLS, GUARDED].map(str::to_owned));
    paths.extend(quotas::PATHS.map(str::to_owned));
    let mut requests: Vec<Request> = paths.into_iter().map(|path| node(path, String::new())).collect();
    let limits = [quotas::hard_limits(limits(setup.seed)), "count=4,bytes=60".to_owned()];
    for (quota, limits) in quotas::PATHS.into_iter().zip(limits) {
        requests.push(Request::Multi(vec![
            node(format!("{QUOTA}{quota}"), String::new()),
            node(quotas::limits_path(quota), limits),
            node(quotas::stats_path(quota), "count=-1,bytes=-1".to_owned()),
        ]));
    }
    requests
}

/// Whether a request creates a node that all use.
fn is_base(request: &Request) -> bool {
    let is_shared = |request: &Request| match request {
        Request::Create(create) => create.path.rfind('/') == Some(0) || create.path.starts_with(QUOTA),
        _ => false,
    };
    match request {
        Request::Multi(parts) => parts.iter().all(is_shared),
        request => is_shared(request),
    }
}

/// The limits that are enforced.
fn limits(number: u64) -> Amount {
    Amount { count: 4 + (number % 4) as i64, bytes: 90 + (number % 7) as i64 * 15 }
}

fn item_prefix() -> String {
    format!("{QUEUE}/i-")
}

fn register(number: u64) -> String {
    format!("/k{number}")
}

fn number_of(path: &str) -> Option<usize> {
    path.strip_prefix("/k")?.parse().ok()
}
