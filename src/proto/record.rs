//! Records that requests, responses, txns and snapshots share: Stat, Acl, Id, WatchedEvent.
//!
//! In and out: values and their bytes.
//!
//! Always true:
//! * the order of the fields is the one of the format, which differs between `Stat` and `StatPersisted`.
//!
//! Not here: checking an ACL (`tree::acl`), computing a stat (`tree::node`).

use crate::base::wire::{DecodeError, Reader, Writer};
use crate::base::{SessionId, Zxid};

/// Permission bits of an ACL entry. Other bits are kept and mean nothing.
pub mod perms {
    /// Read data, children, stat.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create a child.
    pub const CREATE: i32 = 4;
    /// Delete a child.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// An identity: of a connection, or in an ACL entry. A null field is read as the empty string, which no scheme
/// accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// `world`, `auth`, `ip`, `digest`, `super`, …
    pub scheme: String,
    /// What the scheme makes of it.
    pub id: String,
}

/// One entry of an ACL list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    /// Bits of [`perms`]; others are kept.
    pub perms: i32,
    /// Who gets them.
    pub id: Id,
}

/// What clients see of a node besides its data: 68 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stat {
    /// The txn that created it.
    pub czxid: Zxid,
    /// The txn that last set its data.
    pub mzxid: Zxid,
    /// When it was created, in ms since 1970.
    pub ctime: i64,
    /// When its data was last set, in ms since 1970.
    pub mtime: i64,
    /// How often its data was set; wraps.
    pub version: i32,
    /// How often a child was created or deleted; wraps.
    pub cversion: i32,
    /// How often its ACL was set; wraps.
    pub aversion: i32,
    /// The session of an ordinary ephemeral node; 0 for every other kind.
    pub ephemeral_owner: i64,
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    /// Direct children.
    pub num_children: i32,
    /// The txn that last created or deleted a child, else that created the node.
    pub pzxid: Zxid,
}

/// What is stored of a node besides data, ACL and name: 60 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StatPersisted {
    /// The txn that created it.
    pub czxid: Zxid,
    /// The txn that last set its data.
    pub mzxid: Zxid,
    /// When it was created, in ms since 1970.
    pub ctime: i64,
    /// When its data was last set, in ms since 1970.
    pub mtime: i64,
    /// How often its data was set; wraps.
    pub version: i32,
    /// How many children were created; unlike `Stat::cversion` it does not count deletions.
    pub cversion: i32,
    /// How often its ACL was set; wraps.
    pub aversion: i32,
    /// 0, a session, or the marker of a container or TTL node (`tree::NodeKind`).
    pub ephemeral_owner: i64,
    /// The txn that last created or deleted a child, else that created the node.
    pub pzxid: Zxid,
}

/// What `whoAmI` tells of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The scheme.
    pub scheme: String,
    /// The user's name in it, without secrets.
    pub user: String,
}

/// What happened to a watched path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum EventKind {
    /// The node was created.
    Created = 1,
    /// The node was deleted.
    Deleted = 2,
    /// The node's data was set.
    DataChanged = 3,
    /// A child was created or deleted.
    ChildrenChanged = 4,
}

/// A notification to a client; its state is always 3, connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which node: never the path of a registration above it.
    pub path: String,
    /// The txn that caused it; `Zxid::NONE` for an event that setWatches makes up.
    pub zxid: Zxid,
}

impl Id {
    /// An identity of two strings.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Id {
        Id { scheme: scheme.into(), id: id.into() }
    }

    /// Reads one.
    pub fn decode(reader: &mut Reader) -> Result<Id, DecodeError> {
        let scheme = reader.string("id scheme")?.unwrap_or_default();
        let id = reader.string("id")?.unwrap_or_default();
        Ok(Id { scheme, id })
    }

    /// Writes it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.string(&self.scheme).string(&self.id);
    }
}

impl Acl {
    /// `world:anyone` may do everything.
    pub fn open() -> Vec<Acl> {
        vec![Acl { perms: perms::ALL, id: Id::new("world", "anyone") }]
    }

    /// `world:anyone` may read.
    pub fn read_only() -> Vec<Acl> {
        vec![Acl { perms: perms::READ, id: Id::new("world", "anyone") }]
    }

    /// Reads one.
    pub fn decode(reader: &mut Reader) -> Result<Acl, DecodeError> {
        let perms = reader.i32("acl perms")?;
        Ok(Acl { perms, id: Id::decode(reader)? })
    }

