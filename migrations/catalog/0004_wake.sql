-- When a tenant has to be opened for a reminder, so that nobody scans the tenants. An entry may be too
-- early, which costs an opening, and is never too late.
CREATE TABLE wake (
    tenant TEXT PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    due_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT, WITHOUT ROWID;
CREATE INDEX wake_due ON wake (due_at);
