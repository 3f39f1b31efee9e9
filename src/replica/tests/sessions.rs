//! Sessions: the handshake, re-attaching, expiry, the end.

use super::*;
use crate::base::RecoveredSnapshot;
use crate::replica::{LiveSetting, RestoreError};

fn session_of(response: &Bytes) -> SessionId {
    SessionId(i64::from_be_bytes(response[12..20].try_into().expect("8 bytes")))
}

fn timeout_of(response: &Bytes) -> i32 {
    i32::from_be_bytes(response[8..12].try_into().expect("4 bytes"))
}

#[test]
fn the_timeout_is_negotiated_on_every_connect() {
    let mut alone = Alone::new();
    for (asked, got) in [(0, 4_000), (-5, 4_000), (10_000, 10_000), (i32::MAX, 40_000)] {
        let id = alone.accept();
        alone.frames(id, [connect(asked, SessionId::NONE, &[])]);
        assert_eq!(timeout_of(&alone.take(id)), got);
    }
}

#[test]
fn an_old_client_gets_the_response_without_the_read_only_byte() {
    let mut alone = Alone::new();
    let id = alone.accept();
    let request = connect(10_000, SessionId::NONE, &[0; 16]);
    alone.frames(id, [request.slice(..44)]);
    assert_eq!(alone.take(id).len(), 40);
}

#[test]
fn what_comes_behind_the_connect_request_is_answered_after_it() {
    let mut alone = Alone::new();
    alone.disk = Disk::Held;
    let id = alone.accept();
    alone.frames(id, [connect(10_000, SessionId::NONE, &[]), create(1, "/n", 1), bare(2, Op::Ping)]);
    assert_eq!(alone.take(id).len(), 0);
    alone.sync();
    assert_eq!(alone.take(id).len(), 41);
    alone.sync();
    let xids: Vec<i32> = alone.replies(id).iter().map(|frame| frame.xid).collect();
    assert_eq!(xids, [1, -2]);
}

#[test]
fn opening_and_closing_take_a_zxid_and_attaching_again_takes_none() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    assert_eq!(alone.zxid(), Zxid(1));
    let second = alone.accept();
    alone.frames(second, [reconnect(session)]);
    assert_eq!((session_of(&alone.take(second)), alone.zxid()), (session, Zxid(1)));
    assert_eq!(alone.closed(id), Some(Closing::Abrupt), "a session has one connection");
    assert_eq!(alone.one(second, bare(1, Op::CloseSession)).zxid, 2);
}

#[test]
fn a_session_that_cannot_be_taken_is_refused_with_zeros() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    let unknown = SessionId(0x77_0000);
    for request in [connect(10_000, session, &[1; 16]), connect(10_000, session, &[]), reconnect(unknown)] {
        let other = alone.accept();
        alone.frames(other, [request]);
        let response = alone.take(other);
        assert_eq!((response.len(), timeout_of(&response), session_of(&response)), (41, 0, SessionId::NONE));
        assert_eq!(response[24..40], [0; 16]);
        assert_eq!(alone.closed(other), Some(Closing::Orderly));
    }
    assert_eq!(alone.closed(id), None, "a wrong password cuts nobody off");
}

#[test]
fn a_client_that_has_seen_more_is_sent_away_without_a_word() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    for (seen, session) in [(Zxid(2), SessionId::NONE), (Zxid(1 << 34), session)] {
        let other = alone.accept();
        alone.frames(other, [connect_after(seen, 10_000, session, &session::password(session))]);
        assert_eq!((alone.take(other).len(), alone.closed(other)), (0, Some(Closing::Abrupt)));
    }
    assert_eq!(alone.closed(id), None);
}

#[test]
fn a_silent_session_expires_within_a_tick_and_takes_its_nodes_along() {
    let mut alone = Alone::new();
    let (id, other) = (alone.accept(), alone.client());
    alone.frames(id, [connect(4_000, SessionId::NONE, &[])]);
    alone.take(id);
    for path in ["/a", "/b"] {
        assert_eq!(alone.err(id, create(1, path, 1)), 0);
        assert_eq!(alone.err(other, read(1, Op::Exists, path, Watch::Yes)), 0);
    }
    let session = alone.session(id);
    let start = alone.now.mono;
    while alone.closed(id).is_none() {
        assert_eq!(alone.err(other, bare(1, Op::Ping)), 0);
        alone.wait(50);
    }
    let silent = alone.now.mono.since(start);
    assert!((4_000..=6_050).contains(&silent.0), "{silent}");
    assert_eq!((alone.closed(id), alone.take(id).len()), (Some(Closing::Abrupt), 0));
    let frames = alone.replies(other);
    assert_eq!(events(&frames), [(2, "/a".to_owned()), (2, "/b".to_owned())]);
    assert_eq!(frames[0].zxid, frames[1].zxid, "one txn removes all");
    let again = alone.accept();
    alone.frames(again, [reconnect(session)]);
    assert_eq!(session_of(&alone.take(again)), SessionId::NONE);
}

