//! SQL of receiving and looking.

use super::rows::{INSTANCE, from_json, instance, instance_event, millis, signed, source_id, to_json};
use super::store::Stored;
use super::{InstanceId, InstanceRow, LedgerError, Millis, NewInstance};
use crate::dataset::Facts;
use crate::verdict::Look;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

/// Series and Study Instance UID under which an instance is kept. What has no series is one of its own: its SOP Instance
/// UID stands in (and where even that is empty, the name in the spool). What has no study is a study of its own, so that
/// strangers never share a route by study.
pub fn series_key(facts: &Facts, spool_name: &str) -> (String, String) {
    let first = |candidates: [&str; 3]| candidates.into_iter().find(|c| !c.is_empty()).unwrap_or_default().to_owned();
    let series = first([&facts.series_instance_uid, &facts.sop_instance_uid, spool_name]);
    let study = first([&facts.study_instance_uid, &series, ""]);
    (series, study)
}

/// When a series is due after a receipt: quiet for `settle`, but never later than `settle_max` after its first undecided instance.
pub fn due_at(now: Millis, open_since: Millis, settle: Millis, settle_max: Millis) -> Millis {
    now.saturating_add(settle).min(open_since.saturating_add(settle_max))
}

/// See [`super::Ledger::received`].
pub fn received(c: &Connection, new: &NewInstance) -> Stored<InstanceId> {
    let (series_uid, study_uid) = series_key(&new.facts, &new.spool_name);
    let series = open_series(c, &series_uid, &study_uid, new)?;
    let source = source_id(c, &new.source)?;
    c.prepare_cached(
        "INSERT INTO instance (series_id, source_id, sop_instance_uid, spool_name, file_size, dataset_offset, received_at, facts) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        series,
        source,
        new.facts.sop_instance_uid,
        new.spool_name,
        signed(new.file_size),
        signed(new.dataset_offset),
        new.received_at,
        to_json(&new.facts)?
    ])?;
    let id = c.last_insert_rowid();
    let detail = json!({
        "file_size": new.file_size,
        "sop_class_uid": new.facts.sop_class_uid,
        "transfer_syntax_uid": new.facts.transfer_syntax_uid,
        "modality": new.facts.modality,
        "body_part_examined": new.facts.body_part_examined,
        "receive_ms": millis(new.receive_ms),
        "sync_ms": millis(new.sync_ms),
        "spool_name": new.spool_name,
    });
    instance_event(c, new.received_at, if new.adopted { "adopted" } else { "received" }, id, &detail)?;
    Ok(id)
}

