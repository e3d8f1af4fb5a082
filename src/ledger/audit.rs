//! SQL of telling: events, and the life of an instance.

use super::deliver::state;
use super::rows::{INSTANCE, INSTANCE_COLUMNS, from_json, instance, overlay, source, source_id};
use super::store::Stored;
use super::{DeliveryLife, Event, InstanceId, InstanceLife, Source, Waiting};
use crate::dataset::Overlay;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Rows of the instances of a UID, whichever of the three it is.
const HIT: &str = "WITH hit (id, series_id) AS MATERIALIZED ( \
    SELECT id, series_id FROM instance WHERE sop_instance_uid = ?1 \
    UNION SELECT i.id, i.series_id FROM series e CROSS JOIN instance i ON i.series_id = e.id WHERE e.uid = ?1 \
    UNION SELECT i.id, i.series_id FROM study t CROSS JOIN series e ON e.study_id = t.id CROSS JOIN instance i ON i.series_id = e.id \
        WHERE t.uid = ?1) ";

/// The columns of an event, as [`event_row`] reads them.
const EVENT: &str = "v.at, v.kind, coalesce(v.sop_uid, i.sop_instance_uid, ''), coalesce(v.series_uid, e.uid, ''), \
    coalesce(v.study_uid, t.uid, ''), v.detail, s.id, s.calling_ae, s.called_ae, s.peer, s.association, v.id";
/// What they come from, beside `event v`.
const EVENT_JOINS: &str = "LEFT JOIN instance i ON i.id = v.instance_id \
    LEFT JOIN series e ON e.id = coalesce(v.series_id, i.series_id) LEFT JOIN study t ON t.id = e.study_id \
    LEFT JOIN source s ON s.id = coalesce(v.source_id, i.source_id)";

/// The events of a UID.
pub fn events_sql() -> String {
    format!(
        "{HIT}, told (id) AS ( \
           SELECT v.id FROM hit h CROSS JOIN event v ON v.instance_id = h.id \
           UNION SELECT v.id FROM (SELECT DISTINCT series_id FROM hit) h CROSS JOIN event v ON v.series_id = h.series_id \
           UNION SELECT id FROM event WHERE sop_uid = ?1 UNION SELECT id FROM event WHERE series_uid = ?1 \
           UNION SELECT id FROM event WHERE study_uid = ?1) \
         SELECT {EVENT} FROM told CROSS JOIN event v ON v.id = told.id {EVENT_JOINS} \
         ORDER BY v.id"
    )
}

/// The instances of a UID.
pub fn instances_sql() -> String {
    format!(
        "{HIT} SELECT {INSTANCE}, i.changes, i.edits, e.verdict FROM hit CROSS JOIN instance i ON i.id = hit.id \
         CROSS JOIN source s ON s.id = i.source_id CROSS JOIN series e ON e.id = i.series_id ORDER BY i.id"
    )
}

/// The deliveries of an instance.
pub const DELIVERIES: &str =
    "SELECT destination, state, attempts, ended_at, detail FROM delivery WHERE instance_id = ?1 ORDER BY id";

/// See [`super::Ledger::event`].
pub fn event(c: &Connection, event: &Event) -> Stored<()> {
    let text = |uid: &str| (!uid.is_empty()).then(|| uid.to_owned());
    let source = event.source.as_ref().map(|s| source_id(c, s)).transpose()?;
    c.prepare_cached("INSERT INTO event (at, kind, source_id, sop_uid, series_uid, study_uid, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            event.at,
            event.kind,
            source,
            text(&event.sop_instance_uid),
            text(&event.series_instance_uid),
            text(&event.study_instance_uid),
            event.detail.to_string()
        ])?;
    Ok(())
}

/// See [`super::Ledger::events_of`].
pub fn events_of(c: &Connection, uid: &str) -> Stored<Vec<Event>> {
    if uid.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = c.prepare_cached(&events_sql())?;
    let mut rows = statement.query([uid])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(event_row(row)?);
    }
    Ok(found)
}

