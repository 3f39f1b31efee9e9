//! Named scenarios: what the agreement does in the cases that people ask about.
//!
//! In: a cluster and what befalls it. Out: who leads, who is level, how long it took.
//!
//! Always true:
//! * a scenario waits for what it expects, never for a time.
//!
//! Not here: random schedules (`random`).

use super::*;
use crate::base::SessionId;
use crate::zab::packet::Mark;
use crate::zab::{Forwarded, Vote};

/// Who joins, as a reconfig says it.
fn joining(ids: &[i64], role: &str) -> Change {
    let lines = ids.iter().map(|n| format!("server.{n}=h{n}:2888:3888:{role};h{n}:2181"));
    Change { joining: Some(lines.collect::<Vec<_>>().join(",")), ..Change::default() }
}

fn leaving(ids: &[i64]) -> Change {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    Change { leaving: Some(ids.join(",")), ..Change::default() }
}

#[test]
fn a_fresh_ensemble_is_led_by_its_highest_id() {
    for size in [1, 3, 5] {
        let all: Vec<i64> = (1..=size).collect();
        let mut world = World::started(1, &all, &[]);
        world.settle(&all, 2_000);
        assert_eq!(world.leader(), Some(id(size)));
        assert_eq!(world.leaders.keys().copied().collect::<Vec<_>>(), vec![Epoch(1)]);
    }
}

#[test]
fn a_killed_leader_is_replaced_at_once() {
    let mut world = World::started(2, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.crash(id(3), Crash::Kill);
    let gap = world.run_until(2_000, |world| world.leader().is_some());
    assert!(gap <= 100, "{gap} ms without a leader");
    assert_eq!(world.leader(), Some(id(2)));
}

/// Whoever notices first tells the other, which still follows then.
#[test]
fn a_killed_leader_is_replaced_at_once_whoever_notices_first() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut world = World::started(21, &[1, 2, 3], &[]);
        world.settle(&[1, 2, 3], 2_000);
        let ends = world.links.iter().filter(|(_, end)| end.peer_owner == id(3));
        let ends: Vec<(LinkId, ServerId)> = ends.map(|(link, end)| (*link, end.owner)).collect();
        world.crash(id(3), Crash::PowerLoss);
        for (link, node) in ends {
            let after = if node == id(first) { 1 } else { 15 };
            world.at(world.now + after, Event::LinkDown { node, link });
        }
        let gap = world.run_until(2_000, |world| world.leader().is_some());
        assert!(gap <= 100, "{gap} ms without a leader when {first} notices before {second}");
    }
}

