//! Scores of a series → one verdict. Pure.
//!
//! A verdict belongs to a series, since BodyPartExamined does (General Series module). It is made in two steps: what the
//! images show ([`scores`]), then what the tags say beside it ([`tags`]). Every doubt ends in a verdict that writes nothing.
//!
//! # What the images show
//! One image **names** a region when that region's probability is at or above `accept`, and no other head of the model, be it a
//! region or a further one (FOOT, WRIST, CHEST, …), is likely (above one half) or as probable. It shows **none** of the regions
//! when all are below `reject`. Everything else is doubt.
//!
//! | images of the series | the network is |
//! |---|---|
//! | at least one names R; none excludes R or names another; the mean probability of R over the images is at or above `accept` | sure of R |
//! | one names R, another names S or shows none of the regions | in conflict |
//! | all show none | sure that it is outside |
//! | anything else | not sure |
//!
//! # What becomes of the tag
//! The first line that fits counts. *Tags* are those of all instances; where a tag is empty or too general, the code
//! of Anatomic Region Sequence (0008,2218) speaks for it.
//!
//! | evidence | tags | verdict | writes in mode `correct` / `fill` |
//! |---|---|---|---|
//! | the series has a verdict already | | as it was | see *Latecomers* |
//! | any instance signed, or exempt beside scored ones | | `exempt` | no |
//! | none scored: all exempt | | `exempt` | no |
//! | none scored: some undecodable | | `undecodable` | no |
//! | conflict | | `conflict` | no |
//! | not sure | | `abstained` | no |
//! | some undecodable beside scored ones | | `abstained` | no: what was not seen leaves as it came |
//! | outside | | `outside` | no |
//! | sure of R | any names a neighbour of R, or its code does | `neighbour` | no |
//! | sure of R | any cannot be read (not in the table) | `abstained` | no: it may well be right |
//! | sure of R | all R, as the defined term | `confirmed` | no |
//! | sure of R | any names another part, or one too general, or holds a placeholder | `corrected` | yes / no |
//! | sure of R | some empty, the others R | `filled` | yes / yes |
//! | sure of R | some empty, others a synonym | `filled` | yes / no: `fill` touches no value that is there |
//! | sure of R | R, with synonyms or what `same_as` declares one with R | `synonym` | only with `normalise_synonyms` / no |
//!
//! Mode `observe` gives the same verdicts and writes nothing. A region that is not enabled is seen, routed and recorded,
//! never written. Which parts are neighbours is a matter of the rules ([`Rules::neighbours`]); what `same_as` declares one with
//! R is none. What is written is written to every instance of the series. The region stays in the verdict wherever the
//! network was sure, also where nothing is written, so that routes by region work.
//!
//! In mode `fill`, a series in which any instance has a value that would change is left alone as a whole: filling the others
//! would only make its instances differ.
//!
//! # Latecomers
//! An instance that comes after the verdict of its series never changes that verdict, and the series keeps it whatever the
//! mode becomes meanwhile. What the latecomer takes over is asked anew for each ([`inherit`]), by the rules of today:
//!
//! | the latecomer | is written |
//! |---|---|
//! | shows another region at `accept` (and not that of the series), or shows the region below `reject`, or is exempt: not the same picture | no |
//! | mode `observe`; a region no longer enabled; a synonym's verdict without `normalise_synonyms` | no |
//! | mode `fill`, its tag is not empty; or the verdict is none of `fill` (not `filled`) and the series was not written | no |
//! | else: it agrees, is in doubt, or cannot be decoded | as the series |
//!
//! Where the series was written and its latecomer is not, the audit tells why. A series that was left alone only because of
//! the mode binds nobody: once the mode allows it, its latecomers (and the series itself, sent again) are written.

mod late;
mod scores;
mod tags;
#[cfg(test)]
mod tests;

