//! One request: its header and its body.

use bytes::Bytes;
use quorate::base::wire::Writer;
use quorate::proto::request::{
    CreateRequest, ReadRequest, ReconfigRequest, RequestHeader, SetWatchesRequest, WatcherRequest,
};
use quorate::proto::{Acl, MultiOp, Op, ReadOp, Request, RequestError};

pub fn judge(input: &[u8]) {
    let mut body = Bytes::copy_from_slice(input);
    let Ok(header) = RequestHeader::decode(&mut body) else { return };
    let request = match Request::decode(header.op, body) {
        Ok(request) => request,
        Err(RequestError::UnknownOp(op)) => return assert_eq!(op, header.op),
        Err(RequestError::Body { op, .. }) => return assert_eq!(op.as_wire(), header.op),
        Err(RequestError::Frame(_)) => {
            let of_connection = [Op::Auth, Op::Sasl].map(Op::as_wire);
            return assert!(of_connection.contains(&header.op), "only these break the connection");
        }
    };
    assert_eq!(request.op().as_wire(), header.op);
    let mut again = Writer::new();
    encode(&request, &mut again);
    assert_eq!(Request::decode(header.op, again.finish()), Ok(request));
}

fn encode(request: &Request, out: &mut Writer) {
    match request {
        Request::Create(create) | Request::Create2(create) | Request::CreateContainer(create) => {
            put_create(create, out);
        }
        Request::CreateTtl(create) => {
            put_create(create, out);
            out.i64(create.ttl);
        }
        Request::Delete { path, version } => {
            put(path, out).i32(*version);
        }
        Request::SetData { path, data, version } => {
            put(path, out).buffer(data.as_deref()).i32(*version);
        }
        Request::SetAcl { path, acl, version } => {
            put_acl(acl, put(path, out));
            out.i32(*version);
        }
        Request::Exists(read)
        | Request::GetData(read)
        | Request::GetChildren(read)
        | Request::GetChildren2(read) => put_read(read, out),
        Request::GetAcl { path } | Request::Sync { path } | Request::GetAllChildrenNumber { path } => {
            put(path, out);
        }
        Request::GetEphemerals { prefix } => {
            put(prefix, out);
        }
        Request::Ping | Request::WhoAmI | Request::CloseSession => {}
        Request::Multi(ops) => put_multi(ops, out),
        Request::MultiRead(ops) => put_multi_read(ops, out),
        Request::Reconfig(ReconfigRequest { joining, leaving, members, config_id }) => {
            put(members, put(leaving, put(joining, out))).i64(*config_id);
        }
        Request::CheckWatches(WatcherRequest { path, kind })
        | Request::RemoveWatches(WatcherRequest { path, kind }) => {
            put(path, out).i32(*kind as i32);
        }
        Request::Auth { scheme, auth } => {
            put(scheme, out.i32(0)).buffer(auth.as_deref());
        }
        Request::SetWatches(watches) => {
            put_watches(watches, out);
            let none = Some(Vec::new());
            assert!(watches.persistent == none && watches.recursive == none, "they are of setWatches2");
        }
        Request::SetWatches2(watches) => {
            put_watches(watches, out);
            put_paths(&watches.persistent, out);
            put_paths(&watches.recursive, out);
        }
        Request::Sasl { token } => {
            out.buffer(Some(token));
        }
        Request::AddWatch { path, mode } => {
            put(path, out).i32(*mode as i32);
        }
    }
}

fn put<'a>(text: &Option<String>, out: &'a mut Writer) -> &'a mut Writer {
    out.buffer(text.as_deref().map(str::as_bytes))
}

fn put_acl(list: &Option<Vec<Acl>>, out: &mut Writer) {
    match list {
        None => {
            out.i32(-1);
        }
        Some(list) => Acl::encode_list(list, out),
    }
}

/// Without the time to live.
fn put_create(create: &CreateRequest, out: &mut Writer) {
    put(&create.path, out).buffer(create.data.as_deref());
    put_acl(&create.acl, out);
    out.i32(create.flags);
}

fn put_read(read: &ReadRequest, out: &mut Writer) {
    put(&read.path, out).bool(read.watch);
}

fn put_paths(paths: &Option<Vec<String>>, out: &mut Writer) {
    let Some(paths) = paths else {
        out.i32(-1);
        return;
    };
    out.count(paths.len());
    for path in paths {
        out.string(path);
    }
}

fn put_watches(watches: &SetWatchesRequest, out: &mut Writer) {
    out.i64(watches.relative_zxid.0);
    for paths in [&watches.data, &watches.exist, &watches.child] {
        put_paths(paths, out);
    }
}

/// What stands before each operation of a multi, and `None` behind the last.
fn put_header(op: Option<Op>, out: &mut Writer) {
    out.i32(op.map_or(-1, Op::as_wire)).bool(op.is_none()).i32(-1);
}

fn put_multi(ops: &[MultiOp], out: &mut Writer) {
    for op in ops {
        let (code, create) = match op {
            MultiOp::Create(create) => (Op::Create, Some(create)),
            MultiOp::Create2(create) => (Op::Create2, Some(create)),
            MultiOp::CreateContainer(create) => (Op::CreateContainer, Some(create)),
            MultiOp::CreateTtl(create) => (Op::CreateTtl, Some(create)),
            MultiOp::Delete { .. } => (Op::Delete, None),
            MultiOp::SetData { .. } => (Op::SetData, None),
            MultiOp::Check { .. } => (Op::Check, None),
        };
        put_header(Some(code), out);
        if let Some(create) = create {
            put_create(create, out);
        }
        match op {
            MultiOp::Create(_) | MultiOp::Create2(_) | MultiOp::CreateContainer(_) => {}
            MultiOp::CreateTtl(create) => {
                out.i64(create.ttl);
            }
            MultiOp::SetData { path, data, version } => {
                put(path, out).buffer(data.as_deref()).i32(*version);
            }
            MultiOp::Delete { path, version } | MultiOp::Check { path, version } => {
                put(path, out).i32(*version);
            }
        }
    }
    put_header(None, out);
}

fn put_multi_read(ops: &[ReadOp], out: &mut Writer) {
    for op in ops {
        let (code, path) = match op {
            ReadOp::GetData(path) => (Op::GetData, path),
            ReadOp::GetChildren(path) => (Op::GetChildren, path),
        };
        put_header(Some(code), out);
        put(path, out).bool(false);
    }
    put_header(None, out);
}
