-- What operators add at run time. `version` is the generation of the directory (the
-- channel of that name) that last changed the row: never given twice.
CREATE TABLE declared (
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    document TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX declared_tenant ON declared (kind, tenant, name);
CREATE INDEX declared_version ON declared (version);

-- Sites may be in a file, so a key's site is a name and no reference.
CREATE TABLE site_key (
    id TEXT COLLATE "C" PRIMARY KEY,
    site TEXT COLLATE "C" NOT NULL,
    terms TEXT NOT NULL,
    revoked_ms BIGINT,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    updated_ms BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX site_key_site ON site_key (site, id);
CREATE INDEX site_key_version ON site_key (version);

-- SHA-256 of a secret of 256 random bits; the secret itself is nowhere.
CREATE TABLE key_secret (
    digest BYTEA PRIMARY KEY,
    key_id TEXT COLLATE "C" NOT NULL REFERENCES site_key (id) ON DELETE CASCADE,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT
);
CREATE INDEX key_secret_key ON key_secret (key_id);

-- What was removed, so that processes need not read everything to notice.
CREATE TABLE directory_gone (
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX directory_gone_version ON directory_gone (version);
