//! What a latecomer takes over from the verdict that its series has.

use super::{Kind, Look, Mode, Rules, Seen, Verdict, scores};
use crate::anatomy::{Region, Tag, normalise};

/// What a latecomer takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inherits {
    /// Nothing was written to its series, and nothing is to it.
    Nothing,
    /// The region is written to it.
    Region(Region),
    /// Its series is written and it is not: why.
    LeftAlone(String),
}

/// The region that a verdict given earlier may still write, by the rules of today. It goes by what the verdict found, not by
/// the mode of that day, so that a verdict is never weakened for good.
pub fn may_write(verdict: &Verdict, rules: &Rules) -> Option<Region> {
    let by_mode = match (rules.mode, verdict.kind) {
        (Mode::Correct, Kind::Corrected | Kind::Filled) | (Mode::Fill, Kind::Filled) => true,
        (Mode::Correct, Kind::Synonym) => rules.normalise_synonyms,
        // The rest of the series has the region: an empty tag may have it too.
        (Mode::Fill, Kind::Corrected | Kind::Synonym) => verdict.write.is_some(),
        _ => false,
    };
    verdict.region.filter(|region| by_mode && rules.regions.contains(region))
}

/// What `late` takes over from the verdict of its series (see the table in the head of [`super`]).
pub fn inherit(verdict: &Verdict, late: &Seen<'_>, rules: &Rules) -> Inherits {
    let Some(region) = may_write(verdict, rules) else {
        return match verdict.write {
            None => Inherits::Nothing,
            Some(region) => Inherits::LeftAlone(format!(
                "a latecomer of a series that was written {}: the configuration of today (mode {}) does not allow it",
                region.term(),
                rules.mode.name()
            )),
        };
    };
    if let Some(other) = shows_something_else(late, region, rules) {
        return Inherits::LeftAlone(format!("a latecomer that shows something else: {other}"));
    }
    let empty_or_right = match normalise(late.tag) {
        Tag::Empty => true,
        Tag::Term { term, exact } => exact && term == region.term(),
        _ => false,
    };
    if rules.mode == Mode::Fill && !empty_or_right {
        return Inherits::LeftAlone("a latecomer whose tag is not empty: mode fill does not change it".into());
    }
    Inherits::Region(region)
}

/// Why a latecomer is no picture of the region. Doubt is none, and neither is an image that cannot be decoded.
fn shows_something_else(late: &Seen<'_>, region: Region, rules: &Rules) -> Option<String> {
    match late.look {
        Look::Exempt { reason } => Some(reason.clone()),
        Look::Undecodable { .. } => None,
        Look::Scored { scores, .. } => scores::objection(scores, region, &rules.thresholds),
    }
}
