//! What a load is made of: operations and their shares.
//!
//! In: a text like `read=9,set=1`. Out: a [`Mix`] that draws operations.
//!
//! Always true:
//! * a mix has at least one operation with a share over 0.
//!
//! Not here: the bytes of the requests (`request`).

use std::str::FromStr;

use crate::base::rng::Rng;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// getData of one of the keys.
    Read,
    /// setData of one of the keys.
    Set,
    /// create of a node with a name of its own, below a node of this connection.
    Create,
    /// delete of this connection's oldest created node; create while it has none.
    Delete,
    /// getChildren of the keys' parent.
    List,
    /// A multi of two setData, of two of the keys.
    Multi,
    /// getData of one of the keys, and a one-shot watch on it.
    Watch,
}

/// The operations, by name.
const NAMES: [(&str, Operation); 7] = [
    ("read", Operation::Read),
    ("set", Operation::Set),
    ("create", Operation::Create),
    ("delete", Operation::Delete),
    ("list", Operation::List),
    ("multi", Operation::Multi),
    ("watch", Operation::Watch),
];
/// The largest share of one operation.
const SHARE_MAX: u64 = 1_000_000;

/// Operations with their shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    shares: Vec<(Operation, u64)>,
    total: u64,
}

/// Why a text is no mix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// An operation that does not exist.
    #[error("there is no operation {name:?}; there are: {}", NAMES.map(|(name, _)| name).join(", "))]
    Operation {
        /// What was written.
        name: String,
    },
    /// A share that is no number within the limits.
    #[error("the share of {operation} is {share:?}, and must be a number from 1 to {SHARE_MAX}")]
    Share {
        /// The operation's name.
        operation: String,
        /// What was written.
        share: String,
    },
}

impl FromStr for Mix {
    type Err = MixError;

    /// `read=9,set=1`; an operation without a share has 1.
    fn from_str(text: &str) -> Result<Mix, MixError> {
        let shares = text.split(',').map(|part| {
            let (name, share) = part.split_once('=').unwrap_or((part, "1"));
            let known = NAMES.iter().find(|(known, _)| *known == name.trim());
            let (_, operation) = known.ok_or_else(|| MixError::Operation { name: name.trim().to_owned() })?;
            let number = share.trim().parse().ok().filter(|share| (1..=SHARE_MAX).contains(share));
            let flaw = || MixError::Share { operation: name.trim().to_owned(), share: share.to_owned() };
            Ok((*operation, number.ok_or_else(flaw)?))
        });
        let shares: Vec<(Operation, u64)> = shares.collect::<Result<_, MixError>>()?;
        let total = shares.iter().map(|(_, share)| share).sum();
        Ok(Mix { shares, total })
    }
}

impl Mix {
    /// Draws an operation.
    pub fn draw(&self, rng: &mut Rng) -> Operation {
        if let [(only, _)] = self.shares[..] {
            return only;
        }
        let mut at = rng.below(self.total);
        for (operation, share) in &self.shares {
            if at < *share {
                return *operation;
            }
            at -= share;
        }
        unreachable!("a number below the total falls into a share")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_drawn_by_their_shares() {
        let mix: Mix = "read=9, set".parse().unwrap();
        let mut rng = Rng::new(1);
        let sets = (0..10_000).filter(|_| mix.draw(&mut rng) == Operation::Set).count();
        assert!((800..1_200).contains(&sets), "{sets}");
    }

    #[test]
    fn what_is_no_mix_is_told() {
        let says = |text: &str| text.parse::<Mix>().unwrap_err().to_string();
        assert_eq!(
            says("get=1"),
            "there is no operation \"get\"; there are: read, set, create, delete, list, multi, watch"
        );
        assert_eq!(says("read=0"), "the share of read is \"0\", and must be a number from 1 to 1000000");
        assert!(says("").starts_with("there is no operation \"\""));
    }
}
