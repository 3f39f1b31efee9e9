//! `quorate snapshot diff`: in which nodes two snapshots differ.
//!
//! In: two snapshots of either product. Out: nodes, or subtrees whose size differs by more than a threshold.
//!
//! Always true:
//! * no difference of a path, its data, ACL or stat is left out unless a threshold says so.
//!
//! Not here: reading snapshots (`snapshot`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::files::{Form, refuse};
use super::snapshot::{Sum, load, paths, sums};
use crate::tree::{NodeRef, Tree};

/// Arguments of `quorate snapshot diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The one snapshot.
    #[arg(value_name = "LEFT")]
    left: PathBuf,
    /// The other.
    #[arg(value_name = "RIGHT")]
    right: PathBuf,
    /// Subtrees whose data differs by more than so many bytes.
    #[arg(long, short, value_name = "N")]
    bytes: Option<u64>,
    /// Subtrees whose nodes differ by more than so many.
    #[arg(long, short, value_name = "N")]
    nodes: Option<u64>,
    #[command(flatten)]
    form: Form,
}

/// One difference.
#[derive(Debug, PartialEq, Eq)]
enum Difference {
    /// The node is in the left snapshot only.
    Left(String),
    /// The node is in the right snapshot only.
    Right(String),
    /// The node is in both, and this is not alike.
    Both(String, Vec<String>),
}

/// Runs `quorate snapshot diff`.
pub fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (left, right) = match (load(&args.left), load(&args.right)) {
        (Ok(left), Ok(right)) => (left.tree, right.tree),
        (Err(error), _) | (_, Err(error)) => return Ok(refuse(error)),
    };
    let count = match (args.bytes, args.nodes) {
        (None, None) => {
            let found = nodes(&left, &right);
            found.iter().for_each(|difference| println!("{}", shown(difference, args.form)));
            found.len() + sessions(&left, &right, args.form)
        }
        (bytes, nodes) => {
            let (bytes, nodes) = (bytes.unwrap_or(u64::MAX), nodes.unwrap_or(u64::MAX));
            let found = subtrees(&left, &right, Sum { descendants: nodes, bytes });
            found.iter().for_each(|subtree| println!("{}", subtree.shown(args.form)));
            found.len()
        }
    };
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn shown(difference: &Difference, form: Form) -> String {
    match (difference, form.json) {
        (Difference::Left(path), false) => format!("- {path}"),
        (Difference::Right(path), false) => format!("+ {path}"),
        (Difference::Both(path, what), false) => format!("! {path}: {}", what.join(", ")),
        (Difference::Left(path), true) => json!({"path": path, "only": "left"}).to_string(),
        (Difference::Right(path), true) => json!({"path": path, "only": "right"}).to_string(),
        (Difference::Both(path, what), true) => json!({"path": path, "differs": what}).to_string(),
    }
}

/// Every node that is not alike, by path.
fn nodes(left: &Tree, right: &Tree) -> Vec<Difference> {
    let mut all: BTreeMap<String, ()> = paths(left, "/").into_iter().map(|path| (path, ())).collect();
    all.extend(paths(right, "/").into_iter().map(|path| (path, ())));
    let compare = |path: String| match (left.node(&path), right.node(&path)) {
        (Some(_), None) => Some(Difference::Left(path)),
        (None, Some(_)) => Some(Difference::Right(path)),
        (Some(left), Some(right)) => {
            let what = unlike(&left, &right);
            (!what.is_empty()).then_some(Difference::Both(path, what))
        }
        (None, None) => None,
    };
    all.into_keys().filter_map(compare).collect()
}

fn unlike(left: &NodeRef<'_>, right: &NodeRef<'_>) -> Vec<String> {
    let mut what = Vec::new();
    if left.data() != right.data() {
        let length = |node: &NodeRef<'_>| {
            node.data().map_or("null".to_owned(), |data| format!("{} bytes", data.len()))
        };
        what.push(format!("data {} and {}", length(left), length(right)));
    }
    if left.acl() != right.acl() {
        what.push(format!("ACL of {} and {} entries", left.acl().len(), right.acl().len()));
    }
    let (a, b) = (left.stat_persisted(), right.stat_persisted());
    let mut field = |name: &str, a: &dyn fmt::Display, b: &dyn fmt::Display| {
        let (a, b) = (a.to_string(), b.to_string());
        if a != b {
            what.push(format!("{name} {a} and {b}"));
        }
    };
    field("czxid", &a.czxid, &b.czxid);
    field("mzxid", &a.mzxid, &b.mzxid);
    field("pzxid", &a.pzxid, &b.pzxid);
    field("ctime", &a.ctime, &b.ctime);
    field("mtime", &a.mtime, &b.mtime);
    field("version", &a.version, &b.version);
    field("creates", &a.cversion, &b.cversion);
    field("aversion", &a.aversion, &b.aversion);
    field("owner", &format!("0x{:x}", a.ephemeral_owner), &format!("0x{:x}", b.ephemeral_owner));
    what
}

