#include "tests/oom/oom.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

/* One thread: the store runs inline here. */
static enum oom_kind failing;
static size_t at, seen;
static bool hit;

void oom_begin(enum oom_kind kind, size_t n)
{
    failing = kind;
    at = n;
    seen = 0;
    hit = false;
}

size_t oom_end(void)
{
    failing = OOM_NONE;
    return seen;
}

bool oom_hit(void)
{
    return hit;
}

static bool fails(enum oom_kind kind)
{
    if (failing != kind || ++seen != at)
        return false;
    hit = true;
    errno = kind == OOM_MEMORY ? ENOMEM : EIO;
    return true;
}

/* ---- memory ---- */

void *oom_malloc(size_t n);
void *oom_calloc(size_t n, size_t size);
void *oom_realloc(void *old, size_t n);
void *oom_reallocarray(void *old, size_t n, size_t size);
char *oom_strdup(const char *text);
char *oom_strndup(const char *text, size_t n);
int oom_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));

void *oom_malloc(size_t n)
{
    return fails(OOM_MEMORY) ? NULL : malloc(n);
}

void *oom_calloc(size_t n, size_t size)
{
    return fails(OOM_MEMORY) ? NULL : calloc(n, size);
}

void *oom_realloc(void *old, size_t n)
{
    return fails(OOM_MEMORY) ? NULL : realloc(old, n);
}

void *oom_reallocarray(void *old, size_t n, size_t size)
{
    return fails(OOM_MEMORY) ? NULL : reallocarray(old, n, size);
}

char *oom_strdup(const char *text)
{
    return fails(OOM_MEMORY) ? NULL : strdup(text);
}

char *oom_strndup(const char *text, size_t n)
{
    return fails(OOM_MEMORY) ? NULL : strndup(text, n);
}

int oom_asprintf(char **ret, const char *format, ...)
{
    va_list ap;
    int n;

    if (fails(OOM_MEMORY))
        return -1; /* *ret is undefined, as the manual says */
    va_start(ap, format);
    n = vasprintf(ret, format, ap);
    va_end(ap);
    return n;
}

/* ---- memory that zstd takes for us ---- */

ZSTD_CCtx *oom_create_cctx(void);
ZSTD_DCtx *oom_create_dctx(void);
ZSTD_CDict *oom_create_cdict(const void *from, size_t n, int level);
ZSTD_DDict *oom_create_ddict(const void *from, size_t n);
size_t oom_compress2(ZSTD_CCtx *c, void *to, size_t room, const void *from, size_t n);
size_t oom_decompress(void *to, size_t room, const void *from, size_t n);

#define NO_ROOM ((size_t)-ZSTD_error_memory_allocation)

ZSTD_CCtx *oom_create_cctx(void)
{
    return fails(OOM_MEMORY) ? NULL : ZSTD_createCCtx();
}

ZSTD_DCtx *oom_create_dctx(void)
{
    return fails(OOM_MEMORY) ? NULL : ZSTD_createDCtx();
}

ZSTD_CDict *oom_create_cdict(const void *from, size_t n, int level)
{
    return fails(OOM_MEMORY) ? NULL : ZSTD_createCDict(from, n, level);
}

ZSTD_DDict *oom_create_ddict(const void *from, size_t n)
{
    return fails(OOM_MEMORY) ? NULL : ZSTD_createDDict(from, n);
}

size_t oom_compress2(ZSTD_CCtx *c, void *to, size_t room, const void *from, size_t n)
{
    return fails(OOM_MEMORY) ? NO_ROOM : ZSTD_compress2(c, to, room, from, n);
}

size_t oom_decompress(void *to, size_t room, const void *from, size_t n)
{
    return fails(OOM_MEMORY) ? NO_ROOM : ZSTD_decompress(to, room, from, n);
}

/* ---- system calls ---- */

