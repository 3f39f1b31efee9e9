//! Table-driven: what is written, and what becomes of it.

mod keys;

use super::*;
use crate::base::{Compression, Millis, ServerId};

const TWO: &str =
    "dataDir=/d\ninitLimit=10\nsyncLimit=5\nserver.1=a:1:2;9\nserver.2=b:1:2;9\nserver.3=c:1:2;9\n";

fn found(my_id: Option<&str>) -> Found {
    Found { my_id: my_id.map(|text| ("/d/myid".to_owned(), text.to_owned())), ..Found::default() }
}

fn read(text: &str, found: &Found) -> Result<(Config, Vec<String>), String> {
    let raw = RawConfig::parse("zoo.cfg", text).map_err(|problem| problem.to_string())?;
    let joined =
        |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
    check(&raw, found).map_err(joined)
}

#[test]
fn defaults_are_those_of_zookeeper() {
    let (config, warnings) = read("dataDir=/d\nclientPort=2181\n", &found(None)).expect("a good file");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.mode, Mode::Standalone);
    assert_eq!((config.tick, config.session_timeout_min), (Millis(3000), Millis(6000)));
    assert_eq!(config.session_timeout_max, Millis(60_000));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(config.client, Some(Listen { host: None, port: 2181 }));
    assert_eq!((config.connections.per_address_max, config.connections.total_max), (60, 0));
    assert_eq!(config.connections.frame_bytes_max, 0xf_ffff);
    assert_eq!(config.admin.map(|admin| admin.listen.port), Some(8080));
    assert_eq!(config.metrics, None);
    assert_eq!(
        (config.storage.snapshot_compression, config.storage.log_bytes_max),
        (Compression::None, None)
    );
    assert_eq!(config.storage.reserve_bytes, 64 << 20);
    assert!(config.storage.force_sync && config.storage.empty_may_vote && config.storage.create_directories);
    assert!(config.words.allow("srvr") && !config.words.allow("ruok"));
}

#[test]
fn a_member_takes_its_client_port_from_its_own_line() {
    let text = format!("{TWO}peerType=participant\n4lw.commands.whitelist= ruok , mntr\n");
    let (config, _) = read(&text, &found(Some("2\n"))).expect("a good file");
    let Mode::Ensemble(mode) = &config.mode else { panic!("three servers are an ensemble") };
    assert_eq!((mode.id, mode.members.members.len()), (ServerId(2), 3));
    assert_eq!((mode.init_limit_ticks, mode.sync_limit_ticks, mode.connect_limit_ticks), (10, 5, 10));
    assert_eq!(mode.election.handshake_timeout, Millis(15_000));
    assert_eq!(config.client, Some(Listen { host: None, port: 9 }));
    assert!(config.words.allow("mntr") && !config.words.allow("stat"));
}

#[test]
fn one_participant_is_an_ensemble_only_without_standalone() {
    let text = "dataDir=/d\nclientPort=9\ninitLimit=10\nsyncLimit=5\nserver.1=a:1:2\n";
    let (config, warnings) = read(text, &found(Some("1"))).expect("a good file");
    assert_eq!((config.mode, warnings.len()), (Mode::Standalone, 1));
    let text = format!("{text}standaloneEnabled=false\n");
    let (config, _) = read(&text, &found(Some("1"))).expect("a good file");
    assert!(matches!(config.mode, Mode::Ensemble(_)));
}

#[test]
fn the_id_may_come_from_the_host_name() {
    let text = format!("{TWO}quorate.myid.offset=1\n");
    let mut beside = Found { host_name: Some("main-2.main-peers".to_owned()), ..found(None) };
    let (config, _) = read(&text, &beside).expect("a good file");
    assert_eq!(config.id(), ServerId(3));
    beside.my_id = found(Some("1")).my_id;
    let error = read(&text, &beside).expect_err("another server's disk");
    assert_eq!(
        error,
        "zoo.cfg:7: quorate.myid.offset=1: expected 3 for the host \"main-2\", but myid on this disk holds 1"
    );
}

