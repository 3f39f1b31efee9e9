//! Performs the actions of a plan: the only writer.
//!
//! In: a [`Plan`](super::plan::Plan). Out: what was done, or what could not be done.
//!
//! Always true:
//! * objects are written by server-side apply under one name, and only fields that are ours;
//! * nothing is deleted but the very object that was looked at, and nobody is disturbed without the lease.
//!
//! Not here: which actions (`plan`).

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::desired::Desired;
use super::identity::Identity;
use super::lease::Tenure;
use super::object::{Kind, Object, ObjectKey};
use super::observed::{IdentityFact, Observed};
use super::plan::{Action, Farewell};
use super::{admin, ensemble, pods};
use crate::base::{Member, ServerId, Zxid};

/// The name under which objects are written.
pub const MANAGER: &str = "quorate-operator";
/// How long the clients of a member that is to be restarted have for going elsewhere.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often it is looked whether they are gone.
const FAREWELL_STEP: Duration = Duration::from_millis(100);

/// Why an action could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server said no, or nothing.
    #[error("{what}: {error}")]
    Api {
        /// What was tried.
        what: String,
        /// Its answer.
        error: Box<kube::Error>,
    },
    /// A server said no, or nothing.
    #[error("{0}")]
    Server(String),
    /// The leader does not hand over.
    #[error("server {0} does not hand over: {1}")]
    Refusal(ServerId, String),
    /// Another operator may be acting.
    #[error("the lease is held by another operator")]
    NoLease,
}

/// Everything that performing takes.
pub struct Performer<'a> {
    /// The API server.
    pub client: &'a Client,
    /// What the servers are to be.
    pub desired: &'a Desired,
    /// What exists.
    pub observed: &'a Observed,
    /// Whether this operator is the one that acts.
    pub tenure: &'a Tenure,
}

