//! The session of a shell: opened, closed and opened again.
//!
//! In: where the ensemble is. Out: a client, its watches, the credentials that were added.
//!
//! Always true:
//! * credentials and watches end with their session.
//!
//! Not here: what is asked of it (`ops`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zookeeper_client::{Client, Error, SessionState};

use super::print::Event;
use super::raw::Raw;
use super::watches::{Printing, Show, Watches};

/// How long the end of a session is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How sessions are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The timeout to ask for.
    pub timeout: Duration,
    /// Whether a server without a leader will do.
    pub access: Access,
    /// What is done while no server answers.
    pub patience: Patience,
    /// What becomes of the session when the shell ends.
    pub end: End,
}

/// Whether a server without a leader will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It has to serve writes.
    ReadWrite,
    /// One that only reads will do.
    ReadOnly,
}

/// What is done while no server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Every server is tried once.
    Once,
    /// They are tried until the session's timeout.
    UntilTimeout,
}

/// What becomes of a session when the shell ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Closed,
    /// It stays until it times out, since its ephemeral nodes are wanted.
    Kept,
}

/// The client of the session that there is, which completion asks, too.
#[derive(Default)]
pub struct Current(Mutex<Option<Client>>);

impl Current {
    /// The client, if there is a session, which may have ended.
    pub fn client(&self) -> Option<Client> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session.
pub struct Connection {
    /// The connect string.
    pub servers: String,
    terms: Terms,
    show: Show,
    current: Arc<Current>,
    /// What was added by `addauth`.
    auths: Vec<(String, Vec<u8>)>,
    watches: Option<Watches>,
    printing: Printing,
}

impl Connection {
    /// No session yet.
    pub fn new(servers: &str, terms: Terms, show: Show) -> Connection {
        Connection {
            servers: servers.to_owned(),
            terms,
            show,
            current: Arc::default(),
            auths: Vec::new(),
            watches: None,
            printing: Printing::On,
        }
    }

    /// Opens a session, after closing the one that there is.
    pub async fn open(&mut self) -> Result<(), Error> {
        self.close().await;
        let connector = Client::connector()
            .with_session_timeout(self.terms.timeout)
            .with_readonly(self.terms.access == Access::ReadOnly);
        let connector = match self.terms.patience {
            Patience::Once => connector.with_fail_eagerly(),
            Patience::UntilTimeout => connector,
        };
        let connector = match self.terms.end {
            End::Closed => connector,
            End::Kept => connector.with_detached(),
        };
        let client = connector.connect(&self.servers).await?;
        self.watches = Some(Watches::new(&client, Arc::clone(&self.show), self.printing));
        *self.current.lock() = Some(client);
        Ok(())
    }

    /// Closes the session and waits until the server heard of it; whether there was one.
    pub async fn close(&mut self) -> bool {
        self.auths.clear();
        self.watches = None;
        let client = self.current.lock().take();
        let Some(client) = client else { return false };
        let was_alive = !client.state().is_terminated();
        let mut states = client.state_watcher();
        drop(client);
        if was_alive {
            // The client's task ends with its last request; a dead server must not keep the shell.
            let closed = async { while !states.changed().await.is_terminated() {} };
            let _ = tokio::time::timeout(CLOSE_WAIT, closed).await;
        }
        was_alive
    }

    /// The client, unless the session has ended.
    pub fn client(&self) -> Option<Client> {
        self.current.client().filter(|client| !client.state().is_terminated())
    }

    /// The client of whatever session there is.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current)
    }

    /// The watches of the session; `None` before the first.
    pub fn watches(&self) -> Option<&Watches> {
        self.watches.as_ref()
    }

    /// Remembers credentials that the session was given.
    pub fn add_auth(&mut self, scheme: &str, auth: &[u8]) {
        self.auths.push((scheme.to_owned(), auth.to_vec()));
    }

    /// Exchanges that the client library has no words for.
    pub fn raw(&self) -> Raw<'_> {
        Raw { servers: &self.servers, auths: &self.auths }
    }

    /// Whether events are shown.
    pub fn printing(&self) -> Printing {
        self.printing
    }

    /// Switches showing on or off, for sessions to come, too.
    pub fn set_printing(&mut self, printing: Printing) {
        self.printing = printing;
        if let Some(watches) = &self.watches {
            watches.set_printing(printing);
        }
    }

    /// Shows a change of the session.
    pub fn tell(&self, event: &Event) {
        if self.printing == Printing::On {
            (self.show)(event);
        }
    }

    /// Tells of the session that was opened.
    pub fn tell_state(&self) {
        if let Some(client) = self.client() {
            self.tell(&Event::session(client.state()));
        }
    }
}

/// The state of a session, in the words of zkCli's prompt.
pub fn prompt_state(client: Option<&Client>) -> &'static str {
    match client.map(Client::state) {
        None => "CLOSED",
        Some(SessionState::Disconnected) => "CONNECTING",
        Some(SessionState::SyncConnected) => "CONNECTED",
        Some(SessionState::ConnectedReadOnly) => "CONNECTEDREADONLY",
        Some(SessionState::AuthFailed) => "AUTH_FAILED",
        Some(SessionState::Expired | SessionState::Closed) => "CLOSED",
    }
}
