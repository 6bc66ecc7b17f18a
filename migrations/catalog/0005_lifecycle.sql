-- Where a tenant is in its life: 0 is served, 1 is being made from a file, 2 is being deleted. Whatever was begun and
-- broke off, the next start finishes.
ALTER TABLE tenant ADD COLUMN state INTEGER NOT NULL DEFAULT 0;

-- Names that were deleted: a tenant made anew under one of them begins above the tokens of the old one.
CREATE TABLE tombstone (
    id         TEXT PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    not_before INTEGER NOT NULL, -- seconds since 1970
    deleted_at INTEGER NOT NULL  -- seconds since 1970
) STRICT, WITHOUT ROWID;
CREATE TRIGGER standing_tombstone AFTER INSERT ON tombstone
BEGIN UPDATE standing SET changes = changes + 1; END;

-- How far a migration of the fleet came with each tenant. A tenant that is not here has not been looked at.
CREATE TABLE tenant_schema (
    tenant     TEXT PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    target     TEXT NOT NULL,    -- which list of migrations it was held against
    failure    TEXT,             -- why it is set aside; NULL: it is done
    drift      TEXT,             -- what of the schema is not as the migrations make it, a JSON array; NULL: nothing
    at         INTEGER NOT NULL  -- seconds since 1970
) STRICT, WITHOUT ROWID;