/// Prints the sessions that are not alike, and answers how many.
fn sessions(left: &Tree, right: &Tree, form: Form) -> usize {
    let all: BTreeMap<_, ()> =
        left.sessions().keys().chain(right.sessions().keys()).map(|id| (*id, ())).collect();
    let mut count = 0;
    for session in all.into_keys() {
        let (a, b) = (left.sessions().get(&session), right.sessions().get(&session));
        if a == b {
            continue;
        }
        count += 1;
        let name = format!("0x{:x}", session.0);
        match (a, b, form.json) {
            (_, _, true) => println!("{}", json!({"session": name, "left": a, "right": b})),
            (Some(_), None, false) => println!("- session {name}"),
            (None, _, false) => println!("+ session {name}"),
            (Some(a), Some(b), false) => println!("! session {name}: timeout {a} and {b}"),
        }
    }
    count
}

/// A subtree whose size differs.
#[derive(Debug, PartialEq, Eq)]
struct Subtree {
    depth: usize,
    path: String,
    left: Option<Sum>,
    right: Option<Sum>,
}

impl Subtree {
    fn shown(&self, form: Form) -> String {
        let Subtree { depth, path, left, right } = self;
        if form.json {
            let side = |sum: &Option<Sum>| {
                sum.map(|sum| json!({"descendants": sum.descendants, "dataBytes": sum.bytes}))
            };
            return json!({"depth": depth, "path": path, "left": side(left), "right": side(right)})
                .to_string();
        }
        match (left, right) {
            (Some(left), Some(right)) => {
                let (bytes, nodes) =
                    (delta(left.bytes, right.bytes), delta(left.descendants, right.descendants));
                format!("! {path}: {bytes} bytes, {nodes} descendants")
            }
            (Some(sum), None) => format!("- {path}: {} bytes, {} descendants", sum.bytes, sum.descendants),
            (None, Some(sum)) => format!("+ {path}: {} bytes, {} descendants", sum.bytes, sum.descendants),
            (None, None) => String::new(),
        }
    }
}

fn delta(left: u64, right: u64) -> String {
    format!("{:+}", i128::from(right) - i128::from(left))
}

/// The subtrees that differ by more than a threshold, level by level.
fn subtrees(left: &Tree, right: &Tree, over: Sum) -> Vec<Subtree> {
    let mut all: BTreeMap<(usize, String), (Option<Sum>, Option<Sum>)> = BTreeMap::new();
    let depth = |path: &str| path.trim_end_matches('/').matches('/').count();
    let of = |tree: &Tree| {
        let paths = paths(tree, "/");
        let sums = sums(tree, &paths);
        paths.into_iter().zip(sums).collect::<Vec<_>>()
    };
    for (path, sum) in of(left) {
        all.entry((depth(&path), path)).or_default().0 = Some(sum);
    }
    for (path, sum) in of(right) {
        all.entry((depth(&path), path)).or_default().1 = Some(sum);
    }
    let differs = |left: Option<Sum>, right: Option<Sum>| {
        // A node that is not there has neither itself nor anything below it.
        let nodes = |sum: Option<Sum>| sum.map_or(0, |sum| sum.descendants + 1);
        let bytes = |sum: Option<Sum>| sum.map_or(0, |sum| sum.bytes);
        nodes(left).abs_diff(nodes(right)) > over.descendants
            || bytes(left).abs_diff(bytes(right)) > over.bytes
    };
    let found = all.into_iter().filter(|(_, (left, right))| differs(*left, *right));
    found.map(|((depth, path), (left, right))| Subtree { depth, path, left, right }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tree(name: &str) -> Tree {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zookeeper-3.9.5/standalone/version-2");
        load(&path.join(name)).expect("it is whole").tree
    }

    #[test]
    fn equal_trees_do_not_differ() {
        assert_eq!(nodes(&tree("snapshot.95"), &tree("snapshot.95")), []);
        let none = subtrees(&tree("snapshot.95"), &tree("snapshot.95"), Sum::default());
        assert_eq!(none, []);
    }

    #[test]
    fn nodes_that_came_and_changed_are_told() {
        let found = nodes(&tree("snapshot.3c"), &tree("snapshot.95"));
        let came = found.iter().filter(|it| matches!(it, Difference::Right(_))).count();
        assert_eq!(came, tree("snapshot.95").node_count() - tree("snapshot.3c").node_count());
        let changed: Vec<_> = found.iter().filter(|it| matches!(it, Difference::Both(..))).collect();
        assert!(!changed.is_empty() && changed.len() < found.len(), "{changed:?}");
        let back = nodes(&tree("snapshot.95"), &tree("snapshot.3c"));
        assert_eq!(back.iter().filter(|it| matches!(it, Difference::Left(_))).count(), came);
        assert!(
            shown(changed[0], Form { json: false }).starts_with("! /"),
            "{}",
            shown(changed[0], Form { json: false })
        );
    }

    #[test]
    fn thresholds_leave_small_subtrees_out() {
        let (left, right) = (tree("snapshot.3c"), tree("snapshot.95"));
        let grown = right.node_count() - left.node_count();
        let all = subtrees(&left, &right, Sum::default());
        assert_eq!((all[0].depth, all[0].path.as_str()), (0, "/"));
        assert!(
            all[0].shown(Form { json: false }).ends_with(&format!("+{grown} descendants")),
            "{}",
            all[0].shown(Form { json: false })
        );
        assert!(all.len() > grown, "every new node and what is above it");
        let over = Sum { descendants: grown as u64, bytes: u64::MAX };
        assert_eq!(subtrees(&left, &right, over), []);
    }
}
