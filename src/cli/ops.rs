//! What the commands of the shell do.
//!
//! In: a parsed command, a connected client. Out: an [`Answer`], or the message of a failure.
//!
//! Always true:
//! * the text on standard output is that of zkCli 3.9;
//! * a bad path is told before anything is sent.
//!
//! Not here: parsing (`command`), reading lines and showing answers (`shell`), the shape of what is shown (`print`).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::task::JoinSet;
use zookeeper_client::{
    Acl, Acls, AuthId, Client, CreateMode, EnsembleUpdate, Error, OneshotWatcher, Stat, WatchedEvent,
};

use super::command::{Ask, ParseError, Verb};
use super::print;

/// Nodes that `deleteall` removes in one transaction, unless told otherwise; zkCli's number.
const DELETE_BATCH: usize = 1_000;

/// What a command has to say when it is done. Empty texts are not shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For standard output: what was asked for.
    pub out: String,
    /// For standard error: what was done.
    pub err: String,
}

impl Answer {
    fn out(text: impl Into<String>) -> Answer {
        Answer { out: text.into(), err: String::new() }
    }

    fn err(text: impl Into<String>) -> Answer {
        Answer { out: String::new(), err: text.into() }
    }

    fn and(mut self, stat: Option<&Stat>) -> Answer {
        if let Some(stat) = stat {
            self.out = match self.out.as_str() {
                "" => print::stat(stat),
                text => format!("{}\n{}", text.trim_end_matches('\n'), print::stat(stat)),
            };
        }
        self
    }
}

/// Watches of this shell that have not fired.
pub struct Watches {
    waiting: JoinSet<()>,
    show: Arc<dyn Fn(&WatchedEvent) + Send + Sync>,
}

impl Watches {
    /// Events will be given to `show`.
    pub fn new(show: Arc<dyn Fn(&WatchedEvent) + Send + Sync>) -> Watches {
        Watches { waiting: JoinSet::new(), show }
    }

    fn add(&mut self, watcher: OneshotWatcher) {
        while self.waiting.try_join_next().is_some() {}
        let show = Arc::clone(&self.show);
        self.waiting.spawn(async move { show(&watcher.changed().await) });
    }
}

impl Ask {
    /// Does it, or says why it could not be done.
    pub async fn perform(&self, client: &Client, watches: &mut Watches) -> Result<Answer, String> {
        if let Some(flaw) = self.path_flaw() {
            return Err(flaw);
        }
        let path = self.word(0);
        let failed = |error: Error| print::error(&error, path);
        match self.form.verb {
            Verb::AddAuth => {
                client.auth(path, self.word(1).as_bytes()).await.map_err(failed)?;
                Ok(Answer::default())
            }
            Verb::Config => self.config(client, watches).await.map_err(failed),
            Verb::Create => self.create(client).await,
            Verb::Delete => {
                client.delete(path, self.number("v")?).await.map_err(failed)?;
                Ok(Answer::default())
            }
            Verb::DeleteAll => self.delete_all(client).await,
            Verb::Get => self.read(client, watches).await.map_err(failed),
            Verb::GetAcl => {
                let (acl, stat) = client.get_acl(path).await.map_err(failed)?;
                Ok(Answer::out(print::acl(&acl)).and(self.has("s").then_some(&stat)))
            }
            Verb::Ls => self.list(client, watches).await.map_err(failed),
            Verb::Reconfig => self.reconfigure(client).await,
            Verb::Set => self.set(client).await,
            Verb::SetAcl => self.set_acl(client).await,
            Verb::Stat => self.stat(client, watches).await.map_err(failed),
            Verb::Sync => {
                client.sync(path).await.map_err(|error| format!("Sync has failed. {error}"))?;
                Ok(Answer::out("Sync is OK"))
            }
            Verb::Version => {
                Ok(Answer::out(format!("ZooKeeper CLI version: quorate {}", env!("CARGO_PKG_VERSION"))))
            }
            Verb::WhoAmI => {
                let users = client.list_auth_users().await.map_err(failed)?;
                let lines = users.iter().map(|user| format!("\n{}: {}", user.scheme(), user.user()));
                Ok(Answer::out(format!("Auth scheme: User{}", lines.collect::<String>())))
            }
            Verb::History | Verb::Quit => unreachable!("the shell does it"),
        }
    }

