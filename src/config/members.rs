//! The membership and this server's place in it, as written.
//!
//! In: `server.N`, `group.N`, `weight.N`, the dynamic file, `myid`, the host name. Out: a [`Mode`].
//!
//! Always true:
//! * a member of an ensemble knows its id and both limits;
//! * the client port of the static file and of this server's own line are one.
//!
//! Not here: the membership's text (`base::ensemble`), a stored membership that wins (`server`).

use super::check::{Checker, Found};
use super::raw::Problem;
use super::settings::{ElectionPort, EnsembleMode, Listen, Mode};
use crate::base::{Ensemble, MemberRole, Millis, ServerId, Zxid};

impl Checker<'_> {
    /// The membership as written in the static or the dynamic file; `None` if neither names a server.
    pub(super) fn members(&mut self, found: &Found) -> Option<Ensemble> {
        let is_dynamic = |key: &str| {
            key == "version" || ["server.", "group.", "weight."].iter().any(|p| key.starts_with(p))
        };
        let lines: Vec<_> = self.raw.settings().filter(|setting| is_dynamic(&setting.key)).collect();
        let mut ensemble = Ensemble::default();
        if let Some((file, text)) = &found.dynamic {
            for setting in lines {
                self.problems.push(setting.problem("it to stand in the file that dynamicConfigFile names"));
            }
            match Ensemble::parse(text) {
                Ok(read) => ensemble = read,
                Err(error) => self.problem(file, "", &error.to_string()),
            }
            if text.lines().any(|line| line.trim_start().starts_with("version")) {
                let expected = "no version line: the version is the end of the file's name";
                self.problem(file, "version", expected);
            }
            ensemble.version = Zxid(version_of(file));
        } else {
            for setting in &lines {
                if let Err(expected) = ensemble.set(&setting.key, &setting.value) {
                    self.problems.push(setting.problem(&expected));
                }
            }
            if let Err(error) = ensemble.check() {
                self.problem(self.raw.file(), "", &error.to_string());
            }
        }
        (!ensemble.members.is_empty()).then_some(ensemble)
    }

    fn problem(&mut self, place: &str, key: &str, expected: &str) {
        let (place, key, expected) = (place.to_owned(), key.to_owned(), expected.to_owned());
        self.problems.push(Problem { place, key, found: Some(String::new()), expected });
    }

    /// This server's id, from `myid` or from the host name's number; `None` if there is neither.
    pub(super) fn my_id(&mut self, found: &Found) -> Option<ServerId> {
        let of_file = found.my_id.as_ref().and_then(|(file, text)| {
            let line = text.lines().next().unwrap_or_default().trim();
            match line.parse() {
                Ok(id @ 0..=255) => Some(ServerId(id)),
                _ => {
                    let expected = "the server's id, a number from 0 to 255, in the first line".to_owned();
                    let (place, key, found) = (file.clone(), "myid".to_owned(), Some(line.to_owned()));
                    self.problems.push(Problem { place, key, found, expected });
                    None
                }
            }
        });
        let Some(setting) = self.raw.setting("quorate.myid.offset") else { return of_file };
        let offset = self.number("quorate.myid.offset", 0, 0..=255);
        let host = found.host_name.as_deref().unwrap_or_default();
        let short = host.split('.').next().unwrap_or_default();
        let ordinal = short.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse::<i64>().ok());
        let Some(ordinal) = ordinal.filter(|ordinal| ordinal + offset <= 255) else {
            let expected = format!("a host name that ends in -NUMBER, but it is {host:?}");
            self.problems.push(setting.problem(&expected));
            return of_file;
        };
        let of_host = ServerId(ordinal + offset);
        if let Some(of_file) = of_file.filter(|id| *id != of_host) {
            let expected = format!("{of_host} for the host {short:?}, but myid on this disk holds {of_file}");
            self.problems.push(setting.problem(&expected));
        }
        Some(of_host)
    }

    /// The client port stands in the static file or in this server's own line; in both it must be one.
    pub(super) fn join_client_address(
        &mut self,
        members: &Ensemble,
        id: ServerId,
        client: &mut Option<Listen>,
    ) {
        let Some(own) = members.members.get(&id).and_then(|member| member.client.as_ref()) else { return };
        let is_any = |host: &str| matches!(host, "0.0.0.0" | "::");
        if let (Some(written), Some(setting)) = (&client, self.raw.setting("clientPort")) {
            let host = written.host.as_deref().unwrap_or("0.0.0.0");
            let is_same_host = is_any(host) || host == own.host;
            if written.port != own.port || !is_same_host {
                let expected = format!("the client address of server.{id}, which is {own}");
                self.problems.push(setting.problem(&expected));
            }
        }
        let host = Some(own.host.clone()).filter(|host| !is_any(host));
        *client = Some(Listen { host, port: own.port });
    }

    pub(super) fn mode(
        &mut self,
        members: Option<Ensemble>,
        id: Option<ServerId>,
        tick: Millis,
    ) -> Option<Mode> {
        let standalone_enabled = self.flag("standaloneEnabled").unwrap_or(true);
        let listen_on_all = self.flag("quorumListenOnAllIPs").unwrap_or(false);
        if self.raw.value("electionAlg").is_some_and(|value| value != "3")
            && let Some(setting) = self.raw.setting("electionAlg")
        {
            self.problems.push(setting.problem("3, the only one that is supported"));
        }
        let observer = self.peer_type();
        let Some(members) = members else {
            if !standalone_enabled {
                self.missing("server.N", "at least one participant, since standaloneEnabled is false");
            }
            return Some(Mode::Standalone);
        };
        let (voters, all) = (members.voters().count(), members.members.len());
        if voters == 0 {
            self.problem(self.raw.file(), "", "at least one participant beside the observers");
            return None;
        }
        if voters == 1 && standalone_enabled {
            if all > 1 {
                self.problem(self.raw.file(), "", "more than one participant, since there are observers");
                return None;
            }
            self.warnings
                .push("only one server is named and standaloneEnabled is true: it stands alone".into());
            return Some(Mode::Standalone);
        }
        if voters % 2 == 0 {
            self.warnings.push(format!("{voters} participants bear no more failures than {}", voters - 1));
        }
        let init_limit_ticks = self.limit("initLimit")?;
        let sync_limit_ticks = self.limit("syncLimit")?;
        let Some(id) = id else {
            self.missing("myid", "the file myid in dataDir with this server's id");
            return None;
        };
        let own = members.members.get(&id).map(|member| member.role == MemberRole::Observer);
        if let (Some(own), Some(written)) = (own, observer)
            && own != written
        {
            self.warnings.push(format!("peerType contradicts server.{id}, whose line wins"));
        }
        let connect = self.number("connectToLearnerMasterLimit", 0, 0..=1_000_000);
        Some(Mode::Ensemble(Box::new(EnsembleMode {
            id,
            members,
            observer: own.or(observer).unwrap_or(false),
            init_limit_ticks,
            sync_limit_ticks,
            connect_limit_ticks: if connect == 0 { init_limit_ticks } else { connect },
            standalone_enabled,
            listen_on_all,
            election: self.election_port(tick, sync_limit_ticks),
            commit_log_count: self.number("commitLogCount", 500, 0..=100_000).max(500),
        })))
    }

    /// Whether `peerType` says observer; `None` if it says nothing.
    fn peer_type(&mut self) -> Option<bool> {
        let setting = self.raw.setting("peerType")?;
        match setting.value.to_ascii_lowercase().as_str() {
            "observer" => Some(true),
            "participant" => Some(false),
            _ => {
                self.problems.push(setting.problem("participant or observer"));
                None
            }
        }
    }

    fn limit(&mut self, key: &str) -> Option<u32> {
        if self.raw.setting(key).is_none() {
            self.missing(key, "a number of ticks from 1");
            return None;
        }
        Some(self.number(key, 1, 1..=1_000_000))
    }

    fn election_port(&mut self, tick: Millis, sync_limit_ticks: u32) -> ElectionPort {
        let handshake = match self.number("quorumCnxnTimeoutMs", -1, -1..=86_400_000i64) {
            -1 => tick.0 * u64::from(sync_limit_ticks),
            timeout => timeout.unsigned_abs(),
        };
        ElectionPort {
            bind_tries: self.number("electionPortBindRetry", 3, 0..=1_000_000),
            connect_timeout: self.millis("cnxTimeout", 5000),
            handshake_timeout: Millis(handshake),
            keep_alive: self.flag("tcpKeepAlive").unwrap_or(false),
        }
    }
}

/// The version that ends the name of a dynamic file, in hexadecimal; 0 if there is none.
fn version_of(file: &str) -> i64 {
    let end = file.rsplit_once(".dynamic.").map_or("", |(_, version)| version);
    i64::from_str_radix(end, 16).unwrap_or(0)
}