impl Performer<'_> {
    /// Performs one action.
    pub async fn perform(&self, action: &Action) -> Result<(), Error> {
        if !self.tenure.holds() {
            return Err(Error::NoLease);
        }
        match action {
            Action::Create(object) => self.create(object).await,
            Action::Apply(object) => self.apply(object).await,
            Action::Delete { object, uid, .. } => self.delete(object, uid).await,
            Action::Reconfigure { from, join, leave, .. } => self.reconfigure(*from, join, leave).await,
            Action::Transfer { from, to, .. } => self.transfer(*from, *to).await,
            Action::Drain { servers, .. } => {
                for server in servers {
                    // A member that does not answer has no clients to send away.
                    self.drain(*server)
                        .await
                        .unwrap_or_else(|error| tracing::info!(%server, %error, "not drained"));
                }
                Ok(())
            }
            Action::RestartPod { server, pod, uid, farewell, .. } => {
                if *farewell == Farewell::Drain {
                    self.say_farewell(*server).await;
                }
                self.tenure.confirm(self.client).await.map_err(|_| Error::NoLease)?;
                let api = Api::<Pod>::namespaced(self.client.clone(), &self.desired.namespace);
                delete(&api, pod, uid).await
            }
        }
    }

    /// Makes an object without touching one that another operator made: empty first, then filled by its version.
    async fn create(&self, object: &Object) -> Result<(), Error> {
        let Object::Secret(secret) = object else { return self.apply(object).await };
        let name = object.key().name;
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.desired.namespace);
        let empty = Secret {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Secret::default()
        };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let made = match api.create(&params, &empty).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&name).await,
            made => made,
        };
        let made = made.map_err(api_error(&format!("create secret {name}")))?;
        if made.data.is_some_and(|data| !data.is_empty()) {
            return Err(Error::Server(format!("secret {name} was just made by another operator")));
        }
        let mut filled = secret.clone();
        filled.metadata.resource_version = made.metadata.resource_version;
        self.apply(&Object::Secret(filled)).await
    }

    async fn apply(&self, object: &Object) -> Result<(), Error> {
        match object {
            Object::ServiceAccount(inner) => self.patch::<ServiceAccount>(object, inner).await,
            Object::Secret(inner) => self.patch::<Secret>(object, inner).await,
            Object::ConfigMap(inner) => self.patch::<ConfigMap>(object, inner).await,
            Object::Service(inner) => self.patch::<Service>(object, inner).await,
            Object::StatefulSet(inner) => self.patch::<StatefulSet>(object, inner).await,
            Object::Budget(inner) => self.patch::<PodDisruptionBudget>(object, inner).await,
            Object::Claim(inner) => self.patch::<PersistentVolumeClaim>(object, inner).await,
        }
    }

    async fn patch<K>(&self, object: &Object, inner: &K) -> Result<(), Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let ObjectKey { kind, name } = object.key();
        let api = Api::<K>::namespaced(self.client.clone(), &self.desired.namespace);
        tracing::debug!(?kind, %name, "apply");
        let params = PatchParams::apply(MANAGER).force();
        let written = api.patch(&name, &params, &Patch::Apply(inner)).await;
        written.map(drop).map_err(api_error(&format!("apply {kind:?} {name}")))
    }

    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), Error> {
        self.tenure.confirm(self.client).await.map_err(|_| Error::NoLease)?;
        let (client, namespace) = (self.client.clone(), &self.desired.namespace);
        match key.kind {
            Kind::ServiceAccount => {
                delete(&Api::<ServiceAccount>::namespaced(client, namespace), &key.name, uid).await
            }
            Kind::Secret => delete(&Api::<Secret>::namespaced(client, namespace), &key.name, uid).await,
            Kind::ConfigMap => delete(&Api::<ConfigMap>::namespaced(client, namespace), &key.name, uid).await,
            Kind::Service => delete(&Api::<Service>::namespaced(client, namespace), &key.name, uid).await,
            Kind::StatefulSet => {
                delete(&Api::<StatefulSet>::namespaced(client, namespace), &key.name, uid).await
            }
            Kind::Budget => {
                delete(&Api::<PodDisruptionBudget>::namespaced(client, namespace), &key.name, uid).await
            }
            Kind::Claim => {
                delete(&Api::<PersistentVolumeClaim>::namespaced(client, namespace), &key.name, uid).await
            }
        }
    }

    fn identity(&self) -> Result<&Identity, Error> {
        match &self.observed.identity {
            IdentityFact::Present(identity, _) => Ok(identity),
            IdentityFact::Absent | IdentityFact::Broken(_) => {
                Err(Error::Server("there is no identity yet".to_owned()))
            }
        }
    }

    /// The address of a server's port.
    fn address(&self, server: ServerId, port: i32) -> Result<String, Error> {
        let pod = self.desired.place(server).and_then(|(pool, ordinal)| self.observed.pod(pool, ordinal));
        match pod {
            Some(pod) if !pod.address.is_empty() => Ok(pods::address(&pod.address, port)),
            Some(_) | None => Err(Error::Server(format!("server {server} has no address"))),
        }
    }

    async fn command(
        &self,
        server: ServerId,
        path: &str,
        body: serde_json::Value,
    ) -> Result<(), admin::Error> {
        let port = self.desired.spec.network.ports.admin;
        let address =
            self.address(server, port).map_err(|error| admin::Error::Connection(error.to_string()))?;
        let identity = self.identity().map_err(|error| admin::Error::Connection(error.to_string()))?;
        admin::command(&address, &identity.admin_token, path, body).await
    }

    async fn transfer(&self, from: ServerId, to: ServerId) -> Result<(), Error> {
        let answer = self.command(from, "/v1/transfer", json!({"to": to.0})).await;
        answer.map_err(|error| Error::Refusal(from, error.to_string()))
    }

    async fn drain(&self, server: ServerId) -> Result<(), admin::Error> {
        self.command(server, "/v1/drain", json!({"seconds": FAREWELL.as_secs()})).await
    }

    /// Sends clients away and waits a moment for them; a member that does not listen is restarted all the same.
    async fn say_farewell(&self, server: ServerId) {
        if let Err(error) = self.drain(server).await {
            tracing::info!(%server, %error, "not drained");
            return;
        }
        let (Ok(identity), Ok(address)) =
            (self.identity(), self.address(server, self.desired.spec.network.ports.admin))
        else {
            return;
        };
        let end = tokio::time::Instant::now() + FAREWELL;
        while tokio::time::Instant::now() < end {
            match admin::report(&address, &identity.admin_token).await {
                Ok(report) if report.connections > 0 => tokio::time::sleep(FAREWELL_STEP).await,
                Ok(_) | Err(_) => return,
            }
        }
    }

    async fn reconfigure(&self, from: Zxid, join: &[Member], leave: &[ServerId]) -> Result<(), Error> {
        self.tenure.confirm(self.client).await.map_err(|_| Error::NoLease)?;
        let leader = self.observed.reports.values().find(|report| report.leader == Some(report.id));
        let leader = leader.ok_or_else(|| Error::Server("no leader is known".to_owned()))?.id;
        let address = self.address(leader, self.desired.spec.network.ports.client)?;
        let password = &self.identity()?.super_password;
        ensemble::reconfigure(&address, password, from, join, leave).await.map_err(Error::Server)
    }
}

/// Deletes an object if it still is the one with this uid; one that is gone, or another by now, is no error.
async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(api_error(&format!("delete {name}"))(error)),
    }
}

fn api_error(what: &str) -> impl FnOnce(kube::Error) -> Error {
    let what = what.to_owned();
    move |error| Error::Api { what, error: Box::new(error) }
}
