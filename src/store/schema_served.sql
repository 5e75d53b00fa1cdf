-- Version 2: what a server showed, and the rewrites it computed behind.

-- How a served search was answered; the search itself is a row of `search` like any other.
CREATE TABLE served (
    search     INTEGER PRIMARY KEY REFERENCES search(pk) ON DELETE CASCADE,
    path       TEXT NOT NULL,               -- plain | fused | fake
    rewriting  TEXT NOT NULL,               -- rewritten, or why not: rejected, missed, late, error, …
    rewrite    TEXT,                        -- what the page was fused with; NULL on the plain path
    latency_ms REAL NOT NULL
);

-- Feedback names a search by its id.
CREATE INDEX search_by_id ON search (id);

-- Near-line rewrites: computed behind a request, read by the next that asks the same.
CREATE TABLE nearline (
    rewriter TEXT NOT NULL,                 -- which rewriter said so, see `Rewriter::identity`
    key      TEXT NOT NULL,                 -- query and last watched video
    rewrite  TEXT,                          -- NULL = leave the query alone
    reason   TEXT NOT NULL,                 -- rewritten | rejected | unchanged | truncated
    made_ms  INTEGER NOT NULL,
    PRIMARY KEY (rewriter, key)
) WITHOUT ROWID;
