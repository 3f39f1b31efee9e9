//! Where log lines go, and what a panic does.
//!
//! In: the settings of logs. Out: lines on standard error.
//!
//! Always true:
//! * a panic anywhere in the server is one line of the log, and the end of the process.
//!
//! Not here: what is logged.

use std::str::FromStr as _;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};

/// Changes the level of log lines.
static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts writing log lines.
pub fn start(settings: &LogSettings) {
    let level = LevelFilter::from_str(settings.level).unwrap_or(LevelFilter::INFO);
    let (filter, handle) = reload::Layer::new(level);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Only the first call of a process has an effect, which suits tests.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle); // likewise
    }
}

/// Changes the level while the server runs.
pub fn set_level(level: &str) -> Result<(), String> {
    let wanted = ["error", "warn", "info", "debug", "trace"];
    let filter = LevelFilter::from_str(level).ok().filter(|_| wanted.contains(&level));
    let filter =
        filter.ok_or_else(|| format!("quorate.log.level={level}: expected {}", wanted.join(", ")))?;
    LEVEL.get().map_or(Ok(()), |handle| handle.reload(filter).map_err(|error| error.to_string()))
}

/// Makes every panic of this process log and abort.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(%panic, %backtrace, "an invariant is broken; the server ends");
        std::process::abort();
    }));
}
