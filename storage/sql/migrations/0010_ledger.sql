-- The money that all processes share. What was spent is in the lines, exactly and for
-- good; sums are added up from them when they are first asked for, and kept from then on.

-- Whoever counts lines locks this row for sharing, whoever opens a sum or adds a cap for
-- itself: no line falls between. `version` counts the caps' changes.
CREATE TABLE ledger_state (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO ledger_state (id, version) VALUES (1, 0);

CREATE TABLE ledger_leader (
    id BIGINT PRIMARY KEY,
    replica TEXT COLLATE "C" NOT NULL,
    beats BIGINT NOT NULL
);
INSERT INTO ledger_leader (id, replica, beats) VALUES (1, '', 0);

-- One life of a process. `batch` is the last that was counted; `beats` counts its syncs.
CREATE TABLE ledger_replica (
    id TEXT COLLATE "C" PRIMARY KEY,
    instance TEXT COLLATE "C" NOT NULL,
    batch BIGINT NOT NULL,
    beats BIGINT NOT NULL,
    alive BIGINT NOT NULL,
    died_s BIGINT NOT NULL
);
CREATE INDEX ledger_replica_instance ON ledger_replica (instance, alive);

-- `quarter` counts quarters of an hour since 1970; 0 is before all that windows reach.
CREATE TABLE ledger_line (
    site TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    asked TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    quarter BIGINT NOT NULL,
    nanousd BIGINT NOT NULL,
    PRIMARY KEY (site, key_id, asked, provider, quarter)
);
CREATE INDEX ledger_line_quarter ON ledger_line (quarter);

CREATE TABLE ledger_cap (
    id TEXT COLLATE "C" PRIMARY KEY,
    definition TEXT NOT NULL
);

-- `slot` is the window's first second, 0 where it has none.
CREATE TABLE ledger_sum (
    cap TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    slot BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    leased BIGINT NOT NULL,
    used BIGINT NOT NULL,
    wanted BIGINT NOT NULL,
    PRIMARY KEY (cap, subject, slot)
);

-- What leaves a rolling window when.
CREATE TABLE ledger_quarter (
    cap TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    quarter BIGINT NOT NULL,
    nanousd BIGINT NOT NULL,
    PRIMARY KEY (cap, subject, quarter)
);

CREATE TABLE ledger_slice (
    cap TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    slot BIGINT NOT NULL,
    replica TEXT COLLATE "C" NOT NULL,
    granted BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (cap, subject, slot, replica)
);
CREATE INDEX ledger_slice_replica ON ledger_slice (replica);

-- When a minute's allowance is paid off, in microseconds of Unix time.
CREATE TABLE ledger_rate (
    name TEXT COLLATE "C" PRIMARY KEY,
    paid_at_us BIGINT NOT NULL
);
