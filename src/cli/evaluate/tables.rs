//! The figures as tables on the terminal.

use super::Outcome;
use super::text::{between, changes, number, percent, range};
use crate::judge::robust::Robust;
use crate::judge::suspects::Suspect;
use crate::judge::threshold::Evidence;
use crate::judge::{Called, CrossFitted, Judged, Report};
use comfy_table::Table;

/// Without lines between the rows.
fn plain_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

/// All tables of an outcome.
pub fn print(outcome: &Outcome) {
    let Outcome { classifier, report, images, suspects, .. } = outcome;
    println!(
        "{} images in {} groups, model {}, {}; intervals are 95 %\n",
        report.images,
        report.groups,
        classifier.hash(),
        classifier.device_name()
    );
    figures(report);
    for (source, report) in &report.by_source {
        println!("\n── source {source}: {} images in {} groups\n", report.images, report.groups);
        figures(report);
    }
    if let Some(e) = &report.thresholds {
        evidence(e, report.cross_fitted.as_ref());
    }
    confusion(report);
    if let Some(robust) = &report.robust {
        outlasting(robust);
    }
    errors(images);
    if !suspects.is_empty() {
        doubted(suspects);
    }
}

fn figures(report: &Report) {
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
    println!("{table}\nmean AUC {}, ECE of the five {}", number(report.mean_auc), number(report.ece));
    let line = |what: &str, c: &Called| {
        let next = if c.called_next > 0 { format!(", {} of them the one next to it", c.called_next) } else { String::new() };
        println!("{what}: {} of {} called a region{next}; rate {}", c.called_a_region, c.images, between(Some(c.rate), c.rate_95));
    };
    line("radiographs of other regions", &report.outside);
    line("of neighbouring regions", &report.neighbours);
    line("no radiographs", &report.no_radiograph);
    println!("false corrections in all: {}", report.false_corrections);
}

fn confusion(report: &Report) {
    let mut table = plain_table(["is", "called"]);
    for (region, called) in &report.confusion {
        let called: Vec<String> = called.iter().map(|(c, n)| format!("{c} {n}")).collect();
        table.add_row([region.clone(), called.join(", ")]);
    }
    println!("\n{table}");
}

fn outlasting(robust: &Robust) {
    let mut table = plain_table(["changed", "images", "named the same", "same verdict", "lost", "newly wrong"]);
    table.add_rows(changes(robust));
    println!("\n{table}");
}

fn errors(images: &[Judged]) {
    let mut table = plain_table(["wrong or not called", "is", "called", "best heads"]);
    for j in images.iter().filter(|j| j.is_error()) {
        let called = j.called.map_or("–", |r| r.term()).to_owned();
        table.add_row([j.path.clone(), j.region.clone(), called, j.best(3)]);
    }
    println!("\n{table}");
}

fn doubted(suspects: &[Suspect]) {
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
    println!("\n{table}");
}

fn evidence(e: &Evidence, cross: Option<&CrossFitted>) {
    println!(
        "\nthresholds for false corrections of at most {} of outside images: modelled {}{} {}, on {} images in {} groups with {} copies\n\
         each, of which {:.1} claim a region; counted {} of {}{}; {} of the regions' images and copies are named",
        percent(e.target),
        percent(e.expected),
        range(e.expected_95),
        if e.met { "– met" } else { "– NOT met, since it would leave too few named" },
        e.outside,
        e.groups,
        e.copies,
        e.claims,
        e.counted,
        e.outside,
        range(e.counted_95),
        percent(e.recall),
    );
    let Some(cross) = cross else { return };
    let of = |(images, named): (usize, usize)| format!("{named} of {images}");
    let regions: Vec<String> = cross.regions.iter().map(|(r, row)| format!("{r} {}", of(*row))).collect();
    println!(
        "fitted without the image itself: {} rightly named, {} as another; outside {}, neighbours {}, no radiographs {}",
        regions.join(", "),
        cross.another,
        of(cross.outside),
        of(cross.neighbours),
        of(cross.no_radiograph)
    );
}
