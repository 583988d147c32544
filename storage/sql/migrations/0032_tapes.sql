-- Answers that may be picked up again by any worker. Heads and parts are sealed; names
-- are digests. `alive_ms` is when their writer was last heard of.
CREATE TABLE tape (
    request_id TEXT COLLATE "C" PRIMARY KEY,
    site TEXT NOT NULL,
    name TEXT COLLATE "C" UNIQUE,
    digest BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    state TEXT NOT NULL,
    head BYTEA NOT NULL,
    bytes BIGINT NOT NULL,
    alive_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    stop_wanted BIGINT NOT NULL
);
CREATE INDEX tape_expires ON tape (expires_ms);
CREATE TABLE tape_part (
    request_id TEXT COLLATE "C" NOT NULL REFERENCES tape (request_id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (request_id, number)
);
