-- Version 2: each node says that it lives, by a number that grows; 0 of one that never said so. And the tables say which version
-- of them a program must know to use them: one that knows the first alone refuses all others.

ALTER TABLE holdpoint.nodes ADD COLUMN said bigint NOT NULL DEFAULT 0;
ALTER TABLE holdpoint.version ADD COLUMN usable_from integer NOT NULL DEFAULT 2;
UPDATE holdpoint.version SET version = 2;
