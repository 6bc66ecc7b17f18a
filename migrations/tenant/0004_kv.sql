-- Keys of kv_get and its like. Versions come from one counter for all keys, so that a key that was deleted
-- and set anew never bears a version that an older reader may still hold.
CREATE TABLE _fh_kv (
    key        TEXT NOT NULL UNIQUE,
    value      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE INDEX _fh_kv_by_expiry ON _fh_kv (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE _fh_kv_version (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;

INSERT INTO _fh_kv_version VALUES (1, 0);
