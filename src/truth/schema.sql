-- The hidden tables of one simulated log: what the world knows about its searches and no log could hold.
-- Nothing but `core simulate` writes this file and nothing but `core world describe` reads it; without it all else works.

-- Which log this is the truth of.
CREATE TABLE log (
    name   TEXT NOT NULL,
    origin TEXT NOT NULL                    -- equal to log.origin in core.db, or this file is of another simulation
);

-- One row a search, by the session's id and the search's place in it, from 0.
CREATE TABLE search (
    session         TEXT NOT NULL,
    number          INTEGER NOT NULL,
    sense           INTEGER,                -- what was wanted: a sense of the lexicon …
    facet           INTEGER,                -- … of one facet, or NULL for any
    video           INTEGER,                -- or one known video,
    entry           INTEGER,                -- or a functional query …
    place           INTEGER,                -- … of the person's place
    against_history INTEGER NOT NULL,
    new_pair        INTEGER NOT NULL,
    habit           INTEGER NOT NULL,       -- asked for again and again, in the same words
    phrasing        TEXT NOT NULL,          -- bare | facet | named | title_word | colloquial | known | functional
    typo            INTEGER NOT NULL,
    step            INTEGER NOT NULL,       -- 0 for a need's first query
    rewritten       TEXT,                   -- the rewrite that the search path used
    grades_json     TEXT NOT NULL,          -- how much each shown document answers the need, from the top down
    satisfied       INTEGER NOT NULL,
    seen            INTEGER NOT NULL,       -- bit n: the n-th place from the top, counted from 0, was looked at
    wanted          INTEGER NOT NULL,       -- watched videos of the wanted sense …
    wanted_in_words INTEGER NOT NULL,       -- … whose title or tags say so
    rival           INTEGER NOT NULL,       -- watched videos of another sense of the same head
    PRIMARY KEY (session, number)
) WITHOUT ROWID;
