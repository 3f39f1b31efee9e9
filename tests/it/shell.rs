//! `quorate shell`, run as a program on one server.
//!
//! In: commands as arguments and on standard input. Out: what is printed where, and the exit status.
//!
//! Always true:
//! * the exit status tells of failure.
//!
//! Not here: the conversations of zkCli's scripts (`tests/conformance/zkcli`), single functions (`cli::shell`).

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::server::process::{Dir, Server, free_port};

/// What a shell said.
struct Said {
    status: i32,
    out: String,
    err: String,
}

/// A server, and its port.
struct Fixture {
    port: u16,
    _server: Server,
    _dir: Dir,
}

impl Fixture {
    fn start() -> Fixture {
        let (dir, port) = (Dir::new(), free_port());
        let config = format!("dataDir={}\nclientPort={port}\nadmin.enableServer=false\n", dir.data());
        let server = Server::start(&dir, &config, &[]);
        Fixture { port, _server: server, _dir: dir }
    }

    fn shell(&self, arguments: &[&str], input: &str) -> Said {
        let server = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(["shell", "--server", &server]).args(arguments);
        run(command, input)
    }

    /// Runs commands one after the other; they succeed.
    fn out(&self, arguments: &[&str]) -> String {
        let said = self.shell(arguments, "");
        assert_eq!(said.status, 0, "{arguments:?}: {}{}", said.out, said.err);
        said.out
    }
}

fn run(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

#[test]
fn a_command_tells_what_was_asked_for_and_what_was_done() {
    let fixture = Fixture::start();
    let said = fixture.shell(&["-e", "create /a 'of two'", "-e", "get /a", "-e", "ls /"], "");
    assert_eq!((said.status, said.err.as_str()), (0, "Created /a\n"));
    assert_eq!(said.out, "of two\n[a, zookeeper]\n");

    // The words of one command, as zkCli takes them.
    assert_eq!(fixture.out(&["ls", "-R", "/a"]), "/a\n");
    let said = fixture.shell(&["-e", "get /nope", "-e", "create /never"], "");
    assert_eq!((said.status, said.err.as_str()), (1, "Node does not exist: /nope\n"));
    assert_eq!(fixture.shell(&["stat", "/never"], "").status, 1);
    let said = fixture.shell(&["help"], "");
    assert_eq!(said.status, 127);
    assert!(said.err.contains("\tget [-s] [-w] [-b] [-x] path\n"), "{}", said.err);
    assert!(said.err.ends_with("Command not found: Command not found help\n"), "{}", said.err);
}

#[test]
fn a_script_on_standard_input_ends_as_its_last_command() {
    let fixture = Fixture::start();
    let script = "create /s x\nget -w /s\nset /s y\n\nget /nope\nhistory\n";
    let said = fixture.shell(&[], script);
    assert_eq!(said.status, 0, "{}", said.err);
    assert_eq!(said.err, "Created /s\nNode does not exist: /nope\n");
    let event = "WatchedEvent state:SyncConnected type:NodeDataChanged path:/s zxid: ";
    assert!(said.out.contains(event), "{}", said.out);
    assert!(said.out.ends_with("3 - get /nope\n4 - history\n"), "{}", said.out);
    assert_eq!(fixture.shell(&[], "ls /\nget /nope").status, 1);
    assert_eq!(fixture.shell(&[], "get /nope\nquit\nls /").status, 1);
    let said = fixture.shell(&[], "close\nls /\nconnect\nls /");
    let (closed, connected) = said.out.split_once("Not connected\n").unwrap();
    assert!(closed.contains("state:Closed type:None"), "{closed}");
    assert!(connected.ends_with("[s, zookeeper]\n"), "{connected}");
}

#[test]
fn json_is_one_object_for_each_command_and_event() {
    let fixture = Fixture::start();
    let script = "create /j text\nget -w /j\nset -b /j /w==\nget /j\ncreate /null\nget /null\nls /\ngetAcl /j\n\
                  get /nope\nsetquota -N 5 /j\nlistquota /j\nnonsense\n";
    let said = fixture.shell(&["--json"], script);
    assert_eq!(said.status, 127);
    assert_eq!(said.err, "");
    let lines: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (event, answers): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["event"].is_object());
    assert_eq!(answers.len(), 12, "{answers:?}");
    assert_eq!(answers[0]["created"], "/j");
    assert_eq!((&answers[1]["data"], &answers[1]["stat"]["dataLength"]), (&"text".into(), &4.into()));
    assert_eq!(answers[3]["base64"], "/w==");
    assert!(answers[5]["data"].is_null() && answers[5]["stat"].is_object());
    assert_eq!(answers[6]["children"], serde_json::json!(["j", "null", "zookeeper"]));
    let open = serde_json::json!([{"scheme": "world", "id": "anyone", "permissions": "cdrwa"}]);
    assert_eq!(answers[7]["acl"], open);
    assert_eq!(answers[8]["code"], "NoNode");
    assert_eq!(answers[10]["quota"]["countHardLimit"], 5);
    assert_eq!(answers[11]["error"], "Command not found: Command not found nonsense");
    let changed = event.iter().find(|line| line["event"]["type"] == "NodeDataChanged").unwrap();
    assert_eq!(changed["event"]["path"], "/j");
}

