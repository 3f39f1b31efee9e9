//! The loop: events in, effects out.
//!
//! In: events of every edge, questions, the clock, the order to stop. Out: effects, performed.
//!
//! Always true:
//! * the loop waits for nothing but its inbox, the disk's reports, questions and the next tick;
//! * a tick comes at least every 50 ms, however much else there is to do.
//!
//! Not here: performing effects (`edge`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::edge::Edge;
use super::stages::Stages;
use super::{clock, picture};
use crate::base::{Millis, Room, ServerId, WriteSeq, Zxid};
use crate::net::facts::{Change, Question};
use crate::net::stats::Stats;
use crate::replica::Replica;
use crate::replica::event::Event;
use crate::zab::effects::Status;

/// Time between ticks.
const TICK: Duration = Duration::from_millis(25);
/// What waits in the inbox is taken before a tick that is so late.
const LATE: Duration = Duration::from_millis(250);
/// Events that are taken between two looks at everything else. Each may bring many requests: with few at a time the disk
/// has something to do while the next are decided.
const EVENTS_AT_ONCE: usize = 32;
/// How long the last requests and a hand-over may take once the server is told to stop.
const STOP_WAIT: Millis = Millis(1200);

/// What the loop listens to.
pub struct Loop {
    /// This server.
    pub id: ServerId,
    /// What decides.
    pub replica: Replica,
    /// What performs.
    pub edge: Edge,
    /// Events of sockets and of work beside the loop.
    pub inbox: mpsc::Receiver<Event>,
    /// The last write that is durable.
    pub durable: watch::Receiver<WriteSeq>,
    /// How much room the disk has.
    pub room: watch::Receiver<Room>,
    /// Questions of the admin port and of words.
    pub questions: mpsc::Receiver<Question>,
    /// A snapshot that was restored and is not durable; `None` without one.
    pub restoring: Option<Restoring>,
    /// How often old files are removed; `None` for never.
    pub purge_every: Option<Millis>,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Told to stop.
    pub stop: CancellationToken,
}

/// A snapshot that was restored and is not durable.
pub struct Restoring {
    /// The write that makes it durable.
    written: WriteSeq,
    /// The zxid that it got.
    zxid: Zxid,
    /// Who waits for it.
    answer: oneshot::Sender<Result<Zxid, String>>,
}

