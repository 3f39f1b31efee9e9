//! One server and what a peer says to it, packet by packet: what no cluster of our own would say, or seldom.
//!
//! In: packets of a leader or a learner. Out: what the server makes of them.
//!
//! Always true:
//! * the disk is as fast as the server.
//!
//! Not here: clusters (`scenarios`, `random`).

use super::*;
use crate::zab::Vote;
use crate::zab::packet::Mark;

/// The link under test.
const LINK: LinkId = LinkId(1);

/// A server on its own.
struct Solo {
    zab: Zab,
    now: u64,
    sent: Vec<Packet>,
    votes: Vec<(ServerId, Notification)>,
    dropped: Vec<LinkId>,
}

impl Solo {
    /// Server 1 of a membership, with an empty disk.
    fn new(current: Ensemble) -> Solo {
        Solo::on_disk(current, Disk::default())
    }

    /// Server 1 of a membership, with a disk of epoch 1 that holds one txn.
    fn holding(current: Ensemble, proposal: Proposal) -> Solo {
        let mut disk = Disk::default();
        (disk.epochs.accepted, disk.epochs.current) = (Epoch(1), Epoch(1));
        disk.log.push_back((proposal.zxid, proposal.txn));
        Solo::on_disk(current, disk)
    }

    fn on_disk(current: Ensemble, mut disk: Disk) -> Solo {
        let settings = Settings {
            id: id(1),
            tick: Millis(TICK),
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            reconfig: Reconfig::Enabled,
            standalone_enabled: false,
            observer: false,
            commit_log_count: 500,
            ensemble_id: None,
        };
        let now = Now { mono: Millis(1_000), wall_ms: 0 };
        let zab = Zab::new(now, settings, current, None, disk.recovered(), 1);
        let mut solo = Solo { zab, now: 1_000, sent: Vec::new(), votes: Vec::new(), dropped: Vec::new() };
        solo.tell(Input::Tick);
        solo
    }

    fn tell(&mut self, input: Input) {
        let now = Now { mono: Millis(self.now), wall_ms: 0 };
        self.zab.step(now, input);
        let mut written = None;
        while let Some(effect) = self.zab.pop_effect() {
            match effect {
                Effect::Write(seq, _) => written = Some(seq),
                Effect::Send(_, packet) => self.sent.push(packet),
                Effect::DropLink(link) => self.dropped.push(link),
                Effect::Vote(to, notification) => self.votes.push((to, notification)),
                Effect::Dial(_) | Effect::News(_) => {}
            }
        }
        if let Some(seq) = written {
            self.tell(Input::Synced(seq));
        }
    }

    fn hear(&mut self, packet: Packet) {
        self.tell(Input::Packet(LINK, packet));
    }

    /// Follows server 3 in epoch 1, up to its answer to LEADERINFO.
    fn follow(&mut self, mark: Option<Mark>) {
        for (from, state) in [(2, PeerState::Following), (3, PeerState::Leading)] {
            let vote = Vote { leader: id(3), zxid: Zxid::ZERO, round: 1, epoch: 1 };
            self.tell(Input::Vote(id(from), Notification { state, vote, version: 2, config: None }));
        }
        self.tell(Input::LinkUp { link: LINK, dialed: Some(id(3)) });
        self.hear(Packet::LeaderInfo { epoch: Epoch(1), mark });
        assert!(matches!(self.sent.last(), Some(Packet::AckEpoch { .. })), "{:?}", self.sent);
    }

    fn version(&self) -> Zxid {
        self.zab.ensemble().version
    }

    /// A voter looks for a leader, in round 1.
    fn hear_vote(&mut self, from: i64, leader: i64, zxid: Zxid) {
        let vote = Vote { leader: id(leader), zxid, round: 1, epoch: zxid.epoch().0.into() };
        let notification = Notification { state: PeerState::Looking, vote, version: 2, config: None };
        self.tell(Input::Vote(id(from), notification));
    }

    /// All these elect it.
    fn be_elected(&mut self, by: &[i64]) {
        let last = self.zab.inspect().last_logged;
        for from in by {
            self.hear_vote(*from, 1, last);
        }
        assert_eq!(self.zab.status(), Status::Discovering);
    }

    /// A voter dials; its link has its number.
    fn greeted_by(&mut self, n: i64) {
        let link = LinkId(n as u64);
        self.tell(Input::LinkUp { link, dialed: None });
        let (accepted, config_version) = (Epoch(1), Some(Zxid::ZERO));
        let mark = Some(Mark { ensemble_id: None });
        let info = Packet::LearnerInfo { observer: false, accepted, id: Some(id(n)), config_version, mark };
        self.tell(Input::Packet(link, info));
    }

    /// A voter accepts the epoch and tells what it holds.
    fn accepted_by(&mut self, n: i64, last: Zxid) {
        let packet = Packet::AckEpoch { current: Some(last.epoch()), last };
        self.tell(Input::Packet(LinkId(n as u64), packet));
    }

    fn has_sent(&self, what: impl Fn(&Packet) -> bool) -> bool {
        self.sent.iter().any(what)
    }
}

