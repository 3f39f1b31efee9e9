//! Reads the files of a configuration.
//!
//! In: the arguments. Out: a checked [`Config`] and warnings, or why not.
//!
//! Always true:
//! * every file that settings name is read once, before the server touches anything else.
//!
//! Not here: what settings mean (`config`).

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::ServerArgs;
use super::exit::Failure;
use crate::base::Zxid;
use crate::config::{Access, Admin, Config, Found, Problem, RawConfig, check};
use crate::net::admin::Waits;
use crate::net::commands::Commands;
use crate::net::commands::guard::{Limits, May};
use crate::storage::inspect::read_snapshot_bytes;
use crate::tree::acl;

/// What was read.
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The settings as they were written, without secrets.
    pub written: Vec<(String, String)>,
    /// What was chosen because nobody said it, one line each.
    pub notes: Vec<String>,
    /// What is odd about them, one line each.
    pub warnings: Vec<String>,
    /// The file that `dynamicConfigFile` names.
    pub dynamic_file: Option<PathBuf>,
    /// The digest of the user `super`, as `super:…`; `None` if there is none.
    pub super_digest: Option<String>,
    /// What a request that changes something on the admin port must bear; `None` refuses them all.
    pub admin_token: Option<String>,
}

impl Loaded {
    /// What ZooKeeper's commands on the admin port know.
    pub fn commands(&self) -> Commands {
        let admin = self.config.admin.as_ref();
        let limits = |admin: &Admin| {
            let may = |is_enabled| if is_enabled { May::Yes } else { May::No };
            Limits::new(may(admin.snapshot_enabled), may(admin.restore_enabled), admin.copy_interval)
        };
        Commands {
            url: admin.map_or_else(|| "/commands".to_owned(), |admin| admin.command_url.clone()),
            written: self.written.clone(),
            limits: admin.map_or_else(Limits::default, limits),
            read_snapshot,
        }
    }

    /// How patient the admin port is.
    pub fn waits(&self) -> Waits {
        let default = Waits::default();
        let Some(admin) = &self.config.admin else { return default };
        let idle = admin.idle_timeout.as_duration();
        Waits { head: idle, body: idle, ..default }
    }
}

/// The last txn in a snapshot file, and its body.
fn read_snapshot(content: &Bytes) -> Result<(Zxid, Bytes), String> {
    let (summary, body) = read_snapshot_bytes(content)?;
    let last = summary.last_processed.max(summary.digest.map(|(zxid, _)| zxid));
    Ok((last.ok_or("it does not say up to which txn it reaches")?, body))
}

/// Reads the configuration that the arguments name.
pub fn load(args: &ServerArgs) -> Result<Loaded, Failure> {
    let (name, text) = match &args.config {
        Some(path) => (path.display().to_string(), read(path)?),
        None => (String::new(), String::new()),
    };
    let mut raw = RawConfig::parse(&name, &text).map_err(|problem| Failure::Config(vec![problem]))?;
    for setting in &args.settings {
        raw.set(setting).map_err(|problem| Failure::Config(vec![problem]))?;
    }
    if args.check || args.strict {
        raw.refuse_unknown();
    }
    let mut notes = Vec::new();
    if args.config.is_none() {
        notes = set_defaults(&mut raw)?;
    }
    let dynamic_file = raw.value("dynamicConfigFile").map(PathBuf::from);
    let dynamic = match &dynamic_file {
        Some(path) => Some((path.display().to_string(), read(path)?)),
        None => None,
    };
    let found = Found { dynamic, my_id: read_my_id(&raw)?, host_name: host_name() };
    let (config, warnings) = check(&raw, &found).map_err(Failure::Config)?;
    let super_digest = super_digest(&config.access)?;
    let token_file = config.admin.as_ref().and_then(|admin| admin.token_file.as_deref());
    let admin_token = token_file.map(read_secret).transpose()?;
    let written = without_secrets(&raw);
    Ok(Loaded { config, written, notes, warnings, dynamic_file, super_digest, admin_token })
}

/// What a server does that is told nothing: it serves this machine alone, with data in the user's data directory.
fn set_defaults(raw: &mut RawConfig) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    if raw.value("dataDir").is_none() {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
        let Some(base) = base else {
            let (place, key) = ("default".to_owned(), "dataDir".to_owned());
            let expected = "a directory, since neither XDG_DATA_HOME nor HOME is set".to_owned();
            return Err(Failure::Config(vec![Problem { place, key, found: None, expected }]));
        };
        let dir = base.join("quorate").display().to_string();
        notes.push(format!("no dataDir is given: the data is in {dir}"));
        raw.set_default("dataDir", &dir);
    }
    let names_members = raw.settings().any(|setting| setting.key.starts_with("server."));
    if raw.value("clientPort").is_none() && !names_members {
        notes.push("no clientPort is given: clients are served on 127.0.0.1:2181".to_owned());
        raw.set_default("clientPort", "2181");
        raw.set_default("clientPortAddress", "127.0.0.1");
        raw.set_default("admin.serverAddress", "127.0.0.1");
    }
    Ok(notes)
}

/// Every setting, with dots for the values of those that hold a secret.
fn without_secrets(raw: &RawConfig) -> Vec<(String, String)> {
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase();
        ["password", "passwd", "digest", "secret"].iter().any(|part| key.contains(part))
            && !key.ends_with("file")
    };
    let shown = |key: &str, value: &str| if is_secret(key) { "…".to_owned() } else { value.to_owned() };
    raw.settings().map(|setting| (setting.key.clone(), shown(&setting.key, &setting.value))).collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::File { path: path.to_owned(), source })
}

fn read_my_id(raw: &RawConfig) -> Result<Option<(String, String)>, Failure> {
    let Some(dir) = raw.value("dataDir") else { return Ok(None) };
    let path = Path::new(dir).join("myid");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::File { path, source }),
    }
}

/// The pod's name, or else the machine's.
fn host_name() -> Option<String> {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    pod.or_else(machine).map(|name| name.trim().to_owned())
}

/// The first line of a file that holds a secret.
fn read_secret(path: &Path) -> Result<String, Failure> {
    let secret = read(path)?.lines().next().unwrap_or_default().trim().to_owned();
    if secret.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "the first line is empty, expected a secret");
        return Err(Failure::File { path: path.to_owned(), source });
    }
    Ok(secret)
}

fn super_digest(access: &Access) -> Result<Option<String>, Failure> {
    let Some(path) = &access.super_password_file else { return Ok(access.super_digest.clone()) };
    let password = read_secret(path)?;
    Ok(Some(acl::digest_id(&format!("super:{password}"))))
}