#[test]
fn the_dynamic_file_holds_the_members() {
    let text = "dataDir=/d\ninitLimit=1\nsyncLimit=1\nclientPort=9\ndynamicConfigFile=zoo.cfg.dynamic.1f\n";
    let members = "server.1=a:1:2\nserver.2=b:1:2:observer\nserver.3=c:1:2";
    let dynamic = |text: &str| Some(("zoo.cfg.dynamic.1f".to_owned(), text.to_owned()));
    let beside = Found { dynamic: dynamic(members), ..found(Some("2")) };
    let (config, _) = read(text, &beside).expect("good files");
    let Mode::Ensemble(mode) = config.mode else { panic!("three servers are an ensemble") };
    assert_eq!((mode.members.version.0, mode.observer), (0x1f, true));
    let beside = Found { dynamic: dynamic("server.1=a:1:2\nclientPort=7"), ..found(Some("2")) };
    let error = read(text, &beside).expect_err("a client port in the dynamic file");
    assert!(
        error.contains("zoo.cfg.dynamic.1f: line 2: the key \"clientPort\" does not belong here"),
        "{error}"
    );
    let beside = Found { dynamic: dynamic(members), ..found(Some("2")) };
    let error = read(&format!("{text}server.4=d:1:2\n"), &beside).expect_err("members in both files");
    assert!(error.contains("zoo.cfg:6: server.4=d:1:2: expected it to stand in the file"), "{error}");
}

#[test]
fn snapshots_may_be_compressed_and_logs_limited() {
    for (method, compression) in
        [("", Compression::None), ("gz", Compression::Gzip), ("snappy", Compression::Snappy)]
    {
        let text = format!(
            "dataDir=/d\nsnapshot.compression.method={method}\ntxnLogSizeLimitInKb=2\nquorate.diskReserveInKb=0"
        );
        let (config, warnings) = read(&text, &found(None)).expect("a good file");
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.storage.snapshot_compression, compression);
        assert_eq!((config.storage.log_bytes_max, config.storage.reserve_bytes), (Some(2048), 0));
    }
}

#[test]
fn a_contradiction_is_refused_with_place_key_found_and_expected() {
    let cases = [
        ("clientPort=9", "zoo.cfg: dataDir is not set: expected a directory"),
        ("dataDir=/d\ntickTime=0", "zoo.cfg:2: tickTime=0: expected a number from 1 to 86400000"),
        ("dataDir=/d\ntickTime=fast", "zoo.cfg:2: tickTime=fast: expected a number from 1"),
        ("dataDir=/d\nclientPort=70000", "zoo.cfg:2: clientPort=70000: expected a number from 0 to 65535"),
        (
            "dataDir=/d\nclientPortAddress=h",
            "zoo.cfg:2: clientPortAddress=h: expected clientPort to be set too",
        ),
        (
            "dataDir=/d\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "zoo.cfg:2: minSessionTimeout=9: expected a minimum that is not above the maximum",
        ),
        ("dataDir=/d\nsnapshot.compression.method=zip", "method=zip: expected gz, snappy or nothing"),
        ("dataDir=/d\nelectionAlg=0", "zoo.cfg:2: electionAlg=0: expected 3"),
        ("dataDir=/d\npeerType=king", "zoo.cfg:2: peerType=king: expected participant or observer"),
        ("dataDir=/d\nreconfigEnabled=yes", "zoo.cfg:2: reconfigEnabled=yes: expected true or false"),
        ("dataDir=/d\nstandaloneEnabled=false", "zoo.cfg: server.N is not set: expected at least one"),
        ("dataDir=/d\nserver.1=a:1", "zoo.cfg:2: server.1=a:1: expected the election port is missing"),
        ("dataDir=/d\nserver.1=a:1:2:observer", "zoo.cfg: at least one participant"),
        ("dataDir=/d\nserver.1=a:1:2\nserver.2=b:1:2", "zoo.cfg: initLimit is not set: expected a number of"),
        ("dataDir=/d\nsslQuorum=true", "zoo.cfg:2: sslQuorum=true: expected no such demand"),
        ("dataDir=/d\nquorum.auth.serverRequireSasl=true", "quorum.auth.serverRequireSasl=true: expected no"),
        ("dataDir=/d\nsessionRequireClientSASLAuth=true", "sessionRequireClientSASLAuth=true: expected no"),
        ("dataDir=/d\nenforce.auth.schemes=sasl", "enforce.auth.schemes=sasl: expected no such demand"),
        ("dataDir=/d\nzookeeper.sslQuorum=true", "zoo.cfg:2: sslQuorum=true: expected no such demand"),
        ("dataDir=/d\nmetricsProvider.className=x", "metricsProvider.className=x: expected org.apache"),
        ("dataDir=/d\nquorate.log.format=xml", "quorate.log.format=xml: expected text or json"),
        (
            "dataDir=/d\nquorate.adminTokenfile=x",
            "expected a key that exists, such as quorate.adminTokenFile",
        ),
        ("dataDir=/d\nautopurge.purgeInterval=1w", "autopurge.purgeInterval=1w: expected hours"),
        ("dataDir=\\u00x", "zoo.cfg:1: line 1: \\u must be followed by four hexadecimal digits"),
    ];
    for (text, want) in cases {
        let error = read(text, &found(None)).expect_err(text);
        assert!(error.contains(want), "{text:?} gives\n{error}\nwithout\n{want}");
    }
}

