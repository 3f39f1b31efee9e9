//! Who clients say they are, and who may do what: ACLs, counted here a second time.
//!
//! In: what a client proved on its connection, lists of ACLs. Out: whether something is allowed.
//!
//! Always true:
//! * nothing of `quorate::tree` decides here; only the hash of a password is taken from there.
//!
//! Not here: which check comes first (`oracle::expect`).

use std::sync::LazyLock;

use quorate::tree::acl::digest_id;

use crate::wire::AclEntry;

/// Permissions.
pub mod perms {
    /// To read data, children, and what is counted.
    pub const READ: i32 = 1;
    /// To replace data.
    pub const WRITE: i32 = 2;
    /// To create children.
    pub const CREATE: i32 = 4;
    /// To delete children.
    pub const DELETE: i32 = 8;
    /// To replace the ACL.
    pub const ADMIN: i32 = 16;
    /// Everything.
    pub const ALL: i32 = 31;
}

/// Whom a client can prove to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A user.
    Ann,
    /// Another.
    Bob,
    /// Who may do everything.
    Super,
}

/// Every user.
pub const USERS: [User; 3] = [User::Ann, User::Bob, User::Super];

/// Who they are in ACLs.
static IDS: LazyLock<[String; 3]> = LazyLock::new(|| USERS.map(|user| digest_id(user.credential())));

impl User {
    /// Name and password.
    pub fn credential(self) -> &'static str {
        match self {
            User::Ann => "ann:one",
            User::Bob => "bob:two",
            User::Super => "super:simulated",
        }
    }

    /// As it stands in an ACL.
    pub fn id(self) -> &'static str {
        &IDS[self as usize]
    }
}

/// Who a connection was proved to be, besides its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identities(u8);

impl Identities {
    /// One more.
    pub fn add(&mut self, user: User) {
        self.0 |= 1 << user as u8;
    }

    /// Whether it is this one.
    pub fn has(self, user: User) -> bool {
        self.0 >> user as u8 & 1 == 1
    }

    fn users(self) -> impl Iterator<Item = User> {
        USERS.into_iter().filter(move |user| self.has(*user))
    }

    /// What `whoAmI` tells: scheme and user, the address left out.
    pub fn told(self) -> Vec<(String, String)> {
        let name = |user: User| user.credential().split(':').next().unwrap_or_default().to_owned();
        let mut told: Vec<_> = self.users().map(|user| ("digest".to_owned(), name(user))).collect();
        if self.has(User::Super) {
            told.push(("super".to_owned(), String::new()));
        }
        told.sort();
        told
    }

    /// Whether a list allows one of these things.
    pub fn may(self, acl: &[AclEntry], wanted: i32) -> bool {
        self.has(User::Super)
            || acl.iter().filter(|entry| entry.perms & wanted != 0).any(|entry| match entry.scheme.as_str() {
                "world" | "ip" => true,
                _ => self.users().any(|user| user.id() == entry.id),
            })
    }
}

/// The lists that clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Everybody may do everything.
    Open,
    /// Ann may do everything, all others may read.
    ReadByAll,
    /// Ann may do everything, Bob may read and write.
    Users,
    /// Whoever asks may do everything; nobody else.
    Asker,
    /// Every client's address may do everything but replace the list, which Bob may; said twice.
    Network,
    /// Nothing, which is refused.
    Empty,
    /// A scheme that there is not, which is refused.
    Unknown,
}

impl List {
    /// As it is asked for.
    pub fn entries(self) -> Vec<AclEntry> {
        let entry = |perms, scheme: &str, id: &str| AclEntry { perms, scheme: scheme.into(), id: id.into() };
        let user = |perms, user: User| entry(perms, "digest", user.id());
        match self {
            List::Open => vec![entry(perms::ALL, "world", "anyone")],
            List::ReadByAll => vec![user(perms::ALL, User::Ann), entry(perms::READ, "world", "anyone")],
            List::Users => vec![user(perms::ALL, User::Ann), user(perms::READ | perms::WRITE, User::Bob)],
            List::Asker => vec![entry(perms::ALL, "auth", "")],
            List::Network => {
                let network = entry(perms::ALL & !perms::ADMIN, "ip", "10.0.0.0/24");
                vec![network.clone(), user(perms::ADMIN, User::Bob), network]
            }
            List::Empty => Vec::new(),
            List::Unknown => vec![entry(perms::ALL, "host", "example.org")],
        }
    }

    /// As it is stored, in any order; `None` if it is refused.
    pub fn stored(self, asker: Identities) -> Option<Vec<AclEntry>> {
        let mut stored = match self {
            List::Asker => {
                let entry = |user: User| AclEntry {
                    perms: perms::ALL,
                    scheme: "digest".into(),
                    id: user.id().into(),
                };
                asker.users().map(entry).collect()
            }
            List::Unknown => Vec::new(),
            _ => self.entries(),
        };
        stored.sort();
        stored.dedup();
        (!stored.is_empty()).then_some(stored)
    }
}

/// A list as getACL shows it: who may not replace it sees no secrets.
pub fn shown(acl: &[AclEntry], asker: Identities) -> Vec<AclEntry> {
    let mut shown = acl.to_vec();
    if !asker.may(acl, perms::ADMIN) {
        for entry in shown.iter_mut().filter(|entry| entry.scheme == "digest") {
            let user = entry.id.split(':').next().unwrap_or_default();
            entry.id = format!("{user}:x");
        }
    }
    shown
}
