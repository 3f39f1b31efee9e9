//! Limits on a subtree: `setquota`, `delquota`, `listquota`.
//!
//! In: a parsed command, a session. Out: an [`Answer`], or why it could not be done.
//!
//! Always true:
//! * limits are written as zkCli writes them, into the nodes that servers read;
//! * of the nodes on one way from the root, at most one has a limit.
//!
//! Not here: keeping to limits (`tree::quota`).

use std::fmt;

use serde_json::{Value, json};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error};

use super::answer::{Answer, Failure};
use super::ops::Work;
use super::print;

/// Where limits are kept.
const ROOT: &str = "/zookeeper/quota";
/// The name of the node that holds the limits of a path.
const LIMITS: &str = "zookeeper_limits";
/// The name of the node that holds what is used of them.
const STATS: &str = "zookeeper_stats";

/// Limits, or what is used of them; -1 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Track {
    count: i64,
    bytes: i64,
    /// Absent where only servers before 3.7 wrote, and in what is used.
    count_hard: Option<i64>,
    /// Likewise.
    bytes_hard: Option<i64>,
}

const NOTHING: Track = Track { count: -1, bytes: -1, count_hard: None, bytes_hard: None };

impl Work<'_> {
    pub(super) async fn set_quota(&self) -> Result<Answer, Failure> {
        let path = self.path();
        if path.starts_with(ROOT) {
            return Ok(Answer::err(format!("cannot set a quota under the path: {ROOT}")));
        }
        if path == "/" {
            // There is no place for limits of the root.
            return Err("Path must not end with / character".into());
        }
        let wanted = match self.wanted() {
            Ok(wanted) => wanted,
            // zkCli tells of a bad value and ends with success.
            Err(why) => return Ok(Answer::err(why)),
        };
        let stat = self.client.check_stat(path).await.map_err(|error| self.failed(&error))?;
        if stat.is_none() {
            return Err(format!("{path} does not exist.").into());
        }
        self.refuse_other_quotas().await?;
        let (limits, stats) = (format!("{ROOT}{path}/{LIMITS}"), format!("{ROOT}{path}/{STATS}"));
        let before = match self.client.get_data(&limits).await {
            Ok((data, _)) => Some(Track::parse(&data)),
            Err(Error::NoNode) => None,
            Err(error) => return Err(print::error(&error, &limits)),
        };
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let set = match before {
            Some(before) => {
                let set = before.with(wanted);
                let done = self.client.set_data(&limits, set.to_string().as_bytes(), None).await;
                done.map_err(|error| print::error(&error, &limits))?;
                set
            }
            None => {
                make_parents(&self.client, path, &options).await?;
                let none_used = Track { count: 0, bytes: 0, ..NOTHING };
                for (node, track) in [(&limits, wanted), (&stats, none_used)] {
                    let text = track.to_string();
                    let made = self.client.create(node, text.as_bytes(), &options).await;
                    made.map_err(|error| print::error(&error, node))?;
                }
                wanted
            }
        };
        let used = self.client.get_data(&stats).await.map_err(|error| print::error(&error, &stats))?;
        Ok(warn(Answer::none(), set, Track::parse(&used.0)).field("quota", set.json()))
    }

    pub(super) async fn del_quota(&self) -> Result<Answer, Failure> {
        let path = self.path();
        let parent = format!("{ROOT}{path}");
        let limits = format!("{parent}/{LIMITS}");
        let before = match self.client.get_data(&limits).await {
            Ok((data, _)) => Track::parse(&data),
            Err(Error::NoNode) => return Ok(Answer::out(format!("Quota does not exist for {path}"))),
            Err(error) => return Err(print::error(&error, &limits)),
        };
        let left = match () {
            () if self.ask.has("n") => Some(Track { count: -1, ..before }),
            () if self.ask.has("b") => Some(Track { bytes: -1, ..before }),
            () if self.ask.has("N") => Some(Track { count_hard: Some(-1), ..before }),
            () if self.ask.has("B") => Some(Track { bytes_hard: Some(-1), ..before }),
            () => None,
        };
        if let Some(left) = left {
            let done = self.client.set_data(&limits, left.to_string().as_bytes(), None).await;
            done.map_err(|error| print::error(&error, &limits))?;
            return Ok(Answer::none().field("quota", left.json()));
        }
        for node in [limits, format!("{parent}/{STATS}")] {
            self.client.delete(&node, None).await.map_err(|error| print::error(&error, &node))?;
        }
        trim(&self.client, &parent).await?;
        Ok(Answer::none().field("quota", Value::Null))
    }

    pub(super) async fn list_quota(&self) -> Result<Answer, Failure> {
        let path = self.path();
        let (limits, stats) = (format!("{ROOT}{path}/{LIMITS}"), format!("{ROOT}{path}/{STATS}"));
        let mut answer = Answer::err(format!("absolute path is {limits}"));
        for (node, what, name) in [(&limits, "quota", "quota"), (&stats, "stat", "used")] {
            match self.client.get_data(node).await {
                Ok((data, _)) => {
                    let track = Track::parse(&data);
                    answer =
                        answer.and_out(format!("Output {what} for {path} {track}")).field(name, track.json());
                }
                Err(Error::NoNode) => {
                    let text = format!("quota for {path} does not exist.");
                    return Ok(answer.and_err(text).field("quota", Value::Null));
                }
                Err(error) => return Err(print::error(&error, node)),
            }
        }
        Ok(answer)
    }

    /// The limit that the command gives.
    fn wanted(&self) -> Result<Track, &'static str> {
        let number = |option: &str| match self.ask.number::<i64>(option) {
            Ok(number) => Ok(number),
            Err(_) => Err("NumberFormatException happens when parsing the option value"),
        };
        let count = |option: &str| match number(option)? {
            Some(..=0) => Err("the num quota must be greater than zero"),
            Some(2_147_483_648..) => Err("NumberFormatException happens when parsing the option value"),
            limit => Ok(limit.unwrap_or(-1)),
        };
        let bytes = |option: &str| match number(option)? {
            Some(..=-1) => Err("the bytes quota must be greater than or equal to zero"),
            limit => Ok(limit.unwrap_or(-1)),
        };
        let (count_hard, bytes_hard) = (Some(count("N")?), Some(bytes("B")?));
        Ok(Track { count: count("n")?, bytes: bytes("b")?, count_hard, bytes_hard })
    }

    /// Refuses a limit where a node above or below has one.
    async fn refuse_other_quotas(&self) -> Result<(), Failure> {
        let path = self.path();
        let mut open = match self.limits_of(path).await? {
            Some((_, below)) => below,
            None => Vec::new(),
        };
        while let Some(node) = open.pop() {
            if let Some((has_limits, below)) = self.limits_of(&node).await? {
                if has_limits {
                    return Err(format!("{path} has a child {node} which has a quota").into());
                }
                open.extend(below);
            }
        }
        for (at, _) in path.match_indices('/').skip(1) {
            if let Some((true, _)) = self.limits_of(&path[..at]).await? {
                return Err(format!("{path} has a parent {} which has a quota", &path[..at]).into());
            }
        }
        Ok(())
    }

    /// Whether a path has limits, and the paths below it that may have some; `None` where there is neither.
    async fn limits_of(&self, path: &str) -> Result<Option<(bool, Vec<String>)>, Failure> {
        let node = format!("{ROOT}{path}");
        let mut children = match self.client.list_children(&node).await {
            Ok(children) => children,
            Err(Error::NoNode) => return Ok(None),
            Err(error) => return Err(print::error(&error, &node)),
        };
        let has_limits = children.iter().any(|child| child == LIMITS);
        children.retain(|child| child != LIMITS && child != STATS);
        Ok(Some((has_limits, children.iter().map(|child| format!("{path}/{child}")).collect())))
    }
}