use crate::anatomy::Region;
use crate::dataset::Code;
pub use late::{Inherits, inherit, may_write};
use scores::Sight;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What looking at one instance gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "look", rename_all = "snake_case")]
pub enum Look {
    /// The network ran.
    Scored {
        /// Calibrated probability (0..=1) of each head, by name: the five regions first of all, and any further heads of
        /// the model ("FOOT", "CHEST", …).
        scores: BTreeMap<String, f32>,
        /// First 16 hex digits of the SHA-256 of the weights, and ` int8` where that was the arithmetic.
        model: String,
        /// Reading and decoding, milliseconds.
        decode_ms: f32,
        /// The network, milliseconds (its batch, divided by the images in it).
        classify_ms: f32,
    },
    /// A radiograph whose pixels could not be read.
    Undecodable {
        /// Why, for the audit; no patient data.
        reason: String,
    },
    /// Not looked at: not a radiograph, signed, colour, several frames, excluded by rule.
    Exempt {
        /// Why.
        reason: String,
    },
}

/// The kinds of verdict (see the module's table for when each is given).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The tag was already right.
    Confirmed,
    /// The tag named another region, or one too general to be of use.
    Corrected,
    /// The tag was absent or empty.
    Filled,
    /// Same region in a non-standard spelling or another language.
    Synonym,
    /// The tag names the region next door: left alone.
    Neighbour,
    /// The network was not sure, or the tag cannot be read.
    Abstained,
    /// None of the regions.
    Outside,
    /// Confident instances of one series disagree.
    Conflict,
    /// No instance of the series could be decoded.
    Undecodable,
    /// Not a radiograph, signed, or excluded by rule.
    Exempt,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 10] = [
        Kind::Confirmed,
        Kind::Corrected,
        Kind::Filled,
        Kind::Synonym,
        Kind::Neighbour,
        Kind::Abstained,
        Kind::Outside,
        Kind::Conflict,
        Kind::Undecodable,
        Kind::Exempt,
    ];

    /// As in the configuration, the ledger and the log.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Confirmed => "confirmed",
            Kind::Corrected => "corrected",
            Kind::Filled => "filled",
            Kind::Synonym => "synonym",
            Kind::Neighbour => "neighbour",
            Kind::Abstained => "abstained",
            Kind::Outside => "outside",
            Kind::Conflict => "conflict",
            Kind::Undecodable => "undecodable",
            Kind::Exempt => "exempt",
        }
    }

    /// Can a verdict of this kind name a region?
    pub fn can_have_region(self) -> bool {
        !matches!(self, Kind::Outside | Kind::Conflict | Kind::Undecodable)
    }
}

/// The verdict of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which kind.
    pub kind: Kind,
    /// What the network saw, wherever it was sure, whether or not anything is written.
    pub region: Option<Region>,
    /// The region to write to every instance of the series, if anything was to be written in the mode in force when the
    /// verdict was given. What a latecomer is given is asked of [`inherit`].
    pub write: Option<Region>,
    /// One sentence for the audit: why.
    pub reason: String,
}

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Correct wrong tags and fill empty ones.
    Correct,
    /// Write only where a tag is empty.
    Fill,
    /// Write nothing, record everything.
    Observe,
}

impl Mode {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Correct => "correct",
            Mode::Fill => "fill",
            Mode::Observe => "observe",
        }
    }
}

/// Thresholds of one region on the calibrated probability, from the model card.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// At or above: the region is named.
    pub accept: f32,
    /// Below: the region is excluded. In between: doubt.
    pub reject: f32,
}

/// What a verdict goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// By term. A region without thresholds can neither be named nor excluded.
    pub thresholds: BTreeMap<String, Threshold>,
    /// What may be written.
    pub mode: Mode,
    /// The regions that may be written.
    pub regions: BTreeSet<Region>,
    /// Also write the defined term where the tag is a synonym.
    pub normalise_synonyms: bool,
    /// Tags that the site takes as one with a region: terms, or words of its own.
    pub same_as: BTreeMap<Region, Vec<String>>,
    /// Defined terms of the parts next door, in place of [`Region::neighbours`] for the regions that are there.
    pub neighbours: BTreeMap<Region, Vec<&'static str>>,
}

impl Rules {
    /// Is `term` (a defined term) next door to `region`, so that a tag that names it is left alone?
    fn is_neighbour(&self, region: Region, term: &str) -> bool {
        match self.neighbours.get(&region) {
            Some(terms) => terms.contains(&term),
            None => crate::anatomy::is_neighbour(region, term),
        }
    }
}

