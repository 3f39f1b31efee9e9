//! Watches as clients see them.

use super::*;

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const DATA_CHANGED: i32 = 3;
const CHILDREN_CHANGED: i32 = 4;

fn add_watch(path: &str, mode: i32) -> Bytes {
    request(1, Op::AddWatch, |writer| {
        writer.string(path).i32(mode);
    })
}

fn watches_of(op: Op, path: &str, kind: i32) -> Bytes {
    request(1, op, |writer| {
        writer.string(path).i32(kind);
    })
}

/// What happened, in order.
fn told(alone: &mut Alone, id: ConnId) -> Vec<(i32, String)> {
    events(&alone.replies(id))
}

fn at(kind: i32, path: &str) -> (i32, String) {
    (kind, path.to_owned())
}

/// Registers by `register`, then does every change of the table of section 14.4.
fn all_changes(register: &dyn Fn(&mut Alone, ConnId)) -> Vec<Vec<(i32, String)>> {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    let mut seen = Vec::new();
    for (before, change) in [
        (vec![], create(1, "/p", 0)),
        (vec![create(1, "/p", 0)], delete(1, "/p", -1)),
        (vec![create(1, "/p", 0)], set_data(1, "/p", b"", -1)),
        (vec![create(1, "/p", 0)], create(1, "/p/c", 0)),
        (vec![create(1, "/p", 0), create(1, "/p/c", 0)], delete(1, "/p/c", -1)),
        (vec![create(1, "/p", 0), create(1, "/p/c", 0)], set_data(1, "/p/c", b"", -1)),
        (vec![create(1, "/p", 0), create(1, "/p/c", 0)], create(1, "/p/c/d", 0)),
        (vec![create(1, "/p", 0)], set_acl(1, "/p", &open_acl(), -1)),
        (vec![create(1, "/p", 0)], create(1, "/p", 0)),
    ] {
        for path in ["/p/c/d", "/p/c", "/p"] {
            alone.ask(other, delete(1, path, -1));
        }
        for request in before {
            assert_eq!(alone.err(other, request), 0);
        }
        alone.ask(id, watches_of(Op::RemoveWatches, "/p", 3));
        alone.replies(id);
        register(&mut alone, id);
        alone.replies(id);
        alone.ask(other, change);
        seen.push(told(&mut alone, id));
    }
    seen
}

#[test]
fn every_change_fires_what_zookeeper_fires() {
    let exists = all_changes(&|alone, id| {
        alone.ask(id, read(1, Op::Exists, "/p", Watch::Yes));
    });
    let deleted = vec![at(DELETED, "/p")];
    let changed = vec![at(DATA_CHANGED, "/p")];
    let children = vec![at(CHILDREN_CHANGED, "/p")];
    let none = Vec::new;
    assert_eq!(
        exists,
        [
            vec![at(CREATED, "/p")],
            deleted.clone(),
            changed.clone(),
            none(),
            none(),
            none(),
            none(),
            none(),
            none()
        ]
    );
    let data = all_changes(&|alone, id| {
        alone.ask(id, read(1, Op::GetData, "/p", Watch::Yes));
    });
    assert_eq!(
        data,
        [none(), deleted.clone(), changed.clone(), none(), none(), none(), none(), none(), none()]
    );
    let child = all_changes(&|alone, id| {
        alone.ask(id, read(1, Op::GetChildren, "/p", Watch::Yes));
    });
    let expected =
        [none(), deleted.clone(), none(), children.clone(), children.clone(), none(), none(), none(), none()];
    assert_eq!(child, expected);
    let persistent = all_changes(&|alone, id| {
        alone.ask(id, add_watch("/p", 0));
    });
    let expected = [
        vec![at(CREATED, "/p")],
        deleted.clone(),
        changed.clone(),
        children.clone(),
        children.clone(),
        none(),
        none(),
        none(),
        none(),
    ];
    assert_eq!(persistent, expected);
    let recursive = all_changes(&|alone, id| {
        alone.ask(id, add_watch("/p", 1));
    });
    let expected = [
        vec![at(CREATED, "/p")],
        deleted,
        changed,
        vec![at(CREATED, "/p/c")],
        vec![at(DELETED, "/p/c")],
        vec![at(DATA_CHANGED, "/p/c")],
        vec![at(CREATED, "/p/c/d")],
        none(),
        none(),
    ];
    assert_eq!(recursive, expected);
}

#[test]
fn one_connection_is_told_once_of_a_deletion() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(other, create(1, "/p", 0)), 0);
    for (op, path) in
        [(Op::Exists, "/p"), (Op::GetData, "/p"), (Op::GetChildren, "/p"), (Op::GetChildren, "/")]
    {
        assert_eq!(alone.err(id, read(1, op, path, Watch::Yes)), 0);
    }
    assert_eq!(alone.err(id, add_watch("/", 1)), 0);
    alone.ask(other, delete(1, "/p", -1));
    assert_eq!(told(&mut alone, id), [at(DELETED, "/p"), at(CHILDREN_CHANGED, "/")]);
}

