//! Turns a `CoordinationEnsemble` into running servers, on Kubernetes.
//!
//! In: resources, the objects made for them, and what the servers report. Out: objects, reconfigurations, hand-overs, restarts.
//!
//! Always true:
//! * observe → validate → plan → apply → status; only observe, apply and the status touch the network;
//! * at most one disruptive action per plan, and only while the rest keeps a quorum;
//! * a server is level before it gets a vote, gives up its vote before its pod goes, and the leader restarts last.
//!
//! Not here: what a server does (`server`), the client protocol (the crate `zookeeper-client`).

pub mod admin;
pub mod apply;
pub mod build;
pub mod controller;
pub mod crd;
pub mod desired;
pub mod ensemble;
pub mod health;
pub mod identity;
pub mod lease;
pub mod object;
pub mod observe;
pub mod observed;
pub mod pass;
pub mod plan;
pub mod pods;
pub mod quantity;
pub mod report;
pub mod status;
pub mod validate;

pub use controller::{OperatorArgs, run};

/// The CustomResourceDefinition as YAML.
pub fn crds() -> String {
    crd::yaml()
}
