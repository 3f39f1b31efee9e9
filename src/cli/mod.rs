//! The subcommands of the one binary.
//!
//! In: arguments. Out: an exit code.
//!
//! Always true:
//! * each subcommand has one place for its flags.
//!
//! Not here: settings of a server (`config`).

pub mod command;
pub mod ops;
pub mod print;
pub mod shell;
