//! `quorate completions` and `quorate man`: what shells and readers of manuals get.
//!
//! In: the definition of the arguments. Out: a script for a shell, a page in troff.
//!
//! Always true:
//! * both follow from the arguments themselves, and so know every one of them.
//!
//! Not here: the arguments (`cli`).

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Command;

/// Arguments of `quorate completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that is to complete.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Arguments of `quorate man`.
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// The subcommand whose page is wanted, as `log cut`; the program's own without one.
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Prints the script for a shell.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "quorate", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a page for `man`.
pub fn man(args: &ManArgs, program: Command) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(&page(program, &args.command)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a subcommand, or of the whole.
fn page(mut program: Command, path: &[String]) -> anyhow::Result<Vec<u8>> {
    // Gives subcommands the names that they have on their own: quorate-log-cut.
    program.build();
    let mut command = program;
    for name in path {
        let found = command.get_subcommands().find(|one| one.get_name() == name).cloned();
        let Some(found) = found else { bail!("there is no `{} {name}`", command.get_name()) };
        command = found;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("write the page")?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::shell::command::split;
    use crate::cli::{Arguments, shell};

    fn walk(command: &Command, visit: &mut impl FnMut(&Command)) {
        // What prints help needs no examples.
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            visit(sub);
            walk(sub, visit);
        }
    }

    /// The lines of help that are examples.
    fn examples(command: &Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
        let lines = examples.lines().map(str::trim).take_while(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn every_subcommand_has_examples() {
        let mut program = Arguments::command();
        program.build();
        let mut without = Vec::new();
        walk(&program, &mut |command| {
            let name = command.get_bin_name().unwrap_or_default();
            if !examples(command).iter().any(|line| line.contains(name)) {
                without.push(name.to_owned());
            }
        });
        assert_eq!(without, Vec::<String>::new());
    }

    #[test]
    fn every_example_is_a_command_line() {
        let mut program = Arguments::command();
        program.build();
        let mut count = 0;
        walk(&program, &mut |command| {
            for line in examples(command) {
                // What follows two blanks is said about the example; a comment, a pipe or a file are the shell's.
                let line = line.split("  ").next().unwrap_or_default();
                let line = line.split([' ']).take_while(|word| !["#", "|", "<", ">"].contains(word));
                let line = line.collect::<Vec<_>>().join(" ");
                let Some(at) = line.find("quorate ") else { continue };
                let words = split(&line[at..]).into_iter().map(Into::into).collect();
                let parsed = Arguments::try_parse_from(shell::adopt_zkcli_options(words));
                assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("it is not ok"));
                count += 1;
            }
        });
        assert!(count > 20, "{count}");
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_page_and_a_script_know_the_subcommands() {
        let page = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            page(Arguments::command(), &path).map(|page| String::from_utf8(page).expect("it is text"))
        };
        let whole = page(&[]).expect("there is one");
        assert!(whole.contains(".TH quorate 1") && whole.contains("quorate\\-shell(1)"), "{whole}");
        let shell = page(&["shell"]).expect("there is one");
        assert!(shell.contains(".TH quorate\\-shell 1") || shell.contains(".TH quorate-shell 1"), "{shell}");
        assert!(shell.contains("getAllChildrenNumber"), "{shell}");
        assert!(page(&["log", "cut"]).is_ok());
        assert_eq!(
            page(&["nothing"]).expect_err("there is none").to_string(),
            "there is no `quorate nothing`"
        );

        for kind in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(kind, &mut Arguments::command(), "quorate", &mut script);
            let script = String::from_utf8(script).expect("it is text");
            assert!(script.contains("completions") && script.contains("shell"), "{kind}");
        }
    }
}
