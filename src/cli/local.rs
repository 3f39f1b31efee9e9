//! `quorate local`: an ensemble on this machine, one process a member, on 127.0.0.1.
//!
//! In: [`LocalArgs`]. Out: running members until Ctrl-C or SIGTERM, a connect string, an exit code.
//!
//! Always true:
//! * no member outlives this process: its standard input ends with it, and that ends the member;
//! * every port is free before the first member starts, or the one in use is named;
//! * a member that ends is told of, and stays down unless `--restart` was given.
//!
//! Not here: what a member does (`server`).

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Exit code for a port in use, as a server's.
const PORT_IN_USE: u8 = 20;
/// The most members that fit between two kinds of ports.
const MEMBERS_MAX: u16 = 32;
/// Distance between the first ports of two kinds.
const PORTS_APART: u16 = 100;
/// How long a member may take to stop before it is killed; a server takes 2 s at most.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether the members serve, and how long a look may take.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// How much of a log is shown when its member ends unasked.
const LAST_LINES: usize = 3;
const LAST_BYTES: u64 = 4096;
/// Pause before a member that ended is started again: this, doubled each time up to the limit.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Arguments of `quorate local`.
#[derive(Clone, Debug, clap::Args)]
pub struct LocalArgs {
    /// How many members, 1 to 32.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub members: u16,
    /// Where data and logs are kept [default: $XDG_DATA_HOME/quorate/local, else ~/.local/share/quorate/local].
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The first member's client port; the next members' follow, their other ports 100, 200, … above.
    #[arg(long, default_value_t = 2181)]
    pub base_port: u16,
    /// Start a member again when it ends.
    #[arg(long)]
    pub restart: bool,
}

/// Ports of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    client: u16,
    quorum: u16,
    election: u16,
    admin: u16,
    metrics: u16,
}

/// One member: what it is started from.
#[derive(Clone, Debug)]
struct Member {
    id: u16,
    ports: Ports,
    config: PathBuf,
    log: PathBuf,
}

/// What becomes of a member that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtEnd {
    /// It stays down.
    StayDown,
    /// It is started again.
    StartAgain,
}

/// A member's process has ended.
struct Ended {
    id: u16,
    status: std::io::Result<ExitStatus>,
}

/// Runs an ensemble until it is told to stop.
pub fn run(args: &LocalArgs) -> anyhow::Result<ExitCode> {
    let data = match &args.data {
        Some(data) => data.clone(),
        None => super::data_home()?.join("local"),
    };
    let members = members(args, &data)?;
    check_data(&members, &data)?;
    for member in &members {
        let Ports { client, quorum, election, admin, metrics } = member.ports;
        for port in [client, quorum, election, admin, metrics] {
            if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                eprintln!(
                    "quorate local: port {port} of member {} cannot be used: {error}; choose another --base-port",
                    member.id
                );
                return Ok(ExitCode::from(PORT_IN_USE));
            }
        }
    }
    write_files(&members)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    let at_end = if args.restart { AtEnd::StartAgain } else { AtEnd::StayDown };
    runtime.block_on(supervise(&members, at_end))
}

fn members(args: &LocalArgs, data: &Path) -> anyhow::Result<Vec<Member>> {
    let highest = u32::from(args.base_port) + 4 * u32::from(PORTS_APART) + u32::from(MEMBERS_MAX);
    if args.base_port == 0 || highest > u32::from(u16::MAX) {
        bail!(
            "--base-port {} leaves no room for the other ports; choose one from 1 to 65103",
            args.base_port
        );
    }
    let member = |id: u16| {
        let port = |kind: u16| args.base_port + kind * PORTS_APART + id - 1;
        let ports =
            Ports { client: port(0), quorum: port(1), election: port(2), admin: port(3), metrics: port(4) };
        let dir = data.join(format!("member-{id}"));
        Member { id, ports, config: dir.join("zoo.cfg"), log: dir.join("log") }
    };
    Ok((1..=args.members).map(member).collect())
}

