//! What the commands of the shell do.
//!
//! In: a parsed command, a session. Out: an [`Answer`], or why it could not be done.
//!
//! Always true:
//! * the text of an answer is that of zkCli 3.9;
//! * a bad path is told before anything is sent.
//!
//! Not here: parsing (`command`), whole subtrees (`subtree`), limits (`quota`), the membership (`ensemble`), what
//! concerns the shell itself (`session`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Error, Permission};

use super::answer::{Answer, Base64, Failure, acl_json, data_json};
use super::command::Ask;
use super::connection::Connection;
use super::forms::Verb;
use super::print;
use super::raw::{NotMade, NullNode};
use super::watches::{Kind, Watcher};
use crate::proto::{self, ErrorCode};

/// How long `sync` waits; zkCli's number.
const SYNC_WAIT: Duration = Duration::from_secs(30);
/// The longest time to live, in ms: 40 bits of it are kept.
const TTL_MS_MAX: i64 = (1 << 40) - 1;
/// What everybody may do with a node that is made without an ACL.
const OPEN: Acl = Acl::new_const(Permission::ALL, "world", "anyone");

/// What one command works with.
pub struct Work<'a> {
    /// The command.
    pub ask: &'a Ask,
    /// Its session's client.
    pub client: Client,
    /// The session.
    pub connection: &'a mut Connection,
}

