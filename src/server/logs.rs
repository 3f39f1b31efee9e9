//! Where log lines go, and what a panic does.
//!
//! In: the settings of logs. Out: lines on standard error.
//!
//! Always true:
//! * a panic anywhere in the server is one line of the log, and the end of the process.
//!
//! Not here: what is logged.

use std::str::FromStr as _;

use tracing::Level;

use crate::config::{LogFormat, LogSettings};

/// Starts writing log lines.
pub fn start(settings: &LogSettings) {
    let level = Level::from_str(settings.level).unwrap_or(Level::INFO);
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::stderr);
    // Only the first call of a process has an effect, which suits tests.
    let _ = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Makes every panic of this process log and abort.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(%panic, %backtrace, "an invariant is broken; the server ends");
        std::process::abort();
    }));
}
