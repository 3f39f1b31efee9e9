//! The table of what clients depend on: every behaviour has tests, and they exist.
//!
//! In: `tests/traps.txt`. Out: one line for each number or test that is missing.
//!
//! Always true:
//! * every number from 1 to 167 stands there once.
//!
//! Not here: whether the tests ran (`tests/run traps`).

use std::fs;
use std::path::Path;

/// Behaviours in the reference.
const TRAPS: usize = 167;
/// Behaviours that need what is not there yet: SASL, and authentication that is enforced.
const LATER_MAX: usize = 2;

#[test]
fn every_behaviour_that_clients_depend_on_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("tests/traps.txt")).unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
    let (mut missing, mut later) = (Vec::new(), 0);
    for (number, line) in (1..).zip(&lines) {
        let (found, tests) = line.split_once(' ').unwrap();
        assert_eq!(found, number.to_string(), "numbers ascend without a gap");
        if tests.starts_with("later: ") {
            later += 1;
        } else {
            missing.extend(tests.split(' ').filter(|test| !exists(root, test)).map(|test| (number, test)));
        }
    }
    assert_eq!(lines.len(), TRAPS);
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    assert!(later <= LATER_MAX, "{later} behaviours have no test");
    assert!(!exists(root, "replica::tests::traps::nothing"), "what is not there is not found");
}

/// Whether a test stands in the file that its path names.
fn exists(root: &Path, test: &str) -> bool {
    let (place, test) = match test.strip_prefix("it::") {
        Some(test) => ("tests/it", test),
        None => ("src", test),
    };
    let (module, name) = test.rsplit_once("::").unwrap();
    let own = module.strip_suffix("::tests").unwrap_or(module);
    let files =
        [format!("{own}.rs"), format!("{own}/mod.rs"), format!("{own}/tests.rs"), format!("{module}.rs")];
    let files = files.map(|file| root.join(place).join(file.replace("::", "/")));
    let function = format!("fn {name}()");
    files.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&function)))
}
