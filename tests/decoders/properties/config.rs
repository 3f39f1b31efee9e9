//! A configuration: a `zoo.cfg`, a dynamic file, a `myid` and an override, with zero bytes between them.

use quorate::base::ensemble::Ensemble;
use quorate::config::{Found, Problem, RawConfig, check};

pub fn judge(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split('\0');
    let mut part = || parts.next();
    let file = part().unwrap_or_default();
    let (dynamic, my_id, set) = (part(), part(), part());
    if let Some(members) = dynamic {
        membership(members);
    }
    let mut raw = match RawConfig::parse("zoo.cfg", file) {
        Ok(raw) => raw,
        Err(problem) => return names_the_place(&problem, file),
    };
    if let Some(Err(problem)) = set.map(|set| raw.set(set)) {
        names_the_place(&problem, file);
    }
    raw.set_default("dataDir", "data");
    let named = |name: &str, text: Option<&str>| text.map(|text| (name.to_owned(), text.to_owned()));
    let found = Found {
        dynamic: named("zoo.cfg.dynamic", dynamic),
        my_id: named("myid", my_id),
        host_name: Some("host-1".to_owned()),
    };
    match check(&raw, &found) {
        Ok((config, warnings)) => {
            assert!(config.session_timeout_min <= config.session_timeout_max);
            assert!(warnings.iter().all(|warning| is_line(warning)), "{warnings:?}");
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                names_the_place(&problem, file);
            }
        }
    }
}

/// A problem is one line, which says where it is.
fn names_the_place(problem: &Problem, file: &str) {
    let text = problem.to_string();
    assert!(is_line(&text), "{text:?}");
    assert!(!problem.place.is_empty() && !problem.expected.is_empty(), "{text}");
    if let Some(line) = problem.place.strip_prefix("zoo.cfg:") {
        let line: usize = line.parse().expect("a line has a number");
        assert!((1..=file.lines().count()).contains(&line), "{text}");
    }
}

fn is_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

/// What is read of a membership is read again from what is written.
fn membership(text: &str) {
    if let Ok(ensemble) = Ensemble::parse(text) {
        assert_eq!(Ensemble::parse(&ensemble.to_string()), Ok(ensemble));
    }
}
