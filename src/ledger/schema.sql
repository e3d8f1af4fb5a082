-- The ledger, version 1. Times are milliseconds since 1970-01-01 UTC. The only patient-related values are UIDs, and the
-- facts that routes ask for (never an attribute of the Patient module).
PRAGMA application_id = 0x52414452;

-- Who sent: one row for each association.
CREATE TABLE source (
    id          INTEGER PRIMARY KEY,
    association TEXT NOT NULL,
    calling_ae  TEXT NOT NULL,
    called_ae   TEXT NOT NULL,
    peer        TEXT NOT NULL,             -- address; empty for an orphan adopted from the spool
    UNIQUE (association, calling_ae, called_ae, peer)
) STRICT;

CREATE TABLE study (
    id  INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE
) STRICT;

-- undecided and unlooked count the instances that are present and wait: due work is then one index look-up, however
-- much waits for the classifier.
CREATE TABLE series (
    id         INTEGER PRIMARY KEY,
    study_id   INTEGER NOT NULL REFERENCES study (id),
    uid        TEXT NOT NULL,
    undecided  INTEGER NOT NULL DEFAULT 0 CHECK (undecided >= 0),
    unlooked   INTEGER NOT NULL DEFAULT 0 CHECK (unlooked >= 0),
    open_since INTEGER,                    -- receipt of the first undecided instance
    due_at     INTEGER,
    verdict    TEXT,                       -- JSON
    chosen     TEXT NOT NULL DEFAULT '[]', -- JSON: destinations chosen by routes
    UNIQUE (study_id, uid)
) STRICT;
CREATE INDEX series_uid ON series (uid);
CREATE INDEX series_due ON series (due_at) WHERE undecided > 0 AND unlooked = 0;

CREATE TABLE instance (
    id               INTEGER PRIMARY KEY,
    series_id        INTEGER NOT NULL REFERENCES series (id),
    source_id        INTEGER NOT NULL REFERENCES source (id),
    sop_instance_uid TEXT NOT NULL,
    spool_name       TEXT NOT NULL,
    file_size        INTEGER NOT NULL,
    dataset_offset   INTEGER NOT NULL,
    received_at      INTEGER NOT NULL,
    decided          INTEGER NOT NULL DEFAULT 0,
    present          INTEGER NOT NULL DEFAULT 1,
    ended_at         INTEGER,              -- when the last delivery ended well; NULL while one is open or dead
    facts            TEXT NOT NULL,        -- JSON
    look             TEXT,                 -- JSON
    changes          TEXT,                 -- JSON: what the overlay changes; NULL: leaves as it came
    edits            BLOB                  -- the overlay, see rows.rs
) STRICT;
CREATE INDEX instance_sop ON instance (sop_instance_uid);
CREATE INDEX instance_series ON instance (series_id);
CREATE UNIQUE INDEX instance_spool ON instance (spool_name) WHERE present = 1;
CREATE INDEX instance_unlooked ON instance (received_at) WHERE look IS NULL AND present = 1;
CREATE INDEX instance_undecided ON instance (series_id, received_at) WHERE decided = 0 AND present = 1;
CREATE INDEX instance_undecided_source ON instance (source_id) WHERE decided = 0 AND present = 1;
CREATE INDEX instance_ended ON instance (ended_at) WHERE ended_at IS NOT NULL AND present = 1;

-- Files that no row needs any more and that are still to be unlinked.
CREATE TABLE removing (
    spool_name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY,
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    destination TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'delivered', 'dead', 'dropped')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    next_at     INTEGER NOT NULL,
    queued_at   INTEGER NOT NULL,
    ended_at    INTEGER,
    detail      TEXT NOT NULL DEFAULT '',  -- what the last attempt said
    UNIQUE (instance_id, destination)
) STRICT;
CREATE INDEX delivery_due ON delivery (destination, next_at) WHERE state = 'queued';
CREATE INDEX delivery_open ON delivery (id) WHERE state IN ('queued', 'dead');

-- An event tells of an instance, or of a series, or of what has no row (then the UIDs stand in the event itself).
CREATE TABLE event (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    instance_id INTEGER REFERENCES instance (id),
    series_id   INTEGER REFERENCES series (id),
    source_id   INTEGER REFERENCES source (id),
    sop_uid     TEXT,
    series_uid  TEXT,
    study_uid   TEXT,
    detail      TEXT NOT NULL              -- JSON
) STRICT;
CREATE INDEX event_instance ON event (instance_id) WHERE instance_id IS NOT NULL;
CREATE INDEX event_series ON event (series_id) WHERE series_id IS NOT NULL;
CREATE INDEX event_sop_uid ON event (sop_uid) WHERE sop_uid IS NOT NULL;
CREATE INDEX event_series_uid ON event (series_uid) WHERE series_uid IS NOT NULL;
CREATE INDEX event_study_uid ON event (study_uid) WHERE study_uid IS NOT NULL;
