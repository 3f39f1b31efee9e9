//! What a reconfig makes of a membership.
//!
//! In: the membership in force and the strings of a reconfig request. Out: the new membership, or why not.
//!
//! Always true:
//! * leavers go before joiners come; two members never share an address.
//!
//! Not here: whether a reconfig may be proposed (`zab`), who may ask for one (`replica`).

use super::{Address, Ensemble, Member, ServerId, Zxid};

/// The strings of a reconfig request.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Change {
    /// `server.N=…` of those that come or change, `,` between them; `None` is null.
    pub joining: Option<String>,
    /// Ids of those that go, `,` between them; `None` is null.
    pub leaving: Option<String>,
    /// The whole new membership, `,` or line ends between the lines; `None` asks for an incremental change.
    pub members: Option<String>,
}

/// Why a change cannot be computed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// An id is no number: Apache ZooKeeper answers such a request with a marshalling error.
    #[error("{0:?} is no server id")]
    NotAnId(String),
    /// The change makes no sense.
    #[error("{0}")]
    BadArguments(String),
}

impl Ensemble {
    /// The membership that a change makes, to be in force from the txn `version` on.
    pub fn changed(&self, change: &Change, version: Zxid) -> Result<Ensemble, ChangeError> {
        let mut next = match &change.members {
            Some(members) => Ensemble::parse(&members.replace(',', "\n"))
                .map_err(|error| ChangeError::BadArguments(error.to_string()))?,
            None => self.changed_by_steps(change)?,
        };
        next.version = version;
        Ok(next)
    }

    fn changed_by_steps(&self, change: &Change) -> Result<Ensemble, ChangeError> {
        if self.is_hierarchical() {
            let reason = "an incremental change needs a majority quorum, without groups and weights";
            return Err(ChangeError::BadArguments(reason.to_owned()));
        }
        let mut next = self.clone();
        for leaving in entries(&change.leaving) {
            next.members.remove(&id(leaving)?);
        }
        for joining in entries(&change.joining) {
            let joiner = joiner(joining)?;
            for other in next.members.values().filter(|other| other.id != joiner.id) {
                if let Some(address) = shared_address(&joiner, other) {
                    let reason = format!("{address} of server.{} is one of server.{}", joiner.id, other.id);
                    return Err(ChangeError::BadArguments(reason));
                }
            }
            next.members.insert(joiner.id, joiner);
        }
        Ok(next)
    }
}

fn entries(list: &Option<String>) -> impl Iterator<Item = &str> {
    let list = list.as_deref().unwrap_or_default();
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn id(text: &str) -> Result<ServerId, ChangeError> {
    text.parse().map(ServerId).map_err(|_| ChangeError::NotAnId(text.to_owned()))
}

fn joiner(text: &str) -> Result<Member, ChangeError> {
    let bad = |reason: String| ChangeError::BadArguments(format!("{text}: {reason}"));
    let (key, value) = text.split_once('=').ok_or_else(|| bad("a joiner is server.N=…".to_owned()))?;
    let digits = key.trim().rsplit('.').next().unwrap_or_default();
    let member = Member::parse(id(digits)?, value.trim()).map_err(bad)?;
    if member.client.is_none() {
        return Err(bad("a joiner needs a client address".to_owned()));
    }
    Ok(member)
}

/// The address that both use, loopback and wildcard aside.
fn shared_address(one: &Member, other: &Member) -> Option<Address> {
    let of = |member: &Member| {
        let mut all = vec![member.quorum(), member.election()];
        all.extend(member.client.clone());
        all
    };
    let others = of(other);
    of(one).into_iter().find(|address| !is_local(&address.host) && others.contains(address))
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host == "0.0.0.0" || host == "::" || host == "::1" || host.starts_with("127.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Ensemble {
        Ensemble::parse("server.1=a:1:2:participant;a:3\nserver.2=b:1:2:observer;b:3\nversion=5")
            .expect("good")
    }

    fn change(joining: &str, leaving: &str) -> Change {
        let joining = Some(joining.to_owned());
        Change { joining, leaving: Some(leaving.to_owned()), members: None }
    }

    #[test]
    fn leavers_go_before_joiners_come() {
        let next = one().changed(&change("server.3=b:1:2;3, server.1=a:1:2:observer;4", "2, 9"), Zxid(7));
        assert_eq!(
            next.expect("good").to_string(),
            "server.1=a:1:2:observer;0.0.0.0:4\nserver.3=b:1:2:participant;0.0.0.0:3\nversion=7"
        );
        assert_eq!(one().changed(&Change::default(), Zxid(7)), Ok(Ensemble { version: Zxid(7), ..one() }));
    }

    #[test]
    fn a_whole_membership_replaces_the_old_one() {
        let members = Some("server.4=d:1:2:participant;3,server.5=e:1:2;3\nversion=99".to_owned());
        let next = one().changed(&Change { members, ..Change::default() }, Zxid(8)).expect("good");
        assert_eq!(next.version, Zxid(8));
        assert_eq!(next.voters().map(|voter| voter.id).collect::<Vec<_>>(), vec![ServerId(4), ServerId(5)]);
    }

    #[test]
    fn a_change_that_makes_no_sense_is_refused() {
        for (joining, leaving, error) in [
            ("", "x", "\"x\" is no server id"),
            ("server.x=c:1:2;3", "", "\"x\" is no server id"),
            ("server.3", "", "server.3: a joiner is server.N=…"),
            ("server.3=c:1:2", "", "server.3=c:1:2: a joiner needs a client address"),
            ("server.3=b:1:9;8", "", "b:1 of server.3 is one of server.2"),
        ] {
            let found = one().changed(&change(joining, leaving), Zxid(7)).expect_err(error);
            assert_eq!(found.to_string(), error);
        }
        let members = Some("nonsense".to_owned());
        assert!(one().changed(&Change { members, ..Change::default() }, Zxid(7)).is_err());
    }
}
