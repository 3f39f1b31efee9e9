//! `quorate snapshot`: looks at snapshots of either product.
//!
//! In: snapshot files, plain or compressed. Out: nodes and sessions as text or JSON, sums, differences.
//!
//! Always true:
//! * nothing is changed on disk;
//! * what `check` accepts, a start accepts, and the other way round.
//!
//! Not here: reading files (`storage::inspect`), logs (`log`), comparing (`snapshot_diff`).

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::json;

use super::files::{Form, refuse};
use super::shell::print::date;
use super::snapshot_diff::{self, DiffArgs};
use crate::base::{Compression, Zxid};
use crate::storage::inspect::{SnapshotSummary, check_snapshot, read_snapshot};
use crate::storage::{Error, FileSystem};
use crate::tree::{NodeKind, NodeRef, Tree};

/// Arguments of `quorate snapshot`.
#[derive(Debug, clap::Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Print every node and session.
    #[command(after_help = "\
Examples:
  quorate snapshot dump version-2/snapshot.100000095
  quorate snapshot dump --data version-2/snapshot.100000095.gz
  quorate snapshot dump --json snapshot.95.snappy | jq -r 'select(.ephemeralOwner) | .path'")]
    Dump(DumpArgs),
    /// Say whether a server would load these files.
    #[command(after_help = "\
Every checksum, every node and, where the file states it, the digest of the tree. The exit status is 22 for damage.

Examples:
  quorate snapshot check version-2/snapshot.*")]
    Check(CheckArgs),
    /// Print how many nodes and bytes there are, in all or below a path.
    #[command(after_help = "\
Examples:
  quorate snapshot stat version-2/snapshot.100000095
  quorate snapshot stat --below /services --depth 2 version-2/snapshot.100000095")]
    Stat(StatArgs),
    /// Say in which nodes two snapshots differ.
    #[command(after_help = "\
By itself every node that is in one file only (- left, + right), or differs (!). With --bytes or --nodes, every subtree
whose size differs by more than that, level by level, as zkSnapshotComparer does.
The exit status is 0 for equal, 1 for different, else that of the fault.

Examples:
  quorate snapshot diff server1/snapshot.100000095 server2/snapshot.100000095.gz
  quorate snapshot diff --bytes 1000 --nodes 10 old/snapshot.5 new/snapshot.9")]
    Diff(DiffArgs),
}

#[derive(Debug, clap::Args)]
struct DumpArgs {
    /// The snapshot.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print data in base64 instead of its length.
    #[arg(long, short)]
    data: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Snapshots.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
struct StatArgs {
    /// The snapshot.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Sums of this node and of those below it that have children.
    #[arg(long, value_name = "PATH")]
    below: Option<String>,
    /// How many levels below it are shown; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "below")]
    depth: usize,
    #[command(flatten)]
    form: Form,
}

/// A snapshot with its tree.
pub(super) struct Loaded {
    pub(super) summary: SnapshotSummary,
    pub(super) tree: Tree,
}

/// Runs `quorate snapshot`.
pub fn run(args: &SnapshotArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        SnapshotCommand::Dump(args) => match load(&args.file) {
            Ok(loaded) => {
                let mut out = BufWriter::new(io::stdout().lock());
                if args.form.json {
                    dump_json(&mut out, &loaded)?
                } else {
                    dump(&mut out, &loaded, args)?
                }
                out.flush()?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Ok(refuse(error)),
        },
        SnapshotCommand::Check(args) => Ok(check(args)),
        SnapshotCommand::Stat(args) => match load(&args.file) {
            Ok(loaded) => stat(&loaded, args),
            Err(error) => Ok(refuse(error)),
        },
        SnapshotCommand::Diff(args) => snapshot_diff::run(args),
    }
}

/// Reads a snapshot whole.
pub(super) fn load(path: &Path) -> Result<Loaded, Error> {
    let (summary, body) = read_snapshot(&FileSystem, path)?;
    let zxid = summary.zxid.or(summary.last_processed).unwrap_or(Zxid::ZERO);
    match Tree::from_body(zxid, body, summary.digest) {
        Ok(tree) => Ok(Loaded { summary, tree }),
        Err(error) => {
            let what = format!("the checksums fit, but sessions, ACLs or nodes cannot be read: {error}");
            Err(Error::Damaged { path: path.to_owned(), offset: 0, what })
        }
    }
}

/// Every path, parents before children, siblings by name.
pub(super) fn paths(tree: &Tree, top: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let node = tree.node(&path).expect("paths come from the tree");
        let mut names: Vec<&str> = node.children().collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        let base = if path == "/" { "" } else { &path };
        waiting.extend(names.into_iter().map(|name| format!("{base}/{name}")));
        paths.push(path);
    }
    paths
}

