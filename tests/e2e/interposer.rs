//! Stands between an operator and the API server, and kills the operator right after a chosen write.
//!
//! In: the number of the write. Out: how many writes there were, and an operator that is gone by then.
//!
//! Always true:
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
use hyper::{Method, Request, Response, StatusCode};
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
    /// Ready for operators.
    pub async fn start() -> anyhow::Result<Interposer> {
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
        tasks.spawn(serve(listener, behind, writes.clone()));
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interposer.yaml");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: it, user: {{}}}}]\ncontexts: [{{name: it, context: {{cluster: it, user: it, namespace: quorate-system}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).context("write the kubeconfig")?;
        Ok(Interposer { writes, kubeconfig, _proxy: proxy, _tasks: tasks })
    }

    /// An operator that lives until its `fatal`-th write, from 1.
    pub fn operator(&self, fatal: u32) -> anyhow::Result<Child> {
        self.writes.done.store(0, Ordering::SeqCst);
        self.writes.fatal.store(fatal, Ordering::SeqCst);
        Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["operator", "--image", "quorate:dev", "--identity", "e2e", "--health-port", "0"])
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

async fn serve(listener: TcpListener, behind: String, writes: Arc<Writes>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (behind, writes) = (behind.clone(), writes.clone());
        connections.spawn(async move {
            let pass = service_fn(|request| {
                let (behind, writes) = (behind.clone(), writes.clone());
                async move { Ok::<_, Infallible>(pass(request, &behind, &writes).await) }
            });
            // A connection ends when its operator does.
            drop(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await,
            );
        });
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

async fn pass(request: Request<Incoming>, behind: &str, writes: &Writes) -> Response<Body> {
    let is_write = request.method() != Method::GET && !request.uri().path().contains("/leases");
    let answer = forward(request, behind).await;
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

async fn forward(request: Request<Incoming>, behind: &str) -> anyhow::Result<Response<Body>> {
    let stream = TcpStream::connect(behind).await.context("connect to kubectl proxy")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut onward = Request::from_parts(head, Full::new(body));
    onward.headers_mut().insert("host", behind.parse()?);
    // It goes on while its answer, which may be a watch, is read; then it ends by itself.
    tokio::spawn(connection);
    Ok(sender.send_request(onward).await?.map(|body| body.boxed()))
}
