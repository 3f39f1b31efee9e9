//! Reads the configuration again when it is told to, by SIGHUP.
//!
//! In: the signal, the arguments of the start. Out: settings that change, and a line for each that needs a restart.
//!
//! Always true:
//! * a configuration that is refused changes nothing.
//!
//! Not here: changing a setting (`net::live`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ServerArgs;
use super::load::load;
use crate::net::health::Health;
use crate::net::live::{Live, is_live};

/// What it takes to read a configuration again.
pub struct Reload {
    /// The arguments of the start.
    pub args: ServerArgs,
    /// The settings in force, as written.
    pub written: Vec<(String, String)>,
    /// Where the client port is.
    pub health: Arc<Health>,
    /// What changes settings.
    pub live: Live,
}

impl Reload {
    /// Reads it at each signal, until everything ends.
    pub async fn run(mut self, mut signal: Signal, stop: CancellationToken) {
        loop {
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = signal.recv() => told,
            };
            if told.is_none() {
                return;
            }
            let args = self.args.clone();
            match tokio::task::spawn_blocking(move || load(&args)).await {
                Ok(Ok(loaded)) => self.apply(loaded.written).await,
                Ok(Err(error)) => warn!(%error, "the configuration is refused; nothing changes"),
                Err(error) => warn!(%error, "the configuration cannot be read; nothing changes"),
            }
        }
    }

    async fn apply(&mut self, written: Vec<(String, String)>) {
        let Some(clients) = self.health.clients() else {
            warn!("the configuration is not read again while the server starts");
            return;
        };
        let old: BTreeMap<String, String> =
            std::mem::replace(&mut self.written, written).into_iter().collect();
        let new: BTreeMap<String, String> = self.written.iter().cloned().collect();
        let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
        for key in keys.filter(|key| old.get(*key) != new.get(*key)) {
            let value = new.get(key).map(String::as_str);
            if !is_live(key) {
                warn!(key, "a setting has changed that needs a restart");
                continue;
            }
            match self.live.set(&clients, key, value).await {
                Ok(()) => info!(key, value = value.unwrap_or("(default)"), "a setting changes"),
                Err(error) => warn!(error, "a setting stays as it is"),
            }
        }
        info!("the configuration is read again");
    }
}