fn node<'a>(tree: &'a Tree, path: &str) -> NodeRef<'a> {
    tree.node(path).expect("paths come from the tree")
}

fn dump(out: &mut dyn Write, loaded: &Loaded, args: &DumpArgs) -> io::Result<()> {
    let Loaded { summary, tree } = loaded;
    // ZooKeeper counts the root twice.
    writeln!(out, "ZNode Details (count={}):", tree.node_count() + 1)?;
    let mut last = summary.zxid.unwrap_or(Zxid::NONE);
    for path in paths(tree, "/") {
        let node = node(tree, &path);
        let stat = node.stat_persisted();
        last = last.max(stat.mzxid).max(stat.pzxid);
        writeln!(out, "----\n{path}")?;
        writeln!(out, "  cZxid = {:#016x}\n  ctime = {}", stat.czxid.0, date(stat.ctime))?;
        writeln!(out, "  mZxid = {:#016x}\n  mtime = {}", stat.mzxid.0, date(stat.mtime))?;
        writeln!(out, "  pZxid = {:#016x}\n  cversion = {}", stat.pzxid.0, stat.cversion)?;
        writeln!(out, "  dataVersion = {}\n  aclVersion = {}", stat.version, stat.aversion)?;
        writeln!(out, "  ephemeralOwner = {:#016x}", stat.ephemeral_owner)?;
        let data = node.data().unwrap_or_default();
        match args.data {
            true => writeln!(out, "  data = {}", STANDARD.encode(data))?,
            false => writeln!(out, "  dataLength = {}", data.len())?,
        }
    }
    writeln!(out, "----\nSession Details (sid, timeout, ephemeralCount):")?;
    for (session, timeout_ms) in tree.sessions() {
        let count = tree.ephemerals(*session).len();
        writeln!(out, "{:#016x}, {timeout_ms}, {count}", session.0)?;
    }
    if let Some((zxid, digest)) = summary.digest {
        writeln!(out, "Target zxid digest is: {:x}, {digest}", zxid.0)?;
    }
    // As ZooKeeper's: what the name says, or the last txn that shows in a node.
    writeln!(out, "----\nLast zxid: {last}")
}

fn dump_json(out: &mut dyn Write, loaded: &Loaded) -> io::Result<()> {
    let tree = &loaded.tree;
    for path in paths(tree, "/") {
        let node = node(tree, &path);
        let stat = node.stat_persisted();
        let acl =
            node.acl().iter().map(|it| json!({"perms": it.perms, "scheme": it.id.scheme, "id": it.id.id}));
        let acl: Vec<_> = acl.collect();
        let (owner, ttl) = match node.kind() {
            NodeKind::Ephemeral(session) => (Some(format!("0x{:x}", session.0)), None),
            NodeKind::Ttl(ttl_ms) => (None, Some(ttl_ms)),
            NodeKind::Persistent | NodeKind::Container => (None, None),
        };
        let value = json!({
            "path": path, "data": node.data().map(|data| STANDARD.encode(data)), "acl": acl,
            "czxid": stat.czxid.to_string(), "mzxid": stat.mzxid.to_string(), "pzxid": stat.pzxid.to_string(),
            "ctime": stat.ctime, "mtime": stat.mtime, "version": stat.version, "creates": stat.cversion,
            "aversion": stat.aversion, "ephemeralOwner": owner, "ttl": ttl,
            "container": node.kind() == NodeKind::Container, "children": node.child_count(),
        });
        writeln!(out, "{value}")?;
    }
    for (session, timeout_ms) in tree.sessions() {
        writeln!(out, "{}", json!({"session": format!("0x{:x}", session.0), "timeout": timeout_ms}))?;
    }
    Ok(())
}

