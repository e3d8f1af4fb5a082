//! SQL of deciding.

use super::deliver::{enqueue, reopen};
use super::rows::{
    INSTANCE, INSTANCE_COLUMNS, encode_edits, from_json, instance, instance_event, series_event, to_json,
};
use super::store::Stored;
use super::{DecidedInstance, Decision, InstanceId, InstanceRow, LedgerError, Millis, SeriesJob};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

/// The pick of series to decide: those with an instance that waits for the classifier are not in the index.
pub const DUE_SERIES: &str = "SELECT s.id, s.uid, s.verdict, s.chosen, s.study_id, t.uid \
    FROM series s INDEXED BY series_due CROSS JOIN study t ON t.id = s.study_id \
    WHERE s.undecided > 0 AND s.unlooked = 0 AND s.due_at <= ?1 ORDER BY s.due_at, s.id LIMIT ?2";

/// When the next is due.
pub const NEXT_SERIES: &str = "SELECT due_at FROM series INDEXED BY series_due WHERE undecided > 0 AND unlooked = 0 AND due_at IS NOT NULL ORDER BY due_at LIMIT 1";

/// Series that are due later than any that is entered now could be.
pub const SERIES_TOO_LATE: &str = "UPDATE series SET due_at = ?1 WHERE id IN \
    (SELECT id FROM series INDEXED BY series_due WHERE undecided > 0 AND unlooked = 0 AND due_at > ?2)";

/// The undecided instances of a series.
pub fn undecided_sql() -> String {
    format!(
        "SELECT {INSTANCE} FROM instance i INDEXED BY instance_undecided CROSS JOIN source s ON s.id = i.source_id \
         WHERE i.series_id = ?1 AND i.decided = 0 AND i.present = 1 ORDER BY i.id"
    )
}

/// The decided instances of a study that are still in the spool, with their destinations.
pub fn study_instances_sql() -> String {
    format!(
        "SELECT {INSTANCE}, (SELECT json_group_array(destination) FROM delivery WHERE instance_id = i.id) \
         FROM series e CROSS JOIN instance i ON i.series_id = e.id CROSS JOIN source s ON s.id = i.source_id \
         WHERE e.study_id = ?1 AND i.decided = 1 AND i.present = 1 ORDER BY i.id"
    )
}

/// See [`super::Ledger::due_series`].
pub fn due_series(c: &Connection, now: Millis, limit: usize) -> Stored<Vec<SeriesJob>> {
    let mut statement = c.prepare_cached(DUE_SERIES)?;
    let mut rows = statement.query(params![now, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let (series, study): (i64, i64) = (row.get(0)?, row.get(4)?);
        let verdict: Option<String> = row.get(2)?;
        jobs.push(SeriesJob {
            series_instance_uid: row.get(1)?,
            study_instance_uid: row.get(5)?,
            verdict: verdict.map(|v| from_json(&v)).transpose()?,
            undecided: undecided(c, series)?,
            study_chosen: study_chosen(c, study)?,
            series_chosen: from_json(&row.get::<_, String>(3)?)?,
            study_instances: study_instances(c, study)?,
        });
    }
    Ok(jobs)
}

fn undecided(c: &Connection, series: i64) -> Stored<Vec<InstanceRow>> {
    let mut statement = c.prepare_cached(&undecided_sql())?;
    let mut rows = statement.query([series])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(instance(row)?);
    }
    Ok(found)
}

fn study_chosen(c: &Connection, study: i64) -> Stored<Vec<String>> {
    let mut statement = c.prepare_cached("SELECT chosen FROM series WHERE study_id = ?1 ORDER BY id")?;
    let mut rows = statement.query([study])?;
    let mut chosen = Vec::new();
    while let Some(row) = rows.next()? {
        union(&mut chosen, from_json(&row.get::<_, String>(0)?)?);
    }
    Ok(chosen)
}

fn study_instances(c: &Connection, study: i64) -> Stored<Vec<(InstanceRow, Vec<String>)>> {
    let mut statement = c.prepare_cached(&study_instances_sql())?;
    let mut rows = statement.query([study])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((instance(row)?, from_json(&row.get::<_, String>(INSTANCE_COLUMNS)?)?));
    }
    Ok(found)
}

/// Appends what is not there yet.
fn union(to: &mut Vec<String>, from: Vec<String>) {
    for name in from {
        if !to.contains(&name) {
            to.push(name);
        }
    }
}

/// See [`super::Ledger::next_series_due`].
pub fn next_series_due(c: &Connection) -> Stored<Option<Millis>> {
    Ok(c.prepare_cached(NEXT_SERIES)?.query_row([], |r| r.get(0)).optional()?)
}

/// See [`super::Ledger::clock_went_back`].
pub fn clock_went_back(c: &Connection, now: Millis, settle_max: Millis) -> Stored<u64> {
    Ok(c.prepare_cached(SERIES_TOO_LATE)?.execute(params![now, now.saturating_add(settle_max)])? as u64)
}

