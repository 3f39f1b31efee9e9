//! Commands on a node and everything below it.
//!
//! In: a parsed command, a session. Out: an [`Answer`], or why it could not be done.
//!
//! Always true:
//! * a node that goes away meanwhile is passed over;
//! * `deleteall` removes children before their parent, and stops at the first transaction that is refused.
//!
//! Not here: single nodes (`ops`).

use std::collections::VecDeque;
use std::pin::Pin;

use zookeeper_client::{Acl, Client, Error};

use super::answer::{Answer, Failure};
use super::ops::Work;
use super::print;
use super::watches::{Kind, Watcher};

/// Nodes that `deleteall` removes in one transaction, unless told otherwise; zkCli's number.
const DELETE_BATCH: usize = 1_000;
/// Transactions of `deleteall` under way; zkCli's number.
const BATCHES_UNDER_WAY: usize = 10;

/// A transaction that was sent: whether it was done.
type Sent<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

impl Work<'_> {
    /// `ls -R`: every path, children of a node side by side.
    pub(super) async fn list_all(&self) -> Result<Answer, Failure> {
        if self.ask.has("w") {
            let read = self.client.get_and_watch_data(self.path()).await;
            let (_, _, watcher) = read.map_err(|error| self.failed(&error))?;
            self.watch(Kind::Data, self.path(), Watcher::Once(watcher));
        }
        let paths = self.walk().await?;
        Ok(Answer::out(paths.join("\n")).field("paths", paths))
    }

    pub(super) async fn delete_all(&self) -> Result<Answer, Failure> {
        let batch = self.ask.number::<i32>("b")?;
        let batch = batch.map_or(DELETE_BATCH, |batch| usize::try_from(batch).unwrap_or(0).max(1));
        let mut nodes = self.walk().await?;
        let found = nodes.len();
        nodes.retain(|node| is_removable(node));
        let is_partial = nodes.len() < found;
        nodes.reverse();
        let is_done = delete(&self.client, &nodes, batch).await && !is_partial;
        let said = match is_done {
            true => Answer::none(),
            false => Answer::err("Failed to delete some node(s) in the subtree!"),
        };
        Ok(said.field("complete", is_done))
    }

    /// `setAcl -R`; what is refused for one node is told, and the others go on.
    pub(super) async fn set_acl_of_all(&self, acl: &[Acl], version: Option<i32>) -> Result<Answer, Failure> {
        let mut refused = Vec::new();
        for node in self.walk().await? {
            match self.client.set_acl(&node, acl, version).await {
                Ok(_) | Err(Error::NoNode) => {}
                Err(error) => refused.push(print::error(&error, &node).message),
            }
        }
        let answer = if refused.is_empty() { Answer::none() } else { Answer::out(refused.join("\n")) };
        Ok(answer.field("refused", refused))
    }

    /// The command's node and everything below it: each node's children, then what is below each of them.
    async fn walk(&self) -> Result<Vec<String>, Failure> {
        let top = self.path();
        let mut found = vec![top.to_owned()];
        let mut open = found.clone();
        while let Some(parent) = open.pop() {
            let mut children = match self.children(&parent).await {
                Ok(children) => children,
                // It went away while its siblings were looked at.
                Err(Error::NoNode) if parent != top => continue,
                Err(error) => return Err(print::error(&error, &parent)),
            };
            children.sort();
            let below = if parent == "/" { "" } else { parent.as_str() };
            let paths: Vec<String> = children.iter().map(|child| format!("{below}/{child}")).collect();
            open.extend(paths.iter().rev().cloned());
            found.extend(paths);
        }
        Ok(found)
    }

    /// The children of a node of `walk`, with a watch where the command asks for one.
    async fn children(&self, parent: &str) -> Result<Vec<String>, Error> {
        if !self.ask.has("w") {
            return self.client.list_children(parent).await;
        }
        let (children, watcher) = self.client.list_and_watch_children(parent).await?;
        self.watch(Kind::Child, parent, Watcher::Once(watcher));
        Ok(children)
    }
}

/// What ZooKeeper itself keeps stays.
fn is_removable(node: &str) -> bool {
    node != "/" && node != "/zookeeper" && !node.starts_with("/zookeeper/")
}

/// Removes nodes in their order, several transactions under way; whether all of it was done.
async fn delete(client: &Client, nodes: &[String], batch: usize) -> bool {
    let mut under_way: VecDeque<Sent<'_>> = VecDeque::new();
    let mut is_done = true;
    for batch in nodes.chunks(batch) {
        if under_way.len() == BATCHES_UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            is_done &= oldest.await;
        }
        if !is_done {
            break;
        }
        let mut multi = client.new_multi_writer();
        if batch.iter().any(|node| multi.add_delete(node, None).is_err()) {
            is_done = false;
            break;
        }
        // It is sent here, and in this order; only the answer is waited for later.
        let sent = multi.commit();
        under_way.push_back(Box::pin(async move { sent.await.is_ok() }));
    }
    for sent in under_way {
        is_done &= sent.await;
    }
    is_done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zookeeper_keeps_is_not_removed() {
        for kept in ["/", "/zookeeper", "/zookeeper/quota/a"] {
            assert!(!is_removable(kept), "{kept}");
        }
        for removed in ["/a", "/zookeepers", "/a/zookeeper"] {
            assert!(is_removable(removed), "{removed}");
        }
    }
}
