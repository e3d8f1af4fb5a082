//! Labels that may be wrong: images of named sources are trusted less than the others. Pure.
//!
//! The tags that come with a hospital's images are wrong in about one of seven. A network learns what is common before it
//! learns the exceptions by heart, so early on a wrong label shows as a large loss (Han et al. 2018, "Co-teaching",
//! arXiv:1804.06872), and the network's own opinion is worth a part of the target (Reed et al. 2015, arXiv:1412.6596).

use serde::{Deserialize, Serialize};

/// Which sources are doubted, and what is done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// How a wrong label is kept from doing harm.
    pub method: Method,
    /// The part of the labels that is thought to be wrong, above 0 and below one half.
    pub rate: f32,
    /// Sources of the manifest; all others are believed.
    pub sources: Vec<String>,
}

/// How a wrong label is kept from doing harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Of the doubted images of a step, those with the largest losses count nothing: a part of `rate`.
    SmallLoss,
    /// The targets of the doubted images are mixed with the network's own probabilities: `rate` of those.
    Bootstrap,
}

/// Targets and weights of a step's images, a row of heads for each image.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Batch {
    pub heads: usize,
    pub targets: Vec<f32>,
    pub weights: Vec<f32>,
}

/// The part of a run after which labels are doubted at all, and after which they are doubted fully.
const FROM: f32 = 0.2;
const FULL: f32 = 0.5;

impl Noise {
    /// What does not hold, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if !(self.rate > 0.0 && self.rate < 0.5) {
            return Err("noise.rate is not above 0 and below 0.5".into());
        }
        if self.sources.is_empty() { Err("noise.sources names no source".into()) } else { Ok(()) }
    }

    /// Whether the labels of a source are doubted.
    pub fn doubts(&self, source: &str) -> bool {
        self.sources.iter().any(|s| s == source)
    }

    /// Changes what a step's doubted images count for. `logits`: a row of heads for each image; `doubted`: one for each image;
    /// `done`: the part of the run that is done, 0..=1: a network that knows nothing cannot tell, so the doubt begins after a fifth of
    /// the run and has its full size from the middle on; `step` draws whether a fraction of an image is dropped.
    pub fn apply(&self, batch: &mut Batch, logits: &[f32], doubted: &[bool], done: f32, step: usize) {
        let rate = self.rate * ((done - FROM) / (FULL - FROM)).clamp(0.0, 1.0);
        let heads = batch.heads;
        match self.method {
            Method::SmallLoss => {
                let losses: Vec<(usize, f32)> = (0..doubted.len())
                    .filter(|&image| doubted[image])
                    .map(|image| {
                        let row = image * heads..(image + 1) * heads;
                        let terms = logits[row.clone()].iter().zip(&batch.targets[row.clone()]);
                        let losses = terms.zip(&batch.weights[row]).map(|((x, t), w)| w * entropy(*x, *t));
                        (image, losses.sum())
                    })
                    .collect();
                for image in largest(losses, rate, step) {
                    batch.weights[image * heads..(image + 1) * heads].fill(0.0);
                }
            }
            Method::Bootstrap => {
                for image in (0..doubted.len()).filter(|&image| doubted[image]) {
                    let row = image * heads..(image + 1) * heads;
                    for (target, x) in batch.targets[row.clone()].iter_mut().zip(&logits[row]) {
                        *target += rate * (1.0 / (1.0 + (-x).exp()) - *target);
                    }
                }
            }
        }
    }
}

/// Binary cross-entropy with logits.
fn entropy(x: f32, target: f32) -> f32 {
    x.max(0.0) - x * target + (-x.abs()).exp().ln_1p()
}

/// The images with the largest losses: a part of `rate`. A fraction of an image is one now and then, spread evenly over the steps.
fn largest(mut losses: Vec<(usize, f32)>, rate: f32, step: usize) -> impl Iterator<Item = usize> {
    // Multiples of the golden ratio lie evenly within 0..1, and need no state that a checkpoint would have to keep.
    let lot = (step as f64 * 0.618_033_988_749_894_9).fract();
    let count = (losses.len() as f64 * f64::from(rate) + lot).floor() as usize;
    losses.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    losses.into_iter().take(count).map(|(image, _)| image)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 12] = [3.0, -3.0, -3.0, 3.0, 3.0, -3.0, 2.0, -4.0, -5.0, 5.0, 0.1, -0.1];

    /// Six images of two heads; the labels of images 1 and 4 contradict the network.
    fn batch() -> Batch {
        let targets = vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        Batch { heads: 2, targets, weights: vec![1.0; 12] }
    }

    fn noise(method: Method, rate: f32) -> Noise {
        Noise { method, rate, sources: vec!["harvest".into()] }
    }

    #[test]
    fn the_largest_losses_count_nothing_and_believed_images_are_left_alone() {
        let mut all = batch();
        noise(Method::SmallLoss, 0.34).apply(&mut all, &LOGITS, &[true; 6], 1.0, 0);
        assert_eq!(all.weights, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(all.targets, batch().targets);
        // Images 1 and 4 are believed now: the doubt falls on the least likely of the others.
        let mut some = batch();
        let doubted = [true, false, true, true, false, true];
        noise(Method::SmallLoss, 0.25).apply(&mut some, &LOGITS, &doubted, 1.0, 0);
        assert_eq!(some.weights, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_doubt_begins_after_a_fifth_of_the_run_and_is_whole_in_the_middle() {
        for (done, dropped) in [(0.0, 0), (0.2, 0), (0.36, 1), (0.5, 2), (1.0, 2)] {
            let mut all = batch();
            noise(Method::SmallLoss, 0.34).apply(&mut all, &LOGITS, &[true; 6], done, 0);
            assert_eq!(all.weights.iter().filter(|w| **w == 0.0).count() / 2, dropped, "{done}");
        }
    }

    #[test]
    fn fractions_of_an_image_add_up_over_the_steps() {
        let losses = |_| (0..4).map(|i| (i, i as f32)).collect::<Vec<_>>();
        let dropped: usize = (0..700).map(|step| largest(losses(step), 1.0 / 7.0, step).count()).sum();
        assert!((395..=405).contains(&dropped), "{dropped}");
    }

    #[test]
    fn targets_move_towards_the_networks_opinion_by_the_rate() {
        let mut all = batch();
        noise(Method::Bootstrap, 0.2).apply(&mut all, &LOGITS, &[false, true, false, false, false, false], 1.0, 0);
        let opinion = 1.0 / (1.0 + 3f32.exp());
        assert!((all.targets[2] - (0.8 + 0.2 * opinion)).abs() < 1e-6);
        assert!((all.targets[3] - 0.2 * (1.0 - opinion)).abs() < 1e-6);
        let mut rest = all.clone();
        rest.targets[2..4].copy_from_slice(&batch().targets[2..4]);
        assert_eq!(rest, batch());
    }

    #[test]
    fn senseless_settings_are_refused() {
        assert!(noise(Method::Bootstrap, 0.14).check().is_ok());
        assert!(noise(Method::Bootstrap, 0.0).check().is_err());
        assert!(noise(Method::Bootstrap, f32::NAN).check().is_err());
        assert!(Noise { sources: vec![], ..noise(Method::SmallLoss, 0.1) }.check().is_err());
    }
}
