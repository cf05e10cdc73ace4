//! The file: opened, created, and brought up to date.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::LogError;

/// What leads from each version of the schema (`PRAGMA user_version`) to the next. Only ever added to.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
];

/// Longest to wait for another process that has the file locked.
const BUSY: Duration = Duration::from_secs(2);

/// The file for writing, with the schema of `migrations`. It is made if it is not there: readable by Asterisk's user and
/// group alone.
pub(super) fn open(path: &Path, migrations: &[&str]) -> Result<Connection, LogError> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(path).map_err(LogError::File)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // What is forgotten leaves neither room taken nor text behind.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A transaction that is done survives even a power cut. It costs a wait for the disk, and only of this thread.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut connection, migrations)?;
    Ok(connection)
}

/// The file for reading only; `None`: there is nothing in it yet.
pub(super) fn open_to_read(path: &Path) -> Result<Option<Connection>, LogError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((version > 0).then_some(connection))
}

fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), LogError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > migrations.len() {
        return Err(LogError::Newer { found: version, known: migrations.len() });
    }
    for migration in &migrations[version..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", migrations.len())?;
    transaction.commit()?;
    Ok(())
}