#[test]
fn a_leader_that_loses_power_is_missed_after_a_second() {
    let mut world = World::started(3, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.crash(id(3), Crash::PowerLoss);
    let gap = world.run_until(3_000, |world| world.leader().is_some());
    assert!(gap <= 1_400, "{gap} ms without a leader");
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_comes_back_level() {
    let mut world = World::started(4, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.split(&[id(3)]);
    world.propose();
    world.run(3_000);
    assert_eq!(world.nodes[&id(3)].status, Status::Looking);
    assert_eq!(world.leader(), Some(id(2)));
    world.propose();
    world.heal();
    world.settle(&[1, 2, 3], 5_000);
    assert_eq!(world.leader(), Some(id(2)));
    // What the old leader proposed alone is gone everywhere.
    let last = world.nodes[&id(3)].disk.last();
    assert_eq!(last.epoch(), Epoch(2));
}

#[test]
fn a_learner_far_behind_gets_the_tree() {
    let mut world = World::started(5, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.crash(id(1), Crash::Kill);
    for _ in 0..100 {
        world.propose();
        world.run(20);
    }
    world.start(id(1));
    world.settle(&[1, 2, 3], 5_000);
    assert!(world.trace.iter().any(|line| line.starts_with("s1 installs")));
}

#[test]
fn proposals_made_while_a_learner_gets_level_reach_it() {
    let mut world = World::started(6, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.crash(id(1), Crash::Kill);
    world.nodes.get_mut(&id(1)).expect("a node").sync_max = 300;
    for _ in 0..60 {
        world.propose();
    }
    world.start(id(1));
    for _ in 0..200 {
        world.propose();
        world.run(STEP);
    }
    world.settle(&[1, 2, 3], 5_000);
}

#[test]
fn an_observer_is_served_and_gets_its_vote_without_a_new_link() {
    let mut world = World::started(7, &[1], &[2, 3]);
    world.settle(&[1, 2, 3], 3_000);
    assert_eq!(world.nodes[&id(2)].status, Status::Observing(id(1), Epoch(1)));
    let before = world.next_link;
    world.reconfigure(&joining(&[2, 3], "participant")).expect("the newcomers are level");
    world.settle(&[1, 2, 3], 1_000);
    assert_eq!(world.nodes[&id(2)].status, Status::Following(id(1), Epoch(1)));
    assert_eq!(world.next_link, before);
    world.crash(id(1), Crash::Kill);
    world.settle(&[2, 3], 3_000);
}

#[test]
fn an_ensemble_of_one_grows_to_three_by_servers_that_nobody_named() {
    let mut world = World::started(8, &[1], &[]);
    world.settle(&[1], 2_000);
    world.initial = ensemble(&[1, 2, 3], &[]);
    for n in [2, 3] {
        world.add(id(n), Disk::blank());
        world.start(id(n));
    }
    world.run_until(5_000, |world| world.are_level(&[1, 2, 3]));
    world.reconfigure(&joining(&[2, 3], "participant")).expect("the newcomers are level");
    world.settle(&[1, 2, 3], 1_000);
    assert_eq!(world.zab(id(3)).ensemble().voters().count(), 3);
}

#[test]
fn a_new_quorum_that_is_not_level_is_refused() {
    let mut world = World::started(9, &[1], &[]);
    world.settle(&[1], 2_000);
    assert_eq!(world.reconfigure(&joining(&[2, 3], "participant")), Err(crate::zab::ReconfigError::NoQuorum));
    let gone = leaving(&[1]);
    assert!(matches!(world.reconfigure(&gone), Err(crate::zab::ReconfigError::BadArguments(_))));
}

#[test]
fn a_leader_that_leaves_the_membership_hands_over_without_an_election() {
    let mut world = World::started(10, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.trace.clear();
    world.reconfigure(&leaving(&[3])).expect("a quorum stays");
    let gap = world.run_until(1_000, |world| world.leader().is_some_and(|leader| leader != id(3)));
    world.settle(&[1, 2, 3], 2_000);
    assert!(gap <= 200, "{gap} ms");
    assert!(!world.trace.iter().any(|line| line.ends_with("looks")), "{:?}", world.trace);
    assert!(matches!(world.nodes[&id(3)].status, Status::Observing(..)));
}

#[test]
fn leadership_is_handed_to_the_chosen_voter_without_an_election() {
    for to in [1, 2] {
        let mut world = World::started(11, &[1, 2, 3], &[]);
        world.settle(&[1, 2, 3], 2_000);
        for _ in 0..5 {
            world.propose();
        }
        world.trace.clear();
        assert_eq!(world.transfer(id(to)), Ok(()));
        let gap = world.run_until(1_000, |world| world.leader() == Some(id(to)));
        world.settle(&[1, 2, 3], 1_000);
        assert!(gap <= 200, "{gap} ms");
        assert!(!world.trace.iter().any(|line| line.ends_with("looks")), "{:?}", world.trace);
    }
}

#[test]
fn leadership_is_not_handed_to_whom_it_cannot_be() {
    use crate::zab::TransferError::{Leads, NotAVoter, NotLevel};
    let mut world = World::started(12, &[1, 2, 3], &[4]);
    world.settle(&[1, 2, 3, 4], 3_000);
    world.crash(id(1), Crash::Kill);
    world.run(50);
    for (to, error) in [(3, Leads(id(3))), (4, NotAVoter(id(4))), (1, NotLevel(id(1)))] {
        assert_eq!(world.transfer(id(to)), Err(error));
    }
}

#[test]
fn a_blank_disk_never_votes_and_is_filled_by_a_leader() {
    let mut world = World::new(13, &ensemble(&[1, 2, 3], &[]));
    world.add(id(1), Disk::default());
    for n in [2, 3] {
        world.add(id(n), Disk::blank());
    }
    for n in [1, 2, 3] {
        world.start(id(n));
    }
    world.run(10_000);
    assert_eq!(world.leader(), None);
    world.crash(id(2), Crash::Kill);
    world.nodes.get_mut(&id(2)).expect("a node").disk = Disk::default();
    world.start(id(2));
    world.settle(&[1, 2, 3], 5_000);
    assert_eq!(world.leader(), Some(id(2)));
}

#[test]
fn a_sync_is_answered_only_while_a_quorum_follows() {
    let mut world = World::started(14, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    for n in [3, 1] {
        world.zab(id(n)).sync(SessionId(1), 1, "/");
        world.perform(id(n));
        world.run_until(500, |world| world.nodes[&id(n)].synced == 1);
    }
    world.split(&[id(3)]);
    world.zab(id(3)).sync(SessionId(1), 2, "/");
    world.perform(id(3));
    world.run(500);
    assert_eq!(world.nodes[&id(3)].synced, 1, "a deposed leader answers no sync");
}

#[test]
fn a_learner_forwards_writes_and_learns_their_result_by_delivery() {
    let mut world = World::started(15, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    let before = world.canon.len();
    let body = Bytes::from_static(b"forwarded");
    world.zab(id(1)).forward(Forwarded { session: SessionId(1), cxid: 1, op: 5, body, identities: vec![] });
    world.perform(id(1));
    world.run_until(500, |world| world.canon.len() > before && world.are_level(&[1, 2, 3]));
}

/// A member that speaks Apache's dialect: it introduces itself as an observer, without a mark.
#[test]
fn an_apache_observer_gets_no_byte_that_it_does_not_know() {
    let mut world = World::started(16, &[1], &[]);
    world.settle(&[1], 2_000);
    let link = LinkId(1_000);
    let now = world.clock();
    let zab = world.zab(id(1));
    let mut sent = Vec::new();
    let mut tell = |zab: &mut Zab, input: Input| {
        zab.step(now, input);
        sent.extend(zab.take_effects().into_iter().filter_map(|effect| match effect {
            Effect::Send(to, packet) if to == link => Some(packet),
            _ => None,
        }));
    };
    tell(zab, Input::LinkUp { link, dialed: None });
    let info = Packet::LearnerInfo {
        observer: true,
        accepted: Epoch(0),
        id: Some(id(9)),
        config_version: Some(Zxid::ZERO),
        mark: None,
    };
    tell(zab, Input::Packet(link, info));
    let last = zab.inspect().last_logged;
    tell(zab, Input::Packet(link, Packet::AckEpoch { current: Some(Epoch(0)), last }));
    tell(zab, Input::Packet(link, Packet::Ack(Zxid::new(Epoch(1), 0))));
    let zxid = zab.next_zxid().expect("it leads");
    zab.propose(now, Proposal { zxid, txn: txn(zxid, 5, b"x") });
    world.run(100);
    let kinds: Vec<&str> = sent.iter().map(kind).collect();
    assert_eq!(kinds, vec!["LEADERINFO", "DIFF", "NEWLEADER", "UPTODATE"]);
    assert_eq!(sent[0], Packet::LeaderInfo { epoch: Epoch(1), mark: None });
}

fn kind(packet: &Packet) -> &'static str {
    match packet {
        Packet::LeaderInfo { .. } => "LEADERINFO",
        Packet::Diff(_) => "DIFF",
        Packet::NewLeader { .. } => "NEWLEADER",
        Packet::UpToDate => "UPTODATE",
        _ => "other",
    }
}

#[test]
fn a_member_of_another_ensemble_is_refused() {
    let mut world = World::new(17, &ensemble(&[1], &[]));
    world.ensemble_id = Some("ours".to_owned());
    world.add(id(1), Disk::default());
    world.start(id(1));
    world.settle(&[1], 2_000);
    let now = world.clock();
    let zab = world.zab(id(1));
    let link = LinkId(1_000);
    for (theirs, is_refused) in [(Some("theirs"), true), (Some("ours"), false), (None, false)] {
        zab.step(now, Input::LinkUp { link, dialed: None });
        let mark = Some(Mark { ensemble_id: theirs.map(str::to_owned) });
        let (observer, accepted, id) = (false, Epoch(0), Some(id(9)));
        let info = Packet::LearnerInfo { observer, accepted, id, config_version: Some(Zxid::ZERO), mark };
        zab.step(now, Input::Packet(link, info));
        let dropped = zab.take_effects().contains(&Effect::DropLink(link));
        assert_eq!(dropped, is_refused, "{theirs:?}");
        zab.step(now, Input::LinkDown(link));
    }
}

#[test]
fn the_end_of_the_counter_ends_the_proposals() {
    let last = Zxid::new(Epoch(3), Zxid::LAST_COUNTER - 1);
    let mut disk = Disk::default();
    disk.epochs.accepted = Epoch(3);
    disk.epochs.current = Epoch(3);
    disk.log.push_back((last, txn(last, 5, b"x")));
    let now = Now { mono: Millis(1), wall_ms: 0 };
    let settings = Settings {
        id: id(1),
        tick: Millis(TICK),
        init_limit_ticks: 10,
        sync_limit_ticks: 5,
        reconfig: Reconfig::Disabled,
        standalone_enabled: true,
        observer: false,
        commit_log_count: 500,
        ensemble_id: None,
    };
    let mut zab = Zab::new(now, settings, Ensemble::default(), None, disk.recovered(), 1);
    assert_eq!(zab.status(), Status::Standalone);
    let next = zab.next_zxid().expect("one is left");
    assert_eq!(next, last.next());
    zab.propose(now, Proposal { zxid: next, txn: txn(next, 5, b"x") });
    assert_eq!(zab.next_zxid(), Some(Zxid::new(Epoch(4), 1)));
}

#[test]
fn late_comers_are_told_the_established_epoch() {
    let mut world = World::started(18, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    let now = world.clock();
    for n in [1, 2, 3] {
        let zab = world.zab(id(n));
        let other = id(n % 3 + 1);
        let vote = Vote { leader: other, zxid: Zxid::ZERO, round: 1, epoch: 0 };
        let notification = Notification { state: PeerState::Looking, vote, version: 2, config: None };
        zab.step(now, Input::Vote(other, notification));
        let answer = zab.take_effects().into_iter().find_map(|effect| match effect {
            Effect::Vote(to, answer) if to == other => Some(answer),
            _ => None,
        });
        let answer = answer.expect("it answers at once");
        assert_eq!((answer.vote.leader, answer.vote.epoch), (id(3), 1));
        let leads = answer.state == PeerState::Leading;
        assert_eq!(leads, n == 3);
    }
}

/// Apache ZooKeeper's snapshots may hold what was never committed (F-11): such a disk cannot be cut.
#[test]
fn a_disk_that_cannot_be_cut_is_replaced() {
    let mut world = World::new(19, &ensemble(&[1, 2, 3], &[]));
    let first = Zxid::new(Epoch(1), 1);
    let common = (first, txn(first, 5, b"common"));
    for n in [1, 2, 3] {
        let mut disk = Disk::default();
        (disk.epochs.accepted, disk.epochs.current) = (Epoch(1), Epoch(1));
        disk.snapshot.push(common.clone());
        if n == 1 {
            disk.snapshot.push((first.next(), txn(first.next(), 5, b"never committed")));
        }
        world.add(id(n), disk);
    }
    world.canon.push(common);
    world.start(id(2));
    world.start(id(3));
    world.settle(&[2, 3], 3_000);
    world.start(id(1));
    world.settle(&[1, 2, 3], 3_000);
    assert_eq!(world.nodes[&id(1)].tree, world.canon);
}

#[test]
fn a_member_that_promised_a_later_epoch_is_let_in_by_a_new_one() {
    let mut world = World::started(20, &[1, 2, 3], &[]);
    world.settle(&[1, 2, 3], 2_000);
    world.crash(id(1), Crash::Kill);
    world.nodes.get_mut(&id(1)).expect("a node").disk.epochs.accepted = Epoch(7);
    world.run(2 * TICK);
    world.start(id(1));
    world.run_until(5_000, |world| world.leaders.keys().any(|epoch| *epoch > Epoch(7)));
    world.settle(&[1, 2, 3], 3_000);
}
