-- The host's list of tenants. A tenant that is not here has no file and gets none.
CREATE TABLE tenant (
    id         TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL -- seconds since 1970
) STRICT, WITHOUT ROWID;
