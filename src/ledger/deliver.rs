//! SQL of delivering: the queues and the administrator's hand on them.

use super::rows::{INSTANCE, INSTANCE_COLUMNS, instance, instance_event, millis, overlay};
use super::stages::stages;
use super::store::Stored;
use super::{Attempt, DeliveryId, DeliveryJob, DeliveryState, InstanceId, LedgerError, Millis, Outcome, QueueRow};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

/// The pick of deliveries. The index holds what is queued alone, so what was delivered costs nothing.
pub fn due_sql() -> String {
    format!(
        "SELECT {INSTANCE}, i.changes, i.edits, d.id, d.attempts, d.queued_at \
         FROM delivery d INDEXED BY delivery_due CROSS JOIN instance i ON i.id = d.instance_id CROSS JOIN source s ON s.id = i.source_id \
         WHERE d.destination = ?1 AND d.state = 'queued' AND d.next_at <= ?2 ORDER BY d.next_at, d.id"
    )
}

/// When the next is due.
pub const NEXT_DELIVERY: &str = "SELECT next_at FROM delivery INDEXED BY delivery_due WHERE destination = ?1 AND state = 'queued' ORDER BY next_at LIMIT 1";

/// The destinations of queued deliveries: one look-up in the index for each destination, not for each delivery.
pub const QUEUED_DESTINATIONS: &str = "WITH RECURSIVE name (destination) AS (VALUES ('') UNION ALL \
    SELECT (SELECT d.destination FROM delivery d INDEXED BY delivery_due WHERE d.state = 'queued' AND d.destination > name.destination \
            ORDER BY d.destination LIMIT 1) FROM name WHERE name.destination IS NOT NULL) \
    SELECT destination FROM name WHERE destination > ''";

/// Deliveries that are due later than any that is entered now could be.
pub const TOO_LATE: &str = "UPDATE delivery SET next_at = ?2 WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_due \
    WHERE destination = ?1 AND state = 'queued' AND next_at > ?3 ORDER BY next_at LIMIT ?4)";

/// Queued deliveries that were entered before a time.
pub const TOO_OLD: &str =
    "SELECT id FROM delivery INDEXED BY delivery_due WHERE destination = ?1 AND state = 'queued' AND queued_at <= ?2";

/// Open deliveries and dead letters.
pub const QUEUE: &str = "SELECT d.id, d.destination, i.sop_instance_uid, e.uid, t.uid, d.state, d.attempts, d.next_at, d.queued_at, d.detail \
    FROM delivery d INDEXED BY delivery_open CROSS JOIN instance i ON i.id = d.instance_id CROSS JOIN series e ON e.id = i.series_id \
    CROSS JOIN study t ON t.id = e.study_id \
    WHERE d.state IN ('queued', 'dead') AND (?1 IS NULL OR d.destination = ?1) ORDER BY d.id";

/// Some of them, behind a row. A dead letter whose file is gone cannot be sent again.
pub const OPEN: &str = "SELECT d.id, d.instance_id, d.destination, i.present FROM delivery d INDEXED BY delivery_open \
    CROSS JOIN instance i ON i.id = d.instance_id \
    WHERE d.state IN ('queued', 'dead') AND d.id > ?2 AND (?1 IS NULL OR d.destination = ?1) ORDER BY d.id LIMIT ?3";

/// Enters deliveries that are not there yet; returns the destinations of the new ones.
pub fn enqueue(c: &Connection, id: InstanceId, destinations: &[String], now: Millis) -> Stored<Vec<String>> {
    let mut statement = c.prepare_cached(
        "INSERT INTO delivery (instance_id, destination, next_at, queued_at) VALUES (?1, ?2, ?3, ?3) \
         ON CONFLICT (instance_id, destination) DO NOTHING",
    )?;
    let mut new = Vec::new();
    for destination in destinations {
        if statement.execute(params![id, destination, now])? > 0 {
            new.push(destination.clone());
        }
    }
    Ok(new)
}

/// An instance that had ended has an open delivery again.
pub fn reopen(c: &Connection, id: InstanceId) -> Stored<()> {
    c.prepare_cached("UPDATE instance SET ended_at = NULL WHERE id = ?1 AND ended_at IS NOT NULL")?.execute([id])?;
    Ok(())
}

/// A delivery ended well: if it was the last, retention counts from now.
fn end(c: &Connection, id: InstanceId, now: Millis) -> Stored<()> {
    c.prepare_cached(
        "UPDATE instance SET ended_at = ?2 WHERE id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM delivery WHERE instance_id = ?1 AND state NOT IN ('delivered', 'dropped'))",
    )?
    .execute(params![id, now])?;
    Ok(())
}

