//! The two products: how each is started, stopped and looked at.
//!
//! In: a [`Product`], a [`Place`]. Out: a [`Running`] ensemble; its CPU time, memory and snapshots.
//!
//! Always true:
//! * every process is ended when the ensemble is dropped, and its data is removed;
//! * nothing but loopback addresses is bound.
//!
//! Not here: what is measured on it (`cells`).

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// How often it is looked whether a server serves, and how long one look may take.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// How long a server may take to serve, a large tree on its disk.
const SERVE_WAIT: Duration = Duration::from_secs(300);
/// How long a server may take to stop before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(30);
/// Clock ticks per second in /proc, the same on every architecture of Linux.
const TICKS_PER_SECOND: u64 = 100;
/// Where utime and stime stand in /proc/PID/stat, counted from the field behind the name.
const CPU_FIELDS: std::ops::Range<usize> = 11..13;
/// Logging off, in the words of logback.
const LOGBACK: &str = "<configuration><root level=\"OFF\"/></configuration>\n";

/// What is measured.
#[derive(Clone, Debug)]
pub enum Product {
    /// Apache ZooKeeper.
    ZooKeeper {
        /// The Java that runs it.
        java: PathBuf,
        /// The directory of its jars.
        jars: PathBuf,
        /// The file that switches its logging off.
        logback: PathBuf,
        /// Its version, by the name of its jar.
        version: String,
    },
    /// This program.
    Quorate {
        /// Its file.
        program: PathBuf,
    },
}

/// Where an ensemble runs, and how large it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its data; made and removed.
    pub dir: PathBuf,
    /// How many members it has.
    pub members: u16,
}

impl Product {
    /// ZooKeeper by its jars, which are looked for; a small file for its logging is written to `dir`.
    pub async fn zookeeper(java: &Path, jars: &Path, dir: &Path) -> anyhow::Result<Product> {
        let names = fs::read_dir(jars).with_context(|| format!("list {}", jars.display()))?;
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let version = names.filter_map(|name| {
            let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?.to_owned();
            version.starts_with(|first: char| first.is_ascii_digit()).then_some(version)
        });
        let version = version
            .max()
            .with_context(|| format!("{} has no zookeeper-VERSION.jar; {}", jars.display(), super::JARS))?;
        let runs = Command::new(java).arg("-version").output().await;
        let runs = runs.with_context(|| format!("run {}; --java names another", java.display()))?;
        ensure!(runs.status.success(), "{} -version: {}", java.display(), runs.status);
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let logback = dir.join("logback.xml");
        fs::write(&logback, LOGBACK).with_context(|| format!("write {}", logback.display()))?;
        let (java, jars) = (java.to_owned(), jars.to_owned());
        Ok(Product::ZooKeeper { java, jars, logback, version })
    }

    /// What it is called in tables.
    pub fn name(&self) -> String {
        match self {
            Product::ZooKeeper { version, .. } => format!("ZooKeeper {version}"),
            Product::Quorate { .. } => "Quorate".to_owned(),
        }
    }

    fn command(&self, config: &Path) -> Command {
        match self {
            Product::ZooKeeper { java, jars, logback, .. } => {
                let mut command = Command::new(java);
                command
                    .arg("-cp")
                    .arg(jars.join("*"))
                    .arg(format!("-Dlogback.configurationFile={}", logback.display()))
                    .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                    .arg(config);
                command
            }
            Product::Quorate { program } => {
                let mut command = Command::new(program);
                command.args(["server", "--config"]).arg(config);
                command
            }
        }
    }
}

/// One member.
struct Member {
    config: PathBuf,
    data: PathBuf,
    client_port: u16,
    process: Child,
}

/// An ensemble that runs.
pub struct Running {
    product: Product,
    dir: PathBuf,
    members: Vec<Member>,
}

impl Running {
    /// Starts an ensemble on an empty directory, and waits until every member serves.
    pub async fn start(product: &Product, place: &Place) -> anyhow::Result<Running> {
        if place.dir.exists() {
            fs::remove_dir_all(&place.dir).with_context(|| format!("remove {}", place.dir.display()))?;
        }
        let ports = free_ports(place.members)?;
        let mut running = Running { product: product.clone(), dir: place.dir.clone(), members: Vec::new() };
        for (id, [client_port, ..]) in (1..).zip(&ports) {
            let data = place.dir.join(format!("member-{id}"));
            fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
            fs::write(data.join("myid"), format!("{id}\n")).context("write myid")?;
            let config = place.dir.join(format!("zoo-{id}.cfg"));
            fs::write(&config, zoo_cfg(&data, *client_port, &ports)).context("write zoo.cfg")?;
            let process = spawn(product, &config, &place.dir.join(format!("log-{id}")))?;
            running.members.push(Member { config, data, client_port: *client_port, process });
        }
        running.serve().await?;
        Ok(running)
    }

