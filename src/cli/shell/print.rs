//! How the shell shows what it got: the blocks and messages of ZooKeeper's own command line.
//!
//! In: stats, ACLs, watch events and errors of a client. Out: text, without a line break at its end.
//!
//! Always true:
//! * what is printed for a script to read has the shape that zkCli 3.9 gives it;
//! * dates are in UTC, whatever the machine's zone is.
//!
//! Not here: what goes to standard output and what to standard error (`ops`).

use serde_json::{Value, json};
use zookeeper_client::{Acl, Error, EventType, Permission, SessionState, Stat, WatchedEvent};

use super::answer::{Failure, hex as hex_id};
use crate::proto::{ErrorCode, perms};

/// Letters of an ACL's permissions, in the order in which they are printed.
const PERMISSIONS: [(char, Permission); 5] = [
    ('c', Permission::CREATE),
    ('d', Permission::DELETE),
    ('r', Permission::READ),
    ('w', Permission::WRITE),
    ('a', Permission::ADMIN),
];

/// The stat block of `stat`, `get -s`, `ls -s` and others.
pub fn stat(stat: &Stat) -> String {
    let lines = [
        format!("cZxid = 0x{:x}", stat.czxid),
        format!("ctime = {}", date(stat.ctime)),
        format!("mZxid = 0x{:x}", stat.mzxid),
        format!("mtime = {}", date(stat.mtime)),
        format!("pZxid = 0x{:x}", stat.pzxid),
        format!("cversion = {}", stat.cversion),
        format!("dataVersion = {}", stat.version),
        format!("aclVersion = {}", stat.aversion),
        format!("ephemeralOwner = 0x{:x}", stat.ephemeral_owner),
        format!("dataLength = {}", stat.data_length),
        format!("numChildren = {}", stat.num_children),
    ];
    lines.join("\n")
}

/// Milliseconds since 1970 as `Sun Nov 22 19:38:06 UTC 2026`.
pub fn date(unix_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let name = DAYS[usize::try_from(days.rem_euclid(7)).expect("a remainder of 7 is small")];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{name} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}", MONTHS[month])
}

/// Year, month from 0 and day from 1 of a day that is counted from 1970-01-01.
fn civil(days: i64) -> (i64, usize, i64) {
    // The year is taken to begin in March, so that the leap day is its last; 719,468 days lie
    // between 0000-03-01 and 1970-01-01, 146,097 days make 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = usize::try_from((from_march + 2) % 12).expect("a month is below 12");
    (year + era * 400 + i64::from(month < 2), month, day)
}