fn zxid(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

/// The membership of a reconfig with this zxid, and its proposal.
fn reconfig(zxid: Zxid) -> (Ensemble, Proposal) {
    let ensemble = Ensemble { version: zxid, ..ensemble(&[1, 2, 3, 4], &[]) };
    let mut body = Writer::new();
    body.string("/zookeeper/config").string(&ensemble.to_string()).i32(-1);
    let txn = txn(zxid, 16, &body.finish());
    (ensemble, Proposal { zxid, txn })
}

fn new_leader(ensemble: &Ensemble) -> Packet {
    Packet::NewLeader { zxid: zxid(0), config: Some(ensemble.to_string()) }
}

/// An Apache leader names the newest membership that it proposed in NEWLEADER, committed or not.
#[test]
fn a_membership_that_is_only_proposed_is_not_in_force_after_uptodate() {
    let mut solo = Solo::new(ensemble(&[1, 2, 3], &[]));
    let (proposed, proposal) = reconfig(zxid(1));
    solo.follow(None);
    for packet in [Packet::Diff(Zxid::ZERO), Packet::Proposal(proposal), new_leader(&proposed)] {
        solo.hear(packet);
    }
    solo.hear(Packet::UpToDate);
    assert!(matches!(solo.zab.status(), Status::Following(..)));
    assert_eq!(solo.version(), Zxid::ZERO, "nobody committed it");
    assert_eq!(solo.zab.ensemble_proposed(), Some(&proposed));
    solo.hear(Packet::CommitAndActivate { zxid: zxid(1), leader: id(3) });
    assert_eq!(solo.version(), zxid(1));
}

#[test]
fn a_membership_that_is_committed_before_uptodate_is_in_force_after_it() {
    let mut solo = Solo::new(ensemble(&[1, 2, 3], &[]));
    let (proposed, proposal) = reconfig(zxid(1));
    solo.follow(None);
    for packet in [Packet::Diff(zxid(1)), Packet::Proposal(proposal), Packet::Commit(zxid(1))] {
        solo.hear(packet);
    }
    solo.hear(new_leader(&proposed));
    solo.hear(Packet::UpToDate);
    assert_eq!(solo.version(), zxid(1));
}

/// A learner whose link breaks between a reconfig's proposal and its commit holds the proposal already.
#[test]
fn a_reconfig_that_was_proposed_on_an_earlier_link_takes_effect() {
    for commit in [Packet::CommitAndActivate { zxid: zxid(1), leader: id(3) }, Packet::Commit(zxid(1))] {
        let initial = Ensemble { version: zxid(0), ..ensemble(&[1, 2, 3], &[]) };
        let mut solo = Solo::new(ensemble(&[1, 2, 3], &[]));
        let (proposed, proposal) = reconfig(zxid(1));
        let mark = Some(Mark { ensemble_id: None });
        solo.follow(mark.clone());
        for packet in [Packet::Diff(Zxid::ZERO), new_leader(&initial), Packet::UpToDate] {
            solo.hear(packet);
        }
        solo.hear(Packet::Proposal(proposal));
        solo.tell(Input::LinkDown(LINK));
        solo.follow(mark);
        for packet in [Packet::Diff(Zxid::ZERO), new_leader(&initial), Packet::UpToDate] {
            solo.hear(packet);
        }
        assert_eq!(solo.zab.ensemble_proposed(), Some(&proposed), "its log holds it");
        solo.hear(commit);
        assert_eq!(solo.version(), zxid(1));
    }
}

/// Leads alone, with one Quorate learner that is level.
fn leading() -> Solo {
    let mut solo = Solo::new(ensemble(&[1], &[]));
    assert_eq!(solo.zab.status(), Status::Leading(Epoch(1)));
    join(&mut solo, Zxid::ZERO);
    solo
}

fn join(solo: &mut Solo, last: Zxid) {
    let mark = Some(Mark { ensemble_id: None });
    solo.tell(Input::LinkUp { link: LINK, dialed: None });
    let (accepted, id, config_version) = (Epoch(1), Some(id(4)), Some(Zxid::ZERO));
    solo.hear(Packet::LearnerInfo { observer: false, accepted, id, config_version, mark });
    solo.hear(Packet::AckEpoch { current: Some(Epoch(0)), last });
    solo.hear(Packet::Ack(zxid(0)));
    assert!(solo.sent.contains(&Packet::UpToDate), "{:?}", solo.sent);
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_costs_the_link() {
    for bad in [zxid(9), Zxid(i64::MAX), Zxid(i64::MIN + 1), Zxid(-5)] {
        let mut solo = leading();
        solo.hear(Packet::Ack(bad));
        assert_eq!(solo.dropped, vec![LINK], "{bad}");
    }
}

#[test]
fn a_stranger_that_only_trickles_bytes_is_dropped() {
    let mut solo = leading();
    let stranger = LinkId(2);
    solo.tell(Input::LinkUp { link: stranger, dialed: None });
    for _ in 0..200 {
        solo.now += TICK / 2;
        solo.tell(Input::Progress(stranger));
        solo.tell(Input::Packet(stranger, Packet::Pong { zxid: Zxid::NONE, touched: Vec::new() }));
        solo.tell(Input::Packet(LINK, Packet::Pong { zxid: Zxid::NONE, touched: Vec::new() }));
        solo.tell(Input::Tick);
    }
    assert_eq!(solo.dropped, vec![stranger]);
}

#[test]
fn a_round_that_is_no_count_is_not_taken_over() {
    let mut solo = Solo::new(ensemble(&[1, 2, 3], &[]));
    for round in [i64::MAX, i64::MAX - 1] {
        let vote = Vote { leader: id(3), zxid: Zxid::ZERO, round, epoch: 1 };
        let state = PeerState::Looking;
        solo.tell(Input::Vote(id(3), Notification { state, vote, version: 2, config: None }));
    }
    assert_eq!(solo.zab.inspect().round, 1);
    solo.follow(None);
}

/// A reconfig at the end of the leader's history is committed with the epoch, so that the membership that it proposes
/// has a say in the epoch.
#[test]
fn an_epoch_needs_a_quorum_of_the_proposed_membership_too() {
    let (_, proposal) = reconfig(zxid(1)); // of 1, 2 and 3 into 1, 2, 3 and 4
    let mut solo = Solo::holding(ensemble(&[1, 2, 3], &[]), proposal);
    solo.be_elected(&[2, 3, 4]);
    let is_invited = |solo: &Solo| solo.has_sent(|packet| matches!(packet, Packet::LeaderInfo { .. }));
    let is_synced = |solo: &Solo| solo.has_sent(|packet| matches!(packet, Packet::Diff(_)));
    solo.greeted_by(2);
    assert!(!is_invited(&solo), "1 and 2 are no quorum of the proposed membership");
    solo.greeted_by(4);
    assert!(is_invited(&solo));
    solo.accepted_by(2, zxid(1));
    assert!(!is_synced(&solo), "1 and 2 are no quorum of the proposed membership");
    solo.accepted_by(4, zxid(1));
    assert!(is_synced(&solo));
}

#[test]
fn a_leader_gives_up_at_once_when_those_who_do_not_hold_more_can_be_no_quorum() {
    let mut solo = Solo::new(ensemble(&[1, 2, 3], &[]));
    solo.be_elected(&[2, 3]);
    for n in [2, 3] {
        solo.greeted_by(n);
    }
    solo.accepted_by(2, zxid(1));
    assert_eq!(solo.dropped, vec![LinkId(2)]);
    assert_eq!(solo.zab.status(), Status::Discovering, "3 may follow");
    solo.accepted_by(3, zxid(1));
    assert_eq!(solo.zab.status(), Status::Looking);
}

#[test]
fn a_leader_gives_up_at_once_when_who_does_not_hold_more_has_been_away_for_a_while() {
    let mut solo = Solo::new(ensemble(&[1, 2, 3], &[]));
    solo.be_elected(&[2, 3]);
    solo.greeted_by(2);
    solo.now += 700;
    solo.accepted_by(2, zxid(1));
    assert_eq!(solo.zab.status(), Status::Looking);
}

/// It may have followed still when the better vote was told, so that nobody tells it again for a while.
#[test]
fn a_voter_with_a_worse_vote_is_told_the_better_one_at_once() {
    let proposal = Proposal { zxid: zxid(1), txn: txn(zxid(1), 5, b"x") };
    let mut solo = Solo::holding(ensemble(&[1, 2, 3], &[]), proposal);
    solo.votes.clear();
    solo.hear_vote(2, 2, Zxid::ZERO);
    let told: Vec<(ServerId, PeerState, ServerId)> =
        solo.votes.iter().map(|(to, told)| (*to, told.state, told.vote.leader)).collect();
    assert_eq!(told, vec![(id(2), PeerState::Looking, id(1))]);
    solo.votes.clear();
    solo.hear_vote(2, 1, zxid(1));
    assert_eq!(solo.votes, vec![], "an agreement needs no answer");
}

/// Servers that a proposed membership gives their votes have nobody to vote for; theirs is the later round when the one
/// that they wait for was started again.
#[test]
fn the_round_of_a_voter_that_has_nobody_to_vote_for_is_taken_over() {
    let (_, proposal) = reconfig(zxid(1)); // of 1 alone into 1, 2, 3 and 4
    let mut solo = Solo::holding(ensemble(&[1], &[]), proposal);
    solo.votes.clear();
    let hear = |solo: &mut Solo, from: i64, leader: ServerId| {
        let vote = Vote { leader, zxid: zxid(1), round: 5, epoch: 1 };
        let notification = Notification { state: PeerState::Looking, vote, version: 2, config: None };
        solo.tell(Input::Vote(id(from), notification));
    };
    hear(&mut solo, 2, ServerId::NOBODY);
    let told: Vec<(i64, ServerId)> =
        solo.votes.iter().map(|(_, told)| (told.vote.round, told.vote.leader)).collect();
    assert_eq!(told, vec![(5, id(1)); 3]);
    for n in [2, 3, 4] {
        hear(&mut solo, n, id(1));
    }
    assert_eq!(solo.zab.status(), Status::Discovering);
}
