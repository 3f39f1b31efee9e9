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
    let post = |token: &str, body: &str| post(admin, token, body);
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
fn every_key_that_may_change_takes_a_value_and_does_what_it_says() {
    let (dir, [port, admin]) = (Dir::new(), std::array::from_fn(|_| free_port()));
    dir.write("token", "secret\n");
    let config = format!(
        "dataDir={}\nclientPort={port}\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={admin}\n\
         quorate.adminTokenFile={}\n",
        dir.data(),
        dir.path("token").display()
    );
    let mut server = Server::start(&dir, &config, &[]);
    for key in quorate::net::live::keys() {
        let value = match key {
            "quorate.log.level" => "\"debug\"",
            "4lw.commands.whitelist" => "\"ruok, mntr\"",
            "autopurge.purgeInterval" => "\"12h\"",
            "connection_throttle_decrease_ratio"
            | "connection_throttle_drop_decrease"
            | "connection_throttle_drop_increase" => "0.5",
            _ if key.ends_with("_check") || key.ends_with("_stale") || key == "audit.enable" => "true",
            "minSessionTimeout" | "snapCount" => "4",
            "largeRequestThreshold" | "connection_throttle_freeze_time" => "-1",
            "maxSessionTimeout" => "7000",
            "connection_throttle_fill_time" => "1",
            _ => "1000",
        };
        let answer = post(admin, "secret", &format!("{{\"{key}\": {value}}}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{key}: {answer}");
    }
    let answer = post(admin, "secret", r#"{"minSessionTimeout": 7001}"#);
    assert!(
        answer.contains("the least session timeout, 7001ms, would be above the longest, 7000ms"),
        "{answer}"
    );
    let mut client = Client::connect(port);
    assert_eq!(client.timeout, 7000, "as long as allowed");
    for number in 0..4 {
        assert_eq!(client.create(&format!("/n{number}"), b""), 0);
    }
    server.wait_for("a snapshot is written"); // by the fourth txn, as was said
    assert_eq!(mntr(port, "zk_cnt_snapshottime"), "1", "the word is allowed since then");
    client.close();
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

#[test]
fn large_requests_share_a_budget_and_others_are_done() {
    let (dir, port) = (Dir::new(), free_port());
    let config = format!(
        "dataDir={}\nclientPort={port}\nadmin.enableServer=false\n4lw.commands.whitelist=mntr\n\
         largeRequestThreshold=1000\nlargeRequestMaxBytes=3000\n",
        dir.data()
    );
    let mut server = Server::start(&dir, &config, &["a client's connection is closed"]);
    let (mut client, mut other) = (Client::connect(port), Client::connect(port));
    for number in 0..9 {
        assert_eq!(client.create(&format!("/n{number}"), &[0; 2000]), 0, "the budget is given back");
    }
    assert!(other.try_create("/large", &[0; 4000]).is_err(), "there is never room for it");
    server.wait_for("there is no room for a large request of 4");
    assert_eq!(client.create("/small", &[0; 100]), 0);
    assert_eq!(client.data("/large"), Err(-101));
    assert_eq!(mntr(port, "zk_large_requests_rejected"), "1");
    client.close();
    assert!(server.stop().success());
}

#[test]
fn requests_wait_for_those_in_progress_and_are_answered_in_order() {
    for limit in
        ["request_throttle_max_requests=1\nrequest_throttle_stall_time=1", "globalOutstandingLimit=1"]
    {
        let (dir, port) = (Dir::new(), free_port());
        let config = format!(
            "dataDir={}\nclientPort={port}\nadmin.enableServer=false\n4lw.commands.whitelist=mntr\n{limit}\n",
            dir.data()
        );
        let mut server = Server::start(&dir, &config, &[]);
        let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(port)).collect();
        clients
            .iter_mut()
            .enumerate()
            .for_each(|(number, client)| client.begin_creates(&format!("/n{number}-"), 20));
        for client in &mut clients {
            assert_eq!(client.end_creates(20), [0; 20], "{limit}");
        }
        assert_eq!(mntr(port, "zk_outstanding_requests"), "0");
        let has_waited = mntr(port, "zk_request_throttle_wait_count") != "0";
        assert_eq!(has_waited, limit.starts_with("request_throttle"), "{limit}");
        clients.into_iter().for_each(Client::close);
        assert!(server.stop().success());
    }
}

/// The answer to a change of settings.
fn post(admin: u16, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", admin)).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/config HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A number that `mntr` tells.
fn mntr(port: u16, name: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"mntr").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    line.unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
}