/// Names as `[a, b]`.
pub fn names(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

/// Two lines for each entry of an ACL.
pub fn acl(acl: &[Acl]) -> String {
    let entry = |acl: &Acl| format!("'{},'{}\n: {}", acl.scheme(), acl.id(), letters(acl.permission()));
    acl.iter().map(entry).collect::<Vec<_>>().join("\n")
}

/// The letters of permissions.
pub fn letters(permission: Permission) -> String {
    PERMISSIONS.iter().filter(|(_, one)| permission.has(*one)).map(|(letter, _)| *letter).collect()
}

/// The bits of permissions on the wire.
pub fn bits(permission: Permission) -> i32 {
    let bit = |one| match one {
        Permission::READ => perms::READ,
        Permission::WRITE => perms::WRITE,
        Permission::CREATE => perms::CREATE,
        Permission::DELETE => perms::DELETE,
        _ => perms::ADMIN,
    };
    PERMISSIONS.iter().filter(|(_, one)| permission.has(*one)).map(|(_, one)| bit(*one)).sum()
}

/// The permissions that letters name, or the first letter that names none.
pub fn permission(letters: &str) -> Result<Permission, char> {
    letters.chars().try_fold(Permission::NONE, |sum, letter| {
        let (_, one) = PERMISSIONS.iter().find(|(known, _)| *known == letter).ok_or(letter)?;
        Ok(sum | *one)
    })
}

/// The text of a membership as a connect string: `<version> host:port,…`.
pub fn client_config(config: &str) -> String {
    let client = |line: &str| {
        let address = line.strip_prefix("server.")?.split_once('=')?.1;
        let (servers, client) = address.split_once(';')?;
        let end = servers.find(']').unwrap_or(0);
        let host = &servers[..end + servers[end..].find(':')?];
        Some(if client.contains(':') { client.to_owned() } else { format!("{host}:{client}") })
    };
    let clients: Vec<String> = config.lines().filter_map(client).collect();
    let version = config.lines().find_map(|line| line.strip_prefix("version=")).unwrap_or("");
    format!("{version} {}", clients.join(","))
}

/// Bytes as a table: offset, 16 bytes in hexadecimal, the same as text.
pub fn hex(data: &[u8]) -> String {
    let rule = format!("+--------+{}+----------------+", "-".repeat(49));
    let digits: String = (0..16).map(|digit| format!("  {digit:x}")).collect();
    let mut lines =
        vec![format!("         +{}+", "-".repeat(49)), format!("         |{digits} |"), rule.clone()];
    for (row, bytes) in data.chunks(16).enumerate() {
        let codes: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        let shown = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let text: String = bytes.iter().map(shown).collect();
        lines.push(format!("|{:08x}|{codes:<48} |{text:<16}|", row * 16));
    }
    lines.push(rule);
    lines.join("\n")
}

/// A watch event or a change of the session, as zkCli shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The session's state.
    pub state: SessionState,
    /// ZooKeeper's name of what happened; `None` is a change of the session.
    pub kind: Option<&'static str>,
    /// The node; empty for a change of the session.
    pub path: String,
    /// The txn that fired it; -1 where none did, and for servers before 3.9.
    pub zxid: i64,
}

impl Event {
    /// A change of the session.
    pub fn session(state: SessionState) -> Event {
        Event { state, kind: None, path: String::new(), zxid: WatchedEvent::NO_ZXID }
    }

    /// Watches on a node were taken away.
    pub fn removed(kind: &'static str, path: &str) -> Event {
        let state = SessionState::SyncConnected;
        Event { state, kind: Some(kind), path: path.to_owned(), zxid: WatchedEvent::NO_ZXID }
    }

    /// What a watch was told; `None` for what all watches are told of the session.
    pub fn of(event: &WatchedEvent) -> Option<Event> {
        let kind = match event.event_type {
            EventType::Session => return None,
            EventType::NodeCreated => "NodeCreated",
            EventType::NodeDeleted => "NodeDeleted",
            EventType::NodeDataChanged => "NodeDataChanged",
            EventType::NodeChildrenChanged => "NodeChildrenChanged",
        };
        let (state, path, zxid) = (event.session_state, event.path.clone(), event.zxid);
        Some(Event { state, kind: Some(kind), path, zxid })
    }

    /// The line that tells it.
    pub fn line(&self) -> String {
        let (state, kind) = (state(self.state), self.kind.unwrap_or("None"));
        let path = if self.kind.is_some() { self.path.as_str() } else { "null" };
        format!("WatchedEvent state:{state} type:{kind} path:{path} zxid: {}", self.zxid)
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let zxid = if self.zxid < 0 { Value::Null } else { hex_id(self.zxid).into() };
        let path = if self.kind.is_some() { self.path.as_str().into() } else { Value::Null };
        json!({"event": {"state": state(self.state), "type": self.kind.unwrap_or("None"), "path": path, "zxid": zxid}})
    }
}

/// ZooKeeper's name of a session's state.
pub fn state(state: SessionState) -> &'static str {
    match state {
        SessionState::Disconnected => "Disconnected",
        SessionState::SyncConnected => "SyncConnected",
        SessionState::AuthFailed => "AuthFailed",
        SessionState::ConnectedReadOnly => "ConnectedReadOnly",
        SessionState::Expired => "Expired",
        SessionState::Closed => "Closed",
    }
}

