//! What the system tells a server: to stop, or to read its configuration again.
//!
//! In: signals, and the end of standard input. Out: a token that is cancelled, a stream of SIGHUP.
//!
//! Always true:
//! * from the moment that these return, no such signal ends the process by itself.
//!
//! Not here: stopping in order (`start`), reading the configuration (`reload`).

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ServerArgs;
use super::exit::Failure;

/// A token that SIGTERM, SIGINT, or the end of standard input cancels.
pub fn listen_for_stop(runtime: &Runtime, args: &ServerArgs) -> Result<CancellationToken, Failure> {
    let _inside = runtime.enter();
    let unexpected = |error| Failure::Unexpected(format!("listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unexpected)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unexpected)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    if args.stop_with_stdin {
        let told = stop.clone();
        std::thread::spawn(move || {
            // Whatever comes is thrown away; an error is an end too.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            told.cancel();
        });
    }
    Ok(stop)
}

/// SIGHUP, each time that it comes.
pub fn hangup(runtime: &Runtime) -> Result<Signal, Failure> {
    let _inside = runtime.enter();
    signal(SignalKind::hangup()).map_err(|error| Failure::Unexpected(format!("listen for SIGHUP: {error}")))
}
