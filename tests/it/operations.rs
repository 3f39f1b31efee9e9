//! What operators ask a server over real sockets: the four-letter words.
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

/// A server with every word, and a client that has an ephemeral node and a watch.
struct Fixture {
    port: u16,
    _server: Server,
    client: Client,
    _dir: Dir,
}

impl Fixture {
    fn new() -> Fixture {
        let (dir, port) = (Dir::new(), free_port());
        let config = format!(
            "dataDir={}\nclientPort={port}\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
            dir.data()
        );
        let server = Server::start(&dir, &config, &[]);
        let mut client = Client::connect(port);
        assert_eq!(client.create("/node", b"x"), 0);
        assert_eq!(client.create_ephemeral("/mine"), 0);
        client.watch("/node");
        Fixture { port, _server: server, client, _dir: dir }
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
