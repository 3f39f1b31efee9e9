//! Which steps between versions are taken.
//!
//! In: a [`View`]. Out: nothing, or why the step is refused.
//!
//! Always true:
//! * only a version that the spec names is judged: without one, the operator's own upgrade decides.
//!
//! Not here: which image a version is (`validate`).

use super::action::Stage;
use super::view::View;
use crate::operator::desired::Choice;

/// Why the version asked for is not rolled out.
pub fn refusal(view: &View<'_>) -> Option<(Stage, String)> {
    let current = &view.observed.status.version.current;
    if view.desired.version_is_chosen == Choice::Computed {
        return None;
    }
    judge(current, &view.desired.version)
}

fn judge(current: &str, target: &str) -> Option<(Stage, String)> {
    let (from, to) = (read(current)?, read(target)?);
    let next = format!("{}.{}", from.0, from.1 + 1);
    if to.0 != from.0 || to.1 > from.1 + 1 {
        let text = format!("from {current} to {target} skips a version; go to {next} first");
        return Some((Stage::VersionSkipRefused, text));
    }
    if to.1 < from.1 {
        let text =
            format!("from {current} to {target} is a step back; ask for {}.{} or {next}", from.0, from.1);
        return Some((Stage::DowngradeRefused, text));
    }
    None
}

fn read(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    match (parts.next()?, parts.next()?) {
        (Ok(major), Ok(minor)) => Some((major, minor)),
        (Err(_), _) | (_, Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_and_one_minor_step_are_taken() {
        for (from, to) in
            [("1.4.2", "1.4.9"), ("1.4.2", "1.5.0"), ("1.4.2", "1.4.0"), ("", "1.0.0"), ("x", "2.0.0")]
        {
            assert_eq!(judge(from, to), None, "{from} to {to}");
        }
        let stage = |from, to| judge(from, to).map(|(stage, _)| stage);
        assert_eq!(stage("1.4.2", "1.6.0"), Some(Stage::VersionSkipRefused));
        assert_eq!(stage("1.4.2", "2.0.0"), Some(Stage::VersionSkipRefused));
        assert_eq!(stage("1.4.2", "1.3.9"), Some(Stage::DowngradeRefused));
    }
}
