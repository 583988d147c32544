-- Requests that wait for a browser to start them. `sealed` is empty once it was claimed;
-- the row stays until it expires, so that a second claim is told that it was used.
CREATE TABLE stream_grant (
    request_id TEXT COLLATE "C" PRIMARY KEY,
    site TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX stream_grant_expires ON stream_grant (expires_ms);
CREATE INDEX stream_grant_site ON stream_grant (site);
