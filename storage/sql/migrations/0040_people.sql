-- People at the Console: how they log in, and where they are.

CREATE TABLE person (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    role TEXT COLLATE "C" NOT NULL,
    tenants TEXT COLLATE "C",
    created_ms BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    password TEXT COLLATE "C" NOT NULL,
    disabled_ms BIGINT,
    seen_ms BIGINT,
    version BIGINT NOT NULL
);

CREATE TABLE person_passkey (
    id BYTEA PRIMARY KEY,
    person TEXT COLLATE "C" NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    public_key BYTEA NOT NULL,
    sign_count BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT
);

CREATE INDEX person_passkey_person ON person_passkey (person);

CREATE TABLE person_session (
    digest BYTEA PRIMARY KEY,
    person TEXT COLLATE "C" NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    opened_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    sure_ms BIGINT NOT NULL,
    agent TEXT COLLATE "C" NOT NULL
);

CREATE INDEX person_session_person ON person_session (person);

CREATE TABLE person_invitation (
    digest BYTEA PRIMARY KEY,
    person TEXT COLLATE "C" NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    until_ms BIGINT NOT NULL
);

CREATE INDEX person_invitation_person ON person_invitation (person);
