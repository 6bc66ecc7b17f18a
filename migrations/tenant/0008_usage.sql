-- What the tenant's calls came to, by day. Written behind, as the journal is.
CREATE TABLE _fh_usage (
    day       INTEGER PRIMARY KEY, -- days since 1970, in UTC
    calls     INTEGER NOT NULL,    -- of tools
    refused   INTEGER NOT NULL,    -- of those, answered with a refusal
    failed    INTEGER NOT NULL,    -- of those, with an error
    rows      INTEGER NOT NULL,    -- told or changed, where the answer says so
    bytes_in  INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    call_us   INTEGER NOT NULL,    -- how long the calls took together
    sql_us    INTEGER NOT NULL     -- what the threads of SQL computed
) STRICT;

-- Handles that a program's tools have given out (SEP-2567). They end when nobody has used them for a while.
CREATE TABLE _fh_handle (
    id         TEXT PRIMARY KEY,
    -- Whose it is: nobody else may use it.
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    -- What sort of thing it names: the program's word.
    kind       TEXT NOT NULL,
    value      TEXT NOT NULL,    -- JSON
    -- Milliseconds since 1970, and of idleness.
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    idle_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX _fh_handle_end ON _fh_handle (used_at + idle_ms);
