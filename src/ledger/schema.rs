//! The schema, and how an older ledger is brought up to it.

use super::LedgerError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// `application_id` of a ledger: "RADR".
const APPLICATION: i64 = 0x5241_4452;

/// One script for each version; `user_version` counts those that ran. Never edit one that was released: append.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// The version that this radroute writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date, each version in a transaction of its own.
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = found(&transaction, path)?;
        let Some(script) = usize::try_from(found).ok().and_then(|n| MIGRATIONS.get(n)) else { return Ok(()) };
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "user_version", found + 1)?;
        transaction.commit()?;
    }
}

/// Checks that the ledger has this radroute's schema, without changing it.
pub fn check(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    match found(connection, path)? {
        VERSION => Ok(()),
        found => Err(LedgerError::Older { path: path.to_owned(), found, known: VERSION }),
    }
}

fn found(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |r| r.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if application != APPLICATION && (application != 0 || found != 0 || tables != 0) {
        return Err(LedgerError::Damaged(format!("{} belongs to another program", path.display())));
    }
    if found > VERSION {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_becomes_a_ledger_and_stays_one() {
        let mut c = Connection::open_in_memory().unwrap();
        assert!(matches!(check(&c, Path::new("x")), Err(LedgerError::Older { found: 0, .. })));
        migrate(&mut c, Path::new("x")).unwrap();
        migrate(&mut c, Path::new("x")).unwrap();
        check(&c, Path::new("x")).unwrap();
    }

    #[test]
    fn a_newer_ledger_is_refused_with_both_versions() {
        let mut c = Connection::open_in_memory().unwrap();
        migrate(&mut c, Path::new("x")).unwrap();
        c.pragma_update(None, "user_version", VERSION + 4).unwrap();
        let e = migrate(&mut c, Path::new("x")).unwrap_err();
        assert!(matches!(e, LedgerError::Newer { found, known, .. } if found == VERSION + 4 && known == VERSION));
        assert!(e.to_string().contains("newer radroute"));
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let mut c = Connection::open_in_memory().unwrap();
        c.execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(matches!(migrate(&mut c, Path::new("x")), Err(LedgerError::Damaged(_))));
        assert_eq!(c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
    }
}
