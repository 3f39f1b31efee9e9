//! One znode: its place, name, data and stat, packed into one shared piece of memory.
//!
//! In: the parts of a node. Out: the same parts, and the kind that its owner field stands for.
//!
//! Always true:
//! * fields that still have the value they were created with take no room: a million nodes of 100 bytes that were
//!   created and never set take 160 bytes each;
//! * a piece that a view also holds is never changed, only replaced.
//!
//! Not here: children (`links`, `names`), the lists that ACL numbers stand for (`acls`).

use std::sync::Arc;

use crate::base::{SessionId, Zxid};
use crate::proto::StatPersisted;

/// The owner field of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The owner field of a TTL node starts with this; the low 40 bits are its time to live in ms.
pub const TTL_OWNER: i64 = 0xff_u64.cast_signed() << 56;
/// The largest time to live in ms.
pub const TTL_MS_MAX: i64 = (1 << 40) - 1;

// Which optional fields are there, in this order after the fixed ones. The children's come first, so that they
// always stand at the same place and can be changed where they are.
const CHILDREN: u8 = 1; // pzxid, cversion
const CHANGED: u8 = 2; // mzxid, mtime, version
const AVERSION: u8 = 4;
const OWNER: u8 = 8;
const PREFIX: u8 = 16; // checksum of path and data
const LONG: u8 = 32; // length of the name and number of the ACL, 4 bytes each, instead of the byte each
const NULL: u8 = 64; // data is null

// Fixed: flags, length of the name, ACL (a byte each), parent (4), czxid, ctime (8 each).
const FIXED_BYTES: usize = 23;
/// Nodes with more bytes of path and data than this keep their checksum: a new child then does not cost reading them.
const PREFIX_KEPT_FROM_BYTES: usize = 256;

/// What a node is, by its stored owner field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// It stays until it is deleted.
    Persistent,
    /// It goes with this session.
    Ephemeral(SessionId),
    /// It goes when its last child went.
    Container,
    /// It goes when it has no child and was not modified for so many ms.
    Ttl(i64),
}

impl NodeKind {
    /// The meaning of an owner field. A TTL node is told by its value alone; sessions look so only on a server with
    /// the id 255 on a few hours in 1970.
    pub fn of_owner(owner: i64) -> NodeKind {
        let ttl_ms = owner & TTL_MS_MAX;
        match owner {
            0 => NodeKind::Persistent,
            CONTAINER_OWNER => NodeKind::Container,
            _ if owner == TTL_OWNER | ttl_ms => NodeKind::Ttl(ttl_ms),
            session => NodeKind::Ephemeral(SessionId(session)),
        }
    }

    /// The owner field that stands for it.
    pub fn as_owner(self) -> i64 {
        match self {
            NodeKind::Persistent => 0,
            NodeKind::Ephemeral(session) => session.0,
            NodeKind::Container => CONTAINER_OWNER,
            NodeKind::Ttl(ttl_ms) => TTL_OWNER | (ttl_ms & TTL_MS_MAX),
        }
    }
}

/// A packed node.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<[u8]>);

/// The parts of a node besides its stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Number of the parent; the root is its own.
    pub parent: u32,
    /// Number of the ACL.
    pub acl: u32,
    /// The last component of the path; empty for the root.
    pub name: &'a str,
    /// The data; null and empty differ.
    pub data: Option<&'a [u8]>,
    /// Checksum of path and data, [`super::digest::prefix`]; kept only for large nodes.
    pub prefix: Option<u32>,
}

