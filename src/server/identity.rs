//! Which ensemble a disk belongs to, and whether an empty disk may vote.
//!
//! In: the operator's files, the identity on disk, whether the disk holds data. Out: an [`Identity`], or a refusal.
//!
//! Always true:
//! * a disk of another ensemble or of another server is refused before anything on it is touched;
//! * a disk that was retired is never resumed: what it holds is set aside;
//! * an empty disk votes only if the token names this server and this disk never was level with an ensemble.
//!
//! Not here: exchanging ids with other servers (`zab`).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::clock;
use super::exit::Failure;
use crate::base::ServerId;
use crate::config::{Config, IdentityFiles};
use crate::storage::disk::{FileSystem, replace_file};

/// The file below `dataDir` that holds a disk's identity.
const FILE: &str = "quorate-identity";
/// The longest id of an ensemble, in bytes.
const ENSEMBLE_ID_BYTES_MAX: usize = 128;

/// How a server with an identity starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// An empty disk that may vote in the first election.
    Bootstrap,
    /// An empty disk: no vote until a leader has brought it level.
    Join,
    /// A disk with data of this ensemble.
    Resume,
}

/// What a disk says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ensemble that it belongs to.
    pub ensemble_id: String,
    /// Made once for each disk.
    pub incarnation: String,
    /// The server that it belongs to.
    pub id: ServerId,
    /// Whether it was level with an ensemble once.
    pub initialised: bool,
    /// How this start treats it.
    pub mode: StartMode,
    path: PathBuf,
}

/// Reads or makes the identity of the disk; `None` if identity is not switched on.
pub fn establish(config: &Config) -> Result<Option<Identity>, Failure> {
    let Some(files) = &config.identity else { return Ok(None) };
    let ensemble_id = read_ensemble_id(&files.ensemble_id)?;
    let path = config.data_dir.join(FILE);
    let mut has_data = holds_data(&config.data_dir)? || holds_data(&config.data_log_dir)?;
    let stored = match std::fs::read_to_string(&path) {
        Ok(text) => Some(parse(&path, &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(Failure::File { path, source }),
    };
    let mut identity = match stored {
        Some(stored) => {
            check(&stored, &ensemble_id, config)?;
            if is_retired(files, &stored)? {
                set_aside(config)?;
                has_data = false;
                make(ensemble_id, config, path, Past::Retired)?
            } else {
                stored
            }
        }
        None if has_data => {
            return Err(Failure::Foreign(format!(
                "{} holds data but no identity, so it is not known to belong to the ensemble {ensemble_id:?}: \
                 empty it, or write {} if it does",
                config.data_dir.display(),
                path.display()
            )));
        }
        None => make(ensemble_id, config, path, Past::None)?,
    };
    identity.mode = if has_data {
        StartMode::Resume
    } else if !identity.initialised && token_names(files, config.id())? {
        StartMode::Bootstrap
    } else {
        StartMode::Join
    };
    if identity.mode != StartMode::Bootstrap {
        ignore_initialize(config)?;
    }
    Ok(Some(identity))
}

/// Removes ZooKeeper's marker of an intended empty disk: with an identity only the token says that.
fn ignore_initialize(config: &Config) -> Result<(), Failure> {
    let path = config.data_log_dir.join("initialize");
    match std::fs::remove_file(&path) {
        Ok(()) => {
            tracing::warn!(file = %path.display(), "ignored: an empty disk votes only by the bootstrap token");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Failure::File { path, source }),
    }
}

impl Identity {
    /// Notes, once, that this disk was level with its ensemble: from here on no token lets it vote empty.
    pub fn on_level(&mut self) -> io::Result<()> {
        if self.initialised {
            return Ok(());
        }
        self.initialised = true;
        self.store()
    }

    fn store(&self) -> io::Result<()> {
        let Identity { ensemble_id, incarnation, id, initialised, .. } = self;
        let text = format!(
            "ensembleId={ensemble_id}\nincarnation={incarnation}\nid={id}\ninitialised={initialised}\n"
        );
        replace_file(&FileSystem, &self.path, text.as_bytes())
    }
}

fn check(stored: &Identity, ensemble_id: &str, config: &Config) -> Result<(), Failure> {
    let path = stored.path.display();
    if stored.ensemble_id != ensemble_id {
        let found = &stored.ensemble_id;
        return Err(Failure::Foreign(format!(
            "{path}: this disk belongs to the ensemble {found:?}, expected {ensemble_id:?}"
        )));
    }
    if stored.id != config.id() {
        return Err(Failure::Foreign(format!(
            "{path}: this disk belongs to server {}, expected {}",
            stored.id,
            config.id()
        )));
    }
    Ok(())
}

fn read_ensemble_id(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| Failure::File { path: path.to_owned(), source })?;
    let id = text.lines().next().unwrap_or_default().trim();
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || id.len() > ENSEMBLE_ID_BYTES_MAX || !id.chars().all(is_good) {
        let source = io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "found {id:?}, expected an id of at most {ENSEMBLE_ID_BYTES_MAX} letters, digits, -, _ and ."
            ),
        );
        return Err(Failure::File { path: path.to_owned(), source });
    }
    Ok(id.to_owned())
}

