//! The secret `NAME-identity`: what makes these servers one ensemble, and outlives every pod.
//!
//! In: the data of the secret, or fresh random texts. Out: an [`Identity`], and back.
//!
//! Always true:
//! * the ensemble's id is made once;
//! * the bootstrap token names the ids that it is for, and is gone for good after the first commit.
//!
//! Not here: the secret as an object (`build::policy`), when it changes (`plan`).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Ensemble, ServerId};

/// Incarnations that are remembered as retired; the oldest is forgotten first.
const RETIRED_MAX: usize = 256;

/// What makes these servers one ensemble.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Stands on every disk.
    pub ensemble_id: String,
    /// Lets empty disks take part in the first election; `None` after the first commit.
    pub bootstrap: Option<Bootstrap>,
    /// Disks that must not be resumed: an incarnation, or `id=N` for any disk of a server.
    pub retired: Vec<String>,
    /// The configuration last known to be committed; before the first commit the one to begin with.
    pub members: Ensemble,
    /// Bearer token of the admin port.
    pub admin_token: String,
    /// Password of the user `super`.
    pub super_password: String,
}

/// Lets empty disks take part in the first election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Random.
    pub token: String,
    /// Servers that it is for.
    pub ids: BTreeSet<ServerId>,
}

/// Random texts for an identity that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// A UUID.
    pub ensemble_id: String,
    /// For the bootstrap.
    pub token: String,
    /// For the admin port.
    pub admin_token: String,
    /// For the user `super`.
    pub super_password: String,
}

impl Fresh {
    /// Texts of random bytes.
    pub fn new(random: &[u8; 64]) -> Fresh {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let mut id: [u8; 16] = random[..16].try_into().expect("16 of 64");
        // Version 4 and variant 1 of RFC 9562.
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        let id = hex(&id);
        Fresh {
            ensemble_id: format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]),
            token: hex(&random[16..32]),
            admin_token: hex(&random[32..48]),
            super_password: hex(&random[48..]),
        }
    }
}

impl Identity {
    /// An identity that begins with these members, all of them voters.
    pub fn first(fresh: Fresh, members: Ensemble) -> Identity {
        let ids = members.members.keys().copied().collect();
        Identity {
            ensemble_id: fresh.ensemble_id,
            bootstrap: Some(Bootstrap { token: fresh.token, ids }),
            retired: Vec::new(),
            members,
            admin_token: fresh.admin_token,
            super_password: fresh.super_password,
        }
    }

    /// Reads the secret's data; the error names the key and what is expected.
    pub fn parse(data: &BTreeMap<String, Vec<u8>>) -> Result<Identity, String> {
        let text = |key: &str| -> Result<Option<String>, String> {
            let Some(bytes) = data.get(key) else { return Ok(None) };
            let text = std::str::from_utf8(bytes).map_err(|_| format!("{key} is no text"))?.trim();
            Ok((!text.is_empty()).then(|| text.to_owned()))
        };
        let needed = |key: &str| text(key)?.ok_or_else(|| format!("{key} is missing"));
        let members = text("members")?.unwrap_or_default();
        Ok(Identity {
            ensemble_id: needed("ensembleId")?,
            bootstrap: text("bootstrapToken")?.map(|line| parse_bootstrap(&line)).transpose()?,
            retired: text("retired")?.unwrap_or_default().lines().map(str::to_owned).collect(),
            members: Ensemble::parse(&members).map_err(|error| format!("members: {error}"))?,
            admin_token: needed("adminToken")?,
            super_password: needed("superPassword")?,
        })
    }

    /// The secret's data.
    pub fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::from([
            ("ensembleId".to_owned(), self.ensemble_id.clone().into_bytes()),
            ("adminToken".to_owned(), self.admin_token.clone().into_bytes()),
            ("superPassword".to_owned(), self.super_password.clone().into_bytes()),
            ("members".to_owned(), self.members.to_string().into_bytes()),
        ]);
        if let Some(bootstrap) = &self.bootstrap {
            let ids: Vec<String> = bootstrap.ids.iter().map(ServerId::to_string).collect();
            let line = format!("{} {}", bootstrap.token, ids.join(","));
            data.insert("bootstrapToken".to_owned(), line.into_bytes());
        }
        if !self.retired.is_empty() {
            data.insert("retired".to_owned(), self.retired.join("\n").into_bytes());
        }
        data
    }

    /// Adds disks that must not be resumed.
    pub fn retire(&mut self, entries: impl IntoIterator<Item = String>) {
        for entry in entries {
            if !self.retired.contains(&entry) {
                self.retired.push(entry);
            }
        }
        let excess = self.retired.len().saturating_sub(RETIRED_MAX);
        self.retired.drain(..excess);
    }
}

/// What stands in the list of retired disks for any disk of a server.
pub fn any_disk_of(id: ServerId) -> String {
    format!("id={id}")
}

fn parse_bootstrap(line: &str) -> Result<Bootstrap, String> {
    let (token, ids) = line.split_once(' ').ok_or("bootstrapToken: expected \"TOKEN ID[,ID...]\"")?;
    let ids = ids.split(',').map(|id| {
        id.trim().parse().map(ServerId).map_err(|_| format!("bootstrapToken: {id:?} is no server id"))
    });
    Ok(Bootstrap { token: token.to_owned(), ids: ids.collect::<Result<_, String>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let members = Ensemble::parse("server.1=a:2888:3888\nserver.2=b:2888:3888\n").expect("well formed");
        Identity::first(Fresh::new(&[7; 64]), members)
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let mut identity = identity();
        assert_eq!(identity.ensemble_id, "07070707-0707-4707-8707-070707070707");
        assert_eq!(Identity::parse(&identity.to_data()), Ok(identity.clone()));
        identity.bootstrap = None;
        identity.retire(["abc".to_owned(), any_disk_of(ServerId(3)), "abc".to_owned()]);
        assert_eq!(identity.retired, ["abc", "id=3"]);
        assert_eq!(Identity::parse(&identity.to_data()), Ok(identity));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut data = identity().to_data();
        data.remove("adminToken");
        assert_eq!(Identity::parse(&data), Err("adminToken is missing".to_owned()));
        data = identity().to_data();
        data.insert("bootstrapToken".to_owned(), b"abc".to_vec());
        assert_eq!(Identity::parse(&data), Err("bootstrapToken: expected \"TOKEN ID[,ID...]\"".to_owned()));
    }
}
