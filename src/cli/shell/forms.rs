//! The table of the shell's commands: names, options, usage lines.
//!
//! In and out: nothing; it is a table.
//!
//! Always true:
//! * names and usage lines are those of zkCli 3.9, and `exit` of 3.10;
//! * the table is in the order in which it is shown.
//!
//! Not here: reading a line by it (`command`).

use std::ops::RangeInclusive;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Adds credentials to the session.
    AddAuth,
    /// Leaves a watch that stays.
    AddWatch,
    /// Closes the session and stays; done by the shell itself.
    Close,
    /// Shows the membership.
    Config,
    /// Begins a new session; done by the shell itself.
    Connect,
    /// Makes a node.
    Create,
    /// Removes a node.
    Delete,
    /// Removes a node and everything below it.
    DeleteAll,
    /// Removes limits.
    DelQuota,
    /// Shows a node's data.
    Get,
    /// Shows a node's ACL.
    GetAcl,
    /// Counts descendants.
    GetAllChildrenNumber,
    /// Lists ephemeral nodes of this session.
    GetEphemerals,
    /// Shows the last commands; done by the shell itself.
    History,
    /// Shows limits and what is used of them.
    ListQuota,
    /// Lists children.
    Ls,
    /// Whether events are shown; done by the shell itself.
    PrintWatches,
    /// Leaves the shell; done by the shell itself.
    Quit,
    /// Changes the membership.
    Reconfig,
    /// Does a command again; done by the shell itself.
    Redo,
    /// Takes watches away.
    RemoveWatches,
    /// Replaces a node's data.
    Set,
    /// Replaces a node's ACL.
    SetAcl,
    /// Sets a limit.
    SetQuota,
    /// Shows a node's stat.
    Stat,
    /// Waits until the server has what the leader has committed.
    Sync,
    /// Shows the version.
    Version,
    /// Shows who the server takes this session for.
    WhoAmI,
}

/// An option of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionForm {
    /// Its name, with the dash.
    pub dashed: &'static str,
    /// What its value is called; empty if it takes none.
    value: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Which options of a command go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Any.
    Any,
    /// None, or one of them.
    AtMostOne,
    /// One of them.
    One,
}

/// How a command is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// What it does.
    pub verb: Verb,
    /// Its first word.
    pub name: &'static str,
    /// What follows the name, for people.
    pub usage: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [OptionForm],
    /// Which of them go together.
    pub together: Together,
    /// How many words there are besides options; zkCli passes over further ones.
    pub words: RangeInclusive<usize>,
}

impl OptionForm {
    /// Its name, without the dash.
    pub fn name(&self) -> &'static str {
        &self.dashed[1..]
    }

    /// Whether the next word is its value.
    pub fn takes_value(&self) -> bool {
        !self.value.is_empty()
    }
}

impl Form {
    /// The option of a name.
    pub fn option(&self, name: &str) -> Option<&'static OptionForm> {
        self.options.iter().find(|option| option.name() == name)
    }

    /// Whether its first word is a path.
    pub fn takes_path(&self) -> bool {
        self.usage.contains("path") && self.verb != Verb::Reconfig
    }

    /// Name and usage; for two commands zkCli shows the options, too.
    pub fn full_usage(&self) -> String {
        let head = format!("{} {}", self.name, self.usage);
        if !matches!(self.verb, Verb::Get | Verb::Set) {
            return head;
        }
        let names: Vec<String> = self.options.iter().map(OptionForm::heading).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let lines = self.options.iter().zip(&names);
        let lines = lines.map(|(option, name)| format!("\n {name:width$}   {}", option.about));
        head + &lines.collect::<String>()
    }
}

impl OptionForm {
    fn heading(&self) -> String {
        if self.takes_value() { format!("{} <arg>", self.dashed) } else { self.dashed.to_owned() }
    }
}

const fn flag(dashed: &'static str, about: &'static str) -> OptionForm {
    OptionForm { dashed, value: "", about }
}

const fn with(dashed: &'static str, value: &'static str, about: &'static str) -> OptionForm {
    OptionForm { dashed, value, about }
}

