//! Settings that change while the server runs.
//!
//! In: a key and a value, from `POST /v1/config` or from the configuration that is read again. Out: the change, or why
//! not.
//!
//! Always true:
//! * a value that is refused changes nothing.
//!
//! Not here: reading the configuration again (`server::reload`).

use super::clients::Clients;

/// What changes while the server runs.
pub const LIVE_KEYS: &[&str] = &["maxClientCnxns", "maxCnxns", "quorate.log.level"];

/// Sets the level of logs.
pub type SetLevel = fn(&str) -> Result<(), String>;

/// Changes settings.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Sets the level of logs.
    pub set_level: SetLevel,
}

impl Live {
    /// Sets a key; the error says why not.
    pub fn set(&self, clients: &Clients, key: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .parse::<u32>()
                .map_err(|_| format!("{key}={value}: expected a number from 0 to {}", u32::MAX))
        };
        match key {
            "maxClientCnxns" => clients.set_per_address_max(number()?),
            "maxCnxns" => clients.set_total_max(number()?),
            "quorate.log.level" => (self.set_level)(value)?,
            _ => {
                return Err(format!(
                    "{key} cannot change while the server runs; {} can",
                    LIVE_KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }
}
