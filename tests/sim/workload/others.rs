//! The operations that most programs use seldom.
//!
//! In: chance, and what there is. Out: requests.
//!
//! Always true:
//! * each is made by every client, also where it will be refused.
//!
//! Not here: what most programs do all day (`workload`).

use crate::acl::{List, User};
use crate::invariants::quotas;
use crate::model::{CONFIG, Model};
use crate::request::{ANY, AddMode, Create, Request, WatchKind, flags};
use crate::wire::op;

use super::{CONTAINERS, EPHEMERALS, GUARDED, QUEUE, TTLS, Workload, limits, register};

/// Lists that nodes are guarded by.
const LISTS: [List; 7] =
    [List::Open, List::ReadByAll, List::Users, List::Asker, List::Network, List::Empty, List::Unknown];
/// What clients watch for as long as they like.
const WATCHED: [&str; 6] = [EPHEMERALS, QUEUE, CONTAINERS, TTLS, "/k0", quotas::HARD];
/// Kinds of watches.
const KINDS: [WatchKind; 5] =
    [WatchKind::Children, WatchKind::Data, WatchKind::Any, WatchKind::Persistent, WatchKind::Recursive];

impl Workload {
    /// One of them, or two that belong together.
    pub(super) fn other(&mut self, model: &Model, watch: bool) -> Vec<Request> {
        match self.rng.below(30) {
            0..5 => vec![self.container(model)],
            5..9 => vec![self.ttl_node()],
            9..14 => vec![self.under_quota(model)],
            14..19 => self.guarded(model),
            19..22 => vec![self.lasting_watch()],
            22..24 => vec![self.mixed_multi(model)],
            24 => vec![self.ephemeral_sequence(model)],
            25 => vec![self.multi_read()],
            26 => vec![Request::Get { path: CONFIG.to_owned(), watch }],
            27 => {
                let path = ["/", CONTAINERS, "/none", GUARDED][self.rng.below(4) as usize].to_owned();
                vec![Request::Count { path }]
            }
            28 => {
                let prefix = ["/", "/e/c1", "", "/c"][self.rng.below(4) as usize].to_owned();
                vec![Request::Ephemerals { prefix }]
            }
            _ => match self.rng.below(20) {
                0 => vec![Request::Check { path: register(0), expected: ANY }],
                1..4 => vec![Request::Sasl],
                4..6 => vec![Request::Delete { path: "/zookeeper".to_owned(), expected: ANY }],
                6..8 => vec![Request::Reconfig { joining: String::new(), leaving: String::new() }],
                _ => vec![Request::WhoAmI],
            },
        }
    }

    /// A container, or a child of one: ephemeral, a container itself, or plain.
    fn container(&mut self, model: &Model) -> Request {
        let number = self.rng.below(3);
        let path = format!("{CONTAINERS}/n{number}");
        if model.at(&path, model.last).is_none() {
            return self.by(op::CREATE_CONTAINER, path, flags::CONTAINER);
        }
        let child = format!("{path}/x{}", self.rng.below(2));
        match self.rng.below(8) {
            0 => Request::Delete { path, expected: ANY },
            1..5 if model.at(&child, model.last).is_some() => Request::Delete { path: child, expected: ANY },
            1..3 => self.by(op::CREATE_CONTAINER, child, flags::CONTAINER),
            3..5 => self.by(op::CREATE2, child, flags::EPHEMERAL),
            _ => self.by(op::CREATE2, child, 0),
        }
    }

    /// A node with a time to live, new data for one, or a child of one.
    fn ttl_node(&mut self) -> Request {
        let path = format!("{TTLS}/n{}", self.rng.below(3));
        match self.rng.below(8) {
            0 | 1 => Request::Set { path, data: self.fresh_value(), expected: ANY },
            2 => self.by(op::CREATE, format!("{path}/x"), flags::EPHEMERAL),
            3 => Request::Delete { path: format!("{path}/x"), expected: ANY },
            kind => {
                let (path, flags) = match kind {
                    4 => (format!("{TTLS}/s-"), flags::SEQUENTIAL_TTL),
                    _ => (path, flags::TTL),
                };
                let ttl_ms = if self.rng.below(12) == 0 { 0 } else { 300 + self.rng.below(3_000) as i64 };
                let data = self.fresh_value();
                Request::Create(Create { ttl_ms, ..Create::open(path, data, flags) })
            }
        }
    }

