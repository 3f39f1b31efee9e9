//! Answers what a server answers by itself: reads, watches, pings, and refusals that keep their place in the order.
//!
//! In: the tree, held for reading, a request, and who asks. Out: the reply, with the zxid of exactly that tree.
//!
//! Always true:
//! * a read and the registration of its watch are one step against any txn, because the tree is held throughout;
//! * a read that fails leaves no watch, but for `exists` on a node that is not there.
//!
//! Not here: who holds the tree (`conn`, `clients`), when an answer may leave (`conn`).

use std::sync::Arc;

use bytes::Bytes;

use super::event::Then;
use crate::base::{SessionId, Zxid};
use crate::proto::request::{AddWatchMode, ReadRequest, SetWatchesRequest, WatcherRequest};
use crate::proto::{
    ErrorCode, EventKind, Id, MultiReadResult, ReadOp, ReplyHeader, Request, Response, perms,
};
use crate::tree::{AclCheck, NodeRef, Tree, acl};
use crate::watch::{Mode, Table, Watcher, Watches};

/// What a server answers by itself, in its turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Local {
    /// A request that needs nothing but the tree and the connection.
    Read(Request),
    /// The request cannot be read or is not done: the code, with the zxid of the tree.
    Refused(ErrorCode),
    /// The session ends; it lives here alone.
    Close,
    /// A header that was decided when the request was read.
    Bare {
        /// 0 or -1: the client must not remember it.
        zxid: Zxid,
        /// 0 for success.
        err: i32,
        /// What becomes of the connection.
        then: Then,
    },
}

/// Who asks.
#[derive(Debug)]
pub struct Caller<'a> {
    /// The session.
    pub session: SessionId,
    /// The connection's identities when the request was read.
    pub identities: &'a [Id],
    /// Whether ACLs are looked at.
    pub acl_check: AclCheck,
    /// Where watches are registered.
    pub watches: &'a Watches,
    /// The connection there.
    pub watcher: &'a Arc<Watcher>,
}

/// A reply that is not encoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The header.
    pub header: ReplyHeader,
    /// The body if the header says success.
    pub response: Response,
    /// What becomes of the connection.
    pub then: Then,
}

/// Answers a request from the tree as it is. What it makes watches fire waits in the caller's mailbox.
pub fn answer(tree: &Tree, caller: &Caller<'_>, xid: i32, local: &Local) -> Answer {
    let zxid = tree.last_processed();
    let from_tree = |xid, done: Result<Response, ErrorCode>| {
        let (err, response) = match done {
            Ok(response) => (0, response),
            Err(code) => (code.as_wire(), Response::Empty),
        };
        Answer { header: ReplyHeader { xid, zxid, err }, response, then: Then::Stay }
    };
    match local {
        Local::Read(Request::Ping) => from_tree(ReplyHeader::PING_XID, Ok(Response::Empty)),
        // There is no SASL here: an empty token with zxid 0 says so to every client.
        Local::Read(Request::Sasl { .. }) => {
            let header = ReplyHeader { xid, zxid: Zxid::ZERO, err: 0 };
            Answer { header, response: Response::Sasl(None), then: Then::Stay }
        }
        Local::Read(Request::MultiRead(reads)) => {
            let (err, response) = multi_read(tree, caller, reads);
            Answer { header: ReplyHeader { xid, zxid, err }, response, then: Then::Stay }
        }
        Local::Read(request) => from_tree(xid, read(tree, caller, request)),
        Local::Refused(code) => from_tree(xid, Err(*code)),
        Local::Close => Answer { then: Then::Close, ..from_tree(xid, Ok(Response::Empty)) },
        Local::Bare { zxid, err, then } => Answer {
            header: ReplyHeader { xid, zxid: *zxid, err: *err },
            response: Response::Empty,
            then: *then,
        },
    }
}

