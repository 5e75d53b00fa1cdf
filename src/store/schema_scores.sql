-- Version 4: relevance scores that rewards were made from, so that no pair of a rewrite and a document is scored twice.

CREATE TABLE score (
    scorer TEXT NOT NULL,                   -- index, encoder and settings that a score depends on
    text   TEXT NOT NULL,                   -- the rewrite
    scores BLOB NOT NULL,                   -- per document: number in that index (u32), relevance (f64); little-endian
    PRIMARY KEY (scorer, text)
) WITHOUT ROWID;
