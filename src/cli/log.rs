//! `quorate log`: looks at transaction logs of either product, and cuts them.
//!
//! In: log files, or a server's directories. Out: txns as text or JSON, what is wrong and where, a cut copy.
//!
//! Always true:
//! * nothing is changed but by `cut`, and a log is cut where it stands only with `--in-place`;
//! * what `check` accepts, a start accepts, and the other way round.
//!
//! Not here: reading files (`storage::inspect`), snapshots (`snapshot`).

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::files::{Directories, Form, refuse};
use super::shell::print::date;
use crate::base::Zxid;
use crate::proto::Acl;
use crate::storage::inspect::{Found, LogSummary, LoggedTxn, check_log, examine, read_log};
use crate::storage::offline::{CutAt, copy_cut, cut_in_place, plan_cut, txn_bytes_max};
use crate::storage::{Error, FileSystem, Layout, Options};
use crate::tree::{CreateKind, DeleteReason, SetDataReason, Tree, Txn, TxnBody};

/// The exit status for damage, as a server's.
const DAMAGED: u8 = 22;

/// Arguments of `quorate log`.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
    /// `jute.maxbuffer` of the servers that wrote the files, in bytes: a longer txn is damage.
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 0xf_ffff)]
    max_buffer: u32,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Print the txns of log files, damaged ones too.
    #[command(after_help = "\
Examples:
  quorate log dump /var/lib/zookeeper/version-2/log.100000001
  quorate log dump --from 0x100000010 --to 0x100000020 --json version-2/log.*")]
    Dump(DumpArgs),
    /// Say whether a server would start from these files.
    #[command(after_help = "\
A torn tail of the last file is no damage: a start cuts it, since nothing in it was acknowledged.
The exit status is 22 where a start would be refused, 21 where a server runs.

Examples:
  quorate log check /var/lib/zookeeper/version-2/log.100000001
  quorate log check --config /etc/zookeeper/zoo.cfg")]
    Check(CheckArgs),
    /// Write a copy of a log that ends earlier.
    #[command(after_help = "\
Without --in-place the log stays as it is, and the copy is FILE.chopped<zxid> unless --output names it.
With --in-place the log must be the last of its directory, no snapshot beside it may be newer than what is left, and
the server must not run. Look at dataDir too where dataLogDir is another directory.

Examples:
  quorate log cut --after 0x10000001f version-2/log.100000001
  quorate log cut --at-damage --in-place version-2/log.100000001")]
    Cut(CutArgs),
}

#[derive(Debug, clap::Args)]
struct DumpArgs {
    /// Log files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The first txn to print.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    from: Option<Zxid>,
    /// The last txn to print.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    to: Option<Zxid>,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Log files, each judged by itself; without them a server's directories as one.
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "data_dir", "data_log_dir"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    directories: Directories,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
struct CutArgs {
    /// The log file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The last txn that stays.
    #[arg(long, value_name = "ZXID", value_parser = zxid, conflicts_with = "at_damage", required_unless_present = "at_damage")]
    after: Option<Zxid>,
    /// Cut before the first entry that is not whole.
    #[arg(long)]
    at_damage: bool,
    /// The copy.
    #[arg(long, short, value_name = "FILE", conflicts_with = "in_place")]
    output: Option<PathBuf>,
    /// Cut the log itself.
    #[arg(long)]
    in_place: bool,
}

/// Runs `quorate log`.
pub fn run(args: &LogArgs) -> anyhow::Result<ExitCode> {
    let limit = txn_bytes_max(args.max_buffer);
    let done = match &args.command {
        LogCommand::Dump(args) => return dump(args, limit),
        LogCommand::Check(args) if args.files.is_empty() => {
            let layout = match args.directories.layout() {
                Ok(layout) => layout,
                Err(failure) => return Ok(refuse(failure)),
            };
            let options = Options { txn_bytes_max: limit, ..Options::default() };
            examine(&FileSystem, &layout, &options).and_then(|found| {
                let tree = replayed(&layout, &found)?;
                show_found(&found, &tree, args.form);
                Ok(())
            })
        }
        LogCommand::Check(args) => return check(args, limit),
        LogCommand::Cut(args) => return cut(args, limit),
    };
    Ok(done.map_or_else(refuse, |()| ExitCode::SUCCESS))
}

/// A zxid as ZooKeeper prints it, or as a decimal number.
pub fn zxid(text: &str) -> Result<Zxid, String> {
    let number = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map(Zxid).map_err(|_| "expected a zxid: 0x and hex digits, or a decimal number".to_owned())
}

fn dump(args: &DumpArgs, limit: u32) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut status = ExitCode::SUCCESS;
    for path in &args.files {
        let content = match read_log(&FileSystem, path, limit) {
            Ok(content) => content,
            Err(error) => {
                status = refuse(error);
                continue;
            }
        };
        if !args.form.json {
            writeln!(out, "{}: ZooKeeper transaction log, version 2", path.display())?;
        }
        let is_asked =
            |zxid| args.from.is_none_or(|from| from <= zxid) && args.to.is_none_or(|to| zxid <= to);
        for logged in content.txns.iter().filter(|logged| is_asked(logged.zxid)) {
            let decoded = Txn::decode(logged.txn.clone());
            match (&decoded, args.form.json) {
                (Ok(txn), false) => writeln!(out, "{}", line(logged, txn))?,
                (Ok(txn), true) => writeln!(out, "{}", object(logged, txn))?,
                (Err(error), _) => {
                    out.flush()?;
                    eprintln!("quorate: {} at offset {}: {error}", path.display(), logged.offset);
                    status = ExitCode::from(DAMAGED);
                }
            }
            if let Some(mismatch) = &logged.mismatch {
                out.flush()?;
                eprintln!("quorate: {} is damaged at offset {}: {mismatch}", path.display(), logged.offset);
                status = ExitCode::from(DAMAGED);
            }
        }
        if !args.form.json {
            writeln!(
                out,
                "{} txns, {} of {} bytes used",
                content.txns.len(),
                content.end,
                content.file_bytes
            )?;
        }
        if let Some(broken) = &content.broken {
            out.flush()?;
            eprintln!("quorate: {} at offset {}: {broken}", path.display(), content.end);
            status = ExitCode::from(DAMAGED);
        }
    }
    out.flush()?;
    Ok(status)
}

