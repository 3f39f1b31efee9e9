//! The rules between fields that the API server checks.
//!
//! In: the generated schema. Out: the same with `x-kubernetes-validations`.
//!
//! Always true:
//! * a rule stands at the narrowest object that holds all the fields it reads;
//! * a message says what to write.
//!
//! Not here: bounds of a single field (`spec`), what needs other objects (`validate`, `status`).

use serde_json::{Value, json};

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its number in the documentation.
    pub id: &'static str,
    /// Fields from the root to the object it stands at, joined by dots; empty for the root.
    pub at: &'static str,
    /// CEL; `self` is the object.
    pub rule: &'static str,
    /// What a user reads.
    pub message: &'static str,
}

const TYPE_IS_FIXED: &str = "self.type == oldSelf.type";
const CLASS_IS_FIXED: &str = "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)";
const SIZE_GROWS: &str = "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0";
const TYPE_MESSAGE: &str =
    "the volume type can't be changed; replace the members through an EnsembleOperation";
const CLASS_MESSAGE: &str =
    "storageClassName can't be changed in place; use EnsembleOperation type MigrateStorage";
const SIZE_MESSAGE: &str = "a volume can't shrink; use EnsembleOperation type MigrateStorage";

/// Every rule, in the order of the documentation.
pub const RULES: &[Rule] = &[
    Rule {
        id: "R01",
        at: "",
        rule: "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message: "the name must be a DNS label of at most 40 characters that starts with a letter",
    },
    Rule {
        id: "R02",
        at: "spec",
        rule: "self.membership.myidOffset + 9 <= self.observers.myidOffset",
        message: "voter ids (myidOffset .. myidOffset+8) and observer ids must not overlap",
    },
    Rule {
        id: "R05",
        at: "spec",
        rule: "!has(self.disruption.maxUnavailable) || self.disruption.maxUnavailable <= (self.replicas - 1) / 2 || self.replicas <= 1",
        message: "maxUnavailable must leave a quorum",
    },
    Rule {
        id: "R08",
        at: "spec.membership",
        rule: "self.myidOffset == oldSelf.myidOffset",
        message: "myidOffset is fixed for the life of the ensemble",
    },
    Rule {
        id: "R09",
        at: "spec.observers",
        rule: "self.myidOffset == oldSelf.myidOffset",
        message: "observers.myidOffset is fixed",
    },
    Rule {
        id: "R16",
        at: "spec.storage",
        rule: "self.data.type != 'Ephemeral' || self.allowEphemeralVoters",
        message: "voters on ephemeral storage lose acknowledged writes when a majority restarts; set allowEphemeralVoters to accept that",
    },
    Rule {
        id: "R17",
        at: "spec.storage",
        rule: "!has(oldSelf.dataLog) || has(self.dataLog)",
        message: "dataLog can't be removed in place; use EnsembleOperation type MigrateStorage",
    },
    Rule { id: "R18", at: "spec.storage.data", rule: TYPE_IS_FIXED, message: TYPE_MESSAGE },
    Rule { id: "R18", at: "spec.storage.dataLog", rule: TYPE_IS_FIXED, message: TYPE_MESSAGE },
    Rule { id: "R19", at: "spec.storage.data", rule: CLASS_IS_FIXED, message: CLASS_MESSAGE },
    Rule { id: "R19", at: "spec.storage.dataLog", rule: CLASS_IS_FIXED, message: CLASS_MESSAGE },
    Rule { id: "R20", at: "spec.storage.data", rule: SIZE_GROWS, message: SIZE_MESSAGE },
    Rule { id: "R20", at: "spec.storage.dataLog", rule: SIZE_GROWS, message: SIZE_MESSAGE },
    Rule {
        id: "R21",
        at: "spec.config",
        rule: "self.initLimit >= self.syncLimit",
        message: "initLimit must be at least syncLimit",
    },
    Rule {
        id: "R22",
        at: "spec.config",
        rule: "!has(self.minSessionTimeout) || !has(self.maxSessionTimeout) || self.minSessionTimeout <= self.maxSessionTimeout",
        message: "minSessionTimeout must not exceed maxSessionTimeout",
    },
    Rule {
        id: "R23",
        at: "spec.config",
        rule: "!has(self.minSessionTimeout) || self.minSessionTimeout >= 2 * self.tickTime",
        message: "minSessionTimeout must be at least two ticks",
    },
    Rule {
        id: "R24",
        at: "spec.config",
        rule: "!has(self.additional) || self.additional.all(k, !(k in ['dataDir','dataLogDir','clientPort','clientPortAddress','secureClientPort','secureClientPortAddress','dynamicConfigFile','standaloneEnabled','reconfigEnabled','skipACL','myid','sslQuorum','portUnification','localSessionsEnabled','electionAlg','peerType','tickTime','initLimit','syncLimit','minSessionTimeout','maxSessionTimeout','maxClientCnxns','maxCnxns','snapCount','4lw.commands.whitelist','quorumListenOnAllIPs']))",
        message: "this key is managed by the operator",
    },
    Rule {
        id: "R25",
        at: "spec.config",
        rule: "!has(self.additional) || self.additional.all(k, !k.startsWith('server.') && !k.startsWith('group.') && !k.startsWith('weight.') && !k.startsWith('ssl.') && !k.startsWith('admin.') && !k.startsWith('authProvider.') && !k.startsWith('quorate.') && !k.startsWith('autopurge.') && !k.startsWith('metricsProvider.'))",
        message: "this key prefix is managed by the operator",
    },
    Rule {
        id: "R26",
        at: "spec.network.ports",
        rule: "!(self.client in [self.secureClient, self.peer, self.election, self.admin, self.metrics]) && !(self.secureClient in [self.peer, self.election, self.admin, self.metrics]) && !(self.peer in [self.election, self.admin, self.metrics]) && !(self.election in [self.admin, self.metrics]) && !(self.admin in [self.metrics])",
        message: "ports must differ",
    },
];

/// Puts every rule at its place.
pub fn add_to(schema: &mut Value) {
    for rule in RULES {
        let mut at = &mut *schema;
        for field in rule.at.split('.').filter(|field| !field.is_empty()) {
            at = at.get_mut("properties").and_then(|all| all.get_mut(field)).expect("rules name real fields");
        }
        let rules = at
            .as_object_mut()
            .expect("a schema is an object")
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        let rules = rules.as_array_mut().expect("made as a list");
        rules.push(json!({"rule": rule.rule, "message": rule.message}));
    }
}
