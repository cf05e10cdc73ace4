//! The log as the API shows it. On connections of its own: who reads waits for nobody who writes, and nobody for them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use super::write::unix_ms;
use super::{LogError, Sought, schema};
use crate::outbound::Cause;

/// Connections that are kept open.
const KEPT: usize = 4;
/// Most turns of a transcript.
const TURNS_MAX: u32 = 20_000;

/// Reads the log. Its functions wait for the disk.
pub(crate) struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// Which calls are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) direction: Option<&'static str>,
    pub(crate) profile: Option<String>,
    /// `AISTATUS`.
    pub(crate) result: Option<String>,
    pub(crate) since: Option<SystemTime>,
    pub(crate) sought: Option<Sought>,
    /// Only those that come after this one: newest first.
    pub(crate) after: Option<(i64, String)>,
    pub(crate) limit: usize,
}

/// A call in the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logged {
    pub(crate) session: String,
    pub(crate) started: SystemTime,
    pub(crate) ended: Option<SystemTime>,
    pub(crate) direction: String,
    pub(crate) profile: String,
    pub(crate) dialect: String,
    pub(crate) channel: String,
    pub(crate) uniqueid: String,
    pub(crate) caller: Option<String>,
    pub(crate) callee: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) transfer: Option<String>,
    pub(crate) digit: Option<String>,
    pub(crate) cause: Option<Cause>,
    /// JSON.
    pub(crate) figures: Option<String>,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn {
    /// That of the event which told it.
    pub(crate) id: u64,
    pub(crate) time: SystemTime,
    pub(crate) speaker: String,
    pub(crate) text: String,
    /// Since the session began, if it is known. [ms]
    pub(crate) start_ms: Option<u64>,
    pub(crate) end_ms: Option<u64>,
}

/// What an assistant suggested.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Suggested {
    pub(crate) time: SystemTime,
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) content: String,
    pub(crate) priority: String,
}

/// What was said in a call, and what was suggested.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) turns: Vec<Turn>,
    pub(crate) hints: Vec<Suggested>,
}

impl Reader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// The calls that are wanted, newest first.
    pub(crate) fn calls(&self, wanted: &Wanted) -> Result<Vec<Logged>, LogError> {
        let mut conditions = vec!["1"];
        let mut values: Vec<Value> = Vec::new();
        let mut only = |condition, value: Option<Value>| {
            if let Some(value) = value {
                conditions.push(condition);
                values.push(value);
            }
        };
        only("direction = ?", wanted.direction.map(|direction| direction.to_owned().into()));
        only("profile = ?", wanted.profile.clone().map(Value::from));
        only("status = ?", wanted.result.clone().map(Value::from));
        only("started >= ?", wanted.since.map(|since| unix_ms(since).into()));
        if let Some(sought) = &wanted.sought {
            conditions.push(SOUGHT);
            values.extend([
                sought.number_pattern().into(),
                sought.number_pattern().into(),
                sought.words_query().to_owned().into(),
            ]);
        }
        if let Some((started, session)) = wanted.after.clone() {
            conditions.push("(started, session) < (?, ?)");
            values.extend([started.into(), session.into()]);
        }
        values.push((wanted.limit as i64).into());
        let sql = format!(
            "SELECT {COLUMNS} FROM calls WHERE {} ORDER BY started DESC, session DESC LIMIT ?",
            conditions.join(" AND ")
        );
        self.with(|log| log.prepare_cached(&sql)?.query_map(params_from_iter(values), logged)?.collect())
    }

    /// One call.
    pub(crate) fn call(&self, session: &str) -> Result<Option<Logged>, LogError> {
        let sql = format!("SELECT {COLUMNS} FROM calls WHERE session = ?");
        self.with(|log| log.prepare_cached(&sql)?.query_row([session], logged).optional())
    }

    /// What was said in a call; `None`: there is no such call.
    pub(crate) fn transcript(&self, session: &str) -> Result<Option<Transcript>, LogError> {
        if self.call(session)?.is_none() {
            return Ok(None);
        }
        let turns = self.rows("SELECT id, time, speaker, text, start_ms, end_ms FROM turns", session, |row| {
            let (id, time, speaker, text) = (row.get(0)?, at(row.get(1)?), row.get(2)?, row.get(3)?);
            Ok(Turn { id, time, speaker, text, start_ms: row.get(4)?, end_ms: row.get(5)? })
        })?;
        let hints = self.rows("SELECT time, type, title, content, priority FROM hints", session, |row| {
            let (kind, title, content) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Suggested { time: at(row.get(0)?), kind, title, content, priority: row.get(4)? })
        })?;
        Ok(Some(Transcript { turns, hints }))
    }

    /// The rows of `session` that `select` gives, in their order.
    fn rows<T>(
        &self,
        select: &str,
        session: &str,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LogError> {
        let sql = format!("{select} WHERE session = ? ORDER BY id LIMIT ?");
        self.with(|log| log.prepare_cached(&sql)?.query_map((session, TURNS_MAX), row)?.collect())
    }

    /// What `read` makes of the log; nothing while there is none yet.
    fn with<T: Default>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LogError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None if !self.path.exists() => return Ok(T::default()),
            None => match schema::open_to_read(&self.path)? {
                Some(connection) => connection,
                None => return Ok(T::default()),
            },
        };
        let result = read(&connection)?;
        let mut idle = idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        Ok(result)
    }
}

/// A number is part of the caller's or the called, or words were said.
const SOUGHT: &str = "(caller LIKE ? ESCAPE '\\' OR callee LIKE ? ESCAPE '\\' OR session IN \
                      (SELECT turns.session FROM turn_words JOIN turns ON turns.id = turn_words.rowid \
                      WHERE turn_words MATCH ?))";

const COLUMNS: &str = "session, started, ended, direction, profile, dialect, channel, uniqueid, caller, status, reason, \
                       duration_ms, transfer, digit, figures, callee, q850, sip";

fn logged(row: &Row<'_>) -> rusqlite::Result<Logged> {
    let cause = match row.get(16)? {
        Some(q850) => Some(Cause { q850, sip: row.get(17)? }),
        None => None,
    };
    Ok(Logged {
        session: row.get(0)?,
        started: at(row.get(1)?),
        ended: row.get::<_, Option<i64>>(2)?.map(at),
        direction: row.get(3)?,
        profile: row.get(4)?,
        dialect: row.get(5)?,
        channel: row.get(6)?,
        uniqueid: row.get(7)?,
        caller: row.get(8)?,
        status: row.get(9)?,
        reason: row.get(10)?,
        duration_ms: row.get(11)?,
        transfer: row.get(12)?,
        digit: row.get(13)?,
        figures: row.get(14)?,
        callee: row.get(15)?,
        cause,
    })
}

fn at(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64)
}