fn check(args: &CheckArgs, limit: u32) -> anyhow::Result<ExitCode> {
    let mut status = ExitCode::SUCCESS;
    for path in &args.files {
        match check_log(&FileSystem, path, limit).and_then(|summary| decodes(path, limit).map(|()| summary)) {
            Ok(summary) => show_summary(path, &summary, args.form),
            Err(error) if args.form.json => {
                println!("{}", json!({"file": path, "whole": false, "fault": error.to_string()}));
                status = refuse(error);
            }
            Err(error) => status = refuse(error),
        }
    }
    Ok(status)
}

/// Whether every txn is one that a server can apply.
fn decodes(path: &Path, limit: u32) -> Result<(), Error> {
    for logged in read_log(&FileSystem, path, limit)?.txns {
        if let Err(error) = Txn::decode(logged.txn) {
            let (path, offset) = (path.to_owned(), logged.offset);
            return Err(Error::Damaged { path, offset, what: format!("txn {}: {error}", logged.zxid) });
        }
    }
    Ok(())
}

fn show_summary(path: &Path, summary: &LogSummary, form: Form) {
    let LogSummary { txn_count, first, last, end, file_bytes, torn } = summary;
    if form.json {
        let hex = |zxid: &Option<Zxid>| zxid.map(|zxid| zxid.to_string());
        let (first, last) = (hex(first), hex(last));
        println!(
            "{}",
            json!({"file": path, "whole": true, "txns": txn_count, "first": first, "last": last, "end": end,
                   "bytes": file_bytes, "torn": torn})
        );
        return;
    }
    let range = match (first, last) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "none".to_owned(),
    };
    println!("{}: whole, {txn_count} txns ({range}), {end} of {file_bytes} bytes used", path.display());
    if let Some(torn) = torn {
        println!("{}: a torn tail at offset {end}, which a start cuts off: {torn}", path.display());
    }
}

/// The tree as a start would have it.
fn replayed(layout: &Layout, found: &Found) -> Result<Tree, Error> {
    let content = |what: String| Error::Refused { path: layout.data_dir.clone(), why: what };
    let mut tree = match &found.snapshot {
        Some(it) => Tree::from_body(it.zxid, it.body.clone(), it.digest)
            .map_err(|error| content(format!("the snapshot {} cannot be read: {error}", it.zxid)))?,
        None => Tree::new(),
    };
    for (zxid, txn) in &found.txns {
        let txn = Txn::decode(txn.clone());
        let txn =
            txn.map_err(|error| content(format!("txn {zxid} of the log cannot be applied: {error}")))?;
        tree.apply(&txn);
    }
    Ok(tree)
}

