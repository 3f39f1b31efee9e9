//! Decides what a request does: a txn, or an error code.
//!
//! In: a request, who asks, and the tree as it will be. Out: the body of a txn, and what it changes.
//!
//! Always true:
//! * checks are made in ZooKeeper's order, so that the same one of several faults is reported;
//! * every request that can be read gives exactly one txn, also one that fails;
//! * a multi that fails changes nothing.
//!
//! Not here: applying the txn (`tree`), proposing it (`machine`), which membership may follow (`zab`).

mod checks;

use bytes::Bytes;

use self::checks::{
    byte_count, code_of, expect_version, next_version, parent_of, path_of, validate, weak_parent,
};
use super::inflight::{Changed, InFlight, Known, View};
use crate::base::{ServerId, SessionId, Zxid};
use crate::proto::multi::MultiOp;
use crate::proto::request::{CreateMode, CreateRequest, ReconfigRequest};
use crate::proto::{Acl, ErrorCode, Id, Op, Request, StatPersisted, perms};
use crate::session::{LocalSessions, SessionFault, Tracker};
use crate::tree::txn::{CreateKind, CreateTxn, DeleteReason, SetDataReason, SetDataTxn};
use crate::tree::{
    AclCheck, Growth, LimitKind, NodeKind, Passed, Schemes, Tree, Txn, TxnBody, TxnHeader, acl, digest,
};

/// Where clients find the membership.
const CONFIG_PATH: &str = "/zookeeper/config";
/// Paths that nobody deletes.
const KEPT: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", CONFIG_PATH];
/// The longest time to live: 40 bits of milliseconds.
const TTL_MS_MAX: i64 = (1 << 40) - 1;
/// What the paths of one session's ephemeral nodes may take together: the txn that closes the session lists them,
/// and ZooKeeper reads no txn above twice the default `jute.maxbuffer`.
const EPHEMERAL_BYTES_MAX: usize = 1 << 20;