#[test]
fn null_and_empty_data_are_told_apart() {
    let fixture = Fixture::start();
    let commands = ["create /p/null", "create -s /p/seq-", "create -c /p/container", "create /p/empty ''"];
    assert_eq!(fixture.shell(&["-e", commands[0]], "").err, "Node does not exist: /p/null\n");
    let arguments: Vec<&str> = ["create /p"].iter().chain(&commands).flat_map(|one| ["-e", one]).collect();
    let said = fixture.shell(&arguments, "");
    let created =
        "Created /p\nCreated /p/null\nCreated /p/seq-0000000001\nCreated /p/container\nCreated /p/empty\n";
    assert_eq!((said.status, said.err.as_str()), (0, created));
    assert_eq!(fixture.out(&["get", "/p/null"]), "null\n");
    assert_eq!(fixture.out(&["get", "/p/seq-0000000001"]), "null\n");
    assert_eq!(fixture.out(&["get", "/p/empty"]), "\n");

    // With a chroot, and as whoever the session is.
    let server = format!("127.0.0.1:{}/p", fixture.port);
    let mut below = Command::new(env!("CARGO_BIN_EXE_quorate"));
    below.args(["shell", "-server", &server]);
    let said = run(below, "addauth digest a:b\ncreate /mine\nsetAcl /mine auth::r\nget /mine\n");
    assert!(said.out.ends_with("\nnull\n"), "{}{}", said.out, said.err);
    assert_eq!(said.err, "Created /mine\n");
    assert_eq!(fixture.out(&["ls", "/p"]), "[container, empty, mine, null, seq-0000000001]\n");
    let said = fixture.shell(&["get", "/p/mine"], "");
    assert_eq!((said.status, said.err.as_str()), (1, "Insufficient permission : /p/mine\n"));
}

#[test]
fn an_event_that_several_watches_are_told_is_shown_once_and_in_order() {
    let fixture = Fixture::start();
    let script = "create /w x\ncreate /w/a x\naddWatch /w\naddWatch /w\naddWatch -m PERSISTENT /w/a\nget -w /w/a\n\
                  stat -w /w/a\nls -w /w/a\nset /w/a y\ncreate /w/a/b\ndelete /w/a/b\nremovewatches /w/a\n\
                  set /w/a z\nremovewatches /w\nset /w/a 1\nremovewatches /w\n";
    let said = fixture.shell(&[], script);
    assert_eq!(said.status, 1);
    let events = said.out.lines().filter_map(|line| {
        let (kind, path) =
            line.strip_prefix("WatchedEvent state:SyncConnected type:")?.split_once(" path:")?;
        Some(format!("{kind} {}", path.split(' ').next()?))
    });
    let expected = [
        "None null",
        "NodeDataChanged /w/a",
        "NodeCreated /w/a/b",
        "NodeChildrenChanged /w/a",
        "NodeDeleted /w/a/b",
        "NodeChildrenChanged /w/a",
        "PersistentWatchRemoved /w/a",
        "NodeDataChanged /w/a",
        "PersistentWatchRemoved /w",
    ];
    assert_eq!(events.collect::<Vec<_>>(), expected, "{}", said.out);
    let told = "Created /w\nCreated /w/a\nCreated /w/a/b\nKeeperErrorCode = No such watcher for /w\n";
    assert_eq!(said.err, told);
}

