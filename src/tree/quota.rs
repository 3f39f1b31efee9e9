//! Quotas: limits on the nodes and bytes at and below a path, and how many there are.
//!
//! In: nodes that come, go or change. For a quota on `/a`, clients write its limits into `/zookeeper/quota/a/zookeeper_limits`
//! and create `zookeeper_stats` beside it. Out: the contents of `zookeeper_stats`, and which limits a write would pass.
//!
//! Always true:
//! * a change counts for the deepest quota at or above it, and for no other;
//! * counting changes data only: no stat, no digest, and it fires no watch;
//! * every server counts for itself, and anew when it reads a snapshot: where quotas are nested, the outer one then
//!   counts what is below the inner one, too, as in Apache ZooKeeper.
//!
//! Not here: refusing a write (`replica::prepare`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::store::Tree;
use crate::proto::ErrorCode;

const TOP: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// Where quotas are.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    paths: BTreeSet<String>,
}

/// What the nodes of a quota hold: numbers by name, as `count=3,bytes=20=;countHardLimit=5`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Amounts {
    numbers: BTreeMap<String, i64>,
}

/// What a change adds at a path; less than 0 if it takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// How many nodes.
    pub count: i64,
    /// How many bytes of data.
    pub bytes: i64,
}

/// A limit that a write would pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The path that the quota is on.
    pub quota: String,
    /// What it limits.
    pub measure: Measure,
    /// Whether it may be passed.
    pub limit_kind: LimitKind,
    /// The limit.
    pub limit: i64,
    /// What there would be.
    pub amount: i64,
}

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Nodes.
    Count,
    /// Bytes of data.
    Bytes,
}

/// Whether a limit may be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// It is only told about.
    Soft,
    /// The write is refused.
    Hard,
}

/// All quotas below one top-level node, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceQuotas {
    /// The limits, the hard one where there is one; -1 stands for none and is added like any other number, as in Apache
    /// ZooKeeper. `None` if there is no node with limits.
    pub limits: Option<Growth>,
    /// What there is. `None` if nobody had it counted.
    pub used: Option<Growth>,
}

impl Quotas {
    /// The deepest quota at or above a path.
    fn covering(&self, path: &str) -> Option<&str> {
        if self.paths.is_empty() {
            return None;
        }
        let path = without_blanks(path);
        let mut end = path.len();
        loop {
            if let Some(quota) = self.paths.get(&path[..end]) {
                return Some(quota);
            }
            end = path[..end].rfind('/')?;
        }
    }

    /// A quota is set. One on the root is ignored: there it would stop Apache ZooKeeper.
    fn add(&mut self, path: &str) {
        let path = without_blanks(path);
        if !path.is_empty() {
            self.paths.insert(path.into_owned());
        }
    }

    fn remove(&mut self, path: &str) {
        self.paths.remove(without_blanks(path).as_ref());
    }
}

impl Amounts {
    /// Reads the contents of a node; `None` for what Apache ZooKeeper would stumble over.
    fn parse(data: &[u8]) -> Option<Amounts> {
        let text = String::from_utf8_lossy(data);
        let is_separator = |c| c == ',' || c == ';';
        let mut amounts = Amounts::default();
        for pair in text.split(is_separator).filter(|pair| !pair.is_empty()) {
            if text.starts_with(is_separator) {
                return None;
            }
            // The `=` that follows the bytes keeps the parsers of old servers off what comes behind it.
            let (name, rest) = pair.trim_end_matches('=').split_once('=')?;
            let number = match rest.split('=').next() {
                None | Some("") => -1,
                Some(number) => number.parse().ok()?,
            };
            amounts.numbers.insert(name.to_owned(), number);
        }
        Some(amounts)
    }

    /// A number; -1 for one that is not there, which stands for no limit.
    fn number(&self, name: &str) -> i64 {
        self.numbers.get(name).copied().unwrap_or(-1)
    }

