//! Reads requests: which of them the loop must order, and which the connection answers.
//!
//! In: frames. Out: what to ask for, with the client's number for it.
//!
//! Always true:
//! * a credential counts for every request read after it, and for none before;
//! * bytes that are no request end the connection, and reach nobody else.
//!
//! Not here: when a request is asked or answered (`conn`, `behind`).

use std::sync::Arc;

use bytes::Bytes;

use super::{Conn, Phase};
use crate::base::wire::DecodeError;
use crate::base::{Millis, Zxid};
use crate::proto::request::RequestHeader;
use crate::proto::{ErrorCode, Op, Request, RequestError};
use crate::replica::event::{Ask, Closing, Then};
use crate::replica::read::Local;
use crate::tree::acl;

impl Conn {
    /// Reads a request, and does at once what is of the connection alone.
    pub(super) fn on_request(&mut self, now: Millis, mut frame: Bytes) -> Option<(i32, Ask)> {
        let Ok(header) = RequestHeader::decode(&mut frame) else {
            self.phase = Phase::Closing(Closing::Abrupt);
            return None;
        };
        let request = Request::decode(header.op, frame.clone());
        let is_of_connection = matches!(request, Ok(Request::Auth { .. } | Request::Sasl { .. }));
        if !is_of_connection {
            self.touch(now);
            self.latest.op = header.op;
            self.latest.xid = if header.xid < 0 { self.latest.xid } else { header.xid };
        }
        let ask = match request {
            Ok(request) => self.on_known(request, frame),
            Err(RequestError::Body { op: Op::Multi, source }) => broken_multi(&source, frame),
            Err(RequestError::Body { .. }) => Ask::Local(Local::Refused(ErrorCode::MarshallingError)),
            Err(RequestError::UnknownOp(_)) => {
                self.leave();
                let err = ErrorCode::Unimplemented.as_wire();
                Ask::Local(Local::Bare { zxid: Zxid::NONE, err, then: Then::Close })
            }
            Err(RequestError::Frame(_)) => {
                self.phase = Phase::Closing(Closing::Abrupt);
                return None;
            }
        };
        Some((header.xid, ask))
    }

    fn on_known(&mut self, request: Request, body: Bytes) -> Ask {
        match request {
            Request::Create(_)
            | Request::Create2(_)
            | Request::CreateContainer(_)
            | Request::CreateTtl(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Multi(_)
            | Request::Reconfig(_) => Ask::Write { op: request.op(), request, body },
            Request::CloseSession => {
                self.leave();
                Ask::Write { op: request.op(), request, body: Bytes::new() }
            }
            Request::Sync { path } => Ask::Sync(path),
            Request::Auth { scheme, auth } => Ask::Local(self.on_auth(scheme.as_deref(), auth.as_deref())),
            Request::Exists(_)
            | Request::GetData(_)
            | Request::GetAcl { .. }
            | Request::GetChildren(_)
            | Request::GetChildren2(_)
            | Request::Ping
            | Request::MultiRead(_)
            | Request::CheckWatches(_)
            | Request::RemoveWatches(_)
            | Request::SetWatches(_)
            | Request::SetWatches2(_)
            | Request::Sasl { .. }
            | Request::GetEphemerals { .. }
            | Request::GetAllChildrenNumber { .. }
            | Request::AddWatch { .. }
            | Request::WhoAmI => Ask::Local(Local::Read(request)),
        }
    }

    /// Takes a credential. It counts for every request read after it; its reply keeps its place among the others.
    fn on_auth(&mut self, scheme: Option<&str>, auth: Option<&[u8]>) -> Local {
        let granted = match self.service.settings.schemes.authenticate(scheme, auth, self.address) {
            Ok(granted) => granted,
            Err(code) => {
                self.service.meters.auth_failures.add(1);
                self.leave();
                return Local::Bare { zxid: Zxid::ZERO, err: code.as_wire(), then: Then::Close };
            }
        };
        let identities = Arc::make_mut(&mut self.identities);
        for id in granted {
            if !identities.contains(&id) {
                identities.push(id);
            }
        }
        acl::sort_identities(identities);
        self.watcher.set_identities(Arc::clone(&self.identities));
        Local::Bare { zxid: Zxid::ZERO, err: 0, then: Then::Stay }
    }
}

/// ZooKeeper takes a zxid for a multi that it cannot read, unless it stumbles over a null.
fn broken_multi(error: &DecodeError, body: Bytes) -> Ask {
    match error {
        DecodeError::Null { .. } => Ask::Local(Local::Refused(ErrorCode::MarshallingError)),
        DecodeError::Unknown { field: "create flags", .. } => Ask::Broken { body: Some(body) },
        DecodeError::TooShort { .. }
        | DecodeError::Length { .. }
        | DecodeError::Unknown { .. }
        | DecodeError::Invalid { .. } => Ask::Broken { body: None },
    }
}
