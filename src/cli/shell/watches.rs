//! Watches of one session: which there are, and what they were told, once and in order.
//!
//! In: watchers of the client library, one for each registration. Out: [`Event`]s, as one watcher of everything sees
//! them.
//!
//! Always true:
//! * an event that several watches are told is shown once;
//! * events are shown in the order of their txns, and before the answer to a command that came after them;
//! * a watch is registered once for each path and kind, as servers count them.
//!
//! Not here: registering them with a server (`ops`).

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::JoinSet;
use zookeeper_client::{Client, EventType, OneshotWatcher, PersistentWatcher, WatchedEvent};

use super::print::Event;

/// Shows an event.
pub type Show = Arc<dyn Fn(&Event) + Send + Sync>;

/// What a watch looks at, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Data or existence, once.
    Data,
    /// Children, once.
    Child,
    /// A node and its children, until it is taken away.
    Persistent,
    /// A node and everything below it, until it is taken away.
    Recursive,
}

/// Whether events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printing {
    /// They are.
    On,
    /// They are passed over.
    Off,
}

/// The watches of a session, and the task that waits for them.
pub struct Watches {
    board: Arc<Board>,
    /// What waits for events and for the session's end; it ends with this.
    _tasks: JoinSet<()>,
}

/// A watcher of either lifetime.
pub enum Watcher {
    /// It fires once.
    Once(OneshotWatcher),
    /// It stays.
    Always(PersistentWatcher),
}

/// Where a watch's next event comes from.
enum Source {
    Once(Pin<Box<dyn Future<Output = WatchedEvent> + Send>>),
    Always(PersistentWatcher),
}

struct Watch {
    id: u64,
    kind: Kind,
    path: String,
    source: Source,
}

/// What is known of the watches, for the tasks and the shell in turn.
struct Board(Mutex<State>);

struct State {
    watches: Vec<Watch>,
    next_id: u64,
    /// Wakes the task that waits for events.
    waker: Waker,
    told: Told,
    show: Show,
    printing: Printing,
}

/// What was told of the newest txn: several watches of one event need not see it at once.
#[derive(Default)]
struct Told {
    zxid: i64,
    events: BTreeMap<(&'static str, String), Seen>,
}

/// How often one event was shown, and how often each watch was told it.
#[derive(Default)]
struct Seen {
    shown: u32,
    by_watch: BTreeMap<u64, u32>,
}

impl Watches {
    /// Watches of a new session; must be called within a runtime.
    pub fn new(client: &Client, show: Show, printing: Printing) -> Watches {
        let (told, waker) = (Told::default(), Waker::noop().clone());
        let state = State { watches: Vec::new(), next_id: 0, waker, told, show, printing };
        let board = Arc::new(Board(Mutex::new(state)));
        let mut tasks = JoinSet::new();
        let waiting = Arc::clone(&board);
        tasks.spawn(poll_fn(move |context| {
            let mut board = waiting.lock();
            board.waker = context.waker().clone();
            board.tell();
            Poll::Pending
        }));
        let mut states = client.state_watcher();
        let session = Arc::clone(&board);
        tasks.spawn(async move {
            loop {
                let state = states.changed().await;
                session.lock().show(&Event::session(state));
                if state.is_terminated() {
                    return;
                }
            }
        });
        Watches { board, _tasks: tasks }
    }

    /// Adds a watch that was registered; a second one of a path and kind tells nothing new.
    pub fn add(&self, kind: Kind, path: &str, watcher: Watcher) {
        let mut board = self.board.lock();
        // One that has fired is none any more.
        board.tell();
        if board.watches.iter().any(|watch| watch.kind == kind && watch.path == path) {
            return;
        }
        let source = match watcher {
            Watcher::Once(watcher) => Source::Once(Box::pin(watcher.changed())),
            Watcher::Always(watcher) => Source::Always(watcher),
        };
        let id = board.next_id;
        board.next_id += 1;
        board.watches.push(Watch { id, kind, path: path.to_owned(), source });
        board.tell();
    }

