//! Four-letter words: what is asked by the first four bytes of a connection.
//!
//! In: a word, and what the server knows. Out: a text, after which the connection is closed.
//!
//! Always true:
//! * a text has ZooKeeper's shape to the byte, but for the version that it names;
//! * a word that is not allowed is answered by a sentence that says so.
//!
//! Not here: reading and writing (`client`).

mod date;
mod listing;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use listing::Form;

use super::census;
use super::clients::Clients;
use super::facts::Facts;
use super::metrics::{self, decimal};
use crate::base::{Ensemble, MemberRole};
use crate::config::{Config, Mode, Words};
use crate::watch::list::Summary;
use crate::zab::effects::Status;

/// The version of ZooKeeper whose behaviour this is; agents read the number at its start.
pub const VERSION: &str =
    concat!("3.9.5-quorate-", env!("CARGO_PKG_VERSION"), ", built on 2026-01-10 12:00 UTC");
/// What is said while there is no leader.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// Every word that ZooKeeper knows; any other four bytes are the length of a frame.
const KNOWN: &[&str] = &[
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];
/// What telnet sends for an interrupt, and the name that ZooKeeper has for it.
const TELNET_INTERRUPT: ([u8; 4], &str) = ([0xff, 0xf4, 0xff, 0xfd], "telnet close");

/// Which words are answered, and what the configuration has to say.
#[derive(Debug)]
pub struct Lexicon {
    allowed: Mutex<Words>,
    /// The first lines of `conf`.
    conf: String,
    /// The lines of `conf` about the ensemble; `None` alone.
    conf_ensemble: Option<String>,
    /// What `configuration` says.
    configuration: serde_json::Value,
    /// `dataDir` and `dataLogDir`, with their `version-2`.
    dirs: [std::path::PathBuf; 2],
}

impl Lexicon {
    /// What a configuration allows and says.
    pub fn new(config: &Config) -> Lexicon {
        let port = config.client.as_ref().map_or(-1, |listen| i32::from(listen.port));
        let conf = format!(
            "tickTime={}\nmaxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\n\
             clientPortListenBacklog={}\nserverId={}\n",
            config.tick.0,
            config.connections.per_address_max,
            config.session_timeout_min.0,
            config.session_timeout_max.0,
            config.connections.backlog,
            config.id()
        );
        let conf_ensemble = match &config.mode {
            Mode::Standalone => None,
            Mode::Ensemble(mode) => {
                let (init, sync) = (mode.init_limit_ticks, mode.sync_limit_ticks);
                Some(format!("initLimit={init}\nsyncLimit={sync}\nelectionAlg=3\n"))
            }
        };
        let dirs = [config.data_dir.join("version-2"), config.data_log_dir.join("version-2")];
        let configuration = serde_json::json!({
            "client_port": port,
            "data_dir": dirs[0].display().to_string(),
            "data_log_dir": dirs[1].display().to_string(),
            "tick_time": config.tick.0,
            "max_client_cnxns": config.connections.per_address_max,
            "min_session_timeout": config.session_timeout_min.0,
            "max_session_timeout": config.session_timeout_max.0,
            "server_id": config.id().0,
            "client_port_listen_backlog": config.connections.backlog,
        });
        let conf = format!("clientPort={port}\nsecureClientPort=-1\n\0{conf}");
        let allowed = Mutex::new(config.words.clone());
        Lexicon { allowed, conf, conf_ensemble, configuration, dirs }
    }

    /// Answers these words from here on.
    pub fn allow(&self, words: Words) {
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    fn allows(&self, word: &str) -> bool {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).allow(word)
    }

    /// What the command `configuration` says.
    pub fn configuration(&self) -> serde_json::Value {
        self.configuration.clone()
    }

    /// The directory of snapshots.
    pub fn snapshot_dir(&self) -> &std::path::Path {
        &self.dirs[0]
    }