    /// Nodes and data where there are limits, and now and then other limits.
    fn under_quota(&mut self, model: &Model) -> Request {
        let quota = quotas::PATHS[self.rng.below(2) as usize];
        let path = format!("{quota}/n{}", self.rng.below(7));
        let exists = model.at(&path, model.last).is_some();
        match self.rng.below(10) {
            0 => {
                let text = quotas::hard_limits(limits(self.rng.below(100)));
                Request::Set { path: quotas::limits_path(quotas::HARD), data: text.into(), expected: ANY }
            }
            1 => Request::Get { path: quotas::stats_path(quota), watch: false },
            2 => Request::Set { path: quota.to_owned(), data: self.fresh_value(), expected: ANY },
            3..6 if exists => Request::Set { path, data: self.fresh_value(), expected: ANY },
            6..10 if exists => Request::Delete { path, expected: ANY },
            kind => self.by(op::CREATE2, path, if kind % 3 == 0 { flags::EPHEMERAL } else { 0 }),
        }
    }

    /// Nodes that not everybody may touch, and who one is.
    fn guarded(&mut self, model: &Model) -> Vec<Request> {
        let path = format!("{GUARDED}/n{}", self.rng.below(4));
        let acl = LISTS[self.rng.below(LISTS.len() as u64) as usize];
        let exists = model.at(&path, model.last).is_some();
        let request = match self.rng.below(12) {
            0..2 => {
                let user = if self.rng.below(2) == 0 { User::Ann } else { User::Bob };
                return vec![Request::Auth(user), Request::GetAcl { path }];
            }
            2 => Request::GetAcl { path },
            3 => Request::Get { path, watch: false },
            4 => Request::Exists { path, watch: false },
            5 => Request::Set { path, data: self.fresh_value(), expected: ANY },
            6 => self.by(op::CREATE, format!("{path}/x"), 0),
            7 => Request::Delete { path: format!("{path}/x"), expected: ANY },
            8 if exists => Request::Delete { path, expected: self.rng.below(3) as i32 - 1 },
            9 | 10 if exists => Request::SetAcl { path, acl, expected: self.rng.below(3) as i32 - 1 },
            _ => {
                let data = self.fresh_value();
                Request::Create(Create { acl, ..Create::open(path, data, 0) })
            }
        };
        vec![request]
    }

    fn lasting_watch(&mut self) -> Request {
        let path = WATCHED[self.rng.below(WATCHED.len() as u64) as usize].to_owned();
        let kind = KINDS[self.rng.below(KINDS.len() as u64) as usize];
        match self.rng.below(6) {
            0 | 1 => Request::AddWatch { path, mode: AddMode::Persistent },
            2 | 3 => Request::AddWatch { path, mode: AddMode::Recursive },
            4 => Request::CheckWatches { path, kind },
            _ => Request::RemoveWatches { path, kind },
        }
    }

    /// Several writes of any kind, of which the later ones need the earlier ones.
    fn mixed_multi(&mut self, model: &Model) -> Request {
        let above = format!("{GUARDED}/m{}-{}", self.index, self.rng.below(2));
        let below = format!("{above}/x");
        let mut parts = match model.at(&above, model.last) {
            Some(_) => vec![
                Request::Delete { path: below, expected: ANY },
                Request::Delete { path: above, expected: 1 },
            ],
            None => vec![
                self.by(op::CREATE2, above.clone(), 0),
                self.by(op::CREATE, below, 0),
                Request::Set { path: above, data: self.fresh_value(), expected: 0 },
            ],
        };
        let more = match self.rng.below(6) {
            0 => self.container(model),
            1 => self.ttl_node(),
            2 => self.under_quota(model),
            3 => self.ephemeral(model),
            4 => self.set(),
            _ => Request::Delete { path: "/none".to_owned(), expected: ANY },
        };
        if matches!(more, Request::Get { .. }) {
            return Request::Multi(parts);
        }
        if self.rng.below(2) == 0 {
            parts.push(more);
        } else {
            parts.insert(0, more);
        }
        Request::Multi(parts)
    }

    fn ephemeral_sequence(&mut self, model: &Model) -> Request {
        let own = |path: &str| path.starts_with("/e/s-");
        let oldest = model.below(EPHEMERALS, model.last).map(|(path, _)| path).find(|path| own(path));
        match oldest {
            Some(path) if self.rng.below(2) == 0 => Request::Delete { path: path.to_owned(), expected: ANY },
            Some(path) if self.rng.below(4) == 0 => self.by(op::CREATE2, format!("{path}/x"), 0),
            _ => self.by(op::CREATE2, format!("{EPHEMERALS}/s-"), flags::EPHEMERAL | flags::SEQUENTIAL),
        }
    }

    fn multi_read(&mut self) -> Request {
        let of = |path: String| Request::Get { path, watch: false };
        Request::MultiRead(vec![
            of(register(self.rng.below(3))),
            of(format!("{GUARDED}/n{}", self.rng.below(4))),
            Request::Children { op: op::GET_CHILDREN, path: CONTAINERS.to_owned(), watch: false },
            of("/none".to_owned()),
        ])
    }

    /// An open node by this operation.
    fn by(&mut self, op: i32, path: String, flags: i32) -> Request {
        let data = self.fresh_value();
        Request::Create(Create { op, ..Create::open(path, data, flags) })
    }
}