impl Loop {
    /// Runs until the server is told to stop and owes nothing any more. The inbox is to be kept until what is said is
    /// written: a link ends when nobody takes what it reads.
    pub async fn run(mut self) -> (Edge, mpsc::Receiver<Event>) {
        let mut batch = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut next_tick = Instant::now();
        let mut stages = Stages::new(Arc::clone(&self.edge.clients), Arc::clone(&self.stats));
        let mut next_purge = self.purge_every.map(|every| clock::mono() + every);
        let mut deadline: Option<Millis> = None;
        loop {
            if let Some(late) = Instant::now().checked_duration_since(next_tick) {
                self.stats.pauses.observe(Millis::from(late).0);
                if late >= LATE {
                    self.catch_up();
                }
                next_tick = Instant::now() + TICK;
                self.edge.health.on_look();
                self.step(Event::Tick);
                next_purge = self.purge_if_due(next_purge);
            }
            if deadline.is_some_and(|deadline| clock::mono() >= deadline || self.owes_nothing()) {
                return (self.edge, self.inbox);
            }
            let mut synced = None;
            let question = tokio::select! {
                biased;
                () = self.stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(clock::mono() + STOP_WAIT);
                    self.on_stop();
                    None
                }
                Ok(()) = self.durable.changed() => {
                    let durable = *self.durable.borrow_and_update();
                    stages.on_durable(durable);
                    synced = Some(durable);
                    batch.push(Event::Synced(durable));
                    None
                }
                Ok(()) = self.room.changed() => {
                    let room = *self.room.borrow_and_update();
                    self.on_room(room);
                    batch.push(Event::Room(room));
                    None
                }
                question = self.questions.recv() => question,
                _ = self.inbox.recv_many(&mut batch, EVENTS_AT_ONCE) => None,
                () = sleep_until(next_tick) => None,
            };
            let began = std::time::Instant::now();
            stages.on_taken(&batch, self.inbox.len());
            if !batch.is_empty() {
                let waited = self.step_all(batch.drain(..));
                if let Some(durable) = synced {
                    self.end_restore(durable); // the replica knows that it is, and serves
                }
                stages.on_stepped(began, waited, self.edge.written);
            }
            if let Some(question) = question {
                self.on_question(question, &mut next_purge);
            }
        }
    }

    fn on_question(&mut self, question: Question, next_purge: &mut Option<Millis>) {
        match question {
            Question::Facts(answer) => {
                let age = clock::mono().since(self.edge.status.1);
                drop(answer.send(picture::facts(self.id, &self.replica, age))); // who asked may have gone
            }
            Question::Snapshot(answer) => match self.replica.snapshot_now() {
                Some(image) => self.edge.take_snapshot(image, Some(answer)),
                None => drop(answer.send(Err("another snapshot is being written".to_owned()))),
            },
            Question::Restore(last, body, answer) => self.restore(last, body, answer),
            Question::Change(change, answer) => {
                let changed = self.change(change, next_purge);
                drop(answer.send(changed)); // who asked may have gone
            }
            Question::Expiries(answer) => drop(answer.send(self.replica.expiries())),
            Question::Transfer(to, answer) => {
                self.edge.transfers.push(answer);
                self.step(Event::Transfer(to));
            }
        }
    }

    /// The loop was kept from its work: what came meanwhile counts before the time that has passed, so that no session
    /// ends whose client has been heard of.
    fn catch_up(&mut self) {
        let count = self.inbox.len();
        let events: Vec<Event> = std::iter::from_fn(|| self.inbox.try_recv().ok()).take(count).collect();
        self.step_all(events.into_iter());
    }

    fn step(&mut self, event: Event) {
        self.step_all(std::iter::once(event));
    }

    /// Answers how long it has waited for the disk.
    fn step_all(&mut self, events: impl Iterator<Item = Event>) -> Duration {
        let now = clock::now();
        for event in events {
            for effect in self.replica.step(now, event) {
                self.edge.perform(effect);
            }
        }
        self.edge.flush()
    }

    /// Takes the tree of a snapshot; who asked is told once it is durable.
    fn restore(&mut self, last: Zxid, body: Bytes, answer: oneshot::Sender<Result<Zxid, String>>) {
        match self.replica.restore(clock::now(), last, body) {
            Ok(effects) => {
                effects.into_iter().for_each(|effect| self.edge.perform(effect));
                self.edge.flush();
                let zxid = self.replica.glance().zxid;
                info!(%zxid, "a snapshot is restored; clients are sent away until it is durable");
                self.restoring = Some(Restoring { written: self.edge.written, zxid, answer });
            }
            Err(error) => drop(answer.send(Err(error.to_string()))), // who asked may have gone
        }
    }

    fn end_restore(&mut self, durable: WriteSeq) {
        if let Some(restoring) = self.restoring.take_if(|restoring| restoring.written <= durable) {
            drop(restoring.answer.send(Ok(restoring.zxid))); // who asked may have gone
        }
    }

    fn change(&mut self, change: Change, next_purge: &mut Option<Millis>) -> Result<(), String> {
        match change {
            Change::Replica(setting) => return self.replica.set(setting),
            Change::PurgeEvery(every) => {
                self.purge_every = every;
                *next_purge = every.map(|every| clock::mono() + every);
            }
            Change::SnapshotsKept(count) => self.edge.set_snapshots_kept(count),
        }
        Ok(())
    }

    /// Removes what is old once it is time; answers when it is time again.
    fn purge_if_due(&self, due: Option<Millis>) -> Option<Millis> {
        match (due, self.purge_every) {
            (Some(at), Some(every)) if clock::mono() >= at => {
                self.edge.purge();
                Some(at + every)
            }
            (due, _) => due,
        }
    }

    /// Says so, and removes what is old at once where that is allowed.
    fn on_room(&mut self, room: Room) {
        match room {
            Room::Enough => info!("there is room on the disk again; writes go on"),
            Room::Low => warn!("the disk is nearly full: clients' writes are refused, reads go on"),
            Room::Scarce => warn!("the disk is all but full: no session begins or ends, reads go on"),
        }
        if room != Room::Enough && self.purge_every.is_some() {
            self.edge.purge();
        }
    }

    /// Takes nothing new from clients, and gives leadership away.
    fn on_stop(&mut self) {
        info!("told to stop");
        self.edge.ports.close_clients();
        self.edge.clients.read_no_more();
        let voters = self.replica.inspect().ensemble.voters().count();
        if matches!(self.edge.status.0, Status::Leading(_)) && voters > 1 {
            self.step(Event::Transfer(None));
        }
    }

    /// Whether every request was answered, and leadership is given away or cannot be.
    fn owes_nothing(&self) -> bool {
        let inspect = self.replica.inspect();
        if inspect.zab.transferring.is_some() {
            return false;
        }
        if inspect.request_count > 0 && crate::net::facts::serves(inspect.zab.status) {
            return false;
        }
        if inspect.request_count > 0 {
            warn!(requests = inspect.request_count, "requests stay without an answer");
        }
        true
    }
}