    /// Stops every member in order, starts them again, and waits until all serve; how long the latter took.
    pub async fn restart(&mut self) -> anyhow::Result<Duration> {
        self.end().await?;
        let begun = Instant::now();
        for (id, member) in (1..).zip(&mut self.members) {
            member.process = spawn(&self.product, &member.config, &self.dir.join(format!("log-{id}")))?;
        }
        self.serve().await?;
        Ok(begun.elapsed())
    }

    /// Stops every member and removes the data.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.end().await?;
        fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        for member in &self.members {
            kill(member.pid()?, Signal::SIGTERM).context("stop a member")?;
        }
        for member in &mut self.members {
            if timeout(STOP_WAIT, member.process.wait()).await.is_err() {
                member.process.kill().await.context("kill a member")?;
            }
        }
        Ok(())
    }

    /// The members' addresses, for clients.
    pub fn hosts(&self) -> String {
        let hosts = self.members.iter().map(|member| format!("127.0.0.1:{}", member.client_port));
        hosts.collect::<Vec<_>>().join(",")
    }

    /// CPU time of all members so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for member in &self.members {
            let text = member.proc("stat")?;
            let (_, fields) = text.rsplit_once(") ").context("/proc/PID/stat has a name")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            for field in fields.get(CPU_FIELDS).context("/proc/PID/stat is short")? {
                ticks += field.parse::<u64>().context("/proc/PID/stat has numbers")?;
            }
        }
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }

    /// Resident memory of the largest member, in bytes.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let mut largest = 0;
        for member in &self.members {
            let text = member.proc("status")?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmRSS is told")?;
            largest = largest.max(kib.trim().parse::<u64>().context("VmRSS is a number")? * 1_024);
        }
        Ok(largest)
    }

    /// Snapshots of all members, with their sizes.
    pub fn snapshots(&self) -> anyhow::Result<BTreeSet<(PathBuf, u64)>> {
        let mut found = BTreeSet::new();
        for member in &self.members {
            let dir = member.data.join("version-2");
            for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
                let entry = entry.context("list a directory")?;
                let name = entry.file_name();
                // Without what is being written under another name.
                let zxid = name.to_str().and_then(|name| name.strip_prefix("snapshot."));
                let is_whole = zxid.is_some_and(|zxid| u64::from_str_radix(zxid, 16).is_ok());
                if let (true, Ok(metadata)) = (is_whole, entry.metadata()) {
                    found.insert((entry.path(), metadata.len()));
                }
            }
        }
        Ok(found)
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        let mut look = interval(LOOK_EVERY);
        let end = Instant::now() + SERVE_WAIT;
        for (id, member) in (1..).zip(&mut self.members) {
            while !matches!(timeout(LOOK_WAIT, serves(member.client_port)).await, Ok(true)) {
                let log = self.dir.join(format!("log-{id}"));
                if let Some(status) = member.process.try_wait().context("look at a member")? {
                    bail!(
                        "member {id} of {} has ended: {status}; see {}",
                        self.product.name(),
                        log.display()
                    );
                }
                ensure!(Instant::now() < end, "member {id} does not serve within {SERVE_WAIT:?}");
                look.tick().await;
            }
        }
        Ok(())
    }
}

impl Member {
    fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.process.id().context("a member has ended")?;
        Ok(Pid::from_raw(i32::try_from(id).context("a process id")?))
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.pid()?);
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }
}

fn spawn(product: &Product, config: &Path, log: &Path) -> anyhow::Result<Child> {
    let log = fs::File::options().create(true).append(true).open(log).context("open a log")?;
    let mut command = product.command(config);
    command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
    command.kill_on_drop(true).spawn().with_context(|| format!("start {}", product.name()))
}

async fn serves(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut answer = String::new();
    stream.write_all(b"srvr").await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.contains("Mode: ")
}

/// The settings of one member; `ports` has client, quorum and election port of each.
fn zoo_cfg(data: &Path, client_port: u16, ports: &[[u16; 3]]) -> String {
    let data = data.to_string_lossy().replace('\\', "\\\\");
    let mut text = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nadmin.enableServer=false\n\
         4lw.commands.whitelist=srvr\ndataDir={data}\n"
    );
    if ports.len() == 1 {
        return text + &format!("clientPort={client_port}\nclientPortAddress=127.0.0.1\n");
    }
    for (id, [client, quorum, election]) in (1..).zip(ports) {
        text += &format!("server.{id}=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}\n");
    }
    text
}

/// Three ports for each member that nobody listens on, all different.
fn free_ports(members: u16) -> anyhow::Result<Vec<[u16; 3]>> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..members {
        let mut of_member = [0; 3];
        for port in &mut of_member {
            let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
            *port = listener.local_addr().context("find a free port")?.port();
            held.push(listener);
        }
        ports.push(of_member);
    }
    Ok(ports)
}
