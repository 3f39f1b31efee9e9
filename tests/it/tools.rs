//! The tools for files, run as programs on directories that Apache ZooKeeper wrote.
//!
//! In: copies of `tests/data`. Out: what they print, their exit status, and what is on disk after them.
//!
//! Always true:
//! * a directory of a running server is refused with status 21, damage with 22, a bad order with 2.
//!
//! Not here: their single functions (`storage`, `cli`).

use std::path::Path;
use std::process::Command;

use crate::server::process::{Dir, Server, free_port};

/// What a tool said.
struct Said {
    status: i32,
    out: String,
    err: String,
}

fn quorate(dir: &Dir, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let done = command.current_dir(dir.path("data")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

/// A directory with a copy of a sample.
fn sample(name: &str) -> Dir {
    let dir = Dir::new();
    let from =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zookeeper-3.9.5").join(name).join("version-2");
    let to = dir.path("data/version-2");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn flip(dir: &Dir, name: &str, offset: usize) {
    let path = dir.path(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_log_is_dumped_and_checked() {
    let dir = sample("standalone");
    let said = quorate(&dir, &["log", "dump", "version-2/log.97"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (16, "version-2/log.97: ZooKeeper transaction log, version 2"));
    let failed = " zxid 0xa2 multi create:/m2,1,[world:anyone:31],false,8;error:-103";
    assert!(lines[12].ends_with(failed), "{}", lines[12]);
    assert!(
        lines[14].contains(" session 0x1000025830b0000 cxid 0xa2 zxid 0xa4 delete /seq/n-0000000001"),
        "{}",
        lines[14]
    );

    let said = quorate(&dir, &["log", "dump", "--json", "--from", "0xa3", "--to", "163", "version-2/log.97"]);
    assert!(said.out.contains(r#""op":"error""#) && said.out.lines().count() == 1, "{}", said.out);

    let said = quorate(&dir, &["log", "check", "version-2/log.97", "version-2/log.3e"]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.starts_with("version-2/log.97: whole, 14 txns (0x97 to 0xa4), "), "{}", said.out);

    let said = quorate(&dir, &["log", "check", "--data-dir", "."]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.starts_with("a start loads the snapshot 0x95 and replays 15 txns\n"), "{}", said.out);
    assert!(!said.out.contains("diverged"), "{}", said.out);
}

#[test]
fn damage_is_named_with_file_and_offset() {
    let dir = sample("standalone");
    flip(&dir, "data/version-2/log.97", 87);
    let said = quorate(&dir, &["log", "check", "version-2/log.97"]);
    assert_eq!(said.status, 22);
    assert!(
        said.err.contains("version-2/log.97 is damaged at offset 16: an entry has the checksum"),
        "{}",
        said.err
    );
    let started = quorate(&dir, &["log", "check", "--data-dir", "."]);
    assert_eq!(started.status, 22, "{}", started.err);
    assert!(started.err.contains("version-2/log.97 is damaged at offset 16"), "{}", started.err);
    let said = quorate(&dir, &["log", "dump", "version-2/log.97"]);
    assert_eq!((said.status, said.out.lines().count()), (22, 16), "it goes on behind the damage");
    assert!(said.out.contains("CRC ERROR - "), "{}", said.out);

    flip(&dir, "data/version-2/snapshot.95", 400);
    let said = quorate(&dir, &["snapshot", "check", "version-2/snapshot.95", "version-2/snapshot.3c"]);
    assert_eq!(said.status, 22);
    assert!(said.err.contains("version-2/snapshot.95 is damaged at offset"), "{}", said.err);
    assert!(said.out.starts_with("version-2/snapshot.3c: whole, 61 nodes, plain, "), "{}", said.out);
}

#[test]
fn a_log_is_cut_only_as_told() {
    let dir = sample("standalone");
    let said = quorate(&dir, &["log", "cut", "--after", "0xa0", "version-2/log.97"]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("log.97.choppeda0 ends with 0xa0"), "{}", said.out);
    let said = quorate(&dir, &["log", "check", "version-2/log.97.choppeda0", "version-2/log.97"]);
    assert!(said.out.contains("choppeda0: whole, 10 txns (0x97 to 0xa0)"), "{}", said.out);
    assert!(said.out.contains("log.97: whole, 14 txns"), "{}", said.out);
    assert_eq!(quorate(&dir, &["log", "cut", "version-2/log.97"]).status, 2);
    let said = quorate(&dir, &["log", "cut", "--in-place", "--after", "0x60", "version-2/log.3e"]);
    assert_eq!(said.status, 2);
    assert!(said.err.contains("log.97 goes on from it"), "{}", said.err);
    let said = quorate(&dir, &["log", "cut", "--in-place", "--after", "0xa0", "version-2/log.97"]);
    assert_eq!(said.status, 0, "{}", said.err);
    let said = quorate(&dir, &["log", "check", "--data-dir", "."]);
    assert!(said.out.contains("then it is at 0xa0"), "{} {}", said.out, said.err);
}

#[test]
fn snapshots_are_dumped_summed_and_compared() {
    let dir = sample("standalone");
    let said = quorate(&dir, &["snapshot", "dump", "--data", "version-2/snapshot.95"]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(
        said.out.starts_with("ZNode Details (count=151):\n----\n/\n  cZxid = 0x00000000000000\n"),
        "{}",
        said.out
    );
    assert!(said.out.contains("\n0x1000025830b0000, 10000, 0\n"), "{}", said.out);
    let said = quorate(&dir, &["snapshot", "stat", "--json", "version-2/snapshot.95"]);
    assert!(said.out.contains(r#""nodes":150"#) && said.out.contains(r#""zxid":"0x95""#), "{}", said.out);
    let said = quorate(&dir, &["snapshot", "stat", "--below", "/zookeeper", "version-2/snapshot.95"]);
    assert!(said.out.starts_with(" /zookeeper\n   children: 2\n"), "{}", said.out);
    let same = quorate(&dir, &["snapshot", "diff", "version-2/snapshot.95", "version-2/snapshot.95"]);
    assert_eq!((same.status, same.out.as_str()), (0, ""));
    let said = quorate(&dir, &["snapshot", "diff", "version-2/snapshot.3c", "version-2/snapshot.95"]);
    assert_eq!(said.status, 1);
    assert!(said.out.lines().filter(|line| line.starts_with("+ /")).count() == 89, "{}", said.out);
    let said = quorate(&dir, &["snapshot", "diff", "version-2/nothing", "version-2/snapshot.95"]);
    assert_eq!(said.status, 2, "{}", said.err);
}

#[test]
fn a_running_servers_directory_is_left_alone() {
    let (dir, port) = (Dir::new(), free_port());
    let config = format!(
        "dataDir={}\nclientPort={port}\nadmin.enableServer=false\nsnapshot.compression.method=snappy\n",
        dir.data()
    );
    let mut server = Server::start(&dir, &config, &[]);
    dir.write("zoo.cfg", &config);
    let zoo_cfg = dir.path("zoo.cfg").display().to_string();
    let tools: [&[&str]; 3] = [&["log", "check"], &["purge"], &["init", "--myid", "1", "--force"]];
    for tool in tools {
        let said = quorate(&dir, &[tool, &["--config", &zoo_cfg]].concat());
        assert_eq!(said.status, 21, "{tool:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("another process uses this directory"), "{}", said.err);
    }
    let said = quorate(&dir, &["snapshot", "check", "version-2/snapshot.0.snappy"]);
    assert_eq!(said.out, "version-2/snapshot.0.snappy: whole, 4 nodes, snappy, no digest is stated\n");
    assert!(server.stop().success());

    let said = quorate(&dir, &["log", "check", "--config", &zoo_cfg]);
    assert_eq!(said.status, 0, "{}", said.err);
    let said = quorate(&dir, &["purge", "--config", &zoo_cfg, "--dry-run"]);
    assert_eq!((said.status, said.out.as_str()), (0, "0 files\n"));
    let said = quorate(&dir, &["init", "--config", &zoo_cfg, "--myid", "3"]);
    assert_eq!(said.status, 2);
    assert!(said.err.contains("it exists already") && said.err.contains("--force"), "{}", said.err);
    let said = quorate(&dir, &["init", "--config", &zoo_cfg, "--myid", "3", "--force"]);
    assert_eq!(said.status, 0, "{}", said.err);
    let mut names = dir.names("data");
    names.sort();
    assert_eq!(names, ["initialize", "myid", "quorate.lock", "version-2"]);
    assert_eq!(quorate(&dir, &["init", "--myid", "256", "--data-dir", "."]).status, 2);
    assert_eq!(quorate(&dir, &["purge"]).status, 2);
}
