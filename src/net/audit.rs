//! The audit log: one line for each operation that would change something, with its outcome (`audit.enable`).
//!
//! In: requests of a connection, and the replies to them. Out: records in ZooKeeper's form, on the log's target `audit`.
//!
//! Always true:
//! * a record names who asked, never what was written;
//! * a line has its fields in ZooKeeper's order, and none without a value.
//!
//! Not here: ephemeral nodes that go with their session, which no client asks for.

use std::fmt::Write as _;
use std::net::IpAddr;

use tracing::{error, info};

use crate::base::SessionId;
use crate::proto::multi::MultiOp;
use crate::proto::{Acl, CreateMode, CreateRequest, Id, Request, perms};
use crate::replica::event::{Ask, ClientRequest};

/// Where the error code stands in the frame of a reply: behind its length, xid and zxid.
const ERR_AT: usize = 16;
/// Where the first string of a reply's body stands.
const BODY_AT: usize = 20;

/// An operation that was asked for, until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The fields before the operation's.
    who: String,
    ops: Vec<Operation>,
    is_multi: bool,
}

/// What one operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Operation {
    name: &'static str,
    path: Option<String>,
    node_type: Option<&'static str>,
    acl: Option<String>,
}

/// How an operation of the server itself went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Success,
    /// It could not be done.
    Failure,
    /// It begins.
    Invoked,
}

/// Writes what the server itself does; its user is the system's.
pub fn tell_of_server(operation: &str, outcome: Outcome) {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    let who = user.map_or(String::new(), |user| format!("user={user}\t"));
    match outcome {
        Outcome::Success => info!(target: "audit", "{who}operation={operation}\tresult=success"),
        Outcome::Invoked => info!(target: "audit", "{who}operation={operation}\tresult=invoked"),
        Outcome::Failure => error!(target: "audit", "{who}operation={operation}\tresult=failure"),
    }
}

impl Record {
    /// What is to be told of a request; `None` if it changes nothing.
    pub(super) fn of(session: SessionId, from: IpAddr, request: &ClientRequest) -> Option<Record> {
        let Ask::Write { request: asked, .. } = &request.ask else { return None };
        let (ops, is_multi) = match asked {
            Request::Multi(ops) => (ops.iter().filter_map(of_multi).collect(), true),
            one => (vec![of_one(one)?], false),
        };
        let users: Vec<&str> = request.identities.iter().filter_map(user).collect();
        let who = format!("session=0x{:x}\tuser={}\tip={from}", session.0, users.join(","));
        Some(Record { who, ops, is_multi })
    }

    /// Writes what became of it, by the whole frame of its reply.
    pub(super) fn tell(&self, reply: &[u8]) {
        for (line, is_success) in self.lines(reply) {
            match is_success {
                true => info!(target: "audit", "{line}"),
                false => error!(target: "audit", "{line}"),
            }
        }
    }

    fn lines(&self, reply: &[u8]) -> Vec<(String, bool)> {
        let is_success = reply.get(ERR_AT..ERR_AT + 4) == Some(&[0; 4]);
        let result = if is_success { "success" } else { "failure" };
        if self.is_multi && !is_success {
            return vec![(format!("{}\toperation=multiOperation\tresult={result}", self.who), false)];
        }
        let line = |op: &Operation| {
            let mut line = format!("{}\toperation={}", self.who, op.name);
            let created =
                if self.is_multi || !is_success || op.name != "create" { None } else { text(reply) };
            let fields = [
                ("znode", created.or(op.path.as_deref())),
                ("znode_type", op.node_type),
                ("acl", op.acl.as_deref()),
            ];
            for (key, value) in fields {
                if let Some(value) = value {
                    write!(line, "\t{key}={value}").expect("a string takes whatever is written");
                }
            }
            (line + "\tresult=" + result, is_success)
        };
        self.ops.iter().map(line).collect()
    }
}

/// The path in the reply to a create, which has the number of a sequential one.
fn text(reply: &[u8]) -> Option<&str> {
    let size = reply.get(BODY_AT..BODY_AT + 4)?.first_chunk::<4>()?;
    let size = usize::try_from(i32::from_be_bytes(*size)).ok()?;
    std::str::from_utf8(reply.get(BODY_AT + 4..)?.get(..size)?).ok()
}

fn user(id: &Id) -> Option<&str> {
    match id.scheme.as_str() {
        "digest" => id.id.split(':').next(),
        "super" => None,
        _ => Some(&id.id),
    }
}