/// See [`super::Ledger::due_deliveries`].
pub fn due_deliveries(
    c: &Connection,
    destination: &str,
    now: Millis,
    limit: usize,
    busy: &[DeliveryId],
) -> Stored<Vec<DeliveryJob>> {
    let mut statement = c.prepare_cached(&due_sql())?;
    let mut rows = statement.query(params![destination, now])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let id = row.get(INSTANCE_COLUMNS + 2)?;
        if !busy.contains(&id) {
            found.push(DeliveryJob {
                id,
                instance: instance(row)?,
                overlay: overlay(row, INSTANCE_COLUMNS)?,
                attempts: row.get(INSTANCE_COLUMNS + 3)?,
                queued_at: row.get(INSTANCE_COLUMNS + 4)?,
            });
        }
    }
    Ok(found)
}

/// See [`super::Ledger::next_delivery_due`].
pub fn next_delivery_due(c: &Connection, destination: &str) -> Stored<Option<Millis>> {
    Ok(c.prepare_cached(NEXT_DELIVERY)?.query_row([destination], |r| r.get(0)).optional()?)
}

/// See [`super::Ledger::attempted`].
pub fn attempted(c: &Connection, outcomes: &[Attempt]) -> Stored<()> {
    outcomes.iter().try_for_each(|a| attempted_once(c, a))
}

/// See [`super::Ledger::queued_destinations`].
pub fn queued_destinations(c: &Connection) -> Stored<Vec<String>> {
    Ok(c.prepare_cached(QUEUED_DESTINATIONS)?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?)
}

/// Makes up to `limit` deliveries that are due after `latest` due now; how many.
pub fn bring_forward(c: &Connection, destination: &str, now: Millis, latest: Millis, limit: usize) -> Stored<u64> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(c.prepare_cached(TOO_LATE)?.execute(params![destination, now, latest, limit])? as u64)
}

