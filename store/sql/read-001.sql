-- Readers of a version 1 file (check, salvage, queries without a daemon) see it as version 2 would be.
CREATE TEMP VIEW chunk AS SELECT *, 1 AS filter_format FROM main.chunk;
CREATE TEMP TABLE dictionary (
    number INTEGER PRIMARY KEY, route_id INTEGER, first_seq INTEGER, made_ms INTEGER, bytes BLOB);
