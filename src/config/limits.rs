//! Limits of what clients ask for, under both names that ZooKeeper's documents give them.
//!
//! In: settings as written. Out: checked limits.
//!
//! Always true:
//! * where both names of a setting are written, the one that ZooKeeper reads in a file wins.
//!
//! Not here: limits of connections (`check`).

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::check::Checker;
use super::keys;
use super::settings::{ConnectionThrottle, RequestLimits, SessionWeights, Share};
use crate::base::Millis;

/// The longest time that a limit may have: a day, in ms.
const DAY: u64 = 86_400_000;

impl Checker<'_> {
    pub(super) fn request_limits(&mut self) -> RequestLimits {
        let stall = self.either("request_throttle_stall_time", 100, 1..=DAY);
        let throttled_after = self.either("throttled_op_wait_time", 0, 0..=DAY);
        let large_threshold = self.number("largeRequestThreshold", -1, -1..=i32::MAX);
        RequestLimits {
            outstanding_max: self.number("globalOutstandingLimit", 0, 0..=u32::MAX),
            throttle_max: self.either("request_throttle_max_requests", 0, 0..=u32::MAX),
            stall: Millis(stall),
            drop_stale: self.choice("request_throttle_drop_stale").unwrap_or(true),
            stale_by_latency: self.choice("request_stale_latency_check").unwrap_or(false),
            stale_by_connection: self.choice("request_stale_connection_check").unwrap_or(true),
            throttled_after: Some(Millis(throttled_after)).filter(|after| *after > Millis(0)),
            large_threshold: u32::try_from(large_threshold).ok(),
            large_bytes_max: self.number("largeRequestMaxBytes", 100 << 20, 0..=u64::MAX),
        }
    }

    pub(super) fn connection_throttle(&mut self) -> ConnectionThrottle {
        let all = 0..=u32::MAX;
        let freeze_time = self.either("connection_throttle_freeze_time", -1, -1..=DAY.cast_signed());
        let fill_time = self.either("connection_throttle_fill_time", 1, 0..=u32::MAX);
        let has_weights = self.flag("connection_throttle_weight_enabled") == Some(true);
        let weights = SessionWeights {
            global: self.number("connection_throttle_global_session_weight", 3, 1..=u32::MAX),
            renewed: self.number("connection_throttle_renew_session_weight", 2, 1..=u32::MAX),
            local: self.number("connection_throttle_local_session_weight", 1, 1..=u32::MAX),
        };
        ConnectionThrottle {
            tokens: self.either("connection_throttle_tokens", 0, all.clone()),
            fill_time: Millis(u64::from(fill_time)),
            fill_count: self.either("connection_throttle_fill_count", 1, all),
            freeze_time: u64::try_from(freeze_time).ok().map(Millis),
            drop_increase: self.share("connection_throttle_drop_increase", 0.02),
            drop_decrease: self.share("connection_throttle_drop_decrease", 0.002),
            decrease_ratio: self.share("connection_throttle_decrease_ratio", 0.0),
            weights: Some(weights).filter(|_| has_weights),
        }
    }

    /// The number of a key that has another name in ZooKeeper's guide.
    fn either<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + Display,
    {
        let default = self.number(keys::guide_name(key), default, range.clone());
        self.number(key, default, range)
    }

    /// The same for what is true or false; `None` if neither is written.
    fn choice(&mut self, key: &str) -> Option<bool> {
        let of_guide = self.flag(keys::guide_name(key));
        self.flag(key).or(of_guide)
    }

    /// The same for a share.
    fn share(&mut self, key: &str, default: f64) -> Share {
        let share = self.either(key, default, 0.0..=1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        let millionths = (share * 1e6).round() as u32;
        Share(millionths)
    }
}
