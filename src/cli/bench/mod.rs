//! `quorate bench`: how many requests per second servers answer, and how soon; also side by side with Apache ZooKeeper.
//!
//! In: [`BenchArgs`]. Out: rates and latencies, as text or JSON.
//!
//! Always true:
//! * every server that speaks ZooKeeper's client protocol can be measured;
//! * a run in which an answer told of an error ends with failure.
//!
//! Not here: elections and clusters under load (`tests/figures`).

mod compare;
pub mod connection;
mod load;
mod measured;
mod mix;
mod request;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Builder;

use compare::CompareArgs;
use load::{Load, LoadArgs};
use measured::Measured;

/// How often the progress is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Columns of the progress bar.
const BAR_COLUMNS: usize = 40;

const EXAMPLES: &str = "\
Examples:
  quorate bench                                     reads, 64 connections × 16
  quorate bench --mix read=9,set=1 --duration 30    nine reads to a set
  quorate bench --mix set --connections 1 --pipeline 1 --json
  quorate bench --mix set --connections 1 --keys 1 --watchers 1000
  quorate bench compare --zookeeper apache-zookeeper-3.9.5-bin/lib";

/// Arguments of `quorate bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    load: LoadArgs,
    /// Seconds of load before it counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warm_up: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Start Apache ZooKeeper and this program in turn, and measure both.
    Compare(CompareArgs),
}

/// Runs the load and prints what was measured.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    crate::server::raise_open_files();
    let runtime = Builder::new_multi_thread().enable_all().build().context("start tasks")?;
    if let Some(What::Compare(compare)) = &args.what {
        return runtime.block_on(compare::run(compare));
    }
    let measured = runtime.block_on(measure(args))?;
    if args.json {
        println!("{}", measured.to_json());
    } else {
        println!("{measured}");
    }
    Ok(if measured.counts.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(args: &BenchArgs) -> anyhow::Result<Measured> {
    let mut load = Load::start(&args.load).await?;
    let (warm_up, duration) = (Duration::from_secs(args.warm_up), Duration::from_secs(args.duration));
    let is_drawn = std::io::stderr().is_terminal();
    let mut passed = Duration::ZERO;
    while passed < warm_up + duration {
        if passed == warm_up {
            load.measure();
        }
        let before = load.answers();
        // A step ends where the measured time begins.
        let step = if passed < warm_up { DRAW_EVERY.min(warm_up - passed) } else { DRAW_EVERY };
        load.pass(step).await?;
        passed += step;
        if is_drawn {
            draw(passed.as_secs_f64() / (warm_up + duration).as_secs_f64(), load.answers() - before, step);
        }
    }
    if is_drawn {
        eprint!("\r\x1b[K");
    }
    load.stop().await
}

/// Draws a bar, and the rate of the last step.
fn draw(share: f64, answers: u64, step: Duration) {
    let full = ((BAR_COLUMNS as f64 * share) as usize).min(BAR_COLUMNS);
    let rate = answers as f64 / step.as_secs_f64();
    eprint!("\r\x1b[K[{}{}] {rate:.0} per second", "#".repeat(full), "-".repeat(BAR_COLUMNS - full));
    drop(std::io::stderr().flush());
}
