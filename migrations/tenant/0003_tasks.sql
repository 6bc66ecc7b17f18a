-- Tasks (SEP-2663): what outlives the call and the process. Questions of a running task are not here, for
-- the work that asked them ends with its process.
CREATE TABLE _fh_task (
    id         TEXT PRIMARY KEY,
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('working', 'completed', 'failed', 'cancelled')),
    message    TEXT,
    -- The result or the error, as JSON.
    outcome    TEXT,
    -- Milliseconds since 1970.
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ttl_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX _fh_task_end ON _fh_task (updated_at + ttl_ms);
