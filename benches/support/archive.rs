//! A ledger with a past of any length: one study is led through its whole life by the ledger itself, and its rows are then
//! copied under other numbers, UIDs and names, as fast as SQLite takes them.
#![allow(dead_code)]

use super::{instance, life, mixed, uid};
use radroute::ledger::{Ledger, LedgerError, Millis, now};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::path::Path;

/// Instances in a study.
pub const INSTANCES: u64 = 8;
/// Its tables in an order in which rows refer to earlier ones.
pub const TABLES: [&str; 6] = ["source", "study", "series", "instance", "delivery", "event"];
/// Studies in one transaction.
const AT_ONCE: u64 = 2_000;

/// Error of any of the libraries, told and no more.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Name in the spool of instance `n` of the past.
pub fn spool_name(n: u64, at: Millis) -> String {
    format!("{:012x}-{:016x}", at as u64 + n / INSTANCES, mixed(n))
}

/// The first study: received, looked at, corrected, delivered and, unless `present`, removed from the spool.
pub async fn first(path: &Path, at: Millis, present: bool) -> Result<(), LedgerError> {
    let ledger = Ledger::open(path)?;
    let mut ids = Vec::new();
    for n in 0..INSTANCES {
        let mut new = instance(n, "archive 0", at);
        new.spool_name = spool_name(n, at);
        ids.push(ledger.received(new).await?);
    }
    life::finish(&ledger).await?;
    if !present {
        let names = ledger.remove(ids, now()).await?;
        ledger.unlinked(names).await?;
    }
    ledger.close().await
}

/// A piece of a text of the first study.
#[derive(Clone)]
enum Piece {
    Literal(String),
    Uid(u64, u64),
    Spool(u64),
    Association,
}

/// A column of a row of the first study.
enum Column {
    Fixed(Value),
    /// A row number of the given table, counted from 0.
    Row(usize, i64),
    Text(Vec<Piece>),
}

struct Table {
    insert: String,
    rows: Vec<Vec<Column>>,
}

/// The first study, taken apart.
pub struct Template {
    tables: Vec<Table>,
    at: Millis,
}

impl Template {
    /// Reads the only study of a ledger made by [`first`].
    pub fn read(path: &Path, at: Millis) -> Result<Template, Failure> {
        let connection = Connection::open(path)?;
        let tables = TABLES.iter().map(|name| table(&connection, name, at)).collect::<Result<_, _>>()?;
        Ok(Template { tables, at })
    }

    /// Rows of a study, in all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|t| t.rows.len() as u64).sum()
    }

    /// Copies the study under the numbers `range`, each used once.
    pub fn copy(&self, path: &Path, range: std::ops::Range<u64>) -> Result<(), Failure> {
        let mut connection = Connection::open(path)?;
        // No crash is to be survived here. Opening the ledger turns the log on again.
        connection.execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; \
             PRAGMA cache_size = -2000000; PRAGMA foreign_keys = OFF;",
        )?;
        let last = |name: &&str| {
            connection.query_row(&format!("SELECT coalesce(max(id), 0) FROM {name}"), [], |r| r.get::<_, i64>(0))
        };
        let mut offsets: Vec<i64> = TABLES.iter().map(last).collect::<Result<_, _>>()?;
        let mut study = range.start;
        while study < range.end {
            let transaction = connection.transaction()?;
            {
                let mut statements: Vec<_> =
                    self.tables.iter().map(|t| transaction.prepare(&t.insert)).collect::<Result<_, _>>()?;
                for number in study..range.end.min(study + AT_ONCE) {
                    for (table, statement) in self.tables.iter().zip(&mut statements) {
                        for row in &table.rows {
                            statement.execute(params_from_iter(row.iter().map(|c| self.value(c, number, &offsets))))?;
                        }
                    }
                    offsets.iter_mut().zip(&self.tables).for_each(|(o, t)| *o += t.rows.len() as i64);
                }
            }
            transaction.commit()?;
            study += AT_ONCE;
        }
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_mode = DELETE;")?;
        Ok(())
    }

    fn value(&self, column: &Column, number: u64, offsets: &[i64]) -> Value {
        match column {
            Column::Fixed(value) => value.clone(),
            Column::Row(table, index) => Value::Integer(offsets[*table] + index + 1),
            Column::Text(pieces) => {
                let text = |piece: &Piece| match piece {
                    Piece::Literal(text) => text.clone(),
                    Piece::Uid(kind, n) => uid(*kind, number * per_study(*kind) + n),
                    Piece::Spool(n) => spool_name(number * INSTANCES + n, self.at),
                    Piece::Association => format!("archive {number}"),
                };
                Value::Text(pieces.iter().map(text).collect())
            }
        }
    }
}

/// How many of a kind of UID a study has.
fn per_study(kind: u64) -> u64 {
    match kind {
        1 => 1,
        2 => INSTANCES / 4,
        _ => INSTANCES,
    }
}

fn table(connection: &Connection, name: &str, at: Millis) -> Result<Table, Failure> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {name} ORDER BY id"))?;
    let names: Vec<String> = statement.column_names().map(String::from).collect();
    let insert = format!("INSERT INTO {name} VALUES ({})", vec!["?"; names.len()].join(", "));
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let column = |(i, column): (usize, &String)| -> Result<Column, Failure> {
            let refers = column.strip_suffix("_id").unwrap_or(if column == "id" { name } else { "" });
            let to = TABLES.iter().position(|t| *t == refers);
            Ok(match (row.get(i)?, to) {
                (Value::Integer(id), Some(table)) => Column::Row(table, id - 1),
                (Value::Text(text), _) => Column::Text(pieces(text, at)),
                (value, _) => Column::Fixed(value),
            })
        };
        rows.push(names.iter().enumerate().map(column).collect::<Result<_, _>>()?);
    }
    Ok(Table { insert, rows })
}

/// Takes a text apart at the names that each study has for itself.
fn pieces(text: String, at: Millis) -> Vec<Piece> {
    let mut names: Vec<(String, Piece)> = vec![("archive 0".into(), Piece::Association)];
    for kind in 1..=3 {
        names.extend((0..per_study(kind)).map(|n| (uid(kind, n), Piece::Uid(kind, n))));
    }
    names.extend((0..INSTANCES).map(|n| (spool_name(n, at), Piece::Spool(n))));
    let mut pieces = vec![Piece::Literal(text)];
    for (name, piece) in &names {
        let parted = |old: Piece| match old {
            Piece::Literal(text) => {
                let between = text.split(name.as_str()).map(|part| vec![Piece::Literal(part.to_owned())]);
                between.collect::<Vec<_>>().join(piece)
            }
            other => vec![other],
        };
        pieces = pieces.into_iter().flat_map(parted).collect();
    }
    pieces
}
