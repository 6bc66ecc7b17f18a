-- What the host itself keeps in a tenant's file. Every host table begins with _fh_ and is out of
-- reach of the tenant's own SQL.
CREATE TABLE _fh_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
