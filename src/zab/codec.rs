//! The bytes of the quorum port: packets into bytes, and a stream of bytes into packets.
//!
//! In: bytes as they arrive on one link. Out: [`Packet`]s, and back.
//!
//! Always true:
//! * there is no framing: a record ends where its fields end, so an error ends the link;
//! * a length is checked before anything is allocated or waited for;
//! * a snapshot stream is scanned once, however small the pieces in which it arrives.
//!
//! Not here: what a packet means (`packet`), sockets (`net::quorum`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::packet::{Forwarded, Identity, Mark, Packet, Proposal};
use super::stream::Scan;
use crate::base::wire::{DecodeError, Reader, Writer};
use crate::base::{Epoch, ServerId, SessionId, Zxid};

/// The protocol version that every learner and leader since 3.4 sends.
const PROTOCOL_VERSION: i32 = 0x10000;
/// Identities in one REQUEST; a connection has a handful.
const IDENTITIES_MAX: usize = 4096;
/// Ends a snapshot stream.
pub(super) const SIGNATURE: &str = "BenWasHere";
/// Begins what Quorate appends to LearnerInfo and LEADERINFO: Apache ZooKeeper reads only the fields before it.
const MARK: &[u8; 8] = b"quorate1";
/// Longest ensemble id in a mark.
const ENSEMBLE_ID_BYTES_MAX: usize = 256;

const REQUEST: i32 = 1;
const PROPOSAL: i32 = 2;
const ACK: i32 = 3;
const COMMIT: i32 = 4;
const PING: i32 = 5;
const REVALIDATE: i32 = 6;
const SYNC: i32 = 7;
const INFORM: i32 = 8;
const COMMIT_AND_ACTIVATE: i32 = 9;
const NEW_LEADER: i32 = 10;
const FOLLOWER_INFO: i32 = 11;
const UP_TO_DATE: i32 = 12;
const DIFF: i32 = 13;
const TRUNC: i32 = 14;
const SNAP: i32 = 15;
const OBSERVER_INFO: i32 = 16;
const LEADER_INFO: i32 = 17;
const ACK_EPOCH: i32 = 18;
const INFORM_AND_ACTIVATE: i32 = 19;
/// "QUO1": only between servers that know each other as Quorate.
const HAND_OVER: i32 = 0x5155_4f31;

/// Which end of a link this server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It accepted the link: it reads what learners send.
    Leader,
    /// It dialed: it reads what a leader sends.
    Learner,
}

/// How much a peer may make this server hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest string or buffer: `jute.maxbuffer` and its extra size.
    pub buffer_bytes_max: usize,
    /// Longest snapshot stream.
    pub snapshot_bytes_max: usize,
}

impl Default for Limits {
    /// Twice `jute.maxbuffer`'s default of 1,048,575 as Apache ZooKeeper has it, and 8 GiB for a snapshot.
    fn default() -> Limits {
        Limits { buffer_bytes_max: 2_097_150, snapshot_bytes_max: 8 << 30 }
    }
}

/// Takes packets out of the bytes of one link.
#[derive(Debug)]
pub struct Decoder {
    side: Side,
    limits: Limits,
    /// A SNAP was read and its stream is being scanned.
    snapshot: Option<(Zxid, Scan)>,
}

/// A record as it stands on the wire.
struct Record {
    kind: i32,
    zxid: Zxid,
    data: Option<Bytes>,
    identities: Vec<Identity>,
}

impl Decoder {
    /// For a new link.
    pub fn new(side: Side, limits: Limits) -> Decoder {
        Decoder { side, limits, snapshot: None }
    }

    /// Takes the next packet from the front of `bytes`; `None` if it has not arrived whole.
    /// Packets of a kind that nobody knows are skipped, as Apache ZooKeeper does.
    pub fn feed(&mut self, bytes: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        loop {
            if let Some((zxid, scan)) = &mut self.snapshot {
                let Some(body_bytes) = scan.advance(bytes)? else { return Ok(None) };
                let packet = Packet::Snap { zxid: *zxid, body: bytes.split_to(body_bytes).freeze() };
                bytes.advance(4 + SIGNATURE.len());
                self.snapshot = None;
                return Ok(Some(packet));
            }
            let Some(len) = self.record_len(bytes)? else { return Ok(None) };
            let record = Record::read(bytes.split_to(len).freeze())?;
            if record.kind == SNAP && self.side == Side::Learner {
                self.snapshot = Some((record.zxid, Scan::new(self.limits)));
                continue;
            }
            if let Some(packet) = self.packet(record)? {
                return Ok(Some(packet));
            }
        }
    }

