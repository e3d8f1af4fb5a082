//! `radroute evaluate`: measures weights on the images of a manifest.

mod tables;

use super::exit;
use crate::config::DeviceChoice;
use crate::judge::suspects::{Suspect, suspects};
use crate::judge::{self, Judged, Output, Report};
use crate::model::Classifier;
use crate::train::manifest::{Manifest, Split};
use crate::train::{Progress, TrainError, evaluate, write_card};
use std::path::{Path, PathBuf};
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
    /// Fit calibration and thresholds anew on these images, and write them with the figures to the model's card
    #[arg(long)]
    fit: bool,
    /// With --fit: the rate of outside radiographs that may be called a region
    #[arg(long, value_name = "RATE", default_value_t = judge::threshold::TARGET, requires = "fit")]
    target: f64,
    /// With --fit: changed copies of each image that tell how far its scores move by chance
    #[arg(long, value_name = "N", default_value_t = 8, requires = "fit")]
    copies: usize,
    /// Also judge every image inverted, turned, mirrored, with a border and stored as DICOM in four ways
    #[arg(long)]
    robust: bool,
    /// List so many images whose label is likeliest wrong
    #[arg(long, value_name = "N", default_value_t = 0)]
    suspects: usize,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Write a report with plots and the worst errors to this file
    #[arg(long, value_name = "F")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitChoice {
    Train,
    Validation,
    Test,
}

/// Everything that judging gave.
struct Outcome {
    classifier: Classifier,
    outputs: Vec<Output>,
    report: Report,
    images: Vec<Judged>,
    suspects: Vec<Suspect>,
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    match judged(&args) {
        Ok(outcome) => {
            if args.json {
                println!("{}", json(&outcome));
            } else {
                tables::print(&outcome);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("radroute evaluate: {error}");
            ExitCode::from(match error {
                TrainError::Write { .. } => exit::IOERR,
                _ => exit::DATAERR,
            })
        }
    }
}

fn judged(args: &Args) -> Result<Outcome, TrainError> {
    if !(args.target > 0.0 && args.target < 1.0) {
        return Err(TrainError::Data(format!("--target {} is not between 0 and 1", args.target)));
    }
    let classifier = Classifier::load(&args.model, DeviceChoice::Auto)?;
    let root = args.root.as_deref().or(args.manifest.parent()).unwrap_or(Path::new("."));
    let manifest = Manifest::read(&args.manifest, root)?;
    let split = match args.split {
        SplitChoice::Train => Split::Train,
        SplitChoice::Validation => Split::Validation,
        SplitChoice::Test => Split::Test,
    };
    let progress = Progress::default();
    let copies = if args.fit { args.copies } else { 0 };
    let outputs = evaluate::outputs(&classifier, &manifest, split, copies, &progress)?;
    let mut card = classifier.card().clone();
    let mut evidence = None;
    if args.fit {
        let heads: Vec<String> = card.heads.iter().map(|h| h.name.clone()).collect();
        let fitted = judge::fit(&outputs, &heads, args.target);
        (card.heads, card.regions) = (fitted.heads, fitted.thresholds);
        evidence = Some(fitted.evidence);
    }
    let images = judge::judged(&outputs, &card.heads, &card.regions);
    let mut report = judge::report(&images, &card.regions);
    report.thresholds = evidence;
    if args.robust {
        report.robust = Some(evaluate::robust(&classifier, &card, &manifest, &images, &progress)?);
    }
    let classifier = if args.fit {
        card.metrics = serde_json::to_value(&report).map_err(|e| TrainError::Data(e.to_string()))?;
        write_card(&args.model, &card)?;
        Classifier::load(&args.model, DeviceChoice::Auto)?
    } else {
        classifier
    };
    let suspects = suspects(&images, args.suspects);
    Ok(Outcome { classifier, outputs, report, images, suspects })
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "model": outcome.classifier.hash(),
        "report": outcome.report,
        "images": outcome.images,
        "outputs": outcome.outputs,
        "suspects": outcome.suspects,
    })
}
