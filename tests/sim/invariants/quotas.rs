//! Quotas: what is counted is what is there, on every replica; and no write passes a limit that is enforced, of what was
//! applied when it was decided.
//!
//! In: the tree of a server after steps that changed it, the model, and each write that a limit may refuse. Out: a panic
//! when a count is wrong; whether a write must, may or must not be refused.
//!
//! Always true:
//! * the count of a quota is that of the nodes at and below its path, and of their bytes, at every zxid;
//! * as with Apache ZooKeeper what is in flight does not count: between what was surely applied and what may have been,
//!   either answer is right.
//!
//! Not here: which other checks come first (`oracle::expect`).

use std::fmt;

use quorate::base::Zxid;
use quorate::tree::Tree;

use crate::model::{Model, QUOTA, covers};
use crate::network::Slot;

/// A quota that is enforced, and one that is only told about.
pub const PATHS: [&str; 2] = [HARD, SOFT];
/// Its limits are enforced.
pub const HARD: &str = "/u";
/// Its limits may be passed.
pub const SOFT: &str = "/v";

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Nodes.
    pub count: i64,
    /// Bytes of data.
    pub bytes: i64,
}

/// As the servers write it.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)
    }
}

/// The text of limits that are enforced.
pub fn hard_limits(limits: Amount) -> String {
    format!("count=-1,bytes=-1=;byteHardLimit={};countHardLimit={}", limits.bytes, limits.count)
}

/// Where the limits of a quota stand.
pub fn limits_path(quota: &str) -> String {
    format!("{QUOTA}{quota}/zookeeper_limits")
}

/// Where its counts stand.
pub fn stats_path(quota: &str) -> String {
    format!("{QUOTA}{quota}/zookeeper_stats")
}

/// What is at and below a path.
pub fn amount(model: &Model, path: &str, zxid: Zxid) -> Amount {
    let add = |sum: Amount, (_, node): (&str, &crate::model::Node)| Amount {
        count: sum.count + 1,
        bytes: sum.bytes + node.data.len() as i64,
    };
    model.below(path, zxid).fold(Amount { count: 0, bytes: 0 }, add)
}

/// What a write adds at a path.
#[derive(Clone, Copy, Debug)]
pub struct Growth<'a> {
    /// Where.
    pub path: &'a str,
    /// How much.
    pub amount: Amount,
}

/// Whether a write passes an enforced limit of what was applied at each of these zxids: at all, at some, or at none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// It must be refused.
    Always,
    /// It may be refused.
    Perhaps,
    /// It must not be refused.
    Never,
}

/// Judges a write that was decided when something between these two zxids was applied.
pub fn passes(model: &Model, growth: Growth<'_>, applied: (Zxid, Zxid)) -> Passes {
    if !covers(HARD, growth.path) {
        return Passes::Never;
    }
    let (first, last) = applied;
    let between = model.changes.iter().rev().take_while(|change| change.zxid > first);
    let mut states: Vec<Zxid> =
        between.map(|change| change.zxid).filter(|zxid| *zxid <= last).chain([first]).collect();
    states.dedup();
    let passed = states.iter().filter(|zxid| is_passed(model, growth, **zxid)).count();
    match passed {
        0 => Passes::Never,
        all if all == states.len() => Passes::Always,
        _ => Passes::Perhaps,
    }
}

fn is_passed(model: &Model, growth: Growth<'_>, applied: Zxid) -> bool {
    let text =
        |path: String| model.at(&path, applied).map(|node| String::from_utf8_lossy(&node.data).into_owned());
    let (Some(limits), Some(used)) = (text(limits_path(HARD)), text(stats_path(HARD))) else { return false };
    let over = |name: &str, used: i64, more: i64| {
        let limit = number(&limits, name).unwrap_or(-1);
        more != 0 && limit > -1 && used + more > limit
    };
    let used = |name: &str| number(&used, name).unwrap_or(-1);
    over("countHardLimit", used("count"), growth.amount.count)
        || over("byteHardLimit", used("bytes"), growth.amount.bytes)
}

/// A number of a text like `count=3,bytes=20=;countHardLimit=5`.
fn number(text: &str, name: &str) -> Option<i64> {
    let parts = text.split([',', ';']);
    parts
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| *key == name)?
        .1
        .trim_end_matches('=')
        .parse()
        .ok()
}

/// Counts again what a server has, and compares with what it says.
pub fn check(slot: Slot, tree: &Tree) {
    for quota in PATHS {
        let has_limits = tree.node(&limits_path(quota)).is_some();
        let Some(stats) = tree.node(&stats_path(quota)).filter(|_| has_limits) else { continue };
        let mut counted = Amount { count: 0, bytes: 0 };
        let mut waiting = vec![quota.to_owned()];
        while let Some(path) = waiting.pop() {
            let Some(node) = tree.node(&path) else { continue };
            counted.count += 1;
            counted.bytes += node.data().map_or(0, |data| data.len() as i64);
            waiting.extend(node.children().map(|name| format!("{path}/{name}")));
        }
        let said = String::from_utf8_lossy(stats.data().unwrap_or_default()).into_owned();
        assert!(
            said == counted.to_string(),
            "quotas: at {} {slot:?} says {said} for {quota}, and has {counted}",
            tree.zxid()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::base::SessionId;
    use quorate::proto::Acl;
    use quorate::tree::{CreateKind, CreateTxn, Txn, TxnBody, TxnHeader};

    #[test]
    fn limits_are_read_as_they_are_written() {
        let text = hard_limits(Amount { count: 6, bytes: 90 });
        assert_eq!((number(&text, "countHardLimit"), number(&text, "byteHardLimit")), (Some(6), Some(90)));
        assert_eq!(
            (number(&text, "count"), number(&text, "bytes"), number(&text, "other")),
            (Some(-1), Some(-1), None)
        );
    }

    #[test]
    #[should_panic(expected = "says count=1,bytes=0 for /u, and has count=2,bytes=0")]
    fn a_count_that_is_wrong_is_noticed() {
        let mut tree = Tree::new();
        // Counted before there are limits, so that the node that comes between is left out.
        let paths =
            ["/u".to_owned(), format!("{QUOTA}{HARD}"), stats_path(HARD), "/u/a".into(), limits_path(HARD)];
        for (zxid, path) in (1..).zip(paths) {
            let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: 1 };
            let kind = CreateKind::Create { ephemeral: false };
            let create = CreateTxn { path, data: None, acl: Acl::open(), kind, parent_cversion: zxid as i32 };
            tree.apply(&Txn { header, body: TxnBody::Create(create), digest: None });
        }
        check(Slot(0), &tree);
    }
}