    /// The length of the record at the front, once all its lengths are there and within the limits.
    fn record_len(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(data) = self.buffer_len(bytes, 12, "packet data")? else { return Ok(None) };
        let mut at = 16 + data;
        let Some(count) = int_at(bytes, at) else { return Ok(None) };
        at += 4;
        let count = usize::try_from(count.max(0)).unwrap_or(0);
        if count > IDENTITIES_MAX {
            return Err(DecodeError::Length { field: "authinfo", len: count as i64, max: IDENTITIES_MAX });
        }
        let identities = at;
        for _ in 0..2 * count {
            let Some(len) = self.buffer_len(bytes, at, "identity")? else { return Ok(None) };
            at += 4 + len;
            let (all, max) = (at - identities, self.limits.buffer_bytes_max);
            if all > max {
                return Err(DecodeError::Length { field: "identities", len: all as i64, max });
            }
        }
        Ok(if bytes.len() < at { None } else { Some(at) })
    }

    fn buffer_len(&self, bytes: &[u8], at: usize, field: &'static str) -> Result<Option<usize>, DecodeError> {
        match int_at(bytes, at) {
            None => Ok(None),
            Some(len) => checked_len(len, self.limits.buffer_bytes_max, field).map(Some),
        }
    }

    fn packet(&self, record: Record) -> Result<Option<Packet>, DecodeError> {
        match self.side {
            Side::Leader => from_learner(record),
            Side::Learner => from_leader(record),
        }
    }
}

/// A length as read; null counts as 0.
pub(super) fn checked_len(len: i32, max: usize, field: &'static str) -> Result<usize, DecodeError> {
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        Err(_) if len == -1 => Ok(0),
        _ => Err(DecodeError::Length { field, len: i64::from(len), max }),
    }
}

/// The integer at `at`, if it has arrived.
pub(super) fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(i32::from_be_bytes(four.try_into().expect("four bytes were taken")))
}

impl Record {
    fn read(bytes: Bytes) -> Result<Record, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (kind, zxid) = (reader.i32("packet type")?, Zxid(reader.i64("packet zxid")?));
        let data = reader.buffer("packet data")?;
        let count = reader.count("authinfo", 8)?.unwrap_or(0);
        let mut identities = Vec::with_capacity(count);
        for _ in 0..count {
            let scheme = reader.string("scheme")?.unwrap_or_default();
            identities.push(Identity { scheme, id: reader.string("id")?.unwrap_or_default() });
        }
        Ok(Record { kind, zxid, data, identities })
    }

    fn reader(&self, field: &'static str) -> Result<Reader, DecodeError> {
        self.data.clone().map(Reader::new).ok_or(DecodeError::Null { field })
    }

    fn proposal(self) -> Result<Proposal, DecodeError> {
        let txn = self.data.ok_or(DecodeError::Null { field: "txn" })?;
        check_txn(self.zxid, &txn)?;
        Ok(Proposal { zxid: self.zxid, txn })
    }
}

/// A txn has a header, and the header's zxid is the packet's.
fn check_txn(zxid: Zxid, txn: &Bytes) -> Result<(), DecodeError> {
    let mut reader = Reader::new(txn.clone());
    reader.raw("txn header", 12)?;
    let inner = reader.i64("txn zxid")?;
    reader.raw("txn header", 12)?;
    if inner == zxid.0 { Ok(()) } else { Err(DecodeError::Unknown { field: "txn zxid", value: inner }) }
}

fn from_learner(record: Record) -> Result<Option<Packet>, DecodeError> {
    Ok(Some(match record.kind {
        FOLLOWER_INFO | OBSERVER_INFO => learner_info(record)?,
        ACK_EPOCH => {
            let current = record.reader("epoch")?.i32("epoch")?;
            let current = if current == -1 { None } else { Some(epoch("epoch", i64::from(current))?) };
            Packet::AckEpoch { current, last: record.zxid }
        }
        ACK => Packet::Ack(record.zxid),
        PING => {
            let mut reader = record.reader("touched sessions")?;
            let mut touched = Vec::with_capacity(reader.remaining() / 12);
            while reader.remaining() > 0 {
                touched.push((SessionId(reader.i64("session")?), reader.i32("timeout")?));
            }
            Packet::Pong { zxid: record.zxid, touched }
        }
        REVALIDATE => {
            let mut reader = record.reader("session")?;
            let (session, timeout_ms) = (SessionId(reader.i64("session")?), reader.i32("timeout")?);
            Packet::Revalidate { session, timeout_ms }
        }
        REQUEST => {
            let mut reader = record.reader("request")?;
            let (session, cxid) = (SessionId(reader.i64("session")?), reader.i32("cxid")?);
            let (op, body) = (reader.i32("op")?, reader.rest());
            Packet::Request(Forwarded { session, cxid, op, body, identities: record.identities })
        }
        _ => return Ok(None),
    }))
}

