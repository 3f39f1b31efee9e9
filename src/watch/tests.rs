//! What does not show over a connection: costs, limits, many watchers of one path.

use super::*;

fn watcher(watches: &Watches, conn: u64) -> Arc<Watcher> {
    watches.open(ConnId(conn), Arc::new(vec![Id::new("ip", "127.0.0.1")]))
}

fn changed(path: &str) -> Change {
    Change::DataChanged { path: path.to_owned(), acl: Acl::open().into() }
}

fn fire(watches: &Watches, zxid: i64, path: &str) -> Vec<ConnId> {
    let mut told = BTreeSet::new();
    watches.fire(Zxid(zxid), &changed(path), &mut told);
    told.into_iter().collect()
}

fn registered(watcher: &Watcher) -> usize {
    watcher.lock().registered.len()
}

#[test]
fn events_leave_the_mailbox_up_to_a_zxid() {
    let watches = Watches::new(AclCheck::Enforced);
    let one = watcher(&watches, 1);
    watches.register(&one, Table::Data, "/a", Mode::Persistent);
    for zxid in 5..8 {
        assert_eq!(fire(&watches, zxid, "/a"), [ConnId(1)]);
    }
    let mut out = BytesMut::new();
    assert_eq!(one.drain(Zxid(4), &mut out), Ok(()));
    assert_eq!(out.len(), 0);
    assert_eq!(one.drain(Zxid(6), &mut out), Ok(()));
    assert_eq!(out.len(), 2 * (4 + 16 + 8 + 6));
    assert_eq!(one.drain(Zxid(9), &mut out), Ok(()));
    assert_eq!(out.len(), 3 * (4 + 16 + 8 + 6));
}

#[test]
fn many_watchers_of_one_path_are_all_told_and_forgotten() {
    let watches = Watches::new(AclCheck::Enforced);
    let watchers: Vec<_> = (0..1_000).map(|conn| watcher(&watches, conn)).collect();
    for watcher in &watchers {
        watches.register(watcher, Table::Data, "/a", Mode::Standard);
        watches.register(watcher, Table::Child, "/a", Mode::Standard);
    }
    assert_eq!(watches.data_count(), 1_000);
    assert_eq!(fire(&watches, 1, "/a").len(), 1_000);
    assert_eq!(fire(&watches, 2, "/a").len(), 0);
    assert!(watchers.iter().all(|watcher| registered(watcher) == 1), "the watch on children stays");
    watchers.iter().for_each(|watcher| watches.close(watcher));
    assert!(watches.shards.iter().all(|shard| lock(shard).is_empty()), "nothing is left behind");
}

#[test]
fn nothing_is_left_of_two_hundred_thousand_watches_that_fired_or_closed() {
    let watches = Watches::new(AclCheck::Enforced);
    let watchers: Vec<_> = (0..20).map(|conn| watcher(&watches, conn)).collect();
    for (number, watcher) in watchers.iter().cycle().take(200_000).enumerate() {
        watches.register(watcher, Table::Data, &format!("/n/{number}"), Mode::Standard);
    }
    assert_eq!(watches.data_count(), 200_000);
    for number in 0..100_000 {
        assert_eq!(fire(&watches, number, &format!("/n/{number}")).len(), 1);
    }
    assert_eq!(watches.data_count(), 100_000);
    watchers.iter().for_each(|watcher| watches.close(watcher));
    assert!(watches.shards.iter().all(|shard| lock(shard).is_empty()));
    assert!(watchers.iter().all(|watcher| registered(watcher) == 0));
}

#[test]
fn ancestors_are_looked_at_only_while_there_are_recursive_watches() {
    let watches = Watches::new(AclCheck::Enforced);
    let one = watcher(&watches, 1);
    watches.register(&one, Table::Data, "/a", Mode::Recursive);
    watches.register(&one, Table::Data, "/a", Mode::Recursive);
    assert_eq!(watches.recursive_count.load(Ordering::Relaxed), 1);
    assert_eq!(fire(&watches, 1, "/a/b/c"), [ConnId(1)]);
    assert_eq!(fire(&watches, 1, "/ab"), []);
    assert!(watches.remove(&one, "/a", WatcherKind::Any));
    assert_eq!(watches.recursive_count.load(Ordering::Relaxed), 0);
    watches.register(&one, Table::Data, "/", Mode::Recursive);
    assert_eq!(fire(&watches, 2, "/"), [ConnId(1)]);
    assert_eq!(fire(&watches, 3, "/a/b/c"), [ConnId(1)]);
    watches.close(&one);
    assert_eq!(watches.recursive_count.load(Ordering::Relaxed), 0);
}

#[test]
fn a_connection_that_never_reads_is_cut_off_instead_of_filling_memory() {
    let watches = Watches::new(AclCheck::Enforced);
    let one = watcher(&watches, 1);
    let path = format!("/{}", "x".repeat(100_000));
    watches.register(&one, Table::Data, &path, Mode::Persistent);
    (0..400).for_each(|zxid| drop(fire(&watches, zxid, &path)));
    let mut out = BytesMut::new();
    assert_eq!(one.drain(Zxid(400), &mut out), Err(Overflow));
    assert!(out.len() <= MAILBOX_BYTES_MAX);
    assert!(one.lock().mailbox.is_empty());
}

#[test]
fn a_closed_connection_registers_and_gets_nothing() {
    let watches = Watches::new(AclCheck::Enforced);
    let one = watcher(&watches, 1);
    assert!(watches.watcher(ConnId(1)).is_some());
    watches.close(&one);
    watches.register(&one, Table::Data, "/a", Mode::Standard);
    one.tell(Zxid(1), EventKind::Created, "/a");
    assert_eq!((watches.data_count(), one.lock().mailbox.len()), (0, 0));
    assert!(watches.watcher(ConnId(1)).is_none());
}