/// One instance of the series.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What looking gave.
    pub look: &'a Look,
    /// BodyPartExamined as it came; empty when absent.
    pub tag: &'a str,
    /// First item of Anatomic Region Sequence; an empty value: it has a code that cannot be read.
    pub anatomic_region: Option<&'a Code>,
    /// It carries a digital signature.
    pub signed: bool,
}

/// The verdict of a series: of all its instances that wait for one, in any order, or the verdict that the series has
/// already, unchanged, if these are latecomers.
pub fn decide(instances: &[Seen<'_>], rules: &Rules, inherited: Option<&Verdict>) -> Verdict {
    inherited.cloned().unwrap_or_else(|| judge(instances, rules))
}

fn judge(instances: &[Seen<'_>], rules: &Rules) -> Verdict {
    let images: Vec<_> = instances
        .iter()
        .filter_map(|seen| match seen.look {
            Look::Scored { scores, .. } => Some(scores),
            _ => None,
        })
        .collect();
    let sight = scores::combine(&images, &rules.thresholds);
    let region = sight.region();
    let left_alone = |kind, reason| Verdict { kind, region, write: None, reason };
    if instances.iter().any(|seen| seen.signed) {
        return left_alone(Kind::Exempt, "the series holds a digitally signed instance".into());
    }
    let (undecodable, exempt) = not_scored(instances);
    if let (Some(reason), true) = (&exempt.reason, undecodable.count == 0 || !images.is_empty()) {
        return left_alone(Kind::Exempt, format!("exempt ({} of {}): {reason}", exempt.count, instances.len()));
    }
    if let (Some(reason), true) = (&undecodable.reason, images.is_empty()) {
        return left_alone(Kind::Undecodable, format!("no image could be read: {reason}"));
    }
    match sight {
        Sight::Conflict(reason) => left_alone(Kind::Conflict, reason),
        Sight::NotSure(reason) => left_alone(Kind::Abstained, reason),
        _ if undecodable.reason.is_some() => left_alone(
            Kind::Abstained,
            format!("{} of {} images could not be read", undecodable.count, instances.len()),
        ),
        Sight::Outside => left_alone(Kind::Outside, "none of the regions is in the picture".into()),
        Sight::Sure(region, mean) => beside_the_tags(instances, rules, region, mean),
    }
}

/// How many instances have a look of one sort without scores, and the reason that sorts first among theirs.
#[derive(Default)]
struct Unscored {
    count: usize,
    reason: Option<String>,
}

impl Unscored {
    fn add(&mut self, reason: &str) {
        self.count += 1;
        if self.reason.as_deref().is_none_or(|first| reason < first) {
            self.reason = Some(reason.to_string());
        }
    }
}

fn not_scored(instances: &[Seen<'_>]) -> (Unscored, Unscored) {
    let (mut undecodable, mut exempt) = (Unscored::default(), Unscored::default());
    for seen in instances {
        match seen.look {
            Look::Undecodable { reason } => undecodable.add(reason),
            Look::Exempt { reason } => exempt.add(reason),
            Look::Scored { .. } => {}
        }
    }
    (undecodable, exempt)
}

fn beside_the_tags(instances: &[Seen<'_>], rules: &Rules, region: Region, mean: f64) -> Verdict {
    let tags = tags::weigh(instances, region, rules);
    let wanted = match (tags.kind, rules.mode) {
        (Kind::Corrected | Kind::Filled, Mode::Correct) => true,
        (Kind::Filled, Mode::Fill) => tags.nothing_there_changes,
        (Kind::Synonym, Mode::Correct) => rules.normalise_synonyms,
        _ => false,
    };
    let enabled = rules.regions.contains(&region);
    let mut reason = format!("{} seen at {mean:.3}; {}", region.term(), tags.reason);
    if wanted && !enabled {
        reason.push_str("; the region is not among classify.regions");
    }
    Verdict { kind: tags.kind, region: Some(region), write: (wanted && enabled).then_some(region), reason }
}