fn read(tree: &Tree, caller: &Caller<'_>, request: &Request) -> Result<Response, ErrorCode> {
    match request {
        Request::Exists(read) => exists(tree, caller, read),
        Request::GetData(read) => {
            let node = readable(tree, caller, read.path.as_deref())?;
            caller.leave_watch(read, Table::Data);
            Ok(Response::Data { data: data(&node), stat: node.stat() })
        }
        Request::GetAcl { path } => read_acl(tree, caller, path.as_deref()),
        Request::GetChildren(read) => {
            let node = readable(tree, caller, read.path.as_deref())?;
            caller.leave_watch(read, Table::Child);
            Ok(Response::Names(names(&node)))
        }
        Request::GetChildren2(read) => {
            let node = readable(tree, caller, read.path.as_deref())?;
            caller.leave_watch(read, Table::Child);
            Ok(Response::Children { names: names(&node), stat: node.stat() })
        }
        Request::CheckWatches(asked) => {
            watcher_request(asked, |path| caller.watches.has(caller.watcher, path, asked.kind))
        }
        Request::RemoveWatches(asked) => {
            watcher_request(asked, |path| caller.watches.remove(caller.watcher, path, asked.kind))
        }
        Request::AddWatch { path, mode } => {
            let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
            caller.add_watch(path, *mode);
            Ok(Response::WatchAdded)
        }
        Request::SetWatches(set) | Request::SetWatches2(set) => {
            set_watches(tree, caller, set).map(|()| Response::Empty)
        }
        Request::GetEphemerals { prefix } => Ok(Response::Names(ephemerals(tree, caller, prefix.as_deref()))),
        Request::GetAllChildrenNumber { path } => {
            let node = readable(tree, caller, path.as_deref())?;
            // Under its other name the root counts itself, as in ZooKeeper.
            let itself = u64::from(path.as_deref() == Some(""));
            Ok(Response::Count(i32::try_from(node.descendant_count() + itself).unwrap_or(i32::MAX)))
        }
        // Whoever asks here has waited already.
        Request::Sync { path } => Ok(Response::Path(path.clone())),
        Request::WhoAmI => Ok(Response::WhoAmI(acl::client_infos(caller.identities))),
        Request::Ping
        | Request::MultiRead(_)
        | Request::Sasl { .. }
        | Request::Auth { .. }
        | Request::Create(_)
        | Request::Create2(_)
        | Request::CreateContainer(_)
        | Request::CreateTtl(_)
        | Request::Delete { .. }
        | Request::SetData { .. }
        | Request::SetAcl { .. }
        | Request::Multi(_)
        | Request::Reconfig(_)
        | Request::CloseSession => panic!("{:?} is not answered from the tree", request.op()),
    }
}

/// The node of a path that the caller may read.
fn readable<'a>(tree: &'a Tree, caller: &Caller<'_>, path: Option<&str>) -> Result<NodeRef<'a>, ErrorCode> {
    let node = find(tree, path.ok_or(ErrorCode::MarshallingError)?).ok_or(ErrorCode::NoNode)?;
    match caller.may(&node, perms::READ) {
        true => Ok(node),
        false => Err(ErrorCode::NoAuth),
    }
}

/// Reads take a path as it is; the empty one is the root.
fn find<'a>(tree: &'a Tree, path: &str) -> Option<NodeRef<'a>> {
    tree.node(path)
}

fn data(node: &NodeRef<'_>) -> Option<Bytes> {
    node.data().map(Bytes::copy_from_slice)
}

fn names(node: &NodeRef<'_>) -> Vec<String> {
    node.children().map(str::to_owned).collect()
}

fn exists(tree: &Tree, caller: &Caller<'_>, read: &ReadRequest) -> Result<Response, ErrorCode> {
    let path = read.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    let node = find(tree, path);
    if node.as_ref().is_some_and(|node| !caller.may(node, perms::READ)) {
        return Err(ErrorCode::NoAuth);
    }
    caller.leave_watch(read, Table::Data);
    Ok(Response::Stat(node.ok_or(ErrorCode::NoNode)?.stat()))
}

fn read_acl(tree: &Tree, caller: &Caller<'_>, path: Option<&str>) -> Result<Response, ErrorCode> {
    let node = find(tree, path.ok_or(ErrorCode::MarshallingError)?).ok_or(ErrorCode::NoNode)?;
    if !caller.may(&node, perms::READ | perms::ADMIN) {
        return Err(ErrorCode::NoAuth);
    }
    let acl = acl::visible(caller.acl_check, node.acl(), caller.identities);
    Ok(Response::Acl { acl, stat: node.stat() })
}

