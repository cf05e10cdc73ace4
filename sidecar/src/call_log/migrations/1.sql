-- Calls and what was said in them. Times are milliseconds since 1970, UTC; ids are those of the events.
CREATE TABLE calls (
    session     TEXT NOT NULL PRIMARY KEY,
    started     INTEGER NOT NULL,
    ended       INTEGER,            -- NULL: still up
    direction   TEXT NOT NULL,
    profile     TEXT NOT NULL,
    dialect     TEXT NOT NULL DEFAULT '',
    channel     TEXT NOT NULL,
    uniqueid    TEXT NOT NULL,
    caller      TEXT,
    status      TEXT,               -- AISTATUS; NULL in a call that ended: Asterisk ended first
    reason      TEXT,
    duration_ms INTEGER,
    transfer    TEXT,
    digit       TEXT,
    figures     TEXT                -- JSON, as in the event call_end
);
CREATE INDEX calls_started ON calls (started, session);

CREATE TABLE turns (
    id      INTEGER NOT NULL PRIMARY KEY,
    session TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
    time    INTEGER NOT NULL,
    speaker TEXT NOT NULL,
    text    TEXT NOT NULL
);
CREATE INDEX turns_session ON turns (session, id);

CREATE TABLE tool_calls (
    id        INTEGER NOT NULL PRIMARY KEY,
    session   TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
    time      INTEGER NOT NULL,
    call_id   TEXT NOT NULL,
    tool      TEXT NOT NULL,
    arguments TEXT NOT NULL,
    error     TEXT                  -- NULL: it was carried out
);
CREATE INDEX tool_calls_session ON tool_calls (session, id);

CREATE TABLE hints (
    id      INTEGER NOT NULL PRIMARY KEY,
    session TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
    time    INTEGER NOT NULL,
    text    TEXT NOT NULL
);
CREATE INDEX hints_session ON hints (session, id);