/// Refuses data of an ensemble of another size.
fn check_data(members: &[Member], data: &Path) -> anyhow::Result<()> {
    let known = (1..=MEMBERS_MAX).filter(|id| data.join(format!("member-{id}")).exists()).count();
    if known != 0 && known != members.len() {
        let data = data.display();
        bail!("{data} holds an ensemble of {known} members; give --members {known}, or another --data");
    }
    Ok(())
}

/// Writes each member's `zoo.cfg` and `myid`.
fn write_files(members: &[Member]) -> anyhow::Result<()> {
    for member in members {
        let dir = member.config.parent().context("a zoo.cfg has a directory")?.join("data");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        write_file(&dir.join("myid"), &format!("{}\n", member.id))?;
        write_file(&member.config, &zoo_cfg(member, members, &dir))?;
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn zoo_cfg(member: &Member, members: &[Member], data: &Path) -> String {
    let mut lines = vec![
        "# Written by quorate local at each start.".to_owned(),
        "tickTime=2000".to_owned(),
        "initLimit=10".to_owned(),
        "syncLimit=5".to_owned(),
        format!("dataDir={}", escape(data)),
        "standaloneEnabled=false".to_owned(),
        "maxClientCnxns=0".to_owned(),
        "autopurge.purgeInterval=1".to_owned(),
        "4lw.commands.whitelist=*".to_owned(),
        "admin.serverAddress=127.0.0.1".to_owned(),
        format!("admin.serverPort={}", member.ports.admin),
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
            .to_owned(),
        "metricsProvider.httpHost=127.0.0.1".to_owned(),
        format!("metricsProvider.httpPort={}", member.ports.metrics),
    ];
    lines.extend(members.iter().map(|other| {
        let Ports { client, quorum, election, .. } = other.ports;
        format!("server.{}=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}", other.id)
    }));
    lines.join("\n") + "\n"
}

/// A path as it stands in a properties text.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\")
}

async fn supervise(members: &[Member], at_end: AtEnd) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut ensemble = Ensemble { members, running: JoinSet::new(), inputs: Vec::new() };
    for member in members {
        ensemble.start(member)?;
    }
    let mut is_told = false;
    let mut pause = RESTART_PAUSE;
    let mut restarts: Vec<(Instant, u16)> = Vec::new();
    let code = loop {
        let soonest = restarts.iter().map(|(at, _)| *at).min();
        let ended = tokio::select! {
            _ = interrupt.recv() => break ExitCode::SUCCESS,
            _ = terminate.recv() => break ExitCode::SUCCESS,
            Some(ended) = ensemble.running.join_next() => Some(ended.context("wait for a member")?),
            () = sleep_until(soonest.unwrap_or_else(Instant::now)), if soonest.is_some() => None,
            () = all_serve(members), if !is_told => {
                is_told = true;
                tell(members);
                continue;
            }
        };
        let Some(ended) = ended else {
            for (_, id) in restarts.extract_if(.., |(at, _)| *at <= Instant::now()) {
                let member = &members[usize::from(id) - 1];
                ensemble.start(member)?;
                println!("member {id} is started again");
            }
            continue;
        };
        ensemble.tell_ended(&ended);
        if at_end == AtEnd::StartAgain {
            restarts.push((Instant::now() + pause, ended.id));
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
        } else if !is_told || ensemble.running.is_empty() {
            break ExitCode::FAILURE;
        }
    };
    ensemble.stop().await;
    Ok(code)
}

/// Waits until every member serves.
async fn all_serve(members: &[Member]) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    for member in members {
        loop {
            look.tick().await;
            if timeout(LOOK_WAIT, serves(member.ports.client)).await.is_ok_and(|serves| serves) {
                break;
            }
        }
    }
}

async fn serves(port: u16) -> bool {
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut answer = String::new();
    stream.write_all(b"srvr").await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.contains("Mode: ")
}

