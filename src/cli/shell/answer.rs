//! What a command has to say: text as zkCli prints it, and the same as JSON.
//!
//! In: results of operations. Out: lines for standard output and standard error, or one JSON object.
//!
//! Always true:
//! * lines keep the order in which they were said, whichever way they go;
//! * in JSON, zxids and session ids are text in hexadecimal, since they may be over 2^53.
//!
//! Not here: how blocks look (`print`), who writes it out (`show`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use zookeeper_client::{Acl, Stat};

use super::print;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: what was asked for.
    Out,
    /// Standard error: what was done.
    Err,
}

/// What a command has to say when it is done.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Texts, each of whole lines without the last line break.
    pub parts: Vec<(Stream, String)>,
    /// The same for programs.
    pub json: Map<String, Value>,
}

/// Why a command could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In zkCli's words; may have several lines.
    pub message: String,
    /// ZooKeeper's name of the error; `None` where no server was asked.
    pub code: Option<String>,
}

impl Answer {
    /// Nothing to say.
    pub fn none() -> Answer {
        Answer::default()
    }

    /// A text for standard output.
    pub fn out(text: impl Into<String>) -> Answer {
        Answer::none().and_out(text)
    }

    /// A text for standard error.
    pub fn err(text: impl Into<String>) -> Answer {
        Answer::none().and_err(text)
    }

    /// Appends a text for standard output.
    pub fn and_out(mut self, text: impl Into<String>) -> Answer {
        self.parts.push((Stream::Out, text.into()));
        self
    }

    /// Appends a text for standard error.
    pub fn and_err(mut self, text: impl Into<String>) -> Answer {
        self.parts.push((Stream::Err, text.into()));
        self
    }

    /// Sets a field of the JSON object.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Answer {
        self.json.insert(name.to_owned(), value.into());
        self
    }

    /// Appends the stat's block, and its fields.
    pub fn and_stat(self, stat: &Stat) -> Answer {
        let text = print::stat(stat);
        self.and_out(text).stat_field(stat)
    }

    /// Sets the stat's fields only.
    pub fn stat_field(self, stat: &Stat) -> Answer {
        self.field("stat", stat_json(stat))
    }

    /// Everything for one stream.
    #[cfg(test)]
    pub fn text(&self, stream: Stream) -> String {
        let parts = self.parts.iter().filter(|(to, _)| *to == stream);
        parts.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl Failure {
    /// The JSON object that stands for it.
    pub fn json(&self) -> Value {
        match &self.code {
            Some(code) => json!({"error": self.message, "code": code}),
            None => json!({"error": self.message}),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure { message, code: None }
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Failure {
        Failure::from(message.to_owned())
    }
}

/// A stat under the names of ZooKeeper's records; ids in hexadecimal.
fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": hex(stat.czxid),
        "ctime": stat.ctime,
        "mzxid": hex(stat.mzxid),
        "mtime": stat.mtime,
        "pzxid": hex(stat.pzxid),
        "cversion": stat.cversion,
        "version": stat.version,
        "aversion": stat.aversion,
        "ephemeralOwner": hex(stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// An id as text.
pub fn hex(id: i64) -> String {
    format!("0x{id:x}")
}

/// Entries of an ACL.
pub fn acl_json(acl: &[Acl]) -> Value {
    let entry = |acl: &Acl| json!({"scheme": acl.scheme(), "id": acl.id(), "permissions": print::letters(acl.permission())});
    acl.iter().map(entry).collect()
}

/// Data as a field and its value: text, or `base64` for what is no text or where that is asked for.
pub fn data_json(data: Option<&[u8]>, base64_wanted: Base64) -> (&'static str, Value) {
    let Some(data) = data else { return ("data", Value::Null) };
    match (base64_wanted, std::str::from_utf8(data)) {
        (Base64::IfNeeded, Ok(text)) => ("data", text.into()),
        _ => ("base64", BASE64.encode(data).into()),
    }
}

/// When data is shown in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base64 {
    /// Where it is no UTF-8.
    IfNeeded,
    /// In any case.
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_where_it_can_be() {
        assert_eq!(data_json(Some(b"h\xc3\xa9"), Base64::IfNeeded), ("data", "hé".into()));
        assert_eq!(data_json(Some(b""), Base64::IfNeeded), ("data", "".into()));
        assert_eq!(data_json(Some(b"\xff"), Base64::IfNeeded), ("base64", "/w==".into()));
        assert_eq!(data_json(Some(b"a"), Base64::Always), ("base64", "YQ==".into()));
        assert_eq!(data_json(None, Base64::Always), ("data", Value::Null));
    }

    #[test]
    fn a_failure_names_the_code_of_a_server() {
        assert_eq!(Failure::from("no").json(), json!({"error": "no"}));
        let failure =
            Failure { message: "Node does not exist: /a".to_owned(), code: Some("NoNode".to_owned()) };
        assert_eq!(failure.json(), json!({"error": "Node does not exist: /a", "code": "NoNode"}));
    }

    #[test]
    fn ids_beyond_the_numbers_of_javascript_stay_exact() {
        assert_eq!(hex(0x1000_4a2b_3c4d_0007), "0x10004a2b3c4d0007");
        assert_eq!(hex(-1), "0xffffffffffffffff");
    }
}
