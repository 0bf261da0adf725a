/* An SQLite VFS over the default one that fails when it is told to. */
#ifndef BASCULE_TESTS_FAIL_VFS_H
#define BASCULE_TESTS_FAIL_VFS_H

enum fail_kind {
    FAIL_NOTHING = 0,
    FAIL_SYNC,  /* fsync fails with EIO */
    FAIL_WRITE, /* writes fail with EIO */
    FAIL_FULL,  /* writes that would grow a file find no space, but for fail_vfs_give() */
};

#define FAIL_VFS "fail"

void fail_vfs_register(void);
/* From now on, until it is set again. Any thread. */
void fail_vfs_set(enum fail_kind kind);
/* With FAIL_FULL: this much may still grow while `path` is not there (the reserve was given up). */
void fail_vfs_give(const char *path, long bytes);
/* How often something was made to fail. */
int fail_vfs_count(void);

#endif