impl Node {
    /// Packs a node.
    pub fn pack(parts: &Parts<'_>, stat: &StatPersisted) -> Node {
        let data = parts.data.unwrap_or_default();
        let mut bytes = Vec::with_capacity(FIXED_BYTES + 48 + parts.name.len() + data.len());
        let name_len = u32::try_from(parts.name.len()).expect("a path is shorter than a frame");
        let short = u8::try_from(name_len).ok().zip(u8::try_from(parts.acl).ok());
        let (short_name_len, short_acl) = short.unwrap_or_default();
        bytes.extend_from_slice(&[0, short_name_len, short_acl]);
        bytes.extend_from_slice(&parts.parent.to_le_bytes());
        bytes.extend_from_slice(&stat.czxid.0.to_le_bytes());
        bytes.extend_from_slice(&stat.ctime.to_le_bytes());
        let mut flags = 0;
        if stat.pzxid != stat.czxid || stat.cversion != 0 {
            flags |= CHILDREN;
            bytes.extend_from_slice(&stat.pzxid.0.to_le_bytes());
            bytes.extend_from_slice(&stat.cversion.to_le_bytes());
        }
        if stat.mzxid != stat.czxid || stat.mtime != stat.ctime || stat.version != 0 {
            flags |= CHANGED;
            bytes.extend_from_slice(&stat.mzxid.0.to_le_bytes());
            bytes.extend_from_slice(&stat.mtime.to_le_bytes());
            bytes.extend_from_slice(&stat.version.to_le_bytes());
        }
        if stat.aversion != 0 {
            flags |= AVERSION;
            bytes.extend_from_slice(&stat.aversion.to_le_bytes());
        }
        if stat.ephemeral_owner != 0 {
            flags |= OWNER;
            bytes.extend_from_slice(&stat.ephemeral_owner.to_le_bytes());
        }
        if let Some(prefix) = parts.prefix.filter(|_| data.len() > PREFIX_KEPT_FROM_BYTES) {
            flags |= PREFIX;
            bytes.extend_from_slice(&prefix.to_le_bytes());
        }
        if short.is_none() {
            flags |= LONG;
            bytes.extend_from_slice(&name_len.to_le_bytes());
            bytes.extend_from_slice(&parts.acl.to_le_bytes());
        }
        if parts.data.is_none() {
            flags |= NULL;
        }
        bytes[0] = flags;
        bytes.extend_from_slice(parts.name.as_bytes());
        bytes.extend_from_slice(data);
        Node(Arc::from(bytes))
    }

    /// Number of the parent.
    pub fn parent(&self) -> u32 {
        u32::from_le_bytes(self.field(3))
    }

    /// The last component of the path.
    pub fn name(&self) -> &str {
        let flags = self.0[0];
        let optional = [(CHILDREN, 12), (CHANGED, 20), (AVERSION, 4), (OWNER, 8), (PREFIX, 4)];
        let there = optional.iter().map(|(flag, bytes)| if flags & flag != 0 { *bytes } else { 0 });
        let at = FIXED_BYTES + there.sum::<usize>();
        let (at, len) = match flags & LONG {
            0 => (at, usize::from(self.0[1])),
            _ => (at + 8, u32::from_le_bytes(self.field(at)) as usize),
        };
        std::str::from_utf8(&self.0[at..at + len]).expect("it was packed from a string")
    }

    /// The stored stat.
    pub fn stat(&self) -> StatPersisted {
        self.unpack().1
    }

    /// All parts and the stat.
    pub fn unpack(&self) -> (Parts<'_>, StatPersisted) {
        let flags = self.0[0];
        let mut stat = StatPersisted {
            czxid: Zxid(i64::from_le_bytes(self.field(7))),
            ctime: i64::from_le_bytes(self.field(15)),
            ..StatPersisted::default()
        };
        (stat.mzxid, stat.pzxid, stat.mtime) = (stat.czxid, stat.czxid, stat.ctime);
        let mut at = FIXED_BYTES;
        if flags & CHILDREN != 0 {
            stat.pzxid = Zxid(i64::from_le_bytes(self.field(at)));
            stat.cversion = i32::from_le_bytes(self.field(at + 8));
            at += 12;
        }
        if flags & CHANGED != 0 {
            stat.mzxid = Zxid(i64::from_le_bytes(self.field(at)));
            stat.mtime = i64::from_le_bytes(self.field(at + 8));
            stat.version = i32::from_le_bytes(self.field(at + 16));
            at += 20;
        }
        if flags & AVERSION != 0 {
            stat.aversion = i32::from_le_bytes(self.field(at));
            at += 4;
        }
        if flags & OWNER != 0 {
            stat.ephemeral_owner = i64::from_le_bytes(self.field(at));
            at += 8;
        }
        let mut prefix = None;
        if flags & PREFIX != 0 {
            prefix = Some(u32::from_le_bytes(self.field(at)));
            at += 4;
        }
        let (mut name_len, mut acl) = (usize::from(self.0[1]), u32::from(self.0[2]));
        if flags & LONG != 0 {
            name_len = u32::from_le_bytes(self.field(at)) as usize;
            acl = u32::from_le_bytes(self.field(at + 4));
            at += 8;
        }
        let (name, data) = self.0[at..].split_at(name_len);
        let name = std::str::from_utf8(name).expect("it was packed from a string");
        let data = (flags & NULL == 0).then_some(data);
        (Parts { parent: self.parent(), acl, name, data, prefix }, stat)
    }