/// What zkCli says about an error that concerns a path; the path is empty for `reconfig`.
pub fn error(error: &Error, path: &str) -> Failure {
    let code = match error {
        Error::NoNode => ErrorCode::NoNode,
        Error::NodeExists => ErrorCode::NodeExists,
        Error::NotEmpty => ErrorCode::NotEmpty,
        Error::NoChildrenForEphemerals => ErrorCode::NoChildrenForEphemerals,
        Error::NotReadOnly => ErrorCode::NotReadOnly,
        Error::InvalidAcl => ErrorCode::InvalidAcl,
        Error::NoAuth => ErrorCode::NoAuth,
        Error::BadVersion => ErrorCode::BadVersion,
        Error::QuotaExceeded => ErrorCode::QuotaExceeded,
        Error::BadArguments(_) => ErrorCode::BadArguments,
        Error::ReconfigDisabled => ErrorCode::ReconfigDisabled,
        Error::SessionExpired => ErrorCode::SessionExpired,
        Error::SessionMoved => ErrorCode::SessionMoved,
        Error::AuthFailed => ErrorCode::AuthFailed,
        Error::NoWatcher => ErrorCode::NoWatcher,
        Error::Throttled => ErrorCode::ThrottledOp,
        Error::MarshallingError => ErrorCode::MarshallingError,
        Error::Unimplemented => ErrorCode::Unimplemented,
        Error::UnexpectedErrorCode(code) => match ErrorCode::from_wire(*code) {
            Some(code) => code,
            None => return format!("KeeperErrorCode = Unknown error {code} for {path}").into(),
        },
        Error::ConnectionLoss | Error::NoHosts | Error::Timeout | Error::ClientClosed => {
            let message = format!("KeeperErrorCode = ConnectionLoss for {path}");
            return Failure { message, code: Some("ConnectionLoss".to_owned()) };
        }
        // The client's errors are open to additions; its own words are clear enough.
        other => return format!("{other}: {path}").into(),
    };
    failure(code, path)
}

/// The same for a code of the wire.
pub fn failure(code: ErrorCode, path: &str) -> Failure {
    let message = match code {
        ErrorCode::NoNode => format!("Node does not exist: {path}"),
        ErrorCode::NodeExists => format!("Node already exists: {path}"),
        ErrorCode::NotEmpty => format!("Node not empty: {path}"),
        ErrorCode::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {path}"),
        ErrorCode::NotReadOnly => format!("Not a read-only call: {path}"),
        ErrorCode::InvalidAcl => format!("Acl is not valid : {path}"),
        ErrorCode::NoAuth => format!("Insufficient permission : {path}"),
        ErrorCode::BadVersion => format!("version No is not valid : {path}"),
        ErrorCode::QuotaExceeded => format!("Quota has exceeded : {path}"),
        ErrorCode::BadArguments => format!("Arguments are not valid : {path}"),
        ErrorCode::ReconfigInProgress => {
            "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)".to_owned()
        }
        ErrorCode::NewConfigNoQuorum => {
            "No quorum of new config is connected and up-to-date with the leader of last committed config - \
             try invoking reconfiguration after new servers are connected and synced"
                .to_owned()
        }
        ErrorCode::ReconfigDisabled => "KeeperErrorCode = Reconfig is disabled".to_owned(),
        ErrorCode::SystemError
        | ErrorCode::RuntimeInconsistency
        | ErrorCode::MarshallingError
        | ErrorCode::Unimplemented
        | ErrorCode::UnknownSession
        | ErrorCode::ApiError
        | ErrorCode::SessionExpired
        | ErrorCode::AuthFailed
        | ErrorCode::SessionMoved
        | ErrorCode::EphemeralOnLocalSession
        | ErrorCode::NoWatcher
        | ErrorCode::SessionClosedRequireSaslAuth
        | ErrorCode::ThrottledOp => format!("KeeperErrorCode = {} for {path}", phrase(code)),
    };
    Failure { message, code: Some(format!("{code:?}")) }
}