#[test]
fn a_wrong_id_or_client_port_is_refused() {
    for (line, my_id, want) in [
        ("", None, "zoo.cfg: myid is not set"),
        ("", Some("one"), "/d/myid: myid=one: expected the server's id"),
        ("", Some("256"), "/d/myid: myid=256: expected the server's id"),
        (
            "clientPort=8",
            Some("1"),
            "clientPort=8: expected the client address of server.1, which is 0.0.0.0:9",
        ),
    ] {
        let error = read(&format!("{TWO}{line}"), &found(my_id)).expect_err(line);
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn odd_keys_are_warned_about_with_the_nearest_known_one() {
    let text = "dataDir=/d\nticktime=1\nzookeeper.maxCnxns=5\nsecureClientPort=2281\nmaxResponseCacheSize=1\nfoo=1\n";
    let (config, warnings) = read(text, &found(None)).expect("odd keys are no problem");
    assert_eq!(config.connections.total_max, 5);
    let want = [
        "zoo.cfg:2: the key ticktime is unknown and has no effect; tickTime is known",
        "zoo.cfg:3: zookeeper.maxCnxns is read as maxCnxns; leave out zookeeper.",
        "zoo.cfg:6: the key foo is unknown and has no effect",
        "zoo.cfg:5: maxResponseCacheSize is accepted and has no effect: replies are not kept for the next who asks",
        "zoo.cfg:4: secureClientPort has no effect: TLS and SASL are not supported yet, so it opens nothing",
    ];
    assert_eq!(warnings, want);
}

#[test]
fn problems_and_warnings_are_one_line_each() {
    let file = "dataDir=/d\nclientPort=2181\nke\\ny=1\n";
    let (_, warnings) = read(file, &found(None)).expect("a good file");
    assert_eq!(warnings, ["zoo.cfg:3: the key ke\\ny is unknown and has no effect"]);
    let error = read(&format!("{file}tickTime=1\\n2\n"), &found(None)).expect_err("no number");
    assert!(error.starts_with("zoo.cfg:4: tickTime=1\\n2: expected "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let mut raw = RawConfig::parse("zoo.cfg", "dataDir=/d\ntickTime=1\n").expect("a good file");
    raw.set("tickTime=7").expect("a setting");
    assert!(raw.set("tickTime").is_err());
    let (config, _) = check(&raw, &found(None)).expect("a good configuration");
    assert_eq!(config.tick, Millis(7));
    raw.set("tickTime=no").expect("a setting");
    let problems = check(&raw, &found(None)).expect_err("not a number");
    assert!(problems[0].to_string().starts_with("command line: tickTime=no: expected"), "{problems:?}");
}

#[test]
fn an_identity_forbids_an_empty_disk_to_vote() {
    let text = "dataDir=/d\nquorate.ensembleIdFile=/id\nquorate.bootstrapTokenFile=/token\n";
    let (config, _) = read(text, &found(None)).expect("a good file");
    assert!(!config.storage.empty_may_vote);
    let error =
        read("dataDir=/d\nquorate.bootstrapTokenFile=/t\n", &found(None)).expect_err("no ensemble id");
    assert!(error.contains("expected quorate.ensembleIdFile to be set too"), "{error}");
}
