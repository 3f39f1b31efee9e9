//! Runs the operator: watches, one pass per resource at a time, the lease, the health port.
//!
//! In: flags. Out: ensembles that are as their resources say.
//!
//! Always true:
//! * one resource never disturbs another: errors back off by resource, a panic ends one pass only;
//! * without the lease nothing is done.
//!
//! Not here: a pass (`pass`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::apply::MANAGER;
use super::build::{ENSEMBLE, POOL};
use super::crd::{CoordinationEnsemble, PullPolicy};
use super::desired::VolumeGroup;
use super::health::Health;
use super::lease::Tenure;
use super::pass::{self, Memo};
use super::validate::Defaults;

/// Passes side by side.
const CONCURRENCY: u16 = 16;
/// Events of one resource within this time make one pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// The longest wait after errors.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The flags of `quorate operator`.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatorArgs {
    /// Image of the servers where a resource names none, as REPOSITORY:TAG. Default: $QUORATE_IMAGE
    #[arg(long)]
    pub image: Option<String>,
    /// Its pull policy: Always, IfNotPresent or Never. Default: $QUORATE_IMAGE_PULL_POLICY, else left to Kubernetes
    #[arg(long)]
    pub image_pull_policy: Option<String>,
    /// Namespace of the lease. Default: that of the operator's own pod, else default
    #[arg(long)]
    pub lease_namespace: Option<String>,
    /// Name under which the lease is held. Default: $POD_NAME, else the host's name
    #[arg(long)]
    pub identity: Option<String>,
    /// Port of /livez, /readyz and /metrics; 0 for none
    #[arg(long, default_value_t = 8081)]
    pub health_port: u16,
    /// The least important line that is logged: error, warn, info, debug or trace
    #[arg(long, default_value = "info")]
    pub log_level: tracing::Level,
}

/// What every pass needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Values for what a resource leaves out.
    pub defaults: Defaults,
    /// Whether this operator acts.
    pub tenure: Tenure,
    /// Writes events.
    pub recorder: Recorder,
    /// Counts.
    pub health: Health,
    /// What is remembered of each resource, by its uid.
    memos: Mutex<HashMap<String, Memo>>,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PassError(String);

/// Runs the operator until SIGTERM, or until the lease is lost.
pub fn run(args: OperatorArgs) -> anyhow::Result<()> {
    // The libraries tell every request at debug; only their warnings matter here.
    let targets = Targets::new().with_default(tracing::Level::WARN).with_target("quorate", args.log_level);
    let lines = tracing_subscriber::fmt::layer().json().with_filter(targets);
    tracing_subscriber::registry().with(lines).try_init().context("start logging")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(operate(args))
}

async fn operate(args: OperatorArgs) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let client = Client::try_default().await.context("find the API server")?;
    let identity = args.identity.clone().or_else(|| env("POD_NAME")).or_else(|| env("HOSTNAME"));
    let identity = identity.unwrap_or_else(|| format!("operator-{}", std::process::id()));
    let namespace = args.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity.clone()) };
    let context = Arc::new(Context {
        defaults: defaults(&args, volume_group(&client).await)?,
        tenure: Tenure::new(namespace, identity.clone()),
        recorder: Recorder::new(client.clone(), reporter),
        health: Health::new(),
        memos: Mutex::default(),
        client,
    });
    let mut tasks = tokio::task::JoinSet::new();
    if args.health_port != 0 {
        let listener = tokio::net::TcpListener::bind(("::", args.health_port)).await;
        let listener = match listener {
            Ok(listener) => listener,
            Err(_) => tokio::net::TcpListener::bind(("0.0.0.0", args.health_port))
                .await
                .with_context(|| format!("listen on port {}", args.health_port))?,
        };
        let (health, stopped) = (context.health.clone(), stop.clone());
        tasks.spawn(async move { health.serve(listener, stopped).await });
    }
    tracing::info!(%identity, "waiting for the lease");
    tokio::select! {
        () = context.tenure.acquire(&context.client) => {}
        () = terminated() => return Ok(()),
    }
    tracing::info!(%identity, "acting");
    context.health.acts();
    let controller = controller(context.clone(), stop.clone());
    let mut controller = std::pin::pin!(controller);
    let lost = tokio::select! {
        () = &mut controller => false,
        () = context.tenure.keep(&context.client) => true,
        () = terminated() => false,
    };
    stop.cancel();
    if lost {
        // Nothing that was begun may be finished: another operator acts.
        anyhow::bail!("the lease was lost");
    }
    // What is under way ends; nothing new begins.
    drop(tokio::time::timeout(Duration::from_secs(8), &mut controller).await);
    context.tenure.release(&context.client).await;
    tasks.shutdown().await;
    Ok(())
}

