//! The report as one HTML page that needs nothing beside it. Pure; `maud` escapes all text.

use super::pictures::Shown;
use super::text::{between, changes, number, percent, range};
use crate::anatomy::Region;
use crate::judge::fit::CrossFitted;
use crate::judge::robust::Robust;
use crate::judge::threshold::Evidence;
use crate::judge::{Called, Report};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What is on the page.
pub struct Page<'a> {
    /// Name of the weights, and the start of their hash.
    pub model: String,
    /// What was judged on.
    pub data: String,
    /// The figures.
    pub report: &'a Report,
    /// Title, what it shows, and SVG.
    pub plots: Vec<(&'static str, &'static str, String)>,
    /// The worst errors.
    pub errors: Vec<Shown>,
    /// The likeliest wrong labels.
    pub suspects: Vec<Shown>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882}\
body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6rem 0}\
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}\
th{font-weight:600}.wide{overflow-x:auto}.right{background:#0a74}.wrong{background:#d404}\
.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;max-width:520px}figcaption{font-size:.85rem}\
figure svg{max-width:100%;height:auto}\
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:1rem}\
.sheet article{border:1px solid var(--line);border-radius:6px;padding:.6rem;font-size:.85rem;overflow-wrap:anywhere}\
.sheet img{max-width:100%;background:#000;display:block;margin-bottom:.3rem}\
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.3rem}.sheet p{margin:.15rem 0}";

/// The whole page.
pub fn page(page: &Page) -> String {
    let report = page.report;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "radroute: judging of " (page.model) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Judging of " (page.model) }
                p { (page.data) ": " (report.images) " images in " (report.groups) " groups. Intervals are 95 %. Research use: radiographs may not be passed on with this page." }
                h2 { "Regions" }
                (figures(report))
                @if let Some(e) = &report.thresholds { h2 { "Thresholds" } (evidence(e, report.cross_fitted.as_ref())) }
                h2 { "Curves" }
                div.plots {
                    @for (title, what, svg) in &page.plots {
                        figure { strong { (title) } (PreEscaped(svg)) figcaption { (what) } }
                    }
                }
                h2 { "Confusion" }
                (confusion(report))
                @if let Some(robust) = &report.robust { h2 { "The same image, changed" } (robustness(robust)) }
                @for (source, report) in &report.by_source {
                    h2 { "Source " (source) }
                    p { (report.images) " images in " (report.groups) " groups." }
                    (figures(report))
                }
                h2 { "Worst errors" }
                @if page.errors.is_empty() { p { "None." } }
                @else { p { "Named what they are not, the surest first; then missed. Beside the image: where the evidence for the region lies." } }
                (sheet(&page.errors))
                @if !page.suspects.is_empty() {
                    h2 { "Labels likeliest wrong" }
                    p { "For a person to judge: the network claims another label more strongly than the one given." }
                    (sheet(&page.suspects))
                }
            }
        }
    };
    markup.into_string()
}

fn figures(report: &Report) -> Markup {
    html! {
        div.wide { table {
            tr { @for h in ["region", "images", "groups", "ROC AUC", "sensitivity", "specificity", "ECE", "accept", "reject"] { th { (h) } } }
            @for (name, r) in &report.regions {
                tr {
                    td { (name) } td { (r.positives) } td { (r.positive_groups) }
                    td { (between(r.auc, r.auc_95)) } td { (between(r.sensitivity, r.sensitivity_95)) }
                    td { (between(r.specificity, r.specificity_95)) } td { (number(r.ece)) }
                    td { (format!("{:.3}", r.accept)) } td { (format!("{:.3}", r.reject)) }
                }
            }
        } }
        p { "Mean AUC " (number(report.mean_auc)) "; expected calibration error of the five heads " (number(report.ece)) "." }
        table {
            tr { @for h in ["called a region, though", "images", "called", "of these the one next to it", "rate"] { th { (h) } } }
            (called("radiographs of other regions", &report.outside))
            (called("radiographs of neighbouring regions", &report.neighbours))
            (called("no radiographs", &report.no_radiograph))
        }
    }
}

