//! Data that is null, which the client library can neither send nor tell from empty data.
//!
//! In: where the ensemble is, who asks. Out: whether a node's data is null; a node whose data is null.
//!
//! Always true:
//! * each exchange has a short session of its own, on a server of the same ensemble, with the same credentials;
//! * where no such session can be had, nothing was done.
//!
//! Not here: ephemeral nodes, which belong to the session of the shell: without data, theirs is empty.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use zookeeper_client::Acl;

use crate::base::wire::{Reader, Writer};
use crate::cli::bench::connection::Connection;
use crate::proto::{CreateMode, ErrorCode, Op};

/// Port of a server that is named without one.
const CLIENT_PORT: u16 = 2181;
/// The longest that opening a session or one request may take.
const WAIT: Duration = Duration::from_secs(10);

/// Where to ask, and as whom.
#[derive(Debug)]
pub struct Raw<'a> {
    /// The connect string, with its chroot.
    pub servers: &'a str,
    /// Schemes and credentials of the shell's session.
    pub auths: &'a [(String, Vec<u8>)],
}

/// A node to make.
#[derive(Debug)]
pub struct NullNode<'a> {
    /// Its path, or the beginning of it.
    pub path: &'a str,
    /// Who may do what.
    pub acl: &'a [Acl],
    /// Its kind; not ephemeral.
    pub mode: CreateMode,
    /// The time to live in ms, for kinds that have one.
    pub ttl: i64,
}

/// Why it is not known that a node was made.
#[derive(Debug)]
pub enum NotMade {
    /// There was no session to ask in; it was not made.
    NothingSent(anyhow::Error),
    /// The answer did not come, and it may have been made.
    Unknown(anyhow::Error),
}

impl Raw<'_> {
    /// Whether the data of a node is null, as the version that a txn set.
    pub async fn is_null(&self, path: &str, mzxid: i64) -> anyhow::Result<bool> {
        let mut connection = self.open().await?;
        let path = format!("{}{path}", self.chroot());
        let mut body = Writer::new();
        body.string(&path);
        // Its server may be behind the one that was asked before.
        ask(&mut connection, Op::Sync, &body.finish()).await?.map_err(refused)?;
        let mut body = Writer::new();
        body.string(&path).bool(false);
        let answer = ask(&mut connection, Op::GetData, &body.finish()).await?.map_err(refused)?;
        let mut answer = Reader::new(answer);
        let data = answer.buffer("data")?;
        answer.i64("czxid")?;
        let is_same = answer.i64("mzxid")? == mzxid;
        connection.close().await?;
        Ok(is_same && data.is_none())
    }

    /// Makes a node whose data is null; its path, or the code of the server's refusal.
    pub async fn create(&self, node: &NullNode<'_>) -> Result<Result<String, i32>, NotMade> {
        let connection = self.open().await.map_err(NotMade::NothingSent)?;
        self.create_over(connection, node).await.map_err(NotMade::Unknown)
    }

    async fn create_over(
        &self,
        mut connection: Connection,
        node: &NullNode<'_>,
    ) -> anyhow::Result<Result<String, i32>> {
        let (op, flags) = match node.mode {
            CreateMode::Persistent => (Op::Create2, 0),
            CreateMode::PersistentSequential => (Op::Create2, 2),
            CreateMode::Container => (Op::CreateContainer, 4),
            CreateMode::Ttl => (Op::CreateTtl, 5),
            CreateMode::TtlSequential => (Op::CreateTtl, 6),
            CreateMode::Ephemeral | CreateMode::EphemeralSequential => {
                return Err(anyhow!("an ephemeral node belongs to the shell's session"));
            }
        };
        let mut body = Writer::new();
        body.string(&format!("{}{}", self.chroot(), node.path)).buffer(None).count(node.acl.len());
        for entry in node.acl {
            let bits = super::print::bits(entry.permission());
            body.i32(bits).string(entry.scheme()).string(entry.id());
        }
        body.i32(flags);
        if op == Op::CreateTtl {
            body.i64(node.ttl);
        }
        let made = match ask(&mut connection, op, &body.finish()).await? {
            Ok(answer) => Ok(Reader::new(answer).string("path")?.context("a node without a path")?),
            Err(code) => Err(code),
        };
        // The node is there, or is not; that the session ends by itself later changes nothing.
        let _ = connection.close().await;
        Ok(made.map(|path| path[self.chroot().len()..].to_owned()))
    }

    /// Opens a session on the first server that gives one.
    async fn open(&self) -> anyhow::Result<Connection> {
        let mut last = anyhow!("no server is named");
        for server in self.hosts() {
            match tokio::time::timeout(WAIT, self.open_on(&server)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => last = anyhow!("{server} does not answer"),
            }
        }
        Err(last)
    }

    async fn open_on(&self, server: &str) -> anyhow::Result<Connection> {
        let mut connection = Connection::open(server).await?;
        for (scheme, auth) in self.auths {
            let mut body = Writer::new();
            body.i32(0).string(scheme).buffer(Some(auth));
            ask(&mut connection, Op::Auth, &body.finish()).await?.map_err(refused)?;
        }
        Ok(connection)
    }

    fn hosts(&self) -> impl Iterator<Item = String> {
        let hosts = self.servers.split_once('/').map_or(self.servers, |(hosts, _)| hosts);
        hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(|host| {
            // The last colon begins a port, unless it stands within the brackets of an address.
            let has_port = host.rfind(':') > host.rfind(']');
            if has_port { host.to_owned() } else { format!("{host}:{CLIENT_PORT}") }
        })
    }

    fn chroot(&self) -> &str {
        self.servers.find('/').map_or("", |at| self.servers[at..].trim_end_matches('/'))
    }
}

async fn ask(connection: &mut Connection, op: Op, body: &[u8]) -> anyhow::Result<Result<bytes::Bytes, i32>> {
    let answer = tokio::time::timeout(WAIT, connection.ask(op, body)).await;
    answer.with_context(|| format!("{op:?} is not answered"))?
}

fn refused(code: i32) -> anyhow::Error {
    anyhow!(
        "the server answers {:?}",
        ErrorCode::from_wire(code).map_or_else(|| code.to_string(), |code| format!("{code:?}"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_string_has_hosts_and_a_chroot() {
        let raw = |servers| Raw { servers, auths: &[] };
        let hosts: Vec<_> = raw("a:1, b,[::1]:3,[::2]/app/of").hosts().collect();
        assert_eq!(hosts, ["a:1", "b:2181", "[::1]:3", "[::2]:2181"]);
        assert_eq!(raw("a:1/app/of").chroot(), "/app/of");
        assert_eq!((raw("a:1").chroot(), raw("a:1/").chroot()), ("", ""));
    }
}