fn tell(members: &[Member]) {
    let hosts: Vec<String> =
        members.iter().map(|member| format!("127.0.0.1:{}", member.ports.client)).collect();
    let hosts = hosts.join(",");
    println!("{} members serve; connect to\n\n    {hosts}\n", members.len());
    println!("for instance by: quorate shell --server {hosts}");
    for member in members {
        let (admin, metrics) = (member.ports.admin, member.ports.metrics);
        println!(
            "member {}: admin http://127.0.0.1:{admin}/livez, metrics http://127.0.0.1:{metrics}/metrics, log {}",
            member.id,
            member.log.display()
        );
    }
    println!("Ctrl-C stops them all.");
    drop(std::io::stdout().flush());
}

/// The members' processes.
struct Ensemble<'a> {
    members: &'a [Member],
    /// One task for each running member, which ends with it.
    running: JoinSet<Ended>,
    /// A member stops when its input is dropped, here or with this process.
    inputs: Vec<(u16, tokio::process::ChildStdin)>,
}

impl Ensemble<'_> {
    fn start(&mut self, member: &Member) -> anyhow::Result<()> {
        let log = fs::File::options().create(true).append(true).open(&member.log);
        let log = log.with_context(|| format!("open {}", member.log.display()))?;
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .args(["server", "--stop-with-stdin", "--config"])
            .arg(&member.config)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start member {}", member.id))?;
        let id = member.id;
        let input = child.stdin.take().context("a member's input is piped")?;
        self.inputs.retain(|(other, _)| *other != id);
        self.inputs.push((id, input));
        self.running.spawn(async move { Ended { id, status: wait(child).await } });
        Ok(())
    }

    fn tell_ended(&self, ended: &Ended) {
        let member = &self.members[usize::from(ended.id) - 1];
        let how = match &ended.status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        println!("member {} has ended ({how}); its log is {}", ended.id, member.log.display());
        if !matches!(&ended.status, Ok(status) if status.success()) {
            for line in last_lines(&member.log) {
                println!("    {line}");
            }
        }
        drop(std::io::stdout().flush());
    }

    async fn stop(mut self) {
        self.inputs.clear();
        let all_ended = async { while self.running.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, all_ended).await.is_err() {
            eprintln!("quorate local: {} members did not stop in time and are killed", self.running.len());
        }
        self.running.shutdown().await;
    }
}

/// The last lines of a log, which say why a server ended.
fn last_lines(log: &Path) -> Vec<String> {
    let Ok(mut file) = fs::File::open(log) else { return Vec::new() };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut text = Vec::new();
    let start = SeekFrom::Start(length.saturating_sub(LAST_BYTES));
    if file.seek(start).and_then(|_| file.read_to_end(&mut text)).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

async fn wait(mut child: Child) -> std::io::Result<ExitStatus> {
    child.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_members_lie_side_by_side() {
        let args = LocalArgs { members: 3, data: None, base_port: 2181, restart: false };
        let members = members(&args, Path::new("/d")).unwrap();
        let want = Ports { client: 2183, quorum: 2283, election: 2383, admin: 2483, metrics: 2583 };
        assert_eq!(members[2].ports, want);
        let text = zoo_cfg(&members[0], &members, Path::new("/d"));
        assert!(text.contains("server.2=127.0.0.1:2282:2382:participant;127.0.0.1:2182\n"), "{text}");
        for base_port in [0, 65_200] {
            assert!(super::members(&LocalArgs { base_port, ..args.clone() }, Path::new("/d")).is_err());
        }
    }

    #[test]
    fn a_member_reads_what_is_written_for_it() {
        let args = LocalArgs { members: 1, data: None, base_port: 2181, restart: false };
        let members = members(&args, Path::new("/d")).unwrap();
        let text = zoo_cfg(&members[0], &members, Path::new("/d"));
        let raw = crate::config::RawConfig::parse("zoo.cfg", &text).unwrap();
        let my_id = Some(("myid".to_owned(), "1\n".to_owned()));
        let found = crate::config::Found { my_id, ..Default::default() };
        let (config, warnings) = crate::config::check(&raw, &found).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.client.map(|client| client.port), Some(2181));
        assert_eq!(config.metrics.map(|metrics| metrics.port), Some(2581));
        assert!(matches!(config.mode, crate::config::Mode::Ensemble(_)));
    }
}