/// Makes the nodes below which a path's limits stand.
async fn make_parents(client: &Client, path: &str, options: &CreateOptions<'_>) -> Result<(), Failure> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    let nodes = ends.map(|end| format!("{ROOT}{}", &path[..end]));
    for node in ["/zookeeper".to_owned(), ROOT.to_owned()].into_iter().chain(nodes) {
        match client.create(&node, b"", options).await {
            Ok(_) | Err(Error::NodeExists) => {}
            Err(error) => return Err(print::error(&error, &node)),
        }
    }
    Ok(())
}

/// Removes nodes without children, from one upwards.
async fn trim(client: &Client, from: &str) -> Result<(), Failure> {
    let mut node = from;
    while node.len() > ROOT.len() {
        match client.delete(node, None).await {
            Ok(()) => {}
            Err(Error::NotEmpty) => return Ok(()),
            Err(error) => return Err(print::error(&error, node)),
        }
        node = &node[..node.rfind('/').unwrap_or(0)];
    }
    Ok(())
}

/// Tells where a limit is below what is there.
fn warn(answer: Answer, limits: Track, used: Track) -> Answer {
    let is_less = |limit: i64, used: i64| limit > -1 && limit < used;
    let (count_hard, bytes_hard) = (limits.count_hard.unwrap_or(-1), limits.bytes_hard.unwrap_or(-1));
    let mut answer = answer;
    for (what, soft, hard, used) in
        [("count", limits.count, count_hard, used.count), ("bytes", limits.bytes, bytes_hard, used.bytes)]
    {
        if is_less(soft, used) || is_less(hard, used) {
            let text =
                format!("[Warning]: the {what} quota you create is less than the existing {what}:{used}");
            answer = answer.and_out(text);
        }
    }
    answer
}