/// Up to `limit` queued deliveries that were entered at `before` or earlier, without those in `busy`.
pub fn too_old(
    c: &Connection,
    destination: &str,
    before: Millis,
    limit: usize,
    busy: &[DeliveryId],
) -> Stored<Vec<DeliveryId>> {
    let mut statement = c.prepare_cached(TOO_OLD)?;
    let mut rows = statement.query(params![destination, before])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let id = row.get(0)?;
        if !busy.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Queued deliveries become dead letters without an attempt; what is no longer queued is left alone. How many.
pub fn give_up(c: &Connection, ids: &[DeliveryId], why: &str, now: Millis) -> Stored<u64> {
    let mut count = 0;
    for id in ids {
        let dead: Option<(InstanceId, String, u32)> = c
            .prepare_cached(
                "UPDATE delivery SET state = 'dead', ended_at = ?2, detail = ?3 WHERE id = ?1 AND state = 'queued' \
                 RETURNING instance_id, destination, attempts",
            )?
            .query_row(params![id, now, why], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        if let Some((instance, destination, attempts)) = dead {
            let detail =
                json!({ "destination": destination, "attempt": attempts, "detail": why, "send_ms": millis(0.0) });
            instance_event(c, now, "dead", instance, &detail)?;
            count += 1;
        }
    }
    Ok(count)
}

/// What the destination says is true whatever an administrator did meanwhile: delivered is delivered. But a delivery that
/// was dropped is not brought back by a retry.
fn attempted_once(c: &Connection, a: &Attempt) -> Stored<()> {
    let (kind, sql) = match a.outcome {
        Outcome::Delivered => ("delivered", "state = 'delivered', ended_at = ?4"),
        Outcome::Retry(_) => ("retry", "next_at = CASE state WHEN 'queued' THEN ?3 ELSE next_at END"),
        Outcome::Dead => (
            "dead",
            "ended_at = CASE state WHEN 'queued' THEN ?4 ELSE ended_at END, state = CASE state WHEN 'queued' THEN 'dead' ELSE state END",
        ),
    };
    let next = if let Outcome::Retry(at) = a.outcome { at } else { a.now };
    let (instance, destination, attempt): (InstanceId, String, u32) = c
        .prepare_cached(&format!(
            // ?3 and ?4 stand in every variant, so that all take the same parameters.
            "UPDATE delivery SET attempts = attempts + 1, detail = ?2, {sql} WHERE id = ?1 AND ?3 = ?3 AND ?4 = ?4 \
             RETURNING instance_id, destination, attempts"
        ))?
        .query_row(params![a.id, a.detail, next, a.now], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?
        .ok_or_else(|| LedgerError::Unknown(format!("delivery row {}", a.id)))?;
    if a.outcome == Outcome::Delivered {
        end(c, instance, a.now)?;
    }
    let mut detail = json!({
        "destination": destination,
        "attempt": attempt,
        "status": a.status.map(|s| format!("{s:04X}")),
        "detail": a.detail,
        "peer": a.peer,
        "transfer_syntax_uid": a.transfer_syntax_uid,
        "bytes": a.bytes,
        "corrected": a.corrected,
        "send_ms": millis(a.send_ms),
    });
    match a.outcome {
        Outcome::Delivered => detail["stages"] = stages(c, instance, a)?,
        Outcome::Retry(at) => detail["next_at"] = json!(at),
        Outcome::Dead => {}
    }
    instance_event(c, a.now, kind, instance, &detail)
}

/// The state from its text.
pub fn state(text: &str) -> Stored<DeliveryState> {
    match text {
        "queued" => Ok(DeliveryState::Queued),
        "delivered" => Ok(DeliveryState::Delivered),
        "dead" => Ok(DeliveryState::Dead),
        "dropped" => Ok(DeliveryState::Dropped),
        other => Err(LedgerError::Damaged(format!("a delivery is in the state {other:?}"))),
    }
}

/// See [`super::Ledger::queue`].
pub fn queue(c: &Connection, destination: Option<&str>) -> Stored<Vec<QueueRow>> {
    let mut statement = c.prepare_cached(QUEUE)?;
    let mut rows = statement.query(params![destination])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(queue_row(row)?);
    }
    Ok(found)
}

fn queue_row(row: &Row) -> Stored<QueueRow> {
    Ok(QueueRow {
        id: row.get(0)?,
        destination: row.get(1)?,
        sop_instance_uid: row.get(2)?,
        series_instance_uid: row.get(3)?,
        study_instance_uid: row.get(4)?,
        state: state(&row.get::<_, String>(5)?)?,
        attempts: row.get(6)?,
        next_at: row.get(7)?,
        queued_at: row.get(8)?,
        last_error: row.get(9)?,
    })
}

/// See [`super::Ledger::queue_retry`]. A dead letter begins a new `max_age`.
pub fn queue_retry(
    c: &Connection,
    destination: Option<&str>,
    now: Millis,
    after: DeliveryId,
    limit: usize,
) -> Stored<(u64, Option<DeliveryId>)> {
    each_open(c, destination, after, limit, |id, instance, destination, present| {
        if !present {
            return Ok(false);
        }
        c.prepare_cached(
            "UPDATE delivery SET queued_at = CASE state WHEN 'dead' THEN ?2 ELSE queued_at END, state = 'queued', next_at = ?2, \
             ended_at = NULL WHERE id = ?1",
        )?
        .execute(params![id, now])?;
        instance_event(c, now, "requeued", instance, &json!({ "destination": destination, "by": "administrator" }))?;
        Ok(true)
    })
}

/// See [`super::Ledger::queue_drop`].
pub fn queue_drop(
    c: &Connection,
    destination: Option<&str>,
    now: Millis,
    after: DeliveryId,
    limit: usize,
) -> Stored<(u64, Option<DeliveryId>)> {
    each_open(c, destination, after, limit, |id, instance, destination, _| {
        c.prepare_cached("UPDATE delivery SET state = 'dropped', ended_at = ?2 WHERE id = ?1")?
            .execute(params![id, now])?;
        end(c, instance, now)?;
        instance_event(c, now, "dropped", instance, &json!({ "destination": destination, "by": "administrator" }))?;
        Ok(true)
    })
}

fn each_open(
    c: &Connection,
    destination: Option<&str>,
    after: DeliveryId,
    limit: usize,
    mut act: impl FnMut(DeliveryId, InstanceId, &str, bool) -> Stored<bool>,
) -> Stored<(u64, Option<DeliveryId>)> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let open: Vec<(DeliveryId, InstanceId, String, bool)> = c
        .prepare_cached(OPEN)?
        .query_map(params![destination, after, limit], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let mut count = 0;
    for (id, instance, destination, present) in &open {
        count += u64::from(act(*id, *instance, destination, *present)?);
    }
    Ok((count, open.last().map(|o| o.0)))
}
