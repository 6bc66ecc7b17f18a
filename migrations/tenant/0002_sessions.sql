-- The sessions of older clients (MCP up to 2025-11-25). A row is all that a quiet one costs.
CREATE TABLE _fh_session (
    id         TEXT PRIMARY KEY,
    -- Whose it is: nobody else may use it.
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    client     TEXT,
    -- The parameters of its `initialize`, as JSON: what a restore begins with.
    initialize TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    -- Lists that have changed while it rested, as a sum of 1 (tools), 2 (prompts), 4 (resources).
    lists      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What `resources/subscribe` asked for.
CREATE TABLE _fh_subscription (
    session TEXT NOT NULL REFERENCES _fh_session (id) ON DELETE CASCADE,
    uri     TEXT NOT NULL,
    -- Whether it has changed while the session rested.
    changed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session, uri)
) STRICT, WITHOUT ROWID;

-- Events of a session's streams that were not delivered, or only just.
CREATE TABLE _fh_event (
    session TEXT NOT NULL REFERENCES _fh_session (id) ON DELETE CASCADE,
    stream  TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    -- Whether it ends its stream.
    last    INTEGER NOT NULL,
    told    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (session, stream, seq)
) STRICT, WITHOUT ROWID;
