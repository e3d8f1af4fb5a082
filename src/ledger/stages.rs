//! Where the time of a delivered instance went, stage by stage: told with its delivery.
//!
//! Nothing is kept for it: the stages have told their times in events and in what looking gave.

use super::rows::millis;
use super::store::Stored;
use super::{Attempt, InstanceId};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// What the stages have told of an instance, and when its last byte was here. Its first event is the receipt.
const TOLD: &str = "SELECT i.received_at, coalesce(json_extract(v.detail, '$.receive_ms'), 0.0), \
    coalesce(json_extract(v.detail, '$.sync_ms'), 0.0), coalesce(json_extract(i.look, '$.decode_ms'), 0.0), \
    coalesce(json_extract(i.look, '$.classify_ms'), 0.0) FROM instance i LEFT JOIN event v ON v.id = \
    (SELECT min(id) FROM event INDEXED BY event_instance WHERE instance_id = ?1) WHERE i.id = ?1";

/// Milliseconds in each stage for an attempt that ended now: from the first byte of the instance to the destination's
/// response the six add up. `wait_ms` is all the time in which nothing was done for it: for others on the network, for
/// the series, for earlier attempts and for the destination's turn.
pub fn stages(c: &Connection, id: InstanceId, attempt: &Attempt) -> Stored<Value> {
    let (received_at, receive, sync, decode, classify): (i64, f64, f64, f64, f64) = c
        .prepare_cached(TOLD)?
        .query_row(params![id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))?;
    let send = f64::from(attempt.send_ms);
    let since = attempt.now.saturating_sub(received_at) as f64;
    // The times overlap a little, and a clock may have been set back.
    let wait = (since - sync - decode - classify - send).max(0.0);
    let [receive_ms, sync_ms, wait_ms, decode_ms, classify_ms, send_ms] =
        [receive, sync, wait, decode, classify, send].map(|ms| millis(ms as f32));
    Ok(json!({
        "receive_ms": receive_ms, "sync_ms": sync_ms, "wait_ms": wait_ms,
        "decode_ms": decode_ms, "classify_ms": classify_ms, "send_ms": send_ms,
    }))
}
