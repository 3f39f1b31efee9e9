//! `quorate local`: an ensemble in one command.
//!
//! In: the program. Out: what its clients see, and that nothing of it is left.
//!
//! Always true:
//! * the members end with the process that started them.
//!
//! Not here: one server (`server`).

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::server::client::Client;
use crate::server::process::{Dir, free_port};

/// The highest first port that leaves room for the others.
const BASE_PORT_MAX: u16 = 65_103;

struct Local {
    child: Child,
    base_port: u16,
}

impl Local {
    /// Starts an ensemble and waits until all of it serves; ports that are taken are passed over.
    fn start(dir: &Dir, members: u16) -> Local {
        loop {
            let base_port = free_port().min(BASE_PORT_MAX);
            let mut child = command(dir, members, base_port).stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let told: Vec<String> =
                lines.map(Result::unwrap).take_while(|line| !line.contains("Ctrl-C")).collect();
            match child.try_wait().unwrap() {
                Some(status) => assert_eq!(status.code(), Some(20), "{told:?}"),
                None => return Local { child, base_port },
            }
        }
    }

    fn client(&self, member: u16) -> Client {
        Client::connect(self.base_port + member - 1)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Dir, members: u16, base_port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args([
        "local",
        "--members",
        &members.to_string(),
        "--base-port",
        &base_port.to_string(),
        "--data",
    ]);
    command.arg(dir.path("local")).stderr(Stdio::null());
    command
}

#[test]
fn three_members_serve_one_tree_and_end_together() {
    let dir = Dir::new();
    let mut local = Local::start(&dir, 3);
    for member in 1..=3 {
        assert_eq!(local.client(member).create(&format!("/of-{member}"), b"x"), 0);
    }
    let mut client = local.client(1);
    client.sync("/");
    for member in 1..=3 {
        assert_eq!(client.data(&format!("/of-{member}")), Ok(b"x".to_vec()));
    }
    let kill = Command::new("kill").args(["-s", "TERM", &local.child.id().to_string()]).status().unwrap();
    assert!(kill.success() && local.child.wait().unwrap().success());
    for member in 0..3 {
        assert!(TcpStream::connect(("127.0.0.1", local.base_port + member)).is_err());
    }
}

#[test]
fn data_of_another_number_of_members_is_left_alone() {
    let dir = Dir::new();
    drop(Local::start(&dir, 1));
    let output = command(&dir, 3, 20_000).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("holds an ensemble of 1 members"), "{text}");
}
