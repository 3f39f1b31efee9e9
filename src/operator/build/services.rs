//! The two services of an ensemble.
//!
//! In: what the servers are to be. Out: services.
//!
//! Always true:
//! * peers find each other before they are ready, clients only find members that serve.
//!
//! Not here: how clients choose a member.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names;
use crate::operator::crd::ServiceType;
use crate::operator::desired::Desired;
use crate::operator::object::Object;

/// The headless service that gives pods their names.
pub fn peers(desired: &Desired) -> Object {
    let ports = &desired.spec.network.ports;
    let ports = [
        ("tcp-client", ports.client),
        ("tcp-peer", ports.peer),
        ("tcp-election", ports.election),
        ("http-admin", ports.admin),
        ("http-metrics", ports.metrics),
    ];
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        selector: Some(selector(desired)),
        ports: Some(ports.map(|(name, port)| service_port(name, port)).into()),
        ..ServiceSpec::default()
    };
    let metadata = names::owned(desired, names::peers_name(desired));
    Object::Service(Service { metadata, spec: Some(spec), ..Service::default() }).stamped()
}

/// The service for clients: every member that is ready.
pub fn client(desired: &Desired) -> Object {
    let wanted = &desired.spec.network.client_service;
    let kind = match wanted.kind {
        None | Some(ServiceType::ClusterIP) => "ClusterIP",
        Some(ServiceType::NodePort) => "NodePort",
        Some(ServiceType::LoadBalancer) => "LoadBalancer",
    };
    let ranges = &wanted.load_balancer_source_ranges;
    let spec = ServiceSpec {
        type_: Some(kind.to_owned()),
        selector: Some(selector(desired)),
        ports: Some(vec![service_port("tcp-client", desired.spec.network.ports.client)]),
        traffic_distribution: wanted.traffic_distribution.clone(),
        load_balancer_source_ranges: (!ranges.is_empty()).then(|| ranges.clone()),
        ..ServiceSpec::default()
    };
    let mut metadata = names::owned(desired, names::client_name(desired));
    let own = metadata.labels.take().unwrap_or_default();
    metadata.labels = Some(wanted.labels.clone().into_iter().chain(own).collect());
    if !wanted.annotations.is_empty() {
        metadata.annotations = Some(wanted.annotations.clone());
    }
    Object::Service(Service { metadata, spec: Some(spec), ..Service::default() }).stamped()
}

fn selector(desired: &Desired) -> BTreeMap<String, String> {
    BTreeMap::from([(names::ENSEMBLE.to_owned(), desired.name.clone())])
}

fn service_port(name: &str, port: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::Int(port)),
        // A mesh that guessed would wait for the client's first bytes, and hold up what it cannot name.
        app_protocol: name.starts_with("tcp-").then(|| "tcp".to_owned()),
        ..ServicePort::default()
    }
}
