-- Version 3. Never edited after a release: a change is a new file.
-- Each row's hash covers the row and the hash of the row before it (store/audit.c). Rows of before are
-- hashed by the upgrade, in the same transaction.
ALTER TABLE audit ADD COLUMN hash BLOB;