fn of_one(request: &Request) -> Option<Operation> {
    let plain =
        |name, path: &Option<String>| Operation { name, path: path.clone(), node_type: None, acl: None };
    match request {
        Request::Create(create)
        | Request::Create2(create)
        | Request::CreateContainer(create)
        | Request::CreateTtl(create) => Some(of_create(create)),
        Request::Delete { path, .. } => Some(plain("delete", path)),
        Request::SetData { path, .. } => Some(plain("setData", path)),
        Request::SetAcl { path, acl, .. } => {
            let acl = acl.as_deref().map(acl_text);
            Some(Operation { name: "setAcl", path: path.clone(), node_type: None, acl })
        }
        Request::Reconfig(_) => Some(plain("reconfig", &None)),
        _ => None,
    }
}

fn of_multi(op: &MultiOp) -> Option<Operation> {
    let plain =
        |name, path: &Option<String>| Operation { name, path: path.clone(), node_type: None, acl: None };
    match op {
        MultiOp::Create(create)
        | MultiOp::Create2(create)
        | MultiOp::CreateContainer(create)
        | MultiOp::CreateTtl(create) => Some(of_create(create)),
        MultiOp::Delete { path, .. } => Some(plain("delete", path)),
        MultiOp::SetData { path, .. } => Some(plain("setData", path)),
        MultiOp::Check { .. } => None,
    }
}

fn of_create(create: &CreateRequest) -> Operation {
    let node_type = CreateMode::from_flags(create.flags).map(|mode| match mode {
        CreateMode::Persistent => "persistent",
        CreateMode::Ephemeral => "ephemeral",
        CreateMode::PersistentSequential => "persistent_sequential",
        CreateMode::EphemeralSequential => "ephemeral_sequential",
        CreateMode::Container => "container",
        CreateMode::Ttl => "persistent_with_ttl",
        CreateMode::TtlSequential => "persistent_sequential_with_ttl",
    });
    Operation { name: "create", path: create.path.clone(), node_type, acl: None }
}

/// `scheme:id:perms` of each entry, one behind the other.
fn acl_text(acl: &[Acl]) -> String {
    let letters = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    let entry = |entry: &Acl| {
        let given = letters.iter().filter(|(bit, _)| entry.perms & bit != 0).map(|(_, letter)| letter);
        format!("{}:{}:{}", entry.id.scheme, entry.id.id, given.collect::<String>())
    };
    acl.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::proto::Op;

    fn record(request: Request) -> Record {
        let ids = [("digest", "bob:hash"), ("ip", "127.0.0.1"), ("super", "")];
        let identities = Arc::new(ids.map(|(scheme, id)| Id::new(scheme, id)).to_vec());
        let ask = Ask::Write { op: Op::Create, request, body: Bytes::new() };
        let request = ClientRequest { xid: 1, ask, identities };
        Record::of(SessionId(7), IpAddr::from([127, 0, 0, 1]), &request).expect("it changes something")
    }

    fn reply(err: i32, path: &str) -> Vec<u8> {
        let mut reply = vec![0; ERR_AT];
        reply.extend(err.to_be_bytes());
        reply.extend(i32::try_from(path.len()).expect("it is short").to_be_bytes());
        reply.extend(path.as_bytes());
        reply
    }

    fn create(path: &str, flags: i32) -> CreateRequest {
        CreateRequest { path: Some(path.to_owned()), data: None, acl: None, flags, ttl: -1 }
    }

    #[test]
    fn a_create_is_told_with_the_path_that_it_got() {
        let record = record(Request::Create(create("/a-", 2)));
        let who = "session=0x7\tuser=bob,127.0.0.1\tip=127.0.0.1\toperation=create\tznode=";
        let success = format!("{who}/a-0000000003\tznode_type=persistent_sequential\tresult=success");
        assert_eq!(record.lines(&reply(0, "/a-0000000003")), [(success, true)]);
        let failure = format!("{who}/a-\tznode_type=persistent_sequential\tresult=failure");
        assert_eq!(record.lines(&reply(-110, "")), [(failure, false)]);
    }

    #[test]
    fn a_multi_is_told_by_its_parts_or_as_one_failure() {
        let check = MultiOp::Check { path: Some("/c".to_owned()), version: 1 };
        let record = record(Request::Multi(vec![MultiOp::Create(create("/a", 0)), check]));
        let lines = record.lines(&reply(0, ""));
        assert_eq!(lines.len(), 1, "checks are not told: {lines:?}");
        assert!(lines[0].0.ends_with("operation=create\tznode=/a\tznode_type=persistent\tresult=success"));
        let lines = record.lines(&reply(-101, ""));
        assert!(lines[0].0.ends_with("\toperation=multiOperation\tresult=failure"), "{lines:?}");
    }

    #[test]
    fn an_acl_is_told_entry_by_entry() {
        let acl = vec![
            Acl { perms: 31, id: Id::new("world", "anyone") },
            Acl { perms: 1, id: Id::new("ip", "::1") },
        ];
        assert_eq!(acl_text(&acl), "world:anyone:cdrwaip:::1:r");
    }
}