/// See [`super::Ledger::decided`].
pub fn decided(c: &Connection, decision: &Decision) -> Stored<()> {
    let (series, had, chosen): (i64, Option<String>, String) = c
        .prepare_cached(
            "SELECT s.id, s.verdict, s.chosen FROM study t CROSS JOIN series s ON s.study_id = t.id WHERE t.uid = ?1 AND s.uid = ?2",
        )?
        .query_row(params![decision.study_instance_uid, decision.series_instance_uid], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?
        .ok_or_else(|| LedgerError::Unknown(format!("series {} of study {}", decision.series_instance_uid, decision.study_instance_uid)))?;
    let mut chosen: Vec<String> = from_json(&chosen)?;
    union(&mut chosen, decision.chosen.clone());
    c.prepare_cached("UPDATE series SET verdict = ?2, chosen = ?3 WHERE id = ?1")?.execute(params![
        series,
        to_json(&decision.verdict)?,
        to_json(&chosen)?
    ])?;
    let mut detail = json!(decision.verdict);
    detail["instances"] = json!(decision.instances.len());
    detail["inherited"] = json!(had.is_some());
    if let (Some(detail), Some(evidence)) = (detail.as_object_mut(), decision.evidence.as_object()) {
        detail.extend(evidence.clone());
    }
    // Who sent it: the source of the first instance speaks for the series.
    let source = decision.instances.first().map(|one| one.id);
    series_event(c, decision.now, "verdict", series, source, &detail)?;
    for one in &decision.instances {
        decide_instance(c, series, one, decision.now)?;
    }
    for (id, destinations) in &decision.added {
        add(c, *id, destinations, decision.now)?;
    }
    // What came while this was being decided stays open, and counts from its own receipt.
    c.prepare_cached(
        "UPDATE series SET open_since = (SELECT min(received_at) FROM instance INDEXED BY instance_undecided \
         WHERE series_id = ?1 AND decided = 0 AND present = 1), due_at = CASE WHEN undecided > 0 THEN due_at END WHERE id = ?1",
    )?
    .execute([series])?;
    Ok(())
}

/// Overlay, deliveries and events of one instance. An instance that is decided already keeps the overlay it has: a retry
/// must send the same bytes.
fn decide_instance(c: &Connection, series: i64, one: &DecidedInstance, now: Millis) -> Stored<()> {
    let (decided, present): (bool, bool) = c
        .prepare_cached("SELECT decided, present FROM instance WHERE id = ?1 AND series_id = ?2")?
        .query_row(params![one.id, series], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?
        .ok_or_else(|| LedgerError::Unknown(format!("instance row {} in the series that was decided", one.id)))?;
    if !present {
        return Ok(()); // its file went missing meanwhile: told by the event `missing`
    }
    if !decided {
        let changes = one.overlay.as_ref().map(|o| to_json(&o.changes)).transpose()?;
        let edits = one.overlay.as_ref().map(|o| encode_edits(&o.edits));
        c.prepare_cached("UPDATE instance SET decided = 1, changes = ?2, edits = ?3 WHERE id = ?1")?
            .execute(params![one.id, changes, edits])?;
        c.prepare_cached("UPDATE series SET undecided = undecided - 1 WHERE id = ?1")?.execute([series])?;
        if let Some(overlay) = &one.overlay {
            let changes: serde_json::Map<_, _> = overlay
                .changes
                .iter()
                .map(|(tag, (old, new))| (tag.clone(), json!({ "old": old, "new": new })))
                .collect();
            instance_event(c, now, "correction", one.id, &json!({ "changes": changes }))?;
        }
        if let Some(reason) = &one.untouched {
            instance_event(c, now, "untouched", one.id, &json!({ "reason": reason }))?;
        }
        // Nothing is dropped silently: what has nowhere to go stays in the spool, and the log says so as an error.
        let kind = if one.destinations.is_empty() { "unrouted" } else { "routed" };
        instance_event(c, now, kind, one.id, &json!({ "routes": one.routes, "destinations": one.destinations }))?;
    }
    enqueue(c, one.id, &one.destinations, now)?;
    Ok(())
}

/// Destinations that a later series of the study brought to an earlier instance.
fn add(c: &Connection, id: InstanceId, destinations: &[String], now: Millis) -> Stored<()> {
    let present: bool = c
        .prepare_cached("SELECT present FROM instance WHERE id = ?1")?
        .query_row([id], |r| r.get(0))
        .optional()?
        .ok_or_else(|| LedgerError::Unknown(format!("instance row {id}")))?;
    if !present {
        let detail = json!({ "destinations": destinations, "reason": "retention has removed the file already" });
        return instance_event(c, now, "unroutable", id, &detail);
    }
    let new = enqueue(c, id, destinations, now)?;
    if !new.is_empty() {
        reopen(c, id)?;
        instance_event(
            c,
            now,
            "routed",
            id,
            &json!({ "routes": [], "destinations": new, "because": "a later series of the study" }),
        )?;
    }
    Ok(())
}
