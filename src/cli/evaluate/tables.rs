//! The figures as tables on the terminal.

use super::Outcome;
use crate::judge::interval::Interval;
use crate::judge::robust::{Change, Robust};
use crate::judge::suspects::Suspect;
use crate::judge::{Called, Judged, Report};
use comfy_table::Table;

/// Without lines between the rows.
fn plain_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

fn number(v: Option<f64>) -> String {
    v.map_or("–".to_owned(), |v| format!("{v:.3}"))
}

fn between(v: Option<f64>, interval: Option<Interval>) -> String {
    interval.map_or(number(v), |i| format!("{} ({:.2}–{:.2})", number(v), i.low, i.high))
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
    confusion(report);
    if let Some(robust) = &report.robust {
        changes(robust);
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
        let next =
            if c.called_next > 0 { format!(", {} of them the one next to it", c.called_next) } else { String::new() };
        println!(
            "{what}: {} of {} called a region{next}; rate {}",
            c.called_a_region,
            c.images,
            between(Some(c.rate), c.rate_95)
        );
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

fn changes(robust: &Robust) {
    let mut table = plain_table(["changed", "images", "named the same", "same verdict", "lost", "newly wrong"]);
    for (name, row) in Change::ALL.iter().filter_map(|c| Some((c.name(), robust.get(c.name())?))) {
        let part = |n: usize| format!("{n} ({:.1} %)", 100.0 * n as f64 / row.images.max(1) as f64);
        table.add_row([
            name.to_owned(),
            row.images.to_string(),
            part(row.same),
            part(row.same_verdict),
            row.lost.to_string(),
            row.wrong.to_string(),
        ]);
    }
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
