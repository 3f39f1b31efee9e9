//! ZooKeeper's AdminServer: its commands over HTTP, by name or alias, answered in JSON.
//!
//! In: requests below `admin.commandURL`. Out: what ZooKeeper 3.9 answers, in its status codes and shapes.
//!
//! Always true:
//! * an answer has `command` and `error`, and its status is 200 also where `error` says what is wrong, but for the
//!   commands that need a credential;
//! * what is counted, listed or changed here is what the four-letter word of the same meaning does.
//!
//! Not here: connections and bodies (`admin`), the lists themselves (`census`), copies of the tree (`copy`).

mod answers;
mod copy;
pub mod guard;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use self::guard::Limits;
use super::clients::Clients;
use super::facts::Facts;
use super::payload::{Answer, Payload};
use crate::base::Zxid;

/// What is said while the server does not serve.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// Primary name, and the other names of a command.
const NAMES: &[(&str, &[&str])] = &[
    ("configuration", &["conf", "config"]),
    ("connection_stat_reset", &["crst"]),
    ("connections", &["cons"]),
    ("dirs", &[]),
    ("dump", &[]),
    ("environment", &["env", "envi"]),
    ("get_trace_mask", &["gtmk"]),
    ("hash", &[]),
    ("initial_configuration", &["icfg"]),
    ("is_read_only", &["isro"]),
    ("last_snapshot", &["lsnp"]),
    ("leader", &["lead"]),
    ("monitor", &["mntr"]),
    ("observer_connection_stat_reset", &["orst"]),
    ("observers", &["obsr"]),
    ("restore", &["rest"]),
    ("ruok", &[]),
    ("server_stats", &["srvr"]),
    ("set_trace_mask", &["stmk"]),
    ("shed_connections", &["shed"]),
    ("snapshot", &["snap"]),
    ("stat_reset", &["srst"]),
    ("stats", &["stat"]),
    ("system_properties", &["sysp"]),
    ("voting_view", &[]),
    ("watch_summary", &["wchs"]),
    ("watches", &["wchc"]),
    ("watches_by_path", &["wchp"]),
    ("zabstate", &[]),
];
/// The commands that change something beyond counters, which are asked for by POST.
const BY_POST: &[&str] = &["restore", "shed_connections"];

/// What the commands know besides the server itself.
#[derive(Debug)]
pub struct Commands {
    /// Where they are: `admin.commandURL`, with a slash at its start and none at its end.
    pub url: String,
    /// The configuration as it was at the start, secrets left out.
    pub written: Vec<(String, String)>,
    /// What may be asked how often.
    pub limits: Limits,
    /// Reads the file that `restore` is given.
    pub read_snapshot: ReadSnapshot,
}

/// From the bytes of a snapshot file to the last txn in it and its body; the error says what is wrong with it.
pub type ReadSnapshot = fn(&Bytes) -> Result<(Zxid, Bytes), String>;

/// A request for a command.
pub struct Asked<'a> {
    /// What is asked for: the path behind the URL of the commands, without slashes around it.
    pub name: &'a str,
    /// The request.
    pub request: Request<Incoming>,
    /// Who asks.
    pub from: IpAddr,
}

