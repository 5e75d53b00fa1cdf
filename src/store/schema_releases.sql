-- Version 5: releases, which of them is in use, and which were before.

-- A model that was put in use for a log once, with weights of its own. Rows are written after their folder and never changed.
CREATE TABLE release (
    id           INTEGER PRIMARY KEY,       -- counted from 1, over all logs
    log          TEXT NOT NULL,             -- name of the log it serves; a log may be made anew, so this is no reference
    run          TEXT NOT NULL,             -- name of the run it was taken from
    step         INTEGER NOT NULL,          -- optimizer step of the checkpoint
    made_ms      INTEGER NOT NULL,
    reason       TEXT NOT NULL,             -- a sentence
    verdict_json TEXT,                      -- what a gate said; NULL = no gate was asked
    folder       TEXT NOT NULL,             -- of its weights, seen from the workspace
    fingerprint  TEXT NOT NULL,             -- of the files in it, and of the base that an adapter stands on
    UNIQUE (id, log)
);

-- One row a change: a promotion, or a rollback. The newest row of a log says what is in use.
CREATE TABLE in_use (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    log     TEXT NOT NULL,
    release INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    why     TEXT NOT NULL,
    FOREIGN KEY (release, log) REFERENCES release (id, log)
);
CREATE INDEX in_use_by_log ON in_use (log, id);

-- What was in use when is history: it is added to, and nothing else.
CREATE TRIGGER release_is_append_only_u BEFORE UPDATE ON release BEGIN SELECT RAISE(ABORT, 'releases are append-only'); END;
CREATE TRIGGER release_is_append_only_d BEFORE DELETE ON release BEGIN SELECT RAISE(ABORT, 'releases are append-only'); END;
CREATE TRIGGER in_use_is_append_only_u BEFORE UPDATE ON in_use BEGIN SELECT RAISE(ABORT, 'changes are append-only'); END;
CREATE TRIGGER in_use_is_append_only_d BEFORE DELETE ON in_use BEGIN SELECT RAISE(ABORT, 'changes are append-only'); END;
