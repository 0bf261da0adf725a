#include "tests/unit/power_vfs.h"

#include "bridge/base/random.h"
#include "tests/harness.h"

#include <dirent.h>
#include <limits.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR 512

/* A write or a truncation that no sync has covered yet. */
struct change {
    bool truncates;
    int64_t at;
    size_t n;
    uint8_t *data;
};

struct disk_file {
    char name[256];
    ino_t inode;
    bool named, deleted; /* durably there; deleted, but that is not durable */
    bool with_directory; /* SQLite syncs the directory with its first sync */
    uint8_t *durable;
    size_t durable_n;
    struct change *changes;
    size_t change_n, capacity;
};

#define FILES_MAX 64

struct power_file {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: a temporary one */
    sqlite3_file *real;
};

static sqlite3_vfs vfs;
static sqlite3_io_methods methods;
static struct disk_file *disk[FILES_MAX];
static struct random dice;
static unsigned cut_spacing;
static uint64_t next_cut, count;
static int failing_sync;
static bool is_dead;
static void (*on_cut)(void *arg);
static void *cut_arg;

static sqlite3_vfs *real_vfs(void)
{
    return vfs.pAppData;
}

static struct power_file *power(sqlite3_file *f)
{
    return (struct power_file *)(void *)f;
}

static sqlite3_file *real(sqlite3_file *f)
{
    return power(f)->real;
}

static void *grown(void *at, size_t n)
{
    void *more = realloc(at, n ? n : 1);

    if (!more)
        abort();
    return more;
}

/* ---- what is durable ---- */

static void set_durable(struct disk_file *d, size_t n)
{
    if (n > d->durable_n || !d->durable) {
        d->durable = grown(d->durable, n);
        memset(d->durable + d->durable_n, 0, n > d->durable_n ? n - d->durable_n : 0);
    }
    d->durable_n = n;
}

static void forget_changes(struct disk_file *d)
{
    for (size_t i = 0; i < d->change_n; i++)
        free(d->changes[i].data);
    d->change_n = 0;
}

static void make_durable(struct disk_file *d)
{
    for (size_t i = 0; i < d->change_n; i++) {
        const struct change *c = &d->changes[i];

        if (c->truncates) {
            set_durable(d, (size_t)c->at);
            continue;
        }
        if ((size_t)c->at + c->n > d->durable_n)
            set_durable(d, (size_t)c->at + c->n);
        memcpy(d->durable + c->at, c->data, c->n);
    }
    forget_changes(d);
    d->named = d->named || d->with_directory;
}

static void add_change(struct disk_file *d, struct change c, const void *data)
{
    if (d->change_n == d->capacity) {
        d->capacity = d->capacity ? d->capacity * 2 : 64;
        d->changes = grown(d->changes, d->capacity * sizeof *d->changes);
    }
    if (data) {
        c.data = grown(NULL, c.n);
        memcpy(c.data, data, c.n);
        harness_mark_defined(c.data, c.n); /* SQLite leaves the unused part of a page as it is */
    }
    d->changes[d->change_n++] = c;
}

static void disk_free(size_t at)
{
    forget_changes(disk[at]);
    free(disk[at]->changes);
    free(disk[at]->durable);
    free(disk[at]);
    disk[at] = NULL;
}

/* Of a directory: names and deletions in it are durable now. Files are synced by SQLite through
 * power_sync(). In this program it stands before the C library's. */
int fsync(int fd)
{
    struct stat is;

    if (!vfs.pAppData || fstat(fd, &is) != 0 || !S_ISDIR(is.st_mode))
        return (int)syscall(SYS_fsync, fd);
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (disk[i] && disk[i]->deleted)
            disk_free(i);
        else if (disk[i])
            disk[i]->named = true;
    }
    return 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void read_durable(struct disk_file *d, const char *path, size_t n)
{
    FILE *f = fopen(path, "rb");

    set_durable(d, n);
    if (!f)
        abort();
    CHECK(fread(d->durable, 1, n, f) == n);
    (void)fclose(f);
}

/* The file that was just opened under that path. */
static struct disk_file *find_disk(const char *path)
{
    struct stat is;
    size_t empty = FILES_MAX;

    CHECK(stat(path, &is) == 0);
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (disk[i] && disk[i]->inode == is.st_ino && !disk[i]->deleted)
            return disk[i];
        if (!disk[i] && empty == FILES_MAX)
            empty = i;
    }
    CHECK(empty < FILES_MAX);
    disk[empty] = calloc(1, sizeof **disk);
    CHECK(disk[empty] != NULL);
    (void)snprintf(disk[empty]->name, sizeof disk[empty]->name, "%s", base_name(path));
    disk[empty]->inode = is.st_ino;
    disk[empty]->named = is.st_size > 0;
    read_durable(disk[empty], path, (size_t)is.st_size);
    return disk[empty];
}

/* ---- cuts ---- */

