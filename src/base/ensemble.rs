//! The membership of an ensemble, as text and as a value: servers, roles, addresses, groups, weights, version.
//!
//! In: the text of a `zoo.cfg`, a dynamic file, a notification or a reconfig. Out: an [`Ensemble`], and back.
//!
//! Always true:
//! * the text written is one that Apache ZooKeeper 3.8 and 3.9 read;
//! * equal members, roles and addresses make equal memberships, whatever their text's order.
//!
//! Not here: which membership is in force (`zab`), looking names up (`net`), changing one (`base::reconfig`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::properties::{self, PropertyError};
use super::{ServerId, Zxid};

/// A host name or address literal, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// As configured; an IPv6 literal without its brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Whether a server votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// It votes and may lead.
    Participant,
    /// It follows without a vote.
    Observer,
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// N.
    pub id: ServerId,
    /// Host of the quorum and election ports.
    pub host: String,
    /// Port on which it accepts learners while it leads.
    pub quorum_port: u16,
    /// Port for elections.
    pub election_port: u16,
    /// Whether it votes.
    pub role: MemberRole,
    /// Where clients reach it; `None` if the line does not say.
    pub client: Option<Address>,
}

/// One membership, and how a quorum of it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ensemble {
    /// Every member by its id.
    pub members: BTreeMap<ServerId, Member>,
    /// `group.G=…`: ids of the group's members; empty means a plain majority.
    pub groups: BTreeMap<i64, BTreeSet<ServerId>>,
    /// `weight.N=…`; a participant that is not named weighs 1.
    pub weights: BTreeMap<ServerId, u64>,
    /// The zxid of the reconfig that made it; 0 for one that came from a file.
    pub version: Zxid,
}

/// Why a text is no membership.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnsembleError {
    /// The text is no properties text.
    #[error(transparent)]
    Text(#[from] PropertyError),
    /// A key that does not belong into a membership.
    #[error(
        "line {line}: the key {key:?} does not belong here; expected server.N, group.N, weight.N or version"
    )]
    Key {
        /// The line, from 1.
        line: u32,
        /// The key as written.
        key: String,
    },
    /// A value that cannot be read.
    #[error("line {line}: {key}={value}: {reason}")]
    Value {
        /// The line, from 1.
        line: u32,
        /// The key as written.
        key: String,
        /// The value as written.
        value: String,
        /// What is expected.
        reason: String,
    },
    /// The lines do not fit each other.
    #[error("{0}")]
    Contradiction(String),
}

impl Ensemble {
    /// Reads the text of a membership, with or without its `version` line (then it is 0).
    pub fn parse(text: &str) -> Result<Ensemble, EnsembleError> {
        let mut ensemble = Ensemble::default();
        for property in properties::parse(text)? {
            match ensemble.set(&property.key, &property.value) {
                Ok(true) => {}
                Ok(false) => return Err(EnsembleError::Key { line: property.line, key: property.key }),
                Err(reason) => {
                    let (line, key, value) = (property.line, property.key, property.value);
                    return Err(EnsembleError::Value { line, key, value, reason });
                }
            }
        }
        ensemble.check()?;
        Ok(ensemble)
    }