fn show_found(found: &Found, tree: &Tree, form: Form) {
    let Found { snapshot, passed_over, txns, mends } = found;
    let (last, nodes, digest) = (tree.zxid(), tree.node_count(), tree.digest());
    let (count, mismatches) = (txns.len(), tree.digest_mismatch_count());
    if form.json {
        let passed: Vec<Value> =
            passed_over.iter().map(|(path, why)| json!({"file": path, "why": why})).collect();
        let snapshot = snapshot.as_ref().map(|it| it.zxid.to_string());
        println!(
            "{}",
            json!({"whole": true, "snapshot": snapshot, "passedOver": passed, "txns": count,
                   "last": last.to_string(), "mends": mends, "nodes": nodes, "digest": format!("0x{digest:x}"),
                   "digestMismatches": mismatches})
        );
        return;
    }
    for (path, why) in passed_over {
        println!("{}: passed over: {why}", path.display());
    }
    match snapshot {
        Some(it) => println!("a start loads the snapshot {} and replays {count} txns", it.zxid),
        None => println!("a start finds no snapshot and replays {count} txns"),
    }
    mends.iter().for_each(|mend| println!("a start mends: {mend}"));
    println!("then it is at {last}, with {nodes} nodes and the digest 0x{digest:x}");
    if mismatches > 0 {
        println!("{mismatches} txns name another digest than the tree has: servers have diverged");
    }
}

fn cut(args: &CutArgs, limit: u32) -> anyhow::Result<ExitCode> {
    let at = args.after.map_or(CutAt::Damage, CutAt::After);
    let path = args.file.canonicalize().unwrap_or_else(|_| args.file.clone());
    let done = plan_cut(&FileSystem, &path, at, limit).and_then(|cut| {
        let last = cut.last.map_or("no txn".to_owned(), |zxid| zxid.to_string());
        let to = match (&args.output, args.in_place) {
            (_, true) => {
                cut_in_place(&FileSystem, &cut)?;
                path.clone()
            }
            (Some(output), false) => output.clone(),
            (None, false) => {
                let mut name = path.clone().into_os_string();
                name.push(format!(".chopped{:x}", cut.last.unwrap_or(Zxid::ZERO).0));
                PathBuf::from(name)
            }
        };
        if !args.in_place {
            copy_cut(&FileSystem, &cut, &to)?;
        }
        println!("{} ends with {last} at offset {}; {} txns are left out", to.display(), cut.end, cut.gone);
        Ok(())
    });
    Ok(done.map_or_else(refuse, |()| ExitCode::SUCCESS))
}

/// One txn as ZooKeeper's toolkit prints it, but on one line whatever it holds.
fn line(logged: &LoggedTxn, txn: &Txn) -> String {
    let header = &txn.header;
    let error = if logged.mismatch.is_some() { "CRC ERROR - " } else { "" };
    format!(
        "{error}{} session 0x{:x} cxid 0x{:x} zxid {} {} {}",
        date(header.time),
        header.session.0,
        header.cxid,
        header.zxid,
        name(&txn.body),
        details(&txn.body)
    )
}

/// What ZooKeeper calls it.
fn name(body: &TxnBody) -> &'static str {
    match body {
        TxnBody::CreateSession { .. } => "createSession",
        TxnBody::CloseSession { .. } => "closeSession",
        TxnBody::Error { .. } => "error",
        TxnBody::Create(create) => match create.kind {
            CreateKind::Create { .. } => "create",
            CreateKind::Create2 { .. } => "create2",
            CreateKind::Container => "createContainer",
            CreateKind::Ttl { .. } => "createTTL",
        },
        TxnBody::Delete { reason, .. } => match reason {
            DeleteReason::Client => "delete",
            DeleteReason::Reaped => "deleteContainer",
        },
        TxnBody::SetData(set) => match set.reason {
            SetDataReason::Client => "setData",
            SetDataReason::Reconfig => "reconfig",
        },
        TxnBody::SetAcl { .. } => "setACL",
        TxnBody::Check { .. } => "check",
        TxnBody::Multi(_) => "multi",
    }
}

