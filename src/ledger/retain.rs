//! SQL of retention and reconciliation.

use super::rows::{INSTANCE, instance, instance_event};
use super::store::Stored;
use super::{InstanceId, InstanceRow, LedgerError, Millis};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

/// The pick of files that may go.
pub fn expired_sql() -> String {
    format!(
        "SELECT {INSTANCE} FROM instance i INDEXED BY instance_ended CROSS JOIN source s ON s.id = i.source_id \
         WHERE i.ended_at IS NOT NULL AND i.present = 1 AND i.ended_at < ?1 ORDER BY i.ended_at LIMIT ?2"
    )
}

/// The files that rows need: the index holds all of it.
pub const SPOOL_NAMES: &str = "SELECT id, spool_name FROM instance INDEXED BY instance_spool WHERE present = 1";

/// See [`super::Ledger::expired`].
pub fn expired(c: &Connection, before: Millis, limit: usize) -> Stored<Vec<InstanceRow>> {
    let mut statement = c.prepare_cached(&expired_sql())?;
    let mut rows = statement.query(params![before, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(instance(row)?);
    }
    Ok(found)
}

/// See [`super::Ledger::remove`].
pub fn remove(c: &Connection, ids: &[InstanceId], now: Millis) -> Stored<Vec<String>> {
    let mut names = Vec::with_capacity(ids.len());
    for id in ids {
        // A late series of the study may have added a destination since the pick: then the file is needed again.
        let name: Option<String> = c
            .prepare_cached("SELECT spool_name FROM instance WHERE id = ?1 AND present = 1 AND ended_at IS NOT NULL")?
            .query_row([id], |r| r.get(0))
            .optional()?;
        let Some(name) = name else { continue };
        gone(c, *id, now, true)?;
        c.prepare_cached("INSERT OR IGNORE INTO removing (spool_name) VALUES (?1)")?.execute([&name])?;
        names.push(name);
    }
    Ok(names)
}

/// See [`super::Ledger::to_unlink`].
pub fn to_unlink(c: &Connection) -> Stored<Vec<String>> {
    let mut statement = c.prepare_cached("SELECT spool_name FROM removing")?;
    let names = statement.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// See [`super::Ledger::unlinked`].
pub fn unlinked(c: &Connection, names: &[String]) -> Stored<()> {
    let mut statement = c.prepare_cached("DELETE FROM removing WHERE spool_name = ?1")?;
    names.iter().try_for_each(|name| statement.execute([name]).map(|_| ()))?;
    Ok(())
}

/// See [`super::Ledger::missing`].
pub fn missing(c: &Connection, id: InstanceId, now: Millis) -> Stored<()> {
    gone(c, id, now, false)
}

/// A file is gone. Whatever still wanted it is told: a delivery becomes a dead letter, a series no longer waits for it.
fn gone(c: &Connection, id: InstanceId, now: Millis, intended: bool) -> Stored<()> {
    let (present, decided, looked, series, ended): (bool, bool, bool, i64, bool) = c
        .prepare_cached(
            "SELECT present, decided, look IS NOT NULL, series_id, ended_at IS NOT NULL FROM instance WHERE id = ?1",
        )?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
        .optional()?
        .ok_or_else(|| LedgerError::Unknown(format!("instance row {id}")))?;
    if !present {
        return Ok(());
    }
    c.prepare_cached("UPDATE instance SET present = 0 WHERE id = ?1")?.execute([id])?;
    c.prepare_cached("UPDATE series SET undecided = undecided - ?2, unlooked = unlooked - ?3 WHERE id = ?1")?
        .execute(params![series, i64::from(!decided), i64::from(!looked)])?;
    let why = if intended {
        "the file was removed from the spool before it was delivered"
    } else {
        "the file is missing in the spool"
    };
    let dead = c
        .prepare_cached("UPDATE delivery SET state = 'dead', ended_at = ?2, detail = ?3 WHERE instance_id = ?1 AND state = 'queued'")?
        .execute(params![id, now, why])?;
    // Gone by another's hand, but everything was delivered: no loss.
    let kind = if dead == 0 && (intended || ended) { "removed" } else { "missing" };
    instance_event(c, now, kind, id, &json!({ "dead_letters": dead }))
}
