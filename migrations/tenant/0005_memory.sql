-- Notes of memory_save and its like. AUTOINCREMENT: the id of a note that was forgotten is nobody else's.
CREATE TABLE _fh_memory (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    text       TEXT NOT NULL,
    -- A JSON array, sorted.
    tags       TEXT NOT NULL,
    source     TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE INDEX _fh_memory_by_expiry ON _fh_memory (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE _fh_memory_tag (
    tag    TEXT NOT NULL,
    memory INTEGER NOT NULL REFERENCES _fh_memory (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, memory)
) STRICT, WITHOUT ROWID;

CREATE INDEX _fh_memory_tag_by_memory ON _fh_memory_tag (memory);

-- The index alone, with no copy of the text: what is put in is not the text but its words apart.
CREATE VIRTUAL TABLE _fh_memory_word USING fts5 (text, tags, content = '', tokenize = 'unicode61 remove_diacritics 2');

-- What is forgotten leaves the index at once and not with some later merge (sqlite.org/fts5.html, 6.12).
INSERT INTO _fh_memory_word (_fh_memory_word, rank) VALUES ('secure-delete', 1);
