//! Builds every object of an ensemble.
//!
//! In: what the servers are to be, and the values that the plan chose. Out: objects.
//!
//! Always true:
//! * one function for each kind of object; equal inputs give equal bytes;
//! * the labels that selectors use never change.
//!
//! Not here: whether an object is needed (`plan`), sending it (`apply`).

mod config;
mod names;
mod pod;
mod policy;
mod services;
mod statefulset;

pub use config::{config_map, settings_of, settings_text};
pub use names::{
    DETACHED, ENSEMBLE, MEMBER_VERSION, POOL, STABLE_TEMPLATE, TEMPLATE_HASH, budget_name, client_name,
    config_name, identity_name, peers_name, selector, selector_text,
};
pub use pod::template;
pub use policy::{budget, claim_labels, identity, service_account};
pub use services::{client, peers};
pub use statefulset::{SetInputs, stateful_set};