    /// Takes one line in. `Ok(false)`: the key does not belong into a membership; `Err`: what is expected instead.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let number = |text: &str, what: &str| -> Result<i64, String> {
            text.trim().parse().map_err(|_| format!("{what} {text:?} is not a number"))
        };
        if let Some(id) = key.strip_prefix("server.") {
            let id = ServerId(number(id, "the server id")?);
            self.members.insert(id, Member::parse(id, value)?);
        } else if let Some(group) = key.strip_prefix("group.") {
            let ids = value.split(':').map(|id| Ok(ServerId(number(id, "the server id")?)));
            self.groups.insert(number(group, "the group")?, ids.collect::<Result<_, String>>()?);
        } else if let Some(id) = key.strip_prefix("weight.") {
            let weight = value.trim().parse().map_err(|_| format!("{value:?} is not a weight from 0"))?;
            self.weights.insert(ServerId(number(id, "the server id")?), weight);
        } else if key == "version" {
            let version = i64::from_str_radix(value.trim(), 16);
            self.version = Zxid(version.map_err(|_| format!("{value:?} is not a hexadecimal number"))?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Checks what no single line shows: every voter in exactly one group, if there are groups.
    pub fn check(&self) -> Result<(), EnsembleError> {
        let mut grouped = BTreeSet::new();
        for id in self.groups.values().flatten() {
            if !self.members.contains_key(id) {
                return Err(EnsembleError::Contradiction(format!(
                    "server {id} is in a group but has no line"
                )));
            }
            if !grouped.insert(*id) {
                return Err(EnsembleError::Contradiction(format!("server {id} is in more than one group")));
            }
        }
        if !self.is_hierarchical() {
            return Ok(());
        }
        let weighed = |id: &ServerId| self.weights.contains_key(id);
        let is_observer = |id: &&ServerId| self.role(**id) == Some(MemberRole::Observer);
        if let Some(id) = grouped.iter().filter(is_observer).find(|id| !weighed(id)) {
            return Err(EnsembleError::Contradiction(format!(
                "server {id} observes and is in a group: it needs a weight"
            )));
        }
        match self.voters().find(|member| !grouped.contains(&member.id)) {
            Some(member) => {
                let id = member.id;
                Err(EnsembleError::Contradiction(format!("server {id} votes but is in no group")))
            }
            None => Ok(()),
        }
    }

    /// The members that vote, by id.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.role == MemberRole::Participant)
    }

    /// The role of a server; `None` if it is no member.
    pub fn role(&self, id: ServerId) -> Option<MemberRole> {
        self.members.get(&id).map(|member| member.role)
    }

    /// Whether a server is a member with a vote.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.role(id) == Some(MemberRole::Participant)
    }

    /// Whether quorums are counted by groups and weights.
    pub fn is_hierarchical(&self) -> bool {
        !self.groups.is_empty() || !self.weights.is_empty()
    }

    /// What a server's vote counts; a server of weight 0 can never be elected.
    pub fn weight(&self, id: ServerId) -> u64 {
        if self.is_hierarchical() { self.weights.get(&id).copied().unwrap_or(1) } else { 1 }
    }

    /// Whether these servers are a quorum. Servers without a vote in this membership do not count.
    pub fn is_quorum(&self, present: &BTreeSet<ServerId>) -> bool {
        if !self.is_hierarchical() {
            let voters = self.voters().count();
            return self.voters().filter(|member| present.contains(&member.id)).count() > voters / 2;
        }
        let mut groups = 0;
        let mut won = 0;
        for ids in self.groups.values() {
            let total = ids.iter().fold(0u64, |sum, id| sum.saturating_add(self.weight(*id)));
            let here = ids.iter().filter(|id| present.contains(id) && self.is_voter(**id));
            let here = here.fold(0u64, |sum, id| sum.saturating_add(self.weight(*id)));
            groups += usize::from(total > 0);
            won += usize::from(here > total / 2);
        }
        won > groups / 2
    }

    /// Whether two memberships are the same: by version, else by members, roles, addresses, groups and weights.
    pub fn is_same(&self, other: &Ensemble) -> bool {
        self.version == other.version || Ensemble { version: other.version, ..self.clone() } == *other
    }

    /// The lines without the version, each without its end: members, groups, weights.
    pub fn lines(&self) -> Vec<String> {
        let members = self.members.values().map(|member| format!("server.{}={member}", member.id));
        let groups = self.groups.iter().map(|(group, ids)| {
            let ids: Vec<String> = ids.iter().map(ServerId::to_string).collect();
            format!("group.{group}={}", ids.join(":"))
        });
        let weights = self.weights.iter().map(|(id, weight)| format!("weight.{id}={weight}"));
        members.chain(groups).chain(weights).collect()
    }
}

impl fmt::Display for Ensemble {
    /// The text as Apache ZooKeeper writes it: every line ended, but not the last one, which is the version.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        write!(f, "version={:x}", self.version.0)
    }
}

impl Member {
    /// Reads `host:quorumPort:electionPort[:role][;[[clientHost]:]clientPort]`; the error says what is expected.
    pub fn parse(id: ServerId, value: &str) -> Result<Member, String> {
        let mut parts = value.split(';').map(str::trim);
        let server = parts.next().unwrap_or_default();
        let client = parts.next().unwrap_or_default();
        if parts.count() > 1 {
            return Err("expected at most two parts after the server's address".to_owned());
        }
        if server.contains('|') {
            return Err("several addresses for one server are not supported".to_owned());
        }
        let (host, rest) = split_host(server)?;
        let mut fields = rest.split(':');
        let quorum_port = parse_port(fields.next(), "the quorum port")?;
        let election_port = parse_port(fields.next(), "the election port")?;
        let role = match fields.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("participant") => MemberRole::Participant,
            Some("observer") => MemberRole::Observer,
            Some(other) => return Err(format!("the role {other:?} is neither participant nor observer")),
        };
        if fields.next().is_some() {
            return Err("expected host:quorumPort:electionPort[:role][;[host:]clientPort]".to_owned());
        }
        if quorum_port == election_port {
            return Err(format!("the quorum and the election port must differ, both are {quorum_port}"));
        }
        let client = if client.is_empty() { None } else { Some(parse_client(client)?) };
        Ok(Member { id, host, quorum_port, election_port, role, client })
    }
}

impl Member {
    /// Where it accepts learners while it leads.
    pub fn quorum(&self) -> Address {
        Address { host: self.host.clone(), port: self.quorum_port }
    }

