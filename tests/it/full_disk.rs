//! A disk that fills, on a real file system that is small.
//!
//! In: a mount in memory. Out: what clients and probes are told while it fills, and after there is room again.
//!
//! Always true:
//! * everything that was acknowledged is there at the end.
//!
//! Not here: single levels (`storage`), what is refused at which level (`replica`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::server::client::Client;
use crate::server::process::{Dir, Server, free_port};

/// Bytes of one node: about twenty fill a MiB.
const NODE_BYTES: usize = 50_000;

/// A file system of 8 MiB; it goes with its handle.
struct Small(PathBuf);

impl Small {
    /// Mounts it; `None`, and why is said, where this process may not.
    fn mount(dir: &Dir) -> Option<Small> {
        let at = dir.path("data");
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=8m", "quorate-test"]).arg(&at).output();
        match done {
            Ok(done) if done.status.success() => Some(Small(at)),
            Ok(done) => {
                println!("left out: a file system needs root: {}", String::from_utf8_lossy(&done.stderr));
                None
            }
            Err(error) => {
                println!("left out: there is no mount: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn config(dir: &Dir, [client, admin]: [u16; 2], more: &str) -> String {
    let data = dir.data();
    format!(
        "dataDir={data}\nclientPort={client}\nadmin.serverPort={admin}\n4lw.commands.whitelist=*\npreAllocSize=64\n{more}"
    )
}

fn answer(port: u16, ask: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(port: u16, path: &str) -> String {
    answer(port, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
}

fn bytes_of(node: usize) -> Vec<u8> {
    vec![node as u8; NODE_BYTES]
}

/// Creates nodes until one is not acknowledged; how many were, and the answer that ended it.
fn fill(client: &mut Client, from: usize) -> (usize, i32) {
    let mut node = from;
    loop {
        match client.create(&format!("/n{node}"), &bytes_of(node)) {
            0 => node += 1,
            err => return (node, err),
        }
    }
}

fn check(client: &mut Client, nodes: usize) {
    for node in 0..nodes {
        assert_eq!(client.data(&format!("/n{node}")), Ok(bytes_of(node)), "/n{node}");
    }
}

#[test]
fn writes_stop_before_the_disk_is_full_and_go_on_when_there_is_room() {
    let dir = Dir::new();
    let Some(_small) = Small::mount(&dir) else { return };
    let ports = [free_port(), free_port()];
    let config = config(&dir, ports, "");
    let announced = ["the disk is nearly full"];
    dir.write("data/other", &"x".repeat(3 << 20));

    let mut server = Server::start(&dir, &config, &announced);
    let mut client = Client::connect(ports[0]);
    let (nodes, err) = fill(&mut client, 0);
    assert_eq!(err, -127, "THROTTLEDOP: not executed");
    assert!((40..100).contains(&nodes), "{nodes}");
    assert_eq!(client.create("/small", b""), -127);
    check(&mut client, nodes);
    assert!(get(ports[1], "/readyz").contains("200 OK"), "reads are served");
    assert!(get(ports[1], "/readyz").ends_with("until there is room again\n"));
    assert!(get(ports[1], "/v1/member").contains(r#""room":"Low""#), "{}", get(ports[1], "/v1/member"));
    assert!(answer(ports[0], "mntr").contains("zk_disk_room\t1\n"));
    server.kill();

    let mut server = Server::start(&dir, &config, &announced);
    let mut client = Client::connect(ports[0]);
    check(&mut client, nodes);
    assert_eq!(client.create("/small", b""), -127);
    dir.remove("data/other");
    server.wait_for("there is room on the disk again");
    // The line comes before the order to the replica, which stands before the next request.
    let (more, err) = fill(&mut client, nodes);
    assert!(more > nodes + 40 && err == -127, "{more} {err}");
    check(&mut client, more);
    assert!(server.stop().success());
}

#[test]
fn a_disk_that_is_full_all_the_same_ends_the_process_and_loses_nothing() {
    let dir = Dir::new();
    let Some(_small) = Small::mount(&dir) else { return };
    let ports = [free_port(), free_port()];
    let config = config(&dir, ports, "quorate.diskReserveInKb=0\n");
    dir.write("data/other", &"x".repeat(3 << 20));
    let mut server = Server::start(&dir, &config, &[]);
    let mut client = Client::connect(ports[0]);
    let mut nodes = 0;
    while client.try_create(&format!("/n{nodes}"), &bytes_of(nodes)).is_ok_and(|err| err == 0) {
        nodes += 1;
    }
    assert!((60..110).contains(&nodes), "{nodes}");
    server.wait_for("the disk cannot be used; the server ends");
    assert_eq!(server.end().code(), Some(23));
    dir.remove("data/other");
    let mut server = Server::start(&dir, &config, &["torn tail is cut off"]);
    let mut client = Client::connect(ports[0]);
    check(&mut client, nodes);
    assert_eq!(client.create("/small", b""), 0);
    assert!(server.stop().success());
}
