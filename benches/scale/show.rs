//! The table, in Markdown, and the curve.

use crate::measure::{Point, STEPS};
use crate::support::archive::Failure;
use plotters::prelude::*;
use std::fmt::Write as _;
use std::path::Path;

/// What the issue allows.
const BAR: f64 = 1.5;

/// Microseconds by step and size, and the largest size's as a multiple of the smallest's.
pub fn table(points: &[Point]) -> String {
    let mut text = String::from("| µs |");
    for point in points {
        let _ = write!(text, " {:.1} million rows, {:.1} GB |", point.rows as f64 / 1e6, point.bytes as f64 / 1e9);
    }
    text.push_str(" ratio |\n|---|");
    text.push_str(&"---:|".repeat(points.len() + 1));
    for (i, step) in STEPS.iter().enumerate() {
        let _ = write!(text, "\n| {step} |");
        for point in points {
            let _ = write!(text, " {:.0} |", point.micros[i]);
        }
        let _ = write!(text, " {:.2} |", ratio(points, points.len() - 1, i));
    }
    text
}

/// Cost of a step at a size, as a multiple of that at the first size.
fn ratio(points: &[Point], at: usize, step: usize) -> f64 {
    points[at].micros[step] / points[0].micros[step]
}

/// Each step's cost as a multiple of that at the smallest size, over the rows; the bar is dashed.
pub fn plot(points: &[Point], file: &Path) -> Result<(), Failure> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let most = points.iter().enumerate().flat_map(|(p, _)| (0..STEPS.len()).map(move |s| ratio(points, p, s)));
    let top = most.fold(2.0, f64::max) * 1.05;
    let (from, to) = (points[0].rows as f64, points[points.len() - 1].rows.max(points[0].rows + 1) as f64);
    let area = SVGBackend::new(file, (820, 460)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((from..to).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("Rows in the ledger")
        .y_desc("Cost, as a multiple of that at the smallest ledger")
        .x_label_formatter(&|rows| format!("{:.0} million", rows / 1e6))
        .draw()?;
    chart.draw_series(DashedLineSeries::new([(from, BAR), (to, BAR)], 6, 4, BLACK.into()))?;
    for (step, name) in STEPS.iter().enumerate() {
        let colour = HSLColor(step as f64 / STEPS.len() as f64, 0.85, 0.4);
        let line: Vec<(f64, f64)> =
            points.iter().enumerate().map(|(p, point)| (point.rows as f64, ratio(points, p, step))).collect();
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerLeft).background_style(WHITE.mix(0.8)).draw()?;
    area.present()?;
    Ok(())
}
