//! Every server key of Apache ZooKeeper, as listed in `keys.txt`: honoured, accepted with a reason, or refused.

use std::path::Path;

use super::super::keys::{self, Kind};
use super::super::{Found, RawConfig, alone, check};

/// The keys of specification 6, section 1, but for those of clients and of ZooKeeper's own tests.
const KEYS: &str = include_str!("keys.txt");
/// Where a key that is honoured is read.
const READERS: &[&str] = &[
    include_str!("../check.rs"),
    include_str!("../limits.rs"),
    include_str!("../members.rs"),
    include_str!("../../server/load.rs"),
];

/// Problems and warnings of a configuration with this key.
fn outcome(key: &str, value: &str) -> (Vec<String>, Vec<String>) {
    let text = format!("dataDir=/data\nclientPort=1\n{key}={value}\n");
    let raw = RawConfig::parse("zoo.cfg", &text).expect("it is a properties file");
    match check(&raw, &Found::default()) {
        Ok((_, warnings)) => (Vec::new(), warnings),
        Err(problems) => (problems.iter().map(ToString::to_string).collect(), raw.warnings().to_vec()),
    }
}

#[test]
fn every_key_is_honoured_or_accepted_with_a_reason_or_refused() {
    assert!(KEYS.lines().count() > 200, "the list is there");
    for key in KEYS.lines() {
        let about = format!("zoo.cfg:3: {key}");
        match keys::find(key) {
            None => panic!("{key} is unknown"),
            Some(Kind::Used) => {
                let start = key.split_once('.').map_or(key, |(start, _)| start);
                let (whole, prefix) = (format!("\"{key}\""), format!("{start}."));
                let plain = format!("\"{}\"", keys::plain_name(key));
                let is_read = READERS.iter().any(|reader| reader.contains(&whole) || reader.contains(&plain))
                    || ["server.", "group.", "weight."].contains(&prefix.as_str());
                assert!(is_read, "{key} is said to be honoured, and nothing reads it");
            }
            Some(Kind::NoEffect | Kind::Tls) => {
                let (problems, warnings) = outcome(key, "1");
                assert_eq!(problems, [""; 0], "{key}");
                let [warning] = &warnings[..] else { panic!("{key}: {warnings:?}") };
                assert!(warning.starts_with(&about) && warning.contains(": "), "{warning}");
            }
            Some(Kind::Refused { harmless, .. }) => {
                let (problems, _) = outcome(key, "demanded");
                assert!(problems.iter().any(|problem| problem.starts_with(&about)), "{key}: {problems:?}");
                if let Some(harmless) = harmless {
                    assert_eq!(outcome(key, harmless).0, [""; 0], "{key}={harmless}");
                }
            }
        }
    }
}

#[test]
fn an_unknown_key_is_a_problem_only_where_that_is_asked_for() {
    let mut raw =
        RawConfig::parse("zoo.cfg", "dataDir=/data\nclientPrt=1\n").expect("it is a properties file");
    let (_, warnings) = check(&raw, &Found::default()).expect("a warning only");
    assert!(warnings.iter().any(|warning| warning.contains("clientPrt")), "{warnings:?}");
    raw.refuse_unknown();
    let problems = check(&raw, &Found::default()).expect_err("it is refused");
    let want = "zoo.cfg:2: clientPrt=1: expected a key that exists, such as clientPort";
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [want]);
}

#[test]
fn a_default_never_wins_over_what_was_written() {
    let mut raw = RawConfig::parse("zoo.cfg", "clientPort=7\n").expect("it is a properties file");
    raw.set_default("clientPort", "2181");
    raw.set_default("dataDir", "/data");
    assert_eq!((raw.value("clientPort"), raw.value("dataDir")), (Some("7"), Some("/data")));
}

#[test]
fn a_key_is_known_by_its_older_name_too() {
    let tokens = |text: &str| {
        let raw =
            RawConfig::parse("zoo.cfg", &format!("dataDir=/data\n{text}")).expect("it is a properties file");
        check(&raw, &Found::default()).expect("it is good").0.connections.throttle.tokens
    };
    let both = "connectionMaxTokens=3\nconnection_throttle_tokens=4\n";
    assert_eq!([tokens(""), tokens("connectionMaxTokens=3\n"), tokens(both)], [0, 3, 4]);
}

/// Files of the program outside of this module, and what is read of settings there.
fn readers(dir: &Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("config") && !path.ends_with("tests") {
            readers(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(&path).expect("a text"));
        }
    }
}

#[test]
fn every_setting_that_is_read_is_used() {
    let mut texts = Vec::new();
    readers(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let settings = include_str!("../settings.rs");
    let fields = settings.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
    let fields: Vec<&str> = fields.map(|(field, _)| field).filter(|field| !field.contains('(')).collect();
    assert!(fields.len() > 60, "{fields:?}");
    for field in fields {
        let uses = [format!(".{field}"), format!(" {field},"), format!(" {field} }}")];
        let is_use = |text: &String| {
            let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            code.any(|line| uses.iter().any(|wanted| line.contains(wanted)))
        };
        assert!(texts.iter().any(is_use), "nothing uses {field}");
    }
}

#[test]
fn a_value_is_judged_alone_as_with_others() {
    let of = |key: &str, value: Option<&str>| alone(key, value).map(|config| config.connections.requests);
    assert_eq!(of("requestThrottleLimit", Some("7")).expect("it is good").throttle_max, 7);
    assert_eq!(of("requestThrottleLimit", None).expect("it is good").throttle_max, 0);
    let error = of("largeRequestThreshold", Some("-2")).expect_err("it is none");
    assert_eq!(error, "largeRequestThreshold=-2: expected a number from -1 to 2147483647");
}