#[test]
fn a_standard_watch_fires_once_and_a_persistent_one_again_and_again() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(other, create(1, "/p", 0)), 0);
    alone.ask(id, read(1, Op::GetData, "/p", Watch::Yes));
    alone.ask(id, read(1, Op::GetData, "/p", Watch::Yes));
    (0..2).for_each(|_| drop(alone.ask(other, set_data(1, "/p", b"", -1))));
    assert_eq!(told(&mut alone, id), [at(DATA_CHANGED, "/p")]);
    let frame = alone.one(id, add_watch("/p", 0));
    assert_eq!(&frame.body[..], [0; 4]);
    (0..2).for_each(|_| drop(alone.ask(other, set_data(1, "/p", b"", -1))));
    alone.ask(other, delete(1, "/p", -1));
    alone.ask(other, create(1, "/p", 0));
    let expected = [at(DATA_CHANGED, "/p"), at(DATA_CHANGED, "/p"), at(DELETED, "/p"), at(CREATED, "/p")];
    assert_eq!(told(&mut alone, id), expected);
}

#[test]
fn an_event_that_may_not_be_read_is_dropped_and_its_watch_is_used_up() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(other, auth("a:b")), 0);
    assert_eq!(alone.err(id, read(1, Op::Exists, "/p", Watch::Yes)), -101);
    let only_other = acl(31, "auth", "");
    assert_eq!(alone.err(other, create_with(1, Op::Create, "/p", 0, &only_other)), 0);
    assert_eq!((told(&mut alone, id), alone.replica.inspect().watch_count), (vec![], 0));
    assert_eq!(alone.err(id, add_watch("/p", 0)), 0, "no permission is needed to add one");
    alone.ask(other, set_data(1, "/p", b"", -1));
    assert_eq!(told(&mut alone, id), []);
    // The identities of the connection at the moment of the event count.
    assert_eq!(alone.err(id, auth("a:b")), 0);
    alone.ask(other, set_data(1, "/p", b"", -1));
    assert_eq!(told(&mut alone, id), [at(DATA_CHANGED, "/p")]);
}

#[test]
fn a_change_of_children_is_filtered_by_the_parent() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(other, auth("a:b")), 0);
    assert_eq!(alone.err(other, create(1, "/p", 0)), 0);
    assert_eq!(alone.err(id, read(1, Op::GetChildren, "/p", Watch::Yes)), 0);
    assert_eq!(alone.err(other, create_with(1, Op::Create, "/p/c", 0, &acl(31, "auth", ""))), 0);
    assert_eq!(told(&mut alone, id), [at(CHILDREN_CHANGED, "/p")]);
    assert_eq!(alone.err(id, read(1, Op::GetChildren, "/p", Watch::Yes)), 0);
    assert_eq!(alone.err(other, set_acl(1, "/p", &acl(31, "auth", ""), -1)), 0);
    assert_eq!(alone.err(other, delete(1, "/p/c", -1)), 0);
    assert_eq!(told(&mut alone, id), []);
}

#[test]
fn watches_are_found_and_removed_by_kind_and_exact_path() {
    const CHECK: Op = Op::CheckWatches;
    const REMOVE: Op = Op::RemoveWatches;
    const NO_WATCHER: i32 = -121;
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    alone.ask(other, create(1, "/p", 0));
    alone.ask(other, read(1, Op::GetData, "/p", Watch::Yes));
    for kind in 1..=5 {
        assert_eq!(alone.err(id, watches_of(CHECK, "/p", kind)), NO_WATCHER);
        assert_eq!(alone.err(id, watches_of(REMOVE, "/p", kind)), NO_WATCHER);
    }
    assert_eq!(alone.err(id, watches_of(REMOVE, "/p", 9)), -5);
    alone.ask(id, read(1, Op::GetData, "/p", Watch::Yes));
    alone.ask(id, read(1, Op::GetChildren, "/p", Watch::Yes));
    alone.ask(id, add_watch("/p", 0));
    alone.ask(id, add_watch("/p", 1));
    for kind in 1..=5 {
        assert_eq!(alone.err(id, watches_of(CHECK, "/p", kind)), 0, "{kind}");
        assert_eq!(alone.err(id, watches_of(CHECK, "/p/", kind)), NO_WATCHER, "{kind}");
    }
    for kind in [1, 2, 4, 5] {
        assert_eq!(alone.err(id, watches_of(REMOVE, "/p", kind)), 0, "{kind}");
        assert_eq!(alone.err(id, watches_of(CHECK, "/p", kind)), NO_WATCHER, "{kind}");
    }
    assert_eq!(alone.err(id, watches_of(CHECK, "/p", 3)), NO_WATCHER);
    assert_eq!(alone.replica.inspect().watch_count, 1, "the other connection's");
}