    /// Bytes below the directories of snapshots and of logs.
    pub fn dir_sizes(&self) -> [u64; 2] {
        self.dirs.each_ref().map(|dir| census::size_of(dir))
    }

    fn conf(&self, facts: &Facts) -> String {
        let [data, log] = &self.dirs;
        let dirs = format!(
            "dataDir={}\ndataDirSize={}\ndataLogDir={}\ndataLogSize={}\n",
            data.display(),
            census::size_of(data),
            log.display(),
            census::size_of(log)
        );
        let mut text = self.conf.replace('\0', &dirs);
        if let Some(lines) = &self.conf_ensemble {
            text.push_str(lines);
            text.push_str(&membership(facts));
        }
        text
    }
}

/// The word that four bytes are; `None` for the length of a frame.
pub fn find(first: [u8; 4]) -> Option<&'static str> {
    if first == TELNET_INTERRUPT.0 {
        return Some(TELNET_INTERRUPT.1);
    }
    KNOWN.iter().find(|word| word.as_bytes() == first).copied()
}

/// How many bytes behind a word belong to it.
pub fn argument_bytes(word: &str) -> usize {
    if word == "stmk" { size_of::<i64>() } else { 0 }
}

/// The answer to a word, and to the bytes behind it.
pub async fn answer(word: &'static str, argument: &[u8], clients: &Clients) -> String {
    let shared = &clients.shared;
    if !shared.lexicon.allows(word) {
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    match word {
        "ruok" => return "imok".to_owned(),
        "envi" => return environment(),
        "gtmk" => return clients.trace_mask().to_string(),
        "stmk" => {
            let Some(mask) = argument.first_chunk() else { return String::new() };
            clients.set_trace_mask(i64::from_be_bytes(*mask));
            return clients.trace_mask().to_string();
        }
        word if word == TELNET_INTERRUPT.1 => return String::new(),
        _ => {}
    }
    let facts = shared.asker.ask().await.filter(|facts| facts.serves() || facts.is_read_only);
    let Some(facts) = facts else {
        return match word {
            "isro" => "null".to_owned(),
            "hash" => NOT_SERVING.to_owned(),
            _ => format!("{NOT_SERVING}\n"),
        };
    };
    match word {
        "conf" => shared.lexicon.conf(&facts),
        "cons" => format!("{}\n", listing::connections(clients, Form::Full)),
        "crst" => {
            clients.reset_connections();
            "Connection stats reset.\n".to_owned()
        }
        "dirs" => {
            let [data, log] = shared.lexicon.dir_sizes();
            format!("datadir_size: {data}\nlogdir_size: {log}\n")
        }
        "dump" => listing::dump(clients, shared.asker.expiries().await, (shared.now)()),
        "hash" => hash(&facts),
        "isro" => if facts.is_read_only { "ro" } else { "rw" }.to_owned(),
        "mntr" => mntr(&facts, clients),
        "srst" => {
            clients.reset_stats();
            "Server stats reset.\n".to_owned()
        }
        "stat" => {
            let brief = listing::connections(clients, Form::Brief);
            format!("{}Clients:\n{brief}\n{}", head(&facts), figures(&facts, clients))
        }
        "wchc" => listing::watches_by_session(clients),
        "wchp" => listing::watches_by_path(clients),
        "wchs" => {
            let Summary { connections, paths, watches } = shared.service.watches.summary();
            format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
        }
        _ => head(&facts) + &figures(&facts, clients),
    }
}

/// The first lines of `srvr` and `stat`.
fn head(facts: &Facts) -> String {
    let read_only = if facts.is_read_only { "READ-ONLY mode; serving only read-only clients\n" } else { "" };
    format!("Zookeeper version: {VERSION}\n{read_only}")
}

/// What `srvr` and `stat` have in common.
fn figures(facts: &Facts, clients: &Clients) -> String {
    let stats = &clients.shared.stats;
    let mut text = format!(
        "Latency min/avg/max: {}/{}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\n\
         Zxid: {}\nMode: {}\nNode count: {}\n",
        stats.latency.min(),
        decimal(stats.latency.average()),
        stats.latency.max(),
        stats.packets_received.count(),
        stats.packets_sent.count(),
        clients.count(),
        facts.outstanding,
        facts.last_processed,
        facts.mode(),
        facts.tree.nodes
    );
    if let Status::Leading(_) = facts.status {
        let [last, min, max] = stats.proposal_sizes.all();
        writeln!(text, "Proposal sizes last/min/max: {last}/{min}/{max}").expect("a string takes it");
    }
    text
}

fn hash(facts: &Facts) -> String {
    // A digest is an unsigned number in memory and a signed one in every text of ZooKeeper.
    let line = |(zxid, digest): &(crate::base::Zxid, u64)| format!("{:x}: {}\n", zxid.0, *digest as i64);
    facts.tree.digests.iter().map(line).collect()
}

/// The process's surroundings, under the names that Java has for them; clients read the version from it.
fn environment() -> String {
    let lines = surroundings().into_iter().map(|(key, value)| format!("{key}={value}\n"));
    format!("Environment:\n{}", lines.collect::<String>())
}

/// The same, name by name.
pub fn surroundings() -> Vec<(&'static str, String)> {
    let read =
        |path: &str| std::fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned());
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let megabytes = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        format!("{}MB", kilobytes.unwrap_or(0) / 1024)
    };
    let dir = std::env::current_dir().map_or(String::new(), |dir| dir.display().to_string());
    let not_java = || "<NA>".to_owned();
    vec![
        ("zookeeper.version", VERSION.to_owned()),
        ("host.name", read("/proc/sys/kernel/hostname")),
        ("java.version", not_java()),
        ("java.vendor", not_java()),
        ("java.home", not_java()),
        ("java.class.path", not_java()),
        ("java.library.path", not_java()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", not_java()),
        ("os.name", "Linux".to_owned()),
        ("os.arch", std::env::consts::ARCH.to_owned()),
        ("os.version", read("/proc/sys/kernel/osrelease")),
        ("user.name", variable("USER")),
        ("user.home", variable("HOME")),
        ("user.dir", dir),
        ("os.memory.free", megabytes("MemFree")),
        ("os.memory.max", megabytes("MemTotal")),
        ("os.memory.total", megabytes("MemTotal")),
    ]
}