int oom_open(const char *path, int flags, ...);
int oom_flock(int fd, int how);
int oom_fsync(int fd);
int oom_ftruncate(int fd, off_t n);
int oom_access(const char *path, int mode);
int oom_stat(const char *path, struct stat *ret);
int oom_statvfs(const char *path, struct statvfs *ret);
int oom_rename(const char *from, const char *to);
int oom_unlink(const char *path);
FILE *oom_fopen(const char *path, const char *mode);
ssize_t oom_read(int fd, void *to, size_t n);
ssize_t oom_write(int fd, const void *from, size_t n);
ssize_t oom_pread(int fd, void *to, size_t n, off_t from);
ssize_t oom_pwrite(int fd, const void *from, size_t n, off_t to);
int oom_fallocate(int fd, off_t from, off_t n);
int oom_eventfd(unsigned value, int flags);
int oom_pthread_create(
    pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);

int oom_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (fails(OOM_CALL))
        return -1;
    va_start(ap, flags);
    if (flags & O_CREAT)
        mode = va_arg(ap, mode_t);
    va_end(ap);
    return open(path, flags, mode);
}

int oom_flock(int fd, int how)
{
    return fails(OOM_CALL) ? -1 : flock(fd, how);
}

int oom_fsync(int fd)
{
    return fails(OOM_CALL) ? -1 : fsync(fd);
}

int oom_ftruncate(int fd, off_t n)
{
    return fails(OOM_CALL) ? -1 : ftruncate(fd, n);
}

int oom_access(const char *path, int mode)
{
    return fails(OOM_CALL) ? -1 : access(path, mode);
}

int oom_stat(const char *path, struct stat *ret)
{
    return fails(OOM_CALL) ? -1 : stat(path, ret);
}

int oom_statvfs(const char *path, struct statvfs *ret)
{
    return fails(OOM_CALL) ? -1 : statvfs(path, ret);
}

int oom_rename(const char *from, const char *to)
{
    return fails(OOM_CALL) ? -1 : rename(from, to);
}

int oom_unlink(const char *path)
{
    return fails(OOM_CALL) ? -1 : unlink(path);
}

FILE *oom_fopen(const char *path, const char *mode)
{
    return fails(OOM_CALL) ? NULL : fopen(path, mode);
}

ssize_t oom_read(int fd, void *to, size_t n)
{
    return fails(OOM_CALL) ? -1 : read(fd, to, n);
}

ssize_t oom_write(int fd, const void *from, size_t n)
{
    return fails(OOM_CALL) ? -1 : write(fd, from, n);
}

ssize_t oom_pread(int fd, void *to, size_t n, off_t from)
{
    return fails(OOM_CALL) ? -1 : pread(fd, to, n, from);
}

ssize_t oom_pwrite(int fd, const void *from, size_t n, off_t to)
{
    return fails(OOM_CALL) ? -1 : pwrite(fd, from, n, to);
}

int oom_fallocate(int fd, off_t from, off_t n)
{
    return fails(OOM_CALL) ? ENOSPC : posix_fallocate(fd, from, n);
}

int oom_eventfd(unsigned value, int flags)
{
    return fails(OOM_CALL) ? -1 : eventfd(value, flags);
}

int oom_pthread_create(
    pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return fails(OOM_CALL) ? EAGAIN : pthread_create(ret, attributes, run, arg);
}

/* ---- SQLite ---- */

static sqlite3_mem_methods memory;

static void *sqlite_malloc(int n)
{
    return fails(OOM_MEMORY) ? NULL : memory.xMalloc(n);
}

static void *sqlite_realloc(void *old, int n)
{
    return fails(OOM_MEMORY) ? NULL : memory.xRealloc(old, n);
}

/* Those that a file's life consists of. Its syncs are not among those that can be replaced: the
 * linker puts this one before libc's, for the library of SQLite too. */
