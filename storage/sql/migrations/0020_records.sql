-- Requests' facts, sums of them, and what the admin API keeps.

-- How far each journal has been taken in.
CREATE TABLE journal_place (
    source TEXT COLLATE "C" PRIMARY KEY,
    file TEXT COLLATE "C" NOT NULL,
    at_bytes BIGINT NOT NULL
);

-- What is searched, without the rest of the record: pages read it fast.
CREATE TABLE request_record (
    id TEXT COLLATE "C" PRIMARY KEY,
    opened_ms BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    env TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    upstream_model TEXT COLLATE "C" NOT NULL,
    dialect TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    status BIGINT NOT NULL,
    code TEXT COLLATE "C" NOT NULL,
    degraded TEXT COLLATE "C" NOT NULL,
    streamed BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    first_content_ms BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_nanousd BIGINT NOT NULL
);

CREATE INDEX request_record_opened ON request_record (opened_ms, id);
CREATE INDEX request_record_tenant ON request_record (tenant, opened_ms, id);
CREATE INDEX request_record_site ON request_record (site, opened_ms, id);

-- The record as the journal has it, and where there.
CREATE TABLE request_facts (
    id TEXT COLLATE "C" PRIMARY KEY,
    opened_ms BIGINT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    file TEXT COLLATE "C" NOT NULL,
    at_bytes BIGINT NOT NULL,
    facts BYTEA NOT NULL
);

CREATE INDEX request_facts_opened ON request_facts (opened_ms);

-- Sums by the minute, hour and day (grain_s). Each request is in one row of each.
CREATE TABLE usage_sum (
    grain_s BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    env TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    upstream_model TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    aborted BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    degraded BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    call_errors BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost_nanousd BIGINT NOT NULL,
    overrun_nanousd BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (
        grain_s, at_ms, tenant, site, env, key_id, model, provider, upstream_model,
        feature
    )
);

-- How long requests took, in slots of a logarithmic scale: sums of them give quantiles.
CREATE TABLE usage_latency (
    grain_s BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    what BIGINT NOT NULL,
    slot BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (grain_s, at_ms, tenant, site, model, provider, what, slot)
);

-- Work that one process does for all, one at a time.
CREATE TABLE job_turn (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    until_ms BIGINT NOT NULL
);

CREATE TABLE admin_token (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    role TEXT COLLATE "C" NOT NULL,
    tenants TEXT COLLATE "C",
    prefix TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT,
    used_ms BIGINT
);

-- Writes that were sent under an Idempotency-Key. `sealed` is null while one runs.
CREATE TABLE admin_repeat (
    key BYTEA PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    sealed BYTEA,
    until_ms BIGINT NOT NULL
);

CREATE INDEX admin_repeat_until ON admin_repeat (until_ms);

-- Providers that an operator has taken out of use.
CREATE TABLE provider_pause (
    provider TEXT COLLATE "C" PRIMARY KEY,
    reason TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    paused_ms BIGINT NOT NULL
);
