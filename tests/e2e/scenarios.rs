//! The scenarios, by the names of the specification, and some more by words.
//!
//! In: a cluster with the operator. Out: what was seen, or what was not.
//!
//! Always true:
//! * each scenario has namespaces of its own and leaves nothing behind when it passes.
//!
//! Not here: what they do (`sizes`, `rollouts`, `losses`, `faults`, `crashes`, `rules`).

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cluster::{self, json};
use crate::report::Report;
use crate::{Width, crashes, faults, losses, rollouts, rules, sizes};

/// Three times the floor from apply to Ready.
pub const READY: Duration = Duration::from_secs(90);
/// For what has to happen some time soon.
pub const SOON: Duration = Duration::from_secs(180);
/// For a rollout over all members.
pub const ROLLOUT: Duration = Duration::from_secs(400);
/// Volumes are directories here, whatever their size.
pub const SMALL: &str = "storage: {data: {size: 1Gi}}";
/// The same with a log of its own.
pub const WITH_LOG: &str = "storage: {data: {size: 1Gi}, dataLog: {size: 1Gi}}";

/// What else may run meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It mostly waits and only looks: any number of others.
    Idle,
    /// It touches nothing but its own namespaces: as many others as there are lanes.
    Lane,
    /// Nothing: it disturbs the operator, nodes or names.
    Alone,
}

/// One of them.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// Whether CI runs it.
    pub is_share: bool,
    /// What else may run meanwhile.
    pub room: Room,
}

const fn ci(name: &'static str, room: Room, what: &'static str) -> Scenario {
    Scenario { name, what, is_share: true, room }
}

const fn all(name: &'static str, room: Room, what: &'static str) -> Scenario {
    Scenario { name, what, is_share: false, room }
}

/// Every scenario.
pub const ALL: &[Scenario] = &[
    ci(
        "E-01",
        Room::Idle,
        "1, 3 and 5 members, and 3 with `dataLog`: Ready; applied again, ten settled minutes in which nothing is written",
    ),
    ci("E-02", Room::Lane, "3 to 5 members, also with `dataLog`; never a configuration of 4 voters"),
    all("E-04", Room::Lane, "5 to 3 members, the leader among those who leave"),
    all("E-05", Room::Lane, "3 to 1 to 3 members with kept disks"),
    all(
        "E-07",
        Room::Lane,
        "members are killed for their memory until the quorum is lost; `resources` is mended",
    ),
    ci(
        "E-10",
        Room::Lane,
        "rolling upgrade with the leader at each ordinal, also with `dataLog`; the leader is last",
    ),
    ci("E-11", Room::Lane, "an image that does not run stops at one pod; reverted; a good one"),
    ci("E-13", Room::Lane, "one disk wiped: it joins again; two wiped: no blank leader, nothing deleted"),
    all("E-29", Room::Lane, "a namespace that enforces `restricted`, an image of a user that nobody knows"),
    all("E-35", Room::Lane, "one bad object for each rule is refused by the API server in the rule's words"),
    all("E-40", Room::Lane, "to 0 and back at 3, and to 5, also with `whenScaled: Delete`; no disk is lost"),
    all("observers", Room::Lane, "a pool of observers comes, grows, is upgraded first, loses a pod, goes"),
    all("supervised", Room::Lane, "a supervised rollout asks before the leader and before it is final"),
    all("paused", Room::Lane, "a paused rollout touches nothing; a paused resource is left alone"),
    all("leader-killed", Room::Lane, "the leader's process gets SIGKILL"),
    ci("E-00", Room::Alone, "the chart goes and ensembles stay; the plain manifests take over"),
    all("leader-off", Room::Alone, "the leader's node loses its power"),
    all("E-15", Room::Alone, "all servers are killed at once while names do not resolve"),
    all("E-26", Room::Alone, "a resource and a namespace go while no operator runs; disks as asked for"),
    all(
        "E-08",
        Room::Alone,
        "the operator dies after its n-th write, for each n of a growth and of an upgrade",
    ),
];

/// Runs one by its name.
pub async fn run(name: &str, width: Width, report: &Report) -> anyhow::Result<()> {
    let space = name.to_lowercase();
    let space = space.as_str();
    cluster::namespace(space).await?;
    match name {
        "E-00" => faults::install(space, report).await,
        "E-01" => sizes::create(space, width, report).await,
        "E-02" => sizes::grow(space, width, report).await,
        "E-04" => sizes::shrink_with_leader(space, report).await,
        "E-05" => sizes::shrink_and_grow(space, report).await,
        "E-07" => faults::memory(space, report).await,
        "E-08" => crashes::at_every_write(space, report).await,
        "E-10" => rollouts::upgrade(space, width, report).await,
        "E-11" => rollouts::broken_image(space, report).await,
        "E-13" => losses::wiped_disks(space, report).await,
        "E-15" => losses::all_at_once(space, report).await,
        "E-26" => faults::deletion(space).await,
        "E-29" => faults::restricted(space, report).await,
        "E-35" => rules::every_rule(space).await,
        "E-40" => sizes::hibernate(space, report).await,
        "observers" => sizes::observers(space, report).await,
        "supervised" => rollouts::supervised(space, report).await,
        "paused" => rollouts::paused(space, report).await,
        "leader-killed" => losses::leader_killed(space, report).await,
        "leader-off" => losses::leader_off(space, report).await,
        other => bail!("{other} is no scenario"),
    }?;
    cluster::gone(space, SOON).await.map(drop)
}

/// The address of the clients' service.
pub async fn address(space: &str) -> anyhow::Result<String> {
    let service = json(space, &["service/main-client"]).await?;
    let host = service["spec"]["clusterIP"].as_str().context("the service has an address")?.to_owned();
    Ok(format!("{host}:2181"))
}
