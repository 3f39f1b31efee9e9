//! Replies to reads: they show the state of the tree at their zxid, to who may see it.
//!
//! In: a reply and the model at its zxid. Out: a panic when they differ.
//!
//! Always true:
//! * what is not there is answered with its error, and what the asker may not see, too.
//!
//! Not here: watches that reads leave (`invariants::watches`).

use quorate::base::wire::Reader;
use quorate::base::{SessionId, Zxid};

use super::writes::same_stat;
use super::{Asked, Oracle, code, read};
use crate::acl::{self, Identities, perms};
use crate::model::{CONFIG, Node, name_hash};
use crate::request::Request;
use crate::wire::{self, Reply, op};

impl Oracle {
    /// A read is answered.
    pub(super) fn on_read(&self, session: SessionId, asked: &Asked<'_>, reply: &mut Reply) {
        let (zxid, asker) = (reply.zxid, asked.identities);
        match asked.request {
            Request::MultiRead(reads) => {
                assert!(reply.err == 0, "{reads:?} are answered with {}", reply.err);
                self.multi_read(reads, (zxid, asker), &mut reply.body);
            }
            Request::GetAcl { path } => {
                let node = self.readable(path, zxid, asker, perms::READ | perms::ADMIN);
                let Some(node) = agreed(asked.request, zxid, node, reply.err) else { return };
                let (list, stat) = (read(wire::acl(&mut reply.body)), read(wire::stat(&mut reply.body)));
                let expected = acl::shown(&node.acl, asker);
                assert!(list == expected, "{path} at {zxid} has the ACL {expected:?}, and {list:?} is shown");
                same_stat(path, zxid, node, &stat);
            }
            Request::Ephemerals { prefix } => {
                assert!(reply.err == 0, "ephemeral nodes are answered with {}", reply.err);
                self.ephemerals(session, zxid, prefix, &mut reply.body);
            }
            Request::Count { path } => {
                let node = self.readable(path, zxid, asker, perms::READ);
                if agreed(asked.request, zxid, node, reply.err).is_none() {
                    return;
                }
                let (count, expected) =
                    (read(reply.body.i32("count")), self.model.below(path, zxid).count() - 1);
                assert!(
                    count as usize == expected,
                    "{path} at {zxid} has {expected} below it, and {count} are told"
                );
            }
            Request::WhoAmI => who_am_i(asker, &mut reply.body),
            Request::Check { .. } => {
                let is_right = (reply.zxid, reply.err) == (Zxid::NONE, code::UNIMPLEMENTED);
                assert!(is_right, "a check outside of a multi is answered with {reply:?}");
            }
            Request::AddWatch { .. }
            | Request::SetWatches { .. }
            | Request::Sasl
            | Request::Sync
            | Request::Auth(_)
            | Request::Ping => {
                assert!(reply.err == 0, "{:?} is answered with {}", asked.request, reply.err);
            }
            // What there is of watches their own invariant knows.
            Request::CheckWatches { .. } | Request::RemoveWatches { .. } => {
                let is_right = matches!(reply.err, 0 | code::NO_WATCHER);
                assert!(is_right, "{:?} is answered with {}", asked.request, reply.err);
            }
            request => self.plain_read(request, (zxid, asker), reply.err, &mut reply.body),
        }
    }

    /// The paths of a session's own nodes.
    fn ephemerals(&self, session: SessionId, zxid: Zxid, prefix: &str, body: &mut Reader) {
        let mut paths = strings(body);
        paths.sort();
        let owned = |(path, node): (&str, &Node)| {
            let is_own = node.stat.owner == session.0 && path.starts_with(prefix);
            is_own.then(|| path.to_owned())
        };
        let expected: Vec<String> = self.model.below("/", zxid).filter_map(owned).collect();
        assert!(paths == expected, "{session} at {zxid} has {expected:?}, and {paths:?} are shown");
    }

