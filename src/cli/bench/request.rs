//! The bytes of the requests of a load.
//!
//! In: an operation, an xid, numbers of nodes. Out: a frame at the end of a buffer.
//!
//! Always true:
//! * a frame is made by one copy of a template whose xid and numbers are written over: nothing is allocated for a request.
//!
//! Not here: which request is next (`connection`).

use bytes::{Bytes, BytesMut};

use super::mix::Operation;
use crate::base::wire::Writer;
use crate::proto::{Acl, Op};

/// Digits of a number in a path, as ZooKeeper's sequences have.
const DIGITS: usize = 10;
/// Where a frame's xid stands: behind its length.
const XID_AT: usize = 4;
/// What `-1` stands for in a request: any version, or the end of a multi.
const ANY: i32 = -1;
/// The mode of a persistent watch.
const PERSISTENT: i32 = 0;

/// One kind of request: a frame with gaps for the xid and the numbers in its paths.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Bytes,
    /// Where the digits of each number begin.
    numbers_at: Vec<usize>,
}

/// Where the nodes of a load are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The parent of the keys.
    pub keys: String,
    /// The parent of what one connection creates.
    pub created: String,
}

/// A number as it stands in a path.
pub fn digits(number: u64) -> String {
    format!("{number:0DIGITS$}")
}

impl Template {
    /// A request of an operation code and a body; each path in `numbered` ends in a number.
    fn new(op: Op, numbered: &[&str], body: impl FnOnce(&mut Writer, &[String])) -> Template {
        let paths: Vec<String> = numbered.iter().map(|parent| format!("{parent}/{}", digits(0))).collect();
        let mut writer = Writer::new();
        writer.i32(0).i32(op.as_wire());
        body(&mut writer, &paths);
        let frame = framed(&writer.finish());
        let mut numbers_at = Vec::new();
        for path in &paths {
            let from = numbers_at.last().copied().unwrap_or(0);
            let found = frame[from..].windows(path.len()).position(|window| window == path.as_bytes());
            numbers_at.push(from + found.expect("the body has the path") + path.len() - DIGITS);
        }
        Template { frame, numbers_at }
    }

    /// The request of an operation.
    pub fn of(operation: Operation, places: &Places, data: &[u8]) -> Template {
        let (keys, created) = (places.keys.as_str(), places.created.as_str());
        match operation {
            Operation::Read => Self::get(keys, 0),
            Operation::Watch => Self::get(keys, 1),
            Operation::Set => Self::new(Op::SetData, &[keys], |body, paths| {
                body.string(&paths[0]).buffer(Some(data)).i32(ANY);
            }),
            Operation::Create => Self::create(created, data),
            Operation::Delete => Self::new(Op::Delete, &[created], |body, paths| {
                body.string(&paths[0]).i32(ANY);
            }),
            Operation::List => Self::new(Op::GetChildren, &[], |body, _| {
                body.string(keys).bool(false);
            }),
            Operation::Multi => Self::new(Op::Multi, &[keys, keys], |body, paths| {
                for path in paths {
                    body.i32(Op::SetData.as_wire()).bool(false).i32(ANY);
                    body.string(path).buffer(Some(data)).i32(ANY);
                }
                body.i32(ANY).bool(true).i32(ANY);
            }),
        }
    }

    /// A persistent node below a parent, open to anyone.
    pub fn create(parent: &str, data: &[u8]) -> Template {
        Self::new(Op::Create, &[parent], |body, paths| {
            body.string(&paths[0]).buffer(Some(data));
            Acl::encode_list(&Acl::open(), body);
            body.i32(0);
        })
    }

    /// A persistent watch on a node below a parent.
    pub fn watch(parent: &str) -> Template {
        Self::new(Op::AddWatch, &[parent], |body, paths| {
            body.string(&paths[0]).i32(PERSISTENT);
        })
    }

    fn get(keys: &str, watch: u8) -> Template {
        Self::new(Op::GetData, &[keys], |body, paths| {
            body.string(&paths[0]).u8(watch);
        })
    }

    /// Appends the request; `numbers` are those of its paths, and there are enough of them.
    pub fn append(&self, out: &mut BytesMut, xid: i32, numbers: [u64; 2]) {
        let begin = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[begin..];
        frame[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        for (at, number) in self.numbers_at.iter().zip(numbers) {
            let mut rest = number;
            for digit in frame[*at..at + DIGITS].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).expect("a digit is below 10");
                rest /= 10;
            }
        }
    }
}

/// A payload behind its length.
pub fn framed(payload: &[u8]) -> Bytes {
    let mut frame = Writer::new();
    frame.i32(i32::try_from(payload.len()).expect("a request is far below 2 GiB")).raw(payload);
    frame.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::wire::Reader;

    #[test]
    fn a_request_is_its_template_with_xid_and_numbers() {
        let places = Places { keys: "/b/keys".into(), created: "/b/c".into() };
        let template = Template::of(Operation::Multi, &places, b"data");
        let mut out = BytesMut::new();
        template.append(&mut out, 7, [12, 3_456]);
        let mut request = Reader::new(out.freeze());
        assert_eq!(request.i32("length"), Ok(i32::try_from(request.remaining()).unwrap()));
        assert_eq!((request.i32("xid"), request.i32("op")), (Ok(7), Ok(Op::Multi.as_wire())));
        for path in ["/b/keys/0000000012", "/b/keys/0000003456"] {
            assert_eq!(request.i32("op"), Ok(Op::SetData.as_wire()));
            assert_eq!((request.bool("done"), request.i32("error")), (Ok(false), Ok(-1)));
            assert_eq!(request.string("path"), Ok(Some(path.to_owned())));
            assert_eq!(request.buffer("data"), Ok(Some(Bytes::from_static(b"data"))));
            assert_eq!(request.i32("version"), Ok(-1));
        }
        assert_eq!(
            (request.i32("op"), request.bool("done"), request.i32("error")),
            (Ok(-1), Ok(true), Ok(-1))
        );
        assert_eq!(request.remaining(), 0);
    }
}
