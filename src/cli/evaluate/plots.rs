//! The curves of the report as SVG: ROC, reliability, coverage against risk. Pure.

use crate::anatomy::Region;
use crate::judge::{Judged, Thresholds, reliability, report, risk, roc};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::ops::Range;

/// Width and height of a plot, pixels.
const SIZE: (u32, u32) = (520, 420);
/// One for each region; told apart by those who see few colours too (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
];

/// A plot that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot cannot be drawn: {0}")]
pub struct PlotError(String);

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A curve and what it is called.
struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// ROC of each region that has images; false positives to a half.
pub fn receiver(judged: &[Judged]) -> Result<String, PlotError> {
    let curve = |(region, colour): (Region, RGBColor)| {
        let scored: Vec<(f32, bool)> = report::scored(judged, region.term()).iter().map(|s| (s.0, s.1)).collect();
        let area = roc::auc(&scored)?;
        Some(Curve { name: format!("{} {area:.3}", region.term()), colour, points: roc::curve(&scored) })
    };
    let curves = Region::ALL.into_iter().zip(COLOURS).filter_map(curve).collect();
    plot(
        "Part of the other images",
        "Part of the region's images",
        (0.0..0.5, 0.0..1.0),
        curves,
        None,
        SeriesLabelPosition::LowerRight,
    )
}

/// What was said and what was seen, by bin, of each region and of all; the diagonal is the truth.
pub fn reliable(judged: &[Judged]) -> Result<String, PlotError> {
    let points = |bins: &[reliability::Bin]| -> Vec<(f64, f64)> {
        bins.iter().filter(|b| b.weight > 0.0).map(|b| (b.said, b.seen)).collect()
    };
    let curve = |(region, colour): (Region, RGBColor)| {
        let points = points(&reliability::bins(&reliability::of(judged, region)));
        (!points.is_empty()).then(|| Curve { name: region.term().to_owned(), colour, points })
    };
    let mut curves: Vec<Curve> = Region::ALL.into_iter().zip(COLOURS).filter_map(curve).collect();
    curves.push(Curve { name: "all five".into(), colour: BLACK, points: points(&reliability::pooled(judged)) });
    let diagonal = Some(vec![(0.0, 0.0), (1.0, 1.0)]);
    plot(
        "Probability said",
        "Part that is of the region",
        (0.0..1.0, 0.0..1.0),
        curves,
        diagonal,
        SeriesLabelPosition::UpperLeft,
    )
}

/// Coverage against risk, and recall against the part of outside radiographs named; the line is where the thresholds lie.
pub fn covered(judged: &[Judged], thresholds: &Thresholds) -> Result<String, PlotError> {
    let points = risk::curve(judged, thresholds);
    let of = |x: fn(&risk::Point) -> f64, y: fn(&risk::Point) -> f64| points.iter().map(|p| (x(p), y(p))).collect();
    let now = points.iter().rfind(|p| p.margin >= 0.0).map_or(0.0, |p| p.coverage);
    let most = points.iter().flat_map(|p| [p.risk, p.outside]).fold(0.05f64, f64::max).min(1.0);
    let across = points.iter().map(|p| p.coverage).fold(0.05f64, f64::max);
    let curves = vec![
        Curve {
            name: "named wrongly, of those named".into(),
            colour: COLOURS[3],
            points: of(|p| p.coverage, |p| p.risk),
        },
        Curve {
            name: "outside radiographs named".into(),
            colour: COLOURS[0],
            points: of(|p| p.coverage, |p| p.outside),
        },
    ];
    let line = Some(vec![(now, 0.0), (now, most)]);
    plot(
        "Coverage: part of all images that is named",
        "Part",
        (0.0..across, 0.0..most),
        curves,
        line,
        SeriesLabelPosition::UpperLeft,
    )
}

fn plot(
    across: &str,
    up: &str,
    (x, y): (Range<f64>, Range<f64>),
    curves: Vec<Curve>,
    aside: Option<Vec<(f64, f64)>>,
    at: SeriesLabelPosition,
) -> Result<String, PlotError> {
    let mut text = String::new();
    draw(&mut text, across, up, (x, y), curves, aside, at).map_err(|e| PlotError(e.to_string()))?;
    Ok(text)
}

fn draw(
    into: &mut String,
    across: &str,
    up: &str,
    (x, y): (Range<f64>, Range<f64>),
    curves: Vec<Curve>,
    aside: Option<Vec<(f64, f64)>>,
    at: SeriesLabelPosition,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let area = SVGBackend::with_string(into, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart: Chart =
        ChartBuilder::on(&area).margin(12).x_label_area_size(42).y_label_area_size(52).build_cartesian_2d(x, y)?;
    chart.configure_mesh().x_desc(across).y_desc(up).light_line_style(WHITE.mix(0.0)).draw()?;
    if let Some(points) = aside {
        chart.draw_series(LineSeries::new(points, BLACK.mix(0.35)))?;
    }
    for Curve { name, colour, points } in curves {
        let dots: Vec<_> = points.iter().map(|p| Circle::new(*p, 2, colour.filled())).collect();
        let line = LineSeries::new(points, colour.stroke_width(2));
        let sample = move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(sample);
        chart.draw_series(dots)?;
    }
    let labels = chart
        .configure_series_labels()
        .position(at)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw();
    labels?;
    area.present()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{draw, flat, names};
    use crate::judge::{fit, judged};

    #[test]
    fn plots_are_svg_whatever_the_images() {
        let outputs = draw(5, 9, 2.0, 1);
        let fitted = fit(&outputs, &names(), 0.01);
        let some = judged(&outputs, &fitted.heads, &fitted.thresholds);
        for images in [&some[..], &some[..1], &[]] {
            for svg in [receiver(images), reliable(images), covered(images, &flat(0.5))] {
                let svg = svg.unwrap();
                assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
                assert!(!svg.contains("NaN"), "{svg}");
            }
        }
        let svg = receiver(&some).unwrap();
        assert!(Region::ALL.iter().all(|r| svg.contains(r.term())));
    }
}
