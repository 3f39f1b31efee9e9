//! Boards over real sockets of this machine.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Election, ElectionSettings};
use crate::base::{Address, Ensemble, ServerId, Zxid};
use crate::replica::event::Event;
use crate::zab::vote::{Hello, Notification, PeerState, Vote, take_frame};

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    id: ServerId,
    port: u16,
    election: Election,
    inbox: mpsc::Receiver<Event>,
    stop: CancellationToken,
}

impl Server {
    async fn start(id: i64) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, inbox) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let settings = ElectionSettings {
            id: ServerId(id),
            connect_timeout: PATIENCE,
            keep_alive: crate::net::dial::KeepAlive::On,
            handshake_timeout: PATIENCE,
            handshakes_max: 2,
            accept_pause: Duration::ZERO,
            tasks: TaskTracker::new(),
        };
        let election = Election::start(settings, sender, stop.clone());
        election.listen(listener).await;
        Server { id: ServerId(id), port, election, inbox, stop }
    }

    async fn next_vote(&mut self) -> (ServerId, i64) {
        match timeout(PATIENCE, self.inbox.recv()).await.expect("in time").expect("a running board") {
            Event::Vote(from, notification) => (from, notification.vote.round),
            other => panic!("{other:?} is no vote"),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn members(servers: &[&Server]) -> Vec<Ensemble> {
    let line = |server: &&Server| format!("server.{}=127.0.0.1:1:{}\n", server.id, server.port);
    vec![Ensemble::parse(&servers.iter().map(line).collect::<String>()).unwrap()]
}

fn notification(round: i64) -> Notification {
    let vote = Vote { leader: ServerId(1), zxid: Zxid(0), round, epoch: 0 };
    Notification { state: PeerState::Looking, vote, version: 2, config: Some("version=0".to_owned()) }
}

fn hello(id: i64) -> bytes::Bytes {
    Hello::encode(ServerId(id), &Address { host: "127.0.0.1".to_owned(), port: 9 })
}

async fn next_round(stream: &mut TcpStream) -> i64 {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(payload) = take_frame(&mut bytes).unwrap() {
            return Notification::decode(payload).unwrap().vote.round;
        }
        let count = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("in time").unwrap();
        assert!(count > 0, "the board closed the connection");
    }
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    // A reset is an end too: bytes that were sent may not have been read.
    let read = timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("in time");
    matches!(read, Ok(0) | Err(_))
}

#[tokio::test]
async fn the_smaller_id_calls_and_the_larger_one_calls_back() {
    let (mut one, mut two) = (Server::start(1).await, Server::start(2).await);
    one.election.set_members(members(&[&one, &two]));
    two.election.set_members(members(&[&one, &two]));
    one.election.send(ServerId(2), &notification(7));
    assert_eq!(two.next_vote().await, (ServerId(1), 7));
    two.election.send(ServerId(1), &notification(8));
    assert_eq!(one.next_vote().await, (ServerId(2), 8));
}

#[tokio::test]
async fn the_last_notification_is_sent_again_on_a_new_connection() {
    let one = Server::start(1).await;
    one.election.set_members(vec![Ensemble::parse("server.5=127.0.0.1:1:9").unwrap()]);
    for round in [1, 2] {
        one.election.send(ServerId(5), &notification(round));
    }
    for _ in 0..2 {
        let mut stream = one.connect().await;
        stream.write_all(&hello(5)).await.unwrap();
        assert_eq!(next_round(&mut stream).await, 2);
    }
}

#[tokio::test]
async fn a_newer_connection_of_a_larger_id_takes_the_place_of_the_older_one() {
    let mut one = Server::start(1).await;
    let mut old = one.connect().await;
    old.write_all(&hello(5)).await.unwrap();
    let mut frame = BytesMut::new();
    notification(1).encode(&mut frame);
    old.write_all(&frame).await.unwrap();
    assert_eq!(one.next_vote().await, (ServerId(5), 1));
    let mut new = one.connect().await;
    new.write_all(&hello(5)).await.unwrap();
    assert!(is_closed(&mut old).await);
    new.write_all(&frame).await.unwrap();
    assert_eq!(one.next_vote().await, (ServerId(5), 1));
}

#[tokio::test]
async fn a_silent_connection_delays_nobody_and_garbage_closes_one() {
    let mut one = Server::start(1).await;
    let _silent = one.connect().await;
    for garbage in [&[0x80; 64][..], &hello(1), b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = one.connect().await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    let mut stream = one.connect().await;
    stream.write_all(&hello(3)).await.unwrap();
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0, 0, 0, 4, 9, 9, 9, 9]); // a message that cannot be read is skipped
    notification(4).encode(&mut frame);
    stream.write_all(&frame).await.unwrap();
    assert_eq!(one.next_vote().await, (ServerId(3), 4));
    stream.write_all(&[0xff; 8]).await.unwrap();
    assert!(is_closed(&mut stream).await);
}
