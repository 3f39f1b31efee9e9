//! What operators ask a server over real sockets: four-letter words, admin commands, metrics.
//!
//! In: one server, one client with something to show. Out: what each question is answered.
//!
//! Always true:
//! * no process outlives its test.
//!
//! Not here: the exact shape of every answer: the conformance kit compares it with Apache ZooKeeper's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::server::client::Client;
use crate::server::process::{Dir, Server, free_port};

/// The digest of `super:test`.
const SUPER: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// A server with every word, and a client that has an ephemeral node and a watch.
struct Fixture {
    port: u16,
    admin: u16,
    metrics: u16,
    server: Server,
    client: Client,
    config: String,
    dir: Dir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with("", &[])
    }

    /// The same with more settings; `announced` are parts of the warnings that may come.
    fn with(more: &str, announced: &[&str]) -> Fixture {
        let (dir, [port, admin, metrics]) = (Dir::new(), std::array::from_fn(|_| free_port()));
        let config = format!(
            "dataDir={}\nclientPort={port}\n4lw.commands.whitelist=*\nadmin.serverAddress=127.0.0.1\n\
             admin.serverPort={admin}\nadmin.commandURL=/zk\nDigestAuthenticationProvider.superDigest={SUPER}\n\
             metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
             metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={metrics}\n{more}",
            dir.data()
        );
        let server = Server::start(&dir, &config, announced);
        let mut client = Client::connect(port);
        assert_eq!(client.create("/node", b"x"), 0);
        assert_eq!(client.create_ephemeral("/mine"), 0);
        client.watch("/node");
        Fixture { port, admin, metrics, server, client, config, dir }
    }

    /// Status line, headers and body of a request; more headers end with a line break each.
    fn http(&self, port: u16, method: &str, path: &str, more: &str) -> (String, Vec<u8>) {
        self.send(port, method, path, more, &[])
    }

    /// The same with a body.
    fn send(&self, port: u16, method: &str, path: &str, more: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n{more}\r\n");
        stream.write_all(&[request.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let body = answer.split_off(end + 4);
        (String::from_utf8(answer).unwrap(), body)
    }

    /// The JSON of a command, which is answered by this status.
    fn command(&self, status: u16, path: &str, more: &str) -> serde_json::Value {
        let (head, body) = self.http(self.admin, "GET", &format!("/zk/{path}"), more);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        serde_json::from_slice(&body).unwrap()
    }

    fn ask(&self, word: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(word).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn words_tell_of_connections_sessions_and_watches() {
    let mut fixture = Fixture::new();
    let session = fixture.client.session;
    let cons = fixture.ask(b"cons");
    assert!(cons.contains(&format!(",sid=0x{session:x},lop=EXIS,")), "{cons}");
    assert!(
        cons.contains("[0](queued=0,recved=1,sent=0)\n\n"),
        "the connection that asks is there too: {cons}"
    );
    let dump = fixture.ask(b"dump");
    for part in [
        "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at ",
        &format!("Sessions with Ephemerals (1):\n0x{session:x}:\n\t/mine\nConnections dump:\n"),
        &format!(" sessionId: 0x{session:x}\n"),
    ] {
        assert!(dump.contains(part), "{part}: {dump}");
    }
    assert_eq!(fixture.ask(b"wchs"), "1 connections watching 1 paths\nTotal watches:1\n");
    assert_eq!(fixture.ask(b"wchc"), format!("0x{session:x}\n\t/node\n\n"));
    assert_eq!(fixture.ask(b"wchp"), format!("/node\n\t0x{session:x}\n\n"));
    assert_eq!(fixture.client.set("/node", b"y"), 0);
    assert_eq!(fixture.ask(b"wchp"), "\n", "the watch has fired");
}

#[test]
fn words_that_change_something_do() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ask(b"gtmk"), "306");
    let mut set = b"stmk".to_vec();
    set.extend(258_i64.to_be_bytes());
    assert_eq!(fixture.ask(&set), "258");
    assert_eq!(fixture.ask(b"gtmk"), "258");
    assert_eq!(fixture.ask(b"crst"), "Connection stats reset.\n");
    let cons = fixture.ask(b"cons");
    assert!(cons.contains("recved=0,sent=0,sid=") && cons.contains("lop=NA,"), "{cons}");
    assert!(!fixture.ask(b"srvr").contains("\nSent: 0\n"));
    assert_eq!(fixture.ask(b"srst"), "Server stats reset.\n");
    assert!(fixture.ask(b"srvr").contains("\nReceived: 1\nSent: 0\n"));
    assert_eq!(fixture.client.data("/node"), Ok(b"x".to_vec()));
    assert!(fixture.ask(b"dirs").starts_with("datadir_size: "));
}

#[test]
fn commands_tell_what_the_words_tell() {
    let fixture = Fixture::new();
    let session = fixture.client.session;
    let watches = fixture.command(200, "wchc", "");
    assert_eq!(watches["session_id_to_watched_paths"][session.to_string()][0], "/node");
    assert_eq!((&watches["command"], watches["error"].is_null()), (&"watches".into(), true));
    let connections = fixture.command(200, "connections", "");
    assert_eq!(connections["connections"][0]["session_id"], session);
    let dump = fixture.command(200, "dump", "");
    assert_eq!(dump["session_id_to_ephemeral_paths"][session.to_string()][0], "/mine");
    assert_eq!(fixture.command(200, "set_trace_mask?traceMask=7", "")["tracemask"], 7);
    assert_eq!(fixture.ask(b"gtmk"), "7");
    let wrong = fixture.command(200, "stmk?traceMask=x", "");
    assert_eq!(wrong["error"], "setTraceMask requires long traceMask argument, got x");
    assert_eq!(fixture.command(200, "lead", "")["error"], "server is not initialized");
    assert_eq!(fixture.command(200, "nothing", "")["error"], "Unknown command: nothing");
    let properties = fixture.command(200, "system_properties", "");
    assert_eq!(properties["zookeeper.admin.commandURL"], "/zk");
    assert!(!properties.to_string().contains("D/InIHSb7"), "secrets are not told: {properties}");
    let (head, list) = fixture.http(fixture.admin, "GET", "/zk", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(String::from_utf8(list).unwrap().contains("<a href=\"/zk/zabstate\">zabstate</a>\n<br/>\n"));
    for (method, path, status) in [
        ("PUT", "/zk/ruok", 405),
        ("TRACE", "/zk/ruok", 403),
        ("POST", "/zk/ruok", 500),
        ("GET", "/livez", 200),
    ] {
        let (head, _) = fixture.http(fixture.admin, method, path, "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
    }
}

#[test]
fn a_copy_of_the_tree_is_for_who_may_do_everything_and_not_at_once_again() {
    let fixture = Fixture::new();
    let auth = "Authorization: digest super:test\r\n";
    let error = |status, more| fixture.command(status, "snapshot?streaming=false", more)["error"].clone();
    assert_eq!(error(401, ""), "Auth info is missing for the command");
    assert_eq!(error(401, "Authorization: nosuch super:test\r\n"), "Not authenticated");
    let (head, body) = fixture.http(fixture.admin, "GET", "/zk/snapshot", auth);
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    assert_eq!(value("snapshot_size: "), body.len().to_string(), "{head}");
    assert!(body.starts_with(b"ZKSN"));
    let zxid = value("last_zxid: 0x");
    assert_eq!(fixture.command(200, "last_snapshot", "")["zxid"], zxid.as_str(), "the file stays");
    assert!(error(429, auth).is_null());
    let (head, _) = fixture.http(fixture.admin, "POST", "/zk/restore", auth);
    assert!(head.starts_with("HTTP/1.1 500 "), "there is no file: {head}");
}

#[test]
fn a_server_that_is_alone_takes_a_copy_of_its_tree_and_keeps_it_after_a_crash() {
    let announced = ["an admin command is refused", "a snapshot that was sent is not restored"];
    let mut fixture = Fixture::with("admin.rateLimiterIntervalInMS=0\n", &announced);
    let auth = "Authorization: digest super:test\r\n";
    let (head, copy) = fixture.http(fixture.admin, "GET", "/zk/snapshot", auth);
    let taken = head.lines().find_map(|line| line.strip_prefix("last_zxid: 0x")).unwrap();
    let taken = i64::from_str_radix(taken, 16).unwrap();
    assert_eq!((fixture.client.set("/node", b"y"), fixture.client.create("/later", b"")), (0, 0));
    let restore = |fixture: &Fixture, auth: &str, copy: &[u8]| {
        let (head, body) = fixture.send(fixture.admin, "POST", "/zk/restore", auth, copy);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        (head.split_whitespace().nth(1).unwrap().to_owned(), body)
    };
    assert_eq!(restore(&fixture, "", &copy).0, "401");
    let mut damaged = copy.clone();
    damaged[40] ^= 1;
    let (status, answer) = restore(&fixture, auth, &damaged);
    assert_eq!((status.as_str(), &answer["command"]), ("500", &"restore".into()), "{answer}");
    assert_eq!(fixture.client.data("/node").unwrap(), b"y", "nothing has changed");
    let (status, answer) = restore(&fixture, auth, &copy);
    assert_eq!((status.as_str(), &answer["last_zxid"]), ("200", &taken.into()), "{answer}");
    assert!(fixture.client.is_closed());
    // The session is of the snapshot, and so are its nodes.
    let (session, password) = (fixture.client.session, fixture.client.password.clone());
    let mut client = Client::reconnect(fixture.port, session, &password);
    assert_eq!(client.session, session);
    let shows = |client: &mut Client| ["/node", "/mine", "/later", "/after"].map(|path| client.data(path));
    let mut wanted = [Ok(b"x".to_vec()), Ok(Vec::new()), Err(-101), Err(-101)];
    assert_eq!(shows(&mut client), wanted);
    assert_eq!(client.create("/after", b"z"), 0);
    fixture.server.kill();
    let mut server = Server::start(&fixture.dir, &fixture.config, &[]);
    let mut client = Client::reconnect(fixture.port, session, &password);
    wanted[3] = Ok(b"z".to_vec());
    assert_eq!(shows(&mut client), wanted);
    client.close();
    assert!(server.stop().success());
}

#[test]
fn metrics_count_under_zookeepers_names_in_every_form() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.client.set("/node", b"y"), 0, "the watch fires");
    let (head, body) = fixture.http(fixture.metrics, "GET", "/metrics", "");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let text = String::from_utf8(body).unwrap();
    for line in [
        "# TYPE node_changed_watch_count summary",
        "node_changed_watch_count_sum 1.0",
        "connection_request_count 1.0",
        "# TYPE quorate_stage_seconds histogram",
        "# TYPE dead_watchers_queued counter",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    for stage in ["queue", "log", "apply", "reply"] {
        let line = format!("quorate_stage_seconds_count{{stage=\"{stage}\",}} 0.0");
        assert!(!text.contains(&line), "{line}");
        assert!(text.contains(&line[..line.len() - 3]), "{line}");
    }
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(names.len(), once.len(), "each name stands once");
    assert!(fixture.ask(b"mntr").contains("\nzk_sum_node_changed_watch_count\t1\n"));
    let monitor = fixture.command(200, "monitor", "");
    assert_eq!((&monitor["sum_node_changed_watch_count"], &monitor["znode_count"]), (&1.into(), &7.into()));
}
