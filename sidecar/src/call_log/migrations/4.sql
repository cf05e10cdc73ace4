-- What an assistant heard, with the times of the words, and its hints. No hint was ever kept before.
ALTER TABLE turns ADD COLUMN start_ms INTEGER;  -- since the session began; NULL: not known
ALTER TABLE turns ADD COLUMN end_ms   INTEGER;

DROP TABLE hints;
CREATE TABLE hints (
    id         INTEGER NOT NULL PRIMARY KEY,
    session    TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
    time       INTEGER NOT NULL,
    type       TEXT NOT NULL,
    title      TEXT NOT NULL,
    content    TEXT NOT NULL,
    priority   TEXT NOT NULL,
    latency_ms INTEGER NOT NULL     -- from the line that it answers until it was there
);
CREATE INDEX hints_session ON hints (session, id);