/// Switches that decide what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which ids may stand in ACLs.
    pub schemes: Schemes,
    /// Whether ACLs are looked at.
    pub acl_check: AclCheck,
    /// Whether nodes may have a time to live.
    pub ttl_nodes: Switch,
    /// Whether quotas are looked at.
    pub quotas: Switch,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Switch {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The session; `SessionId::NONE` for the server itself.
    pub session: SessionId,
    /// The server that its connection is on.
    pub server: ServerId,
    /// The connection's identities when the request was read.
    pub identities: &'a [Id],
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A write of a client, or the end of its session.
    Write(&'a Request),
    /// A new session with this timeout in ms.
    CreateSession(i32),
    /// The end of a session that nobody asked for: it expired, or is known of by its nodes only.
    Expire,
    /// The end of a container or TTL node.
    Reap(&'a str),
    /// A write of another server's client whose body cannot be read.
    Unreadable,
    /// A write that is refused whatever it is.
    Refused(ErrorCode),
}

/// The membership that a reconfig leads to, or why there is none.
pub type CheckReconfig<'a> = &'a dyn Fn(&ReconfigRequest) -> Result<String, ErrorCode>;

/// Everything that a decision rests on.
pub struct Ground<'a> {
    /// The switches.
    pub rules: &'a Rules,
    /// The replicated sessions.
    pub tracker: &'a mut Tracker,
    /// The sessions of this server alone.
    pub locals: &'a LocalSessions,
    /// The tree as it is.
    pub tree: &'a Tree,
    /// What will change it first.
    pub in_flight: &'a InFlight,
    /// The agreement's word on a reconfig.
    pub check_reconfig: CheckReconfig<'a>,
    /// The zxid that the txn gets.
    pub zxid: Zxid,
    /// The time that the txn gets, in ms since 1970.
    pub time: i64,
}

/// What was decided.
#[derive(Debug)]
pub struct Decided {
    /// What the txn does.
    pub body: TxnBody,
    /// What it changes.
    pub changed: Changed,
    /// Limits of quotas that it passes, or that it is refused for.
    pub passed: Vec<Passed>,
    /// Digest of the tree after it.
    digest: u64,
}

impl Decided {
    /// The txn.
    pub fn to_txn(&self, header: TxnHeader) -> Txn {
        let digest = self.body.has_digest().then_some(self.digest);
        Txn { header, body: self.body.clone(), digest }
    }
}

/// Decides about one request.
pub fn prepare(ground: Ground<'_>, asker: Asker<'_>, asked: Asked<'_>) -> Decided {
    let in_flight = ground.in_flight;
    let mut decision = Decision {
        rules: ground.rules,
        tracker: ground.tracker,
        locals: ground.locals,
        check_reconfig: ground.check_reconfig,
        zxid: ground.zxid,
        time: ground.time,
        asker,
        view: in_flight.view(ground.tree),
        passed: Vec::new(),
    };
    let decided = match asked {
        Asked::CreateSession(timeout_ms) => Ok(TxnBody::CreateSession { timeout_ms }),
        Asked::Expire => Ok(decision.close_session()),
        Asked::Reap(path) => decision.reap(path),
        Asked::Unreadable => Err(ErrorCode::MarshallingError),
        Asked::Refused(code) => Err(code),
        Asked::Write(request) => decision.write(request),
    };
    let passed = std::mem::take(&mut decision.passed);
    let failed =
        |body, passed| Decided { body, changed: in_flight.unchanged(), passed, digest: in_flight.digest() };
    match decided {
        Ok(body) if is_failed_multi(&body) => failed(body, passed),
        Ok(body) => {
            let digest = decision.view.digest();
            Decided { body, changed: decision.view.into_changed(), passed, digest }
        }
        Err(err) => failed(TxnBody::Error { err: err.as_wire() }, passed),
    }
}

fn is_failed_multi(body: &TxnBody) -> bool {
    match body {
        TxnBody::Multi(ops) => ops.iter().any(|op| matches!(op, TxnBody::Error { .. })),
        TxnBody::CreateSession { .. }
        | TxnBody::CloseSession { .. }
        | TxnBody::Error { .. }
        | TxnBody::Create(_)
        | TxnBody::Delete { .. }
        | TxnBody::SetData(_)
        | TxnBody::SetAcl { .. }
        | TxnBody::Check { .. } => false,
    }
}

type Checked<T> = Result<T, ErrorCode>;

/// A decision under way: the ground that it rests on, and the view in which it changes nodes.
struct Decision<'a> {
    rules: &'a Rules,
    tracker: &'a mut Tracker,
    locals: &'a LocalSessions,
    check_reconfig: CheckReconfig<'a>,
    zxid: Zxid,
    time: i64,
    asker: Asker<'a>,
    view: View<'a>,
    /// Limits of quotas that were passed so far.
    passed: Vec<Passed>,
}

