-- The last calls of tools, a ring: the host deletes the oldest as it adds.
CREATE TABLE _fh_call (
    id          INTEGER PRIMARY KEY,
    -- Milliseconds since 1970.
    at_ms       INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    subject     TEXT NOT NULL,
    tool        TEXT NOT NULL,
    -- As [journal] arguments says: NULL, a JSON array of names, or JSON text that may be cut.
    arguments   TEXT,
    bytes_in    INTEGER NOT NULL,
    bytes_out   INTEGER NOT NULL,
    -- How many rows, keys or notes were told or changed, where the answer says so.
    rows        INTEGER,
    duration_us INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    -- Calls right before this one that came too fast to be kept.
    missed      INTEGER NOT NULL
) STRICT;
