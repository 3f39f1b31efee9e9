//! Who may do what; scheme checks.
//!
//! In: an ACL, the permission wanted, the identities of a connection. Out: yes or no; identities for credentials; ACL
//! lists made ready to be stored.
//!
//! Always true:
//! * entries are not combined: one entry with one of the wanted bits decides;
//! * an identity is a scheme and an id, and only its scheme knows how to compare it.
//!
//! Not here: which permission an operation needs (`replica`), where lists are kept (`acls`).

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::proto::{Acl, ClientInfo, ErrorCode, Id, perms};

/// Whether ACLs are looked at (`skipACL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclCheck {
    /// They are.
    Enforced,
    /// Everything is allowed.
    Skipped,
}

/// How clients can prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// Whether the scheme `digest` is there; by default it is.
    pub digest: SchemeState,
    /// `user:base64` of the digest identity that may do everything; `None` if there is none.
    pub super_digest: Option<String>,
}

/// Whether a scheme is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemeState {
    /// It is.
    Enabled,
    /// Its ids are invalid, and its credentials refused.
    Disabled,
}

impl Default for Schemes {
    fn default() -> Schemes {
        Schemes { digest: SchemeState::Enabled, super_digest: None }
    }
}

impl Schemes {
    /// The identities that a credential of an auth packet adds to a connection from `address`.
    pub fn authenticate(
        &self,
        scheme: Option<&str>,
        credential: Option<&[u8]>,
        address: IpAddr,
    ) -> Result<Vec<Id>, ErrorCode> {
        match (scheme, credential) {
            (Some("ip"), _) => Ok(vec![ip_id(address)]),
            (Some("digest"), Some(credential)) if self.digest == SchemeState::Enabled => {
                let id = digest_id(&String::from_utf8_lossy(credential));
                let is_super = self.super_digest.as_ref() == Some(&id);
                let extra = is_super.then(|| Id::new("super", ""));
                Ok(std::iter::once(Id::new("digest", id)).chain(extra).collect())
            }
            _ => Err(ErrorCode::AuthFailed),
        }
    }

    /// Makes a list of a request ready to be stored: without duplicates, `auth` replaced by the connection's identities.
    pub fn fix_up(&self, list: Option<&[Acl]>, identities: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
        let list = list.filter(|list| !list.is_empty()).ok_or(ErrorCode::InvalidAcl)?;
        let mut fixed = Vec::with_capacity(list.len());
        for (index, acl) in list.iter().enumerate() {
            if list[..index].contains(acl) {
                continue;
            }
            match acl.id.scheme.as_str() {
                "auth" => {
                    let before = fixed.len();
                    let proven = identities.iter().filter(|id| is_proof(&id.scheme));
                    fixed.extend(proven.map(|id| Acl { perms: acl.perms, id: id.clone() }));
                    if fixed.len() == before {
                        return Err(ErrorCode::InvalidAcl);
                    }
                }
                // A null id, as it was read: ZooKeeper fails on it in another way than on a wrong one.
                "world" if acl.id.id.is_empty() => return Err(ErrorCode::MarshallingError),
                _ if self.is_valid(&acl.id) => fixed.push(acl.clone()),
                _ => return Err(ErrorCode::InvalidAcl),
            }
        }
        Ok(fixed)
    }

    /// Whether an identity may stand in a stored list.
    fn is_valid(&self, id: &Id) -> bool {
        match id.scheme.as_str() {
            "world" => id.id == "anyone",
            "ip" => Network::parse(&id.id).is_some(),
            "digest" => self.digest == SchemeState::Enabled && is_digest_id(&id.id),
            _ => false,
        }
    }
}

/// Whether one of the wanted permissions is given to one of the identities.
pub fn allows(check: AclCheck, acl: &[Acl], wanted: i32, identities: &[Id]) -> bool {
    if check == AclCheck::Skipped || acl.is_empty() {
        return true;
    }
    if identities.iter().any(|id| id.scheme == "super") {
        return true;
    }
    acl.iter().filter(|entry| entry.perms & wanted != 0).any(|entry| {
        let is_world = entry.id.scheme == "world" && entry.id.id == "anyone";
        is_world || identities.iter().any(|id| is_match(&entry.id, id))
    })
}

/// The list as getACL shows it: without the permission to change it, the secret part of digest ids is hidden.
pub fn visible(check: AclCheck, acl: &[Acl], identities: &[Id]) -> Vec<Acl> {
    let mut list = acl.to_vec();
    if !allows(check, acl, perms::ADMIN, identities) {
        for entry in list.iter_mut().filter(|entry| entry.id.scheme == "digest") {
            if let Some((user, _)) = entry.id.id.split_once(':') {
                entry.id.id = format!("{user}:x");
            }
        }
    }
    list
}

