//! What a scenario saw: lines while it runs, a row of the README's table at the end.
//!
//! In: words and verdicts. Out: printed lines, rows.
//!
//! Always true:
//! * every line carries its scenario's name, since some run side by side;
//! * a gap counts as a failure beyond three times its floor only: the floor itself is judged by `figures`.
//!
//! Not here: what clients see (`checker`).

use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::checker::Verdict;

/// The floor of the longest time without an acknowledged write.
pub const GAP_FLOOR: Duration = Duration::from_secs(1);
/// How much slower a run beside other work may be.
const SLACK: u32 = 3;
/// Between these lines of the README stands the last result.
const MARKS: (&str, &str) = ("<!-- e2e -->", "<!-- end of e2e -->");

/// What one scenario saw so far.
#[derive(Clone)]
pub struct Report {
    name: &'static str,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    judged: u32,
    gap: Duration,
    lost: usize,
}

/// How a scenario ended.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// `passed`, or why not.
    pub result: Result<(), String>,
    /// How long it took.
    pub time: Duration,
    /// What clients saw, if there were any.
    pub clients: String,
}

impl Report {
    /// Nothing was seen yet.
    pub fn new(name: &'static str) -> Report {
        Report { name, seen: Arc::default() }
    }

    /// Prints a line.
    pub fn say(&self, text: impl Display) {
        println!("  {}: {text}", self.name);
    }

    /// Prints what clients saw, and fails if it is too much.
    pub fn judge(&self, verdict: &Verdict) -> anyhow::Result<()> {
        self.judge_by(GAP_FLOOR, verdict)
    }

    /// The same by another floor of the gap.
    pub fn judge_by(&self, floor: Duration, verdict: &Verdict) -> anyhow::Result<()> {
        self.say(verdict);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.judged += 1;
            seen.gap = seen.gap.max(verdict.gap);
            seen.lost += verdict.lost;
        }
        ensure!(verdict.gap <= floor * SLACK, "no write was acknowledged for {:?}", verdict.gap);
        ensure!(verdict.lost == 0, "{} sessions were lost", verdict.lost);
        Ok(())
    }

    /// The clients' part of the row.
    pub fn clients(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.judged {
            0 => "–".to_owned(),
            _ => format!("{} ms, {}", seen.gap.as_millis(), seen.lost),
        }
    }
}

/// All rows as a table, with what was asked for.
pub fn table(asked: &str, rows: &[Row], total: Duration) -> String {
    let passed = rows.iter().filter(|row| row.result.is_ok()).count();
    let mut text = format!(
        "`tests/e2e/run{asked}` on {}: {passed} passed, {} failed in {}.\n\n\
         | Scenario | Shows | Result | Longest write gap, sessions lost |\n| --- | --- | --- | --- |\n",
        today(),
        rows.len() - passed,
        minutes(total)
    );
    for row in rows {
        let result = if row.result.is_ok() { "passed" } else { "**failed**" };
        let (name, what, time, clients) = (row.name, row.what, minutes(row.time), &row.clients);
        text.push_str(&format!("| {name} | {what} | {result}, {time} | {clients} |\n"));
    }
    text
}

/// Puts the table into the README, between its marks.
pub fn write(table: &str) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).context("read README.md")?;
    let (before, rest) = text.split_once(MARKS.0).with_context(|| format!("no line {}", MARKS.0))?;
    let (_, after) = rest.split_once(MARKS.1).with_context(|| format!("no line {}", MARKS.1))?;
    let text = format!("{before}{}\n{table}{}{after}", MARKS.0, MARKS.1);
    std::fs::write(&path, text).context("write README.md")
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}

/// The date, in UTC.
fn today() -> String {
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}
