//! The cluster's rows of the README's table of figures.
//!
//! In: a namespace. Out: times and gaps, printed; how many are over their floor.
//!
//! Always true:
//! * every figure is of three members with everything else by default.
//!
//! Not here: figures of one machine (`tests/processes`).

use std::time::Duration;

use crate::checker::{Checker, Verdict};
use crate::cluster::{ensemble, kubectl, patch, settled, wait};
use crate::losses::{OFF_FLOOR, cut_leader, kill_leader};
use crate::report::GAP_FLOOR;
use crate::scenarios::{ROLLOUT, SOON, address};

/// The floor from apply to Ready.
const READY_FLOOR: Duration = Duration::from_secs(30);

/// Measures and prints; returns how many figures are over their floor.
pub async fn measure(space: &str) -> anyhow::Result<usize> {
    let mut over = 0;
    ensemble(space, "{replicas: 3}").await?;
    let time = wait(space, "ens/main", "condition=Ready", SOON).await?;
    println!("| Apply to Ready, three members, cluster of three nodes | {:.1} s |", time.as_secs_f64());
    over += usize::from(time > READY_FLOOR);
    settled(space, SOON).await?;

    let checker = Checker::start(&address(space).await?).await?;
    kubectl(space, &["scale", "ens/main", "--replicas=5"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=5", SOON).await?;
    settled(space, SOON).await?;
    over += row("growth from 3 to 5 (E-02)", GAP_FLOOR, &checker.end().await?);
    kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
    settled(space, SOON).await?;

    let checker = Checker::start(&address(space).await?).await?;
    patch(space, r#"{"image": {"tag": "next"}}"#).await?;
    settled(space, ROLLOUT).await?;
    over += row("rolling upgrade (E-10)", GAP_FLOOR, &checker.end().await?);

    over += row("SIGKILL of the leader's process", GAP_FLOOR, &kill_leader(space).await?);
    over += row("power cut of the leader's node", OFF_FLOOR, &cut_leader(space).await?);
    Ok(over)
}

/// Prints a row; 1 if it is over its floor.
fn row(what: &str, floor: Duration, verdict: &Verdict) -> usize {
    println!(
        "| Longest write gap, sessions lost: {what} | {} ms, {} (one client at most {} ms) |",
        verdict.gap.as_millis(),
        verdict.lost,
        verdict.client_gap.as_millis()
    );
    usize::from(verdict.gap > floor || verdict.lost > 0)
}
