-- How a call went between its beginning and its end.
CREATE TABLE states (
    id      INTEGER NOT NULL PRIMARY KEY,
    session TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
    time    INTEGER NOT NULL,
    state   TEXT NOT NULL
);
CREATE INDEX states_session ON states (session, id);

CREATE TABLE barge_ins (
    id          INTEGER NOT NULL PRIMARY KEY,
    session     TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
    time        INTEGER NOT NULL,
    noticed_by  TEXT NOT NULL,
    heard_ms    INTEGER,            -- NULL: not known
    received_ms INTEGER
);
CREATE INDEX barge_ins_session ON barge_ins (session, id);
