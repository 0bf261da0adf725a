-- Version 2. Never edited after a release: a change is a new file.
-- What dead letters that are done with, gaps and audit rows are found by when they are old.
CREATE INDEX held_done ON held (route_id, changed_ms) WHERE state IN (5, 6);
CREATE INDEX gap_end ON gap (route_id, end_ms);
-- How the filter's bits are made; 0 and 1 take no byte, so that no reader follows a long row to it.
ALTER TABLE chunk ADD COLUMN filter_format INTEGER NOT NULL DEFAULT 1;
-- What small chunks of a route are compressed with; their frames name the number. The bytes are a zstd
-- frame with a checksum.
CREATE TABLE dictionary (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    route_id INTEGER NOT NULL,
    first_seq INTEGER NOT NULL, -- chunks from here on may use it
    made_ms INTEGER NOT NULL,
    bytes BLOB NOT NULL);