impl Track {
    /// Reads `count=3,bytes=100=;byteHardLimit=200;countHardLimit=5`; what is missing is -1.
    fn parse(data: &[u8]) -> Track {
        let text = String::from_utf8_lossy(data);
        let mut track = NOTHING;
        for pair in text.split([',', ';']) {
            let mut parts = pair.split('=');
            let (name, number) = (parts.next(), parts.next().and_then(|number| number.parse().ok()));
            let Some(number) = number else { continue };
            match name {
                Some("count") => track.count = number,
                Some("bytes") => track.bytes = number,
                Some("countHardLimit") => track.count_hard = Some(number),
                Some("byteHardLimit") => track.bytes_hard = Some(number),
                _ => {}
            }
        }
        track
    }

    /// The limits that are given, and else the ones before.
    fn with(self, given: Track) -> Track {
        let or = |given: i64, before: i64| if given > -1 { given } else { before };
        Track {
            count: or(given.count, self.count),
            bytes: or(given.bytes, self.bytes),
            count_hard: given.count_hard.filter(|limit| *limit > -1).or(self.count_hard),
            bytes_hard: given.bytes_hard.filter(|limit| *limit > -1).or(self.bytes_hard),
        }
    }

    fn json(self) -> Value {
        json!({
            "count": self.count,
            "bytes": self.bytes,
            "countHardLimit": self.count_hard,
            "byteHardLimit": self.bytes_hard,
        })
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        if self.count_hard.is_some() || self.bytes_hard.is_some() {
            // It makes parsers of versions before 3.7 pass over what follows.
            write!(f, "=")?;
        }
        for (name, limit) in [("byteHardLimit", self.bytes_hard), ("countHardLimit", self.count_hard)] {
            if let Some(limit) = limit {
                write!(f, ";{name}={limit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_servers_read_them() {
        for text in [
            "count=3,bytes=-1",
            "count=-1,bytes=-1=;byteHardLimit=1000;countHardLimit=3",
            "count=3,bytes=100=;byteHardLimit=-1;countHardLimit=5",
        ] {
            assert_eq!(Track::parse(text.as_bytes()).to_string(), text);
        }
        assert_eq!(Track::parse(b"bytes=7,count=2"), Track { count: 2, bytes: 7, ..NOTHING });
        assert_eq!(Track::parse(b"nonsense"), NOTHING);
    }

    #[test]
    fn a_limit_that_is_set_leaves_the_others() {
        let before = Track { count: 3, bytes_hard: Some(9), ..NOTHING };
        let after = before.with(Track { bytes: 100, ..NOTHING });
        assert_eq!(after, Track { count: 3, bytes: 100, count_hard: None, bytes_hard: Some(9) });
    }

    #[test]
    fn a_limit_below_what_is_there_is_told() {
        let used = Track { count: 5, bytes: 50, ..NOTHING };
        let warned = |limits: Track| warn(Answer::none(), limits, used).parts.len();
        assert_eq!(warned(Track { count: 5, bytes: 50, ..NOTHING }), 0);
        assert_eq!(warned(Track { count: 4, bytes_hard: Some(49), ..NOTHING }), 2);
    }
}
