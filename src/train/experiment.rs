//! An experiment: images are drawn, networks trained on them, and tested on images that they have not seen, from the same sources and
//! from others. What comes of it is written as JSON, as Markdown and as ROC curves.

use super::manifest::{Manifest, Split};
use super::pick::{Experiment, Picked, pick};
use super::plot::{self, Diagram, Names};
use super::write::replace;
use super::{Run, TrainError, evaluate, train};
use crate::anatomy::Region;
use crate::config::{DeviceChoice, PrecisionChoice};
use crate::judge::roc::{self, Grouped};
use crate::judge::{Output, Report, label};
use crate::model::Classifier;
use serde::Serialize;
use std::collections::BTreeMap;

/// What came of an experiment.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    /// Of the weights.
    name: String,
    seed: u64,
    /// Drawn images by region and source.
    drawn: BTreeMap<String, BTreeMap<String, usize>>,
    /// Drawn images by split.
    images: BTreeMap<&'static str, usize>,
    tests: Vec<Test>,
}

/// One set of images.
#[derive(Clone, Debug, Serialize)]
struct Test {
    /// What it is called in file names.
    name: &'static str,
    what: String,
    images: usize,
    /// By source.
    sources: BTreeMap<String, usize>,
    /// By network.
    networks: BTreeMap<String, Figures>,
    #[serde(skip)]
    curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// One network on one set of images.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Figures {
    positives: usize,
    negatives: usize,
    /// Area under the ROC curve; `None` where one kind of image is missing.
    auc: Option<f64>,
    /// Its 95 % interval.
    interval: Option<[f64; 2]>,
}

/// Trains on drawn images, tests, and writes what came of it beside the weights; the report on the validation images.
pub(super) fn run(run: &Run, experiment: &Experiment) -> Result<Report, TrainError> {
    let recipe = run.recipe;
    let picked = pick(run.manifest, &recipe.heads, experiment, recipe.seed)?;
    for (region, sources) in &picked.drawn {
        let sources: Vec<String> = sources.iter().map(|(source, count)| format!("{count} of {source}")).collect();
        run.progress.tell(&format!("{region}: {}", sources.join(", ")));
    }
    // Also what tests is looked at before any time is spent.
    for entry in &picked.external.entries {
        let path = picked.external.path(entry);
        super::readable(&path).map_err(|why| TrainError::Image { file: path, why })?;
    }
    let report = train(&Run { manifest: &picked.manifest, device: run.device.clone(), ..*run })?;
    let classifier = Classifier::load(
        &run.out.join(format!("{}.safetensors", recipe.name)),
        DeviceChoice::Cpu,
        PrecisionChoice::F32,
    )?;
    let outputs = |manifest: &Manifest| match manifest.entries.is_empty() {
        true => Ok(Vec::new()),
        false => evaluate::outputs(&classifier, manifest, Split::Test, 0, run.progress),
    };
    let outcome = outcome(run, &picked, outputs(&picked.manifest)?, outputs(&picked.external)?);
    write(run, &outcome)?;
    run.progress.tell(&outcome.markdown());
    Ok(report)
}

fn outcome(run: &Run, picked: &Picked, internal: Vec<Output>, external: Vec<Output>) -> Outcome {
    let (heads, seed) = (&run.recipe.heads, run.recipe.seed);
    let among: Vec<Output> = external.iter().filter(|o| heads.contains(&o.region)).cloned().collect();
    let splits = [Split::Train, Split::Validation, Split::Test];
    Outcome {
        name: run.recipe.name.clone(),
        seed,
        drawn: picked.drawn.clone(),
        images: splits.map(|s| (s.name(), picked.manifest.labelled(s).count())).into(),
        tests: vec![
            Test::new(
                "internal",
                "drawn images that were kept apart, from the sources of training",
                heads,
                seed,
                &internal,
            ),
            Test::new("external", "images of the same regions from other sources", heads, seed, &among),
            Test::new("external-all", "all radiographs from other sources, other regions too", heads, seed, &external),
        ],
    }
}

