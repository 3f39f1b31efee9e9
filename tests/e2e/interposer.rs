//! Stands between an operator and the API server, and kills the operator right after a chosen write.
//!
//! In: a namespace, the number of the write. Out: an operator that is gone by then.
//!
//! Always true:
//! * the operator sees this namespace and no other: several of them work side by side, each with a lease of its own;
//! * the chosen write has reached the API server, and the operator never hears of its answer;
//! * renewing the lease counts as nothing.
//!
//! Not here: what has to come of it (`crashes`).

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Nobody is killed.
pub const NEVER: u32 = u32::MAX;

/// An operator outside of the cluster, with its way to the API server.
pub struct Interposer {
    space: String,
    writes: Arc<Writes>,
    kubeconfig: PathBuf,
    /// `kubectl proxy` knows how to speak to the API server.
    _proxy: Child,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Writes {
    done: AtomicU32,
    fatal: AtomicU32,
    reached: Notify,
}

impl Interposer {
    /// Ready for operators of this namespace.
    pub async fn start(space: &str) -> anyhow::Result<Interposer> {
        let mut proxy = Command::new("kubectl")
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start kubectl proxy")?;
        let mut lines = BufReader::new(proxy.stdout.take().context("a pipe was asked for")?).lines();
        let line = lines.next_line().await?.context("kubectl proxy says where it listens")?;
        let behind = line.rsplit(' ').next().context("the line ends with an address")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let writes = Arc::<Writes>::default();
        writes.fatal.store(NEVER, Ordering::SeqCst);
        let mut tasks = JoinSet::new();
        let way = Way { behind, space: space.to_owned(), writes: writes.clone() };
        tasks.spawn(serve(listener, Arc::new(way)));
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{space}.yaml"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: it, user: {{}}}}]\ncontexts: [{{name: it, context: {{cluster: it, user: it, namespace: {space}}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).context("write the kubeconfig")?;
        Ok(Interposer { space: space.to_owned(), writes, kubeconfig, _proxy: proxy, _tasks: tasks })
    }

    /// An operator that lives until its `fatal`-th write, from 1.
    pub fn operator(&self, fatal: u32) -> anyhow::Result<Child> {
        self.writes.done.store(0, Ordering::SeqCst);
        self.writes.fatal.store(fatal, Ordering::SeqCst);
        Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["operator", "--image", "quorate:dev", "--identity", "e2e", "--health-port", "0"])
            .args(["--lease-namespace", &self.space])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start the operator")
    }

    /// Kills the operator when its last write is done.
    pub async fn kill_at_last_write(&self, mut operator: Child) -> anyhow::Result<()> {
        self.writes.reached.notified().await;
        operator.kill().await.context("kill the operator")
    }
}

/// What a request passes.
struct Way {
    behind: String,
    space: String,
    writes: Arc<Writes>,
}

async fn serve(listener: TcpListener, way: Arc<Way>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let way = way.clone();
        connections.spawn(async move {
            let pass = service_fn(|request| {
                let way = way.clone();
                async move { Ok::<_, Infallible>(pass(request, &way).await) }
            });
            // A connection ends when its operator does.
            drop(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await,
            );
        });
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

async fn pass(request: Request<Incoming>, way: &Way) -> Response<Body> {
    let writes = &way.writes;
    let is_write = request.method() != Method::GET && !request.uri().path().contains("/leases");
    let answer = forward(request, way).await;
    if is_write {
        let number = writes.done.fetch_add(1, Ordering::SeqCst) + 1;
        let fatal = writes.fatal.load(Ordering::SeqCst);
        if number >= fatal {
            if number == fatal {
                writes.reached.notify_one();
            }
            return std::future::pending().await;
        }
    }
    answer.unwrap_or_else(|error| {
        let words: Full<Bytes> = Full::new(format!("{error:#}").into());
        let mut response = Response::new(words.map_err(|never| match never {}).boxed());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

/// What is asked of every namespace is asked of one.
fn narrowed(uri: &Uri, space: &str) -> anyhow::Result<Uri> {
    let all =
        ["/apis/quorate.dev/v1alpha1/coordinationensembles", "/apis/apps/v1/statefulsets", "/api/v1/pods"];
    let Some((group, kind)) =
        all.iter().find(|path| **path == uri.path()).and_then(|path| path.rsplit_once('/'))
    else {
        return Ok(uri.clone());
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{group}/namespaces/{space}/{kind}{query}").parse().context("a path of one namespace")
}

async fn forward(request: Request<Incoming>, way: &Way) -> anyhow::Result<Response<Body>> {
    let stream = TcpStream::connect(&way.behind).await.context("connect to kubectl proxy")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut head, body) = request.into_parts();
    head.uri = narrowed(&head.uri, &way.space)?;
    let body = body.collect().await?.to_bytes();
    let mut onward = Request::from_parts(head, Full::new(body));
    onward.headers_mut().insert("host", way.behind.parse()?);
    // It goes on while its answer, which may be a watch, is read; then it ends by itself.
    tokio::spawn(connection);
    Ok(sender.send_request(onward).await?.map(|body| body.boxed()))
}
