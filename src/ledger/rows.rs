//! Rows to values and back.

use super::store::Stored;
use super::{InstanceRow, LedgerError, Millis, Source};
use crate::dataset::{Edit, Overlay};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Columns of an [`InstanceRow`]; [`instance`] reads them from the first on. The tables are `i` and `s`.
pub const INSTANCE: &str = "i.id, i.spool_name, i.file_size, i.dataset_offset, i.facts, i.received_at, i.look, i.decided, \
    i.present, s.calling_ae, s.called_ae, s.peer, s.association";
/// How many there are.
pub const INSTANCE_COLUMNS: usize = 13;

/// Reads the columns of [`INSTANCE`].
pub fn instance(row: &Row) -> Stored<InstanceRow> {
    let look: Option<String> = row.get(6)?;
    Ok(InstanceRow {
        id: row.get(0)?,
        spool_name: row.get(1)?,
        file_size: unsigned(row.get(2)?),
        dataset_offset: unsigned(row.get(3)?),
        facts: from_json(&row.get::<_, String>(4)?)?,
        received_at: row.get(5)?,
        look: look.map(|l| from_json(&l)).transpose()?,
        decided: row.get(7)?,
        present: row.get(8)?,
        source: source(row, 9)?,
    })
}

/// Reads calling AE, called AE, peer and association from column `at` on.
pub fn source(row: &Row, at: usize) -> Stored<Source> {
    Ok(Source {
        calling_ae: row.get(at)?,
        called_ae: row.get(at + 1)?,
        peer: row.get::<_, String>(at + 2)?.parse().ok(),
        association: row.get(at + 3)?,
    })
}

/// The row of a source, entered when it is new.
pub fn source_id(c: &Connection, source: &Source) -> Stored<i64> {
    let peer = source.peer.map(|p| p.to_string()).unwrap_or_default();
    let key = params![source.association, source.calling_ae, source.called_ae, peer];
    let known = c
        .prepare_cached(
            "SELECT id FROM source WHERE association = ?1 AND calling_ae = ?2 AND called_ae = ?3 AND peer = ?4",
        )?
        .query_row(key, |r| r.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    c.prepare_cached("INSERT INTO source (association, calling_ae, called_ae, peer) VALUES (?1, ?2, ?3, ?4)")?
        .execute(key)?;
    Ok(c.last_insert_rowid())
}

/// Enters an event of an instance.
pub fn instance_event(c: &Connection, at: Millis, kind: &str, instance: i64, detail: &serde_json::Value) -> Stored<()> {
    c.prepare_cached("INSERT INTO event (at, kind, instance_id, detail) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        at,
        kind,
        instance,
        detail.to_string()
    ])?;
    Ok(())
}

/// Enters an event of a series, with the source of one of its instances.
pub fn series_event(
    c: &Connection,
    at: Millis,
    kind: &str,
    series: i64,
    instance: Option<super::InstanceId>,
    detail: &serde_json::Value,
) -> Stored<()> {
    c.prepare_cached(
        "INSERT INTO event (at, kind, series_id, source_id, detail) \
         VALUES (?1, ?2, ?3, (SELECT source_id FROM instance WHERE id = ?4), ?5)",
    )?
    .execute(params![at, kind, series, instance, detail.to_string()])?;
    Ok(())
}

/// Milliseconds as they are told: to the microsecond, without the noise of single precision.
pub fn millis(ms: f32) -> f64 {
    (f64::from(ms) * 1000.0).round() / 1000.0
}

/// JSON text of a value.
pub fn to_json(value: &impl Serialize) -> Stored<String> {
    serde_json::to_string(value).map_err(|e| LedgerError::Refused(e.to_string()))
}

/// A value from its JSON text.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Stored<T> {
    Ok(serde_json::from_str(text)?)
}

/// A size as SQLite keeps it.
pub fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A size as we use it.
pub fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// The edits of an overlay: for each, offset, remove and length of what is inserted as 8 bytes little endian, then the bytes.
pub fn encode_edits(edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(edits.iter().map(|e| 24 + e.insert.len()).sum());
    for edit in edits {
        for n in [edit.offset, edit.remove, edit.insert.len() as u64] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&edit.insert);
    }
    out
}

/// The reverse of [`encode_edits`]; never gives memory to a length that is not there.
pub fn decode_edits(mut bytes: &[u8]) -> Stored<Vec<Edit>> {
    let damaged = || LedgerError::Damaged("the overlay of an instance cannot be read".into());
    let mut edits = Vec::new();
    while !bytes.is_empty() {
        let mut number = || -> Stored<u64> {
            let (head, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
            bytes = rest;
            Ok(u64::from_le_bytes(*head))
        };
        let (offset, remove, length) = (number()?, number()?, number()?);
        let (insert, rest) =
            usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n)).ok_or_else(damaged)?;
        edits.push(Edit { offset, remove, insert: insert.to_vec() });
        bytes = rest;
    }
    Ok(edits)
}

/// Reads an overlay from its columns `changes`, `edits`.
pub fn overlay(row: &Row, at: usize) -> Stored<Option<Overlay>> {
    let changes: Option<String> = row.get(at)?;
    let Some(changes) = changes else { return Ok(None) };
    let edits: Option<Vec<u8>> = row.get(at + 1)?;
    Ok(Some(Overlay { edits: decode_edits(&edits.unwrap_or_default())?, changes: from_json(&changes)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_come_back_as_they_went_in() {
        let edits = vec![
            Edit { offset: 0, remove: 3, insert: vec![] },
            Edit { offset: u64::MAX, remove: 0, insert: vec![0, 255, 7] },
            Edit { offset: 9, remove: 1 << 40, insert: vec![1; 700] },
        ];
        assert_eq!(decode_edits(&encode_edits(&edits)).unwrap(), edits);
        assert!(decode_edits(&[]).unwrap().is_empty());
    }

    #[test]
    fn damaged_edits_are_an_error_and_cost_no_memory() {
        let good = encode_edits(&[Edit { offset: 1, remove: 2, insert: vec![3; 5] }]);
        for cut in 1..good.len() {
            assert!(decode_edits(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut claims = vec![0; 16];
        claims.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode_edits(&claims).is_err());
    }
}
