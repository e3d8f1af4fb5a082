//! `radroute evaluate`: measures weights on the images of a manifest.

use super::exit;
use crate::config::DeviceChoice;
use crate::model::Classifier;
use crate::train::evaluate::{outputs, report};
use crate::train::judge::{Output, judge};
use crate::train::manifest::{Manifest, Split};
use crate::train::metrics::{Called, Judged, Report};
use crate::train::{Progress, TrainError, write_card};
use comfy_table::Table;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `radroute evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// Table of images: path, region, group, source, licence, split, parted by tabs
    #[arg(long, value_name = "F")]
    manifest: PathBuf,
    /// Folder that the manifest's paths are relative to; default: where the manifest lies
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Weights; their card lies beside them
    #[arg(long, value_name = "F", default_value = "weights/radroute.safetensors")]
    model: PathBuf,
    /// The part of the manifest to judge on
    #[arg(long, value_enum, default_value = "validation")]
    split: SplitChoice,
    /// Fit calibration and thresholds anew on these images, and write them to the model's card
    #[arg(long)]
    fit: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitChoice {
    Train,
    Validation,
    Test,
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    match judged(&args) {
        Ok((classifier, report, images)) => {
            if args.json {
                println!("{}", json(&classifier, &report, &images));
            } else {
                print(&classifier, &report, &images);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("radroute evaluate: {error}");
            ExitCode::from(exit::DATAERR)
        }
    }
}

fn judged(args: &Args) -> Result<(Classifier, Report, Vec<Judged>), TrainError> {
    let classifier = Classifier::load(&args.model, DeviceChoice::Auto)?;
    let root = args.root.clone().or_else(|| args.manifest.parent().map(PathBuf::from));
    let manifest = Manifest::read(&args.manifest, &root.unwrap_or_else(|| PathBuf::from(".")))?;
    let split = match args.split {
        SplitChoice::Train => Split::Train,
        SplitChoice::Validation => Split::Validation,
        SplitChoice::Test => Split::Test,
    };
    let outputs = outputs(&classifier, &manifest, split, &Progress::default())?;
    let classifier = if args.fit { refit(args, classifier, &outputs)? } else { classifier };
    let (report, images) = report(&classifier, &outputs);
    Ok((classifier, report, images))
}

/// Writes the card with what `outputs` say, and loads the model again with it.
fn refit(args: &Args, classifier: Classifier, outputs: &[Output]) -> Result<Classifier, TrainError> {
    let mut card = classifier.card().clone();
    let heads: Vec<String> = card.heads.iter().map(|h| h.name.clone()).collect();
    let (fitted, report) = judge(outputs, &heads);
    card.heads = fitted.heads;
    card.regions = fitted.thresholds;
    card.metrics = serde_json::to_value(report).map_err(|e| TrainError::Data(e.to_string()))?;
    write_card(&args.model, &card)?;
    Ok(Classifier::load(&args.model, DeviceChoice::Auto)?)
}

fn json(classifier: &Classifier, report: &Report, images: &[Judged]) -> serde_json::Value {
    let wrong: Vec<_> = wrong(images)
        .map(|j| serde_json::json!({"path": j.path, "is": j.region, "called": j.called.map(|r| r.term()), "scores": j.scores}))
        .collect();
    serde_json::json!({"model": classifier.hash(), "report": report, "wrong": wrong})
}

/// Called what they are not, or one of the five and not called.
fn wrong(images: &[Judged]) -> impl Iterator<Item = &Judged> {
    images
        .iter()
        .filter(|j| j.called.map(|r| r.term()) != crate::anatomy::Region::from_term(&j.region).map(|r| r.term()))
}

/// Without lines between the rows.
fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table
}

fn print(classifier: &Classifier, report: &Report, images: &[Judged]) {
    println!("{} images, model {}, {}\n", report.images, classifier.hash(), classifier.device_name());
    let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.3}"));
    let mut table = plain_table();
    table.set_header(["region", "images", "ROC AUC", "sensitivity", "specificity", "accept", "reject"]);
    for (name, r) in &report.regions {
        table.add_row([
            name.clone(),
            r.positives.to_string(),
            number(r.auc),
            number(r.sensitivity),
            number(r.specificity),
            format!("{:.3}", r.accept),
            format!("{:.3}", r.reject),
        ]);
    }
    println!("{table}\nmean AUC {}", number(report.mean_auc));
    let line = |what: &str, c: &Called| println!("{what}: {} of {} called a region", c.called_a_region, c.images);
    line("radiographs of other regions", &report.outside);
    line("of neighbouring regions", &report.neighbours);
    line("no radiographs", &report.no_radiograph);
    println!("false corrections in all: {}\n", report.false_corrections);
    let mut table = plain_table();
    table.set_header(["is", "called"]);
    for (region, called) in &report.confusion {
        let called: Vec<String> = called.iter().map(|(c, n)| format!("{c} {n}")).collect();
        table.add_row([region.clone(), called.join(", ")]);
    }
    println!("{table}\n");
    let mut table = plain_table();
    table.set_header(["wrong or not called", "is", "called", "best heads"]);
    for j in wrong(images) {
        let mut best: Vec<_> = j.scores.iter().collect();
        best.sort_by(|a, b| b.1.total_cmp(a.1));
        let best: Vec<String> = best.iter().take(3).map(|(h, p)| format!("{h} {p:.2}")).collect();
        let called = j.called.map_or("–", |r| r.term()).to_owned();
        table.add_row([j.path.clone(), j.region.clone(), called, best.join(", ")]);
    }
    println!("{table}");
}
