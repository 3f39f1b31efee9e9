//! The operations inside multi and multiRead.
//!
//! In: the bytes of their bodies: elements with a header each, until a header says that it is the last. Out: the
//! operations.
//!
//! Always true:
//! * one element that cannot be read, or that does not belong here, fails the whole request.
//!
//! Not here: the results (`response`), whether the operations make sense (`replica::prepare`).

use bytes::Bytes;

use super::op::Op;
use super::request::{CreateMode, CreateRequest, create, create_ttl, path_version, read, set_data};
use crate::base::wire::{DecodeError, Reader};

/// One write of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp {
    /// Create, answered with the path.
    Create(CreateRequest),
    /// Create, answered with path and stat.
    Create2(CreateRequest),
    /// Create a container; any create with flags 4 becomes one.
    CreateContainer(CreateRequest),
    /// Create a node with a time to live; its flags are 5 or 6.
    CreateTtl(CreateRequest),
    /// Delete a node.
    Delete {
        /// The node; `None` is null.
        path: Option<String>,
        /// The version expected; -1 for any.
        version: i32,
    },
    /// Replace the data.
    SetData {
        /// The node; `None` is null.
        path: Option<String>,
        /// The data; null and empty differ.
        data: Option<Bytes>,
        /// The version expected; -1 for any.
        version: i32,
    },
    /// Check the version.
    Check {
        /// The node; `None` is null.
        path: Option<String>,
        /// The version expected; -1 for any.
        version: i32,
    },
}

/// One read of a multiRead; it never leaves a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOp {
    /// Data and stat.
    GetData(Option<String>),
    /// Names of the children.
    GetChildren(Option<String>),
}

/// Reads the operations of a multi.
pub(super) fn decode(reader: &mut Reader) -> Result<Vec<MultiOp>, DecodeError> {
    let mut ops = Vec::new();
    while let Some(op) = header(reader)? {
        ops.push(match op {
            Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => create_op(op, reader)?,
            Op::Delete => {
                let (path, version) = path_version(reader)?;
                MultiOp::Delete { path, version }
            }
            Op::SetData => {
                let (path, data, version) = set_data(reader)?;
                MultiOp::SetData { path, data, version }
            }
            Op::Check => {
                let (path, version) = path_version(reader)?;
                MultiOp::Check { path, version }
            }
            other => {
                let value = i64::from(other.as_wire());
                return Err(DecodeError::Unknown { field: "multi type", value });
            }
        });
    }
    Ok(ops)
}

/// Reads the operations of a multiRead; whether they ask for watches is ignored.
pub(super) fn decode_reads(reader: &mut Reader) -> Result<Vec<ReadOp>, DecodeError> {
    let mut ops = Vec::new();
    while let Some(op) = header(reader)? {
        ops.push(match op {
            Op::GetData => ReadOp::GetData(read(reader)?.path),
            Op::GetChildren => ReadOp::GetChildren(read(reader)?.path),
            other => {
                let value = i64::from(other.as_wire());
                return Err(DecodeError::Unknown { field: "multi type", value });
            }
        });
    }
    Ok(ops)
}

/// Reads the header of the next element of a multi; `None` after the last.
fn header(reader: &mut Reader) -> Result<Option<Op>, DecodeError> {
    let code = reader.i32("multi type")?;
    let done = reader.bool("multi done")?;
    reader.i32("multi err")?;
    if done {
        return Ok(None);
    }
    let unknown = DecodeError::Unknown { field: "multi type", value: i64::from(code) };
    Op::from_wire(code).map(Some).ok_or(unknown)
}

/// In a multi the flags decide what a create is: Apache ZooKeeper's classes do it while they read.
fn create_op(op: Op, reader: &mut Reader) -> Result<MultiOp, DecodeError> {
    let request = if op == Op::CreateTtl { create_ttl(reader)? } else { create(reader)? };
    if request.acl.is_none() {
        return Err(DecodeError::Null { field: "acl" });
    }
    let unknown = DecodeError::Unknown { field: "create flags", value: i64::from(request.flags) };
    let Some(mode) = CreateMode::from_flags(request.flags) else {
        return Err(unknown);
    };
    let plain = CreateRequest { ttl: -1, ..request };
    match mode {
        CreateMode::Container => Ok(MultiOp::CreateContainer(plain)),
        CreateMode::Ttl | CreateMode::TtlSequential if op == Op::CreateTtl => {
            Ok(MultiOp::CreateTtl(CreateRequest { ttl: request.ttl, ..plain }))
        }
        CreateMode::Ttl | CreateMode::TtlSequential => Err(unknown),
        CreateMode::Persistent
        | CreateMode::Ephemeral
        | CreateMode::PersistentSequential
        | CreateMode::EphemeralSequential => Ok(match op {
            Op::Create2 => MultiOp::Create2(plain),
            Op::CreateContainer => MultiOp::CreateContainer(plain),
            _ => MultiOp::Create(plain),
        }),
    }
}
