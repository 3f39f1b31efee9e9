//! Links over loopback whose peers take nothing.

use super::*;
use crate::base::Zxid;

/// A port that is listened on, and what the loop is told.
struct Port {
    quorum: Quorum,
    events: mpsc::Receiver<Event>,
    tasks: TaskTracker,
    listening: CancellationToken,
    address: std::net::SocketAddr,
}

impl Port {
    async fn open(waiting: WaitingLimits) -> Port {
        let (inbox, events) = mpsc::channel(1024);
        let tasks = TaskTracker::new();
        let long = Duration::from_secs(3600);
        let settings = QuorumSettings {
            init_silence: long,
            sync_silence: long,
            connect_limit: long,
            limits: Limits { buffer_bytes_max: 4 << 20, snapshot_bytes_max: 4 << 20 },
            waiting,
            tasks: tasks.clone(),
        };
        let stop = CancellationToken::new();
        let quorum = Quorum::new(settings, inbox, stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let listening = stop.child_token();
        quorum.listen(listener, listening.clone());
        Port { quorum, events, tasks, listening, address }
    }

    /// A peer that takes nothing, and the link to it.
    async fn connect(&mut self) -> (TcpStream, LinkId) {
        let peer = TcpStream::connect(self.address).await.expect("it listens");
        let Some(Event::LinkUp(link, None)) = self.events.recv().await else { panic!("a link stands") };
        (peer, link)
    }

    fn send_mib(&self, link: LinkId, count: usize) {
        let config = Some("x".repeat(1 << 20));
        for _ in 0..count {
            self.quorum.send([(link, Packet::NewLeader { zxid: Zxid(0), config: config.clone() })]);
        }
    }
}

/// A peer that takes nothing and goes on sending must not hold a link that the loop has closed.
#[tokio::test]
async fn a_link_that_is_closed_ends_although_its_peer_takes_nothing() {
    let mut port = Port::open(WaitingLimits::default()).await;
    let (peer, link) = port.connect().await;
    port.send_mib(link, 64);
    peer.readable().await.expect("it writes, and is stuck soon");
    port.quorum.close(link);
    port.listening.cancel();
    port.tasks.close();
    port.tasks.wait().await;
    assert_eq!(port.quorum.writing_count(), 0);
}

#[tokio::test]
async fn the_link_that_most_waits_for_is_closed_when_too_much_waits_for_all() {
    let mut port = Port::open(WaitingLimits { link_bytes_max: 60 << 20, all_bytes_max: 100 << 20 }).await;
    let (_slow, slow) = port.connect().await;
    let (_other, other) = port.connect().await;
    let (_third, third) = port.connect().await;
    port.send_mib(slow, 50);
    for _ in 0..45 {
        port.send_mib(other, 1);
        port.send_mib(third, 1);
    }
    let down = port.events.recv().await;
    assert_eq!(down, Some(Event::LinkDown(slow)), "nobody else pays for it");
    port.send_mib(other, 1);
    let (_more, more) = port.connect().await;
    assert!(more > third, "no other link went down meanwhile");
}

#[tokio::test]
async fn one_link_may_not_have_more_than_its_share_waiting() {
    let mut port = Port::open(WaitingLimits { link_bytes_max: 20 << 20, all_bytes_max: 100 << 20 }).await;
    let (_slow, slow) = port.connect().await;
    port.send_mib(slow, 40);
    assert_eq!(port.events.recv().await, Some(Event::LinkDown(slow)));
}
