//! Checks of single values of a request.
//!
//! In: paths and versions as given. Out: what follows from them, or the error code.
//!
//! Always true:
//! * nothing here looks at the tree.
//!
//! Not here: the order in which checks are made (`prepare`).

use bytes::Bytes;

use super::Checked;
use crate::base::ZPath;
use crate::proto::ErrorCode;
use crate::proto::multi::MultiOp;
use crate::session::SessionFault;

/// The path of an operation in a multi; `None` for null.
pub(super) fn path_of(op: &MultiOp) -> Option<&str> {
    match op {
        MultiOp::Create(create)
        | MultiOp::Create2(create)
        | MultiOp::CreateContainer(create)
        | MultiOp::CreateTtl(create) => create.path.as_deref(),
        MultiOp::Delete { path, .. } | MultiOp::SetData { path, .. } | MultiOp::Check { path, .. } => {
            path.as_deref()
        }
    }
}

/// The text before the last `/`, of a path that passes the weak validation of create and delete.
pub(super) fn weak_parent(path: &str) -> Checked<&str> {
    if !path.contains('/') || path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    Ok(parent_of(path))
}

/// The text before the last `/`; of a top-level node it is the root.
pub(super) fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

/// The full validation of a path.
pub(super) fn validate(path: Option<&str>) -> Checked<&str> {
    let path = path.ok_or(ErrorCode::BadArguments)?;
    ZPath::check(path).map_err(|_| ErrorCode::BadArguments)?;
    Ok(path)
}

/// Whether a version given is the current one; -1 is any.
pub(super) fn expect_version(expected: i32, current: i32) -> Checked<()> {
    if expected == -1 || expected == current { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// The version after a change; -1 is left out, because it would stand for any version.
pub(super) fn next_version(expected: i32, current: i32) -> Checked<i32> {
    expect_version(expected, current)?;
    let next = current.wrapping_add(1);
    Ok(if next == -1 { 0 } else { next })
}

/// Bytes of data that a request brings; its frame is far below 4 GiB.
pub(super) fn byte_count(data: Option<&Bytes>) -> u32 {
    data.map_or(0, |data| data.len() as u32)
}

/// What a client is told whose session may not write.
pub(super) fn code_of(fault: SessionFault) -> ErrorCode {
    match fault {
        SessionFault::Unknown | SessionFault::Expired => ErrorCode::SessionExpired,
        SessionFault::Moved => ErrorCode::SessionMoved,
    }
}