    /// Writes it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i32(self.perms);
        self.id.encode(writer);
    }

    /// Reads a list; `None` is null.
    pub fn decode_list(reader: &mut Reader) -> Result<Option<Vec<Acl>>, DecodeError> {
        let Some(count) = reader.count("acl", 12)? else {
            return Ok(None);
        };
        (0..count).map(|_| Acl::decode(reader)).collect::<Result<_, _>>().map(Some)
    }

    /// Writes a list.
    pub fn encode_list(list: &[Acl], writer: &mut Writer) {
        writer.count(list.len());
        for acl in list {
            acl.encode(writer);
        }
    }
}

impl Stat {
    /// Reads one.
    pub fn decode(reader: &mut Reader) -> Result<Stat, DecodeError> {
        Ok(Stat {
            czxid: Zxid(reader.i64("czxid")?),
            mzxid: Zxid(reader.i64("mzxid")?),
            ctime: reader.i64("ctime")?,
            mtime: reader.i64("mtime")?,
            version: reader.i32("version")?,
            cversion: reader.i32("cversion")?,
            aversion: reader.i32("aversion")?,
            ephemeral_owner: reader.i64("ephemeralOwner")?,
            data_length: reader.i32("dataLength")?,
            num_children: reader.i32("numChildren")?,
            pzxid: Zxid(reader.i64("pzxid")?),
        })
    }

    /// Writes it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i64(self.czxid.0).i64(self.mzxid.0).i64(self.ctime).i64(self.mtime);
        writer.i32(self.version).i32(self.cversion).i32(self.aversion).i64(self.ephemeral_owner);
        writer.i32(self.data_length).i32(self.num_children).i64(self.pzxid.0);
    }
}

impl StatPersisted {
    /// The stat of a node that a txn creates.
    pub fn created(zxid: Zxid, time: i64, owner: i64) -> StatPersisted {
        StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: owner,
            pzxid: zxid,
        }
    }

    /// Reads one.
    pub fn decode(reader: &mut Reader) -> Result<StatPersisted, DecodeError> {
        Ok(StatPersisted {
            czxid: Zxid(reader.i64("czxid")?),
            mzxid: Zxid(reader.i64("mzxid")?),
            ctime: reader.i64("ctime")?,
            mtime: reader.i64("mtime")?,
            version: reader.i32("version")?,
            cversion: reader.i32("cversion")?,
            aversion: reader.i32("aversion")?,
            ephemeral_owner: reader.i64("ephemeralOwner")?,
            pzxid: Zxid(reader.i64("pzxid")?),
        })
    }

    /// Writes it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i64(self.czxid.0).i64(self.mzxid.0).i64(self.ctime).i64(self.mtime);
        writer.i32(self.version).i32(self.cversion).i32(self.aversion).i64(self.ephemeral_owner);
        writer.i64(self.pzxid.0);
    }

    /// What clients see of a node with this stat, so much data and so many children. The owner of a container or
    /// TTL node is hidden (`owner_visible` is 0 for them).
    pub fn as_stat(&self, shape: Shape) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // The stored counter counts creations; what clients see counts deletions too.
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(shape.num_children),
            aversion: self.aversion,
            ephemeral_owner: shape.owner_visible.0,
            data_length: shape.data_length,
            num_children: shape.num_children,
            pzxid: self.pzxid,
        }
    }
}

/// What a stat needs besides what is stored of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    /// Direct children.
    pub num_children: i32,
    /// The session of an ordinary ephemeral node, else `SessionId::NONE`.
    pub owner_visible: SessionId,
}

impl WatchedEvent {
    /// Writes the record that follows the notification's reply header.
    pub fn encode(&self, writer: &mut Writer) {
        // State 3: connected. Clients make up every other state themselves.
        writer.i32(self.kind as i32).i32(3).string(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visible_cversion_counts_creations_and_deletions() {
        let stored = StatPersisted { cversion: 3, ..StatPersisted::default() };
        let shape = Shape { data_length: 0, num_children: 1, owner_visible: SessionId::NONE };
        assert_eq!(stored.as_stat(shape).cversion, 5);
        let fresh = StatPersisted::default().as_stat(Shape { num_children: 2, ..shape });
        assert_eq!(fresh.cversion, -2);
    }

    #[test]
    fn a_stat_is_68_bytes_and_a_stored_one_60() {
        let mut writer = Writer::new();
        Stat::default().encode(&mut writer);
        assert_eq!(writer.bytes.len(), 68);
        let mut writer = Writer::new();
        StatPersisted::default().encode(&mut writer);
        assert_eq!(writer.bytes.len(), 60);
    }
}