static void point(const struct disk_file *d)
{
    if (!d)
        return;
    count++;
    if (!cut_spacing || count < next_cut)
        return;
    next_cut = count + 1 + random_next(&dice) % (2 * cut_spacing - 1);
    on_cut(cut_arg);
}

void power_vfs_cuts(unsigned spacing, uint64_t seed, void (*cut)(void *arg), void *arg)
{
    dice = (struct random){ seed };
    cut_spacing = spacing;
    on_cut = cut;
    cut_arg = arg;
    if (spacing)
        next_cut = count + 1 + random_next(&dice) % (2 * spacing - 1);
}

uint64_t power_vfs_count(void)
{
    return count;
}

void power_vfs_dead(bool dead)
{
    is_dead = dead;
}

bool power_vfs_will_fail(void)
{
    return failing_sync > 0;
}

void power_vfs_fail_sync(int n)
{
    failing_sync = n;
}

/* How a cut treats a file's unsynced changes. */
enum mood { MOOD_DROP_ALL, MOOD_KEEP_ALL, MOOD_EACH, MOOD_PREFIX, MOOD_MOST, MOOD_COUNT };

struct outcome {
    struct random *dice;
    enum mood mood;
    size_t prefix; /* MOOD_PREFIX: those before it are kept, it is torn, the rest is not there */
};

static bool keeps(const struct outcome *o, size_t change)
{
    switch (o->mood) {
    case MOOD_DROP_ALL:
        return false;
    case MOOD_KEEP_ALL:
        return true;
    case MOOD_PREFIX:
        return change < o->prefix || (change == o->prefix && random_next(o->dice) % 2);
    case MOOD_MOST:
        return random_next(o->dice) % 16 != 0;
    default:
        return random_next(o->dice) % 2;
    }
}

/* Each sector of a write by itself: a later write of the same sector may be there without an
 * earlier one, and is whole then, as the page cache writes sectors and not what changed in them. */
static void put_sectors(struct disk_file *now, const struct disk_file *d, size_t i,
    const struct outcome *o, const struct disk_file *cache)
{
    const struct change *c = &d->changes[i];
    size_t end = (size_t)c->at + c->n;

    for (size_t at = (size_t)c->at / SECTOR * SECTOR; at < end; at += SECTOR) {
        size_t n = at + SECTOR < cache->durable_n ? SECTOR : cache->durable_n - at;

        if (!keeps(o, i))
            continue;
        if (at + n > now->durable_n)
            set_durable(now, at + n);
        memcpy(now->durable + at, cache->durable + at, n);
    }
}

/* What the disk holds of one file afterwards. */
static void after_cut(const struct disk_file *d, struct random *from, struct disk_file *ret)
{
    struct disk_file cache = { 0 };
    struct outcome o = { from, (enum mood)(random_next(from) % MOOD_COUNT), 0 };

    o.prefix = d->change_n ? random_next(from) % d->change_n : 0;
    set_durable(&cache, d->durable_n);
    set_durable(ret, d->durable_n);
    if (d->durable_n) {
        memcpy(cache.durable, d->durable, d->durable_n);
        memcpy(ret->durable, d->durable, d->durable_n);
    }
    for (size_t i = 0; i < d->change_n; i++) {
        const struct change *c = &d->changes[i];

        if (c->truncates) {
            set_durable(&cache, (size_t)c->at);
            if (keeps(&o, i))
                set_durable(ret, (size_t)c->at);
            continue;
        }
        if ((size_t)c->at + c->n > cache.durable_n)
            set_durable(&cache, (size_t)c->at + c->n);
        memcpy(cache.durable + c->at, c->data, c->n);
        put_sectors(ret, d, i, &o, &cache);
    }
    free(cache.durable);
}

static void write_out(const struct disk_file *d, const char *to, const char *name)
{
    char path[PATH_MAX];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", to, name);
    f = fopen(path, "wb");
    CHECK(f && fwrite(d->durable, 1, d->durable_n, f) == d->durable_n);
    CHECK_INT(fclose(f), 0);
}

static const struct disk_file *known(ino_t inode)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (disk[i] && !disk[i]->deleted && disk[i]->inode == inode)
            return disk[i];
    return NULL;
}

static bool is_shm(const char *name)
{
    size_t n = strlen(name);

    return n > 4 && strcmp(name + n - 4, "-shm") == 0;
}

