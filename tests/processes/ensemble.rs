//! An ensemble of real processes on this machine: started, asked, killed.
//!
//! In: the program, a directory. Out: running members, what `srvr` tells of them.
//!
//! Always true:
//! * every process is ended when the ensemble is dropped;
//! * ports were free a moment before the first start, and stay the same.
//!
//! Not here: the load (`load`), what must hold (`main`).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout, timeout_at};

/// How often it is looked whether what is awaited has come.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long one look may take.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// One member's place, which outlives its processes.
struct Member {
    config: PathBuf,
    log: PathBuf,
    client_port: u16,
    /// `None` while it is down.
    process: Option<Child>,
}

/// Members by index from 0; member 0 is `server.1`.
pub struct Ensemble {
    program: PathBuf,
    members: Vec<Member>,
}

impl Ensemble {
    /// Writes the files of `size` members below `dir` and starts them.
    pub async fn start(program: &Path, dir: &Path, size: usize) -> anyhow::Result<Ensemble> {
        Ensemble::start_with(program, dir, size, "").await
    }

    /// The same, with more lines in every `zoo.cfg`.
    pub async fn start_with(program: &Path, dir: &Path, size: usize, more: &str) -> anyhow::Result<Ensemble> {
        let ports = free_ports(size * 3)?;
        let servers = ports.chunks(3).enumerate().map(|(at, ports)| {
            format!(
                "server.{}=127.0.0.1:{}:{}:participant;127.0.0.1:{}\n",
                at + 1,
                ports[1],
                ports[2],
                ports[0]
            )
        });
        let servers: String = servers.collect();
        let mut members = Vec::new();
        for (at, ports) in ports.chunks(3).enumerate() {
            let home = dir.join(format!("member-{}", at + 1));
            let data = home.join("data");
            fs::create_dir_all(&data)?;
            fs::write(data.join("myid"), format!("{}\n", at + 1))?;
            let config = home.join("zoo.cfg");
            let settings = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\n\
                            admin.enableServer=false\n4lw.commands.whitelist=*\nstandaloneEnabled=false\n";
            fs::write(&config, format!("{settings}{more}dataDir={}\n{servers}", data.display()))?;
            members.push(Member { config, log: home.join("log"), client_port: ports[0], process: None });
        }
        let mut ensemble = Ensemble { program: program.to_owned(), members };
        for at in 0..size {
            ensemble.restart(at)?;
        }
        ensemble.all_serve(Duration::from_secs(60)).await?;
        Ok(ensemble)
    }

    /// How many members there are, running or not.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Every member's address, for a client.
    pub fn hosts(&self) -> String {
        (0..self.size()).map(|at| self.host(at)).collect::<Vec<_>>().join(",")
    }

    /// One member's address.
    pub fn host(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.members[at].client_port)
    }

    /// The number of a member's process; `None` while it is down.
    pub fn process(&self, at: usize) -> Option<u32> {
        self.members[at].process.as_ref().and_then(Child::id)
    }

    /// Starts a member on what it has on disk.
    pub fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        let member = &mut self.members[at];
        let log = fs::File::options().create(true).append(true).open(&member.log)?;
        let process = Command::new(&self.program)
            .args(["server", "--config"])
            .arg(&member.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        member.process = Some(process);
        Ok(())
    }

    /// `kill -9`.
    pub async fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        let mut process = self.members[at].process.take().context("the member is down already")?;
        process.kill().await.context("kill a member")
    }

    /// The index of the member that leads, as soon as one says so.
    pub async fn leader(&mut self, within: Duration) -> anyhow::Result<usize> {
        let hosts: Vec<String> = (0..self.size()).map(|at| self.host(at)).collect();
        let found = timeout(within, leader_of(&hosts)).await;
        match found {
            Ok(at) => Ok(at),
            Err(_) => bail!("nobody leads within {within:?}; {}", self.state().await),
        }
    }

    /// Waits until every member serves.
    pub async fn all_serve(&mut self, within: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + within;
        let mut look = interval(LOOK_EVERY);
        for at in 0..self.size() {
            let host = self.host(at);
            let serves = async {
                loop {
                    look.tick().await;
                    if mode(&host).await.is_some() {
                        return;
                    }
                }
            };
            if timeout_at(end, serves).await.is_err() {
                bail!("member {} does not serve within {within:?}; {}", at + 1, self.state().await);
            }
            let process = self.members[at].process.as_mut().context("a member is down")?;
            if let Some(status) = process.try_wait()? {
                bail!("member {} has ended: {status}; {}", at + 1, self.state().await);
            }
        }
        Ok(())
    }

    /// What each member says, and where its log is; for messages.
    async fn state(&self) -> String {
        let mut text = Vec::new();
        for (at, member) in self.members.iter().enumerate() {
            let mode = mode(&self.host(at)).await;
            text.push(format!(
                "member {}: {} ({})",
                at + 1,
                mode.unwrap_or("does not serve".into()),
                member.log.display()
            ));
        }
        text.join(", ")
    }
}

/// The index of the host that leads, once one does.
pub async fn leader_of(hosts: &[String]) -> usize {
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        for (at, host) in hosts.iter().enumerate() {
            if mode(host).await.as_deref() == Some("leader") {
                return at;
            }
        }
    }
}

/// The mode that `srvr` tells; `None` while it does not serve.
pub async fn mode(host: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(host).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.to_owned())
    };
    timeout(LOOK_WAIT, ask).await.ok().flatten()
}

/// Ports that nobody listens on, all different.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let ports: Result<Vec<u16>, _> =
        listeners?.iter().map(|listener| Ok::<_, std::io::Error>(listener.local_addr()?.port())).collect();
    Ok(ports?)
}