fn from_leader(record: Record) -> Result<Option<Packet>, DecodeError> {
    Ok(Some(match record.kind {
        LEADER_INFO => {
            let mut reader = record.reader("protocol version")?;
            let version = reader.i32("protocol version")?;
            if version < PROTOCOL_VERSION {
                return Err(DecodeError::Unknown { field: "protocol version", value: i64::from(version) });
            }
            Packet::LeaderInfo { epoch: epoch("epoch", record.zxid.0 >> 32)?, mark: mark(&mut reader) }
        }
        DIFF => Packet::Diff(record.zxid),
        TRUNC => Packet::Trunc(record.zxid),
        NEW_LEADER => {
            let text = record.data.filter(|data| !data.is_empty());
            let config = text.map(|data| String::from_utf8_lossy(&data).into_owned());
            Packet::NewLeader { zxid: record.zxid, config }
        }
        UP_TO_DATE => Packet::UpToDate,
        PROPOSAL => Packet::Proposal(record.proposal()?),
        COMMIT => Packet::Commit(record.zxid),
        COMMIT_AND_ACTIVATE => {
            let leader = ServerId(record.reader("designated leader")?.i64("designated leader")?);
            Packet::CommitAndActivate { zxid: record.zxid, leader }
        }
        INFORM => Packet::Inform(record.proposal()?),
        INFORM_AND_ACTIVATE => {
            let mut reader = record.reader("designated leader")?;
            let leader = ServerId(reader.i64("designated leader")?);
            let txn = reader.rest();
            check_txn(record.zxid, &txn)?;
            Packet::InformAndActivate { leader, proposal: Proposal { zxid: record.zxid, txn } }
        }
        PING => Packet::Ping(record.zxid),
        REVALIDATE => {
            let mut reader = record.reader("session")?;
            Packet::Revalidated { session: SessionId(reader.i64("session")?), valid: reader.bool("valid")? }
        }
        SYNC => Packet::Sync,
        HAND_OVER => {
            let mut reader = record.reader("successor")?;
            let leader = ServerId(reader.i64("successor")?);
            Packet::HandOver { leader, last: record.zxid, round: reader.i64("round")? }
        }
        _ => return Ok(None),
    }))
}

fn learner_info(record: Record) -> Result<Packet, DecodeError> {
    let observer = record.kind == OBSERVER_INFO;
    let accepted = epoch("accepted epoch", record.zxid.0 >> 32)?;
    let Some(data) = record.data else {
        return Ok(Packet::LearnerInfo { observer, accepted, id: None, config_version: None, mark: None });
    };
    let mut reader = Reader::new(data);
    let id = if reader.remaining() >= 8 { Some(ServerId(reader.i64("server id")?)) } else { None };
    if reader.remaining() >= 4 {
        let version = reader.i32("protocol version")?;
        if version < PROTOCOL_VERSION {
            return Err(DecodeError::Unknown { field: "protocol version", value: i64::from(version) });
        }
    }
    let has_version = reader.remaining() >= 8;
    let config_version = if has_version { Some(Zxid(reader.i64("config version")?)) } else { None };
    Ok(Packet::LearnerInfo { observer, accepted, id, config_version, mark: mark(&mut reader) })
}

fn epoch(field: &'static str, value: i64) -> Result<Epoch, DecodeError> {
    let epoch = u32::try_from(value).map(Epoch).ok().filter(|epoch| *epoch <= Epoch::MAX);
    epoch.ok_or(DecodeError::Unknown { field, value })
}

/// What follows the fields that Apache ZooKeeper reads; anything but a mark is ignored, as it would do.
fn mark(reader: &mut Reader) -> Option<Mark> {
    let magic = reader.raw("mark", MARK.len()).ok()?;
    if magic != MARK.as_slice() {
        return None;
    }
    let ensemble_id = reader.string("ensemble id").ok()?;
    Some(Mark { ensemble_id: ensemble_id.filter(|id| id.len() <= ENSEMBLE_ID_BYTES_MAX) })
}

fn put_mark(writer: &mut Writer, mark: &Option<Mark>) {
    if let Some(mark) = mark {
        writer.raw(MARK).buffer(mark.ensemble_id.as_deref().map(str::as_bytes));
    }
}