#[test]
fn any_request_keeps_a_session_alive_and_its_last_one_counts_in_full() {
    let mut alone = Alone::new();
    let id = alone.accept();
    alone.frames(id, [connect(4_000, SessionId::NONE, &[])]);
    for _ in 0..20 {
        alone.wait(900);
        // Two requests close to each other: the later one is what counts.
        alone.frames(id, [read(1, Op::Exists, "/", Watch::No)]);
        alone.wait(600);
        alone.frames(id, [bare(1, Op::Ping)]);
    }
    let last = alone.now.mono;
    while alone.closed(id).is_none() {
        alone.wait(50);
    }
    assert!(alone.now.mono.since(last).0 >= 4_000);
}

#[test]
fn a_connection_that_breaks_leaves_its_session() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    assert_eq!(alone.err(id, create(1, "/e", 1)), 0);
    alone.hang_up(id);
    assert_eq!(alone.replica.inspect().ephemeral_count, 1);
    let again = alone.accept();
    alone.frames(again, [reconnect(session)]);
    assert_eq!(session_of(&alone.take(again)), session);
    assert_eq!(alone.one(again, read(1, Op::Exists, "/e", Watch::No)).stat().ephemeral_owner, session.0);
}

#[test]
fn the_end_is_answered_and_what_comes_behind_it_is_not_done() {
    let mut alone = Alone::new();
    let (id, other) = (alone.client(), alone.client());
    assert_eq!(alone.err(id, read(1, Op::Exists, "/e", Watch::Yes)), -101);
    assert_eq!(alone.replica.inspect().session_count, 2);
    alone.disk = Disk::Held;
    alone.frames(id, [create(1, "/e", 1), bare(2, Op::CloseSession), create(3, "/late", 1)]);
    alone.sync();
    alone.sync();
    let frames = alone.replies(id);
    let heads: Vec<_> = frames.iter().map(|frame| (frame.xid, frame.err)).collect();
    assert_eq!(heads, [(-1, 0), (1, 0), (2, 0)]);
    assert_eq!(alone.closed(id), Some(Closing::Orderly));
    alone.disk = Disk::Instant;
    for path in ["/e", "/late"] {
        assert_eq!(alone.err(other, read(1, Op::Exists, path, Watch::No)), -101, "{path}");
    }
    let inspect = alone.replica.inspect();
    assert_eq!((inspect.session_count, inspect.ephemeral_count, inspect.watch_count), (1, 0, 0));
}

#[test]
fn the_txn_that_closes_a_session_lists_its_nodes_also_those_in_flight() {
    let mut alone = Alone::new();
    let id = alone.client();
    assert_eq!(alone.err(id, create(1, "/a", 1)), 0);
    assert_eq!(alone.err(id, create(1, "/b", 1)), 0);
    alone.disk = Disk::Held;
    alone.frames(id, [delete(1, "/a", -1), create(2, "/c", 1), bare(3, Op::CloseSession)]);
    let paths = vec!["/b".to_owned(), "/c".to_owned()];
    assert_eq!(last_txn(&alone).body, crate::tree::TxnBody::CloseSession { paths });
    (0..3).for_each(|_| alone.sync());
}

#[test]
fn a_connection_without_a_session_is_cut_off_after_a_while() {
    let mut alone = Alone::new();
    let id = alone.accept();
    alone.wait(9_900);
    assert_eq!(alone.closed(id), None);
    alone.wait(200);
    assert_eq!(alone.closed(id), Some(Closing::Abrupt));
}

#[test]
fn a_restart_keeps_sessions_nodes_and_zxids() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    assert_eq!(alone.err(id, create(1, "/e", 1)), 0);
    assert_eq!(alone.err(id, create(1, "/e", 1)), -110);
    let before = alone.replica.inspect();
    let recovered = Recovered { txns: alone.txns.clone(), may_vote: true, ..Recovered::default() };
    let mut alone = Alone::with(settings(), recovered);
    let after = alone.replica.inspect();
    assert_eq!((after.zxid, after.digest, after.session_count), (before.zxid, before.digest, 1));
    let id = alone.accept();
    alone.frames(id, [reconnect(session)]);
    assert_eq!(session_of(&alone.take(id)), session);
    let new = alone.client();
    assert!(alone.session(new) > session, "no id is given twice");
}

