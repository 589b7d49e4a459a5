-- What Holdpoint keeps in PostgreSQL, version 1: the journal and the directory of one installation.

CREATE SCHEMA holdpoint;

CREATE TABLE holdpoint.version (version integer NOT NULL);
INSERT INTO holdpoint.version VALUES (1);

-- One row: how far the journal has come. It is changed only where it still says what an append was decided on.
CREATE TABLE holdpoint.head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    origin text NOT NULL,
    size bigint NOT NULL,
    last bytea NOT NULL,
    at_nanoseconds bigint NOT NULL,
    edge bytea NOT NULL
);

-- For ever: nobody who uses these tables may change or delete one, their owner included.
CREATE TABLE holdpoint.entries (
    index bigint PRIMARY KEY,
    at_nanoseconds bigint NOT NULL,
    bytes bytea NOT NULL,
    leaf bytea NOT NULL
);
REVOKE UPDATE, DELETE, TRUNCATE ON holdpoint.entries FROM CURRENT_USER;

-- The nodes that write recordings. A name is given once, to the folder that has the claim.
CREATE TABLE holdpoint.nodes (
    node text PRIMARY KEY,
    claim text,
    joined timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE holdpoint.directory (
    key bytea PRIMARY KEY,
    value bytea NOT NULL
);
