//! The rows of the comparison: what each is called, which way is better, what it should reach.
//!
//! In: values of rounds. Out: medians and ratios, as a table, as JSON, as numbers for a chart.
//!
//! Always true:
//! * a ratio over 1 says that Quorate is better, whichever way is better for the row.
//!
//! Not here: measuring (`cells`).

use std::collections::BTreeMap;
use std::fmt;

use super::product::Product;

/// What is measured together, on an ensemble of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Throughput, latency, CPU.
    Load,
    /// Memory of idle sessions.
    Sessions,
    /// Memory, snapshots and restart with a million nodes.
    Tree,
    /// How the cost of an operation grows with the tree; Quorate only.
    Scale,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Reads per second.
    Reads,
    /// Sets per second.
    Sets,
    /// Creates per second.
    Creates,
    /// Operations per second, nine reads to a set.
    MostlyReads,
    /// The latency that 99 % of those did not exceed.
    MostlyReadsP99,
    /// Sets per second of one connection that waits for each answer.
    SetsAlone,
    /// Sets per second of one connection with 16 under way.
    SetsPipelined,
    /// The servers' CPU time of a read.
    CpuPerRead,
    /// Watch events per second.
    Events,
    /// Memory with a million nodes.
    Filled,
    /// The most memory while a snapshot is taken, as a multiple of that.
    SnapshotPeak,
    /// Time until a server with a million nodes serves.
    Restart,
    /// Memory of an idle session.
    Session,
    /// The longest latency of a set while a snapshot of a million nodes is taken.
    Stall,
    /// Reads among four million nodes: how much slower.
    LargeReads,
    /// Creates among four million nodes: how much slower.
    LargeCreates,
    /// Reads of a million children of one parent: how much slower.
    WideReads,
    /// Creates beside a million children of one parent: how much slower.
    WideCreates,
    /// Reads with 200,000 watches: how much slower.
    WatchedReads,
    /// Creates with 200,000 watches: how much slower.
    WatchedCreates,
}

/// What a row should reach.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// So many times better than ZooKeeper.
    Times(f64),
    /// At most this, in the row's unit.
    AtMost(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// What a row is.
#[derive(Debug)]
pub struct Form {
    /// The row.
    row: Row,
    /// What it is called.
    pub name: &'static str,
    unit: &'static str,
    better: Better,
    floor: Goal,
    aim: Goal,
}

const FORMS: [Form; 20] = [
    more(Row::Reads, "reads, 64×16", "/s", 6.0, 10.0),
    more(Row::Sets, "sets, 64×16", "/s", 5.0, 8.0),
    more(Row::Creates, "creates, 64×16", "/s", 5.0, 8.0),
    more(Row::MostlyReads, "90 % reads, 64×16", "/s", 5.0, 10.0),
    less(Row::MostlyReadsP99, "90 % reads, 64×16, p99", "ms", Goal::Times(5.0), Goal::Times(5.0)),
    more(Row::SetsAlone, "sets, 1×1", "/s", 1.5, 2.5),
    more(Row::SetsPipelined, "sets, 1×16", "/s", 4.0, 8.0),
    less(Row::CpuPerRead, "server CPU per read, 64×16", "µs", Goal::Times(6.0), Goal::Times(12.0)),
    more(Row::Events, "1,000 persistent watchers, events", "/s", 3.0, 8.0),
    less(Row::Filled, "RSS with 1 M znodes of 100 B", "MiB", Goal::AtMost(260.0), Goal::AtMost(200.0)),
    less(Row::SnapshotPeak, "of it at most during a snapshot", "×", Goal::AtMost(1.5), Goal::AtMost(1.5)),
    less(Row::Restart, "restart with 1 M znodes", "s", Goal::Times(4.0), Goal::Times(8.0)),
    less(Row::Session, "idle session", "KiB", Goal::AtMost(8.0), Goal::AtMost(4.0)),
    less(
        Row::Stall,
        "longest stall of a set during a snapshot",
        "ms",
        Goal::AtMost(50.0),
        Goal::AtMost(10.0),
    ),
    grown(Row::LargeReads, "reads among 4 M znodes, slower by"),
    grown(Row::LargeCreates, "creates among 4 M znodes, slower by"),
    grown(Row::WideReads, "reads of 1 M children of one parent, slower by"),
    grown(Row::WideCreates, "creates beside 1 M children of one parent, slower by"),
    grown(Row::WatchedReads, "reads with 200,000 watches, slower by"),
    grown(Row::WatchedCreates, "creates with 200,000 watches, slower by"),
];

const fn more(row: Row, name: &'static str, unit: &'static str, floor: f64, aim: f64) -> Form {
    Form { row, name, unit, better: Better::More, floor: Goal::Times(floor), aim: Goal::Times(aim) }
}

const fn less(row: Row, name: &'static str, unit: &'static str, floor: Goal, aim: Goal) -> Form {
    Form { row, name, unit, better: Better::Less, floor, aim }
}

const fn grown(row: Row, name: &'static str) -> Form {
    less(row, name, "×", Goal::AtMost(1.3), Goal::AtMost(1.0))
}

/// What a row is.
pub fn form(row: Row) -> &'static Form {
    FORMS.iter().find(|form| form.row == row).expect("every row has a form")
}

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// In the row's unit.
    pub number: f64,
    /// A snapshot was taken meanwhile.
    pub has_snapshot: bool,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.has_snapshot { "†" } else { "" };
        match self.number {
            number if number >= 100.0 => write!(f, "{number:.0}{mark}"),
            number if number >= 10.0 => write!(f, "{number:.1}{mark}"),
            number => write!(f, "{number:.2}{mark}"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Times(times) => write!(f, "{times}×"),
            Goal::AtMost(limit) => write!(f, "≤ {limit}"),
        }
    }
}

