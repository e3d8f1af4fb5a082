//! The figures as tables on the terminal.

use super::Outcome;
use super::text::{between, changes, number, percent, range};
use crate::judge::robust::Robust;
use crate::judge::suspects::Suspect;
use crate::judge::threshold::{Claimant, Evidence};
use crate::judge::{Called, CrossFitted, Judged, Report};
use comfy_table::Table;

/// So many of the images that claim a region are listed.
const CLAIMANTS: usize = 8;

/// Without lines between the rows.
fn plain_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

/// All tables of an outcome.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let Outcome { classifier, report, images, suspects, claimants, .. } = outcome;
    text += &format!(
        "{} images in {} groups, model {}, {}; intervals are 95 %\n\n",
        report.images,
        report.groups,
        classifier.hash(),
        classifier.device_name()
    );
    text += &figures(report);
    if let Some(early) = &classifier.card().early {
        text += &format!("{}\n", early.told());
    }
    if let Some(int8) = &classifier.card().int8 {
        text += &format!("{}\n", int8.told());
    }
    for (source, report) in &report.by_source {
        text += &format!("\n── source {source}: {} images in {} groups\n\n", report.images, report.groups);
        text += &figures(report);
    }
    if let Some(e) = &report.thresholds {
        text += &evidence(e, report.cross_fitted.as_ref());
    }
    if !claimants.is_empty() {
        text += &claiming(claimants);
    }
    text += &confusion(report);
    if let Some(robust) = &report.robust {
        text += &outlasting(robust);
    }
    text += &errors(images);
    if !suspects.is_empty() {
        text += &doubted(suspects);
    }
    text
}

fn figures(report: &Report) -> String {
    let mut table =
        plain_table(["region", "images", "groups", "ROC AUC", "sensitivity", "specificity", "ECE", "accept", "reject"]);
    for (name, r) in &report.regions {
        table.add_row([
            name.clone(),
            r.positives.to_string(),
            r.positive_groups.to_string(),
            between(r.auc, r.auc_95),
            between(r.sensitivity, r.sensitivity_95),
            between(r.specificity, r.specificity_95),
            number(r.ece),
            format!("{:.3}", r.accept),
            format!("{:.3}", r.reject),
        ]);
    }
    let mut text = format!("{table}\nmean AUC {}, ECE of the five {}", number(report.mean_auc), number(report.ece));
    text.push('\n');
    let mut line = |what: &str, c: &Called| {
        let next =
            if c.called_next > 0 { format!(", {} of them the one next to it", c.called_next) } else { String::new() };
        text += &format!(
            "{what}: {} of {} called a region{next}; rate {}\n",
            c.called_a_region,
            c.images,
            between(Some(c.rate), c.rate_95)
        );
    };
    line("radiographs of other regions", &report.outside);
    line("of neighbouring regions", &report.neighbours);
    line("no radiographs", &report.no_radiograph);
    text + &format!("false corrections in all: {}\n", report.false_corrections)
}

fn confusion(report: &Report) -> String {
    let mut table = plain_table(["is", "called"]);
    for (region, called) in &report.confusion {
        let called: Vec<String> = called.iter().map(|(c, n)| format!("{c} {n}")).collect();
        table.add_row([region.clone(), called.join(", ")]);
    }
    format!("\n{table}\n")
}

fn outlasting(robust: &Robust) -> String {
    let mut table = plain_table(["changed", "images", "named the same", "same verdict", "lost", "newly wrong"]);
    table.add_rows(changes(robust));
    format!("\n{table}\n")
}

fn errors(images: &[Judged]) -> String {
    let mut table = plain_table(["wrong or not called", "is", "called", "best heads"]);
    for j in images.iter().filter(|j| j.is_error()) {
        let called = j.called.map_or("–", |r| r.term()).to_owned();
        table.add_row([j.path.clone(), j.region.clone(), called, j.best(3)]);
    }
    format!("\n{table}\n")
}

fn doubted(suspects: &[Suspect]) -> String {
    let mut table = plain_table(["label likeliest wrong", "label", "p", "likelier", "p", "confident"]);
    for s in suspects {
        table.add_row([
            s.path.clone(),
            s.label.clone(),
            format!("{:.2}", s.given),
            s.likelier.clone(),
            format!("{:.2}", s.other),
            if s.confident { "yes" } else { "" }.to_owned(),
        ]);
    }
    format!("\n{table}\n")
}

/// The outside images that thresholds are high for; the first few.
fn claiming(claimants: &[Claimant]) -> String {
    let mut table = plain_table(["thresholds are high for", "is", "claims", "part of it and its copies"]);
    for c in claimants.iter().take(CLAIMANTS) {
        table.add_row([c.path.clone(), c.label.clone(), c.region.term().to_owned(), format!("{:.2}", c.part)]);
    }
    format!("\n{table}\n")
}

fn evidence(e: &Evidence, cross: Option<&CrossFitted>) -> String {
    let text = format!(
        "\nthresholds for false corrections of at most {} of outside radiographs: modelled {}{} {}, on {} images in {} groups with {} copies\n\
         each, of which {:.1} claim a region; counted {} of {}{}; {} of the regions' images and copies are named\n",
        percent(e.target),
        percent(e.expected),
        range(e.expected_95),
        if e.met {
            "– met"
        } else {
            "– NOT met: it would leave too few named, or asks for more than such data tell"
        },
        e.outside,
        e.groups,
        e.copies,
        e.claims,
        e.counted,
        e.outside,
        range(e.counted_95),
        percent(e.recall),
    );
    let Some(cross) = cross else { return text };
    let of = |(images, named): (usize, usize)| format!("{named} of {images}");
    let regions: Vec<String> = cross.regions.iter().map(|(r, row)| format!("{r} {}", of(*row))).collect();
    let cross = format!(
        "fitted without the image itself: {} rightly named, {} as another; outside {}, neighbours {}, no radiographs {}\n",
        regions.join(", "),
        cross.another,
        of(cross.outside),
        of(cross.neighbours),
        of(cross.no_radiograph)
    );
    text + &cross
}
