//! `radroute evaluate`: measures weights on the images of a manifest.

mod groups;
mod page;
mod pictures;
mod plots;
mod tables;
mod text;

use super::exit;
use crate::config::{DeviceChoice, PrecisionChoice};
use crate::judge::suspects::{Suspect, suspects};
use crate::judge::threshold::Claimant;
use crate::judge::{self, Judged, Output, Report, risk};
use crate::model::Classifier;
use crate::train::int8::int8;
use crate::train::manifest::{Manifest, Split};
use crate::train::{Progress, TrainError, evaluate, limits, write_card};
use serde::Serialize;
use std::io::Write;
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
    /// Fit calibration, thresholds and the steps of whole numbers (int8) anew on these images, and write them with the figures
    /// to the model's card
    #[arg(long)]
    fit: bool,
    /// With --fit: the rate of outside radiographs that may be called a region
    #[arg(long, value_name = "RATE", default_value_t = judge::threshold::TARGET, requires = "fit")]
    target: f64,
    /// With --fit: changed copies of each image that tell how far its scores move by chance
    #[arg(long, value_name = "N", default_value_t = 4, requires = "fit")]
    copies: usize,
    /// Also judge every image inverted, turned, mirrored, with a border and stored as DICOM in four ways
    #[arg(long)]
    robust: bool,
    /// List so many images whose label is likeliest wrong
    #[arg(long, value_name = "N", default_value_t = 0)]
    suspects: usize,
    /// List the groups of each split with the SHA-256 of their images instead, and whether anything is in two splits
    #[arg(long, conflicts_with_all = ["fit", "robust", "suspects", "html"])]
    groups: bool,
    /// With --groups: compare with the splits of this model card
    #[arg(long, value_name = "CARD", requires = "groups")]
    against: Option<PathBuf>,
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
    claimants: Vec<Claimant>,
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    match judged_or_listed(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("radroute evaluate: {error}");
            ExitCode::from(match error {
                TrainError::Write { .. } => exit::IOERR,
                _ => exit::DATAERR,
            })
        }
    }
}

fn judged_or_listed(args: &Args) -> Result<ExitCode, TrainError> {
    let root = args.root.as_deref().or(args.manifest.parent()).unwrap_or(Path::new("."));
    let manifest = Manifest::read(&args.manifest, root)?;
    if args.groups {
        return groups::run(args, &manifest);
    }
    let outcome = judged(args, &manifest)?;
    let text = if args.json { format!("{}\n", json(&outcome)?) } else { tables::text(&outcome) };
    // A reader that has gone away wants no more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn judged(args: &Args, manifest: &Manifest) -> Result<Outcome, TrainError> {
    if !(args.target > 0.0 && args.target < 1.0) {
        return Err(TrainError::Data(format!("--target {} is not between 0 and 1", args.target)));
    }
    if let Some(file) =
        args.html.as_ref().filter(|f| f.parent().is_some_and(|p| !p.as_os_str().is_empty() && !p.is_dir()))
    {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such folder");
        return Err(TrainError::Write { file: file.to_owned(), source });
    }
    let classifier = Classifier::load(&args.model, DeviceChoice::Auto, PrecisionChoice::F32)?;
    let split = match args.split {
        SplitChoice::Train => Split::Train,
        SplitChoice::Validation => Split::Validation,
        SplitChoice::Test => Split::Test,
    };
    let progress = Progress::default();
    let copies = if args.fit { args.copies } else { 0 };
    let outputs = evaluate::outputs(&classifier, manifest, split, copies, &progress)?;
    let mut card = classifier.card().clone();
    let (mut evidence, mut cross_fitted, mut claimants) = (None, None, Vec::new());
    if args.fit {
        let heads: Vec<String> = card.heads.iter().map(|h| h.name.clone()).collect();
        let fitted = judge::fit(&outputs, &heads, args.target);
        (card.heads, card.regions) = (fitted.heads, fitted.thresholds);
        (evidence, claimants) = (Some(fitted.evidence), fitted.claimants);
        cross_fitted = Some(judge::cross_fitted(&outputs, &heads, args.target));
    }
    let images = judge::judged(&outputs, &card.heads, &card.regions);
    let mut report = judge::report(&images, &card.regions);
    (report.thresholds, report.cross_fitted) = (evidence, cross_fitted);
    if args.robust {
        report.robust = Some(evaluate::robust(&classifier, &card, manifest, &images, &progress)?);
    }
    let classifier = if args.fit {
        // By way of text: single precision keeps its short form.
        let text = serde_json::to_string(&report).and_then(|text| serde_json::from_str(&text));
        card.metrics = text.map_err(|e| TrainError::Data(e.to_string()))?;
        card.limits = limits(&card);
        // What was measured with other thresholds does not hold for these.
        (card.early, card.int8) = (None, None);
        write_card(&args.model, &card)?;
        if card.views > 1 {
            let classifier = Classifier::load(&args.model, DeviceChoice::Auto, PrecisionChoice::F32)?;
            card.early = Some(evaluate::early(&classifier, manifest, &images, &progress)?);
        }
        card.int8 = Some(int8(&args.model, &card, manifest, &images, &progress)?);
        write_card(&args.model, &card)?;
        Classifier::load(&args.model, DeviceChoice::Auto, PrecisionChoice::F32)?
    } else {
        classifier
    };
    let suspects = suspects(&images, args.suspects);
    let outcome = Outcome { classifier, outputs, report, images, suspects, claimants };
    if let Some(file) = &args.html {
        let data = format!("{}, split {}", args.manifest.display(), split.name());
        let page = html(&outcome, &manifest.root, data)?;
        std::fs::write(file, page).map_err(|source| TrainError::Write { file: file.to_owned(), source })?;
        eprintln!("the report is in {}", file.display());
    }
    Ok(outcome)
}

/// The report as a page.
fn html(outcome: &Outcome, root: &Path, data: String) -> Result<String, TrainError> {
    let failed = |e: plots::PlotError| TrainError::Data(e.to_string());
    let (images, card) = (&outcome.images, outcome.classifier.card());
    let plots = vec![
        ("ROC", "False positives to a half; the number is the area.", plots::receiver(images).map_err(failed)?),
        (
            "Reliability",
            "At a prevalence of one in five, which the calibration is fitted for. The diagonal is the truth.",
            plots::reliable(images).map_err(failed)?,
        ),
        (
            "Coverage against risk",
            "As all thresholds move together; the upright line is where they lie.",
            plots::covered(images, &card.regions).map_err(failed)?,
        ),
    ];
    Ok(page::page(&page::Page {
        model: format!("{} {}", card.name, outcome.classifier.hash()),
        data,
        report: &outcome.report,
        plots,
        errors: pictures::errors(outcome, root)?,
        suspects: pictures::doubted(outcome, root)?,
    }))
}

/// Everything as one object; numbers as short as they can be read back.
fn json(outcome: &Outcome) -> Result<String, TrainError> {
    #[derive(Serialize)]
    struct All<'a> {
        model: &'a str,
        report: &'a Report,
        images: &'a [Judged],
        outputs: &'a [Output],
        suspects: &'a [Suspect],
        claimants: &'a [Claimant],
        risk: Vec<risk::Point>,
    }
    let Outcome { classifier, outputs, report, images, suspects, claimants } = outcome;
    let risk = risk::curve(images, classifier.thresholds());
    let all = All { model: classifier.hash(), report, images, outputs, suspects, claimants, risk };
    serde_json::to_string(&all).map_err(|e| TrainError::Data(e.to_string()))
}