    fn of(count: i64, bytes: i64) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.set(count, bytes);
        amounts
    }

    fn set(&mut self, count: i64, bytes: i64) {
        self.numbers.insert("count".to_owned(), count);
        self.numbers.insert("bytes".to_owned(), bytes);
    }

    fn add(&mut self, growth: Growth) {
        let count = self.number("count").wrapping_add(growth.count);
        let bytes = self.number("bytes").wrapping_add(growth.bytes);
        self.set(count, bytes);
    }

    fn total(&self) -> Growth {
        Growth { count: self.number("count"), bytes: self.number("bytes") }
    }

    /// The limit of a measure that is in force; a negative one is none.
    fn limit(&self, measure: Measure) -> (LimitKind, i64) {
        let (soft, hard) = match measure {
            Measure::Count => ("count", "countHardLimit"),
            Measure::Bytes => ("bytes", "byteHardLimit"),
        };
        match self.number(hard) {
            hard if hard > -1 => (LimitKind::Hard, hard),
            _ => (LimitKind::Soft, self.number(soft)),
        }
    }
}

/// Count and bytes first, for old parsers; everything else by name.
impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.number("count"), self.number("bytes"))?;
        let others = self.numbers.iter().filter(|(name, _)| !["count", "bytes"].contains(&name.as_str()));
        for (index, (name, number)) in others.enumerate() {
            let mark = if index == 0 { "=;" } else { ";" };
            write!(f, "{mark}{name}={number}")?;
        }
        Ok(())
    }
}

impl Growth {
    fn of(self, measure: Measure) -> i64 {
        match measure {
            Measure::Count => self.count,
            Measure::Bytes => self.bytes,
        }
    }

    fn plus(self, other: Growth) -> Growth {
        Growth { count: self.count.wrapping_add(other.count), bytes: self.bytes.wrapping_add(other.bytes) }
    }
}

impl Passed {
    /// The top-level node that the quota is in.
    pub fn namespace(&self) -> &str {
        namespace(&self.quota)
    }
}

impl Tree {
    /// The limits that a write would pass, going by what is applied; it is refused if the last one is hard. Limits or counts
    /// that cannot be read fail it.
    pub fn limits_passed(&self, path: &str, growth: Growth) -> Result<Vec<Passed>, ErrorCode> {
        let mut passed = Vec::new();
        let Some(quota) = self.quotas.covering(path) else { return Ok(passed) };
        let Some(limits) = self.amounts(quota, LIMITS)? else { return Ok(passed) };
        let concerned = [Measure::Count, Measure::Bytes]
            .into_iter()
            .filter(|measure| growth.of(*measure) != 0 && limits.limit(*measure).1 > -1);
        let concerned: Vec<Measure> = concerned.collect();
        if concerned.is_empty() {
            return Ok(passed);
        }
        let Some(used) = self.amounts(quota, STATS)? else { return Ok(passed) };
        for measure in concerned {
            let (limit_kind, limit) = limits.limit(measure);
            let amount = used.total().of(measure).wrapping_add(growth.of(measure));
            if amount > limit {
                passed.push(Passed { quota: quota.to_owned(), measure, limit_kind, limit, amount });
                if limit_kind == LimitKind::Hard {
                    break;
                }
            }
        }
        Ok(passed)
    }

    /// Limits and use by top-level node, of every quota there is a node of.
    pub fn quotas(&self) -> BTreeMap<String, NamespaceQuotas> {
        let mut all: BTreeMap<String, NamespaceQuotas> = BTreeMap::new();
        for (owner, name, data) in self.quota_nodes() {
            let Some(amounts) = data.and_then(Amounts::parse).filter(|_| !owner.is_empty()) else { continue };
            let namespace = all.entry(namespace(&owner).to_owned()).or_default();
            let (sum, more) = match name {
                LIMITS => {
                    let limit = |measure| amounts.limit(measure).1;
                    let limits = Growth { count: limit(Measure::Count), bytes: limit(Measure::Bytes) };
                    (&mut namespace.limits, limits)
                }
                _ => (&mut namespace.used, amounts.total()),
            };
            *sum = Some(sum.map_or(more, |sum| sum.plus(more)));
        }
        all
    }

    /// A node is in the tree.
    pub(super) fn count_created(&mut self, path: &str, data_bytes: i64) {
        match quota_node(path) {
            Some((owner, LIMITS)) => self.quotas.add(owner),
            Some((owner, STATS)) => self.count_anew(owner),
            Some(_) | None => {}
        }
        self.count(path, Growth { count: 1, bytes: data_bytes });
    }