/// Asks for watches again, and returns the events that come before the reply.
fn set_watches(
    alone: &mut Alone,
    id: ConnId,
    op: Op,
    seen: i64,
    lists: &[&[&str]],
) -> Vec<(i32, i64, String)> {
    let request = request(-8, op, |writer| {
        writer.i64(seen);
        for list in lists {
            writer.count(list.len());
            list.iter().for_each(|path| {
                writer.string(path);
            });
        }
    });
    let frames = alone.ask(id, request);
    let (reply, before) = frames.split_last().expect("a reply");
    assert_eq!((reply.xid, reply.err, reply.body.len()), (-8, 0, 0));
    before
        .iter()
        .map(|frame| (frame.event().expect("an event"), frame.zxid))
        .map(|((kind, path), zxid)| (kind, zxid, path))
        .collect()
}

#[test]
fn what_a_client_missed_fires_when_it_asks_for_its_watches_again() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    alone.ask(other, create(1, "/same", 0));
    alone.ask(other, create(1, "/parent", 0));
    let seen = alone.zxid().0;
    let made = |kind, path: &str| (kind, -1, path.to_owned());
    alone.ask(other, create(1, "/new", 0));
    alone.ask(other, create(1, "/parent/child", 0));
    let lists: [&[&str]; 3] =
        [&["/missing", "/new", "/same"], &["/gone", "/same"], &["/nowhere", "/parent", "/new", "/same"]];
    assert_eq!(
        set_watches(&mut alone, id, Op::SetWatches, seen, &lists),
        [
            made(DELETED, "/missing"),
            made(DATA_CHANGED, "/new"),
            made(CREATED, "/same"),
            made(DELETED, "/nowhere"),
            made(CHILDREN_CHANGED, "/parent"),
            made(CHILDREN_CHANGED, "/new"),
        ]
    );
    // What did not fire is registered: data of /same, creation of /gone, children of /same.
    alone.ask(other, set_data(1, "/same", b"", -1));
    alone.ask(other, create(1, "/gone", 0));
    alone.ask(other, create(1, "/same/child", 0));
    alone.ask(other, create(1, "/missing", 0));
    let expected = [at(DATA_CHANGED, "/same"), at(CREATED, "/gone"), at(CHILDREN_CHANGED, "/same")];
    assert_eq!(told(&mut alone, id), expected);
}

#[test]
fn persistent_watches_are_registered_again_without_an_event() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    alone.ask(other, create(1, "/p", 0));
    let lists: [&[&str]; 5] = [&[], &[], &[], &["/p"], &["/r"]];
    assert_eq!(set_watches(&mut alone, id, Op::SetWatches2, 0, &lists), []);
    for request in [create(1, "/p/c", 0), create(1, "/r", 0), create(1, "/r/s", 0)] {
        assert_eq!(alone.err(other, request), 0);
    }
    assert_eq!(told(&mut alone, id), [at(CHILDREN_CHANGED, "/p"), at(CREATED, "/r"), at(CREATED, "/r/s")]);
}

#[test]
fn watches_go_with_their_connection() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    let session = alone.session(id);
    alone.ask(id, read(1, Op::Exists, "/p", Watch::Yes));
    alone.ask(id, add_watch("/p", 1));
    alone.hang_up(id);
    assert_eq!(alone.replica.inspect().watch_count, 0);
    let again = alone.accept();
    alone.frames(again, [reconnect(session)]);
    alone.take(again);
    alone.ask(other, create(1, "/p", 0));
    assert_eq!(told(&mut alone, again), []);
}

#[test]
fn a_multi_fires_operation_by_operation() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    alone.ask(id, add_watch("/", 1));
    alone.ask(id, read(1, Op::GetChildren, "/", Watch::Yes));
    let ops = [
        (Op::Create, body(&create(1, "/a", 0))),
        (Op::SetData, body(&set_data(1, "/a", b"", -1))),
        (Op::Delete, body(&delete(1, "/a", -1))),
    ];
    alone.ask(other, multi(1, &ops));
    let frames = alone.replies(id);
    let expected = [at(CREATED, "/a"), at(CHILDREN_CHANGED, "/"), at(DATA_CHANGED, "/a"), at(DELETED, "/a")];
    assert_eq!(events(&frames), expected);
    assert!(frames.iter().all(|frame| frame.zxid == frames[0].zxid));
    let failing = [(Op::Create, body(&create(1, "/b", 0))), (Op::Delete, body(&delete(1, "/no", -1)))];
    alone.ask(other, multi(1, &failing));
    assert_eq!(told(&mut alone, id), []);
}