fn called(what: &str, c: &Called) -> Markup {
    html! { tr { td { (what) } td { (c.images) } td { (c.called_a_region) } td { (c.called_next) } td { (between(Some(c.rate), c.rate_95)) } } }
}

fn evidence(e: &Evidence, cross: Option<&CrossFitted>) -> Markup {
    let of = |(images, named): (usize, usize)| format!("{named} of {images}");
    html! {
        p {
            "Chosen for false corrections of at most " (percent(e.target)) " of outside radiographs. Modelled: " (percent(e.expected))
            (range(e.expected_95)) @if !e.met { strong { " – not met: it would leave too few images named, or asks for more than such data tell" } }
            ", on " (e.outside) " images in " (e.groups) " groups with " (e.copies) " changed copies each. Counted: "
            (e.counted) " of " (e.outside) (range(e.counted_95)) "."
        }
        @if let Some(cross) = cross {
            p {
                "Fitted without the image itself: "
                @for (region, row) in &cross.regions { (region) " " (of(*row)) ", " }
                "another region " (cross.another) "; outside " (of(cross.outside)) ", neighbours " (of(cross.neighbours))
                ", no radiographs " (of(cross.no_radiograph)) "."
            }
        }
    }
}

fn confusion(report: &Report) -> Markup {
    let columns = || Region::ALL.into_iter().map(Region::term).chain(["-"]);
    html! {
        table {
            tr { th { "is \\ called" } @for c in columns() { th { (c) } } }
            @for (label, row) in &report.confusion {
                tr {
                    td { (label) }
                    @for c in columns() {
                        @let n = row.get(c).copied().unwrap_or(0);
                        @let right = if Region::from_term(label).is_some() { c == label } else { c == "-" };
                        td.right[n > 0 && right].wrong[n > 0 && !right] { @if n > 0 { (n) } }
                    }
                }
            }
        }
    }
}

fn robustness(robust: &Robust) -> Markup {
    html! {
        table {
            tr { @for h in ["changed", "images", "named the same", "same verdict", "lost", "newly wrong"] { th { (h) } } }
            @for row in changes(robust) { tr { @for cell in row { td { (cell) } } } }
        }
    }
}

fn sheet(shown: &[Shown]) -> Markup {
    html! {
        div.sheet {
            @for s in shown {
                article {
                    @if let Some((head, map)) = &s.map {
                        div.pair { img src=(s.picture) alt=(s.label); img src=(map) alt=(format!("activation map of {head}")); }
                    } @else { img src=(s.picture) alt=(s.label); }
                    p { strong { (s.label) } }
                    @for line in &s.lines { p { (line) } }
                    p { code { (s.path) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{flat, judged};
    use crate::judge::{Judged, report};

    #[test]
    fn text_is_escaped_and_nothing_is_fetched() {
        let evil = "<script>alert(1)</script>&\"'";
        let t = flat(0.5);
        let image = Judged { source: evil.into(), ..judged(evil, "HAND", 0.9, &t) };
        let report = report(&[image, judged("HAND", "HAND", 0.9, &t)], &t);
        assert_eq!(report.by_source.len(), 2);
        let shown = || Shown {
            path: evil.into(),
            label: evil.into(),
            lines: vec![evil.into()],
            picture: "data:image/png;base64,AAAA".into(),
            map: Some((evil.into(), "data:image/png;base64,BBBB".into())),
        };
        let text = page(&Page {
            model: evil.into(),
            data: evil.into(),
            report: &report,
            plots: vec![("ROC", "what", "<svg></svg>".into())],
            errors: vec![shown()],
            suspects: vec![shown()],
        });
        assert!(!text.contains("<script"), "{text}");
        // Title, heading, data, source, label of the confusion, and each shown one's own.
        assert!(text.matches("&lt;script&gt;").count() >= 12);
        assert!(text.contains("<svg></svg>") && text.contains("BBBB"));
        assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("src=\"/"));
    }
}
