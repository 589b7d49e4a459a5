-- Version 2: each node says that it lives, by a number that grows. And a version says how old the tables may be that a program
-- knows which still may use these.

ALTER TABLE holdpoint.nodes ADD COLUMN said bigint NOT NULL DEFAULT 0;
ALTER TABLE holdpoint.version ADD COLUMN usable_from integer NOT NULL DEFAULT 1;
UPDATE holdpoint.version SET version = 2;