#[test]
fn a_subtree_goes_in_batches_and_what_zookeeper_keeps_stays() {
    let fixture = Fixture::start();
    let nodes = (0..50).map(|n| format!("create /d/{n} x\ncreate /d/{n}/below x\n")).collect::<String>();
    let said = fixture
        .shell(&[], &format!("create /d x\n{nodes}getAllChildrenNumber /d\ndeleteall -b 7 /d\nls /\n"));
    assert!(said.out.ends_with("100\n[zookeeper]\n"), "{}{}", said.out, said.err);
    let said = fixture.shell(&["-e", "create /d x", "-e", "deleteall /", "-e", "ls -R /zookeeper"], "");
    assert_eq!(said.err, "Created /d\nFailed to delete some node(s) in the subtree!\n");
    assert_eq!(said.out, "/zookeeper\n/zookeeper/config\n/zookeeper/quota\n");
    assert_eq!(fixture.out(&["ls", "/"]), "[zookeeper]\n");
}

#[test]
fn limits_are_set_listed_and_removed() {
    let fixture = Fixture::start();
    let script = "create /q\ncreate /q/below\nsetquota -n 1 /q\nsetquota -B 9 /q\nlistquota /q\nsetquota -n 1 /q/below\n\
                  setquota -n 0 /q\ndelquota -B /q\ndelquota /q\nls -R /zookeeper/quota\nlistquota /q\n";
    let said = fixture.shell(&[], script);
    assert_eq!(said.status, 0, "{}", said.err);
    let out = "[Warning]: the count quota you create is less than the existing count:2\n\
               [Warning]: the count quota you create is less than the existing count:2\n\
               Output quota for /q count=1,bytes=-1=;byteHardLimit=9;countHardLimit=-1\n\
               Output stat for /q count=2,bytes=0\n\
               /zookeeper/quota\n";
    assert!(said.out.ends_with(out), "{}", said.out);
    let err = "Created /q\nCreated /q/below\n\
               absolute path is /zookeeper/quota/q/zookeeper_limits\n\
               /q/below has a parent /q which has a quota\n\
               the num quota must be greater than zero\n\
               absolute path is /zookeeper/quota/q/zookeeper_limits\n\
               quota for /q does not exist.\n";
    assert_eq!(said.err, err);
}

#[test]
fn an_ephemeral_node_of_a_command_stays_and_that_of_a_script_goes() {
    let fixture = Fixture::start();
    let said = fixture.shell(&["-e", "create -e /stays x", "-e", "getEphemerals"], "");
    assert_eq!((said.status, said.out.as_str()), (0, "[/stays]\n"));
    fixture.shell(&[], "create -e /goes x\n");
    assert_eq!(fixture.out(&["ls", "/"]), "[stays, zookeeper]\n");
}

#[test]
fn colours_are_there_when_asked_for() {
    let fixture = Fixture::start();
    let said = fixture.shell(&["--color", "always", "-e", "stat /", "-e", "get /nope"], "");
    assert!(said.out.starts_with("\x1b[36mcZxid\x1b[0m = 0x0\n"), "{:?}", said.out);
    assert_eq!(said.err, "\x1b[31mNode does not exist: /nope\x1b[0m\n");
    assert!(fixture.out(&["stat", "/"]).starts_with("cZxid = 0x0\n"));
}

#[test]
fn without_a_server_a_command_fails() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(["shell", "--server", &format!("127.0.0.1:{}", free_port()), "ls", "/"]);
    let said = run(command, "");
    assert_eq!((said.status, said.err.as_str()), (1, "KeeperErrorCode = ConnectionLoss for /\n"));
}