int fdatasync(int fd)
{
    return fails(OOM_CALL) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static int sqlite_open(const char *path, int flags, int mode)
{
    return fails(OOM_CALL) ? -1 : open(path, flags, mode);
}

static ssize_t sqlite_read(int fd, void *to, size_t n, off_t from)
{
    return fails(OOM_CALL) ? -1 : pread(fd, to, n, from);
}

static ssize_t sqlite_write(int fd, const void *from, size_t n, off_t to)
{
    return fails(OOM_CALL) ? -1 : pwrite(fd, from, n, to);
}

static int sqlite_truncate(int fd, off_t n)
{
    return fails(OOM_CALL) ? -1 : ftruncate(fd, n);
}

static int sqlite_close(int fd)
{
    int result = close(fd);

    return fails(OOM_CALL) ? -1 : result;
}

static int sqlite_access(const char *path, int mode)
{
    return fails(OOM_CALL) ? -1 : access(path, mode);
}

static int sqlite_stat(const char *path, struct stat *ret)
{
    return fails(OOM_CALL) ? -1 : stat(path, ret);
}

static int sqlite_fstat(int fd, struct stat *ret)
{
    return fails(OOM_CALL) ? -1 : fstat(fd, ret);
}

static int sqlite_unlink(const char *path)
{
    return fails(OOM_CALL) ? -1 : unlink(path);
}

static char *sqlite_getcwd(char *to, size_t n)
{
    return fails(OOM_CALL) ? NULL : getcwd(to, n);
}

/* Locks: each has a struct flock. To give one back is not made to fail: kernels refuse that only
 * when they have no memory to split a range, and SQLite tells of it when it next wants the lock. */
static int sqlite_fcntl(int fd, int command, ...)
{
    struct flock *lock;
    va_list ap;

    va_start(ap, command);
    lock = va_arg(ap, struct flock *);
    va_end(ap);
    if (command == F_SETLK && lock->l_type != F_UNLCK && fails(OOM_CALL))
        return -1;
    return fcntl(fd, command, lock);
}

void oom_init(void)
{
    const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } calls[] = {
        { "open", (sqlite3_syscall_ptr)sqlite_open },
        { "close", (sqlite3_syscall_ptr)sqlite_close },
        { "access", (sqlite3_syscall_ptr)sqlite_access },
        { "stat", (sqlite3_syscall_ptr)sqlite_stat },
        { "fstat", (sqlite3_syscall_ptr)sqlite_fstat },
        { "fcntl", (sqlite3_syscall_ptr)sqlite_fcntl },
        { "unlink", (sqlite3_syscall_ptr)sqlite_unlink },
        { "getcwd", (sqlite3_syscall_ptr)sqlite_getcwd },
        { "pread", (sqlite3_syscall_ptr)sqlite_read },
        { "pread64", (sqlite3_syscall_ptr)sqlite_read },
        { "pwrite", (sqlite3_syscall_ptr)sqlite_write },
        { "pwrite64", (sqlite3_syscall_ptr)sqlite_write },
        { "ftruncate", (sqlite3_syscall_ptr)sqlite_truncate },
    };
    sqlite3_mem_methods ours;
    sqlite3_vfs *vfs;

    CHECK_INT(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory), SQLITE_OK);
    /* Not asked before the first use. */
    if (!memory.xMalloc) {
        CHECK_INT(sqlite3_initialize(), SQLITE_OK);
        CHECK_INT(sqlite3_shutdown(), SQLITE_OK);
        CHECK_INT(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory), SQLITE_OK);
    }
    ours = memory;
    ours.xMalloc = sqlite_malloc;
    ours.xRealloc = sqlite_realloc;
    CHECK_INT(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
    /* Its small ones come from a pool else. */
    CHECK_INT(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    CHECK_INT(sqlite3_initialize(), SQLITE_OK);
    vfs = sqlite3_vfs_find(NULL);
    CHECK(vfs);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        (void)vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call);
}