/// The row of the series with one more undecided, unlooked instance, and its due time moved.
fn open_series(c: &Connection, series_uid: &str, study_uid: &str, new: &NewInstance) -> Stored<i64> {
    let study: Option<i64> =
        c.prepare_cached("SELECT id FROM study WHERE uid = ?1")?.query_row([study_uid], |r| r.get(0)).optional()?;
    let study = match study {
        Some(id) => id,
        None => {
            c.prepare_cached("INSERT INTO study (uid) VALUES (?1)")?.execute([study_uid])?;
            c.last_insert_rowid()
        }
    };
    let known: Option<(i64, Option<Millis>)> = c
        .prepare_cached(
            "SELECT id, CASE WHEN undecided > 0 THEN open_since END FROM series WHERE study_id = ?1 AND uid = ?2",
        )?
        .query_row(params![study, series_uid], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let open_since = known.and_then(|(_, since)| since).map_or(new.received_at, |since| since.min(new.received_at));
    let due = due_at(new.received_at, open_since, new.settle, new.settle_max);
    if let Some((id, _)) = known {
        c.prepare_cached("UPDATE series SET undecided = undecided + 1, unlooked = unlooked + 1, open_since = ?2, due_at = ?3 WHERE id = ?1")?
            .execute(params![id, open_since, due])?;
        return Ok(id);
    }
    c.prepare_cached(
        "INSERT INTO series (study_id, uid, undecided, unlooked, open_since, due_at) VALUES (?1, ?2, 1, 1, ?3, ?4)",
    )?
    .execute(params![study, series_uid, open_since, due])?;
    Ok(c.last_insert_rowid())
}

/// The undecided instances of an association, by index.
pub const RELEASED: &str = "UPDATE series SET due_at = min(due_at, ?2) WHERE undecided > 0 AND id IN \
    (SELECT i.series_id FROM source s CROSS JOIN instance i INDEXED BY instance_undecided_source ON i.source_id = s.id \
     WHERE s.association = ?1 AND i.decided = 0 AND i.present = 1)";

/// See [`super::Ledger::released`].
pub fn released(c: &Connection, association: &str, now: Millis) -> Stored<()> {
    c.prepare_cached(RELEASED)?.execute(params![association, now])?;
    Ok(())
}

/// The pick of instances to look at.
pub fn unlooked_sql() -> String {
    format!(
        "SELECT {INSTANCE} FROM instance i CROSS JOIN source s ON s.id = i.source_id \
         WHERE i.look IS NULL AND i.present = 1 ORDER BY i.received_at, i.id"
    )
}

/// See [`super::Ledger::unlooked`].
pub fn unlooked(c: &Connection, limit: usize, busy: &[InstanceId]) -> Stored<Vec<InstanceRow>> {
    let mut statement = c.prepare_cached(&unlooked_sql())?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        // What is busy is the oldest work, so no more rows are skipped than are in flight.
        if !busy.contains(&row.get(0)?) {
            found.push(instance(row)?);
        }
    }
    Ok(found)
}

/// See [`super::Ledger::looked`]. Looking twice (a repeat after a restart) keeps the first result.
pub fn looked(c: &Connection, id: InstanceId, look: &Look, now: Millis) -> Stored<()> {
    let text = to_json(look)?;
    let entered = c
        .prepare_cached("UPDATE instance SET look = ?2 WHERE id = ?1 AND look IS NULL RETURNING series_id, present")?
        .query_row(params![id, text], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, bool>(1)?)))
        .optional()?;
    let Some((series, present)) = entered else {
        let known: bool = c.query_row("SELECT EXISTS (SELECT 1 FROM instance WHERE id = ?1)", [id], |r| r.get(0))?;
        return if known { Ok(()) } else { Err(LedgerError::Unknown(format!("instance row {id}"))) };
    };
    if present {
        c.prepare_cached("UPDATE series SET unlooked = unlooked - 1 WHERE id = ?1")?.execute([series])?;
    }
    instance_event(c, now, "looked", id, &from_json(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_moves_the_due_time_but_never_beyond_the_longest_wait() {
        for (now, open_since, settle, settle_max, due) in [
            (1000, 1000, 200, 6000, 1200),
            (6900, 1000, 200, 6000, 7000),
            (9000, 1000, 200, 6000, 7000),
            (1000, 1000, 200, 0, 1000),
            (i64::MAX - 1, i64::MAX - 1, 200, 6000, i64::MAX),
        ] {
            assert_eq!(due_at(now, open_since, settle, settle_max), due);
        }
    }

    #[test]
    fn what_has_no_series_or_study_stands_for_itself() {
        let facts = |study: &str, series: &str, sop: &str| Facts {
            study_instance_uid: study.into(),
            series_instance_uid: series.into(),
            sop_instance_uid: sop.into(),
            ..Facts::default()
        };
        let key = |f: Facts| series_key(&f, "name");
        assert_eq!(key(facts("1", "2", "3")), ("2".into(), "1".into()));
        assert_eq!(key(facts("1", "", "3")), ("3".into(), "1".into()));
        assert_eq!(key(facts("", "", "3")), ("3".into(), "3".into()));
        assert_eq!(key(facts("", "2", "3")), ("2".into(), "2".into()));
        assert_eq!(key(facts("", "", "")), ("name".into(), "name".into()));
    }
}
