//! A cluster and its servers, as far as a plan can see them.
//!
//! In: actions, faults and time. Out: what would be observed.
//!
//! Always true:
//! * a reconfiguration from another version than the committed one is refused;
//! * a leader is elected only by a quorum of voters whose disks are not empty.
//!
//! Not here: Kubernetes and Zab themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::base::{Ensemble, ServerId, Zxid};
use crate::operator::crd::{CoordinationEnsemble, EnsembleSpec, EnsembleStatus};
use crate::operator::desired::{Desired, Pool, VolumeGroup};
use crate::operator::identity::{Fresh, Identity};
use crate::operator::object::{Kind, Object, ObjectKey, Objects};
use crate::operator::observed::{IdentityFact, Memory, Observed, Orders, PodCondition, PodFact, SetFact};
use crate::operator::plan::view::template_hash;
use crate::operator::plan::{Action, Plan, on_existing, plan};
use crate::operator::report::{Report, Role, Service, StartMode};
use crate::operator::status::status;
use crate::operator::validate::{Defaults, validate};

/// A pod is ready this long after it was made.
const START_MS: i64 = 3_000;

/// A server's disk.
#[derive(Clone)]
struct Disk {
    incarnation: String,
    start: StartMode,
    /// Whether it holds the ensemble's data.
    level: bool,
}

/// A cluster and its servers.
pub(super) struct World {
    spec: serde_json::Value,
    now_ms: i64,
    objects: Objects,
    identity: Option<Identity>,
    sets: BTreeMap<Pool, SetFact>,
    pods: Vec<PodFact>,
    disks: BTreeMap<ServerId, Disk>,
    members: Ensemble,
    leader: Option<(ServerId, u32, i64)>,
    epoch: u32,
    status: EnsembleStatus,
    orders: Orders,
    memory: Memory,
    made: u32,
    /// Whether a fault waits for its consequences.
    is_stirred: bool,
    /// What happened, for people.
    pub(super) trace: String,
}

impl World {
    pub(super) fn new() -> World {
        World {
            spec: serde_json::json!({}),
            now_ms: 1_000_000_000_000,
            objects: Objects::new(),
            identity: None,
            sets: BTreeMap::new(),
            pods: Vec::new(),
            disks: BTreeMap::new(),
            members: Ensemble::default(),
            leader: None,
            epoch: 0,
            status: EnsembleStatus::default(),
            orders: Orders::default(),
            memory: Memory::default(),
            made: 0,
            is_stirred: false,
            trace: String::new(),
        }
    }

    /// Merges fields into the spec.
    pub(super) fn spec(&mut self, yaml: &str) {
        let patch: serde_json::Value = serde_yaml::from_str(yaml).expect("a script's spec is YAML");
        merge(&mut self.spec, patch);
    }

    /// The resource gets the annotation that the plan asks for.
    pub(super) fn approve(&mut self) {
        let message = self.plan().0.progress.rollout.message;
        let (_, answer) = message.split_once("quorate.dev/approved=").expect("an annotation is asked for");
        self.orders.approved = Some(answer.to_owned());
    }

    /// The resource gets the annotation that leaves it alone, or loses it.
    pub(super) fn pause(&mut self, pause: Option<()>) {
        self.orders.pause = pause;
    }

    /// A pod dies and is made again.
    pub(super) fn kill(&mut self, name: &str) {
        self.is_stirred = true;
        self.pods.retain(|pod| pod.name != name);
    }

    /// A pod's disk is empty from here on.
    pub(super) fn wipe(&mut self, name: &str) {
        let id = self.desired().place_of(name);
        self.disks.remove(&id);
        self.kill(name);
    }

    fn desired(&self) -> Desired {
        let spec: EnsembleSpec =
            serde_json::from_value(self.spec.clone()).expect("a script's spec fits the schema");
        let defaults = Defaults {
            repository: "quorate".to_owned(),
            tag: "1".to_owned(),
            pull_policy: None,
            version: "0.1.0".to_owned(),
            volume_group: VolumeGroup::Set,
        };
        let mut resource = CoordinationEnsemble::new("main", spec);
        resource.metadata.namespace = Some("default".to_owned());
        validate(&resource, &defaults).expect("a script's spec is valid")
    }

