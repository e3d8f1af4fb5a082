//! Everything that follows from a settled series.

use crate::anatomy::Region;
use crate::config::Config;
use crate::correct::{self, Correction};
use crate::dataset::Overlay;
use crate::ledger::{DecidedInstance, Decision, InstanceRow, SeriesJob, now};
use crate::route::{Case, Choice, Earlier, Router, Series};
use crate::spool::{Spool, SpoolError};
use crate::verdict::Threshold;
use crate::verdict::{self, Inherits, Kind, Look, Mode, Rules, Seen, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Seek, SeekFrom};
use tracing::warn;

/// Decides a series. `given_up`: its files could not be read, and no more tries are made; it leaves as it came.
///
/// # Errors
/// A header that cannot be read from disk now: worth another try. An object that cannot be edited is no error.
pub(super) fn decide(
    job: &SeriesJob,
    config: &Config,
    thresholds: &BTreeMap<String, Threshold>,
    model: &str,
    spool: &Spool,
    given_up: Option<&str>,
) -> Result<Decision, String> {
    let rules = config.verdict_rules(thresholds);
    let seen: Vec<Seen<'_>> = job.undecided.iter().filter_map(seen).collect();
    let mut verdict = verdict::decide(&seen, &rules, job.verdict.as_ref());
    let at = chrono::Utc::now().format("%Y%m%d%H%M%S%.6f+0000").to_string();
    let editor = Editor { rules: &rules, config, spool, model, at, given_up };
    let left = match job.verdict {
        None => editor.series(&mut verdict, &job.undecided)?,
        Some(_) => editor.latecomers(&verdict, &job.undecided)?,
    };

    let router = config.router().map_err(|e| e.to_string())?;
    let choices: Vec<Choice> = job.undecided.iter().map(|row| choose(&router, row, &verdict)).collect();
    let earlier: Vec<Earlier<'_>> = job
        .study_instances
        .iter()
        .map(|(row, destinations)| Earlier {
            same_series: row.facts.series_instance_uid == job.series_instance_uid,
            destinations,
        })
        .collect();
    let plan = router.plan(Series {
        undecided: &choices,
        series_chosen: &configured(&job.series_chosen, config, job),
        study_chosen: &configured(&job.study_chosen, config, job),
        earlier: &earlier,
    });
    let instances = job
        .undecided
        .iter()
        .zip(left)
        .zip(plan.instances)
        .map(|((row, leaves), choice)| DecidedInstance {
            id: row.id,
            overlay: leaves.overlay,
            untouched: leaves.untouched,
            destinations: choice.destinations,
            routes: choice.routes,
        })
        .collect();
    let added = job.study_instances.iter().map(|(row, _)| row.id).zip(plan.added).filter(|(_, to)| !to.is_empty());
    Ok(Decision {
        series_instance_uid: job.series_instance_uid.clone(),
        study_instance_uid: job.study_instance_uid.clone(),
        evidence: evidence(&job.undecided, rules.mode, model),
        verdict,
        chosen: plan.chosen,
        instances,
        added: added.collect(),
        now: now(),
    })
}

/// What the verdict rests on: the mean score of each region over the images that were scored, and the tags that were found.
fn evidence(rows: &[InstanceRow], mode: Mode, model: &str) -> serde_json::Value {
    let scored: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.look {
            Some(Look::Scored { scores, .. }) => Some(scores),
            _ => None,
        })
        .collect();
    let mean = |region: Region| {
        let sum: f32 = scored.iter().filter_map(|scores| scores.get(region.term())).sum();
        let thousandths = f64::from(sum) / scored.len() as f64 * 1000.0;
        (region.term(), thousandths.round() / 1000.0)
    };
    let scores: Option<BTreeMap<_, _>> = (!scored.is_empty()).then(|| Region::ALL.into_iter().map(mean).collect());
    let tags: BTreeSet<&str> = rows.iter().map(|row| row.facts.body_part_examined.as_str()).collect();
    serde_json::json!({ "scores": scores, "model": model, "tags": tags, "mode": mode.name() })
}

fn seen(row: &InstanceRow) -> Option<Seen<'_>> {
    Some(Seen {
        look: row.look.as_ref()?,
        tag: &row.facts.body_part_examined,
        anatomic_region: row.facts.anatomic_region.as_ref(),
        signed: row.facts.signed,
    })
}

fn choose(router: &Router, row: &InstanceRow, verdict: &Verdict) -> Choice {
    router.choose(&Case {
        facts: &row.facts,
        calling_ae: &row.source.calling_ae,
        called_ae: &row.source.called_ae,
        verdict: Some(verdict),
    })
}

