//! Writing weights and card: whole or not at all.

use super::init;
use super::manifest::Split;
use super::{Run, TrainError};
use crate::anatomy::Region;
use crate::judge::{Fitted, Report};
use crate::model::card::{Card, Data, FORMAT};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Writes `<name>.safetensors`, `.json`, `.md` and `.recipe.toml` into the run's folder.
pub fn weights_and_card(run: &Run, bytes: &[u8], fitted: &Fitted, report: &Report) -> Result<(), TrainError> {
    let card = card(run, bytes, fitted, report)?;
    let file = |ending: &str| run.out.join(format!("{}.{ending}", run.recipe.name));
    let recipe = toml::to_string(run.recipe).map_err(|e| TrainError::Recipe(e.to_string()))?;
    replace(&file("safetensors"), bytes)?;
    write_card(&file("safetensors"), &card)?;
    replace(&file("recipe.toml"), recipe.as_bytes())
}

/// Writes the card of the weights `model` and its Markdown twin beside them.
pub fn write_card(model: &Path, card: &Card) -> Result<(), TrainError> {
    let json = serde_json::to_string_pretty(card).map_err(|e| TrainError::Data(e.to_string()))?;
    replace(&Card::beside(model), format!("{json}\n").as_bytes())?;
    replace(&model.with_extension("md"), card.markdown().as_bytes())
}

/// Writes a file whole or not at all: beside it first, synced, then renamed.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let beside = file.with_extension("part");
    let write = || -> std::io::Result<()> {
        std::fs::write(&beside, bytes)?;
        std::fs::File::open(&beside)?.sync_all()?;
        std::fs::rename(&beside, file)
    };
    write().map_err(|source| TrainError::Write { file: file.to_owned(), source })
}

fn card(run: &Run, bytes: &[u8], fitted: &Fitted, report: &Report) -> Result<Card, TrainError> {
    let json = |v: Result<serde_json::Value, serde_json::Error>| v.map_err(|e| TrainError::Data(e.to_string()));
    let mut card = Card {
        format: FORMAT,
        name: run.recipe.name.clone(),
        permitted_use: "Research use only: several sources of the training images are research only, and the network \
                        has not been validated for clinical use."
            .into(),
        architecture: run.recipe.architecture,
        sha256: crate::model::sha256(bytes),
        input: run.recipe.input.clone(),
        views: run.recipe.views,
        early: None,
        int8: None,
        heads: fitted.heads.clone(),
        regions: fitted.thresholds.clone(),
        data: data(run)?,
        // By way of text: single precision keeps its short form.
        recipe: json(serde_json::to_string(run.recipe).and_then(|text| serde_json::from_str(&text)))?,
        metrics: json(serde_json::to_string(report).and_then(|text| serde_json::from_str(&text)))?,
        limits: Vec::new(),
    };
    card.limits = limits(&card);
    Ok(card)
}

fn data(run: &Run) -> Result<Data, TrainError> {
    let count = |split: Split| {
        let mut table: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for entry in run.manifest.labelled(split) {
            *table.entry(entry.source.clone()).or_default().entry(entry.region.clone()).or_default() += 1;
        }
        table
    };
    let mut licences: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in &run.manifest.entries {
        licences.entry(entry.source.clone()).or_default().insert(entry.licence.clone());
    }
    let (training, validation) = (count(Split::Train), count(Split::Validation));
    let total = |t: &BTreeMap<String, BTreeMap<String, usize>>| t.values().flat_map(|r| r.values()).sum::<usize>();
    Ok(Data {
        summary: format!(
            "{} labelled training images and {} validation images; each training image augmented as the recipe says. Trained on {}; \
             frozen at the initial values: {}.",
            total(&training),
            total(&validation),
            if run.device.is_cpu() { "a CPU" } else { "a GPU" },
            run.recipe.rates.frozen()
        ),
        manifest_sha256: run.manifest.sha256.clone(),
        split: split_told(run),
        training,
        validation,
        groups_sha256: [Split::Train, Split::Validation]
            .map(|s| (s.name().to_owned(), run.manifest.groups_sha256(s)))
            .into_iter()
            .collect(),
        initial_sha256: init::sha256(run.init)?.unwrap_or_default(),
        licences,
    })
}

fn split_told(run: &Run) -> String {
    let how = match &run.recipe.experiment {
        None => "By group (patient, study or case) as the manifest says",
        Some(_) => "Drawn from the manifest's training images and split anew by group (patient, study or case)",
    };
    format!(
        "{how}: a group is in one split only. Validation images were never trained on; epoch, calibration and thresholds were chosen on \
         them, so the figures at the thresholds are better than on images from elsewhere."
    )
}

/// What the data cannot show, by what a card says of them.
pub fn limits(card: &Card) -> Vec<String> {
    let Data { training, validation, .. } = &card.data;
    let count = |table: &BTreeMap<String, BTreeMap<String, usize>>, region: &str, synthetic: Option<bool>| -> usize {
        let asked = |source: &str| synthetic.is_none_or(|s| source.starts_with("synthetic") == s);
        table.iter().filter(|(source, _)| asked(source)).filter_map(|(_, regions)| regions.get(region)).sum()
    };
    let mut limits = vec![
        "Not a medical device; not validated for clinical use.".to_owned(),
        "It names the region, never the side, the projection or a finding.".to_owned(),
    ];
    for region in Region::ALL.map(Region::term) {
        limits.push(format!(
            "{region}: trained on {} real and {} synthetic images, validated on {}.",
            count(training, region, Some(false)),
            count(training, region, Some(true)),
            count(validation, region, None)
        ));
    }
    if card.heads.iter().all(|head| Region::from_term(&head.name).is_some()) {
        limits.push("It has heads for the five regions alone: what is none of them may well be called one.".into());
    }
    let synthetic: Vec<&str> = card
        .heads
        .iter()
        .map(|head| head.name.as_str())
        .filter(|head| count(training, head, Some(false)) == 0 && count(training, head, None) > 0)
        .collect();
    if !synthetic.is_empty() {
        limits.push(format!("Known from synthetic images alone: {}.", synthetic.join(", ")));
    }
    limits
        .push("Few children; few images with plaster; the validation set is small, so its figures are coarse.".into());
    limits.push("Regions without a head of their own (sacrum, teeth, …) are known as negatives at most.".into());
    limits
}