/// The identity that every connection has from the start.
pub fn ip_id(address: IpAddr) -> Id {
    let text = match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        // As Java prints it: every group, without leading zeros.
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    };
    Id::new("ip", text)
}

/// Puts identities into the order in which Apache ZooKeeper keeps a connection's: that of a Java hash table. It shows
/// where `auth` is expanded.
pub fn sort_identities(identities: &mut [Id]) {
    let mut buckets = 16;
    while identities.len() * 4 >= buckets * 3 {
        buckets *= 2;
    }
    identities.sort_by_key(|id| {
        let hash = 17_i32.wrapping_mul(37).wrapping_add(java_hash(&id.scheme));
        let hash = hash.wrapping_mul(37).wrapping_add(java_hash(&id.id)).cast_unsigned();
        (hash ^ hash >> 16) as usize % buckets
    });
}

fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The id of the scheme `digest` for `user:password`.
pub fn digest_id(credential: &str) -> String {
    let user = credential.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(Sha1::digest(credential.as_bytes())))
}

/// What whoAmI tells of a connection's identities.
pub fn client_infos(identities: &[Id]) -> Vec<ClientInfo> {
    let user = |id: &Id| match id.scheme.as_str() {
        "ip" | "sasl" | "x509" => id.id.clone(),
        "digest" => id.id.split(':').next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    identities.iter().map(|id| ClientInfo { scheme: id.scheme.clone(), user: user(id) }).collect()
}

/// Whether an identity of this scheme was proven, so that `auth` stands for it.
fn is_proof(scheme: &str) -> bool {
    matches!(scheme, "digest" | "sasl" | "x509")
}

fn is_match(entry: &Id, identity: &Id) -> bool {
    if entry.scheme != identity.scheme {
        return false;
    }
    match entry.scheme.as_str() {
        "ip" => {
            let address = parse_address(&identity.id);
            Network::parse(&entry.id).zip(address).is_some_and(|(network, address)| network.holds(address))
        }
        "digest" | "sasl" | "x509" => entry.id == identity.id,
        _ => false,
    }
}

/// Two parts between colons, as Java splits: empty parts at the end do not count.
fn is_digest_id(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// An address and how many of its bits count.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = parse_address(address)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(bits_max), |bits| bits.parse().ok())?;
        (bits <= bits_max).then_some(Network { address, bits })
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        // No dotted part and no zone, as in ZooKeeper's own parser.
        let is_plain = text.chars().all(|c| c == ':' || c.is_ascii_hexdigit());
        return text.parse::<Ipv6Addr>().ok().filter(|_| is_plain).map(IpAddr::V6);
    }
    let mut bytes = [0; 4];
    let mut groups = text.split('.');
    for byte in &mut bytes {
        let group = groups.next().filter(|group| group.chars().all(|c| c.is_ascii_digit()))?;
        *byte = group.parse().ok()?;
    }
    groups.next().is_none().then(|| IpAddr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    fn is_allowed(acl: &[Acl], wanted: i32, identities: &[Id]) -> bool {
        allows(AclCheck::Enforced, acl, wanted, identities)
    }

    fn localhost() -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }

    #[test]
    fn the_observed_digest_id_is_computed() {
        assert_eq!(digest_id("bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        assert!(digest_id("").starts_with(':'));
        assert!(digest_id("nobody").starts_with("nobody:"));
    }

    #[test]
    fn one_entry_with_one_wanted_bit_allows() {
        let bob = [Id::new("digest", "bob:x")];
        let list = [acl(perms::READ, "world", "anyone"), acl(perms::WRITE, "digest", "bob:x")];
        assert!(is_allowed(&list, perms::READ, &[]));
        assert!(!is_allowed(&list, perms::WRITE, &[]));
        assert!(is_allowed(&list, perms::WRITE | perms::ADMIN, &bob));
        assert!(!is_allowed(&list, perms::ADMIN, &bob));
        assert!(is_allowed(&list, perms::ADMIN, &[Id::new("super", "")]));
        assert!(allows(AclCheck::Skipped, &list, perms::ADMIN, &[]));
        assert!(is_allowed(&[], perms::ADMIN, &[]));
        assert!(!is_allowed(&[acl(0, "world", "anyone")], perms::READ, &[]));
    }

    #[test]
    fn addresses_are_compared_under_their_mask() {
        let from =
            |network: &str, address: &str| is_allowed(&[acl(1, "ip", network)], 1, &[Id::new("ip", address)]);
        assert!(from("10.1.2.3", "10.1.2.3"));
        assert!(!from("10.1.2.3", "10.1.2.4"));
        assert!(from("10.1.0.0/16", "10.1.2.4"));
        assert!(from("0.0.0.0/0", "10.1.2.4"));
        assert!(from("fe80::/10", "fe80:0:0:0:0:0:0:1"));
        assert!(!from("::1", "0:0:0:0:0:0:0:2"));
        assert!(!from("0.0.0.0/0", "0:0:0:0:0:0:0:1"));
    }

    #[test]
    fn ids_of_stored_lists_are_checked() {
        let fixed =
            |scheme: &str, id: &str| Schemes::default().fix_up(Some(&[acl(1, scheme, id)]), &[]).is_ok();
        for (scheme, id) in
            [("world", "anyone"), ("digest", "a:b"), ("digest", ":b"), ("digest", "a:b:"), ("ip", "::1/128")]
        {
            assert!(fixed(scheme, id), "{scheme}:{id}");
        }
        for (scheme, id) in [
            ("world", "x"),
            ("", ""),
            ("digest", "a"),
            ("digest", "a:"),
            ("digest", "a:b:c"),
            ("ip", "1.2.3"),
            ("ip", "1.2.3.256"),
            ("ip", "1.2.3.4.5"),
            ("ip", "1.2.3.4/33"),
            ("ip", "1.2.3.4/x"),
            ("ip", "::1.2.3.4"),
            ("host", "a.b"),
            ("sasl", "bob"),
            ("super", "x"),
            ("auth", ""),
        ] {
            assert!(!fixed(scheme, id), "{scheme}:{id}");
        }
        assert_eq!(Schemes::default().fix_up(None, &[]), Err(ErrorCode::InvalidAcl));
        assert_eq!(Schemes::default().fix_up(Some(&[]), &[]), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn duplicates_go_and_auth_stands_for_what_was_proven() {
        let bob = Id::new("digest", "bob:x");
        let identities = [ip_id(localhost()), bob.clone(), Id::new("super", "")];
        let list = [acl(1, "world", "anyone"), acl(31, "auth", ""), acl(1, "world", "anyone")];
        let fixed = Schemes::default().fix_up(Some(&list), &identities).expect("valid");
        assert_eq!(fixed, [acl(1, "world", "anyone"), Acl { perms: 31, id: bob }]);
    }

    #[test]
    fn credentials_become_identities() {
        let schemes = Schemes { super_digest: Some(digest_id("super:secret")), ..Schemes::default() };
        let with = |scheme, credential: &str| {
            schemes.authenticate(Some(scheme), Some(credential.as_bytes()), localhost())
        };
        assert_eq!(with("digest", "bob:pw"), Ok(vec![Id::new("digest", digest_id("bob:pw"))]));
        assert_eq!(with("digest", "super:secret").map(|ids| ids.len()), Ok(2));
        assert_eq!(with("ip", "anything"), Ok(vec![Id::new("ip", "127.0.0.1")]));
        for scheme in ["world", "sasl", "x509", "none"] {
            assert_eq!(with(scheme, ""), Err(ErrorCode::AuthFailed));
        }
        assert_eq!(schemes.authenticate(Some("digest"), None, localhost()), Err(ErrorCode::AuthFailed));
        let closed = Schemes { digest: SchemeState::Disabled, super_digest: None };
        assert_eq!(
            closed.authenticate(Some("digest"), Some(b"a:b"), localhost()),
            Err(ErrorCode::AuthFailed)
        );
    }

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        let id = |address: &str| ip_id(address.parse().expect("an address")).id;
        assert_eq!(id("::1"), "0:0:0:0:0:0:0:1");
        assert_eq!(id("::ffff:1.2.3.4"), "1.2.3.4");
        assert_eq!(id("FE80::0A"), "fe80:0:0:0:0:0:0:a");
    }

    #[test]
    fn secrets_of_a_list_are_shown_to_its_admins_only() {
        let list = [acl(31, "digest", "bob:secret"), acl(1, "world", "anyone")];
        let shown = |identities: &[Id]| visible(AclCheck::Enforced, &list, identities)[0].id.id.clone();
        assert_eq!(shown(&[]), "bob:x");
        assert_eq!(shown(&[Id::new("digest", "bob:secret")]), "bob:secret");
        let infos = client_infos(&[Id::new("digest", "bob:secret"), Id::new("super", "s")]);
        assert_eq!(infos.iter().map(|info| info.user.as_str()).collect::<Vec<_>>(), ["bob", ""]);
    }
}