/// The values of all rounds, by row.
#[derive(Debug, Default)]
pub struct Rounds {
    zookeeper: Values,
    quorate: Values,
    /// ZooKeeper's name with its version.
    name: String,
}

type Values = BTreeMap<Row, Vec<Value>>;

impl Rounds {
    /// Adds a value of a round.
    pub fn add(&mut self, product: &Product, row: Row, value: Value) {
        let values = match product {
            Product::ZooKeeper { .. } => {
                self.name = product.name();
                &mut self.zookeeper
            }
            Product::Quorate { .. } => &mut self.quorate,
        };
        values.entry(row).or_default().push(value);
    }

    /// How many times better Quorate is, for each row that both have.
    pub fn ratios(&self) -> Vec<(&'static str, f64)> {
        let rows = FORMS.iter().filter_map(|form| Some((form.name, self.ratio(form)?)));
        rows.collect()
    }

    fn ratio(&self, form: &Form) -> Option<f64> {
        let (zookeeper, quorate) = (median(&self.zookeeper, form.row)?, median(&self.quorate, form.row)?);
        match form.better {
            Better::More => Some(quorate.number / zookeeper.number),
            Better::Less => Some(zookeeper.number / quorate.number),
        }
    }

    /// Medians as a table in Markdown.
    pub fn to_table(&self) -> String {
        let other = if self.name.is_empty() { "ZooKeeper" } else { &self.name };
        let mut lines = vec![
            format!("| What | {other} | Quorate | better by | floor | aim |"),
            "| --- | --- | --- | --- | --- | --- |".to_owned(),
        ];
        for form in &FORMS {
            let Some(quorate) = median(&self.quorate, form.row) else { continue };
            let zookeeper = median(&self.zookeeper, form.row);
            let zookeeper = zookeeper.map_or("–".to_owned(), |value| format!("{value} {}", form.unit));
            let ratio = self.ratio(form).map_or("–".to_owned(), |ratio| format!("{ratio:.1}×"));
            lines.push(format!(
                "| {} | {zookeeper} | {quorate} {} | {ratio} | {} | {} |",
                form.name, form.unit, form.floor, form.aim
            ));
        }
        lines.push(String::new());
        lines.push("† a snapshot was taken while it was measured".to_owned());
        lines.join("\n")
    }

    /// Every value of every round.
    pub fn to_json(&self) -> serde_json::Value {
        let numbers = |values: &Values, row: Row| -> Vec<f64> {
            values.get(&row).into_iter().flatten().map(|value| value.number).collect()
        };
        let rows = FORMS.iter().filter(|form| self.quorate.contains_key(&form.row)).map(|form| {
            serde_json::json!({
                "name": form.name,
                "unit": form.unit,
                "zookeeper": numbers(&self.zookeeper, form.row),
                "quorate": numbers(&self.quorate, form.row),
                "betterBy": self.ratio(form),
            })
        });
        serde_json::json!({ "zookeeper": self.name, "rows": rows.collect::<Vec<_>>() })
    }
}

/// The median of a row; it has a snapshot if any value has.
fn median(values: &Values, row: Row) -> Option<Value> {
    let values = values.get(&row)?;
    let mut numbers: Vec<f64> = values.iter().map(|value| value.number).collect();
    numbers.sort_by(f64::total_cmp);
    let number = *numbers.get(numbers.len() / 2)?;
    Some(Value { number, has_snapshot: values.iter().any(|value| value.has_snapshot) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zookeeper() -> Product {
        let (java, jars, logback) = Default::default();
        Product::ZooKeeper { java, jars, logback, version: "3.9.5".into() }
    }

    #[test]
    fn medians_become_ratios() {
        let mut rounds = Rounds::default();
        let quorate = Product::Quorate { program: Default::default() };
        for number in [10.0, 30.0, 20.0] {
            rounds.add(&zookeeper(), Row::Reads, Value { number, has_snapshot: false });
            rounds.add(&quorate, Row::Reads, Value { number: number * 8.0, has_snapshot: number > 25.0 });
            rounds.add(&zookeeper(), Row::Restart, Value { number, has_snapshot: false });
            rounds.add(&quorate, Row::Restart, Value { number: number / 4.0, has_snapshot: false });
        }
        assert_eq!(rounds.ratios(), [("reads, 64×16", 8.0), ("restart with 1 M znodes", 4.0)]);
        let table = rounds.to_table();
        assert!(table.contains("| reads, 64×16 | 20.0 /s | 160† /s | 8.0× | 6× | 10× |"), "{table}");
        assert_eq!(rounds.to_json()["rows"][1]["quorate"][0], 2.5);
    }

    #[test]
    fn every_row_has_one_form() {
        for (at, form) in FORMS.iter().enumerate() {
            assert!(FORMS[at + 1..].iter().all(|other| other.row != form.row), "{:?} stands twice", form.row);
        }
    }
}
