//! The membership of an ensemble, as text and as a value: servers, roles, addresses, groups, weights, version.
//!
//! In: the text of a `zoo.cfg`, a dynamic file, a notification or a reconfig. Out: an [`Ensemble`], and back.
//!
//! Always true:
//! * the text written is one that Apache ZooKeeper 3.8 and 3.9 read;
//! * equal members, roles and addresses make equal memberships, whatever their text's order.
//!
//! Not here: which membership is in force (`zab`), looking names up (`net`).

use std::collections::{BTreeMap, BTreeSet};

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
