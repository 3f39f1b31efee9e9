//! Runs the scripts below `tests/scripts/zab`: commands for a cluster, then what its servers said.
//!
//! In: the scripts. Out: a failure that shows both outputs, or, with `UPDATE_GOLDENFILES=1`, scripts written anew.
//!
//! Always true:
//! * a script's output depends on nothing but its commands.
//!
//! Not here: invariants, which the cluster checks after every step anyway.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Separates commands from output.
const RULE: &str = "---\n";
/// Longest wait for servers to get level.
const SETTLE_MS: u64 = 6_000;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/zab");
    let entries = fs::read_dir(folder).expect("the scripts are there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

fn numbers(text: &str) -> Vec<i64> {
    text.split(',').map(|n| n.parse().unwrap_or_else(|_| panic!("{text:?} is no list of servers"))).collect()
}

fn cluster(words: &[&str]) -> World {
    let of = |role: &str| {
        let word = words.iter().find_map(|word| word.strip_prefix(role)?.strip_prefix('='));
        word.map(numbers).unwrap_or_default()
    };
    World::started(1, &of("voters"), &of("observers"))
}

fn change(joining: &[i64], role: &str, leaving: &[i64]) -> Change {
    let lines = joining.iter().map(|n| format!("server.{n}=h{n}:2888:3888:{role};h{n}:2181"));
    let leaving: Vec<String> = leaving.iter().map(i64::to_string).collect();
    let joining = lines.collect::<Vec<_>>().join(",");
    Change { joining: Some(joining), leaving: Some(leaving.join(",")), members: None }
}

fn say(world: &mut World, what: &str, result: Result<(), String>) {
    if let Err(error) = result {
        world.trace.push(format!("{what} refused: {error}"));
    }
}

fn command(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    world.trace.push(format!("> {line}"));
    match words.as_slice() {
        ["kill", n] => world.crash(id(numbers(n)[0]), Crash::Kill),
        ["power-off", n] => world.crash(id(numbers(n)[0]), Crash::PowerLoss),
        ["start", n] => world.start(id(numbers(n)[0])),
        ["add", n] => world.add(id(numbers(n)[0]), Disk::blank()),
        ["split", side] => {
            let side: Vec<ServerId> = numbers(side).into_iter().map(id).collect();
            world.split(&side);
        }
        ["heal"] => world.heal(),
        ["run", ms] => world.run(ms.parse().expect("milliseconds")),
        ["propose", count] => {
            for _ in 0..numbers(count)[0] {
                world.propose();
            }
        }
        ["settle", all] => {
            world.settle(&numbers(all), SETTLE_MS);
        }
        ["transfer", to] => {
            let result = world.transfer(id(numbers(to)[0]));
            say(world, "transfer", result.map_err(|error| error.to_string()));
        }
        ["join", role, all] => {
            let result = world.reconfigure(&change(&numbers(all), role, &[]));
            say(world, "reconfig", result.map(|_| ()).map_err(|error| error.to_string()));
        }
        ["leave", all] => {
            let result = world.reconfigure(&change(&[], "participant", &numbers(all)));
            say(world, "reconfig", result.map(|_| ()).map_err(|error| error.to_string()));
        }
        _ => panic!("no such command: {line}"),
    }
}

fn run(commands: &str) -> String {
    let mut lines = commands.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().expect("a script begins with its cluster");
    let words: Vec<&str> = first.split_whitespace().collect();
    assert_eq!(words[0], "cluster", "a script begins with its cluster");
    let mut world = cluster(&words[1..]);
    for line in lines {
        command(&mut world, line);
    }
    world.trace.join("\n") + "\n"
}

#[test]
fn scripts_say_what_they_said() {
    let updates = std::env::var_os("UPDATE_GOLDENFILES").is_some();
    let scripts = scripts();
    assert!(scripts.len() >= 5, "{} scripts", scripts.len());
    for path in scripts {
        let text = fs::read_to_string(&path).expect("a script is text");
        let (commands, expected) = text.split_once(RULE).unwrap_or((&text, ""));
        let found = run(commands);
        if updates {
            fs::write(&path, format!("{commands}{RULE}{found}")).expect("the script can be written");
        } else {
            assert_eq!(found, expected, "{}", path.display());
        }
    }
}
