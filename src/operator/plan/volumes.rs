//! Holds what is asked for of the volumes against those that exist.
//!
//! In: what the servers are to be, and the claims' templates that exist. Out: what the servers are to be on these.
//!
//! Always true:
//! * a StatefulSet's claim templates never change, as the API server would refuse the whole object.
//!
//! Not here: growing volumes.

use crate::operator::desired::{Desired, Keep, Pool};
use crate::operator::observed::Observed;
use crate::operator::quantity;

/// What the servers are to be on the volumes that exist, and what cannot be done; empty if nothing.
pub fn on_existing(desired: &Desired, observed: &Observed) -> (Desired, String) {
    let mut desired = desired.clone();
    let mut problems = Vec::new();
    let Some(set) = observed.sets.get(&Pool::Voters) else { return (desired, String::new()) };
    let existing = |name: &str| set.claims.iter().find(|claim| claim.0 == name);
    if existing("datalog").is_none() && desired.data_log.as_ref().is_some_and(|log| log.keep == Keep::Retain)
    {
        desired.data_log = None;
        problems.push(
            "storage.dataLog can only be given when the ensemble is made; members keep their log in data"
                .to_owned(),
        );
    }
    let log = desired.data_log.as_mut().map(|volume| ("datalog", volume));
    for (name, volume) in [("data", &mut desired.data)].into_iter().chain(log) {
        let Some((_, size, class)) = existing(name) else { continue };
        if quantity::parse(size) != quantity::parse(&volume.size) {
            problems.push(format!(
                "volumes {name} of {size} are not grown to {} yet: grow their claims by hand",
                volume.size
            ));
        }
        volume.size.clone_from(size);
        volume.class.clone_from(class);
    }
    (desired, problems.join("; "))
}