/// What was chosen before, without destinations that the configuration no longer has: nothing can be delivered there, and
/// they are not to stand in the way of `default`.
fn configured(chosen: &[String], config: &Config, job: &SeriesJob) -> Vec<String> {
    let known = |name: &&String| config.destination.iter().any(|d| d.name == **name);
    let (kept, gone): (Vec<&String>, Vec<&String>) = chosen.iter().partition(known);
    if !gone.is_empty() {
        warn!(
            series_instance_uid = job.series_instance_uid,
            destinations = ?gone,
            "the study was to go to destinations that are no longer configured: left out for what comes now"
        );
    }
    kept.into_iter().cloned().collect()
}

/// How an instance leaves.
#[derive(Default)]
struct Leaves {
    overlay: Option<Overlay>,
    /// Why it leaves as it came although its series is written.
    untouched: Option<String>,
}

/// Plans the overlays of a series.
struct Editor<'a> {
    rules: &'a Rules,
    config: &'a Config,
    spool: &'a Spool,
    model: &'a str,
    /// As DT.
    at: String,
    given_up: Option<&'a str>,
}

impl Editor<'_> {
    /// For the first instances of a series. BodyPartExamined is a Series attribute: if one of them cannot be edited, none is,
    /// and the verdict says so.
    fn series(&self, verdict: &mut Verdict, rows: &[InstanceRow]) -> Result<Vec<Leaves>, String> {
        let as_they_came = || rows.iter().map(|_| Leaves::default()).collect();
        let Some(region) = verdict.write else { return Ok(as_they_came()) };
        let mut planned = Vec::with_capacity(rows.len());
        for row in rows {
            match self.plan(row, region)? {
                Ok(overlay) => planned.push(Leaves { overlay, untouched: None }),
                Err(reason) => {
                    verdict.kind = Kind::Exempt;
                    verdict.write = None;
                    verdict.reason = format!(
                        "one of the series cannot be edited ({}: {reason}), so the whole series leaves as it came",
                        row.facts.sop_instance_uid
                    );
                    return Ok(as_they_came());
                }
            }
        }
        Ok(planned)
    }

    /// For instances of a series that has a verdict. Each goes for itself; where the series was written and one of them
    /// cannot be, the audit tells it.
    fn latecomers(&self, verdict: &Verdict, rows: &[InstanceRow]) -> Result<Vec<Leaves>, String> {
        let leaves = |row: &InstanceRow| {
            let inherits = seen(row).map_or(Inherits::Nothing, |seen| verdict::inherit(verdict, &seen, self.rules));
            Ok(match inherits {
                Inherits::Nothing => Leaves::default(),
                Inherits::LeftAlone(why) => Leaves { overlay: None, untouched: Some(why) },
                Inherits::Region(region) => match self.plan(row, region)? {
                    Ok(overlay) => Leaves { overlay, untouched: None },
                    Err(why) => Leaves { overlay: None, untouched: Some(why) },
                },
            })
        };
        rows.iter().map(leaves).collect()
    }

    /// The overlay of one instance; inside, why it cannot be edited; outside, why it cannot be read now.
    fn plan(&self, row: &InstanceRow, region: Region) -> Result<Result<Option<Overlay>, String>, String> {
        if let Some(why) = self.given_up {
            return Ok(Err(format!("its file could not be read: {why}")));
        }
        let what = Correction {
            region,
            same: self.rules.same_as.get(&region).cloned().unwrap_or_default(),
            only_if_empty: self.rules.mode == Mode::Fill,
            station: self.config.node.ae_title.clone(),
            software: env!("CARGO_PKG_VERSION").into(),
            at: self.at.clone(),
            source_of_previous_values: row.source.calling_ae.clone(),
            description: format!("Body part named by network {}", self.model),
        };
        let mut file = match self.spool.open_file(&row.spool_name) {
            Ok(file) => file,
            Err(SpoolError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(Err("its file is missing".into()));
            }
            Err(error) => return Err(error.to_string()),
        };
        file.seek(SeekFrom::Start(row.dataset_offset)).map_err(|e| e.to_string())?;
        let length = row.file_size.saturating_sub(row.dataset_offset);
        match correct::overlay(file, length, &row.facts.transfer_syntax_uid, &what) {
            Ok(overlay) => Ok(Ok(overlay)),
            Err(error) if error.is_io() => Err(error.to_string()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}
