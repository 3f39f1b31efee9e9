//! One server process over real sockets: start, stop, refusals, garbage, raw bytes of the client protocol.
//!
//! In: the program, configurations. Out: what a client, an operator and the next start see.
//!
//! Always true:
//! * no process outlives its test; a log line at `warn` or `error` that was not announced fails it.
//!
//! Not here: ensembles of several members under faults.

pub mod client;
pub mod process;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use client::Client;
use process::{Dir, Server, free_port, run_to_end};

fn standalone(dir: &Dir, client: u16) -> String {
    format!(
        "dataDir={}\nclientPort={client}\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
        dir.data()
    )
}

/// A member of an ensemble of one.
fn member(dir: &Dir, ports: [u16; 3]) -> String {
    let [client, quorum, election] = ports;
    dir.write("data/myid", "1\n");
    format!(
        "tickTime=200\ninitLimit=20\nsyncLimit=10\ndataDir={}\nstandaloneEnabled=false\nadmin.enableServer=false\n\
         server.1=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}\n4lw.commands.whitelist=*\n",
        dir.data()
    )
}

fn ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

#[test]
fn a_client_creates_reads_and_closes() {
    let (dir, port) = (Dir::new(), free_port());
    let mut server = Server::start(&dir, &standalone(&dir, port), &[]);
    let mut client = Client::connect(port);
    assert_ne!(client.session, 0);
    assert_eq!(client.create("/a", b"one"), 0);
    assert_eq!(client.create("/a", b"two"), -110);
    assert_eq!(client.data("/a"), Ok(b"one".to_vec()));
    assert_eq!(client.data("/b"), Err(-101));
    client.close();
    assert!(server.stop().success());
}

#[test]
fn sigterm_ends_with_status_0_and_what_was_acknowledged_is_there_again() {
    let (dir, port) = (Dir::new(), free_port());
    let config = standalone(&dir, port);
    let mut server = Server::start(&dir, &config, &[]);
    let mut client = Client::connect(port);
    for n in 0..20 {
        assert_eq!(client.create(&format!("/n{n}"), b"x"), 0);
    }
    let began = std::time::Instant::now();
    assert!(server.stop().success());
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    let mut server = Server::start(&dir, &config, &[]);
    let mut client = Client::connect(port);
    for n in 0..20 {
        assert_eq!(client.data(&format!("/n{n}")), Ok(b"x".to_vec()));
    }
    assert!(server.stop().success());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (dir, port) = (Dir::new(), free_port());
    let config = standalone(&dir, port);
    let mut server = Server::start(&dir, &config, &[]);
    let mut client = Client::connect(port);
    for n in 0..20 {
        assert_eq!(client.create(&format!("/n{n}"), b"x"), 0);
    }
    server.kill();
    let mut server = Server::start(&dir, &config, &[]);
    let mut client = Client::connect(port);
    assert_eq!(client.data("/n19"), Ok(b"x".to_vec()));
    assert!(server.stop().success());
}

#[test]
fn a_session_moves_to_a_new_connection() {
    let (dir, port) = (Dir::new(), free_port());
    let mut server = Server::start(&dir, &standalone(&dir, port), &[]);
    let mut old = Client::connect(port);
    let mut new = Client::reconnect(port, old.session, &old.password);
    assert_eq!(new.session, old.session);
    assert!(old.is_closed());
    assert_eq!(new.create("/a", b""), 0);
    let wrong = Client::reconnect(port, new.session, &[7; 16]);
    assert_eq!((wrong.session, wrong.timeout), (0, 0));
    assert!(server.stop().success());
}

#[test]
fn garbage_on_any_port_closes_that_connection_only() {
    let (dir, ports) = (Dir::new(), ports());
    let mut server = Server::start(&dir, &member(&dir, ports), &["is closed", "is no packet"]);
    let mut client = Client::connect(ports[0]);
    let samples: [&[u8]; 4] = [&[0xff; 4096], b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[0, 0, 0, 1, 9]];
    for port in ports {
        for sample in samples {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // The server may have closed already; what counts is that it does.
            let _ = stream.write_all(sample).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert_eq!(rest, b"", "port {port} answered {sample:?}");
        }
    }
    assert_eq!(client.create("/a", b""), 0);
    assert!(server.stop().success());
}

