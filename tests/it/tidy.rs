//! The rules of form that a machine can check: sizes, docs, imports, words, the top level.
//!
//! In: every file that git knows or would add. Out: one line for each violation.
//!
//! Always true:
//! * each rule finds the violation in its own sample, so none can stop looking unnoticed;
//! * an exception that excuses nothing is a violation.
//!
//! Not here: what `cargo fmt`, `cargo clippy` and `cargo doc` check.

mod source;

use std::fmt::Write as _;

use source::{Part, Source, Violation, functions, sources};

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a `mod.rs`.
const FRONT_DOOR_LINES_MAX: usize = 150;
/// Lines of a function, from `fn` to its last brace.
const FUNCTION_LINES_MAX: usize = 70;

/// What may stand at the top level, besides dotfiles.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "charts",
    "crds",
    "manifests",
    "src",
    "tests",
];

/// Who may use whom: a module, and the modules that it may name besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("proto", &["base"]),
    ("tree", &["base", "proto"]),
    ("config", &["base"]),
    ("session", &["base", "proto", "tree"]),
    ("watch", &["base", "proto", "tree"]),
    ("zab", &["base"]),
    ("replica", &["base", "proto", "tree", "session", "watch", "zab"]),
    ("storage", &["base"]),
    ("net", &["base", "proto", "config", "tree", "session", "watch", "zab", "replica"]),
    ("server", &["base", "proto", "config", "tree", "session", "watch", "zab", "replica", "storage", "net"]),
    ("recipes", &["base"]),
    ("operator", &["base", "config"]),
    (
        "cli",
        &[
            "base", "proto", "config", "tree", "session", "watch", "zab", "replica", "storage", "net",
            "server", "recipes", "operator",
        ],
    ),
];

/// What `net` may not name of `replica`: it sees events, effects, reads and the picture of the state.
const NET_MAY_NOT_NAME: &[&str] = &["Replica", "machine", "prepare", "inflight"];

/// The core: no clock, entropy, thread, file, socket, task or environment.
const CORE: &[&str] = &["base", "proto", "tree", "config", "session", "watch", "zab", "replica"];
/// Files of the operator that belong to the core.
const CORE_FILES: &[&str] = &[
    "src/operator/validate.rs",
    "src/operator/plan.rs",
    "src/operator/status.rs",
    "src/operator/build/",
    "src/operator/plan/",
];
/// What no module of the core may name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::thread",
    "std::time::Instant",
    "std::process",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "tokio",
    "async fn",
    ".await",
    "HashMap",
    "HashSet",
    "RandomState",
];
/// Where `async` lives.
const ASYNC: &[&str] = &["net", "server", "recipes", "operator", "cli", "main"];
/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "manager", "misc"];
/// Directories that exist on one machine only.
const MACHINE_PATHS: &[&str] = &["/work/", "/root/", "/home/", "/tmp/", "/Users/"];

/// Rule, file (or the start of its path), part of the message, reason.
const EXCEPTIONS: &[(&str, &str, &str, &str)] = &[
    ("bool", "src/base/wire.rs", "bool takes", "it writes jute's bool"),
    (
        "pure core",
        "src/watch.rs",
        "Mutex",
        "connections register while the loop fires, as they read the tree",
    ),
    (
        "pure core",
        "src/watch.rs",
        "rustc_hash",
        "paths to their watchers: nobody sees the order of the table",
    ),
    (
        "pure core",
        "src/replica/inflight.rs",
        "rustc_hash",
        "paths to what is in flight: nobody sees the order of the table",
    ),
    (
        "pure core",
        "src/replica/clients.rs",
        "rustc_hash",
        "connections to their clients: whoever lists them sorts them",
    ),
    ("bool", "src/zab/machine.rs", "revalidated takes", "it passes jute's bool on"),
    ("bool", "src/cli/shell/terminal.rs", "highlight_prompt takes", "the line editor's trait has it"),
    ("words", "tests/it/tidy.rs", "", "names the words that it looks for"),
    ("machine", "tests/it/tidy.rs", "", "names the paths that it looks for"),
    ("machine", "tests/e2e/harm.rs", "/tmp/", "the default of the kit that runs the cluster"),
    ("sleep", "tests/it/tidy.rs", "", "names the calls that it looks for"),
    (
        "sleep",
        "tests/conformance/kit.py",
        "",
        "asks a server again until it says what is awaited, up to a limit",
    ),
];

