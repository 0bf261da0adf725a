-- Readers of a version 2 file see it as version 3 would be.
CREATE TEMP VIEW audit AS SELECT *, NULL AS hash FROM main.audit;
