-- Version 1. Never edited after a release: a change is a new file.
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE route (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    retain_age_ms INTEGER NOT NULL DEFAULT -1,
    retain_bytes INTEGER NOT NULL DEFAULT -1);
CREATE TABLE sink (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    route_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    fallback INTEGER NOT NULL DEFAULT 0,
    begin_seq INTEGER NOT NULL,
    frontier INTEGER NOT NULL,
    above BLOB,
    accepted INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    dropped_filter INTEGER NOT NULL DEFAULT 0,
    dropped_loop INTEGER NOT NULL DEFAULT 0,
    dropped_person INTEGER NOT NULL DEFAULT 0,
    dropped_discard INTEGER NOT NULL DEFAULT 0,
    diverted INTEGER NOT NULL DEFAULT 0,
    reordered INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    UNIQUE (route_id, name));
-- id is route_id * 2^40 + first_seq: a route's chunks lie together, in order.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    received_ms INTEGER NOT NULL, -- of the first event
    last_ms INTEGER NOT NULL,     -- of the last: another one in merged chunks only
    raw_bytes INTEGER NOT NULL,
    before_bytes INTEGER NOT NULL, -- stored bytes of all chunks of the route before this one
    stored_bytes INTEGER NOT NULL,
    filter BLOB,
    frame BLOB NOT NULL);
CREATE TABLE position (
    route_id INTEGER NOT NULL,
    connection TEXT NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (route_id, connection, name)) WITHOUT ROWID;
CREATE TABLE gap (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    route_id INTEGER NOT NULL,
    connection TEXT NOT NULL,
    what BLOB NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    cause TEXT NOT NULL,
    UNIQUE (route_id, connection, what, start_ms));
CREATE TABLE held (
    number INTEGER PRIMARY KEY,
    route_id INTEGER NOT NULL,
    sink_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    job INTEGER NOT NULL,
    state INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    code INTEGER NOT NULL,
    text TEXT,
    attempts INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    due_in_ms INTEGER NOT NULL,
    expires_in_ms INTEGER NOT NULL,
    first_sent_ms INTEGER NOT NULL,
    unsure INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    order_key BLOB,
    received_ms INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    event BLOB NOT NULL,
    edited BLOB);
CREATE INDEX held_sink ON held (sink_id, state, job, seq);
CREATE INDEX held_event ON held (sink_id, seq);
CREATE TABLE attempt (
    sink_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    job INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    fate INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    code INTEGER NOT NULL,
    text TEXT);
CREATE INDEX attempt_event ON attempt (sink_id, seq);
CREATE TABLE outcome (
    sink_id INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    what INTEGER NOT NULL,
    seqs BLOB NOT NULL);
CREATE INDEX outcome_seq ON outcome (sink_id, last_seq);
CREATE TABLE mark (
    sink_id INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    frontier INTEGER NOT NULL,
    PRIMARY KEY (sink_id, minute)) WITHOUT ROWID;
CREATE TABLE pause (
    route_id INTEGER NOT NULL,
    sink_id INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    PRIMARY KEY (route_id, sink_id)) WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    what TEXT NOT NULL,
    object TEXT,
    detail TEXT,
    result TEXT);
CREATE TABLE job (
    number INTEGER PRIMARY KEY,
    state INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    rate INTEGER NOT NULL,
    raw INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    digest INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    selection TEXT NOT NULL,
    legs BLOB NOT NULL);