/// One rule, with a file that breaks it exactly once.
struct Rule {
    name: &'static str,
    check: fn(&Source, &mut Vec<Violation>),
    sample: (&'static str, &'static str),
}

const RULES: &[Rule] = &[
    Rule { name: "top level", check: top_level, sample: ("notes.txt", "") },
    Rule { name: "file length", check: file_length, sample: ("src/base/long.rs", "<501 lines>") },
    Rule { name: "front door", check: front_door, sample: ("src/net/mod.rs", "<501 lines>") },
    Rule { name: "function length", check: function_length, sample: ("src/base/a.rs", "<71 lines>") },
    Rule {
        name: "module doc",
        check: module_doc,
        sample: ("src/base/a.rs", "//! What.\n//! In: a. Out: b.\n"),
    },
    Rule { name: "imports", check: imports, sample: ("src/zab/a.rs", "use crate::tree::Tree;\n") },
    Rule { name: "pure core", check: pure_core, sample: ("src/tree/a.rs", "use std::fs::File;\n") },
    Rule { name: "async", check: async_home, sample: ("src/storage/a.rs", "async fn a() {}\n") },
    Rule { name: "tasks", check: tasks, sample: ("src/net/a.rs", "tokio::spawn(a);\n") },
    Rule { name: "errors", check: errors, sample: ("src/storage/a.rs", "fn a() -> anyhow::Result<()>;\n") },
    Rule { name: "names", check: names, sample: ("src/net/a.rs", "fn get_b() {}\n") },
    Rule { name: "bool", check: bare_bool, sample: ("src/net/a.rs", "fn b(\n    c: bool,\n) {}\n") },
    Rule { name: "words", check: words, sample: ("src/net/a.rs", "// TODO later\n") },
    Rule {
        name: "unwrap",
        check: unwrap,
        sample: ("src/net/a.rs", "a.unwrap();\n#[cfg(test)]\nmod tests {\nb.unwrap();\n"),
    },
    Rule {
        name: "sleep",
        check: sleep,
        sample: ("src/net/a.rs", "sleep(1);\n#[cfg(test)]\nmod tests {\nsleep(1);\n"),
    },
    Rule { name: "machine", check: machine, sample: ("README.md", "see /work/a\n") },
    Rule {
        name: "dependencies",
        check: dependencies,
        sample: ("Cargo.toml", "[dependencies]\nfoo = \"1\" # why\n"),
    },
];

fn top_level(source: &Source, found: &mut Vec<Violation>) {
    let first = source.path.split('/').next().unwrap_or_default();
    if !first.starts_with('.') && !TOP_LEVEL.contains(&first) {
        found.push(source.violation(1, format!("{first} may not stand at the top level")));
    }
}

fn file_length(source: &Source, found: &mut Vec<Violation>) {
    let lines = source.lines_before_tests();
    if source.is_rust() && !source.is_tests() && lines > FILE_LINES_MAX {
        found.push(source.violation(1, format!("{lines} lines before the tests")));
    }
}

fn front_door(source: &Source, found: &mut Vec<Violation>) {
    let lines = source.lines_before_tests();
    let is_front_door = source.path.starts_with("src/") && source.path.ends_with("/mod.rs");
    if is_front_door && !source.is_tests() && lines > FRONT_DOOR_LINES_MAX {
        found.push(source.violation(1, format!("a front door of {lines} lines")));
    }
}

fn function_length(source: &Source, found: &mut Vec<Violation>) {
    if !source.is_rust() {
        return;
    }
    for (line, name, _, lines) in functions(source) {
        if lines > FUNCTION_LINES_MAX {
            found.push(source.violation(line, format!("{name} has {lines} lines")));
        }
    }
}

fn module_doc(source: &Source, found: &mut Vec<Violation>) {
    if !source.is_rust() {
        return;
    }
    let doc: String =
        source.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let is_part_of_library = source.path.starts_with("src/")
        && !source.is_tests()
        && !["src/lib.rs", "src/main.rs"].contains(&source.path.as_str());
    let mut missing = Vec::new();
    if doc.is_empty() {
        missing.push("a doc");
    } else if is_part_of_library {
        let says = |part: &str| doc.contains(part);
        let parts = [
            ("In", says("//! In:") || says("//! In and out:")),
            ("Out", says("Out:") || says("//! In and out:")),
            ("Always true", says("//! Always true:\n//! *")),
            ("Not here", says("//! Not here:")),
        ];
        missing.extend(parts.iter().filter(|(_, there)| !there).map(|(part, _)| *part));
    }
    if !missing.is_empty() {
        found.push(source.violation(1, format!("the module doc lacks {}", missing.join(", "))));
    }
}