/// The results of all reads, each with its own error; a null path fails the whole, behind the results before it.
fn multi_read(tree: &Tree, caller: &Caller<'_>, reads: &[ReadOp]) -> (i32, Response) {
    let mut results = Vec::with_capacity(reads.len());
    for read in reads {
        let done = match read {
            ReadOp::GetData(path) => readable(tree, caller, path.as_deref())
                .map(|node| MultiReadResult::Data { data: data(&node), stat: node.stat() }),
            ReadOp::GetChildren(path) => {
                readable(tree, caller, path.as_deref()).map(|node| MultiReadResult::Names(names(&node)))
            }
        };
        match done {
            Ok(result) => results.push(result),
            Err(code @ ErrorCode::MarshallingError) => {
                return (code.as_wire(), Response::MultiRead(results));
            }
            Err(code) => results.push(MultiReadResult::Failed(code.as_wire())),
        }
    }
    (0, Response::MultiRead(results))
}

fn watcher_request(asked: &WatcherRequest, found: impl FnOnce(&str) -> bool) -> Result<Response, ErrorCode> {
    // Nobody watches null.
    if asked.path.as_deref().is_some_and(found) { Ok(Response::Empty) } else { Err(ErrorCode::NoWatcher) }
}

/// Specification 1, section 14.8: what the client missed fires at once, everything else is registered again. As in
/// ZooKeeper the lists before one that is null are done.
fn set_watches(tree: &Tree, caller: &Caller<'_>, set: &SetWatchesRequest) -> Result<(), ErrorCode> {
    let tell = |kind, path: &str| caller.watcher.tell(tree.zxid(), kind, path);
    let register = |table, path: &str, mode| caller.watches.register(caller.watcher, table, path, mode);
    for path in whole(&set.data)? {
        match find(tree, path) {
            None => tell(EventKind::Deleted, path),
            Some(node) if node.stat().mzxid > set.relative_zxid => tell(EventKind::DataChanged, path),
            Some(_) => register(Table::Data, path, Mode::Standard),
        }
    }
    for path in whole(&set.exist)? {
        match find(tree, path) {
            None => register(Table::Data, path, Mode::Standard),
            Some(_) => tell(EventKind::Created, path),
        }
    }
    for path in whole(&set.child)? {
        match find(tree, path) {
            None => tell(EventKind::Deleted, path),
            Some(node) if node.stat().pzxid > set.relative_zxid => tell(EventKind::ChildrenChanged, path),
            Some(_) => register(Table::Child, path, Mode::Standard),
        }
    }
    whole(&set.persistent)?.iter().for_each(|path| caller.add_watch(path, AddWatchMode::Persistent));
    whole(&set.recursive)?.iter().for_each(|path| caller.add_watch(path, AddWatchMode::PersistentRecursive));
    Ok(())
}

fn whole(list: &Option<Vec<String>>) -> Result<&[String], ErrorCode> {
    list.as_deref().ok_or(ErrorCode::MarshallingError)
}

fn ephemerals(tree: &Tree, caller: &Caller<'_>, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(str::trim).filter(|prefix| *prefix != "/").unwrap_or_default();
    let all = tree.ephemerals(caller.session).into_iter();
    all.filter(|path| path.starts_with(prefix)).collect()
}

impl Caller<'_> {
    fn may(&self, node: &NodeRef<'_>, wanted: i32) -> bool {
        acl::allows(self.acl_check, node.acl(), wanted, self.identities)
    }

    fn leave_watch(&self, read: &ReadRequest, table: Table) {
        if let Some(path) = read.path.as_deref().filter(|_| read.watch) {
            self.watches.register(self.watcher, table, path, Mode::Standard);
        }
    }

    fn add_watch(&self, path: &str, mode: AddWatchMode) {
        match mode {
            AddWatchMode::Persistent => {
                self.watches.register(self.watcher, Table::Data, path, Mode::Persistent);
                self.watches.register(self.watcher, Table::Child, path, Mode::Persistent);
            }
            AddWatchMode::PersistentRecursive => {
                self.watches.register(self.watcher, Table::Data, path, Mode::Recursive);
            }
        }
    }
}