impl Commands {
    /// The name in a path, which is empty for their list; `None` if the path is no command's.
    pub fn name_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        let behind = path.strip_prefix(self.url.as_str())?;
        match behind.strip_prefix('/') {
            Some(name) => Some(name.trim_end_matches('/')),
            None => behind.is_empty().then_some(""),
        }
    }

    /// Answers a request; the clients are `None` while the server starts.
    pub async fn answer(self: &Arc<Self>, asked: Asked<'_>, clients: Option<Arc<Clients>>) -> Answer {
        match *asked.request.method() {
            Method::GET | Method::HEAD | Method::POST => {}
            Method::TRACE => return empty(StatusCode::FORBIDDEN),
            _ => return empty(StatusCode::METHOD_NOT_ALLOWED),
        }
        let is_post = asked.request.method() == Method::POST;
        if asked.name.is_empty() {
            return if is_post { wrong_method("the list of commands", "GET") } else { self.list() };
        }
        let names = NAMES.iter().find(|(name, others)| *name == asked.name || others.contains(&asked.name));
        let Some((name, _)) = names else {
            let error = format!("Unknown command: {}", asked.name);
            return in_json(StatusCode::OK, asked.name, Map::new(), Some(&error));
        };
        let wants_post = BY_POST.contains(name);
        if is_post != wants_post {
            return wrong_method(name, if wants_post { "POST" } else { "GET" });
        }
        match *name {
            "snapshot" | "restore" | "shed_connections" => {
                self.guarded(name, asked.request, asked.from, clients).await
            }
            name => self.open(name, asked.request.uri().query(), clients).await,
        }
    }

    /// The commands that anybody may ask.
    async fn open(&self, name: &str, query: Option<&str>, clients: Option<Arc<Clients>>) -> Answer {
        let needs_no_server = match name {
            "environment" => Some(Ok(answers::environment())),
            "system_properties" => Some(Ok(answers::properties(&self.written))),
            _ => None,
        };
        if let Some(outcome) = needs_no_server {
            return outcome_in_json(name, outcome);
        }
        let refused = || in_json(StatusCode::OK, name, Map::new(), Some(NOT_SERVING));
        let Some(clients) = clients else { return refused() };
        match name {
            "get_trace_mask" => {
                return outcome_in_json(name, answers::fields(json!({"tracemask": clients.trace_mask()})));
            }
            "set_trace_mask" => return outcome_in_json(name, answers::set_trace_mask(&clients, query)),
            _ => {}
        }
        let Some(facts) = clients.shared.asker.ask().await else { return refused() };
        if name == "zabstate" {
            return outcome_in_json(name, answers::zabstate(&facts));
        }
        if !facts.serves() && !facts.is_read_only {
            return refused();
        }
        outcome_in_json(name, self.of_server(name, &facts, &clients).await)
    }

    /// The commands about a server that serves.
    async fn of_server(&self, name: &str, facts: &Facts, clients: &Clients) -> answers::Outcome {
        let lexicon = &clients.shared.lexicon;
        match name {
            "configuration" => answers::fields(lexicon.configuration()),
            "connection_stat_reset" => {
                clients.reset_connections();
                answers::nothing()
            }
            "connections" => answers::connections(clients),
            "dirs" => answers::dirs(lexicon),
            "dump" => answers::dump(clients, clients.shared.asker.expiries().await),
            "hash" => answers::hash(facts),
            "initial_configuration" => answers::initial_configuration(facts, &self.written),
            "is_read_only" => answers::fields(json!({"read_only": facts.is_read_only})),
            "last_snapshot" => answers::last_snapshot(lexicon),
            "leader" => answers::leader(facts),
            "monitor" => answers::monitor(facts, clients),
            // What observers are sent is counted by nobody here, so there is nothing to begin anew.
            "observer_connection_stat_reset" | "ruok" => answers::nothing(),
            "observers" => answers::observers(facts),
            "server_stats" => answers::server_stats(facts, clients),
            "stat_reset" => {
                clients.reset_stats();
                answers::nothing()
            }
            "stats" => answers::stats(facts, clients),
            "voting_view" => answers::voting_view(facts),
            "watch_summary" => answers::watch_summary(clients),
            "watches" => answers::watches(clients),
            "watches_by_path" => answers::watches_by_path(clients),
            name => unreachable!("{name} is in the table of names and has no answer"),
        }
    }

    /// The primary names, as links.
    fn list(&self) -> Answer {
        let link = |name: &str| format!("<a href=\"{}/{name}\">{name}</a>\n<br/>\n", self.url);
        let text: String = NAMES.iter().map(|(name, _)| link(name)).collect();
        // ZooKeeper gives no type here.
        Response::new(Payload::from(text))
    }
}

fn outcome_in_json(name: &str, outcome: answers::Outcome) -> Answer {
    match outcome {
        Ok(fields) => in_json(StatusCode::OK, name, fields, None),
        Err(error) => in_json(StatusCode::OK, name, Map::new(), Some(&error)),
    }
}

/// An answer with its fields, the command and the error.
fn in_json(status: StatusCode, name: &str, mut fields: Map<String, Value>, error: Option<&str>) -> Answer {
    fields.insert("command".to_owned(), json!(name));
    fields.insert("error".to_owned(), json!(error));
    let text = serde_json::to_string_pretty(&fields).expect("an object can be written");
    let mut answer = Response::new(Payload::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a header value"));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Payload::from(String::new()));
    *answer.status_mut() = status;
    answer
}

/// ZooKeeper answers the wrong method by the page of an internal error; the status is kept for its clients.
fn wrong_method(name: &str, wanted: &str) -> Answer {
    let mut answer =
        Response::new(Payload::from(format!("<html><body>{name} is asked by {wanted}</body></html>\n")));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer.headers_mut().insert(CONTENT_TYPE, "text/html;charset=utf-8".parse().expect("a header value"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(url: &str) -> Commands {
        Commands {
            url: url.to_owned(),
            written: Vec::new(),
            limits: Limits::default(),
            read_snapshot: |_| Err("no snapshot is read here".to_owned()),
        }
    }

    #[test]
    fn a_name_stands_behind_the_url() {
        let commands = commands("/commands");
        for (path, name) in [
            ("/commands", Some("")),
            ("/commands/", Some("")),
            ("/commands/ruok", Some("ruok")),
            ("/commands/ruok/", Some("ruok")),
            ("/commandsruok", None),
            ("/livez", None),
        ] {
            assert_eq!(commands.name_in(path), name, "{path}");
        }
    }

    #[test]
    fn names_and_aliases_stand_once() {
        let mut all: Vec<&str> =
            NAMES.iter().flat_map(|(name, others)| std::iter::once(name).chain(*others)).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name), "the list shows them in this order");
    }
}
