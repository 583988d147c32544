-- What a person should know, and who is told. `dedupe` is the same for one thing that
-- several processes notice, or that is noticed again.
CREATE TABLE alert (
    id TEXT COLLATE "C" PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    message TEXT NOT NULL,
    detail TEXT NOT NULL,
    dedupe TEXT COLLATE "C" NOT NULL UNIQUE
);

CREATE INDEX alert_at ON alert (at_ms, id);

-- `kms` and `blob`: the secret it is signed with, wrapped as the vault's keys are.
CREATE TABLE webhook (
    id TEXT COLLATE "C" PRIMARY KEY,
    url TEXT NOT NULL,
    label TEXT NOT NULL,
    kinds TEXT NOT NULL,
    tenants TEXT,
    enabled BIGINT NOT NULL,
    disabled_for TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    kms TEXT NOT NULL,
    blob BYTEA NOT NULL
);

CREATE TABLE webhook_delivery (
    id TEXT COLLATE "C" PRIMARY KEY,
    webhook TEXT COLLATE "C" NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    alert TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    tries BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    tried_ms BIGINT,
    status BIGINT,
    error TEXT NOT NULL,
    body BYTEA NOT NULL
);

CREATE INDEX webhook_delivery_due ON webhook_delivery (state, due_ms);
CREATE INDEX webhook_delivery_of ON webhook_delivery (webhook, created_ms, id);
