//! The server's settings: what was written, then what it means.
//!
//! In: the text of a `zoo.cfg`, `key=value` overrides, the dynamic file, `myid`. Out: a [`Config`], or every
//! problem with file, line, key, found and expected; and warnings.
//!
//! Always true:
//! * a `Config` does not contradict itself, and everything in it has a unit in its type or name;
//! * a setting whose neglect would weaken security is honoured or refused, never ignored;
//! * keys of our own begin with `quorate.`, so that an Apache server given the same file ignores them.
//!
//! Not here: reading files and looking names up (`server`), what the settings do.

mod check;
mod keys;
mod limits;
mod members;
mod raw;
mod settings;
#[cfg(test)]
mod tests;

pub use check::{Found, alone, check};
pub use keys::plain_name;
pub use raw::{Problem, RawConfig, Setting};
pub use settings::{
    Access, Admin, Changes, Config, ConnectionThrottle, Connections, ElectionPort, EnsembleMode,
    IdentityFiles, Listen, LogFormat, LogSettings, Mode, RequestLimits, SessionWeights, Share,
    StorageSettings, Words,
};