    /// Plans and performs once a second until nothing is left to be done or waited for, or for this long.
    pub(super) fn run(&mut self, seconds: u32) {
        if std::mem::take(&mut self.is_stirred) {
            self.second();
        }
        for _ in 0..seconds {
            let plan = self.pass();
            if plan.actions.is_empty() && plan.again > std::time::Duration::from_secs(1) {
                self.say(format!("settled: {}", self.words()));
                return;
            }
            self.second();
        }
        let (plan, _) = self.plan();
        let progress = plan.progress;
        let reasons = [progress.scale.reason, progress.membership.reason]
            .into_iter()
            .flatten()
            .map(|reason| reason.code);
        let reasons: BTreeSet<&str> = reasons.collect();
        let stage = progress.rollout.stage.name();
        // A template's hash changes with every field of a pod.
        let hash = |word: &&str| word.starts_with("quorate.dev/approved=");
        let message = progress.rollout.message;
        let message = match message.split(' ').find(hash).and_then(|word| word.rsplit_once('-')) {
            Some((_, hash)) => message.replace(hash, "HASH"),
            None => message,
        };
        self.say(format!("not settled: {}; {stage} {message:?} {reasons:?}", self.words()));
    }

    fn plan(&self) -> (Plan, Observed) {
        let observed = self.observe();
        let (desired, storage) = on_existing(&self.desired(), &observed);
        let first = plan(&desired, &storage, &observed, self.now_ms);
        assert_eq!(first, plan(&desired, &storage, &observed, self.now_ms), "one observation, one plan");
        (first, observed)
    }

