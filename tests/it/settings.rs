//! Settings of a running server, and of one that does not start: `--check`, SIGHUP, `POST /v1/config`, the audit log.
//!
//! In: configurations. Out: what changes, what is said, what is refused.
//!
//! Always true:
//! * no process outlives its test; a log line at `warn` or `error` that was not announced fails it.
//!
//! Not here: which keys there are (`config`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::server::client::Client;
use crate::server::process::{Dir, Server, free_port, run_with};

#[test]
fn check_says_what_is_wrong_and_starts_nothing() {
    let dir = Dir::new();
    dir.write("good.cfg", "dataDir=there\nclientPort=1\nnio.numWorkerThreads=2\n");
    let (status, text) = run_with(&dir, &["--check", "--config", "good.cfg"]);
    assert_eq!(status, Some(0), "{text}");
    let why = "good.cfg:3: nio.numWorkerThreads is accepted and has no effect: there are no such threads";
    assert!(text.starts_with(why) && text.ends_with("the configuration can be used\n"), "{text}");
    assert!(!dir.path("there").exists(), "nothing is made");
    dir.write("bad.cfg", "dataDir=there\nclientPrt=1\n");
    for flag in ["--check", "--strict"] {
        let (status, text) = run_with(&dir, &[flag, "--config", "bad.cfg"]);
        assert_eq!(status, Some(2), "{flag}: {text}");
        assert!(
            text.contains("bad.cfg:2: clientPrt=1: expected a key that exists, such as clientPort"),
            "{text}"
        );
    }
}

#[test]
fn a_server_that_is_told_nothing_chooses_this_machine_and_the_home_directory() {
    let dir = Dir::new();
    let (status, text) = run_with(&dir, &["--check"]);
    assert_eq!(status, Some(0), "{text}");
    let data = dir.path("home").join(".local/share/quorate");
    for line in [
        &format!("no dataDir is given: the data is in {}", data.display()),
        "no clientPort is given: clients are served on 127.0.0.1:2181",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn settings_change_by_sighup_and_by_the_admin_port() {
    let (dir, [port, admin]) = (Dir::new(), std::array::from_fn(|_| free_port()));
    dir.write("token", "secret\n");
    let config = |more: &str| {
        format!(
            "dataDir={}\nclientPort={port}\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={admin}\n\
             quorate.adminTokenFile={}\n{more}",
            dir.data(),
            dir.path("token").display()
        )
    };
    let needs_restart = "a setting has changed that needs a restart";
    let mut server = Server::start(&dir, &config(""), &[needs_restart]);
    let first = Client::connect(port);
    server.reload(&dir, &config("maxClientCnxns=1\ntickTime=77\n"));
    let mut refused = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(matches!(refused.read(&mut [0; 1]), Ok(0) | Err(_)), "there is one connection already");
    let post = |token: &str, body: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", admin)).unwrap();
        let length = body.len();
        let head = format!(
            "POST /v1/config HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(post("wrong", "{}").starts_with("HTTP/1.1 401 "));
    let answer = post("secret", r#"{"tickTime": 5}"#);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("tickTime cannot change while the server runs; maxClientCnxns, maxCnxns"),
        "{answer}"
    );
    assert!(
        post("secret", r#"{"quorate.log.level": "loud"}"#)
            .contains("expected error, warn, info, debug, trace")
    );
    assert!(
        post("secret", r#"{"maxClientCnxns": 2, "quorate.log.level": "debug"}"#).starts_with("HTTP/1.1 200 ")
    );
    let second = Client::connect(port);
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    server.wait_for("a connection over a limit is closed"); // which is said at debug
    second.close();
    first.close();
    assert!(server.stop().success());
}

#[test]
fn the_audit_log_tells_who_changed_what() {
    let (dir, port) = (Dir::new(), free_port());
    let config =
        format!("dataDir={}\nclientPort={port}\nadmin.enableServer=false\naudit.enable=true\n", dir.data());
    let mut server = Server::spawn(&dir, &config, &["result=failure"]);
    server.wait_for("operation=serverStart\tresult=success");
    server.wait_for("to=Standalone");
    let mut client = Client::connect(port);
    assert_eq!(client.create("/a", b"secret"), 0);
    let who = format!("session=0x{:x}\tuser=127.0.0.1\tip=127.0.0.1\t", client.session);
    server.wait_for(&format!("{who}operation=create\tznode=/a\tznode_type=persistent\tresult=success"));
    assert_eq!(client.create("/a", b""), -110);
    server.wait_for(&format!("{who}operation=create\tznode=/a\tznode_type=persistent\tresult=failure"));
    client.close();
    assert!(server.stop().success());
}

#[test]
fn sessions_are_asked_for_no_faster_than_the_throttle_allows() {
    let (dir, port) = (Dir::new(), free_port());
    let config = format!(
        "dataDir={}\nclientPort={port}\nadmin.enableServer=false\nconnection_throttle_tokens=1\n\
         connection_throttle_fill_time=86400000\n",
        dir.data()
    );
    let mut server = Server::start(&dir, &config, &[]);
    let first = Client::connect(port);
    let mut second = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut request = vec![0; 48];
    request[..4].copy_from_slice(&44_i32.to_be_bytes());
    request[16..20].copy_from_slice(&30_000_i32.to_be_bytes());
    request[28..32].copy_from_slice(&16_i32.to_be_bytes());
    second.write_all(&request).unwrap();
    assert!(matches!(second.read(&mut [0; 1]), Ok(0) | Err(_)), "it is closed without an answer");
    first.close();
    assert!(server.stop().success());
}