impl Work<'_> {
    /// Does it, or says why it could not be done.
    pub async fn perform(&mut self) -> Result<Answer, Failure> {
        if let Some(flaw) = self.ask.path_flaw() {
            return Err(flaw.into());
        }
        match self.ask.form.verb {
            Verb::AddAuth => self.add_auth().await,
            Verb::AddWatch => self.add_watch().await,
            Verb::Config => self.config().await,
            Verb::Create => self.create().await,
            Verb::Delete => self.delete().await,
            Verb::DeleteAll => self.delete_all().await,
            Verb::DelQuota => self.del_quota().await,
            Verb::Get => self.get().await,
            Verb::GetAcl => self.acl().await,
            Verb::GetAllChildrenNumber => self.descendants().await,
            Verb::GetEphemerals => self.ephemerals().await,
            Verb::ListQuota => self.list_quota().await,
            Verb::Ls => self.list().await,
            Verb::Reconfig => self.reconfigure().await,
            Verb::RemoveWatches => self.remove_watches().await,
            Verb::Set => self.set().await,
            Verb::SetAcl => self.set_acl().await,
            Verb::SetQuota => self.set_quota().await,
            Verb::Stat => self.stat().await,
            Verb::Sync => self.sync().await,
            Verb::Version => Ok(version()),
            Verb::WhoAmI => self.users().await,
            Verb::Close | Verb::Connect | Verb::History | Verb::PrintWatches | Verb::Quit | Verb::Redo => {
                unreachable!("the shell does it")
            }
        }
    }

    /// The path that the command is about.
    pub(super) fn path(&self) -> &str {
        self.ask.word(0)
    }

    /// What to say when an operation on that path went wrong.
    pub(super) fn failed(&self, error: &Error) -> Failure {
        print::error(error, self.path())
    }

    pub(super) fn watch(&self, kind: Kind, path: &str, watcher: Watcher) {
        if let Some(watches) = self.connection.watches() {
            watches.add(kind, path, watcher);
        }
    }

    async fn add_auth(&mut self) -> Result<Answer, Failure> {
        let (scheme, auth) = (self.ask.word(0), self.ask.word(1).as_bytes());
        self.client.auth(scheme, auth).await.map_err(|error| self.failed(&error))?;
        self.connection.add_auth(scheme, auth);
        Ok(Answer::none())
    }

    async fn add_watch(&mut self) -> Result<Answer, Failure> {
        use zookeeper_client::AddWatchMode;
        let mode = self.ask.watch_mode().expect("the mode was checked with the command");
        let watcher = self.client.watch(self.path(), mode).await.map_err(|error| self.failed(&error))?;
        let kind = match mode {
            AddWatchMode::Persistent => Kind::Persistent,
            AddWatchMode::PersistentRecursive => Kind::Recursive,
        };
        self.watch(kind, self.path(), Watcher::Always(watcher));
        Ok(Answer::none())
    }

    async fn create(&mut self) -> Result<Answer, Failure> {
        let ask = self.ask;
        let (has_container, has_ephemeral, has_sequence) = (ask.has("c"), ask.has("e"), ask.has("s"));
        if has_container && (has_sequence || has_ephemeral) {
            return Err(
                "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.".into()
            );
        }
        let ttl: Option<i64> = ask.number("t")?;
        if ttl.is_some() && (has_ephemeral || has_container) {
            let kind = if has_ephemeral { "Ephemeral" } else { "Container" };
            return Err(format!("TTLs cannot be used with {kind} znodes").into());
        }
        if ttl.is_some_and(|ttl| !(1..=TTL_MS_MAX).contains(&ttl)) {
            return Err(format!("ttl must be positive and cannot be larger than: {TTL_MS_MAX}").into());
        }
        let acl = if ask.words() > 2 { parse_acl(ask.word(2))? } else { vec![OPEN] };
        let mode = match (has_container, has_ephemeral, has_sequence) {
            (true, ..) => CreateMode::Container,
            (_, true, true) => CreateMode::EphemeralSequential,
            (_, true, false) => CreateMode::Ephemeral,
            (_, false, true) => CreateMode::PersistentSequential,
            (_, false, false) => CreateMode::Persistent,
        };
        let made = match ask.words() {
            1 => self.create_null(mode, ttl, &acl).await,
            _ => self.create_with(mode, ttl, &acl).await,
        };
        let path = made.map_err(|failure| in_create(failure, self.path()))?;
        Ok(Answer::err(format!("Created {path}")).field("created", path))
    }

    async fn create_with(&self, mode: CreateMode, ttl: Option<i64>, acl: &[Acl]) -> Result<String, Failure> {
        let options = mode.with_acls(Acls::new(acl));
        let options = match ttl.and_then(|ttl| u64::try_from(ttl).ok()) {
            Some(ttl) => options.with_ttl(Duration::from_millis(ttl)),
            None => options,
        };
        let path = self.path();
        let made = self.client.create(path, self.ask.word(1).as_bytes(), &options).await;
        let (_, sequence) = made.map_err(|error| self.failed(&error))?;
        Ok(if self.ask.has("s") { format!("{path}{sequence}") } else { path.to_owned() })
    }

    /// Makes a node without data, as null if that can be done.
    async fn create_null(&self, mode: CreateMode, ttl: Option<i64>, acl: &[Acl]) -> Result<String, Failure> {
        let wire_mode = match (mode, ttl) {
            (CreateMode::Ephemeral | CreateMode::EphemeralSequential, _) => None,
            (CreateMode::Container, _) => Some(proto::CreateMode::Container),
            (CreateMode::Persistent, None) => Some(proto::CreateMode::Persistent),
            (CreateMode::Persistent, Some(_)) => Some(proto::CreateMode::Ttl),
            (CreateMode::PersistentSequential, None) => Some(proto::CreateMode::PersistentSequential),
            (CreateMode::PersistentSequential, Some(_)) => Some(proto::CreateMode::TtlSequential),
        };
        let Some(wire_mode) = wire_mode else { return self.create_with(mode, ttl, acl).await };
        let node = NullNode { path: self.path(), acl, mode: wire_mode, ttl: ttl.unwrap_or(-1) };
        let raw = self.connection.raw();
        match raw.create(&node).await {
            Ok(Ok(path)) => {
                // The node may have been made by another server than that of this session.
                let _ = self.client.sync(&path).await;
                Ok(path)
            }
            Ok(Err(code)) => Err(match ErrorCode::from_wire(code) {
                Some(code) => print::failure(code, self.path()),
                None => print::error(&Error::UnexpectedErrorCode(code), self.path()),
            }),
            Err(NotMade::NothingSent(_)) => self.create_with(mode, ttl, acl).await,
            Err(NotMade::Unknown(error)) => Err(format!("{error:#}: {}", self.path()).into()),
        }
    }

    async fn delete(&self) -> Result<Answer, Failure> {
        let done = self.client.delete(self.path(), self.ask.number("v")?).await;
        done.map_err(|error| self.failed(&error))?;
        Ok(Answer::none())
    }

    async fn get(&self) -> Result<Answer, Failure> {
        let path = self.path();
        let read = match self.ask.has("w") {
            true => self.client.get_and_watch_data(path).await.map(|(data, stat, watcher)| {
                self.watch(Kind::Data, path, Watcher::Once(watcher));
                (data, stat)
            }),
            false => self.client.get_data(path).await,
        };
        let (data, stat) = read.map_err(|error| self.failed(&error))?;
        let mut data = Some(data);
        if stat.data_length == 0 {
            // Where it cannot be found out, the data is shown as empty.
            let is_null = self.connection.raw().is_null(path, stat.mzxid).await.unwrap_or(false);
            data = data.filter(|_| !is_null);
        }
        let has_base64 = self.ask.has("b");
        let shown = data.as_deref().unwrap_or(b"null");
        let text = match (self.ask.has("x"), has_base64) {
            (true, _) => print::hex(shown),
            (false, true) => BASE64.encode(shown),
            (false, false) => String::from_utf8_lossy(shown).into_owned(),
        };
        let base64 = if has_base64 { Base64::Always } else { Base64::IfNeeded };
        let (name, value) = data_json(data.as_deref(), base64);
        let answer = Answer::out(text).field(name, value);
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }

    async fn acl(&self) -> Result<Answer, Failure> {
        let read = self.client.get_acl(self.path()).await;
        let (acl, stat) = read.map_err(|error| self.failed(&error))?;
        let answer = Answer::out(print::acl(&acl)).field("acl", acl_json(&acl));
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }

    async fn descendants(&self) -> Result<Answer, Failure> {
        let number = self.client.count_descendants_number(self.path()).await;
        let number = number.map_err(|error| self.failed(&error))?;
        Ok(Answer::out(number.to_string()).field("number", number))
    }

    async fn ephemerals(&self) -> Result<Answer, Failure> {
        let path = if self.path().is_empty() { "/" } else { self.path() };
        let mut paths = self.client.list_ephemerals(path).await.map_err(|error| self.failed(&error))?;
        paths.sort();
        Ok(Answer::out(print::names(&paths)).field("ephemerals", paths))
    }

    async fn list(&self) -> Result<Answer, Failure> {
        if self.ask.has("R") {
            return self.list_all().await;
        }
        let path = self.path();
        let read = match self.ask.has("w") {
            true => self.client.get_and_watch_children(path).await.map(|(children, stat, watcher)| {
                self.watch(Kind::Child, path, Watcher::Once(watcher));
                (children, stat)
            }),
            false => self.client.get_children(path).await,
        };
        let (mut children, stat) = read.map_err(|error| self.failed(&error))?;
        children.sort();
        let answer = Answer::out(print::names(&children)).field("children", children);
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }

    async fn remove_watches(&self) -> Result<Answer, Failure> {
        let kinds: &[Kind] = match () {
            () if self.ask.has("c") => &[Kind::Child],
            () if self.ask.has("d") => &[Kind::Data],
            () if self.ask.has("p") => &[Kind::Persistent],
            () if self.ask.has("r") => &[Kind::Recursive],
            () => &[Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive],
        };
        let path = self.path();
        let removed = self.connection.watches().map_or(Vec::new(), |watches| watches.remove(path, kinds));
        if removed.is_empty() {
            return Err(self.failed(&Error::NoWatcher));
        }
        // The library takes them back from the server before it asks for anything else.
        let told = self.client.check_stat("/").await;
        match told {
            Err(Error::ConnectionLoss) if self.ask.has("l") => {}
            Err(error @ (Error::ConnectionLoss | Error::SessionExpired)) => return Err(self.failed(&error)),
            // That the root cannot be read has nothing to do with it.
            Ok(_) | Err(_) => {}
        }
        let mut names: Vec<&str> = removed
            .iter()
            .map(|kind| match kind {
                Kind::Data => "DataWatchRemoved",
                Kind::Child => "ChildWatchRemoved",
                Kind::Persistent | Kind::Recursive => "PersistentWatchRemoved",
            })
            .collect();
        names.dedup();
        for name in names {
            self.connection.tell(&print::Event::removed(name, path));
        }
        Ok(Answer::none())
    }

    async fn set(&self) -> Result<Answer, Failure> {
        let data = self.ask.word(1);
        let data = match self.ask.has("b") {
            true => BASE64.decode(data).map_err(|error| format!("data is not base64: {error}"))?,
            false => data.as_bytes().to_vec(),
        };
        let stat = self.client.set_data(self.path(), &data, self.ask.number("v")?).await;
        let stat = stat.map_err(|error| self.failed(&error))?;
        let answer = Answer::none();
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }

    async fn set_acl(&self) -> Result<Answer, Failure> {
        let acl = parse_acl(self.ask.word(1))?;
        let version = self.ask.number("v")?;
        if self.ask.has("R") {
            return self.set_acl_of_all(&acl, version).await;
        }
        let stat = self.client.set_acl(self.path(), &acl, version).await;
        let stat = stat.map_err(|error| self.failed(&error))?;
        let answer = Answer::none();
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }

    async fn stat(&self) -> Result<Answer, Failure> {
        let path = self.path();
        let read = match self.ask.has("w") {
            true => self.client.check_and_watch_stat(path).await.map(|(stat, watcher)| {
                self.watch(Kind::Data, path, Watcher::Once(watcher));
                stat
            }),
            false => self.client.check_stat(path).await,
        };
        let stat = read.and_then(|stat| stat.ok_or(Error::NoNode)).map_err(|error| self.failed(&error))?;
        Ok(Answer::none().and_stat(&stat))
    }

    async fn sync(&self) -> Result<Answer, Failure> {
        let done = tokio::time::timeout(SYNC_WAIT, self.client.sync(self.path())).await;
        match done {
            Ok(Ok(())) => Ok(Answer::out("Sync is OK").field("synced", true)),
            Ok(Err(error)) => {
                let failure = self.failed(&error);
                Err(Failure { message: format!("Sync has failed. {}", failure.message), ..failure })
            }
            Err(_) => Err(format!("Sync has failed. no answer within {} s", SYNC_WAIT.as_secs()).into()),
        }
    }

    async fn users(&self) -> Result<Answer, Failure> {
        let users = self.client.list_auth_users().await.map_err(|error| self.failed(&error))?;
        let lines = users.iter().map(|user| format!("\n{}: {}", user.scheme(), user.user()));
        let listed: Vec<Value> =
            users.iter().map(|user| json!({"scheme": user.scheme(), "id": user.user()})).collect();
        Ok(Answer::out(format!("Auth scheme: User{}", lines.collect::<String>())).field("users", listed))
    }
}