impl Test {
    fn new(name: &'static str, what: &str, heads: &[String], seed: u64, outputs: &[Output]) -> Test {
        let mut networks = BTreeMap::new();
        let mut curves = Vec::new();
        for (i, head) in heads.iter().enumerate() {
            let grouped: Vec<Grouped> =
                outputs.iter().filter_map(|o| Some((o.logits[i], label(&o.region, head)?, o.group.as_str()))).collect();
            let scored: Vec<(f32, bool)> = grouped.iter().map(|g| (g.0, g.1)).collect();
            let positives = scored.iter().filter(|s| s.1).count();
            let auc = roc::auc(&scored);
            if auc.is_some() {
                curves.push((head.clone(), roc::curve(&scored)));
            }
            let interval = roc::auc_interval(&grouped, seed).map(|i| [i.low, i.high]);
            let negatives = scored.len() - positives;
            networks.insert(head.clone(), Figures { positives, negatives, auc, interval });
        }
        let mut sources: BTreeMap<String, usize> = BTreeMap::new();
        for output in outputs {
            *sources.entry(output.source.clone()).or_default() += 1;
        }
        Test { name, what: what.into(), images: outputs.len(), sources, networks, curves }
    }

    /// Mean of the areas of the five regions' networks, where all are known.
    fn mean(&self) -> Option<f64> {
        let aucs: Option<Vec<f64>> = Region::ALL.iter().map(|r| self.networks.get(r.term())?.auc).collect();
        aucs.map(|all| all.iter().sum::<f64>() / all.len() as f64)
    }

    fn svg(&self) -> Result<String, TrainError> {
        let chance = ("chance".to_owned(), vec![(0.0, 0.0), (1.0, 1.0)]);
        let named = |(head, points): &(String, Vec<(f64, f64)>)| {
            let area = self.networks.get(head).and_then(|n| n.auc).unwrap_or(0.0);
            (format!("{head} {area:.3}"), points.clone())
        };
        let diagram = Diagram {
            title: format!("ROC, {} test, {} images", self.name, self.images),
            across: ("1 − specificity", -0.01..1.0),
            up: ("sensitivity", 0.0..1.01),
            whole: false,
            dots: false,
            names: Names::LowerRight,
            lines: std::iter::once(chance).chain(self.curves.iter().map(named)).collect(),
        };
        plot::column(620, &[(&diagram, 600)])
    }
}

impl Outcome {
    /// For people.
    fn markdown(&self) -> String {
        let mut text = format!(
            "# {}: result\n\nSeed {}. Drawn images:\n\n| region | sources |\n|---|---|\n",
            self.name, self.seed
        );
        let listed = |counts: &BTreeMap<String, usize>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        for (region, sources) in &self.drawn {
            text += &format!("| {region} | {} |\n", listed(sources));
        }
        let images: Vec<String> = self.images.iter().map(|(split, count)| format!("{split} {count}")).collect();
        text += &format!("\nImages by split: {}.\n", images.join(", "));
        for test in &self.tests {
            text +=
                &format!("\n## {}: {}\n\n{} images ({})\n\n", test.name, test.what, test.images, listed(&test.sources));
            text += "| network | positives | negatives | ROC AUC | 95 % interval |\n|---|---|---|---|---|\n";
            for (head, f) in &test.networks {
                let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.3}"));
                let interval = f.interval.map_or("–".to_owned(), |[low, high]| format!("{low:.3} to {high:.3}"));
                text += &format!("| {head} | {} | {} | {} | {interval} |\n", f.positives, f.negatives, number(f.auc));
            }
            if let Some(mean) = test.mean() {
                text += &format!("\nMean of the five: {mean:.3}\n");
            }
        }
        text
    }
}

/// Writes `<name>.result.json`, `<name>.result.md` and an ROC curve for each test.
fn write(run: &Run, outcome: &Outcome) -> Result<(), TrainError> {
    let file = |ending: &str| run.out.join(format!("{}.{ending}", outcome.name));
    let json = serde_json::to_string_pretty(outcome).map_err(|e| TrainError::Data(e.to_string()))?;
    replace(&file("result.json"), format!("{json}\n").as_bytes())?;
    replace(&file("result.md"), outcome.markdown().as_bytes())?;
    for test in &outcome.tests {
        replace(&file(&format!("roc-{}.svg", test.name)), test.svg()?.as_bytes())?;
    }
    Ok(())
}