    /// Sets what a child's coming or going changes, where it stands if nobody else holds this piece.
    pub fn set_children(&mut self, zxid: Zxid, cversion: i32) {
        if self.0[0] & CHILDREN != 0
            && let Some(bytes) = Arc::get_mut(&mut self.0)
        {
            bytes[FIXED_BYTES..FIXED_BYTES + 8].copy_from_slice(&zxid.0.to_le_bytes());
            bytes[FIXED_BYTES + 8..FIXED_BYTES + 12].copy_from_slice(&cversion.to_le_bytes());
            return;
        }
        let (parts, stat) = self.unpack();
        *self = Node::pack(&parts, &StatPersisted { pzxid: zxid, cversion, ..stat });
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("the slice has this length")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn owners_stand_for_kinds() {
        let ttl = 0xff00_0000_0000_0005_u64.cast_signed();
        let session = 0xff10_0000_0000_0005_u64.cast_signed();
        for (owner, kind) in [
            (0, NodeKind::Persistent),
            (i64::MIN, NodeKind::Container),
            (ttl, NodeKind::Ttl(5)),
            (session, NodeKind::Ephemeral(SessionId(session))),
            (0x0100_001e_19a9_0000, NodeKind::Ephemeral(SessionId(0x0100_001e_19a9_0000))),
        ] {
            assert_eq!((NodeKind::of_owner(owner), kind.as_owner()), (kind, owner));
        }
    }

    #[test]
    fn a_fresh_node_of_100_bytes_fits_into_160() {
        let parts = Parts { parent: 7, acl: 1, name: "0123456789", data: Some(&[7; 100]), prefix: Some(9) };
        let node = Node::pack(&parts, &StatPersisted::created(Zxid(9), 8, 0));
        // Two counters before it and the allocator's header.
        assert!(node.0.len() + 16 + 8 <= 160, "{}", node.0.len());
        assert_eq!(size_of::<Option<Node>>(), 16);
    }

    fn any_stat() -> impl Strategy<Value = StatPersisted> {
        let zxid = || (1_i64..3).prop_map(Zxid);
        let count = || prop_oneof![Just(0), any::<i32>()];
        let owner = prop_oneof![Just(0), any::<i64>()];
        (zxid(), zxid(), zxid(), 0..2_i64, 0..2_i64, count(), count(), count(), owner).prop_map(
            |(czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner)| {
                StatPersisted {
                    czxid,
                    mzxid,
                    ctime,
                    mtime,
                    version,
                    cversion,
                    aversion,
                    ephemeral_owner,
                    pzxid,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            stat in any_stat(),
            name in prop_oneof!["[a-zé]{0,9}", "[a-z]{250,300}"],
            data in prop::option::of(prop::collection::vec(any::<u8>(), 0..600)),
            acl in prop_oneof![0..3_u32, any::<u32>()],
            prefix in any::<u32>(),
            parent in any::<u32>(),
        ) {
            let is_large = data.as_ref().is_some_and(|data| data.len() > PREFIX_KEPT_FROM_BYTES);
            let parts = Parts { parent, acl, name: &name, data: data.as_deref(), prefix: Some(prefix) };
            let mut node = Node::pack(&parts, &stat);
            let kept = Parts { prefix: is_large.then_some(prefix), ..parts };
            prop_assert_eq!(node.unpack(), (kept, stat));
            prop_assert_eq!(node.name(), name.as_str());
            let view = node.clone();
            for cversion in 1..3 {
                node.set_children(Zxid(77), cversion);
                let changed = StatPersisted { pzxid: Zxid(77), cversion, ..stat };
                prop_assert_eq!(node.unpack(), (kept, changed));
            }
            prop_assert_eq!(view.unpack(), (kept, stat));
        }
    }
}
