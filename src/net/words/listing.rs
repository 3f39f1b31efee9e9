//! The words that list: connections, sessions, ephemeral nodes, watches.
//!
//! In: a census. Out: texts of ZooKeeper's shape.
//!
//! Always true:
//! * what would be too long is refused by one line that says so.
//!
//! Not here: who is there (`census`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::date;
use crate::base::{Millis, Now};
use crate::net::census::{self, Connection, TooMany};
use crate::net::clients::Clients;
use crate::net::facts::Expiries;

const TAKES: &str = "a string takes whatever is written";

/// `cons`, or the brief form in `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Counters only.
    Brief,
    /// With what sessions were about.
    Full,
}

/// One line for each connection.
pub fn connections(clients: &Clients, form: Form) -> String {
    let mut text = String::new();
    for connection in census::connections(clients) {
        let Connection { from, queued, received, sent, said, .. } = connection;
        let interest = connection.interest();
        write!(text, " /{from}[{interest:x}](queued={queued},recved={received},sent={sent}").expect(TAKES);
        if let (Form::Full, Some(_)) = (form, said.session()) {
            about_session(&mut text, &connection);
        }
        text.push_str(")\n");
    }
    text
}

fn about_session(text: &mut String, connection: &Connection) {
    let said = &connection.said;
    let crate::net::talk::ConnectionKind::Session(granted) = said.kind else { return };
    let (session, timeout) = (granted.session.0, granted.timeout.0);
    let (operation, since) = (said.operation(), connection.since.wall_ms);
    write!(text, ",sid=0x{session:x},lop={operation},est={since},to={timeout}").expect(TAKES);
    if let Some(latest) = said.latest.filter(|latest| latest.xid >= 0) {
        write!(text, ",lcxid=0x{:x}", latest.xid).expect(TAKES);
    }
    let zxid = said.latest.map_or(-1, |latest| latest.zxid.0);
    let latency = &said.latency;
    write!(
        text,
        ",lzxid=0x{zxid:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
        said.at.0,
        latency.last,
        latency.min,
        latency.average(),
        latency.max
    )
    .expect(TAKES);
}

/// `dump`: sessions, ephemeral nodes, connections. The expiries are `None` where another server's clock decides.
pub fn dump(clients: &Clients, expiries: Option<Expiries>, now: Now) -> String {
    let mut text = "SessionTracker dump:\n".to_owned();
    match expiries {
        Some(expiries) => {
            let sets = expiries.into_iter().map(|(at, sessions)| {
                (at, sessions.into_iter().map(|session| format!("0x{:x}", session.0)).collect())
            });
            text.push_str(&expiry_sets("Session", sets.collect(), now));
        }
        None => {
            let sessions = census::sessions(clients);
            writeln!(text, "Global Sessions({}):", sessions.len()).expect(TAKES);
            for (session, timeout) in sessions {
                writeln!(text, "0x{:x}\t{timeout}ms", session.0).expect(TAKES);
            }
        }
    }
    text.push_str("ephemeral nodes dump:\n");
    match census::ephemerals(clients) {
        Ok(ephemerals) => {
            writeln!(text, "Sessions with Ephemerals ({}):", ephemerals.len()).expect(TAKES);
            for (session, paths) in ephemerals {
                writeln!(text, "0x{:x}:", session.0).expect(TAKES);
                paths.iter().for_each(|path| writeln!(text, "\t{path}").expect(TAKES));
            }
        }
        Err(error @ TooMany) => writeln!(text, "{error}").expect(TAKES),
    }
    text.push_str("Connections dump:\n");
    let mut sets: BTreeMap<Millis, Vec<String>> = BTreeMap::new();
    for connection in census::connections(clients) {
        let session = connection.said.session().map_or(0, |session| session.0);
        let line = format!("ip: /{} sessionId: 0x{session:x}", connection.from);
        sets.entry(connection.expiry()).or_default().push(line);
    }
    text + &expiry_sets("Connections", sets, now)
}

/// What expires together, one set after the other.
fn expiry_sets(what: &str, sets: BTreeMap<Millis, Vec<String>>, now: Now) -> String {
    let count: usize = sets.values().map(Vec::len).sum();
    let mut text = format!("{what} Sets ({})/({count}):\n", sets.len());
    for (at, lines) in sets {
        let from_now = i64::try_from(at.0).unwrap_or(i64::MAX).saturating_sub_unsigned(now.mono.0);
        let at = date::text(now.wall_ms.saturating_add(from_now));
        writeln!(text, "{} expire at {at}:", lines.len()).expect(TAKES);
        lines.iter().for_each(|line| writeln!(text, "\t{line}").expect(TAKES));
    }
    text
}

/// `wchc`: the watched paths of each session.
pub fn watches_by_session(clients: &Clients) -> String {
    let listed = match census::watched_by_session(clients) {
        Ok(listed) => listed,
        Err(error @ TooMany) => return format!("{error}\n"),
    };
    let mut text = String::new();
    for (session, paths) in listed {
        writeln!(text, "0x{:x}", session.0).expect(TAKES);
        paths.iter().for_each(|path| writeln!(text, "\t{path}").expect(TAKES));
    }
    text + "\n"
}

/// `wchp`: the sessions that watch each path.
pub fn watches_by_path(clients: &Clients) -> String {
    let listed = match census::watched_by_path(clients) {
        Ok(listed) => listed,
        Err(error @ TooMany) => return format!("{error}\n"),
    };
    let mut text = String::new();
    for (path, sessions) in listed {
        writeln!(text, "{path}").expect(TAKES);
        sessions.iter().for_each(|session| writeln!(text, "\t0x{:x}", session.0).expect(TAKES));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_together_stands_below_its_moment() {
        let sets = BTreeMap::from([
            (Millis(4_000), vec!["0x1".to_owned(), "0x2".to_owned()]),
            (Millis(6_000), vec!["0x3".to_owned()]),
        ]);
        let now = Now { mono: Millis(5_000), wall_ms: 1_795_376_382_000 };
        let want = "Session Sets (2)/(3):\n2 expire at Sun Nov 22 19:39:41 UTC 2026:\n\t0x1\n\t0x2\n\
                    1 expire at Sun Nov 22 19:39:43 UTC 2026:\n\t0x3\n";
        assert_eq!(expiry_sets("Session", sets, now), want);
    }
}