fn check(args: &CheckArgs) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for path in &args.files {
        // First in bounded memory: a file that is not whole is not worth a tree.
        match check_snapshot(&FileSystem, path).and_then(|_| load(path)).and_then(|it| digest_fits(path, it))
        {
            Ok(loaded) => show_checked(path, &loaded, args.form),
            Err(error) => {
                if args.form.json {
                    println!("{}", json!({"file": path, "whole": false, "fault": error.to_string()}));
                }
                status = refuse(error);
            }
        }
    }
    status
}

/// A snapshot that was written while nothing changed has the digest that it states.
fn digest_fits(path: &Path, loaded: Loaded) -> Result<Loaded, Error> {
    if loaded.tree.digest_mismatch_count() == 0 {
        return Ok(loaded);
    }
    let (zxid, stated) = loaded.summary.digest.unwrap_or_default();
    let found = loaded.tree.digest();
    let what = format!("the tree has the digest 0x{found:x}, but 0x{stated:x} is stated for {zxid}");
    Err(Error::Damaged { path: path.to_owned(), offset: 0, what })
}

fn show_checked(path: &Path, loaded: &Loaded, form: Form) {
    let Loaded { summary, tree } = loaded;
    // Of a snapshot that was written while txns went on, only a replay of the log can tell.
    let is_fuzzy = tree.snapshot_reaches().is_some();
    if form.json {
        let mut value = json!({"file": path, "whole": true, "nodes": tree.node_count(), "fuzzy": is_fuzzy});
        if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), as_value(summary)) {
            value.extend(more);
        }
        println!("{value}");
        return;
    }
    let nodes = tree.node_count();
    let note = match (tree.snapshot_reaches(), summary.digest) {
        (Some(reaches), _) => format!("written while txns went on, needs the log up to {reaches}"),
        (None, Some(_)) => "the digest fits".to_owned(),
        (None, None) => "no digest is stated".to_owned(),
    };
    println!("{}: whole, {nodes} nodes, {}, {note}", path.display(), how(summary.compression));
}

fn how(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "plain",
        Compression::Gzip => "gz",
        Compression::Snappy => "snappy",
    }
}

fn as_value(summary: &SnapshotSummary) -> serde_json::Value {
    json!({
        "zxid": summary.zxid.map(|zxid| zxid.to_string()),
        "compression": how(summary.compression),
        "bytes": summary.file_bytes,
        "bodyBytes": summary.body_bytes,
        "digest": summary.digest.map(|(zxid, digest)| json!({"zxid": zxid.to_string(), "digest": format!("0x{digest:x}")})),
        "lastProcessed": summary.last_processed.map(|zxid| zxid.to_string()),
    })
}

/// How many nodes there are below one, and how many bytes of data in them and in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) descendants: u64,
    pub(super) bytes: u64,
}

/// The sums of all nodes of [`paths`], in its order.
pub(super) fn sums(tree: &Tree, paths: &[String]) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); paths.len()];
    // A node's descendants stand behind it: from the end, every child is complete before its parent takes it.
    let mut open: Vec<usize> = Vec::new();
    for index in (0..paths.len()).rev() {
        let own = node(tree, &paths[index]);
        let mut sum = Sum { descendants: 0, bytes: own.data().map_or(0, <[u8]>::len) as u64 };
        for _ in 0..own.child_count() {
            let child = sums[open.pop().expect("children come before their parent here")];
            sum.descendants += child.descendants + 1;
            sum.bytes += child.bytes;
        }
        sums[index] = sum;
        open.push(index);
    }
    sums
}