#[test]
fn words_are_answered_and_the_connection_is_closed() {
    let (dir, port) = (Dir::new(), free_port());
    let config = format!("{}4lw.commands.whitelist=ruok\n", standalone(&dir, port));
    let mut server = Server::start(&dir, &config, &["frame has the length 2054847098"]);
    let ask = |word: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(ask("ruok\n"), "imok");
    assert!(ask("srvr").contains("\nMode: standalone\nNode count: 5\n"), "{}", ask("srvr"));
    assert_eq!(ask("mntr"), "mntr is not executed because it is not in the whitelist.\n");
    assert_eq!(ask("zzzz"), "");
    assert!(server.stop().success());
}

#[test]
fn connections_over_a_limit_are_closed() {
    let (dir, port) = (Dir::new(), free_port());
    let config = format!("{}maxClientCnxns=2\n", standalone(&dir, port));
    let mut server = Server::start(&dir, &config, &[]);
    let (_one, two) = (Client::connect(port), Client::connect(port));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(matches!(stream.read(&mut [0; 4]), Ok(0) | Err(_)));
    two.close();
    let mut three = Client::connect(port);
    assert_eq!(three.create("/a", b""), 0);
    assert!(server.stop().success());
}

#[test]
fn a_server_without_a_quorum_closes_connections_without_a_word() {
    let (dir, own, away) = (Dir::new(), ports::<3>(), ports::<2>());
    let config = format!("{}server.2=127.0.0.1:{}:{}\n", member(&dir, own), away[0], away[1]);
    let mut server = Server::spawn(&dir, &config, &["is not reached"]);
    server.wait_for(&format!("at=127.0.0.1:{}", own[0]));
    let mut stream = TcpStream::connect(("127.0.0.1", own[0])).unwrap();
    stream.write_all(&[[0, 0, 0, 44].as_slice(), &[0; 44]].concat()).unwrap();
    assert!(matches!(stream.read(&mut [0; 4]), Ok(0) | Err(_)), "no answer to connect");
    server.kill();
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused_by_name() {
    let dir = Dir::new();
    let data = dir.data();
    for (text, want) in [
        ("clientPort=1\n".to_owned(), "zoo.cfg: dataDir is not set: expected a directory"),
        (
            format!("dataDir={data}\nclientPort=x\n"),
            "zoo.cfg:2: clientPort=x: expected a number from 0 to 65535",
        ),
        (format!("dataDir={data}\nsslQuorum=true\n"), "zoo.cfg:2: sslQuorum=true: expected no such demand"),
        (
            format!("dataDir={data}\nserver.1=a:1:2\nserver.2=b:1:2\n"),
            "zoo.cfg: initLimit is not set: expected a number of ticks from 1",
        ),
        (
            format!("dataDir={data}\nquorate.adminToken=x\n"),
            "expected a key that exists, such as quorate.adminTokenFile",
        ),
    ] {
        let (status, output) = run_to_end(&dir, &text);
        assert_eq!(status, Some(2), "{output}");
        assert!(output.contains(want), "{output}");
    }
}

#[test]
fn an_id_without_a_line_is_refused() {
    let dir = Dir::new();
    let text = member(&dir, ports());
    dir.write("data/myid", "9\n");
    let (status, output) = run_to_end(&dir, &text);
    assert_eq!(status, Some(2), "{output}");
    assert!(output.contains("myid=9: expected the id of a server that has a server.N line"), "{output}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = Dir::new();
    let client = standalone(&dir, port) + "clientPortAddress=127.0.0.1\n";
    let admin =
        format!("dataDir={}\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}\n", Dir::new().data());
    let quorum_dir = Dir::new();
    let quorum = member(&quorum_dir, [free_port(), port, free_port()]) + "electionPortBindRetry=1\n";
    for (text, status, kind) in [(client, 20, "client"), (admin, 4, "admin"), (quorum, 14, "quorum")] {
        let (found, output) = run_to_end(&dir, &text);
        assert_eq!(found, Some(status), "{output}");
        assert!(output.contains(&format!("listen on the {kind} port 127.0.0.1:{port}: ")), "{output}");
    }
}

#[test]
fn a_directory_of_another_process_is_refused() {
    let (dir, port) = (Dir::new(), free_port());
    let mut server = Server::start(&dir, &standalone(&dir, port), &[]);
    let other = Dir::new();
    let (status, output) = run_to_end(&other, &standalone(&dir, free_port()));
    assert_eq!(status, Some(21), "{output}");
    assert!(output.contains("another process uses this directory"), "{output}");
    assert!(server.stop().success());
}

#[test]
fn an_empty_disk_with_an_identity_votes_only_with_the_token() {
    let (dir, ports) = (Dir::new(), ports());
    dir.write("id", "blue\n");
    dir.write("token", "secret 1,2,3\n");
    let files = format!(
        "quorate.ensembleIdFile={}\nquorate.bootstrapTokenFile={}\n",
        dir.path("id").display(),
        dir.path("token").display()
    );
    let config = member(&dir, ports) + &files;
    let mut server = Server::start(&dir, &config, &[]);
    assert_eq!(Client::connect(ports[0]).create("/a", b""), 0);
    assert!(server.stop().success());

    // The token is gone, the disk is not: it serves again.
    dir.remove("token");
    let mut server = Server::start(&dir, &config, &[]);
    assert_eq!(Client::connect(ports[0]).data("/a"), Ok(Vec::new()));
    assert!(server.stop().success());

    // Data lost, identity kept: even the token does not help.
    dir.write("token", "secret 1,2,3\n");
    dir.remove("data/version-2");
    let mut server = Server::spawn(&dir, &config, &[]);
    server.wait_for("may_vote=false");
    server.kill();

    // Nor do another start, or ZooKeeper's own word for an empty disk.
    dir.write("data/initialize", "");
    let mut server = Server::spawn(&dir, &config, &["votes only by the bootstrap token"]);
    server.wait_for("may_vote=false");
    server.kill();

    dir.write("id", "green\n");
    let (status, output) = run_to_end(&dir, &config);
    assert_eq!(status, Some(78), "{output}");
    assert!(output.contains("belongs to the ensemble \"blue\", expected \"green\""), "{output}");
}

#[test]
fn a_retired_disk_is_set_aside() {
    let (dir, ports) = (Dir::new(), ports());
    dir.write("id", "blue\n");
    dir.write("token", "secret 1\n");
    let path = |name: &str| dir.path(name).display().to_string();
    let config = member(&dir, ports)
        + &format!("quorate.ensembleIdFile={}\nquorate.bootstrapTokenFile={}\n", path("id"), path("token"))
        + &format!("quorate.retiredFile={}\n", path("retired"));
    let mut server = Server::start(&dir, &config, &[]);
    assert!(server.stop().success());
    dir.write("retired", "id=1\n");
    let mut server = Server::spawn(&dir, &config, &["set aside"]);
    server.wait_for("may_vote=false");
    server.kill();
    assert!(dir.names("data").iter().any(|name| name.starts_with("stale-")), "{:?}", dir.names("data"));
}

#[test]
fn the_admin_port_answers_probes_and_asks_for_the_token() {
    let (dir, client, admin, metrics) = (Dir::new(), free_port(), free_port(), free_port());
    dir.write("token", "sesame\n");
    let config = format!(
        "dataDir={}\nclientPort={client}\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={admin}\n\
         quorate.adminTokenFile={}\nmetricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={metrics}\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n",
        dir.data(),
        dir.path("token").display()
    );
    let mut server = Server::start(&dir, &config, &["is not handed over"]);
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(http(admin, &format!("GET {path}"), ""), (200, "ok\n".to_owned()));
    }
    let (status, report) = http(admin, "GET /v1/member", "");
    assert_eq!(status, 200, "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["role"], &report["serving"]), (&"Leader".into(), &true.into()));
    assert_eq!(http(admin, "POST /v1/transfer", "").0, 401);
    assert_eq!(http(admin, "POST /v1/transfer", "Authorization: Bearer nonsense\r\n").0, 401);
    let (status, reason) = http(admin, "POST /v1/transfer", "Authorization: Bearer sesame\r\n");
    assert_eq!(status, 409, "{reason}");
    assert_eq!(http(admin, "GET /v1/drain", "").0, 405);
    assert_eq!(http(admin, "GET /nothing", "").0, 404);
    let (status, text) = http(metrics, "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE znode_count gauge\nznode_count 5.0\n"), "{text}");

    let mut client = Client::connect(client);
    assert_eq!(http(admin, "POST /v1/drain", "Authorization: Bearer sesame\r\n").0, 202);
    assert!(client.is_closed());
    assert_eq!(http(admin, "GET /readyz", "").0, 503);
    assert_eq!(http(admin, "GET /livez", "").0, 200);
    assert!(server.stop().success());
}

/// Status and body of one HTTP request.
fn http(port: u16, request: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let text =
        format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
