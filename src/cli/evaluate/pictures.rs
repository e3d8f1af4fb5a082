//! The pictures of the report: thumbnails of errors and suspects, and class activation maps.

use super::Outcome;
use crate::anatomy::Region;
use crate::drawing::{map_over, png, thumbnail};
use crate::judge::risk::soonest;
use crate::judge::suspects::Suspect;
use crate::judge::{Judged, Thresholds, Truth, truth};
use crate::model::Classifier;
use crate::preprocess::Plane;
use crate::train::{TrainError, features};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;

/// Longer side of a picture, pixels.
const LONGEST: usize = 240;
/// So many errors are shown.
const MOST: usize = 48;

/// One picture of a sheet with what is to be read beside it.
pub struct Shown {
    /// As in the manifest.
    pub path: String,
    /// What the label says.
    pub label: String,
    /// What is told of it, a line each.
    pub lines: Vec<String>,
    /// The picture as a `data:` address.
    pub picture: String,
    /// A head, and where its evidence lies in the picture, as a `data:` address.
    pub map: Option<(String, String)>,
}

/// The errors that weigh most, the worst first: named what they are not (the surest first), then missed (the least likely first).
pub fn worst<'a>(judged: &'a [Judged], thresholds: &Thresholds) -> Vec<&'a Judged> {
    let weight = |j: &Judged| {
        let margin = soonest(j, thresholds).map_or(f64::NEG_INFINITY, |(_, margin)| margin);
        let own = j.scores.get(&j.region).copied().unwrap_or(0.0);
        // A neighbour called the region next to it is the smaller mistake.
        match (j.called, truth(&j.region)) {
            (Some(called), Truth::NextTo(next)) if called == next => (1, margin),
            (Some(_), _) => (0, margin),
            (None, _) => (2, -f64::from(own)),
        }
    };
    let mut errors: Vec<(&Judged, (i32, f64))> =
        judged.iter().filter(|j| j.is_error()).map(|j| (j, weight(j))).collect();
    errors.sort_by(|(a, x), (b, y)| x.0.cmp(&y.0).then(y.1.total_cmp(&x.1)).then_with(|| a.path.cmp(&b.path)));
    errors.into_iter().map(|(j, _)| j).collect()
}

/// The sheet of the worst errors.
pub fn errors(outcome: &Outcome, root: &Path) -> Result<Vec<Shown>, TrainError> {
    let classifier = &outcome.classifier;
    let one = |j: &&Judged| {
        let plane = read(classifier, root, &j.path)?;
        let called = j.called.map_or("not called".to_owned(), |r| format!("called {}", r.term()));
        // Why it was called so, or where the network would have looked for what it is.
        let head = j.called.or(Region::from_term(&j.region)).map(Region::term);
        Ok(Shown {
            path: j.path.clone(),
            label: j.region.clone(),
            lines: vec![called, j.best(3), format!("source {}", j.source)],
            map: head.map(|head| map(classifier, &plane, head)).transpose()?.flatten(),
            picture: picture(png(thumbnail(&plane, LONGEST)))?,
        })
    };
    worst(&outcome.images, classifier.thresholds()).iter().take(MOST).map(one).collect()
}

/// The sheet of the likeliest wrong labels.
pub fn doubted(outcome: &Outcome, root: &Path) -> Result<Vec<Shown>, TrainError> {
    let one = |s: &Suspect| {
        let plane = read(&outcome.classifier, root, &s.path)?;
        let criterion = if s.confident { "confident" } else { "not confident" };
        Ok(Shown {
            path: s.path.clone(),
            label: s.label.clone(),
            lines: vec![
                format!("likelier {} {:.2}", s.likelier, s.other),
                format!("the label {:.2}; {criterion}", s.given),
            ],
            picture: picture(png(thumbnail(&plane, LONGEST)))?,
            map: None,
        })
    };
    outcome.suspects.iter().map(one).collect()
}

fn read(classifier: &Classifier, root: &Path, path: &str) -> Result<Plane, TrainError> {
    features::read_plane(&root.join(path), &classifier.card().input)
}

fn map(classifier: &Classifier, plane: &Plane, head: &str) -> Result<Option<(String, String)>, TrainError> {
    let (input, framed) = classifier.framed_input(plane);
    let Some(framed) = framed else { return Ok(None) };
    let maps = classifier.activation_maps(std::slice::from_ref(&input))?;
    let Some(map) = maps.first().and_then(|maps| maps.get(head)) else { return Ok(None) };
    let drawn = picture(png(map_over(plane, &framed, map, LONGEST)))?;
    Ok(Some((head.to_owned(), drawn)))
}

fn picture(png: Result<Vec<u8>, crate::drawing::DrawingError>) -> Result<String, TrainError> {
    let png = png.map_err(|e| TrainError::Data(e.to_string()))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{flat, judged};

    #[test]
    fn false_names_come_before_smaller_mistakes_and_misses() {
        let t = flat(0.5);
        let images = [
            judged("HAND", "HAND", 0.4, &t),
            judged("WRIST", "HAND", 0.99, &t),
            judged("FOOT", "HAND", 0.6, &t),
            judged("HAND", "HAND", 0.9, &t),
            judged("KNEE", "HAND", 0.9, &t),
            judged("SKULL", "HAND", 0.2, &t),
            judged("HAND", "HAND", 0.1, &t),
        ];
        let order: Vec<(&str, f32)> =
            worst(&images, &t).iter().map(|j| (j.region.as_str(), j.scores["HAND"])).collect();
        assert_eq!(order, [("KNEE", 0.9), ("FOOT", 0.6), ("WRIST", 0.99), ("HAND", 0.1), ("HAND", 0.4)]);
    }
}
