//! The learning curve: each epoch's figures as JSON, and as a picture of losses, AUC and learning rate.

use super::TrainError;
use super::write::replace;
use plotters::coord::Shift;
use plotters::prelude::SeriesLabelPosition::{LowerRight, UpperRight};
use plotters::prelude::*;
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

/// Width and height of the picture in pixels.
const SIZE: (u32, u32) = (900, 900);
/// Heights of the losses' and the AUC's parts; the learning rate has the rest.
const PARTS: (u32, u32) = (360, 360);

type Points = Vec<(f64, f64)>;
type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// Writes `<name>.history.json` and `<name>.curve.svg` into a folder.
pub fn write(folder: &Path, name: &str, history: &[Epoch]) -> Result<(), TrainError> {
    let json = serde_json::to_string_pretty(history).map_err(|e| TrainError::Data(e.to_string()))?;
    replace(&folder.join(format!("{name}.history.json")), format!("{json}\n").as_bytes())?;
    replace(&folder.join(format!("{name}.curve.svg")), svg(name, history)?.as_bytes())
}

/// The picture, as the text of an SVG file; pure.
pub fn svg(name: &str, history: &[Epoch]) -> Result<String, TrainError> {
    let mut text = String::new();
    draw(&mut text, name, history).map_err(|e| TrainError::Plot(e.to_string()))?;
    Ok(text)
}

fn draw(text: &mut String, name: &str, history: &[Epoch]) -> Drawn<()> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (losses, rest) = root.split_vertically(PARTS.0);
    let (aucs, rates) = rest.split_vertically(PARTS.1);
    let points = |of: &dyn Fn(&Epoch) -> Option<f64>| -> Points {
        history.iter().filter_map(|e| Some((e.epoch as f64, of(e).filter(|v| v.is_finite())?))).collect()
    };
    let last = history.iter().map(|e| e.epoch).max().unwrap_or(1).max(2) as f64;

    let both = [
        ("training".to_owned(), points(&|e| Some(e.training_loss))),
        ("validation".to_owned(), points(&|e| e.validation_loss)),
    ];
    lines(&losses, &format!("{name}: loss"), last, within(&both, 0.0), &both, UpperRight)?;

    let mut regions: Vec<&String> = history.iter().flat_map(|e| e.auc.keys()).collect();
    regions.sort();
    regions.dedup();
    let mut all = vec![("mean".to_owned(), points(&|e| e.mean_auc))];
    all.extend(regions.into_iter().map(|r| (r.clone(), points(&|e| e.auc.get(r).copied()))));
    let low = within(&all, 1.0).start;
    lines(&aucs, "ROC AUC on validation", last, low..1.0 + (1.0 - low) * 0.02, &all, LowerRight)?;

    let rate = [("learning rate".to_owned(), points(&|e| Some(e.rate)))];
    lines(&rates, "learning rate", last, within(&rate, 0.0), &rate, UpperRight)?;
    root.present()?;
    Ok(())
}

/// A range that holds `least` and all values, with a little room; never empty.
fn within(all: &[(String, Points)], least: f64) -> Range<f64> {
    let values = all.iter().flat_map(|(_, points)| points).map(|p| p.1);
    let (low, high) = values.fold((least, least), |(low, high), v| (low.min(v), high.max(v)));
    let room = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-9);
    (if low == 0.0 { 0.0 } else { low - room })..high + room
}

/// One diagram: a line and points for each name.
fn lines(
    area: &DrawingArea<SVGBackend, Shift>,
    title: &str,
    last: f64,
    values: Range<f64>,
    all: &[(String, Points)],
    names: SeriesLabelPosition,
) -> Drawn<()> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(70)
        .build_cartesian_2d(1.0..last, values)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_labels((last as usize).min(20)).x_label_formatter(&whole).x_desc("epoch");
    mesh.y_labels(area.dim_in_pixel().1 as usize / 40).light_line_style(WHITE).draw()?;
    for (i, (name, points)) in all.iter().enumerate() {
        // The first line is what the others are compared with.
        let colour = if i == 0 { BLACK.to_rgba() } else { Palette99::pick(i).to_rgba() };
        let style = colour.stroke_width(if i == 0 { 3 } else { 2 });
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        chart.draw_series(points.iter().map(|&p| Circle::new(p, 3, colour.filled())))?;
    }
    chart.configure_series_labels().position(names).background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

/// Epochs are whole: no label between them.
fn whole(x: &f64) -> String {
    if (x - x.round()).abs() < 1e-6 { format!("{}", x.round()) } else { String::new() }
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