/// Appends the bytes of a packet.
pub fn encode(packet: &Packet, out: &mut BytesMut) {
    let mut data = Writer::new();
    match packet {
        Packet::LearnerInfo { observer, accepted, id, config_version, mark } => {
            let kind = if *observer { OBSERVER_INFO } else { FOLLOWER_INFO };
            if let Some(id) = id {
                data.i64(id.0).i32(PROTOCOL_VERSION);
                if let Some(version) = config_version {
                    data.i64(version.0);
                    put_mark(&mut data, mark);
                }
            }
            let data = id.is_some().then_some(&data.bytes[..]);
            put(out, kind, Zxid::new(*accepted, 0), data);
        }
        Packet::LeaderInfo { epoch, mark } => {
            data.i32(PROTOCOL_VERSION);
            put_mark(&mut data, mark);
            put(out, LEADER_INFO, Zxid::new(*epoch, 0), Some(&data.bytes));
        }
        Packet::AckEpoch { current, last } => {
            data.i32(current.map_or(-1, |epoch| i32::try_from(epoch.0).expect("an epoch has 31 bits")));
            put(out, ACK_EPOCH, *last, Some(&data.bytes));
        }
        Packet::Diff(zxid) => put(out, DIFF, *zxid, None),
        Packet::Trunc(zxid) => put(out, TRUNC, *zxid, None),
        Packet::Snap { zxid, body } => {
            encode_snapshot_head(*zxid, out);
            out.extend_from_slice(body);
            encode_snapshot_end(out);
        }
        Packet::NewLeader { zxid, config } => {
            put(out, NEW_LEADER, *zxid, config.as_deref().map(str::as_bytes));
        }
        Packet::UpToDate => put(out, UP_TO_DATE, Zxid::NONE, None),
        Packet::Proposal(proposal) => put(out, PROPOSAL, proposal.zxid, Some(&proposal.txn)),
        Packet::Ack(zxid) => put(out, ACK, *zxid, None),
        Packet::Commit(zxid) => put(out, COMMIT, *zxid, None),
        Packet::CommitAndActivate { zxid, leader } => {
            put(out, COMMIT_AND_ACTIVATE, *zxid, Some(&leader.0.to_be_bytes()));
        }
        Packet::Inform(proposal) => put(out, INFORM, proposal.zxid, Some(&proposal.txn)),
        Packet::InformAndActivate { leader, proposal } => {
            data.i64(leader.0).raw(&proposal.txn);
            put(out, INFORM_AND_ACTIVATE, proposal.zxid, Some(&data.bytes));
        }
        Packet::Ping(zxid) => put(out, PING, *zxid, None),
        Packet::Pong { zxid, touched } => {
            for (session, timeout_ms) in touched {
                data.i64(session.0).i32(*timeout_ms);
            }
            put(out, PING, *zxid, Some(&data.bytes));
        }
        Packet::Request(request) => put_request(request, out),
        Packet::Revalidate { session, timeout_ms } => {
            data.i64(session.0).i32(*timeout_ms);
            put(out, REVALIDATE, Zxid::NONE, Some(&data.bytes));
        }
        Packet::Revalidated { session, valid } => {
            data.i64(session.0).bool(*valid);
            put(out, REVALIDATE, Zxid::NONE, Some(&data.bytes));
        }
        Packet::Sync => put(out, SYNC, Zxid::ZERO, None),
        Packet::HandOver { leader, last, round } => {
            data.i64(leader.0).i64(*round);
            put(out, HAND_OVER, *last, Some(&data.bytes));
        }
    }
}

/// Appends the SNAP record; the tree's stream follows it, then [`encode_snapshot_end`].
pub fn encode_snapshot_head(zxid: Zxid, out: &mut BytesMut) {
    put(out, SNAP, zxid, None);
}

/// Appends what ends a snapshot stream.
pub fn encode_snapshot_end(out: &mut BytesMut) {
    put_buffer(out, Some(SIGNATURE.as_bytes()));
}

fn put(out: &mut BytesMut, kind: i32, zxid: Zxid, data: Option<&[u8]>) {
    out.put_i32(kind);
    out.put_i64(zxid.0);
    put_buffer(out, data);
    out.put_i32(-1);
}

/// The one packet with identities: a null vector would fail in the leader's check of ACLs.
fn put_request(request: &Forwarded, out: &mut BytesMut) {
    let len = |bytes: usize| i32::try_from(bytes).expect("whatever is written came in by a 32-bit length");
    out.put_i32(REQUEST);
    out.put_i64(Zxid::NONE.0);
    out.put_i32(len(16 + request.body.len()));
    out.put_i64(request.session.0);
    out.put_i32(request.cxid);
    out.put_i32(request.op);
    out.put_slice(&request.body);
    out.put_i32(len(request.identities.len()));
    for identity in &request.identities {
        put_buffer(out, Some(identity.scheme.as_bytes()));
        put_buffer(out, Some(identity.id.as_bytes()));
    }
}

fn put_buffer(out: &mut BytesMut, data: Option<&[u8]>) {
    match data {
        None => out.put_i32(-1),
        Some(data) => {
            let len = i32::try_from(data.len()).expect("whatever is written came in by a 32-bit length");
            out.put_i32(len);
            out.put_slice(data);
        }
    }
}

#[cfg(test)]
mod tests;