    /// A node is out of the tree.
    pub(super) fn count_deleted(&mut self, path: &str, data_bytes: i64) {
        if let Some((owner, LIMITS)) = quota_node(path) {
            self.quotas.remove(owner);
        }
        self.count(path, Growth { count: -1, bytes: -data_bytes });
    }

    /// A change counts for the quota that covers its path.
    pub(super) fn count(&mut self, path: &str, growth: Growth) {
        let Some(quota) = self.quotas.covering(path).map(str::to_owned) else { return };
        match self.amounts(&quota, STATS) {
            Ok(None) => {} // nobody wants it counted
            Ok(Some(mut amounts)) => {
                amounts.add(growth);
                self.put_amounts(&quota, &amounts);
            }
            // A client wrote something else into it.
            Err(_) => self.count_anew(&quota),
        }
    }

    /// The tree was read from a snapshot: quotas are found and counted.
    pub(super) fn load_quotas(&mut self) {
        let owners: Vec<String> = self
            .quota_nodes()
            .filter(|(owner, name, _)| *name == LIMITS && !owner.is_empty())
            .map(|(owner, _, _)| owner)
            .collect();
        for owner in owners {
            self.count_anew(&owner);
            self.quotas.add(&owner);
        }
    }

    /// Counts everything at and below a path; 0 if there is nothing.
    fn count_anew(&mut self, path: &str) {
        let mut waiting: Vec<u32> = self.find(path).into_iter().collect();
        let (mut count, mut bytes) = (0, 0);
        while let Some(number) = waiting.pop() {
            count += 1;
            bytes += data_bytes(self.node_at(number).data());
            waiting.extend(self.links.children(number));
        }
        self.put_amounts(path, &Amounts::of(count, bytes));
    }

    fn amounts(&self, quota: &str, name: &str) -> Result<Option<Amounts>, ErrorCode> {
        let Some(number) = self.find(&format!("{TOP}{quota}/{name}")) else { return Ok(None) };
        let amounts = self.node_at(number).data().and_then(Amounts::parse);
        amounts.map(Some).ok_or(ErrorCode::MarshallingError)
    }

    fn put_amounts(&mut self, quota: &str, amounts: &Amounts) {
        let path = format!("{TOP}{quota}/{STATS}");
        let Some(number) = self.find(&path) else { return };
        let stat = self.at(number).stat();
        self.replace_data(&path, number, Some(amounts.to_string().as_bytes()), &stat);
    }

    /// The path of each quota's nodes, their name and data; only nodes without children count as such.
    fn quota_nodes(&self) -> impl Iterator<Item = (String, &'static str, Option<&[u8]>)> {
        let mut waiting: Vec<u32> = self.find(TOP).into_iter().collect();
        std::iter::from_fn(move || {
            loop {
                let number = waiting.pop()?;
                waiting.extend(self.links.children(number));
                let node = self.node_at(number);
                let name = [LIMITS, STATS].into_iter().find(|name| *name == self.at(number).name());
                let path = node.path();
                if let (0, Some(name), Some((owner, _))) = (node.child_count(), name, quota_node(&path)) {
                    return Some((owner.to_owned(), name, node.data()));
                }
            }
        })
    }
}

/// The path that a node below `/zookeeper/quota` stands for, and its own name.
fn quota_node(path: &str) -> Option<(&str, &str)> {
    let (owner, name) = path.strip_prefix(TOP)?.rsplit_once('/')?;
    (owner.is_empty() || owner.starts_with('/')).then_some((owner, name))
}

/// Apache ZooKeeper overlooks components of nothing but blanks where it looks for a path's quota.
fn without_blanks(path: &str) -> Cow<'_, str> {
    if !path.contains("/ ") {
        return Cow::Borrowed(path);
    }
    let parts = path.split('/').filter(|part| !part.trim_matches(' ').is_empty());
    Cow::Owned(parts.flat_map(|part| ["/", part]).collect())
}

fn namespace(quota: &str) -> &str {
    quota.split('/').nth(1).unwrap_or_default()
}

/// Bytes of a node's data; null has none.
pub(super) fn data_bytes(data: Option<&[u8]>) -> i64 {
    data.map_or(0, |data| data.len() as i64)
}

#[cfg(test)]
mod tests;
