-- Which of a provider's models answered is a dimension of times too, and of the sums
-- that pages ask for most. Times of before keep an empty one.
CREATE TABLE usage_latency_routed (
    grain_s BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    upstream_model TEXT COLLATE "C" NOT NULL,
    what BIGINT NOT NULL,
    slot BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (
        grain_s, at_ms, tenant, site, model, provider, upstream_model, what, slot
    )
);

INSERT INTO usage_latency_routed
SELECT grain_s, at_ms, tenant, site, model, provider, '', what, slot, requests
FROM usage_latency;

DROP TABLE usage_latency;

ALTER TABLE usage_latency_routed RENAME TO usage_latency;

-- Sums anew, from the rows that have all dimensions.
DELETE FROM usage_sum WHERE grain_s < 0;

INSERT INTO usage_sum
SELECT
    -grain_s, at_ms, tenant, site, '', '', model, provider, upstream_model, '',
    CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT),
    CAST(SUM(aborted) AS BIGINT), CAST(SUM(refused) AS BIGINT),
    CAST(SUM(degraded) AS BIGINT), CAST(SUM(calls) AS BIGINT),
    CAST(SUM(call_errors) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT),
    CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cost_nanousd) AS BIGINT),
    CAST(SUM(overrun_nanousd) AS BIGINT), CAST(SUM(unpriced) AS BIGINT),
    CAST(SUM(estimated) AS BIGINT), CAST(SUM(duration_ms) AS BIGINT)
FROM usage_sum
WHERE grain_s IN (3600, 86400)
GROUP BY grain_s, at_ms, tenant, site, model, provider, upstream_model;