    async fn config(&self, client: &Client, watches: &mut Watches) -> Result<Answer, Error> {
        let (data, stat) = match self.has("w") {
            true => {
                let (data, stat, watcher) = client.get_and_watch_config().await?;
                watches.add(watcher);
                (data, stat)
            }
            false => client.get_config().await?,
        };
        let text = String::from_utf8_lossy(&data).into_owned();
        let text = if self.has("c") { print::client_config(&text) } else { text };
        Ok(Answer::out(text).and(self.has("s").then_some(&stat)))
    }

    async fn create(&self, client: &Client) -> Result<Answer, String> {
        let acl = if self.word(2).is_empty() { None } else { Some(parse_acl(self.word(2))?) };
        let acls = acl.as_deref().map_or(Acls::anyone_all(), Acls::from);
        let ttl: Option<u64> = self.number("t")?;
        if self.has("c") && (self.has("s") || self.has("e")) {
            let why = "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.";
            return Err(why.to_owned());
        }
        if ttl.is_some() && (self.has("e") || self.has("c")) {
            let kind = if self.has("e") { "Ephemeral" } else { "Container" };
            return Err(format!("TTLs cannot be used with {kind} znodes"));
        }
        let mode = match (self.has("c"), self.has("e"), self.has("s")) {
            (true, ..) => CreateMode::Container,
            (_, true, true) => CreateMode::EphemeralSequential,
            (_, true, false) => CreateMode::Ephemeral,
            (_, false, true) => CreateMode::PersistentSequential,
            (_, false, false) => CreateMode::Persistent,
        };
        let options = mode.with_acls(acls);
        let options = match ttl {
            Some(ttl) => options.with_ttl(Duration::from_millis(ttl)),
            None => options,
        };
        let path = self.word(0);
        let made = client.create(path, self.word(1).as_bytes(), &options).await;
        let (_, sequence) = made.map_err(|error| print::error(&error, path))?;
        let number = if self.has("s") { sequence.to_string() } else { String::new() };
        Ok(Answer::err(format!("Created {path}{number}")))
    }

    async fn delete_all(&self, client: &Client) -> Result<Answer, String> {
        let path = self.word(0);
        let batch = self.number("b")?.unwrap_or(DELETE_BATCH).max(1);
        let mut nodes = subtree(client, path).await?;
        nodes.reverse(); // children before their parent
        let is_removable =
            |node: &String| node != "/" && node != "/zookeeper" && !node.starts_with("/zookeeper/");
        let kept = nodes.iter().any(|node| !is_removable(node));
        nodes.retain(is_removable);
        let mut failed = kept;
        for batch in nodes.chunks(batch) {
            let mut multi = client.new_multi_writer();
            for node in batch {
                multi.add_delete(node, None).map_err(|error| print::error(&error, node))?;
            }
            failed |= multi.commit().await.is_err();
        }
        let said = if failed { "Failed to delete some node(s) in the subtree!" } else { "" };
        Ok(Answer::err(said))
    }

    async fn read(&self, client: &Client, watches: &mut Watches) -> Result<Answer, Error> {
        let path = self.word(0);
        let (data, stat) = match self.has("w") {
            true => {
                let (data, stat, watcher) = client.get_and_watch_data(path).await?;
                watches.add(watcher);
                (data, stat)
            }
            false => client.get_data(path).await?,
        };
        let text = match (self.has("b"), self.has("x")) {
            (true, _) => BASE64.encode(&data),
            (false, true) => print::hex(&data),
            (false, false) => String::from_utf8_lossy(&data).into_owned(),
        };
        // A node without data is an empty line.
        let text = if text.is_empty() { "\n".to_owned() } else { text };
        Ok(Answer::out(text).and(self.has("s").then_some(&stat)))
    }

    async fn list(&self, client: &Client, watches: &mut Watches) -> Result<Answer, Error> {
        let path = self.word(0);
        if self.has("R") {
            return Ok(Answer::out(walk(client, path).await.map_err(|(error, _)| error)?.join("\n")));
        }
        let (children, stat) = match self.has("w") {
            true => {
                let (children, stat, watcher) = client.get_and_watch_children(path).await?;
                watches.add(watcher);
                (children, stat)
            }
            false => client.get_children(path).await?,
        };
        Ok(Answer::out(print::names(children)).and(self.has("s").then_some(&stat)))
    }

    async fn stat(&self, client: &Client, watches: &mut Watches) -> Result<Answer, Error> {
        let path = self.word(0);
        let stat = match self.has("w") {
            true => {
                let (stat, watcher) = client.check_and_watch_stat(path).await?;
                watches.add(watcher);
                stat
            }
            false => client.check_stat(path).await?,
        };
        let stat = stat.ok_or(Error::NoNode)?;
        Ok(Answer::out(print::stat(&stat)))
    }

