-- A tenant's standing. Suspended: nobody may call. The epoch and the moment void every token from before.
ALTER TABLE tenant ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0; -- seconds since 1970

-- Single tokens and API keys that were taken back, by their hash, each until it would have expired anyway.
CREATE TABLE revocation (
    id    BLOB PRIMARY KEY, -- SHA-256 of issuer, 0, jti; or of an API key's id in the jti's place
    until INTEGER NOT NULL  -- seconds since 1970
) STRICT, WITHOUT ROWID;

-- Opaque API keys. The secret is not here, only its SHA-256: it has 256 bits, so that no salt is needed.
CREATE TABLE api_key (
    id         TEXT PRIMARY KEY,
    secret     BLOB NOT NULL,
    tenant     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    scope      TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used  INTEGER -- to the hour
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_by_tenant ON api_key (tenant);

-- What was issued, without the token.
CREATE TABLE issued_token (
    jti        TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    scope      TEXT NOT NULL,
    kid        TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX issued_token_by_tenant ON issued_token (tenant);

-- Counts the changes to what has been taken back, so that a running host sees with one row that it has to
-- look again, whoever made the change.
CREATE TABLE standing (changes INTEGER NOT NULL) STRICT;
INSERT INTO standing VALUES (0);
CREATE TRIGGER standing_tenant AFTER UPDATE OF suspended, epoch, not_before ON tenant
BEGIN UPDATE standing SET changes = changes + 1; END;
CREATE TRIGGER standing_revoked AFTER INSERT ON revocation
BEGIN UPDATE standing SET changes = changes + 1; END;
