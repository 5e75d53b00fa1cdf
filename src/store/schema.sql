-- Version 1 of a workspace's store. Times are Unix milliseconds; JSON columns are named *_json.

-- A log: one world, or one imported file. Everything mined or trained says which log it comes from.
CREATE TABLE log (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,               -- world | ubi | served | judged
    origin     TEXT NOT NULL,               -- recipe hash, or path of the file
    rows_read  INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
);

-- What can be found.
CREATE TABLE doc (
    log          INTEGER NOT NULL REFERENCES log(id) ON DELETE CASCADE,
    id           TEXT NOT NULL,
    title        TEXT NOT NULL,
    tags_json    TEXT NOT NULL,
    creator      TEXT NOT NULL,
    duration_s   REAL NOT NULL,
    published_ms INTEGER NOT NULL,
    popularity   REAL NOT NULL,
    visual_json  TEXT NOT NULL,
    PRIMARY KEY (log, id)
) WITHOUT ROWID;

-- One sitting of one person.
CREATE TABLE session (
    pk           INTEGER PRIMARY KEY,
    log          INTEGER NOT NULL REFERENCES log(id) ON DELETE CASCADE,
    id           TEXT NOT NULL,
    user         TEXT NOT NULL,
    start_ms     INTEGER NOT NULL,
    place        TEXT,
    watched_json TEXT NOT NULL,
    UNIQUE (log, id)
);
CREATE INDEX session_by_user ON session (log, user, start_ms);

-- One query, and what was shown for it.
CREATE TABLE search (
    pk         INTEGER PRIMARY KEY,
    session    INTEGER NOT NULL REFERENCES session(pk) ON DELETE CASCADE,
    id         TEXT NOT NULL,
    query      TEXT NOT NULL,
    time_ms    INTEGER NOT NULL,
    shown_json TEXT NOT NULL                -- document ids from the top of the page down
);
CREATE INDEX search_by_session ON search (session);

CREATE TABLE click (
    search  INTEGER NOT NULL REFERENCES search(pk) ON DELETE CASCADE,
    doc     TEXT NOT NULL,
    rank    INTEGER NOT NULL,               -- from 1; 0 = not said
    time_ms INTEGER NOT NULL,
    dwell_s REAL,                           -- NULL = not known
    bought  INTEGER NOT NULL
);
CREATE INDEX click_by_search ON click (search);

-- Rows of an imported file that could not be used, with their reason.
CREATE TABLE skipped (
    log     INTEGER NOT NULL REFERENCES log(id) ON DELETE CASCADE,
    line    INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    excerpt TEXT NOT NULL
);
CREATE INDEX skipped_by_log ON skipped (log, reason);

-- Mined examples: when to write, and what. The split is decided by person and time before anything trains.
CREATE TABLE example (
    id            INTEGER PRIMARY KEY,
    log           INTEGER NOT NULL REFERENCES log(id) ON DELETE CASCADE,
    split         TEXT NOT NULL,            -- train | validation | test
    user          TEXT NOT NULL,
    time_ms       INTEGER NOT NULL,
    query         TEXT NOT NULL,
    target        TEXT,                     -- NULL = <reject>
    context_json  TEXT NOT NULL,
    satisfied_doc TEXT                      -- the document whose dwell made the success
);
CREATE INDEX example_by_split ON example (log, split);

-- Runs of any verb, and the one event stream.
CREATE TABLE run (
    id          INTEGER PRIMARY KEY,
    verb        TEXT NOT NULL,
    name        TEXT NOT NULL,
    recipe      TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    started_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    status      TEXT NOT NULL               -- running | done | failed | stopped
);

CREATE TABLE event (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    run       INTEGER NOT NULL REFERENCES run(id),
    time_ms   INTEGER NOT NULL,
    body_json TEXT NOT NULL
);
CREATE INDEX event_by_run ON event (run, id);

-- The stream is append-only.
CREATE TRIGGER event_is_append_only_u BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER event_is_append_only_d BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