fn version() -> Answer {
    let version = concat!("quorate ", env!("CARGO_PKG_VERSION"));
    Answer::out(format!("ZooKeeper CLI version: {version}")).field("version", version)
}

/// zkCli says more about two failures of `create`.
fn in_create(failure: Failure, path: &str) -> Failure {
    let more = match failure.code.as_deref() {
        Some("InvalidAcl") => format!("KeeperErrorCode = InvalidACL for {path}"),
        Some("EphemeralOnLocalSession") => "Unable to create ephemeral node on a local session".to_owned(),
        _ => return failure,
    };
    Failure { message: format!("{more}\n{}", failure.message), ..failure }
}

/// Parses `scheme:id:permissions[,…]`; the id may hold colons. One bad entry spoils the whole.
fn parse_acl(text: &str) -> Result<Vec<Acl>, String> {
    let entry = |entry: &str| {
        let parts = entry.split_once(':').and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, letters))) = parts else {
            return Err(format!("{entry} does not have the form scheme:id:perm\nAcl is not valid : null"));
        };
        let permission = print::permission(letters)
            .map_err(|letter| format!("Unknown perm type: {letter}\nAcl is not valid : null"))?;
        Ok(Acl::new(permission, AuthId::new(scheme, id)))
    };
    text.split(',').map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_is_a_list_of_scheme_id_and_permissions() {
        let acl = parse_acl("ip:127.0.0.1:cdrwa,digest:bob:x=:r,auth::r").expect("it is an ACL");
        let ids: Vec<_> = acl.iter().map(|acl| (acl.scheme(), acl.id())).collect();
        assert_eq!(ids, [("ip", "127.0.0.1"), ("digest", "bob:x="), ("auth", "")]);
        let why = parse_acl("world:anyone:r,nonsense").expect_err("it is none");
        assert_eq!(why, "nonsense does not have the form scheme:id:perm\nAcl is not valid : null");
        let why = parse_acl("world:anyone:rx").expect_err("it is none");
        assert_eq!(why, "Unknown perm type: x\nAcl is not valid : null");
    }

    #[test]
    fn a_bad_acl_of_a_new_node_is_told_twice() {
        let failure = in_create(print::failure(ErrorCode::InvalidAcl, "/a"), "/a");
        assert_eq!(failure.message, "KeeperErrorCode = InvalidACL for /a\nAcl is not valid : /a");
        let other = print::failure(ErrorCode::NoNode, "/a");
        assert_eq!(in_create(other.clone(), "/a"), other);
    }
}
