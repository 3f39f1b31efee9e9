//! One member, killed at any moment under load, also while it starts.
//!
//! In: the program. Out: how often it was killed and what was acknowledged, or what is gone of it.
//!
//! Always true:
//! * what is judged was read from disk: the last kill comes after the last write.
//!
//! Not here: what survives a loss of power, which the simulated disk shows (`tests/sim`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quorate::base::rng::Rng;
use tokio::time::{Instant, timeout_at};

use crate::ensemble::Ensemble;
use crate::load::{Clients, Ledger, Load};
use crate::{RECOVERY, fresh_directory, has_all};

/// How long the member is killed.
const KILLING: Duration = Duration::from_secs(60);
/// Between its start, or the moment it serves, and the next kill: less than so many ms.
const BETWEEN_KILLS_MS: u64 = 1_000;
/// One kill in so many comes without waiting until the member serves.
const KILLS_OF_A_START: u64 = 4;
/// Fewer kills than this in the time say that a start is slow, or that the test did not test.
const KILLS_MIN: usize = 30;
/// The longest that the server grants: a client that meets one start after the other may need it on a busy machine.
const SESSION: Duration = Duration::from_secs(40);
/// Snapshots, new log files and their padding come often, so that kills meet them.
const SETTINGS: &str = "snapCount=1000\npreAllocSize=64\nautopurge.snapRetainCount=3\n";

/// Kills one member again and again.
pub async fn kill(program: &Path) -> anyhow::Result<String> {
    let dir = fresh_directory("alone")?;
    let mut server = Ensemble::start_with(program, &dir, 1, SETTINGS).await?;
    let ledger = Arc::new(Ledger::default());
    let clients = Clients { writers: 8, setters: 4, holders: 4, session: SESSION };
    let load = Load::start(&server.hosts(), clients, &ledger).await?;
    let end = Instant::now() + KILLING;
    let (mut rng, mut kills) = (Rng::new(2), 0);
    while Instant::now() < end {
        if rng.below(KILLS_OF_A_START) != 0 {
            server.all_serve(RECOVERY).await?;
        }
        let pause = Duration::from_millis(rng.below(BETWEEN_KILLS_MS));
        // The load goes on meanwhile; that it ends early would be an error of its own.
        let _ = timeout_at(Instant::now() + pause, std::future::pending::<()>()).await;
        server.kill(0).await?;
        server.restart(0)?;
        kills += 1;
    }
    server.all_serve(RECOVERY).await?;
    load.stop().await?;
    server.kill(0).await?;
    server.restart(0)?;
    server.all_serve(RECOVERY).await?;
    let (acknowledged, lost) = (ledger.acknowledged(), ledger.lost());
    ensure!(lost.is_empty(), "{} sessions or sets lost:\n{}", lost.len(), lost.join("\n"));
    has_all(&server, 0, &acknowledged).await?;
    ensure!(!acknowledged.is_empty() && ledger.sets() > 0, "nothing was written");
    ensure!(kills >= KILLS_MIN, "only {kills} kills in {KILLING:?}");
    drop(server);
    std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(format!(
        "one member killed {kills} times, {} creates and {} sets acknowledged and there, {} writes of unknown fate",
        acknowledged.len(),
        ledger.sets(),
        ledger.unknown()
    ))
}
