//! A client of raw bytes.
//!
//! In: operations. Out: what the server answered, decoded by hand.
//!
//! Always true:
//! * nothing of the library is used, so that a mistake in its codec shows.
//!
//! Not here: sessions that live on (`zookeeper-client`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    stream: TcpStream,
    xid: i32,
    pub session: i64,
    pub timeout: i32,
    pub password: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        Client::reconnect(port, 0, &[0; 16])
    }

    pub fn reconnect(port: u16, session: i64, password: &[u8]) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream, xid: 0, session: 0, timeout: 0, password: Vec::new() };
        let mut request = Vec::new();
        request.extend(0i32.to_be_bytes());
        request.extend(0i64.to_be_bytes());
        request.extend(10_000i32.to_be_bytes());
        request.extend(session.to_be_bytes());
        request.extend(buffer(password));
        request.push(0);
        client.send(&request).unwrap();
        let answer = client.receive().unwrap();
        assert_eq!(answer.len(), 37, "{answer:?}");
        client.timeout = i32::from_be_bytes(answer[4..8].try_into().unwrap());
        client.session = i64::from_be_bytes(answer[8..16].try_into().unwrap());
        client.password = answer[20..36].to_vec();
        client
    }

    /// The error code of a create with an open ACL.
    pub fn create(&mut self, path: &str, data: &[u8]) -> i32 {
        self.create_with_flags(path, data, 0)
    }

    /// The error code of a create of an ephemeral node.
    pub fn create_ephemeral(&mut self, path: &str) -> i32 {
        self.create_with_flags(path, b"", 1)
    }

    /// The error code of a write of data over any version.
    pub fn set(&mut self, path: &str, data: &[u8]) -> i32 {
        let mut body = buffer(path.as_bytes());
        body.extend(buffer(data));
        body.extend((-1i32).to_be_bytes());
        self.ask(5, &body).0
    }

    /// Watches a node for its data and its end.
    pub fn watch(&mut self, path: &str) {
        let mut body = buffer(path.as_bytes());
        body.push(1);
        self.ask(3, &body);
    }

    /// The same as `create`; an error if the connection ended without an answer.
    pub fn try_create(&mut self, path: &str, data: &[u8]) -> std::io::Result<i32> {
        self.try_create_with_flags(path, data, 0)
    }

    fn create_with_flags(&mut self, path: &str, data: &[u8], flags: i32) -> i32 {
        self.try_create_with_flags(path, data, flags).unwrap()
    }

    fn try_create_with_flags(&mut self, path: &str, data: &[u8], flags: i32) -> std::io::Result<i32> {
        Ok(self.try_ask(1, &create_body(path, data, flags))?.0)
    }

    /// Asks for so many nodes at once, and waits for no answer.
    pub fn begin_creates(&mut self, prefix: &str, count: usize) {
        for number in 0..count {
            self.xid += 1;
            let mut request = [self.xid.to_be_bytes(), 1i32.to_be_bytes()].concat();
            request.extend(create_body(&format!("{prefix}{number}"), b"", 0));
            self.send(&request).unwrap();
        }
    }

    /// The error codes of what was asked for so, once its answers are there in order.
    pub fn end_creates(&mut self, count: usize) -> Vec<i32> {
        let first = self.xid + 1 - i32::try_from(count).unwrap();
        let answer = |xid: i32, answer: Vec<u8>| {
            assert_eq!(answer[..4], xid.to_be_bytes());
            i32::from_be_bytes(answer[12..16].try_into().unwrap())
        };
        (first..=self.xid).map(|xid| answer(xid, self.receive().unwrap())).collect()
    }

    /// A node's data, or the error code.
    pub fn data(&mut self, path: &str) -> Result<Vec<u8>, i32> {
        let mut body = buffer(path.as_bytes());
        body.push(0);
        match self.ask(4, &body) {
            (0, answer) => {
                let size = i32::from_be_bytes(answer[..4].try_into().unwrap());
                Ok(answer[4..4 + usize::try_from(size).unwrap()].to_vec())
            }
            (err, _) => Err(err),
        }
    }

    /// Waits until what the leader had committed is applied here.
    pub fn sync(&mut self, path: &str) {
        assert_eq!(self.ask(9, &buffer(path.as_bytes())).0, 0);
    }

    /// Ends the session, and sees the server close the connection.
    pub fn close(mut self) {
        assert_eq!(self.ask(-11, &[]).0, 0);
        assert!(self.is_closed());
    }

    /// Whether the server closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0)) || self.stream.peek(&mut [0; 1]).is_err()
    }

    fn ask(&mut self, op: i32, body: &[u8]) -> (i32, Vec<u8>) {
        self.try_ask(op, body).unwrap()
    }

    fn try_ask(&mut self, op: i32, body: &[u8]) -> std::io::Result<(i32, Vec<u8>)> {
        self.xid += 1;
        let mut request = self.xid.to_be_bytes().to_vec();
        request.extend(op.to_be_bytes());
        request.extend(body);
        self.send(&request)?;
        let mut answer = self.receive()?;
        while answer[..4] == (-1i32).to_be_bytes() {
            answer = self.receive()?; // a watch event
        }
        assert_eq!(answer[..4], self.xid.to_be_bytes());
        Ok((i32::from_be_bytes(answer[12..16].try_into().unwrap()), answer[16..].to_vec()))
    }

    fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(&buffer(frame))
    }

    fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }
}

/// A create of a node that everybody may do everything with.
fn create_body(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    let mut body = buffer(path.as_bytes());
    body.extend(buffer(data));
    body.extend(1i32.to_be_bytes());
    body.extend(31i32.to_be_bytes());
    body.extend(buffer(b"world"));
    body.extend(buffer(b"anyone"));
    body.extend(flags.to_be_bytes());
    body
}

fn buffer(bytes: &[u8]) -> Vec<u8> {
    let mut out = i32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend(bytes);
    out
}
