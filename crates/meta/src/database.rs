//! The connection: settings of SQLite, transactions, durability.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::Error;
use crate::{Result, schema};

/// How long a command waits for another process's transaction; transactions take milliseconds, so
/// a wait this long means that something is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Pages of write-ahead log after which a commit folds it into the database. `orlop reap` does it
/// earlier in the background; this is only the bound that always holds.
const CHECKPOINT_PAGES: u32 = 2000;

/// What the index of the log takes at least, and a little.
const INDEX_BYTES: u64 = 64 << 10;

/// Whether a commit survives a power cut at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced before `write` returns: images, volumes, whatever a user must never miss.
    Durable,
    /// Survives the death of the process, reaches the disk a little later: container state.
    Lazy,
}

/// The database of one store.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// A view of the database inside one transaction; every typed statement is a method of it.
#[derive(Debug)]
pub struct Query<'a> {
    pub(crate) connection: &'a Connection,
    path: &'a Path,
}

impl Database {
    /// Opens the database, making or upgrading it as needed.
    pub fn open(path: &Path) -> Result<Self> {
        let error = |operation| move |source| classify(operation, path, source);
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(error("open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error("set up"))?;
        configure(&connection).map_err(error("set up"))?;
        let found = schema::format(&connection).map_err(error("read the format"))?;
        if found > schema::NEWEST_FORMAT {
            return Err(Error::TooNew {
                path: path.to_owned(),
                found,
                known: schema::NEWEST_FORMAT,
            });
        }
        if found < schema::NEWEST_FORMAT {
            connection.pragma_update(None, "journal_mode", "WAL").map_err(error("set up"))?;
            schema::migrate(&mut connection).map_err(error("upgrade the tables"))?;
        }
        connection.pragma_update(None, "foreign_keys", true).map_err(error("set up"))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Runs `work` on one consistent view; nothing may be written.
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Query<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Deferred)
            .map_err(|source| classify("read", &self.path, source))?;
        work(&Query { connection: &transaction, path: &self.path })
    }

    /// Runs `work` in one transaction, which commits if it succeeds and is undone if it fails.
    pub fn write<T, E: From<Error>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Query<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.lock();
        let failed = |source| classify("write", &self.path, source);
        let level = match durability {
            Durability::Durable => "FULL",
            Durability::Lazy => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", level).map_err(failed)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let value = work(&Query { connection: &transaction, path: &self.path })?;
        transaction.commit().map_err(failed)?;
        Ok(value)
    }

    /// Folds the write-ahead log into the database; for background processes, since it syncs.
    pub fn checkpoint(&self) -> Result<()> {
        self.lock()
            .pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
            .map_err(|source| classify("fold the log", &self.path, source))?;
        // The first commit to an empty log syncs its header. That is done here, by writing what is
        // there already, rather than by the next command.
        self.write(Durability::Lazy, |query| {
            schema::format(query.connection)
                .and_then(|format| query.connection.pragma_update(None, "user_version", format))
                .map_err(query.failed("begin the log"))
        })
    }

    /// Asks SQLite whether its file is whole; the lines it complains with, none if all is well. A file
    /// that cannot be read to its end is such a complaint.
    pub fn integrity(&self) -> Result<Vec<String>> {
        match self.pragma_lines("PRAGMA integrity_check") {
            Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
            Err(Error::Database { source, .. })
                if source.code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) =>
            {
                Ok(vec![source.to_string()])
            }
            Err(error) => Err(error),
        }
    }

    /// References to rows that are not there; none if all is well.
    pub fn dangling(&self) -> Result<Vec<Dangling>> {
        self.read(|query| {
            query.rows(
                "check references",
                "SELECT \"table\", parent, rowid FROM pragma_foreign_key_check",
                [],
                |row| Ok(Dangling { table: row.get(0)?, parent: row.get(1)?, row: row.get(2)? }),
            )
        })
    }

    /// Makes every index anew from its table.
    pub fn rebuild_indexes(&self) -> Result<()> {
        self.lock()
            .execute_batch("REINDEX")
            .map_err(|source| classify("rebuild the indexes", &self.path, source))
    }

    fn pragma_lines(&self, sql: &str) -> Result<Vec<String>> {
        let connection = self.lock();
        let failed = |source| classify("check", &self.path, source);
        let mut statement = connection.prepare(sql).map_err(failed)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic cannot leave a transaction open: dropping one rolls it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row that refers to one which is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// The row's table.
    pub table: String,
    /// The table that it refers to.
    pub parent: String,
    /// The row.
    row: Option<i64>,
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    use rusqlite::config::DbConfig;
    // Closing the last connection would otherwise fold the log and sync, on every command.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn classify(operation: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            Error::Locked { path: path.to_owned(), seconds: BUSY_TIMEOUT.as_secs() }
        }
        // In the system's words, which say what to do about it.
        Some(rusqlite::ErrorCode::DiskFull) => full(path),
        Some(rusqlite::ErrorCode::SystemIoFailure) if is_index_without_space(path, &source) => {
            full(path)
        }
        _ => Error::Database { operation, path: path.to_owned(), source: source.into() },
    }
}

fn full(path: &Path) -> Error {
    let source = rustix::io::Errno::NOSPC.into();
    Error::File { operation: "write", path: path.to_owned(), source }
}

/// Whether the index of the log found no space: SQLite cuts it to nothing when nobody else has the
/// database open, makes it anew, and does not say why that fails.
fn is_index_without_space(path: &Path, error: &rusqlite::Error) -> bool {
    let made = error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    made && crate::reserve::free_bytes(path).is_some_and(|free| free < INDEX_BYTES)
}

impl Query<'_> {
    /// Removes a row that refers to nothing.
    pub fn dangling_delete(&self, dangling: &Dangling) -> Result<()> {
        // The name comes from SQLite's own list of tables.
        let table = dangling.table.replace('"', "\"\"");
        let sql = format!("DELETE FROM \"{table}\" WHERE rowid = ?1");
        self.change("remove a dangling reference", &sql, [dangling.row]).map(drop)
    }

    pub(crate) fn failed(&self, operation: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| classify(operation, self.path, source)
    }

    /// Runs a statement that changes rows; returns how many.
    pub(crate) fn change(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<usize> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(self.failed(operation))
    }

    /// Runs a statement that yields rows, each made into a value by `map`.
    pub(crate) fn rows<T>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: impl rusqlite::Params,
        map: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let failed = self.failed(operation);
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let rows = statement.query_map(parameters, map).map_err(&failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// Like [`Query::rows`] for statements that yield one row at most.
    pub(crate) fn row<T>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: impl rusqlite::Params,
        map: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.rows(operation, sql, parameters, map)?.into_iter().next())
    }
}

/// A column whose text is parsed into a value; a bad text is a damaged record.
pub(crate) fn parsed<T>(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(conversion)
}

/// Like [`parsed`] for columns that may be null.
pub(crate) fn parsed_option<T>(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(conversion)).transpose()
}

/// A column that holds a JSON document.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    column: &str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(conversion)
}

/// Like [`json`] for columns that may be null.
pub(crate) fn json_option<T: serde::de::DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(conversion)).transpose()
}

/// A value as JSON text; the engine's own types always have one.
pub(crate) fn to_json(what: &str, value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::Damaged { what: what.to_owned(), reason: error.to_string() })
}

fn conversion(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
