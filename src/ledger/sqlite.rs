//! The store in SQLite.

use super::store::{Store, Stored};
use super::writer::Durable;
use super::{
    Attempt, Decision, DeliveryId, DeliveryJob, Event, InstanceId, InstanceLife, InstanceRow, LedgerError, Millis,
    NewInstance, QueueRow, SeriesJob, Waiting, audit, decide, deliver, receive, retain, schema,
};
use crate::dataset::Overlay;
use crate::verdict::Look;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process (`radroute queue drop` beside the daemon, a backup).
const BUSY: Duration = Duration::from_secs(20);

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Created or migrated if need be, and written.
    Create,
    /// Written, but neither created nor migrated.
    Existing,
    /// Read.
    Read,
}

/// One SQLite connection: WAL, and synchronous FULL but for transactions that are [`Durable::Later`].
///
/// Those commit with synchronous NORMAL: the log is written and not synced. It is one file in order, so the sync of the next commit
/// takes them along, whichever connection makes it; until then a power cut takes the last of them away and leaves a sound ledger.
pub struct SqliteStore {
    pub(super) connection: Connection,
    /// What the connection is set to.
    durable: Durable,
    /// Row of the last event that [`Store::news`] gave.
    told: Option<i64>,
    access: Access,
}

impl SqliteStore {
    /// Opens the file.
    pub fn open(path: &Path, access: Access) -> Stored<SqliteStore> {
        let unusable = |why: String| LedgerError::Open { path: path.to_owned(), why };
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
            | match access {
                Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
                Access::Existing => OpenFlags::SQLITE_OPEN_READ_WRITE,
                Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if access == Access::Create {
            std::fs::create_dir_all(folder).map_err(|e| unusable(e.to_string()))?;
        } else if !path.exists() {
            return Err(LedgerError::Missing(path.to_owned()));
        }
        let mut connection = Connection::open_with_flags(path, flags).map_err(|e| unusable(e.to_string()))?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(64);
        // A plan is made once and holds for all values: else a statement is planned anew whenever one is bound that an index's
        // condition or a histogram was asked about.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch(
            "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; \
             PRAGMA cell_size_check = ON; PRAGMA cache_size = -2048;",
        )?;
        if access == Access::Create {
            let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0))?;
            if mode != "wal" {
                return Err(unusable(format!(
                    "the file system does not take a write-ahead log (journal mode {mode}); use a local disk"
                )));
            }
            schema::migrate(&mut connection, path)?;
            // 16 MiB of log between checkpoints; a log that a long reader let grow is cut back to 64 MiB. The writer keeps 8 MiB of
            // pages, each reader 2: beyond that the system's page cache serves them.
            connection.execute_batch(
                "PRAGMA cache_size = -8192; PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 4096;",
            )?;
            // SQLite syncs the file; that the folder names it is ours to sync.
            File::open(folder).and_then(|d| d.sync_all()).map_err(|e| unusable(e.to_string()))?;
        } else {
            schema::check(&connection, path)?;
        }
        Ok(SqliteStore { connection, durable: Durable::Now, told: None, access })
    }

    fn run(&self, sql: &str) -> Stored<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn begin_write(&mut self, durable: Durable) -> Stored<()> {
        // Within a transaction SQLite refuses to change this.
        if durable != self.durable {
            self.connection.execute_batch(match durable {
                Durable::Now => "PRAGMA synchronous = FULL",
                Durable::Later => "PRAGMA synchronous = NORMAL",
            })?;
            self.durable = durable;
        }
        self.run("BEGIN IMMEDIATE")
    }
    fn begin_read(&mut self) -> Stored<()> {
        self.run("BEGIN DEFERRED")
    }
    fn commit(&mut self) -> Stored<()> {
        self.run("COMMIT")
    }
    fn rollback(&mut self) {
        if self.in_transaction()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "the ledger cannot roll back");
        }
    }
    fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }
    fn savepoint(&mut self) -> Stored<()> {
        self.run("SAVEPOINT step")
    }
    fn keep(&mut self) -> Stored<()> {
        self.run("RELEASE step")
    }
    fn undo(&mut self) -> Stored<()> {
        self.run("ROLLBACK TO step")?;
        self.run("RELEASE step")
    }
    fn checkpoint(&mut self) -> Stored<()> {
        if self.access != Access::Create {
            return Ok(()); // the daemon's business
        }
        // Another process may read for long: then the log stays, the next start takes it up, and nothing is lost.
        self.connection.busy_timeout(Duration::from_secs(1))?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn received(&self, new: &NewInstance) -> Stored<InstanceId> {
        receive::received(&self.connection, new)
    }
    fn released(&self, association: &str, now: Millis) -> Stored<()> {
        receive::released(&self.connection, association, now)
    }
    fn unlooked(&self, limit: usize, busy: &[InstanceId]) -> Stored<Vec<InstanceRow>> {
        receive::unlooked(&self.connection, limit, busy)
    }
    fn looked(&self, id: InstanceId, look: &Look, now: Millis) -> Stored<()> {
        receive::looked(&self.connection, id, look, now)
    }
    fn due_series(&self, now: Millis, limit: usize) -> Stored<Vec<SeriesJob>> {
        decide::due_series(&self.connection, now, limit)
    }
    fn next_series_due(&self) -> Stored<Option<Millis>> {
        decide::next_series_due(&self.connection)
    }
    fn clock_went_back(&self, now: Millis, settle_max: Millis) -> Stored<u64> {
        decide::clock_went_back(&self.connection, now, settle_max)
    }
    fn decided(&self, decision: &Decision) -> Stored<()> {
        decide::decided(&self.connection, decision)
    }
    fn due_deliveries(
        &self,
        destination: &str,
        now: Millis,
        limit: usize,
        busy: &[DeliveryId],
    ) -> Stored<Vec<DeliveryJob>> {
        deliver::due_deliveries(&self.connection, destination, now, limit, busy)
    }
    fn next_delivery_due(&self, destination: &str) -> Stored<Option<Millis>> {
        deliver::next_delivery_due(&self.connection, destination)
    }
    fn queued_destinations(&self) -> Stored<Vec<String>> {
        deliver::queued_destinations(&self.connection)
    }
    fn bring_forward(&self, destination: &str, now: Millis, latest: Millis, limit: usize) -> Stored<u64> {
        deliver::bring_forward(&self.connection, destination, now, latest, limit)
    }
    fn too_old(&self, destination: &str, before: Millis, limit: usize, busy: &[DeliveryId]) -> Stored<Vec<DeliveryId>> {
        deliver::too_old(&self.connection, destination, before, limit, busy)
    }
    fn give_up(&self, ids: &[DeliveryId], why: &str, now: Millis) -> Stored<u64> {
        deliver::give_up(&self.connection, ids, why, now)
    }
    fn attempted(&self, outcomes: &[Attempt]) -> Stored<()> {
        deliver::attempted(&self.connection, outcomes)
    }
    fn expired(&self, before: Millis, limit: usize) -> Stored<Vec<InstanceRow>> {
        retain::expired(&self.connection, before, limit)
    }
    fn remove(&self, ids: &[InstanceId], now: Millis) -> Stored<Vec<String>> {
        retain::remove(&self.connection, ids, now)
    }
    fn to_unlink(&self) -> Stored<Vec<String>> {
        retain::to_unlink(&self.connection)
    }
    fn unlinked(&self, names: &[String]) -> Stored<()> {
        retain::unlinked(&self.connection, names)
    }
    fn spool_names(&self) -> Stored<Vec<(InstanceId, String)>> {
        let mut statement = self.connection.prepare_cached(retain::SPOOL_NAMES)?;
        Ok(statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?)
    }
    fn missing(&self, id: InstanceId, now: Millis) -> Stored<()> {
        retain::missing(&self.connection, id, now)
    }
    fn news(&mut self) -> Stored<Vec<Event>> {
        let (events, last) = match self.told {
            Some(told) => audit::events_after(&self.connection, told)?,
            None => (Vec::new(), audit::last_event(&self.connection)?),
        };
        self.told = Some(last);
        Ok(events)
    }
    fn event(&self, event: &Event) -> Stored<()> {
        audit::event(&self.connection, event)
    }
    fn events_of(&self, uid: &str) -> Stored<Vec<Event>> {
        audit::events_of(&self.connection, uid)
    }
    fn instances_of(&self, uid: &str) -> Stored<Vec<InstanceLife>> {
        audit::instances_of(&self.connection, uid)
    }
    fn queue(&self, destination: Option<&str>) -> Stored<Vec<QueueRow>> {
        deliver::queue(&self.connection, destination)
    }
    fn queue_retry(
        &self,
        destination: Option<&str>,
        now: Millis,
        after: DeliveryId,
        limit: usize,
    ) -> Stored<(u64, Option<DeliveryId>)> {
        deliver::queue_retry(&self.connection, destination, now, after, limit)
    }
    fn queue_drop(
        &self,
        destination: Option<&str>,
        now: Millis,
        after: DeliveryId,
        limit: usize,
    ) -> Stored<(u64, Option<DeliveryId>)> {
        deliver::queue_drop(&self.connection, destination, now, after, limit)
    }
    fn waiting(&self) -> Stored<Waiting> {
        audit::waiting(&self.connection)
    }
    fn overlay(&self, id: InstanceId) -> Stored<Option<Overlay>> {
        audit::overlay_of(&self.connection, id)
    }
}
