//! The membership: `config` and `reconfig`.
//!
//! In: a parsed command, a session. Out: an [`Answer`], or why it could not be done.
//!
//! Always true:
//! * a command that mixes a whole membership with changes is refused before anything is sent.
//!
//! Not here: what a membership means (`base::ensemble`).

use serde_json::{Map, Value};
use zookeeper_client::EnsembleUpdate;

use super::answer::{Answer, Failure};
use super::command::ParseError;
use super::ops::Work;
use super::print;
use super::watches::{Kind, Watcher};

/// Where the membership is to be watched.
const NODE: &str = "/zookeeper/config";

impl Work<'_> {
    pub(super) async fn config(&self) -> Result<Answer, Failure> {
        let read = match self.ask.has("w") {
            true => self.client.get_and_watch_config().await.map(|(data, stat, watcher)| {
                self.watch(Kind::Data, NODE, Watcher::Once(watcher));
                (data, stat)
            }),
            false => self.client.get_config().await,
        };
        let (data, stat) = read.map_err(|error| print::error(&error, NODE))?;
        let text = String::from_utf8_lossy(&data).into_owned();
        let json = config_json(&text);
        let shown = if self.ask.has("c") { print::client_config(&text) } else { text };
        let answer = Answer::out(shown).field("config", json);
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }

    pub(super) async fn reconfigure(&self) -> Result<Answer, Failure> {
        let (add, remove) = (self.ask.value("add"), self.ask.value("remove"));
        let (file, members) = (self.ask.value("file"), self.ask.value("members"));
        let has_whole = file.is_some() || members.is_some();
        if !has_whole && add.is_none() && remove.is_none() {
            return Err(ParseError::Usage(self.ask.form).to_string().into());
        }
        let version = self.ask.value("v").map(|text| i64::from_str_radix(text, 16));
        let version =
            version.transpose().map_err(|_| "-v must be followed by a long (configuration version)")?;
        if has_whole && (add.is_some() || remove.is_some()) {
            let why = "Can't use -file or -members together with -add or -remove (mixing incremental and \
                       non-incremental modes is not allowed)";
            return Err(why.into());
        }
        if file.is_some() && members.is_some() {
            return Err("Can't use -file and -members together (conflicting non-incremental modes)".into());
        }
        let read = file.map(members_of_file).transpose()?;
        let update = match read.as_deref().or(members) {
            Some(whole) => EnsembleUpdate::New { ensemble: Some(whole).into_iter() },
            None => EnsembleUpdate::Incremental { joinings: add.into_iter(), leavings: remove.into_iter() },
        };
        let done = self.client.update_ensemble(update, version).await;
        let (config, stat) = done.map_err(|error| print::error(&error, ""))?;
        let config = String::from_utf8_lossy(&config);
        let answer = Answer::out(format!("Committed new configuration:\n{config}"));
        let answer = answer.field("config", config_json(&config));
        Ok(if self.ask.has("s") { answer.and_stat(&stat) } else { answer.stat_field(&stat) })
    }
}

/// The lines of a membership as fields.
fn config_json(text: &str) -> Value {
    let fields = text.lines().filter_map(|line| line.split_once('='));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>())
}

/// The server lines of a dynamic configuration file, as `reconfig -members` takes them.
fn members_of_file(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("Error processing {path}: {error}"))?;
    let servers = text.lines().map(str::trim).filter(|line| line.starts_with("server."));
    Ok(servers.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_membership_is_an_object_of_its_lines() {
        let text = "server.1=a:1:2:participant;0.0.0.0:3\nversion=100000000";
        let expected = json!({"server.1": "a:1:2:participant;0.0.0.0:3", "version": "100000000"});
        assert_eq!(config_json(text), expected);
        assert_eq!(config_json(""), json!({}));
    }
}