/// What ZooKeeper calls a code in a sentence.
fn phrase(code: ErrorCode) -> String {
    let phrase = match code {
        ErrorCode::SessionExpired => "Session expired",
        ErrorCode::SessionMoved => "Session moved",
        ErrorCode::EphemeralOnLocalSession => "Ephemeral node on local session",
        ErrorCode::NoWatcher => "No such watcher",
        ErrorCode::SessionClosedRequireSaslAuth => "Session closed because client failed to authenticate",
        ErrorCode::ThrottledOp => "Op throttled due to high load",
        other => return format!("{other:?}"),
    };
    phrase.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_javas_in_utc() {
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(1_795_376_286_123), "Sun Nov 22 19:38:06 UTC 2026");
        assert_eq!(date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(-1), "Wed Dec 31 23:59:59 UTC 1969");
    }

    #[test]
    fn permissions_are_letters_in_zookeepers_order() {
        assert_eq!(permission("awrdc"), Ok(Permission::ALL));
        assert_eq!(letters(Permission::ALL), "cdrwa");
        assert_eq!(letters(Permission::READ | Permission::ADMIN), "ra");
        assert_eq!(permission("rx"), Err('x'));
    }

    #[test]
    fn an_acl_entry_takes_two_lines() {
        let entry = Acl::new(Permission::READ, zookeeper_client::AuthId::new("digest", "bob:x"));
        assert_eq!(acl(&[entry]), "'digest,'bob:x\n: r");
    }

    #[test]
    fn a_connect_string_names_the_client_ports() {
        let config = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:1:2;2182\nversion=100000000";
        assert_eq!(client_config(config), "100000000 0.0.0.0:2181,b:2182");
    }

    #[test]
    fn bytes_are_shown_beside_their_text() {
        let table = hex(b"hello\n");
        let row = format!("|00000000| 68 65 6c 6c 6f 0a{} |hello.          |", " ".repeat(30));
        assert_eq!(table.lines().nth(3), Some(row.as_str()));
        assert!(table.lines().skip(2).all(|line| line.len() == row.len()), "{table}");
    }

    #[test]
    fn an_event_without_a_node_has_no_path() {
        let connected = Event::session(SessionState::SyncConnected);
        assert_eq!(connected.line(), "WatchedEvent state:SyncConnected type:None path:null zxid: -1");
        assert_eq!(
            connected.json(),
            json!({"event": {"state": "SyncConnected", "type": "None", "path": null, "zxid": null}})
        );
    }

    #[test]
    fn an_event_of_a_node_tells_its_txn() {
        let changed = WatchedEvent::new(EventType::NodeDataChanged, "/a").with_zxid(0x1_0000_0002);
        let changed = Event::of(&changed).expect("it is of a node");
        let line = "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 4294967298";
        assert_eq!(changed.line(), line);
        assert_eq!(changed.json()["event"]["zxid"], json!("0x100000002"));
    }

    #[test]
    fn errors_are_told_in_zookeepers_words() {
        assert_eq!(error(&Error::NoNode, "/a").message, "Node does not exist: /a");
        assert_eq!(error(&Error::BadArguments(&"server error"), "").message, "Arguments are not valid : ");
        assert_eq!(error(&Error::NoWatcher, "/a").message, "KeeperErrorCode = No such watcher for /a");
        let local = error(&Error::UnexpectedErrorCode(-120), "/a");
        assert_eq!(local.message, "KeeperErrorCode = Ephemeral node on local session for /a");
        assert_eq!(local.code.as_deref(), Some("EphemeralOnLocalSession"));
        assert_eq!(error(&Error::NoHosts, "/").message, "KeeperErrorCode = ConnectionLoss for /");
        assert_eq!(error(&Error::UnexpectedErrorCode(-999), "/a").code, None);
    }
}