/// Row of the last event; 0 when there is none.
pub fn last_event(c: &Connection) -> Stored<i64> {
    Ok(c.prepare_cached("SELECT coalesce(max(id), 0) FROM event")?.query_row([], |r| r.get(0))?)
}

/// The events behind row `after`, and the row of the last.
pub fn events_after(c: &Connection, after: i64) -> Stored<(Vec<Event>, i64)> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {EVENT} FROM event v {EVENT_JOINS} WHERE v.id > ?1 ORDER BY v.id"))?;
    let mut rows = statement.query([after])?;
    let (mut found, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last = row.get(11)?;
        found.push(event_row(row)?);
    }
    Ok((found, last))
}

fn event_row(row: &Row) -> Stored<Event> {
    let from: Option<Source> = match row.get::<_, Option<i64>>(6)? {
        Some(_) => Some(source(row, 7)?),
        None => None,
    };
    Ok(Event {
        at: row.get(0)?,
        kind: row.get(1)?,
        sop_instance_uid: row.get(2)?,
        series_instance_uid: row.get(3)?,
        study_instance_uid: row.get(4)?,
        source: from,
        detail: from_json(&row.get::<_, String>(5)?)?,
    })
}

/// See [`super::Ledger::instances_of`].
pub fn instances_of(c: &Connection, uid: &str) -> Stored<Vec<InstanceLife>> {
    if uid.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = c.prepare_cached(&instances_sql())?;
    let mut rows = statement.query([uid])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let instance = instance(row)?;
        let verdict: Option<String> = row.get(INSTANCE_COLUMNS + 2)?;
        // A verdict is this instance's only once it is decided: a latecomer waits for its own turn.
        let verdict = verdict.filter(|_| instance.decided).map(|v| from_json(&v)).transpose()?;
        let deliveries = deliveries(c, instance.id)?;
        found.push(InstanceLife { overlay: overlay(row, INSTANCE_COLUMNS)?, row: instance, verdict, deliveries });
    }
    Ok(found)
}

fn deliveries(c: &Connection, id: InstanceId) -> Stored<Vec<DeliveryLife>> {
    let mut statement = c.prepare_cached(DELIVERIES)?;
    let mut rows = statement.query([id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(DeliveryLife {
            destination: row.get(0)?,
            state: state(&row.get::<_, String>(1)?)?,
            attempts: row.get(2)?,
            ended_at: row.get(3)?,
            detail: row.get(4)?,
        });
    }
    Ok(found)
}

/// The three counts of [`waiting`]: each is read from an index that has nothing but what waits.
pub const WAITING: [&str; 3] = [
    "SELECT count(*) FROM instance INDEXED BY instance_unlooked WHERE look IS NULL AND present = 1",
    "SELECT count(*) FROM instance INDEXED BY instance_undecided WHERE decided = 0 AND present = 1",
    "SELECT destination, count(*) FROM delivery INDEXED BY delivery_due WHERE state = 'queued' GROUP BY destination",
];

/// See [`super::Ledger::waiting`].
pub fn waiting(c: &Connection) -> Stored<Waiting> {
    let [unlooked, undecided, queued] = WAITING;
    let count = |sql| c.prepare_cached(sql)?.query_row([], |r| r.get::<_, i64>(0)).map(i64::cast_unsigned);
    let mut queued = c.prepare_cached(queued)?;
    let queued = queued.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.cast_unsigned())))?;
    Ok(Waiting { unlooked: count(unlooked)?, undecided: count(undecided)?, queued: queued.collect::<Result<_, _>>()? })
}

/// See [`super::Ledger::overlay`].
pub fn overlay_of(c: &Connection, id: InstanceId) -> Stored<Option<Overlay>> {
    let mut statement = c.prepare_cached("SELECT changes, edits FROM instance WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| Ok(overlay(row, 0))).optional()?.transpose()?.flatten())
}
