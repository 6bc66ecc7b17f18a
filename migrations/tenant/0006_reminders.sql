CREATE TABLE _fh_reminder (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    message    TEXT NOT NULL,
    payload    TEXT,              -- JSON
    rule       TEXT,              -- how it repeats; NULL: it does not
    due_at     INTEGER NOT NULL,  -- milliseconds since 1970, as all times here
    try_at     INTEGER NOT NULL,  -- due_at, or later after a try that failed
    attempts   INTEGER NOT NULL,  -- tries that failed
    cancelled  INTEGER NOT NULL   -- kept until its time only if it was the first of all
) STRICT;
CREATE INDEX _fh_reminder_next ON _fh_reminder (try_at);
-- Delivered and not yet acknowledged.
CREATE TABLE _fh_inbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    reminder     INTEGER NOT NULL,
    message      TEXT NOT NULL,
    payload      TEXT,
    due_at       INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    failure      TEXT              -- why the program that embeds the host did not take it
) STRICT;