    async fn set(&self, client: &Client) -> Result<Answer, String> {
        let (path, data) = (self.word(0), self.word(1));
        let data = match self.has("b") {
            true => BASE64.decode(data).map_err(|error| format!("data is not base64: {error}"))?,
            false => data.as_bytes().to_vec(),
        };
        let stat = client.set_data(path, &data, self.number("v")?).await;
        let stat = stat.map_err(|error| print::error(&error, path))?;
        Ok(Answer::default().and(self.has("s").then_some(&stat)))
    }

    async fn set_acl(&self, client: &Client) -> Result<Answer, String> {
        let acl = parse_acl(self.word(1))?;
        let version = self.number("v")?;
        let top = self.word(0);
        let nodes = if self.has("R") { subtree(client, top).await? } else { vec![top.to_owned()] };
        let mut answer = Answer::default();
        for node in &nodes {
            let stat = client.set_acl(node, &acl, version).await;
            let stat = stat.map_err(|error| print::error(&error, node))?;
            answer = answer.and(self.has("s").then_some(&stat));
        }
        Ok(answer)
    }

    async fn reconfigure(&self, client: &Client) -> Result<Answer, String> {
        let hex = |text: &str| {
            i64::from_str_radix(text, 16)
                .map_err(|_| format!("-v argument must be hexadecimal, and is {text}"))
        };
        let version = self.value("v").map(hex).transpose()?;
        let file = match self.value("file") {
            Some(path) => Some(members_of_file(path)?),
            None => None,
        };
        let whole = file.as_deref().or(self.value("members"));
        let update = match (whole, self.value("add"), self.value("remove")) {
            (None, None, None) => return Err(ParseError::Usage(self.form).to_string()),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err("Can't use -members or -file with -add or -remove".to_owned());
            }
            (Some(whole), None, None) => EnsembleUpdate::New { ensemble: Some(whole).into_iter() },
            (None, joining, leaving) => {
                EnsembleUpdate::Incremental { joinings: joining.into_iter(), leavings: leaving.into_iter() }
            }
        };
        let done = client.update_ensemble(update, version).await;
        let (config, stat) = done.map_err(|error| print::error(&error, ""))?;
        let text = format!("Committed new configuration:\n{}", String::from_utf8_lossy(&config));
        Ok(Answer::out(text).and(self.has("s").then_some(&stat)))
    }
}

/// The server lines of a dynamic configuration file, as `reconfig -members` takes them.
fn members_of_file(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
    let servers = text.lines().map(str::trim).filter(|line| line.starts_with("server."));
    Ok(servers.collect::<Vec<_>>().join(","))
}

/// A node and everything below it: each node's children, then what is below each of them, as `ls -R` shows it.
async fn walk(client: &Client, top: &str) -> Result<Vec<String>, (Error, String)> {
    let mut found = vec![top.to_owned()];
    let mut open = found.clone();
    while let Some(parent) = open.pop() {
        let listed = client.list_children(&parent).await;
        let mut children = match listed {
            Ok(children) => children,
            // It went away while its siblings were looked at.
            Err(Error::NoNode) if parent != top => continue,
            Err(error) => return Err((error, parent)),
        };
        children.sort();
        let below = if parent == "/" { "" } else { parent.as_str() };
        let paths: Vec<String> = children.iter().map(|child| format!("{below}/{child}")).collect();
        open.extend(paths.iter().rev().cloned());
        found.extend(paths);
    }
    Ok(found)
}

async fn subtree(client: &Client, top: &str) -> Result<Vec<String>, String> {
    walk(client, top).await.map_err(|(error, path)| print::error(&error, &path))
}

/// Parses `scheme:id:permissions[,…]`; the id may hold colons.
fn parse_acl(text: &str) -> Result<Vec<Acl>, String> {
    let entry = |entry: &str| {
        let malformed = || format!("{entry} does not have the form scheme:id:perm\nAcl is not valid : null");
        let (scheme, rest) = entry.split_once(':').ok_or_else(malformed)?;
        let (id, letters) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let permission = print::permission(letters).ok_or_else(malformed)?;
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
        let why = parse_acl("nonsense").expect_err("it is none");
        assert_eq!(why, "nonsense does not have the form scheme:id:perm\nAcl is not valid : null");
    }
}
