//! Diagrams of lines as SVG. Pure.

use super::TrainError;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;

/// Points of a line: across, up.
pub(super) type Points = Vec<(f64, f64)>;

/// Where the names of the lines stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    UpperRight,
    LowerRight,
}

/// Some lines over the same axes. The first is what the others are compared with: black and thick.
pub(super) struct Diagram {
    pub title: String,
    /// Names of the axes and what they span.
    pub across: (&'static str, Range<f64>),
    pub up: (&'static str, Range<f64>),
    /// Only whole numbers stand below it.
    pub whole: bool,
    /// Each point has a dot.
    pub dots: bool,
    pub names: Names,
    /// Points that are no numbers are left out.
    pub lines: Vec<(String, Points)>,
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Diagrams with their heights, one below the other, as the text of an SVG file. The same diagrams give the same text.
pub(super) fn column(width: u32, diagrams: &[(&Diagram, u32)]) -> Result<String, TrainError> {
    let mut text = String::new();
    let height = diagrams.iter().map(|(_, height)| height).sum();
    let draw = |text: &mut String| -> Drawn {
        let mut rest = SVGBackend::with_string(text, (width, height)).into_drawing_area();
        rest.fill(&WHITE)?;
        for (diagram, height) in diagrams {
            let (area, below) = rest.split_vertically(*height);
            diagram.draw(&area)?;
            rest = below;
        }
        rest.present()?;
        Ok(())
    };
    draw(&mut text).map_err(|e| TrainError::Plot(e.to_string()))?;
    Ok(text)
}

impl Diagram {
    fn draw(&self, area: &DrawingArea<SVGBackend, Shift>) -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(32)
            .y_label_area_size(70)
            .build_cartesian_2d(self.across.1.clone(), self.up.1.clone())?;
        let (wide, high) = area.dim_in_pixel();
        let across = |x: &f64| match x.fract().abs() < 1e-6 {
            true => format!("{x:.0}"),
            false if self.whole => String::new(),
            false => format!("{x:.1}"),
        };
        let mut mesh = chart.configure_mesh();
        mesh.x_labels((wide / 80) as usize).x_label_formatter(&across).x_desc(self.across.0);
        mesh.y_labels((high / 40) as usize).y_desc(self.up.0).light_line_style(WHITE).draw()?;
        for (i, (name, points)) in self.lines.iter().enumerate() {
            let colour = if i == 0 { BLACK.to_rgba() } else { Palette99::pick(i).to_rgba() };
            let style = colour.stroke_width(if i == 0 { 3 } else { 2 });
            let points = || points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite());
            chart
                .draw_series(LineSeries::new(points(), style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            if self.dots {
                chart.draw_series(points().map(|p| Circle::new(p, 3, colour.filled())))?;
            }
        }
        let place = match self.names {
            Names::UpperRight => SeriesLabelPosition::UpperRight,
            Names::LowerRight => SeriesLabelPosition::LowerRight,
        };
        chart.configure_series_labels().position(place).background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
        Ok(())
    }
}