fn imports(source: &Source, found: &mut Vec<Violation>) {
    let Some(module) = source.module().filter(|module| !["lib", "main"].contains(module)) else { return };
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        found.push(source.violation(1, format!("the module {module} is not in the table")));
        return;
    };
    for (line, code, part) in source.code() {
        for path in code.split("crate::").skip(1) {
            let used: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != module && !may_use.contains(&used.as_str()) {
                found.push(source.violation(line, format!("{module} may not use {used}")));
            }
            let below = path.strip_prefix("replica::").unwrap_or_default();
            let named = below.split(|c: char| !c.is_alphanumeric() && c != '_');
            for name in named.filter(|name| module == "net" && NET_MAY_NOT_NAME.contains(name)) {
                found.push(source.violation(line, format!("net may not use replica's {name}")));
            }
        }
        if part == Part::Code && code.contains("super::super::") {
            found.push(source.violation(line, "super::super:: hides which module is meant"));
        }
    }
}

fn pure_core(source: &Source, found: &mut Vec<Violation>) {
    let in_core = source.module().is_some_and(|module| CORE.contains(&module))
        || CORE_FILES.iter().any(|start| source.path.starts_with(start));
    if !in_core {
        return;
    }
    for (line, code, _) in source.code().into_iter().filter(|(_, _, part)| *part == Part::Code) {
        let code = code.replace("FxHashMap", "").replace("FxHashSet", "");
        for name in IMPURE.iter().filter(|name| code.contains(**name)) {
            found.push(source.violation(line, format!("{name} in the core")));
        }
        let is_tree = source.module() == Some("tree");
        for name in ["Mutex", "RwLock", "rustc_hash"].iter().filter(|name| !is_tree && code.contains(**name))
        {
            found.push(source.violation(line, format!("{name} in the core outside of tree")));
        }
    }
}

fn async_home(source: &Source, found: &mut Vec<Violation>) {
    if source.module().is_none_or(|module| ASYNC.contains(&module)) || !source.is_rust() {
        return;
    }
    for (line, code, _) in source.code() {
        if code.contains("async ") || code.contains(".await") {
            found.push(source.violation(line, "async outside of the edges"));
        }
    }
}

fn tasks(source: &Source, found: &mut Vec<Violation>) {
    if source.module().is_none() {
        return;
    }
    for (line, code, part) in source.code() {
        let forbidden = [
            ("tokio::spawn(", "a task that nobody waits for"),
            ("task::spawn(", "a task that nobody waits for"),
            ("unbounded_channel", "a channel without a bound"),
            ("mpsc::channel()", "a channel without a bound"),
            ("Arc<Mutex<", "state that two modules own"),
        ];
        for (_, why) in forbidden.iter().filter(|(call, _)| part == Part::Code && code.contains(call)) {
            found.push(source.violation(line, *why));
        }
    }
}

fn errors(source: &Source, found: &mut Vec<Violation>) {
    let may = ["main", "cli"].map(Some).contains(&source.module())
        || source.module().is_none()
        || source.path == "src/operator/controller.rs";
    if may {
        return;
    }
    for (line, code, _) in source.code().into_iter().filter(|(_, _, part)| *part == Part::Code) {
        if code.contains("anyhow") {
            found.push(source.violation(line, "anyhow hides what can go wrong here"));
        }
    }
}

fn names(source: &Source, found: &mut Vec<Violation>) {
    if source.module().is_none() || !source.is_rust() {
        return;
    }
    let file = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let last = file.rsplit('/').next().unwrap_or_default();
    if EMPTY_NAMES.contains(&last) {
        found.push(source.violation(1, format!("{last} says nothing")));
    }
    for (line, name, _, _) in functions(source).into_iter().filter(|(_, name, ..)| name.starts_with("get_")) {
        found.push(source.violation(line, format!("{name}: no get_")));
    }
    let is_front_door = source.path.ends_with("/mod.rs") || source.path == "src/lib.rs";
    for (line, code, _) in source.code() {
        if !is_front_door && code.trim_start().starts_with("pub use ") {
            found.push(source.violation(line, "a re-export outside of mod.rs"));
        }
    }
}