/// A command whose options all go together.
const fn form(
    verb: Verb,
    [name, usage, about]: [&'static str; 3],
    options: &'static [OptionForm],
    words: RangeInclusive<usize>,
) -> Form {
    Form { verb, name, usage, about, options, together: Together::Any, words }
}

/// Any number of words.
const MANY: usize = usize::MAX;
const STAT: OptionForm = flag("-s", "show the stat, too");
const WATCH: OptionForm = flag("-w", "leave a watch");
const VERSION: OptionForm = with("-v", "version", "only if this is the version");

/// Every command, by name.
pub const FORMS: &[Form] = &[
    form(
        Verb::AddWatch,
        [
            "addWatch",
            "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is \
             PERSISTENT_RECURSIVE",
            "leave a watch that stays when it fires",
        ],
        &[with("-m", "mode", "PERSISTENT or PERSISTENT_RECURSIVE")],
        1..=1,
    ),
    form(Verb::AddAuth, ["addauth", "scheme auth", "add credentials to the session"], &[], 1..=MANY),
    form(Verb::Close, ["close", "", "close the session"], &[], 0..=MANY),
    form(
        Verb::Config,
        ["config", "[-c] [-w] [-s]", "show the membership"],
        &[STAT, WATCH, flag("-c", "as a connect string")],
        0..=MANY,
    ),
    form(Verb::Connect, ["connect", "host:port", "begin a new session"], &[], 0..=MANY),
    form(
        Verb::Create,
        ["create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", "make a node"],
        &[
            flag("-e", "ephemeral"),
            flag("-s", "sequential"),
            flag("-c", "container"),
            with("-t", "ttl", "time to live in ms"),
        ],
        1..=MANY,
    ),
    form(Verb::Delete, ["delete", "[-v version] path", "remove a node"], &[VERSION], 1..=MANY),
    form(
        Verb::DeleteAll,
        ["deleteall", "path [-b batch size]", "remove a node and everything below it"],
        &[with("-b", "size", "nodes in one transaction, 1000 unless given")],
        1..=MANY,
    ),
    Form {
        verb: Verb::DelQuota,
        name: "delquota",
        usage: "[-n|-b|-N|-B] path",
        about: "remove one limit, or all",
        options: &[
            flag("-n", "num soft quota"),
            flag("-b", "bytes soft quota"),
            flag("-N", "num hard quota"),
            flag("-B", "bytes hard quota"),
        ],
        together: Together::AtMostOne,
        words: 1..=MANY,
    },
    form(Verb::Quit, ["exit", "", "leave the shell"], &[], 0..=MANY),
    form(
        Verb::Get,
        ["get", "[-s] [-w] [-b] [-x] path", "show the data of a node"],
        &[
            flag("-b", "Output data in base64 format"),
            flag("-s", "Print znode stats additionally"),
            flag("-w", "Watch for changes on the znode"),
            flag("-x", "Output data in hexdump format"),
        ],
        1..=MANY,
    ),
    form(Verb::GetAcl, ["getAcl", "[-s] path", "show who may do what with a node"], &[STAT], 1..=MANY),
    form(
        Verb::GetAllChildrenNumber,
        ["getAllChildrenNumber", "path", "count what is below a node"],
        &[],
        1..=MANY,
    ),
    form(
        Verb::GetEphemerals,
        ["getEphemerals", "path", "list ephemeral nodes of this session"],
        &[],
        0..=MANY,
    ),
    form(Verb::History, ["history", "", "show the last commands"], &[], 0..=MANY),
    form(Verb::ListQuota, ["listquota", "path", "show limits and what is used of them"], &[], 1..=MANY),
    form(
        Verb::Ls,
        ["ls", "[-s] [-w] [-R] path", "list the children of a node"],
        &[STAT, WATCH, flag("-R", "everything below, one path a line")],
        1..=MANY,
    ),
    form(Verb::PrintWatches, ["printwatches", "on|off", "whether watch events are shown"], &[], 0..=MANY),
    form(Verb::Quit, ["quit", "", "leave the shell"], &[], 0..=MANY),
    form(
        Verb::Reconfig,
        [
            "reconfig",
            "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
             [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
            "change the membership",
        ],
        &[
            STAT,
            with("-v", "version", "only if this is the configuration's version, in hexadecimal"),
            with("-file", "path", "the whole membership, from a file"),
            with("-members", "servers", "the whole membership"),
            with("-add", "servers", "servers that join or change"),
            with("-remove", "ids", "servers that leave"),
        ],
        0..=MANY,
    ),
    form(Verb::Redo, ["redo", "cmdno", "do a command of the history again"], &[], 0..=MANY),
    form(
        Verb::RemoveWatches,
        ["removewatches", "path [-c|-d|-a] [-l]", "take watches away"],
        &[
            flag("-c", "those on children"),
            flag("-d", "those on data"),
            flag("-p", "persistent ones"),
            flag("-r", "persistent recursive ones"),
            flag("-a", "all"),
            flag("-l", "also without a connection"),
        ],
        1..=MANY,
    ),
    form(
        Verb::Set,
        ["set", "path data [-s] [-v version] [-b]", "replace the data of a node"],
        &[
            flag("-b", "Supply data in base64 format"),
            flag("-s", "Print znode stats additionally"),
            with("-v", "version", "Set with an expected version"),
        ],
        2..=MANY,
    ),
    form(
        Verb::SetAcl,
        ["setAcl", "[-s] [-v version] [-R] path acl", "replace the ACL of a node"],
        &[STAT, VERSION, flag("-R", "of everything below, too")],
        2..=MANY,
    ),
    Form {
        verb: Verb::SetQuota,
        name: "setquota",
        usage: "-n|-b|-N|-B val path",
        about: "limit nodes or bytes at and below a node",
        options: &[
            with("-n", "val", "num soft quota"),
            with("-b", "val", "bytes soft quota"),
            with("-N", "val", "num hard quota"),
            with("-B", "val", "bytes hard quota"),
        ],
        together: Together::One,
        words: 1..=MANY,
    },
    form(Verb::Stat, ["stat", "[-w] path", "show the stat of a node"], &[WATCH], 1..=MANY),
    form(Verb::Sync, ["sync", "path", "wait until the server has caught up"], &[], 1..=MANY),
    form(Verb::Version, ["version", "", "show the version of this program"], &[], 0..=0),
    form(Verb::WhoAmI, ["whoami", "", "show who the server takes this session for"], &[], 0..=MANY),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_usage_names_every_option() {
        assert!(FORMS.is_sorted_by_key(|form| form.name));
        for form in FORMS.iter().filter(|form| form.verb != Verb::RemoveWatches) {
            for option in form.options {
                assert!(form.usage.contains(option.dashed), "{} {}", form.name, option.dashed);
            }
        }
    }

    #[test]
    fn options_are_shown_below_the_usage_of_set() {
        let set = FORMS.iter().find(|form| form.verb == Verb::Set).expect("it is there");
        let lines = [
            "set path data [-s] [-v version] [-b]",
            " -b         Supply data in base64 format",
            " -s         Print znode stats additionally",
            " -v <arg>   Set with an expected version",
        ];
        assert_eq!(set.full_usage(), lines.join("\n"));
    }
}
