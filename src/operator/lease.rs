//! Which of several operators acts: the one that holds the lease `quorate-operator`.
//!
//! In: the lease. Out: a [`Tenure`] that says whether this operator acts.
//!
//! Always true:
//! * a tenure ends by this operator's own clock before another may take over by its own;
//! * before anybody is disturbed the lease is read once more.
//!
//! Not here: what is done while it is held (`controller`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::Instant;

/// The name of the lease.
const NAME: &str = "quorate-operator";
/// After this long without a renewal another operator takes over.
const DURATION: Duration = Duration::from_secs(15);
/// How often the holder renews, and others look.
const RENEW: Duration = Duration::from_secs(4);
/// A holder that could not renew for this long stops acting: earlier than others take over.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whether this operator is the one that acts.
pub struct Tenure {
    namespace: String,
    holder: String,
    holds: AtomicBool,
}

/// The lease is another's.
#[derive(Debug, thiserror::Error)]
#[error("the lease is not held")]
pub struct NotHeld;

impl Tenure {
    /// Of an operator with this name, by a lease in this namespace.
    pub fn new(namespace: String, holder: String) -> Tenure {
        Tenure { namespace, holder, holds: AtomicBool::new(false) }
    }

    /// Whether it is held, as far as is known.
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    /// Reads the lease once more.
    pub async fn confirm(&self, client: &Client) -> Result<(), NotHeld> {
        let lease = self.api(client).get(NAME).await.map_err(|_| NotHeld)?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        if holder.as_ref() == Some(&self.holder) { Ok(()) } else { Err(NotHeld) }
    }

    /// Waits until the lease is this operator's.
    pub async fn acquire(&self, client: &Client) {
        // Another's lease ends when it was seen unchanged for its whole duration, by this clock.
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            match self.try_take(client, &mut seen).await {
                Ok(true) => {
                    self.holds.store(true, Ordering::Release);
                    return;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "lease"),
            }
            tokio::time::sleep(RENEW / 2).await;
        }
    }

    /// Renews the lease until that fails for too long or another has it.
    pub async fn keep(&self, client: &Client) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW).await;
            let attempt = tokio::time::timeout(RENEW, self.renew(client)).await;
            match attempt {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, "lease not renewed"),
                Err(_) => tracing::warn!("lease not renewed in time"),
            }
            if renewed.elapsed() > DEADLINE {
                break;
            }
        }
        self.holds.store(false, Ordering::Release);
    }

    /// Gives the lease back, so that another operator need not wait.
    pub async fn release(&self, client: &Client) {
        self.holds.store(false, Ordering::Release);
        let api = self.api(client);
        let Ok(mut lease) = api.get(NAME).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.holder) {
            return;
        }
        spec.holder_identity = None;
        if let Err(error) = api.replace(NAME, &PostParams::default(), &lease).await {
            tracing::info!(%error, "lease not given back");
        }
    }

    async fn try_take(
        &self,
        client: &Client,
        seen: &mut Option<(Option<String>, Instant)>,
    ) -> Result<bool, kube::Error> {
        let api = self.api(client);
        let Some(lease) = api.get_opt(NAME).await? else {
            return match api.create(&PostParams::default(), &self.lease(None)).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
                Err(error) => Err(error),
            };
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let version = lease.metadata.resource_version.clone();
        let is_free = holder.is_empty() || holder == self.holder;
        let is_over = match seen {
            Some((known, since)) if *known == version => since.elapsed() > DURATION,
            Some(_) | None => {
                *seen = Some((version, Instant::now()));
                false
            }
        };
        if is_free || is_over { self.write(&api, lease).await } else { Ok(false) }
    }

    async fn renew(&self, client: &Client) -> Result<bool, kube::Error> {
        let api = self.api(client);
        let lease = api.get(NAME).await?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        if holder == Some(&self.holder) { self.write(&api, lease).await } else { Ok(false) }
    }

    /// Writes the lease over the version that was read.
    async fn write(&self, api: &Api<Lease>, old: Lease) -> Result<bool, kube::Error> {
        match api.replace(NAME, &PostParams::default(), &self.lease(Some(old))).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, old: Option<Lease>) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let spec = old.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_mine = spec.holder_identity.as_ref() == Some(&self.holder);
        let metadata = old.map_or_else(
            || ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            |lease| lease.metadata,
        );
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.holder.clone()),
                acquire_time: if is_mine { spec.acquire_time } else { now.clone() },
                lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(!is_mine)),
                renew_time: now,
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
        }
    }

    fn api(&self, client: &Client) -> Api<Lease> {
        Api::namespaced(client.clone(), &self.namespace)
    }
}
