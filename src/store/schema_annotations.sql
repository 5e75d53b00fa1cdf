-- Version 3: relevance annotations, what a relevance model learns from and is judged by.

-- A pair of query and document with its label. Who wrote them (rules, people) is `log.kind`'s business; what learns from
-- them sees no more than stands here.
CREATE TABLE annotation (
    id         INTEGER PRIMARY KEY,
    log        INTEGER NOT NULL REFERENCES log(id) ON DELETE CASCADE,
    split      TEXT NOT NULL,               -- train | validation | test: by what the query is about
    part       TEXT NOT NULL,               -- general | hard | salient
    query      TEXT NOT NULL,
    doc        TEXT NOT NULL,               -- doc.id
    label      INTEGER NOT NULL,            -- 1 … 4 = L1 … L4
    notes_json TEXT NOT NULL                -- the annotator's reasoning, step to words: knowledge, picture, rules
);
CREATE INDEX annotation_by_split ON annotation (log, split);