/// Whether the token lets this server vote with an empty disk: after the token stand the ids that it is for.
fn token_names(files: &IdentityFiles, id: ServerId) -> Result<bool, Failure> {
    let text = read_if_there(files.bootstrap_token.as_deref())?;
    let words = text.split([' ', ',', '\n', '\t', '\r']).filter(|word| !word.is_empty());
    Ok(words.skip(1).any(|word| word == id.to_string()))
}

/// Whether the operator retired this disk.
fn is_retired(files: &IdentityFiles, stored: &Identity) -> Result<bool, Failure> {
    let text = read_if_there(files.retired.as_deref())?;
    let any_of_server = format!("id={}", stored.id);
    Ok(text.lines().map(str::trim).any(|line| line == stored.incarnation || line == any_of_server))
}

/// The text of a file; empty if there is none.
fn read_if_there(path: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = path else { return Ok(String::new()) };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Failure::File { path: path.to_owned(), source }),
    }
}

/// Whether a disk without an identity had one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// It is new.
    None,
    /// It was retired: no token lets it vote empty.
    Retired,
}

/// The identity of a disk that has none, or not any more.
fn make(ensemble_id: String, config: &Config, path: PathBuf, past: Past) -> Result<Identity, Failure> {
    let (id, incarnation) = (config.id(), clock::random_id());
    let initialised = past == Past::Retired;
    let identity = Identity { ensemble_id, incarnation, id, initialised, mode: StartMode::Join, path };
    std::fs::create_dir_all(&config.data_dir)
        .and_then(|()| identity.store())
        .map_err(|source| Failure::File { path: identity.path.clone(), source })?;
    Ok(identity)
}

/// Moves all that a server wrote into a directory beside it, whose name tells when.
fn set_aside(config: &Config) -> Result<(), Failure> {
    let stale = format!("stale-{}", clock::now().wall_ms / 1000);
    for dir in BTreeSet::from([&config.data_dir, &config.data_log_dir]) {
        let aside = dir.join(&stale);
        let move_all = || -> io::Result<()> {
            std::fs::create_dir_all(&aside)?;
            for entry in std::fs::read_dir(dir)? {
                let name = entry?.file_name();
                let text = name.to_string_lossy();
                if text == "version-2" || text.contains(".dynamic") {
                    std::fs::rename(dir.join(&name), aside.join(&name))?;
                }
            }
            std::fs::File::open(dir)?.sync_all()
        };
        move_all().map_err(|source| Failure::File { path: aside.clone(), source })?;
        tracing::warn!(stale = %aside.display(), "this disk was retired: what it held is set aside");
    }
    Ok(())
}

fn parse(path: &Path, text: &str) -> Result<Identity, Failure> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let missing = || format!("{}: expected a line {key}=…, found {text:?}", path.display());
        line.map(str::to_owned).ok_or_else(|| Failure::Data(missing()))
    };
    let id = value("id")?;
    let id = id.parse().map_err(|_| Failure::Data(format!("{}: id={id} is no number", path.display())))?;
    Ok(Identity {
        ensemble_id: value("ensembleId")?,
        incarnation: value("incarnation")?,
        id: ServerId(id),
        initialised: value("initialised")? == "true",
        mode: StartMode::Join,
        path: path.to_owned(),
    })
}

/// Whether a data directory holds a snapshot or a log. Epochs alone are what a server leaves that was not level yet.
fn holds_data(dir: &Path) -> Result<bool, Failure> {
    let dir = dir.join("version-2");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Failure::File { path: dir, source }),
    };
    let is_data = |name: &str| name.starts_with("snapshot.") || name.starts_with("log.");
    Ok(entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_data)))
}