/* A file that is there, under the name it has now; nobody wrote to one that is not known. */
static void leave_file(const char *to, const char *name, ino_t inode, struct random *from)
{
    const struct disk_file *d = known(inode);
    struct disk_file now = { 0 };
    struct stat is;

    if (!d) {
        CHECK(stat(name, &is) == 0);
        read_durable(&now, name, (size_t)is.st_size);
    } else if (d->named || random_next(from) % 2) {
        after_cut(d, from, &now);
    } else {
        return;
    }
    write_out(&now, to, name);
    free(now.durable);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

void power_vfs_after_cut(const char *to, uint64_t seed)
{
    struct random from = { seed };
    struct dirent **names;
    int n = scandir(".", &names, NULL, by_name);

    CHECK(n >= 0);
    /* First those that may come back: one that is there under the same name replaces it. */
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct disk_file now = { 0 };

        if (!disk[i] || !disk[i]->deleted || random_next(&from) % 2)
            continue;
        after_cut(disk[i], &from, &now);
        write_out(&now, to, disk[i]->name);
        free(now.durable);
    }
    for (int i = 0; i < n; i++) {
        struct stat is;

        if (stat(names[i]->d_name, &is) == 0 && S_ISREG(is.st_mode) && !is_shm(names[i]->d_name))
            leave_file(to, names[i]->d_name, is.st_ino, &from);
        free(names[i]);
    }
    free((void *)names);
}

void power_vfs_forget(void)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (disk[i])
            disk_free(i);
}

void power_vfs_remove(const char *path)
{
    struct stat is;

    for (size_t i = 0; stat(path, &is) == 0 && i < FILES_MAX; i++)
        if (disk[i] && disk[i]->inode == is.st_ino)
            disk_free(i);
    (void)unlink(path);
}

/* ---- the VFS ---- */

static int power_close(sqlite3_file *f)
{
    return real(f)->pMethods ? real(f)->pMethods->xClose(real(f)) : SQLITE_OK;
}

static int power_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), to, n, at);
}

static int power_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    struct disk_file *d = power(f)->disk;

    if (is_dead)
        return SQLITE_IOERR_WRITE;
    point(d);
    if (d)
        add_change(d, (struct change){ .at = at, .n = (size_t)n }, from);
    return real(f)->pMethods->xWrite(real(f), from, n, at);
}

static int power_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    struct disk_file *d = power(f)->disk;

    if (is_dead)
        return SQLITE_IOERR_TRUNCATE;
    point(d);
    if (d)
        add_change(d, (struct change){ .truncates = true, .at = size }, NULL);
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int power_sync(sqlite3_file *f, int flags)
{
    struct disk_file *d = power(f)->disk;

    (void)flags;
    if (is_dead)
        return SQLITE_IOERR_FSYNC;
    point(d);
    if (!d)
        return SQLITE_OK;
    if (failing_sync && --failing_sync == 0) {
        forget_changes(d);
        return SQLITE_IOERR_FSYNC;
    }
    make_durable(d);
    return SQLITE_OK;
}

static int power_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real(f)->pMethods->xFileSize(real(f), ret);
}

static int power_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
}

static int power_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}

static int power_reserved(sqlite3_file *f, int *ret)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int power_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int power_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

static int power_traits(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int power_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int power_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void power_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}

static int power_shm_unmap(sqlite3_file *f, int remove)
{
    return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static int power_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret)
{
    struct power_file *file = power(f);
    int code;

    (void)v;
    file->real = (sqlite3_file *)(void *)(file + 1);
    file->disk = NULL;
    code = real_vfs()->xOpen(real_vfs(), name, file->real, flags, ret);
    file->base.pMethods = file->real->pMethods ? &methods : NULL;
    if (code == SQLITE_OK && name && !(flags & SQLITE_OPEN_DELETEONCLOSE))
        file->disk = find_disk(name);
    if (file->disk && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)))
        file->disk->with_directory = true;
    return code;
}

static int power_delete(sqlite3_vfs *v, const char *name, int sync_directory)
{
    struct stat is;

    (void)v;
    if (is_dead)
        return SQLITE_IOERR_DELETE;
    for (size_t i = 0; stat(name, &is) == 0 && i < FILES_MAX; i++) {
        struct disk_file *d = disk[i];

        if (!d || d->inode != is.st_ino || d->deleted)
            continue;
        point(d);
        /* Of several deleted ones of one name only the last can come back. */
        for (size_t k = 0; k < FILES_MAX; k++)
            if (disk[k] && disk[k]->deleted && strcmp(disk[k]->name, d->name) == 0)
                disk_free(k);
        if (sync_directory)
            disk_free(i);
        else
            d->deleted = true;
        break;
    }
    return real_vfs()->xDelete(real_vfs(), name, 0);
}

void power_vfs_register(void)
{
    sqlite3_vfs *under = sqlite3_vfs_find(NULL);

    methods = (sqlite3_io_methods){ 2, power_close, power_read, power_write, power_truncate,
        power_sync, power_size, power_lock, power_unlock, power_reserved, power_control,
        power_sector, power_traits, power_shm_map, power_shm_lock, power_shm_barrier,
        power_shm_unmap, NULL, NULL };
    /* All but opening and deleting is the one beneath: it looks at its own fields only through
     * ours. */
    vfs = *under;
    vfs.pNext = NULL;
    vfs.zName = "power";
    vfs.pAppData = under;
    vfs.szOsFile = (int)sizeof(struct power_file) + under->szOsFile;
    vfs.xOpen = power_open;
    vfs.xDelete = power_delete;
    CHECK_INT(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}
