//! `quorate bench compare`: Apache ZooKeeper and this program, in turn, on one machine.
//!
//! In: [`CompareArgs`]. Out: medians and their ratios as a table, JSON, or a chart.
//!
//! Always true:
//! * both get the same `zoo.cfg`, the same disk, the same client and a fresh directory for each round;
//! * ZooKeeper runs with the JVM's own defaults, its logging and its admin server off; both sync every write;
//! * only one of the two runs at a time.
//!
//! Not here: the load (`super::load`).

mod cells;
mod chart;
mod product;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use product::{Place, Product};
use rows::{Group, Rounds};

/// Where the jars come from.
const JARS: &str = "--zookeeper DIR names the directory of Apache ZooKeeper's jars: the folder lib of \
apache-zookeeper-3.9.5-bin.tar.gz from https://zookeeper.apache.org/releases.html, \
or org.apache.zookeeper:zookeeper:3.9.5 and its runtime dependencies from Maven Central";

const EXAMPLES: &str = "\
Examples:
  quorate bench compare --zookeeper apache-zookeeper-3.9.5-bin/lib
  quorate bench compare --zookeeper lib --members 3 --svg chart.svg
  quorate bench compare --only scale                 how cost grows with the tree; needs no ZooKeeper";

/// Arguments of `quorate bench compare`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// The directory of Apache ZooKeeper's jars, 3.9.5 for the published figures.
    #[arg(long, value_name = "DIR")]
    zookeeper: Option<PathBuf>,
    /// The Java that runs them.
    #[arg(long, default_value = "java")]
    java: PathBuf,
    /// Members of each ensemble, 1 or 3.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=7))]
    members: u16,
    /// Rounds of each product; medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Where the servers keep their data meanwhile [default: quorate/bench in the user's data directory].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to measure: load, sessions, tree, scale.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "load,sessions,tree")]
    only: Vec<Group>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Write the ratios as a bar chart, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Measures both and prints.
pub async fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    if args.members.is_multiple_of(2) {
        bail!("--members {} is an even number; choose 1 or 3", args.members);
    }
    let dir = match &args.data {
        Some(data) => data.clone(),
        None => crate::cli::data_home()?.join("bench"),
    };
    let is_alone = args.only == [Group::Scale];
    let quorate = std::env::current_exe().context("find this program")?;
    let mut products = vec![Product::Quorate { program: quorate }];
    match &args.zookeeper {
        Some(jars) => {
            let zookeeper = Product::zookeeper(&args.java, jars, &dir).await?;
            products.insert(0, zookeeper);
        }
        None if is_alone => {}
        None => bail!("{JARS}"),
    }
    let mut rounds = Rounds::default();
    for round in 1..=args.rounds {
        for product in &products {
            eprintln!("round {round} of {}: {}", args.rounds, product.name());
            let place = Place { dir: dir.join(format!("round-{round}")), members: args.members };
            for group in &args.only {
                if *group != Group::Scale || matches!(product, Product::Quorate { .. }) {
                    let found = cells::measure(*group, product, &place).await;
                    let found = found.with_context(|| format!("measure {group:?} of {}", product.name()))?;
                    for (row, value) in found {
                        eprintln!("    {}: {}", rows::form(row).name, value);
                        rounds.add(product, row, value);
                    }
                }
            }
        }
    }
    if args.json {
        println!("{}", rounds.to_json());
    } else {
        println!("{}", rounds.to_table());
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, chart::draw(&rounds.ratios()))
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