    /// Where it takes part in elections.
    pub fn election(&self) -> Address {
        Address { host: self.host.clone(), port: self.election_port }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            MemberRole::Participant => "participant",
            MemberRole::Observer => "observer",
        };
        write!(f, "{}:{}:{}:{role}", Bracketed(&self.host), self.quorum_port, self.election_port)?;
        match &self.client {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

/// A host as it stands before a port: an IPv6 literal in brackets.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// The host before the first colon that is not inside brackets, and what follows that colon.
fn split_host(text: &str) -> Result<(String, &str), String> {
    let split = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.split_once(':'),
    };
    match split {
        Some((host, rest)) if !host.is_empty() => Ok((host.to_owned(), rest)),
        _ => Err("expected host:quorumPort:electionPort[:role][;[host:]clientPort]".to_owned()),
    }
}

fn parse_client(text: &str) -> Result<Address, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    Ok(Address { host: host.to_owned(), port: parse_port(Some(port), "the client port")? })
}

fn parse_port(text: Option<&str>, what: &str) -> Result<u16, String> {
    let Some(text) = text.map(str::trim) else { return Err(format!("{what} is missing")) };
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{what} {text:?} is not a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_is_written_as_apache_writes_it() {
        let text = "server.1=zk-0.zk:2888:3888:participant;0.0.0.0:2181\n\
                    server.2=[::1]:2888:3888:observer\nversion=100000000";
        let ensemble = Ensemble::parse(text).expect("a good text");
        assert_eq!(ensemble.to_string(), text);
        assert_eq!(ensemble.version, Zxid(0x1_0000_0000));
        assert_eq!(ensemble.members[&ServerId(2)].host, "::1");
        assert_eq!(ensemble.voters().count(), 1);
    }

    #[test]
    fn short_forms_are_filled_up() {
        let text = "server.3=h:1:2;2181\nserver.4=h:3:4:OBSERVER;[::]:9\nserver.5=h:5:6;;2281";
        let ensemble = Ensemble::parse(text).expect("a good text");
        let want = "server.3=h:1:2:participant;0.0.0.0:2181\nserver.4=h:3:4:observer;[::]:9\n\
                    server.5=h:5:6:participant\nversion=0";
        assert_eq!(ensemble.to_string(), want);
    }

    #[test]
    fn groups_hold_every_voter_once() {
        let members = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n";
        let good = format!("{members}group.1=1:2\ngroup.2=3\nweight.3=2");
        let ensemble = Ensemble::parse(&good).expect("good groups");
        assert_eq!(Ensemble::parse(&ensemble.to_string()), Ok(ensemble));
        for groups in ["group.1=1:2", "group.1=1:2\ngroup.2=2:3", "group.1=1:2:3:4", "weight.1=1"] {
            assert!(Ensemble::parse(&format!("{members}{groups}")).is_err(), "{groups}");
        }
    }

    fn set(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().map(|id| ServerId(*id)).collect()
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        let ensemble =
            Ensemble::parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer").expect("good");
        assert!(!ensemble.is_quorum(&set(&[1])));
        assert!(!ensemble.is_quorum(&set(&[1, 3, 4])));
        assert!(ensemble.is_quorum(&set(&[1, 2])));
        assert!(!Ensemble::default().is_quorum(&set(&[1])));
    }

    #[test]
    fn a_quorum_of_groups_is_more_than_half_of_each_of_more_than_half() {
        let mut text = String::new();
        for id in 1..=6 {
            text += &format!("server.{id}=h{id}:1:2\n");
        }
        text += "group.1=1:2:3\ngroup.2=4:5\ngroup.3=6\nweight.6=0\nweight.4=2";
        let ensemble = Ensemble::parse(&text).expect("good");
        assert_eq!(ensemble.weight(ServerId(6)), 0);
        assert!(ensemble.is_quorum(&set(&[1, 2, 4])));
        assert!(!ensemble.is_quorum(&set(&[1, 2, 5])));
        assert!(!ensemble.is_quorum(&set(&[1, 2, 3])));
        assert!(!ensemble.is_quorum(&set(&[])));
    }

    #[test]
    fn equal_versions_or_equal_members_are_the_same_membership() {
        let one = Ensemble::parse("server.1=a:1:2\nversion=5").expect("good");
        let renewed = Ensemble { version: Zxid(9), ..one.clone() };
        let other = Ensemble { version: Zxid(9), ..Ensemble::default() };
        assert!(one.is_same(&renewed) && renewed.is_same(&other) && !one.is_same(&other));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, want) in [
            ("server.x=a:1:2", "the server id"),
            ("server.1=a:1", "the election port is missing"),
            ("server.1=a:1:1", "must differ"),
            ("server.1=a:1:2:king", "neither participant nor observer"),
            ("server.1=a:1:70000", "not a number from 1 to 65535"),
            ("server.1=a:1:2|b:1:2", "several addresses"),
            ("server.1=a:1:2;x", "the client port"),
            ("clientPort=1", "does not belong here"),
            ("version=x", "hexadecimal"),
        ] {
            let error = Ensemble::parse(line).expect_err(line).to_string();
            assert!(error.contains(want) && error.contains("line 1"), "{line}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back_equal(text in "((server|group|weight|version)[.]?[0-9]{0,2}=[ -~]{0,30}\n){0,4}") {
            if let Ok(ensemble) = Ensemble::parse(&text) {
                proptest::prop_assert_eq!(Ensemble::parse(&ensemble.to_string()), Ok(ensemble));
            }
        }
    }
}