fn mntr(facts: &Facts, clients: &Clients) -> String {
    let mut text = format!("zk_version\t{VERSION}\nzk_server_state\t{}\n", facts.mode());
    if let Some(phase) = facts.phase() {
        writeln!(text, "zk_peer_state\t{phase}").expect("a string takes it");
    }
    text + &metrics::to_mntr(&metrics::of_server(facts, clients))
}

/// The end of `conf` in an ensemble.
fn membership(facts: &Facts) -> String {
    let Ensemble { members, .. } = &facts.ensemble;
    let own = members.get(&facts.id);
    let port = |port: Option<u16>| port.map_or(-1, i32::from);
    let role = own.map(|member| member.role);
    format!(
        "electionPort={}\nquorumPort={}\npeerType={}\nmembership: \n{}",
        port(own.map(|member| member.election_port)),
        port(own.map(|member| member.quorum_port)),
        i32::from(role == Some(MemberRole::Observer)),
        facts.ensemble
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_are_no_word_are_a_length() {
        assert_eq!(find(*b"ruok"), Some("ruok"));
        assert_eq!(find([0xff, 0xf4, 0xff, 0xfd]), Some("telnet close"));
        for first in [*b"lead", [0, 0, 0, 44], *b"RUOK"] {
            assert_eq!(find(first), None);
        }
    }

    #[test]
    fn the_version_begins_as_agents_expect() {
        let number = VERSION.split('-').next().unwrap();
        assert_eq!(number.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3);
    }
}
