-- Added later: tenants that are there already get it when they are opened next.
CREATE TABLE tag (
    note INTEGER NOT NULL REFERENCES note (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (name, note)
) STRICT, WITHOUT ROWID;

CREATE INDEX tag_note ON tag (note);
