//! `quorate purge` and `quorate init`, and what all tools for files share.
//!
//! In: a `zoo.cfg` or directories. Out: changed directories of a server that does not run, an exit status.
//!
//! Always true:
//! * the exit status is that of a server which meets the same fault (2 bad order, 3 no access, 21 in use, 22 damaged).
//!
//! Not here: logs (`log`), snapshots (`snapshot`), the work itself (`storage`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::base::ServerId;
use crate::config::{Problem, RawConfig};
use crate::server::Failure;
use crate::storage::offline::{Existing, initialize, purge};
use crate::storage::{Error, FileSystem, Layout};

/// Where a server's files are.
#[derive(Debug, clap::Args)]
pub struct Directories {
    /// The server's configuration: `dataDir` and `dataLogDir` are taken from it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data_dir", "data_log_dir"])]
    config: Option<PathBuf>,
    /// The directory that holds `version-2` with snapshots.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The directory that holds `version-2` with logs, where it is another.
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    data_log_dir: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Form {
    /// JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `quorate purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keeps the newest snapshots that are whole, and every log that is needed to go on from the oldest of them.
The server must not run; one that runs removes old files itself (autopurge.purgeInterval).

Examples:
  quorate purge --config /etc/zookeeper/zoo.cfg --dry-run
  quorate purge --data-dir /var/lib/zookeeper --data-log-dir /var/log/zookeeper --keep 5")]
pub struct PurgeArgs {
    #[command(flatten)]
    directories: Directories,
    /// How many snapshots stay, at least 3.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..))]
    keep: u32,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `quorate init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes version-2, myid, and the file `initialize` in dataLogDir: with db.autocreate=false only a server that finds it
may vote with an empty disk. Make it for the first start of an ensemble only, never for a disk that was lost.

Examples:
  quorate init --config /etc/zookeeper/zoo.cfg --myid 1
  quorate init --data-dir /var/lib/zookeeper --myid 3")]
pub struct InitArgs {
    #[command(flatten)]
    directories: Directories,
    /// The server's id.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    myid: u8,
    /// Remove what is there: logs, snapshots, epochs and myid.
    #[arg(long)]
    force: bool,
}

impl Directories {
    /// The directories, as a server finds them.
    pub fn layout(&self) -> Result<Layout, Failure> {
        let (data, log) = match (&self.config, &self.data_dir) {
            (Some(config), _) => {
                let file = |source| Failure::File { path: config.clone(), source };
                let text = std::fs::read_to_string(config).map_err(file)?;
                let raw = RawConfig::parse(&config.display().to_string(), &text);
                let raw = raw.map_err(|problem| Failure::Config(vec![problem]))?;
                let data = raw.value("dataDir").map(PathBuf::from);
                let data = data.ok_or_else(|| missing(raw.file(), "dataDir", "a directory"))?;
                (data, raw.value("dataLogDir").map(PathBuf::from))
            }
            (None, Some(data)) => (data.clone(), self.data_log_dir.clone()),
            (None, None) => {
                return Err(missing("command line", "--data-dir", "a directory, or --config and a zoo.cfg"));
            }
        };
        let mut layout = Layout::in_dir(&data, ServerId(0));
        layout.log_dir = log.unwrap_or(data);
        Ok(layout)
    }
}

fn missing(place: &str, key: &str, expected: &str) -> Failure {
    let (place, key, expected) = (place.to_owned(), key.to_owned(), expected.to_owned());
    Failure::Config(vec![Problem { place, key, found: None, expected }])
}

/// Says why the files cannot be used; the exit status is a server's.
pub fn refuse(failure: impl Into<Failure>) -> ExitCode {
    let failure = failure.into();
    eprintln!("quorate: {failure}");
    ExitCode::from(failure.status())
}

/// Removes old snapshots and logs.
pub fn run_purge(args: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let layout = match args.directories.layout() {
        Ok(layout) => layout,
        Err(failure) => return Ok(refuse(failure)),
    };
    let (old, word) = match args.dry_run {
        true => (Existing::Kept, "would remove"),
        false => (Existing::Removed, "removed"),
    };
    match purge(Arc::new(FileSystem), &layout, args.keep as usize, old) {
        Ok(gone) => {
            gone.iter().for_each(|path| println!("{word} {}", path.display()));
            println!("{} files", gone.len());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refuse(error)),
    }
}

/// Makes the directories of a new server.
pub fn run_init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let layout = match args.directories.layout() {
        Ok(layout) => layout,
        Err(failure) => return Ok(refuse(failure)),
    };
    let existing = if args.force { Existing::Removed } else { Existing::Kept };
    match initialize(&FileSystem, &layout, ServerId(i64::from(args.myid)), existing) {
        Ok(()) => {
            println!("{} is ready for server {}", layout.data_dir.display(), args.myid);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if let Error::Refused { .. } = error {
                eprintln!("quorate: --force removes what is there");
            }
            Ok(refuse(error))
        }
    }
}
