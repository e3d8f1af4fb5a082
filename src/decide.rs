//! Stage **decide**: a series settles → verdict → overlays → destinations, in one ledger transaction.

use crate::config::Config;
use crate::correct::{self, Correction};
use crate::dataset::Overlay;
use crate::ledger::{DecidedInstance, Decision, InstanceRow, Ledger, SeriesJob, now};
use crate::model::Threshold;
use crate::route::{Case, Choice, Earlier, Router, Series};
use crate::spool::Spool;
use crate::verdict::{self, Kind, Mode, Seen, Verdict};
use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::warn;

/// How long the stage sleeps when nothing wakes it.
const POLL: Duration = Duration::from_secs(1);
/// Series taken at once.
const BATCH: usize = 16;

/// The stage with what it needs.
pub struct DecideStage {
    /// Settings in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where work comes from and results go to.
    pub ledger: Ledger,
    /// Where the headers are read from.
    pub spool: Spool,
    /// Of the five regions, by term.
    pub thresholds: BTreeMap<String, Threshold>,
    /// First 16 hex digits of the SHA-256 of the weights.
    pub model: String,
    /// Rung when an instance has been looked at, and when an association ends.
    pub looked: Arc<Notify>,
    /// Rung by us when there is something to deliver.
    pub decided: Arc<Notify>,
}

impl DecideStage {
    /// Runs until `stop` is rung.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let jobs = match self.ledger.due_series(now(), BATCH).await {
                Ok(jobs) => jobs,
                Err(error) => {
                    warn!(%error, "cannot ask the ledger for series to decide; trying again");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            let mut failed = false;
            let busy = !jobs.is_empty();
            for job in jobs {
                failed |= !self.settle(job).await;
            }
            if failed {
                tokio::time::sleep(POLL).await;
            } else if !busy {
                tokio::select! {
                    () = self.looked.notified() => {}
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(self.until_due().await) => {}
                }
            }
        }
    }

    /// Until the next series is due, at most [`POLL`].
    async fn until_due(&self) -> Duration {
        match self.ledger.next_series_due().await {
            Ok(Some(due)) => Duration::from_millis(u64::try_from(due - now()).unwrap_or(0)).min(POLL),
            _ => POLL,
        }
    }

    /// Decides one series; false when it has to be tried again.
    async fn settle(&self, job: SeriesJob) -> bool {
        let config = self.config.borrow().clone();
        let uid = job.series_instance_uid.clone();
        let (thresholds, model, spool) = (self.thresholds.clone(), self.model.clone(), self.spool.clone());
        // Headers are read from disk: off the async threads.
        let decided = tokio::task::spawn_blocking(move || decide(&job, &config, &thresholds, &model, &spool)).await;
        let result = match decided {
            Ok(Ok(decision)) => self.ledger.decided(decision).await.map_err(|e| e.to_string()),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => {
                self.decided.notify_one();
                true
            }
            Err(error) => {
                warn!(series_instance_uid = uid, error, "the series cannot be decided now; trying again");
                false
            }
        }
    }
}

/// Everything that follows from a settled series.
///
/// # Errors
/// A header that cannot be read from disk now: worth another try. An object that cannot be edited is no error.
fn decide(
    job: &SeriesJob,
    config: &Config,
    thresholds: &BTreeMap<String, Threshold>,
    model: &str,
    spool: &Spool,
) -> Result<Decision, String> {
    let now = now();
    let rules = config.verdict_rules(thresholds);
    let seen: Vec<Seen<'_>> = job.undecided.iter().filter_map(seen).collect();
    let mut verdict = verdict::decide(&seen, &rules, job.verdict.as_ref());
    let overlays = overlays(&mut verdict, job, rules.mode, model, config, spool)?;

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
        series_chosen: &job.series_chosen,
        study_chosen: &job.study_chosen,
        earlier: &earlier,
    });
    let instances = job
        .undecided
        .iter()
        .zip(overlays)
        .zip(plan.instances)
        .map(|((row, (overlay, untouched)), choice)| DecidedInstance {
            id: row.id,
            overlay,
            untouched,
            destinations: choice.destinations,
            routes: choice.routes,
        })
        .collect();
    let added = job.study_instances.iter().map(|(row, _)| row.id).zip(plan.added).filter(|(_, to)| !to.is_empty());
    Ok(Decision {
        series_instance_uid: job.series_instance_uid.clone(),
        study_instance_uid: job.study_instance_uid.clone(),
        verdict,
        chosen: plan.chosen,
        instances,
        added: added.collect(),
        now,
    })
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

/// An overlay for each undecided instance, or why it leaves as it came.
///
/// BodyPartExamined is a Series attribute: if one instance of the series cannot be edited, none is, and the verdict says so.
/// Only an uneditable latecomer of a series that has left corrected already goes alone; the audit tells it.
#[allow(clippy::type_complexity)]
fn overlays(
    verdict: &mut Verdict,
    job: &SeriesJob,
    mode: Mode,
    model: &str,
    config: &Config,
    spool: &Spool,
) -> Result<Vec<(Option<Overlay>, Option<String>)>, String> {
    let nothing = || job.undecided.iter().map(|_| (None, None)).collect();
    let Some(region) = verdict.write else { return Ok(nothing()) };
    let at = chrono::Utc::now().format("%Y%m%d%H%M%S%.6f+0000").to_string();
    let mut planned = Vec::with_capacity(job.undecided.len());
    for row in &job.undecided {
        let what = Correction {
            region,
            same: config.classify.same_as.get(&region).cloned().unwrap_or_default(),
            only_if_empty: mode == Mode::Fill,
            station: config.node.ae_title.clone(),
            software: env!("CARGO_PKG_VERSION").into(),
            at: at.clone(),
            source_of_previous_values: row.source.calling_ae.clone(),
            description: format!("Body part named by network {model}"),
        };
        match plan(row, &what, spool)? {
            Ok(overlay) => planned.push((overlay, None)),
            Err(reason) if job.verdict.is_some() => planned.push((None, Some(reason))),
            Err(reason) => {
                verdict.kind = Kind::Exempt;
                verdict.write = None;
                verdict.reason = format!(
                    "one of the series cannot be edited ({}: {reason}), so the whole series leaves as it came",
                    row.facts.sop_instance_uid
                );
                return Ok(nothing());
            }
        }
    }
    Ok(planned)
}

/// The overlay of one instance; inside, why it cannot be edited; outside, why it cannot be read now.
fn plan(row: &InstanceRow, what: &Correction, spool: &Spool) -> Result<Result<Option<Overlay>, String>, String> {
    let mut file = spool.open_file(&row.spool_name).map_err(|e| e.to_string())?;
    file.seek(SeekFrom::Start(row.dataset_offset)).map_err(|e| e.to_string())?;
    let length = row.file_size.saturating_sub(row.dataset_offset);
    match correct::overlay(file, length, &row.facts.transfer_syntax_uid, what) {
        Ok(overlay) => Ok(Ok(overlay)),
        Err(error) if error.is_io() => Err(error.to_string()),
        Err(error) => Ok(Err(error.to_string())),
    }
}