fn stat(loaded: &Loaded, args: &StatArgs) -> anyhow::Result<ExitCode> {
    let Loaded { summary, tree } = loaded;
    if let Some(top) = &args.below {
        return below(tree, top, args);
    }
    let paths = paths(tree, "/");
    let data_bytes = sums(tree, &paths)[0].bytes;
    let depth = paths.iter().map(|path| if path == "/" { 0 } else { path.matches('/').count() }).max();
    let ephemerals: usize = tree.ephemeral_owners().map(|(_, count)| count).sum();
    let (sessions, containers, ttls) =
        (tree.sessions().len(), tree.containers().count(), tree.ttls().count());
    let (nodes, digest, depth) = (tree.node_count(), tree.digest(), depth.unwrap_or(0));
    if args.form.json {
        let mut value = json!({
            "nodes": nodes, "dataBytes": data_bytes, "depth": depth, "sessions": sessions,
            "ephemerals": ephemerals, "containers": containers, "ttlNodes": ttls,
            "treeDigest": format!("0x{digest:x}"),
        });
        if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), as_value(summary)) {
            value.extend(more);
        }
        println!("{value}");
        return Ok(ExitCode::SUCCESS);
    }
    let zxid = |zxid: Option<Zxid>| zxid.map_or("not stated".to_owned(), |zxid| zxid.to_string());
    println!("zxid by its name: {}", zxid(summary.zxid));
    println!("last zxid:        {}", zxid(summary.last_processed));
    println!("compression:      {}", how(summary.compression));
    println!("file:             {} bytes, {} uncompressed", summary.file_bytes, summary.body_bytes);
    println!("nodes:            {nodes}, {depth} levels deep");
    println!("data:             {data_bytes} bytes");
    println!("ephemerals:       {ephemerals}, of {sessions} sessions");
    println!("containers:       {containers}");
    println!("TTL nodes:        {ttls}");
    println!("digest:           0x{digest:x}");
    if let Some((zxid, stated)) = summary.digest {
        println!("stated digest:    0x{stated:x} at {zxid}");
    }
    Ok(ExitCode::SUCCESS)
}

fn below(tree: &Tree, top: &str, args: &StatArgs) -> anyhow::Result<ExitCode> {
    if tree.node(top).is_none() {
        anyhow::bail!("there is no node {top} in {}", args.file.display());
    }
    let paths = paths(tree, top);
    let level = |path: &str| path.trim_end_matches('/').matches('/').count();
    let mut shown = Vec::new();
    for (path, sum) in paths.iter().zip(sums(tree, &paths)) {
        let depth = level(path) - level(top);
        if sum.descendants > 0 && (args.depth == 0 || depth <= args.depth) {
            shown.push((path, depth, sum));
        }
    }
    for (path, depth, Sum { descendants, bytes }) in shown {
        if args.form.json {
            println!("{}", json!({"path": path, "descendants": descendants, "dataBytes": bytes}));
        } else {
            let indent = "--".repeat(depth);
            println!("{indent} {path}\n{indent}   children: {descendants}\n{indent}   data: {bytes}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zookeeper-3.9.5").join(name)
    }

    #[test]
    fn sums_are_of_whole_subtrees() {
        let loaded = load(&sample("standalone/version-2/snapshot.95")).expect("it is whole");
        let paths = paths(&loaded.tree, "/");
        assert_eq!(paths.len(), loaded.tree.node_count());
        assert!(paths.windows(2).all(|pair| pair[1] != "/"), "parents come first");
        let sums = sums(&loaded.tree, &paths);
        assert_eq!(sums[0].descendants, loaded.tree.node_count() as u64 - 1);
        for (path, sum) in paths.iter().zip(&sums) {
            assert_eq!(sum.descendants, node(&loaded.tree, path).descendant_count(), "{path}");
        }
        let below = super::paths(&loaded.tree, "/seq");
        assert!(below.len() > 5 && below[1..].iter().all(|path| path.starts_with("/seq/")));
    }

    #[test]
    fn a_dump_has_the_shape_of_zookeepers() {
        let loaded = load(&sample("member/version-2/snapshot.0")).expect("it is whole");
        let mut out = Vec::new();
        let args = DumpArgs { file: PathBuf::new(), data: false, form: Form { json: false } };
        dump(&mut out, &loaded, &args).expect("memory takes it");
        let text = String::from_utf8(out).expect("it is text");
        let begin = "ZNode Details (count=5):\n----\n/\n  cZxid = 0x00000000000000\n  ctime = Thu Jan 01 00:00:00 UTC 1970\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(
            text.ends_with("----\nSession Details (sid, timeout, ephemeralCount):\n----\nLast zxid: 0x0\n"),
            "{text}"
        );
    }
}
