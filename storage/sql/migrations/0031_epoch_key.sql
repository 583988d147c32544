-- Random keys, one a day, wrapped by the KMS: what grants are signed with, and what
-- answers that wait in the database are sealed with. Those of days that are over go.
CREATE TABLE epoch_key (
    epoch BIGINT PRIMARY KEY,
    kms TEXT NOT NULL,
    blob BYTEA NOT NULL
);
