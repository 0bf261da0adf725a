#include "tests/unit/fail_vfs.h"

#include "tests/harness.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <unistd.h>

struct fail_file {
    sqlite3_file base;
    bool durable; /* database or WAL: what a commit rests on */
    sqlite3_file *real;
};

static atomic_int now, failures;
static atomic_long given;
static const char *reserve;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods;

static sqlite3_vfs *real_vfs(void)
{
    return vfs.pAppData;
}

static sqlite3_file *real(sqlite3_file *f)
{
    return ((struct fail_file *)(void *)f)->real;
}

static bool fails(sqlite3_file *f, enum fail_kind kind)
{
    if (atomic_load(&now) != (int)kind || !((struct fail_file *)(void *)f)->durable)
        return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static int fail_close(sqlite3_file *f)
{
    return real(f)->pMethods ? real(f)->pMethods->xClose(real(f)) : SQLITE_OK;
}

static int fail_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), to, n, at);
}

static bool takes_given(long n)
{
    if (!reserve || access(reserve, F_OK) == 0 || atomic_load(&given) < n)
        return false;
    (void)atomic_fetch_sub(&given, n);
    return true;
}

static int fail_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    sqlite3_int64 size = 0;

    if (fails(f, FAIL_WRITE))
        return SQLITE_IOERR_WRITE;
    if (atomic_load(&now) == FAIL_FULL && real(f)->pMethods->xFileSize(real(f), &size) == 0 &&
        at + n > size && !takes_given(at + n - size) && fails(f, FAIL_FULL))
        return SQLITE_FULL;
    return real(f)->pMethods->xWrite(real(f), from, n, at);
}

static int fail_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int fail_sync(sqlite3_file *f, int flags)
{
    if (fails(f, FAIL_SYNC))
        return SQLITE_IOERR_FSYNC;
    return real(f)->pMethods->xSync(real(f), flags);
}

static int fail_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real(f)->pMethods->xFileSize(real(f), ret);
}

static int fail_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
}

static int fail_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}

static int fail_reserved(sqlite3_file *f, int *ret)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int fail_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int fail_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

static int fail_traits(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int fail_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int fail_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void fail_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}

static int fail_shm_unmap(sqlite3_file *f, int remove)
{
    return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static int fail_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret)
{
    struct fail_file *file = (struct fail_file *)(void *)f;
    int code;

    (void)v;
    file->real = (sqlite3_file *)(void *)(file + 1);
    file->durable = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0;
    code = real_vfs()->xOpen(real_vfs(), name, file->real, flags, ret);
    file->base.pMethods = file->real->pMethods ? &methods : NULL;
    return code;
}

void fail_vfs_register(void)
{
    sqlite3_vfs *under = sqlite3_vfs_find(NULL);

    methods = (sqlite3_io_methods){ 2, fail_close, fail_read, fail_write, fail_truncate, fail_sync,
        fail_size, fail_lock, fail_unlock, fail_reserved, fail_control, fail_sector, fail_traits,
        fail_shm_map, fail_shm_lock, fail_shm_barrier, fail_shm_unmap, NULL, NULL };
    /* All but opening is the one beneath: it looks at its own fields only through ours. */
    vfs = *under;
    vfs.pNext = NULL;
    vfs.zName = FAIL_VFS;
    vfs.pAppData = under;
    vfs.szOsFile = (int)sizeof(struct fail_file) + under->szOsFile;
    vfs.xOpen = fail_open;
    CHECK_INT(sqlite3_vfs_register(&vfs, 0), SQLITE_OK);
}

void fail_vfs_set(enum fail_kind kind)
{
    atomic_store(&now, (int)kind);
}

void fail_vfs_give(const char *path, long bytes)
{
    reserve = path;
    atomic_store(&given, bytes);
}

int fail_vfs_count(void)
{
    return atomic_load(&failures);
}