impl Decision<'_> {
    fn write(&mut self, request: &Request) -> Checked<TxnBody> {
        match request {
            Request::Create(create) => self.create(Op::Create, create),
            Request::Create2(create) => self.create(Op::Create2, create),
            Request::CreateContainer(create) => self.create(Op::CreateContainer, create),
            Request::CreateTtl(create) => self.create(Op::CreateTtl, create),
            Request::Delete { path, version } => self.delete(path.as_deref(), *version),
            Request::SetData { path, data, version } => {
                self.set_data(path.as_deref(), data.clone(), *version)
            }
            Request::SetAcl { path, acl, version } => self.set_acl(path.as_deref(), acl.as_deref(), *version),
            Request::Multi(ops) => self.multi(ops),
            Request::Reconfig(request) => self.reconfig(request),
            // Whoever holds the session may end it: its owner is not asked for.
            Request::CloseSession => Ok(self.close_session()),
            Request::Exists(_)
            | Request::GetData(_)
            | Request::GetAcl { .. }
            | Request::GetChildren(_)
            | Request::GetChildren2(_)
            | Request::Sync { .. }
            | Request::Ping
            | Request::MultiRead(_)
            | Request::CheckWatches(_)
            | Request::RemoveWatches(_)
            | Request::Auth { .. }
            | Request::SetWatches(_)
            | Request::SetWatches2(_)
            | Request::Sasl { .. }
            | Request::GetEphemerals { .. }
            | Request::GetAllChildrenNumber { .. }
            | Request::AddWatch { .. }
            | Request::WhoAmI => Err(ErrorCode::Unimplemented),
        }
    }

    /// All or nothing: the first failure replaces the rest. What ZooKeeper cannot handle, such as a null path, fails the
    /// whole request.
    fn multi(&mut self, ops: &[MultiOp]) -> Checked<TxnBody> {
        if ops.iter().any(|op| path_of(op).is_none()) {
            return Err(ErrorCode::MarshallingError);
        }
        let mut bodies = Vec::with_capacity(ops.len());
        for op in ops {
            match self.multi_op(op) {
                Ok(body) => bodies.push(body),
                Err(ErrorCode::MarshallingError) => return Err(ErrorCode::MarshallingError),
                Err(err) => {
                    bodies.push(TxnBody::Error { err: err.as_wire() });
                    break;
                }
            }
        }
        let behind = TxnBody::Error { err: ErrorCode::RuntimeInconsistency.as_wire() };
        bodies.resize(ops.len(), behind);
        Ok(TxnBody::Multi(bodies))
    }

    fn multi_op(&mut self, op: &MultiOp) -> Checked<TxnBody> {
        match op {
            MultiOp::Create(create) => self.create(Op::Create, create),
            MultiOp::Create2(create) => self.create(Op::Create2, create),
            MultiOp::CreateContainer(create) => self.create(Op::CreateContainer, create),
            MultiOp::CreateTtl(create) => self.create(Op::CreateTtl, create),
            MultiOp::Delete { path, version } => self.delete(path.as_deref(), *version),
            MultiOp::SetData { path, data, version } => {
                self.set_data(path.as_deref(), data.clone(), *version)
            }
            MultiOp::Check { path, version } => self.check(path.as_deref(), *version),
        }
    }

    fn create(&mut self, op: Op, create: &CreateRequest) -> Checked<TxnBody> {
        let mode = self.create_mode(op, create)?;
        match mode.is_ephemeral() {
            true => self.replicated_session(op)?,
            false => self.session()?,
        }
        let path = create.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        let parent_path = weak_parent(path)?;
        let acl = self.rules.schemes.fix_up(create.acl.as_deref(), self.asker.identities)?;
        let mut parent = self.view.node(parent_path).ok_or(ErrorCode::NoNode)?;
        self.permit(&parent.acl, perms::CREATE)?;
        let path = match mode.is_sequential() {
            true => format!("{path}{:010}", parent.stat.cversion),
            false => path.to_owned(),
        };
        validate(Some(&path))?;
        if self.view.node(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind(), NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let data_bytes = byte_count(create.data.as_ref());
        self.within_quota(&path, Growth { count: 1, bytes: i64::from(data_bytes) })?;
        let ephemeral = mode.is_ephemeral();
        let kind = match op {
            Op::CreateContainer => CreateKind::Container,
            Op::CreateTtl => CreateKind::Ttl { ttl_ms: create.ttl },
            Op::Create2 => CreateKind::Create2 { ephemeral },
            _ => CreateKind::Create { ephemeral },
        };
        let owner = match kind {
            CreateKind::Create { ephemeral: true } | CreateKind::Create2 { ephemeral: true } => {
                self.room_for_ephemeral(&path)?;
                NodeKind::Ephemeral(self.asker.session)
            }
            CreateKind::Create { ephemeral: false } | CreateKind::Create2 { ephemeral: false } => {
                NodeKind::Persistent
            }
            CreateKind::Container => NodeKind::Container,
            CreateKind::Ttl { ttl_ms } => NodeKind::Ttl(ttl_ms),
        };
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        parent.add_child(parent_cversion, self.zxid);
        self.view.put(parent_path, parent);
        let node = Known {
            prefix: digest::prefix(&path, create.data.as_deref()),
            acl: self.view.tree().share_acl(&acl),
            stat: StatPersisted::created(self.zxid, self.time, owner.as_owner()),
            data_bytes,
            children: 0,
            part: 0,
        };
        self.view.put(&path, node);
        Ok(TxnBody::Create(CreateTxn { path, data: create.data.clone(), acl, kind, parent_cversion }))
    }

    /// What the flags mean. The operation decides the kind of node where the flags say something else, as in
    /// ZooKeeper; op 21 with flags without a TTL is refused, because there it stops the server.
    fn create_mode(&self, op: Op, create: &CreateRequest) -> Checked<CreateMode> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() {
            if self.rules.ttl_nodes == Switch::Off {
                return Err(ErrorCode::Unimplemented);
            }
            if !(1..=TTL_MS_MAX).contains(&create.ttl) {
                return Err(ErrorCode::BadArguments);
            }
        } else if op == Op::CreateTtl {
            return Err(ErrorCode::BadArguments);
        }
        Ok(mode)
    }

    fn delete(&mut self, path: Option<&str>, version: i32) -> Checked<TxnBody> {
        self.session()?;
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let parent_path = weak_parent(path)?;
        if KEPT.contains(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.view.node(parent_path).ok_or(ErrorCode::NoNode)?;
        self.permit(&parent.acl, perms::DELETE)?;
        let node = self.view.node(path).ok_or(ErrorCode::NoNode)?;
        expect_version(version, node.stat.version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(path);
        Ok(TxnBody::Delete { path: path.to_owned(), reason: DeleteReason::Client })
    }

    fn reap(&mut self, path: &str) -> Checked<TxnBody> {
        let node = self.view.node(path).ok_or(ErrorCode::NoNode)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        match node.kind() {
            NodeKind::Container | NodeKind::Ttl(_) => {}
            NodeKind::Persistent | NodeKind::Ephemeral(_) => return Err(ErrorCode::BadVersion),
        }
        self.remove(path);
        Ok(TxnBody::Delete { path: path.to_owned(), reason: DeleteReason::Reaped })
    }

    fn set_data(&mut self, path: Option<&str>, data: Option<Bytes>, version: i32) -> Checked<TxnBody> {
        self.session()?;
        let path = validate(path)?;
        let mut node = self.view.node(path).ok_or(ErrorCode::NoNode)?;
        self.permit(&node.acl, perms::WRITE)?;
        let data_bytes = byte_count(data.as_ref());
        let growth = i64::from(data_bytes) - i64::from(node.data_bytes);
        self.within_quota(path, Growth { count: 0, bytes: growth })?;
        let version = next_version(version, node.stat.version)?;
        node.prefix = digest::prefix(path, data.as_deref());
        node.data_bytes = data_bytes;
        node.stat.version = version;
        node.stat.mzxid = self.zxid;
        node.stat.mtime = self.time;
        self.view.put(path, node);
        let reason = SetDataReason::Client;
        Ok(TxnBody::SetData(SetDataTxn { path: path.to_owned(), data, version, reason }))
    }

    fn set_acl(&mut self, path: Option<&str>, acl: Option<&[Acl]>, version: i32) -> Checked<TxnBody> {
        self.session()?;
        let path = validate(path)?;
        let acl = self.rules.schemes.fix_up(acl, self.asker.identities)?;
        let mut node = self.view.node(path).ok_or(ErrorCode::NoNode)?;
        self.permit(&node.acl, perms::ADMIN)?;
        let version = next_version(version, node.stat.aversion)?;
        node.acl = self.view.tree().share_acl(&acl);
        node.stat.aversion = version;
        self.view.put(path, node);
        Ok(TxnBody::SetAcl { path: path.to_owned(), acl, version })
    }

    fn check(&mut self, path: Option<&str>, version: i32) -> Checked<TxnBody> {
        self.session()?;
        let path = validate(path)?;
        let node = self.view.node(path).ok_or(ErrorCode::NoNode)?;
        self.permit(&node.acl, perms::READ)?;
        expect_version(version, node.stat.version)?;
        Ok(TxnBody::Check { path: path.to_owned(), version })
    }

    fn reconfig(&mut self, request: &ReconfigRequest) -> Checked<TxnBody> {
        // Where reconfig is switched off, the session is not looked at.
        let text = (self.check_reconfig)(request);
        if text == Err(ErrorCode::ReconfigDisabled) {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.session()?;
        let text = text?;
        let mut node = self.view.node(CONFIG_PATH).ok_or(ErrorCode::NoNode)?;
        self.permit(&node.acl, perms::WRITE)?;
        let data = Some(Bytes::from(text));
        let version = -1;
        node.prefix = digest::prefix(CONFIG_PATH, data.as_deref());
        node.data_bytes = byte_count(data.as_ref());
        node.stat.version = version;
        node.stat.mzxid = self.zxid;
        node.stat.mtime = self.time;
        self.view.put(CONFIG_PATH, node);
        let reason = SetDataReason::Reconfig;
        Ok(TxnBody::SetData(SetDataTxn { path: CONFIG_PATH.to_owned(), data, version, reason }))
    }

    fn close_session(&mut self) -> TxnBody {
        let paths = self.view.ephemerals(self.asker.session);
        for path in &paths {
            self.remove(path);
        }
        TxnBody::CloseSession { paths }
    }

    /// Takes a node away; its parent keeps the zxid.
    fn remove(&mut self, path: &str) {
        self.view.remove(path);
        let parent_path = parent_of(path);
        if let Some(mut parent) = self.view.node(parent_path) {
            parent.remove_child(self.zxid);
            self.view.put(parent_path, parent);
        }
    }

    fn session(&mut self) -> Checked<()> {
        let session = self.asker.session;
        match self.tracker.check(session, self.asker.server) {
            Err(SessionFault::Unknown) if self.locals.may_write(session) => Ok(()),
            checked => checked.map_err(code_of),
        }
    }

    /// The session can own ephemeral nodes. Of another server's local session the leader knows nothing, and a container
    /// with an ephemeral flag is not seen as a reason to replicate one, as in ZooKeeper.
    fn replicated_session(&mut self, op: Op) -> Checked<()> {
        let session = self.asker.session;
        let is_local = matches!(op, Op::Create | Op::Create2) && self.locals.has(session);
        match self.tracker.check(session, self.asker.server) {
            Err(SessionFault::Unknown) if is_local => Err(ErrorCode::EphemeralOnLocalSession),
            checked => checked.map_err(code_of),
        }
    }

    fn permit(&self, acl: &[Acl], perms: i32) -> Checked<()> {
        match acl::allows(self.rules.acl_check, acl, perms, self.asker.identities) {
            true => Ok(()),
            false => Err(ErrorCode::NoAuth),
        }
    }

    /// Refuses what would pass a hard limit. As in ZooKeeper only what is applied counts, not what is in flight.
    fn within_quota(&mut self, path: &str, growth: Growth) -> Checked<()> {
        if self.rules.quotas == Switch::Off {
            return Ok(());
        }
        let passed = self.view.tree().limits_passed(path, growth)?;
        let is_refused = passed.iter().any(|limit| limit.limit_kind == LimitKind::Hard);
        self.passed.extend(passed);
        if is_refused { Err(ErrorCode::QuotaExceeded) } else { Ok(()) }
    }

    fn room_for_ephemeral(&self, path: &str) -> Checked<()> {
        let taken = self.view.ephemeral_path_bytes_max(self.asker.session);
        if taken + path.len() <= EPHEMERAL_BYTES_MAX { Ok(()) } else { Err(ErrorCode::MarshallingError) }
    }
}