    fn pass(&mut self) -> Plan {
        let (plan, observed) = self.plan();
        let disturbing = |action: &&Action| match action {
            Action::Reconfigure { .. } | Action::Transfer { .. } => true,
            Action::RestartPod { reason, .. } => reason.code == "RollingUpdate",
            Action::Create(_) | Action::Apply(_) | Action::Delete { .. } | Action::Drain { .. } => false,
        };
        assert!(plan.actions.iter().filter(disturbing).count() <= 1, "{:?}", plan.actions);
        let (desired, _) = on_existing(&self.desired(), &observed);
        self.status = status(&desired, &observed, &plan, self.now_ms);
        self.memory = plan.memory.clone();
        for action in &plan.actions {
            self.perform(action);
        }
        self.check();
        plan
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Create(object) | Action::Apply(object) => self.write(object),
            Action::Delete { object, .. } => {
                self.objects.remove(object);
                self.say(format!("delete {:?} {}", object.kind, object.name));
            }
            Action::Reconfigure { from, join, leave, reason } => {
                assert_eq!(*from, self.members.version, "planned on the committed configuration");
                for member in join {
                    self.members.members.insert(member.id, member.clone());
                }
                self.members.members.retain(|id, _| !leave.contains(id));
                self.members.version = Zxid(self.members.version.0 + 1);
                let voters: Vec<String> = self.members.voters().map(|member| member.id.to_string()).collect();
                self.say(format!("{}: {}; voters {}", reason.code, reason.text, voters.join(",")));
            }
            Action::Transfer { to, reason, .. } => {
                self.epoch += 1;
                self.leader = Some((*to, self.epoch, self.now_ms));
                self.say(format!("{}: {}", reason.code, reason.text));
            }
            Action::Drain { reason, .. } => self.say(format!("{}: {}", reason.code, reason.text)),
            Action::RestartPod { pod, uid, reason, .. } => {
                assert!(
                    self.pods.iter().any(|existing| existing.uid == *uid),
                    "{pod} is the pod that was looked at"
                );
                self.memory = Memory::default();
                self.kill(pod);
                self.say(format!("{}: {}", reason.code, reason.text));
            }
        }
    }

    fn write(&mut self, object: &Object) {
        let json = object.to_json();
        match object {
            Object::Secret(secret) => {
                let data = secret.data.clone().expect("an identity has data").into_iter();
                let data = data.map(|(key, value)| (key, value.0)).collect();
                let identity = Identity::parse(&data).expect("a plan writes what can be read");
                if self.identity.is_none() {
                    self.members = identity.members.clone();
                }
                let has_token = identity.bootstrap.is_some();
                let had_token = self.identity.as_ref().is_none_or(|old| old.bootstrap.is_some());
                if had_token && !has_token {
                    self.say("the bootstrap token is gone".to_owned());
                }
                self.identity = Some(identity);
            }
            Object::StatefulSet(set) => {
                let spec = set.spec.clone().expect("a set has a spec");
                let stable =
                    &set.metadata.annotations.as_ref().expect("annotated")["quorate.dev/stable-template"];
                let fact = SetFact {
                    replicas: spec.replicas.expect("given") as u32,
                    template: spec.template,
                    stable: serde_json::from_str(stable).ok(),
                    claims: Vec::new(),
                };
                let pool = if object.key().name == "main" { Pool::Voters } else { Pool::Observers };
                let state = if fact.stable.as_ref().map(template_hash) == Some(template_hash(&fact.template))
                {
                    "parked"
                } else {
                    "new"
                };
                self.say(format!("set {}: {} pods, template {state}", object.key().name, fact.replicas));
                self.sets.insert(pool, fact);
            }
            Object::ServiceAccount(_)
            | Object::ConfigMap(_)
            | Object::Service(_)
            | Object::Budget(_)
            | Object::Claim(_) => {}
        }
        self.objects.insert(object.key(), json);
    }

    /// A second passes: pods come and go, servers start, a leader is elected or lost.
    fn second(&mut self) {
        self.now_ms += 1_000;
        let desired = self.desired();
        let sets = self.sets.clone();
        self.pods.retain(|pod| sets.get(&pod.pool).is_some_and(|set| pod.ordinal < set.replicas));
        for (pool, set) in &sets {
            for ordinal in 0..set.replicas {
                if !self.pods.iter().any(|pod| pod.pool == *pool && pod.ordinal == ordinal) {
                    self.make(&desired, *pool, ordinal, set);
                }
            }
        }
        for pod in &mut self.pods {
            let is_due = self.now_ms - pod.created_ms >= START_MS;
            if pod.condition == PodCondition::Starting && is_due {
                pod.condition = PodCondition::Running;
            }
        }
        self.elect(&desired);
        for pod in &mut self.pods {
            let id = desired.id(pod.pool, pod.ordinal);
            let serves = pod.condition == PodCondition::Running
                && self.leader.is_some()
                && self.members.members.contains_key(&id);
            match (serves, pod.ready_since_ms) {
                (true, None) => pod.ready_since_ms = Some(self.now_ms),
                (false, Some(_)) => pod.ready_since_ms = None,
                (true, Some(_)) | (false, None) => {}
            }
            if serves && let Some(disk) = self.disks.get_mut(&id) {
                disk.level = true;
            }
        }
    }

    fn make(&mut self, desired: &Desired, pool: Pool, ordinal: u32, set: &SetFact) {
        self.made += 1;
        let id = desired.id(pool, ordinal);
        let image =
            set.template.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
        let name = desired.pool_name(pool);
        let is_broken = image.contains("broken");
        self.pods.push(PodFact {
            name: format!("{name}-{ordinal}"),
            uid: format!("u{}", self.made),
            pool,
            ordinal,
            template_hash: template_hash(&set.template),
            settings: crate::operator::build::settings_of(&set.template),
            created_ms: self.now_ms,
            condition: if is_broken {
                PodCondition::Stuck("ImagePullBackOff".to_owned(), "no such image".to_owned())
            } else {
                PodCondition::Starting
            },
            ready_since_ms: None,
            node: "node-1".to_owned(),
            address: "10.0.0.1".to_owned(),
            restarts: 0,
            last_end: None,
        });
        let identity = self.identity.as_ref().expect("the secret is made first");
        let is_retired = |disk: &Disk| {
            identity.retired.contains(&disk.incarnation) || identity.retired.contains(&format!("id={id}"))
        };
        let may_bootstrap = identity.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.ids.contains(&id));
        match self.disks.get_mut(&id) {
            Some(disk) if !is_retired(disk) => disk.start = StartMode::Resume,
            Some(_) | None => {
                let start = if may_bootstrap { StartMode::Bootstrap } else { StartMode::Join };
                let disk = Disk { incarnation: format!("i{}", self.made), start, level: may_bootstrap };
                self.disks.insert(id, disk);
            }
        }
    }

    fn up(&self, desired: &Desired) -> BTreeSet<ServerId> {
        let running = self.pods.iter().filter(|pod| pod.condition == PodCondition::Running);
        running.map(|pod| desired.id(pod.pool, pod.ordinal)).collect()
    }

    fn elect(&mut self, desired: &Desired) {
        let up = self.up(desired);
        let level: BTreeSet<ServerId> =
            up.iter().copied().filter(|id| self.disks.get(id).is_some_and(|disk| disk.level)).collect();
        let may_lead = |id: &ServerId| level.contains(id) && self.members.is_voter(*id);
        let has_quorum = self.members.is_quorum(&level);
        match self.leader {
            Some((id, _, _)) if may_lead(&id) && has_quorum => {}
            Some(_) | None if has_quorum => {
                let id = level.iter().copied().rfind(may_lead).expect("a quorum is not empty");
                self.epoch += 1;
                self.leader = Some((id, self.epoch, self.now_ms));
                self.say(format!("server {id} leads epoch {}", self.epoch));
            }
            Some(_) => {
                self.leader = None;
                self.say("no leader".to_owned());
            }
            None => {}
        }
    }

    fn observe(&self) -> Observed {
        let desired = self.desired();
        let identity = match &self.identity {
            Some(identity) => IdentityFact::Present(Box::new(identity.clone()), "1".to_owned()),
            None => IdentityFact::Absent,
        };
        let mut objects = self.objects.clone();
        let key = ObjectKey { kind: Kind::Secret, name: "main-identity".to_owned() };
        if let Some(secret) = objects.get_mut(&key) {
            // What a secret replaces is its own version.
            secret["metadata"]["resourceVersion"] = "1".into();
        }
        Observed {
            objects,
            identity,
            fresh: Fresh::new(&[1; 64]),
            sets: self.sets.clone(),
            pods: self.pods.clone(),
            claims: Vec::new(),
            nodes: BTreeMap::new(),
            missing_classes: Vec::new(),
            reports: self.reports(&desired),
            status: self.status.clone(),
            orders: self.orders.clone(),
            memory: self.memory.clone(),
        }
    }

    fn reports(&self, desired: &Desired) -> BTreeMap<String, Report> {
        let up = self.up(desired);
        let mut reports = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod.condition == PodCondition::Running) {
            let id = desired.id(pod.pool, pod.ordinal);
            let disk = &self.disks[&id];
            let follows = self.leader.filter(|_| self.members.members.contains_key(&id));
            let role = match follows {
                Some((leader, _, _)) if leader == id => Role::Leader,
                Some(_) if self.members.is_voter(id) => Role::Follower,
                Some(_) => Role::Observer,
                None => Role::Looking,
            };
            let synced =
                if role == Role::Leader { up.iter().map(|id| (*id, 0)).collect() } else { BTreeMap::new() };
            let report = Report {
                ensemble_id: self.identity.as_ref().map(|identity| identity.ensemble_id.clone()),
                incarnation: Some(disk.incarnation.clone()),
                id,
                role,
                start: disk.start,
                service: if follows.is_some() { Service::Serving } else { Service::Closed },
                leader: follows.map(|(leader, _, _)| leader),
                epoch: follows.map_or(0, |(_, epoch, _)| epoch),
                leader_since_seconds: follows.map(|(_, _, since)| ((self.now_ms - since) / 1000) as u64),
                last_zxid: Zxid(1),
                members: self.members.clone(),
                pending: None,
                synced,
                connections: 0,
                version: "0.1.0".to_owned(),
            };
            reports.insert(pod.name.clone(), report);
        }
        reports
    }

    /// What holds after every pass, whatever happens.
    fn check(&self) {
        let voters = self.members.voters().count();
        let holds_odd = self.spec.pointer("/membership/evenReplicas").is_none();
        assert!(!holds_odd || voters % 2 == 1 || voters == 0, "an even number of voters");
        let desired = self.desired();
        for member in self.members.voters() {
            let Some((pool, ordinal)) = desired.place(member.id) else { continue };
            let set = self.sets.get(&pool);
            let is_kept = desired.size == 0 || set.is_none_or(|set| ordinal < set.replicas);
            assert!(is_kept, "server {} votes and its pod was given up", member.id);
        }
    }

    fn words(&self) -> String {
        let ids = |votes: bool| -> Vec<String> {
            let members = self.members.members.keys().filter(|id| self.members.is_voter(**id) == votes);
            members.map(ServerId::to_string).collect()
        };
        let leader = self.leader.map_or("none".to_owned(), |(id, _, _)| id.to_string());
        let (voters, observers) = (ids(true).join(","), ids(false).join(","));
        format!("leader {leader}, voters {voters}, observers {observers}, pods {}", self.pods.len())
    }

    fn say(&mut self, text: String) {
        let seconds = (self.now_ms - 1_000_000_000_000) / 1000;
        writeln!(self.trace, "{seconds:>4} {text}").expect("a text takes any line");
    }
}

impl Desired {
    /// The server of a pod's name.
    fn place_of(&self, pod: &str) -> ServerId {
        let (name, ordinal) = pod.rsplit_once('-').expect("a pod has a number");
        let pool = if name == self.name { Pool::Voters } else { Pool::Observers };
        self.id(pool, ordinal.parse().expect("a number"))
    }
}

fn merge(into: &mut serde_json::Value, patch: serde_json::Value) {
    match (into, patch) {
        (serde_json::Value::Object(into), serde_json::Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}