fn details(body: &TxnBody) -> String {
    match body {
        TxnBody::CreateSession { timeout_ms } => timeout_ms.to_string(),
        TxnBody::CloseSession { paths } => {
            paths.iter().map(|path| shown(path.as_bytes())).collect::<Vec<_>>().join(",")
        }
        TxnBody::Error { err } => err.to_string(),
        TxnBody::Create(create) => {
            let mut text = format!(
                "{},{},{},",
                shown(create.path.as_bytes()),
                data(create.data.as_deref()),
                acl(&create.acl)
            );
            match create.kind {
                CreateKind::Create { ephemeral } | CreateKind::Create2 { ephemeral } => {
                    let _ = write!(text, "{ephemeral},{}", create.parent_cversion);
                }
                CreateKind::Container => text.push_str(&create.parent_cversion.to_string()),
                CreateKind::Ttl { ttl_ms } => {
                    let _ = write!(text, "{},{ttl_ms}", create.parent_cversion);
                }
            }
            text
        }
        TxnBody::Delete { path, .. } => shown(path.as_bytes()),
        TxnBody::SetData(set) => {
            format!("{},{},{}", shown(set.path.as_bytes()), data(set.data.as_deref()), set.version)
        }
        TxnBody::SetAcl { path, acl: list, version } => {
            format!("{},{},{version}", shown(path.as_bytes()), acl(list))
        }
        TxnBody::Check { path, version } => format!("{},{version}", shown(path.as_bytes())),
        TxnBody::Multi(ops) => {
            ops.iter().map(|op| format!("{}:{}", name(op), details(op))).collect::<Vec<_>>().join(";")
        }
    }
}

fn acl(list: &[Acl]) -> String {
    let entry = |acl: &Acl| format!("{}:{}:{}", acl.id.scheme, acl.id.id, acl.perms);
    format!("[{}]", list.iter().map(entry).collect::<Vec<_>>().join(" "))
}

fn data(data: Option<&[u8]>) -> String {
    data.map_or_else(|| "null".to_owned(), shown)
}

/// Bytes as text; what would break the line or is no text is escaped.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn object(logged: &LoggedTxn, txn: &Txn) -> Value {
    let header = &txn.header;
    let mut value = fields(&txn.body);
    let more = json!({
        "zxid": header.zxid.to_string(),
        "session": format!("0x{:x}", header.session.0),
        "cxid": header.cxid,
        "time": header.time,
        "digest": txn.digest.map(|digest| format!("0x{digest:x}")),
        "offset": logged.offset,
        "fault": logged.mismatch,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn fields(body: &TxnBody) -> Value {
    use base64::Engine as _;
    let base64 = |data: &Option<bytes::Bytes>| {
        data.as_ref().map(|data| base64::engine::general_purpose::STANDARD.encode(data))
    };
    let entries = |list: &[Acl]| -> Vec<Value> {
        let entry = |acl: &Acl| json!({"perms": acl.perms, "scheme": acl.id.scheme, "id": acl.id.id});
        list.iter().map(entry).collect()
    };
    let op = name(body);
    match body {
        TxnBody::CreateSession { timeout_ms } => json!({"op": op, "timeout": timeout_ms}),
        TxnBody::CloseSession { paths } => json!({"op": op, "paths": paths}),
        TxnBody::Error { err } => json!({"op": op, "err": err}),
        TxnBody::Create(create) => {
            let (ephemeral, ttl) = match create.kind {
                CreateKind::Create { ephemeral } | CreateKind::Create2 { ephemeral } => (ephemeral, None),
                CreateKind::Container => (false, None),
                CreateKind::Ttl { ttl_ms } => (false, Some(ttl_ms)),
            };
            json!({"op": op, "path": create.path, "data": base64(&create.data), "acl": entries(&create.acl),
                   "ephemeral": ephemeral, "ttl": ttl, "parentCversion": create.parent_cversion})
        }
        TxnBody::Delete { path, .. } => json!({"op": op, "path": path}),
        TxnBody::SetData(set) => {
            json!({"op": op, "path": set.path, "data": base64(&set.data), "version": set.version})
        }
        TxnBody::SetAcl { path, acl, version } => {
            json!({"op": op, "path": path, "acl": entries(acl), "version": version})
        }
        TxnBody::Check { path, version } => json!({"op": op, "path": path, "version": version}),
        TxnBody::Multi(ops) => json!({"op": op, "ops": ops.iter().map(fields).collect::<Vec<_>>()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxids_are_read_in_both_notations() {
        assert_eq!(zxid("0x10000001f"), Ok(Zxid(0x1_0000_001f)));
        assert_eq!(zxid("31"), Ok(Zxid(31)));
        assert!(zxid("1f").is_err());
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(shown("a\n\\\u{fc}".as_bytes()), "a\\n\\\\\u{fc}");
        assert_eq!(shown(&[b'x', 0xff, 0]), "x\\xff\\u{0}");
        assert_eq!(data(None), "null");
        assert_eq!(data(Some(b"")), "");
    }
}