    /// Data, stat or children of one node.
    fn plain_read(&self, request: &Request, at: (Zxid, Identities), err: i32, body: &mut Reader) {
        let (zxid, asker) = at;
        let (Request::Get { path, .. } | Request::Exists { path, .. } | Request::Children { path, .. }) =
            request
        else {
            unreachable!("{request:?} is no read of one node");
        };
        let node = self.readable(path, zxid, asker, perms::READ);
        let Some(node) = agreed(request, zxid, node, err) else { return };
        match request {
            Request::Get { path, .. } => {
                let data = read(body.buffer("data")).unwrap_or_default();
                if path == CONFIG {
                    return self.config(zxid, node, &data, body);
                }
                assert!(data == node.data, "{path} at {zxid} reads {data:?}, and it held {:?}", node.data);
                same_stat(path, zxid, node, &read(wire::stat(body)));
            }
            Request::Children { op, .. } => {
                let names = strings(body);
                let count = i32::try_from(names.len()).expect("few children");
                let sum = names.iter().map(|name| name_hash(name)).fold(0, u64::wrapping_add);
                assert!(
                    (count, sum) == (node.stat.children, node.names),
                    "{path} at {zxid} lists {count} children, and it had {}",
                    node.stat.children
                );
                if *op == op::GET_CHILDREN2 {
                    same_stat(path, zxid, node, &read(wire::stat(body)));
                }
            }
            _ => same_stat(path, zxid, node, &read(wire::stat(body))),
        }
    }

    /// The membership: the one of the last reconfig, and that of the configuration files before the first.
    fn config(&self, zxid: Zxid, node: &Node, data: &[u8], body: &mut Reader) {
        let stat = read(wire::stat(body));
        let is_first = node.stat.mzxid == 0;
        let is_right = is_first || (data == node.data && stat.mzxid == node.stat.mzxid);
        assert!(
            is_right && stat.version == -1 && data.starts_with(b"server."),
            "at {zxid} the membership reads {:?} {stat:?}, and it is {:?}",
            String::from_utf8_lossy(data),
            node
        );
    }

    fn multi_read(&self, reads: &[Request], at: (Zxid, Identities), body: &mut Reader) {
        for request in reads {
            let (kind, done, err) = (read(body.i32("type")), read(body.bool("done")), read(body.i32("err")));
            assert!(!done && (kind == op::ERROR || err == 0), "{request:?} of {reads:?}: {kind} {err}");
            if kind == op::ERROR {
                let again = read(body.i32("err"));
                assert!(again == err, "{request:?} of {reads:?} says {err} and {again}");
            } else {
                assert!(kind == request.op(), "{request:?} of {reads:?} is answered as {kind}");
            }
            self.plain_read(request, at, err, body);
        }
        let end = (read(body.i32("type")), read(body.bool("done")), read(body.i32("err")));
        assert!(end == (-1, true, -1), "a multiRead ends with {end:?}");
    }

    /// A node that may be read with one of these permissions, or the error.
    fn readable(&self, path: &str, zxid: Zxid, asker: Identities, wanted: i32) -> Result<&Node, i32> {
        let node = self.model.at(path, zxid).ok_or(code::NO_NODE)?;
        if asker.may(&node.acl, wanted) { Ok(node) } else { Err(code::NO_AUTH) }
    }
}

/// The node, if both sides say that there is one to be seen.
fn agreed<'a>(request: &Request, zxid: Zxid, node: Result<&'a Node, i32>, err: i32) -> Option<&'a Node> {
    let expected = node.err().unwrap_or(0);
    assert!(expected == err, "{request:?} at {zxid} is answered with {err}, and {expected} is right");
    node.ok()
}

/// Who the asker proved to be.
fn who_am_i(asker: Identities, body: &mut Reader) {
    let count = read(body.i32("count"));
    let field = |body: &mut Reader| read(wire::string(body));
    let mut told: Vec<_> = (0..count).map(|_| (field(body), field(body))).collect();
    told.retain(|(scheme, _)| scheme != "ip");
    told.sort();
    let expected = asker.told();
    assert!(told.len() as i32 == count - 1 && told == expected, "{told:?} is told to {expected:?}");
}

fn strings(body: &mut Reader) -> Vec<String> {
    let count = read(body.i32("count"));
    (0..count).map(|_| read(wire::string(body))).collect()
}
