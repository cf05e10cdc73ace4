//! Events into rows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ToSql, params};

use crate::events::{CallEnd, Event, Hint, What};

/// Pages given back to the file system at a time.
const PAGES_FREED: u32 = 1000;

/// Writes `events`, all or none of them. An event that is there already is left as it is.
pub(super) fn write(connection: &mut Connection, events: &[impl AsRef<Event>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for event in events {
        insert(&transaction, event.as_ref())?;
    }
    transaction.commit()
}

fn insert(log: &Connection, event: &Event) -> rusqlite::Result<()> {
    let (id, session, time) = (event.id, &event.session, unix_ms(event.time));
    let row = |sql, values: &[&dyn ToSql]| log.prepare_cached(sql)?.execute(values).map(drop);
    // Whatever is told first of a call: its beginning may have been missed.
    row(
        "INSERT OR IGNORE INTO calls (session, started, direction, profile, channel, uniqueid, caller, callee) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            session,
            time,
            event.origin.direction.name(),
            event.profile,
            event.origin.channel,
            event.origin.uniqueid,
            event.origin.caller,
            event.origin.callee
        ],
    )?;
    match &event.what {
        What::CallStart { dialect } => row("UPDATE calls SET dialect = ? WHERE session = ?", params![dialect, session]),
        What::CallStatus { state } => {
            row("INSERT OR IGNORE INTO states VALUES (?, ?, ?, ?)", params![id, session, time, state.name()])
        }
        What::Transcript { speaker, text, complete: true, start_ms, end_ms } => row(
            "INSERT OR IGNORE INTO turns VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![id, session, time, speaker.name(), text, start_ms, end_ms],
        ),
        What::BargeIn { noticed_by, heard_ms, received_ms } => row(
            "INSERT OR IGNORE INTO barge_ins VALUES (?, ?, ?, ?, ?, ?)",
            params![id, session, time, noticed_by.name(), heard_ms, received_ms],
        ),
        What::ToolCall { call_id, tool, arguments, error } => row(
            "INSERT OR IGNORE INTO tool_calls VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![id, session, time, call_id, tool, arguments, error],
        ),
        What::Suggestion { hint: Hint { kind, title, content, priority }, latency_ms } => row(
            "INSERT OR IGNORE INTO hints VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![id, session, time, kind.name(), title, content, priority.name(), latency_ms],
        ),
        What::CallEnd(end) => {
            let CallEnd { status, reason, duration_ms, transfer, digit, cause, figures } = &**end;
            let (digit, figures) = (digit.map(String::from), serde_json::to_string(figures).unwrap_or_default());
            let (q850, sip) = (cause.map(|cause| cause.q850), cause.and_then(|cause| cause.sip));
            // An outbound call had no channel when it began.
            let channel = &event.origin.channel;
            row(
                "UPDATE calls SET ended = ?, status = ?, reason = ?, duration_ms = ?, transfer = ?, digit = ?, \
                 q850 = ?, sip = ?, channel = ?, figures = ? WHERE session = ?",
                params![
                    time,
                    status.name(),
                    reason,
                    duration_ms,
                    transfer,
                    digit,
                    q850,
                    sip,
                    channel,
                    figures,
                    session
                ],
            )
        }
        _ => Ok(()),
    }
}

/// Closes the books on calls that were up when Asterisk ended without a word: they lasted at least until what was last
/// told of them.
pub(super) fn close_torn(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE calls SET reason = 'Asterisk ended in mid-call', ended = max(started, \
         (SELECT coalesce(max(time), 0) FROM turns WHERE turns.session = calls.session), \
         (SELECT coalesce(max(time), 0) FROM states WHERE states.session = calls.session)) WHERE ended IS NULL",
        [],
    )
}

/// Forgets calls that began more than `retention` before `now`; answers how many. Zero: none are.
pub(super) fn forget(connection: &Connection, retention: Duration, now: SystemTime) -> rusqlite::Result<usize> {
    if retention.is_zero() {
        return Ok(0);
    }
    let before = unix_ms(now).saturating_sub(retention.as_millis() as i64);
    let forgotten = connection.execute("DELETE FROM calls WHERE started < ? AND ended IS NOT NULL", [before])?;
    if forgotten > 0 {
        // Until it is written anew, the index has the words of those who are forgotten.
        connection.execute("INSERT INTO turn_words (turn_words) VALUES ('optimize')", [])?;
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_FREED})"))?;
    }
    Ok(forgotten)
}

/// Milliseconds since 1970.
pub(super) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