fn bare_bool(source: &Source, found: &mut Vec<Violation>) {
    if source.module().is_none() || !source.is_rust() {
        return;
    }
    for (line, name, signature, _) in functions(source) {
        let parameters = signature.split("->").next().unwrap_or_default();
        if parameters.contains(": bool,") || parameters.contains(": bool)") {
            found.push(source.violation(line, format!("{name} takes a bare bool")));
        }
    }
}

fn words(source: &Source, found: &mut Vec<Violation>) {
    for (at, line) in source.text.lines().enumerate() {
        for word in ["TODO", "FIXME", "XXX", "#[ignore", "todo!(", "unimplemented!("] {
            if line.contains(word) {
                found.push(source.violation(at + 1, format!("{word} does not land")));
            }
        }
    }
}

fn unwrap(source: &Source, found: &mut Vec<Violation>) {
    for (line, code, part) in source.code() {
        if source.is_rust() && part == Part::Code && code.contains(".unwrap()") {
            found.push(source.violation(line, "unwrap outside of tests"));
        }
    }
}

fn sleep(source: &Source, found: &mut Vec<Violation>) {
    for (line, code, part) in source.code() {
        let is_script = source.path.starts_with("tests/") && !source.path.contains('.');
        let is_python = source.path.ends_with(".py");
        let sleeps = match source.is_rust() {
            true => part == Part::Tests && code.contains("sleep("),
            false => {
                (is_script && code.trim_start().starts_with("sleep "))
                    || (is_python && code.contains("sleep("))
            }
        };
        if sleeps {
            found.push(source.violation(line, "a test that sleeps"));
        }
    }
}

fn machine(source: &Source, found: &mut Vec<Violation>) {
    if source.path == "Cargo.lock" {
        return;
    }
    for (at, line) in source.text.lines().enumerate() {
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            found.push(source.violation(at + 1, format!("{path} is a place on one machine")));
        }
    }
}

fn dependencies(source: &Source, found: &mut Vec<Violation>) {
    if source.path != "Cargo.toml" {
        return;
    }
    let mut inside = false;
    for (at, line) in source.text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && line.contains(" = ") {
            if !line.contains(" # ") {
                found.push(source.violation(at + 1, "a dependency without its reason"));
            }
            if !line.contains("default-features = false") {
                found.push(source.violation(at + 1, "a dependency with default features"));
            }
        }
    }
}

#[test]
fn the_project_is_tidy() {
    let mut report = String::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the listing misses src/lib.rs");
    for rule in RULES {
        let mut found = Vec::new();
        sources.iter().for_each(|source| (rule.check)(source, &mut found));
        for violation in found {
            let excuse = EXCEPTIONS.iter().position(|(name, path, part, _)| {
                *name == rule.name && violation.path.starts_with(path) && violation.what.contains(part)
            });
            match excuse {
                Some(at) => used[at] = true,
                None => {
                    let Violation { path, line, what } = violation;
                    writeln!(report, "{path}:{line}: {}: {what}", rule.name).expect("a string grows");
                }
            }
        }
    }
    for ((rule, path, part, _), _) in EXCEPTIONS.iter().zip(&used).filter(|(_, used)| !**used) {
        writeln!(report, "{path}: {rule}: the exception {part:?} excuses nothing").expect("a string grows");
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_rule_sees_its_sample() {
    for rule in RULES {
        let (path, text) = rule.sample;
        let text = match text {
            "<501 lines>" => "//! In: a\n".repeat(FILE_LINES_MAX + 1),
            "<71 lines>" => format!("fn a() {{\n{}}}\n", "    b();\n".repeat(FUNCTION_LINES_MAX - 1)),
            text => text.to_owned(),
        };
        let mut found = Vec::new();
        (rule.check)(&Source { path: path.to_owned(), text }, &mut found);
        assert_eq!(found.len(), 1, "{}: {:?}", rule.name, found.iter().map(|v| &v.what).collect::<Vec<_>>());
    }
}

/// A planted bug whose place has moved would be found only by the commit whose turn it is.
#[test]
fn every_mutant_can_be_planted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches: Vec<_> = std::fs::read_dir(root.join("tests/mutants"))
        .expect("the mutants are listed")
        .map(|entry| entry.expect("a mutant is listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    assert!(patches.len() >= 10, "ten are asked for: {patches:?}");
    for patch in patches {
        let said = std::process::Command::new("git")
            .current_dir(root)
            .args(["apply", "--check"])
            .arg(&patch)
            .output();
        let said = said.expect("git runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}
