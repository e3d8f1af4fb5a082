//! What the images of a series show.

use super::Threshold;
use crate::anatomy::Region;
use std::collections::BTreeMap;

/// What the images of a series show together.
#[derive(Debug, PartialEq)]
pub(super) enum Sight {
    /// The region, and the mean of its probability over the images.
    Sure(Region, f64),
    /// No region, and no image that may show one.
    Outside,
    /// Doubt: why.
    NotSure(String),
    /// Confident images disagree: how.
    Conflict(String),
}

impl Sight {
    pub(super) fn region(&self) -> Option<Region> {
        match self {
            Sight::Sure(region, _) => Some(*region),
            _ => None,
        }
    }
}

/// What one image shows.
#[derive(Clone, Debug, PartialEq)]
enum Image {
    Names(Region),
    Outside,
    Doubt(String),
}

type Scores = BTreeMap<String, f32>;
type Thresholds = BTreeMap<String, Threshold>;

/// A probability, or nothing where the head is missing or its number is none.
fn probability(scores: &Scores, region: Region) -> Option<f32> {
    scores.get(region.term()).copied().filter(|p| (0.0..=1.0).contains(p))
}

fn accepted(scores: &Scores, region: Region, thresholds: &Thresholds) -> bool {
    match (probability(scores, region), thresholds.get(region.term())) {
        // An `accept` of nothing would name every region in every image.
        (Some(p), Some(t)) => t.accept > 0.0 && p >= t.accept,
        _ => false,
    }
}

fn excluded(scores: &Scores, region: Region, thresholds: &Thresholds) -> bool {
    match (probability(scores, region), thresholds.get(region.term())) {
        (Some(p), Some(t)) => p < t.reject && p < t.accept,
        _ => false,
    }
}

fn image(scores: &Scores, thresholds: &Thresholds) -> Image {
    let named: Vec<Region> = Region::ALL.into_iter().filter(|r| accepted(scores, *r, thresholds)).collect();
    match named[..] {
        [region] => match rival(scores, region) {
            None => Image::Names(region),
            Some(head) => Image::Doubt(format!("{} is accepted, but {head} is likely too", region.term())),
        },
        [first, second, ..] => Image::Doubt(format!("{} and {} are both accepted", first.term(), second.term())),
        [] if Region::ALL.into_iter().all(|r| excluded(scores, r, thresholds)) => Image::Outside,
        [] => Image::Doubt(format!("no region is accepted and not all are excluded{}", best(scores))),
    }
}

/// Above this, a head is likelier than not.
const LIKELY: f32 = 0.5;

/// Another head that is likely, or as probable as `region`. A number that is none counts against us.
fn rival(scores: &Scores, region: Region) -> Option<&str> {
    let p = probability(scores, region)?;
    let harmless = |other: f32| other <= LIKELY && other < p;
    let others = scores.iter().filter(|(head, _)| head.as_str() != region.term());
    others.into_iter().find(|(_, other)| !harmless(**other)).map(|(head, _)| head.as_str())
}

fn best(scores: &Scores) -> String {
    let best = Region::ALL
        .into_iter()
        .filter_map(|r| Some((r, probability(scores, r)?)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(r, p)| format!(" (best: {} at {p:.3})", r.term())).unwrap_or_default()
}

/// Why an image cannot show `region`: it names another, or it excludes this one. Doubt is no reason.
pub(super) fn objection(scores: &Scores, region: Region, thresholds: &Thresholds) -> Option<String> {
    let other = Region::ALL.into_iter().find(|r| *r != region && accepted(scores, *r, thresholds));
    match other {
        Some(other) if !accepted(scores, region, thresholds) => Some(format!("{} is seen", other.term())),
        _ if excluded(scores, region, thresholds) => Some(format!("{} is not in the picture", region.term())),
        _ => None,
    }
}

/// What the images show together. The order of `images` does not matter.
pub(super) fn combine(images: &[&Scores], thresholds: &Thresholds) -> Sight {
    let mut seen: Vec<(Image, &Scores)> = images.iter().map(|s| (image(s, thresholds), *s)).collect();
    let mut named: Vec<Region> = seen
        .iter()
        .filter_map(|(image, _)| if let Image::Names(region) = image { Some(*region) } else { None })
        .collect();
    named.sort();
    named.dedup();
    let outside = seen.iter().filter(|(image, _)| *image == Image::Outside).count();
    // The doubt that sorts first is the one that is told.
    seen.sort_by_key(
        |(image, _)| if let Image::Doubt(why) = image { (false, why.clone()) } else { (true, String::new()) },
    );
    match (&named[..], seen.first()) {
        (_, None) => Sight::NotSure("there is no image to judge by".into()),
        ([first, second, ..], _) => {
            Sight::Conflict(format!("images of the series show {} and {}", first.term(), second.term()))
        }
        ([region], _) if outside > 0 => Sight::Conflict(format!(
            "images of the series show {}, {outside} of {} none of the regions",
            region.term(),
            images.len()
        )),
        ([region], _) => sure(*region, images, thresholds, &seen),
        ([], Some((Image::Doubt(why), _))) => Sight::NotSure(why.clone()),
        ([], _) => Sight::Outside,
    }
}

/// One region is named and no image shows none: is it enough for the series?
fn sure(region: Region, images: &[&Scores], thresholds: &Thresholds, seen: &[(Image, &Scores)]) -> Sight {
    // One after the other: which of two reasons is told must not depend on the order of arrival.
    let doubt = |against: fn(&Scores, Region, &Thresholds) -> bool| {
        seen.iter().find_map(|(image, scores)| match image {
            Image::Doubt(why) if against(scores, region, thresholds) => Some(why),
            _ => None,
        })
    };
    if let Some(why) = doubt(excluded) {
        return Sight::NotSure(format!("one image shows {}, another excludes it: {why}", region.term()));
    }
    // Two regions accepted, or another head likely: more than a weak view.
    if let Some(why) = doubt(accepted) {
        return Sight::NotSure(why.clone());
    }
    let mut probabilities: Vec<f64> =
        images.iter().map(|s| probability(s, region).map_or(f64::NAN, f64::from)).collect();
    // Sorted, so that the sum does not depend on the order of arrival.
    probabilities.sort_by(f64::total_cmp);
    let mean = probabilities.iter().sum::<f64>() / probabilities.len() as f64;
    match thresholds.get(region.term()) {
        Some(t) if mean >= f64::from(t.accept) => Sight::Sure(region, mean),
        _ => Sight::NotSure(format!("{} over the images is {mean:.3}, not enough for the series", region.term())),
    }
}