#[test]
fn nodes_whose_session_is_gone_are_ended_by_a_txn() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    assert_eq!(alone.err(id, create(1, "/e", 1)), 0);
    // A log without the txn that opened the session: as earlier faults of other servers leave it.
    let txns = alone.txns[1..].to_vec();
    let mut alone = Alone::with(settings(), Recovered { txns, may_vote: true, ..Recovered::default() });
    let txn = last_txn(&alone);
    assert_eq!(txn.header.session, session);
    assert_eq!(txn.body, crate::tree::TxnBody::CloseSession { paths: vec!["/e".to_owned()] });
    assert_eq!(alone.replica.inspect().ephemeral_count, 0);
    alone.client();
}

#[test]
fn a_session_that_is_forgotten_does_not_come_back_though_the_clock_went_back() {
    let later = Recovered { may_vote: true, ..Recovered::default() };
    let mut alone = Alone::at(WALL_MS + 40 * 86_400_000, settings(), later);
    let (gone, last) = (alone.client(), alone.client());
    let ids = [gone, last].map(|id| alone.session(id));
    alone.frames(gone, [bare(1, Op::CloseSession)]);
    let snapshot = alone.replica.service().tree.read(|tree| RecoveredSnapshot {
        zxid: tree.zxid(),
        body: tree.image().to_body(),
        digest: None,
    });
    alone.now.wall_ms += 10;
    alone.frames(last, [bare(1, Op::CloseSession)]);
    let txns = alone.txns.iter().filter(|(zxid, _)| *zxid > snapshot.zxid).cloned().collect();
    let recovered = Recovered { snapshot: Some(snapshot), txns, may_vote: true, ..Recovered::default() };
    let mut again = Alone::at(WALL_MS, settings(), recovered);
    let conn = again.client();
    assert!(
        ids.iter().all(|id| again.session(conn) > *id),
        "{:?} is not beyond {ids:?}",
        again.session(conn)
    );
}

#[test]
fn timeouts_are_negotiated_between_other_bounds_from_when_they_change() {
    let mut alone = Alone::new();
    let granted = |alone: &mut Alone, asked: i32| {
        let id = alone.accept();
        alone.frames(id, [connect(asked, SessionId::NONE, &[])]);
        timeout_of(&alone.take(id))
    };
    assert_eq!(alone.replica.set(LiveSetting::SessionTimeoutMax(Some(Millis(9_000)))), Ok(()));
    assert_eq!((granted(&mut alone, 99_000), granted(&mut alone, 1)), (9_000, 4_000));
    let refused = alone.replica.set(LiveSetting::SessionTimeoutMin(Some(Millis(9_001))));
    assert!(refused.is_err_and(|error| error.contains("9001")));
    assert_eq!(granted(&mut alone, 1), 4_000, "nothing has changed");
    assert_eq!(alone.replica.set(LiveSetting::SessionTimeoutMax(None)), Ok(()));
    assert_eq!(granted(&mut alone, i32::MAX), 40_000, "twenty ticks");
}

#[test]
fn a_restored_snapshot_is_served_once_it_is_durable_and_zxids_go_on() {
    let mut alone = Alone::new();
    let id = alone.client();
    let session = alone.session(id);
    alone.frames(id, [create(1, "/a", 1)]);
    let (last, body) = alone.replica.service().tree.read(|tree| (tree.zxid(), tree.image().to_body()));
    alone.frames(id, [delete(2, "/a", -1), create(3, "/b", 0)]);
    let (now, seen) = (alone.now, alone.zxid());
    assert!(alone.replica.restore(now, last, body.slice(..20)).is_err());
    assert_eq!(alone.zxid(), seen, "nothing has changed");
    let effects = alone.replica.restore(now, last, body.clone()).expect("it is a snapshot");
    assert!(matches!(alone.replica.restore(now, last, body), Err(RestoreError::Busy)));
    let drops = |effect: &Effect| *effect == Effect::Client(id, ToClient::Drop(Closing::Abrupt));
    assert!(effects.iter().any(drops));
    let Some(Effect::Write(written, Write::Replace { zxid, .. })) = effects.last() else {
        panic!("it is made durable: {effects:?}")
    };
    assert_eq!(*zxid, seen.next());
    let early = alone.accept();
    alone.frames(early, [reconnect(session)]);
    assert_eq!(alone.closed.get(&early), Some(&Closing::Abrupt));
    alone.step(Event::Synced(*written));
    let back = alone.accept();
    alone.frames(back, [reconnect(session)]);
    assert_eq!(alone.take(back).len(), 41, "the session is of the snapshot");
    alone.frames(back, [read(1, Op::Exists, "/a", Watch::No), create(2, "/b", 0), create(3, "/b", 0)]);
    let frames = alone.replies(back);
    assert_eq!(frames.iter().map(|frame| frame.err).collect::<Vec<_>>(), [0, 0, -110]);
    assert!(frames[1].zxid > zxid.0);
}
