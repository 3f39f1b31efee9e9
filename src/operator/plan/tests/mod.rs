//! Runs every file of `tests/scripts/plan`: a story of specs, faults and time, and what the plans made of it.
//!
//! In: scripts. Out: their traces, compared with what stands below `---`; `UPDATE_GOLDENFILES=1` writes them.
//!
//! Always true:
//! * one observation gives one plan, with at most one action that disturbs;
//! * the number of voters is odd, unless the spec asks for any; a voter's pod is never given up.
//!
//! Not here: what the actions do on a real cluster (`e2e`).

mod world;

use std::fs;

use world::World;

#[test]
fn every_story_ends_as_its_script_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/plan");
    let mut stories = 0;
    for entry in fs::read_dir(folder).expect("the scripts are there") {
        let path = entry.expect("a folder can be read").path();
        let script = fs::read_to_string(&path).expect("a script can be read");
        let (story, told) = script.split_once("---\n").unwrap_or((&script, ""));
        let trace = run(story);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            fs::write(&path, format!("{story}---\n{trace}")).expect("a script can be written");
        } else {
            assert!(told == trace, "{}:\n--- told\n{told}--- happened\n{trace}", path.display());
        }
        stories += 1;
    }
    assert!(stories >= 8, "scripts are missing");
}

fn run(story: &str) -> String {
    let mut world = World::new();
    for line in story.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        world.trace.push_str(&format!("> {line}\n"));
        match command {
            "spec" => world.spec(rest),
            "run" => world.run(rest.parse().expect("seconds")),
            "kill" => rest.split(' ').for_each(|pod| world.kill(pod)),
            "wipe" => rest.split(' ').for_each(|pod| world.wipe(pod)),
            "approve" => world.approve(),
            "pause" => world.pause(Some(())),
            "resume" => world.pause(None),
            other => panic!("{other:?} is no command"),
        }
    }
    world.trace
}