    /// Takes watches on a path away; the kinds that there were.
    pub fn remove(&self, path: &str, kinds: &[Kind]) -> Vec<Kind> {
        let mut board = self.board.lock();
        board.tell();
        let is_meant = |watch: &Watch| watch.path == path && kinds.contains(&watch.kind);
        let mut removed: Vec<Kind> =
            board.watches.iter().filter(|watch| is_meant(watch)).map(|watch| watch.kind).collect();
        removed.sort();
        board.watches.retain(|watch| !is_meant(watch));
        removed
    }

    /// Shows what has arrived.
    pub fn flush(&self) {
        self.board.lock().tell();
    }

    /// Switches showing on or off.
    pub fn set_printing(&self, printing: Printing) {
        self.board.lock().printing = printing;
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&self, event: &Event) {
        if self.printing == Printing::On {
            (self.show)(event);
        }
    }

    /// Shows what watches were told, in order.
    fn tell(&mut self) {
        let mut found = self.collect();
        // The library gives an event to each watch by itself, so that the order among watches is lost. Servers send
        // those of one txn with the change of the children last.
        found.sort_by_key(|(_, event)| (event.zxid, event.kind == Some("NodeChildrenChanged")));
        for (watch, event) in found {
            if self.told.is_new(watch, &event) {
                self.show(&event);
            }
        }
    }

    /// Everything that watches were told since the last time.
    fn collect(&mut self) -> Vec<(u64, Event)> {
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        let mut found: Vec<(u64, Event)> = Vec::new();
        loop {
            let before = found.len();
            self.watches.retain_mut(|watch| {
                while let Poll::Ready(event) = watch.source.poll(&mut context) {
                    found.extend(Event::of(&event).map(|event| (watch.id, event)));
                    let ended = matches!(watch.source, Source::Once(_)) || has_ended(&event);
                    if ended {
                        return false;
                    }
                }
                true
            });
            // What was sent before the last event found is there in a second look, also for watches that come earlier.
            if found.len() == before {
                return found;
            }
        }
    }
}

/// Whether no event follows.
fn has_ended(event: &WatchedEvent) -> bool {
    event.event_type == EventType::Session && event.session_state.is_terminated()
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<WatchedEvent> {
        match self {
            Source::Once(event) => event.as_mut().poll(context),
            Source::Always(watcher) => pin!(watcher.changed()).poll(context),
        }
    }
}

impl Told {
    /// Whether this is the first watch to be told an event, or an event of its own.
    fn is_new(&mut self, watch: u64, event: &Event) -> bool {
        if event.zxid != self.zxid || event.zxid < 0 {
            // Servers before 3.9 do not say which txn it was; watches of one event are told it together.
            self.zxid = event.zxid;
            self.events.clear();
        }
        let kind = event.kind.unwrap_or("None");
        let seen = self.events.entry((kind, event.path.clone())).or_default();
        let told = seen.by_watch.entry(watch).or_default();
        *told += 1;
        let is_new = *told > seen.shown;
        seen.shown = seen.shown.max(*told);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use zookeeper_client::SessionState;

    use super::*;

    fn event(kind: &'static str, path: &str, zxid: i64) -> Event {
        Event { state: SessionState::SyncConnected, kind: Some(kind), path: path.to_owned(), zxid }
    }

    #[test]
    fn an_event_of_several_watches_is_told_once() {
        let mut told = Told::default();
        let changed = event("NodeDataChanged", "/a", 7);
        assert!(told.is_new(1, &changed));
        assert!(!told.is_new(2, &changed));
        assert!(told.is_new(1, &event("NodeDataChanged", "/b", 7)));
        assert!(told.is_new(2, &event("NodeDataChanged", "/a", 8)));
    }

    #[test]
    fn events_of_one_txn_that_are_alike_are_all_told() {
        let mut told = Told::default();
        let changed = event("NodeChildrenChanged", "/a", 7);
        let new = [1, 1, 2, 2, 2].map(|watch| told.is_new(watch, &changed));
        assert_eq!(new, [true, true, false, false, true]);
    }

    #[test]
    fn events_without_a_txn_are_all_told() {
        let mut told = Told::default();
        let changed = event("NodeDataChanged", "/a", -1);
        assert!(told.is_new(1, &changed) && told.is_new(1, &changed));
    }
}
