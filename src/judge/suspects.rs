//! The images whose label is likeliest wrong: confident learning. Pure.
//!
//! After C. G. Northcutt, L. Jiang and I. L. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70, 2021:
//! a class is *confident* in an image when its probability is at least the mean that images of that label get; an image in
//! which another class than the given one is confident is a suspect, the further the given label lies behind the sooner.
//! Heads are one-vs-rest here, so the probabilities of an image need not add up to one.

use super::Judged;
use super::label::label;
use serde::Serialize;
use std::collections::BTreeMap;

/// An image whose label may be wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// As in the manifest.
    pub path: String,
    /// Its label.
    pub label: String,
    /// The head that claims it; [`NONE`] where the label is a head's and no head claims the image.
    pub likelier: String,
    /// Probability of the label.
    pub given: f32,
    /// Probability of `likelier`.
    pub other: f32,
    /// `other` − `given`, −1..=1: what the list is sorted by.
    pub score: f32,
    /// Whether `likelier` reaches what its own images get in the mean: the paper's criterion.
    pub confident: bool,
}

/// What a label without a head of its own is judged by: that no head claims the image.
pub const NONE: &str = "none of the heads";

/// The likeliest wrong ones first. The scores must come from a network that was not trained on these images; one that was
/// knows some wrong labels by heart.
pub fn suspects(judged: &[Judged], most: usize) -> Vec<Suspect> {
    let mean = confident_from(judged);
    let mut all: Vec<Suspect> = judged.iter().filter_map(|j| suspect(j, &mean)).collect();
    all.sort_by(|a, b| {
        b.confident.cmp(&a.confident).then(b.score.total_cmp(&a.score)).then_with(|| a.path.cmp(&b.path))
    });
    all.truncate(most);
    all
}

/// The mean probability that each class has in the images of its label.
fn confident_from(judged: &[Judged]) -> BTreeMap<String, f32> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for j in judged {
        for (class, p) in classes(j) {
            if label(&j.region, &class) == Some(true) || (class == NONE && headless(j)) {
                let (sum, count) = sums.entry(class).or_default();
                *sum += f64::from(p);
                *count += 1;
            }
        }
    }
    sums.into_iter().map(|(class, (sum, count))| (class, (sum / count as f64) as f32)).collect()
}

/// No head stands for the label, not even one that may.
fn headless(j: &Judged) -> bool {
    j.scores.keys().all(|head| label(&j.region, head) == Some(false))
}

/// Each head's probability, and that of none.
fn classes(j: &Judged) -> Vec<(String, f32)> {
    let most = j.scores.values().copied().fold(0.0, f32::max);
    j.scores.iter().map(|(head, p)| (head.clone(), *p)).chain([(NONE.to_owned(), 1.0 - most)]).collect()
}

fn suspect(j: &Judged, mean: &BTreeMap<String, f32>) -> Option<Suspect> {
    let headless = headless(j);
    // A class that the label leaves open (a spine is the one or the other) speaks for the label.
    let fits = |class: &str| if class == NONE { headless } else { label(&j.region, class) != Some(false) };
    let (mine, others): (Vec<_>, Vec<_>) = classes(j).into_iter().partition(|(class, _)| fits(class));
    let given = mine.iter().map(|c| c.1).fold(0.0, f32::max);
    // Without an image of that label there is no mean; one half stands for it.
    let confident = |class: &str, p: f32| p >= mean.get(class).copied().unwrap_or(0.5).max(0.05);
    let (likelier, other) =
        others.into_iter().max_by(|a, b| confident(&a.0, a.1).cmp(&confident(&b.0, b.1)).then(a.1.total_cmp(&b.1)))?;
    let confident = confident(&likelier, other) && other > given;
    Some(Suspect {
        path: j.path.clone(),
        label: j.region.clone(),
        likelier,
        given,
        other,
        score: other - given,
        confident,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flat, judged};
    use super::*;

    fn named(path: &str, region: &str, head: &str, p: f32) -> Judged {
        Judged { path: path.into(), ..judged(region, head, p, &flat(0.5)) }
    }

    #[test]
    fn a_swapped_label_comes_first() {
        let mut images: Vec<Judged> = (0..8).map(|i| named(&format!("h{i}"), "HAND", "HAND", 0.9)).collect();
        images.extend((0..8).map(|i| named(&format!("k{i}"), "KNEE", "KNEE", 0.7)));
        images.push(named("swapped", "KNEE", "HAND", 0.95));
        images.push(named("weak", "KNEE", "HAND", 0.3));
        let found = suspects(&images, 3);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].path.as_str(), found[0].likelier.as_str(), found[0].confident), ("swapped", "HAND", true));
        assert!((found[0].score - 0.94).abs() < 1e-6);
        // Its hand is none by the paper's criterion; that nothing claims it is likelier.
        assert_eq!((found[1].path.as_str(), found[1].likelier.as_str()), ("weak", NONE));
    }

    #[test]
    fn labels_without_a_head_and_open_ones() {
        let noise = named("noise", super::super::NO_RADIOGRAPH, "HAND", 0.02);
        let mut spine = named("spine", "SPINE", "HAND", 0.02);
        spine.scores.extend([("LSPINE".into(), 0.9), ("CSPINE".into(), 0.1)]);
        let photo = named("photo", super::super::NO_RADIOGRAPH, "HAND", 0.97);
        let found = suspects(&[noise, spine, photo], 9);
        assert_eq!(found[0].path, "photo");
        assert!(found[1].score < 0.0 && found[2].score < 0.0, "{found:?}");
    }
}