async fn controller(context: Arc<Context>, stop: CancellationToken) {
    let client = context.client.clone();
    let owned = watcher::Config::default().labels(&format!("{ENSEMBLE},{POOL}"));
    let resources: Api<DeserializeGuard<CoordinationEnsemble>> = Api::all(client.clone());
    let passes = Controller::new(resources, watcher::Config::default())
        .owns(Api::<StatefulSet>::all(client.clone()), owned.clone())
        .watches(Api::<Pod>::all(client), owned, |pod| {
            let name = pod.labels().get(ENSEMBLE)?.clone();
            Some(ObjectRef::new(&name).within(&pod.namespace()?))
        })
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(reconcile, on_error, context);
    passes
        .for_each(|pass| async move {
            if let Err(error) = pass {
                tracing::debug!(%error, "pass");
            }
        })
        .await;
}

async fn reconcile(
    guarded: Arc<DeserializeGuard<CoordinationEnsemble>>,
    context: Arc<Context>,
) -> Result<Action, PassError> {
    let uid = guarded.uid().unwrap_or_default();
    if !context.tenure.holds() {
        return Ok(Action::await_change());
    }
    let resource = match &guarded.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            let told = pass::tell_unreadable(&context, &invalid.metadata, &invalid.error).await;
            told.map_err(|error| PassError(error.to_string()))?;
            return Ok(Action::await_change());
        }
    };
    if resource.metadata.deletion_timestamp.is_some() {
        context.memos.lock().expect("no pass panics while it holds this").remove(&uid);
        return Ok(Action::await_change());
    }
    let memo = context.memo(&uid);
    let started = std::time::Instant::now();
    let pass = std::panic::AssertUnwindSafe(pass::run(&context, resource, memo)).catch_unwind().await;
    context.health.passed(started.elapsed());
    let (memo, result) = match pass {
        Ok(done) => done,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = format!("a bug ended the pass: {}", text.unwrap_or_default());
            pass::tell_bug(&context, resource, &text).await;
            (context.memo(&uid), Err(PassError(text)))
        }
    };
    let failures = if result.is_ok() { 0 } else { memo.failures.saturating_add(1) };
    context.keep(&uid, Memo { failures, ..memo });
    if let Err(error) = &result {
        context.health.failed();
        tracing::warn!(namespace = ?resource.namespace(), name = %resource.name_any(), %error, "pass failed");
    }
    result.map(Action::requeue)
}

fn on_error(
    guarded: Arc<DeserializeGuard<CoordinationEnsemble>>,
    _: &PassError,
    context: Arc<Context>,
) -> Action {
    let failures = context.memo(&guarded.uid().unwrap_or_default()).failures;
    Action::requeue(
        BACKOFF_MAX.min(Duration::from_secs(1) * 2u32.saturating_pow(failures.saturating_sub(1).min(6))),
    )
}

impl Context {
    fn memo(&self, uid: &str) -> Memo {
        self.memos.lock().expect("no pass panics while it holds this").get(uid).cloned().unwrap_or_default()
    }

    fn keep(&self, uid: &str, memo: Memo) {
        self.memos.lock().expect("no pass panics while it holds this").insert(uid.to_owned(), memo);
    }
}

impl PassError {
    /// With these words.
    pub fn new(error: impl std::fmt::Display) -> PassError {
        PassError(error.to_string())
    }
}

/// OpenShift gives every namespace its own range of users and groups and refuses others.
async fn volume_group(client: &Client) -> VolumeGroup {
    match client.list_api_groups().await {
        Ok(groups) if groups.groups.iter().any(|group| group.name == "security.openshift.io") => {
            VolumeGroup::Platform
        }
        Ok(_) => VolumeGroup::Set,
        Err(error) => {
            tracing::warn!(%error, "the API server's groups are not known");
            VolumeGroup::Set
        }
    }
}

fn defaults(args: &OperatorArgs, volume_group: VolumeGroup) -> anyhow::Result<Defaults> {
    let version = env!("CARGO_PKG_VERSION");
    let image =
        args.image.clone().or_else(|| env("QUORATE_IMAGE")).unwrap_or_else(|| format!("quorate:{version}"));
    let (repository, tag) = image
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .with_context(|| format!("the image {image:?} has no tag; write REPOSITORY:TAG"))?;
    let policy = args.image_pull_policy.clone().or_else(|| env("QUORATE_IMAGE_PULL_POLICY"));
    let pull_policy = match policy.as_deref() {
        None | Some("") => None,
        Some("Always") => Some(PullPolicy::Always),
        Some("IfNotPresent") => Some(PullPolicy::IfNotPresent),
        Some("Never") => Some(PullPolicy::Never),
        Some(other) => anyhow::bail!("the pull policy {other:?} is none of Always, IfNotPresent and Never"),
    };
    Ok(Defaults {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        pull_policy,
        version: version.to_owned(),
        volume_group,
    })
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process as they are.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
