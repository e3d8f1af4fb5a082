//! The learning curve: each epoch's figures as JSON, and as a picture of losses, AUC and learning rate.

use super::TrainError;
use super::plot::{self, Diagram, Names, Points};
use super::write::replace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// What one pass over the training images gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean of the steps' losses.
    pub training_loss: f64,
    /// Mean loss of the validation images.
    pub validation_loss: Option<f64>,
    /// Mean ROC AUC of the regions on validation, 0..=1.
    pub mean_auc: Option<f64>,
    /// ROC AUC by region; regions without both kinds of images are left out.
    pub auc: BTreeMap<String, f64>,
    /// Learning rate of the last step.
    pub rate: f64,
}

/// Width of the picture, and heights of the diagrams of losses, AUC and learning rate, in pixels.
const WIDTH: u32 = 900;
const HEIGHTS: [u32; 3] = [360, 360, 180];

/// Writes `<name>.history.json` and `<name>.curve.svg` into a folder.
pub fn write(folder: &Path, name: &str, history: &[Epoch]) -> Result<(), TrainError> {
    let json = serde_json::to_string_pretty(history).map_err(|e| TrainError::Data(e.to_string()))?;
    replace(&folder.join(format!("{name}.history.json")), format!("{json}\n").as_bytes())?;
    replace(&folder.join(format!("{name}.curve.svg")), svg(name, history)?.as_bytes())
}

/// The picture, as the text of an SVG file; pure.
pub fn svg(name: &str, history: &[Epoch]) -> Result<String, TrainError> {
    let points = |of: &dyn Fn(&Epoch) -> Option<f64>| -> Points {
        history.iter().filter_map(|e| Some((e.epoch as f64, of(e)?))).collect()
    };
    let mut regions: Vec<&String> = history.iter().flat_map(|e| e.auc.keys()).collect();
    regions.sort();
    regions.dedup();
    let mut aucs = vec![("mean".to_owned(), points(&|e| e.mean_auc))];
    aucs.extend(regions.into_iter().map(|r| (r.clone(), points(&|e| e.auc.get(r).copied()))));
    let losses = vec![
        ("training".to_owned(), points(&|e| Some(e.training_loss))),
        ("validation".to_owned(), points(&|e| e.validation_loss)),
    ];
    let rate = vec![("learning rate".to_owned(), points(&|e| Some(e.rate)))];
    let last = history.iter().map(|e| e.epoch).max().unwrap_or(1).max(2) as f64;
    let diagram = |title: &str, least: f64, names: Names, lines: Vec<(String, Points)>| Diagram {
        title: title.to_owned(),
        across: ("epoch", 1.0..last),
        up: ("", within(&lines, least)),
        whole: true,
        dots: true,
        names,
        lines,
    };
    let mut auc = diagram("ROC AUC on validation", 1.0, Names::LowerRight, aucs);
    // The line of the perfect ones is not on the frame.
    auc.up.1.end = 1.0 + (1.0 - auc.up.1.start) * 0.02;
    let diagrams = [
        diagram(&format!("{name}: loss"), 0.0, Names::UpperRight, losses),
        auc,
        diagram("learning rate", 0.0, Names::UpperRight, rate),
    ];
    plot::column(WIDTH, &diagrams.iter().zip(HEIGHTS).collect::<Vec<_>>())
}

/// A range that holds `least` and all values, with a little room; never empty.
fn within(all: &[(String, Points)], least: f64) -> Range<f64> {
    let values = all.iter().flat_map(|(_, points)| points).map(|p| p.1).filter(|v| v.is_finite());
    let (low, high) = values.fold((least, least), |(low, high), v| (low.min(v), high.max(v)));
    let room = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-9);
    (if low == 0.0 { 0.0 } else { low - room })..high + room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> Vec<Epoch> {
        (1..=4)
            .map(|epoch| Epoch {
                epoch,
                training_loss: 1.0 / epoch as f64,
                validation_loss: (epoch > 1).then_some(1.2 / epoch as f64),
                mean_auc: Some(0.8 + 0.04 * epoch as f64),
                auc: [("HAND".to_owned(), 0.9), ("KNEE".to_owned(), 0.7 + 0.05 * epoch as f64)].into(),
                rate: 1e-3 / epoch as f64,
            })
            .collect()
    }

    #[test]
    fn the_picture_has_a_line_for_each_figure_and_a_point_for_each_epoch() {
        let text = svg("knees", &history()).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
        for part in ["knees: loss", "training", "validation", "HAND", "KNEE", "mean", "learning rate", "epoch"] {
            assert!(text.contains(part), "{part} is missing");
        }
        // Training 4, validation 3, mean 4, two regions 8, rate 4.
        assert_eq!(text.matches("<circle").count(), 23);
        assert_eq!(text, svg("knees", &history()).unwrap());
    }

    #[test]
    fn nothing_one_epoch_and_values_that_are_no_numbers_are_drawn_too() {
        svg("none", &[]).unwrap();
        let mut one = history();
        one.truncate(1);
        assert_eq!(svg("one", &one).unwrap().matches("<circle").count(), 5);
        one[0].training_loss = f64::NAN;
        assert_eq!(svg("nan", &one).unwrap().matches("<circle").count(), 4);
        let level =
            Epoch { mean_auc: Some(1.0), auc: BTreeMap::new(), training_loss: 0.0, rate: 0.0, ..one[0].clone() };
        assert_eq!(svg("level", &[level]).unwrap().matches("<circle").count(), 3);
    }

    #[test]
    fn the_history_is_written_beside_the_picture_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "w", &history()).unwrap();
        let json = std::fs::read(folder.path().join("w.history.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Epoch>>(&json).unwrap(), history());
        assert!(folder.path().join("w.curve.svg").is_file());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 2, "something else was left behind");
        assert!(matches!(write(&folder.path().join("no"), "w", &history()), Err(TrainError::Write { .. })));
    }
}
